use clap::Parser;
use sluice_core::units::Timestamp;

use super::{authority, configuration, translator_upstream};
use crate::cli::{Cli, Command};
use crate::identity::{self, Endpoint};

#[test]
fn authority_stays_with_the_data() {
    let dir = tempfile::tempdir().unwrap();
    let first = identity::authority(&authority(dir.path()).unwrap()).unwrap();
    let second = identity::authority(&authority(dir.path()).unwrap()).unwrap();
    assert_eq!(first.public(), second.public());
}

#[test]
fn both_protocols_are_on() {
    let cli =
        Cli::try_parse_from(["sluice", "demo", "--sv1", "127.0.0.1:1", "--sv2", "127.0.0.1:2"]).unwrap();
    let Command::Demo(args) = cli.command else { panic!("not the demo") };
    let dir = tempfile::tempdir().unwrap();
    let key = authority(dir.path()).unwrap();
    let config = configuration(&args, dir.path(), dir.path(), key).unwrap();
    let (v1, v2) = (&config.stratum_v1.listeners[0], config.stratum_v2.as_ref().unwrap());
    assert_eq!((v1.listen, v2.listen), (args.sv1, args.sv2));
    assert_eq!(v1.start_difficulty, v2.start_difficulty);
    identity::start(&v2.identity, Timestamp(1_750_000_000_000)).unwrap();
}

#[test]
fn translator_finds_the_pool() {
    let key = "9bXiEd8boQVhq7WddEcERUL5tyyJVFYdU8th3HfbNXK3Yw6GRXh";
    let endpoint = Endpoint {
        address: "[::1]:3336".parse().unwrap(),
        authority: key.parse().unwrap(),
        plain_text: None,
    };
    let config: toml::Table = translator_upstream(&endpoint).parse().unwrap();
    let upstream = &config["upstreams"][0];
    assert_eq!(upstream["address"].as_str(), Some("::1"));
    assert_eq!(upstream["port"].as_integer(), Some(3336));
    assert_eq!(upstream["authority_pubkey"].as_str(), Some(key));
}
