use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use clap::Parser;
use sluice_core::units::Timestamp;
use sluice_stratum_v2::noise::{AuthorityKey, AuthoritySecret};
use tempfile::TempDir;

use super::{PUBLIC_FILE, SECRET_FILE, run};
use crate::cli::{Cli, Command, exit};
use crate::config::{self, IdentitySource};
use crate::identity;

const NOW: Timestamp = Timestamp(1_750_000_000_000);

/// As from the command line: what it prints, or why not.
fn keygen(args: &[&str]) -> Result<String, String> {
    let cli =
        Cli::try_parse_from([&["sluice", "keygen"], args].concat()).map_err(|error| error.to_string())?;
    let Command::Keygen(args) = cli.command else { panic!("not keygen") };
    let mut out = Vec::new();
    match run(&args, NOW, &mut out) {
        Ok(code) => assert_eq!(code, exit::OK),
        Err(error) => return Err(format!("{error:#}")),
    }
    Ok(String::from_utf8(out).unwrap())
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

/// A directory for keys that is not there yet.
fn place() -> (TempDir, String) {
    let dir = tempfile::tempdir().unwrap();
    let keys = dir.path().join("a/keys").display().to_string();
    (dir, keys)
}

/// The section of a configuration among what was printed.
fn printed_section(out: &str) -> config::StratumV2 {
    let lines =
        out.lines().filter_map(|line| line.strip_prefix("  ")).filter(|line| !line.starts_with("sluice"));
    let section: String = lines.map(|line| format!("{line}\n")).collect();
    let text = format!(
        "network = \"regtest\"\ndata_dir = \"d\"\npolicy.dir = \"p\"\nsimulation.enabled = true\n\
         pool.address = \"bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080\"\n{section}"
    );
    let config =
        config::parse(&text, "elsewhere/pool.toml").unwrap_or_else(|errors| panic!("{errors}\n{text}"));
    config.stratum_v2.expect("it is enabled")
}

#[test]
fn authority_is_two_files_of_which_one_is_secret() {
    let (_dir, keys) = place();
    let out = keygen(&[&keys]).unwrap();
    let (secret, public) = (Path::new(&keys).join(SECRET_FILE), Path::new(&keys).join(PUBLIC_FILE));
    assert_eq!((mode(&secret), mode(Path::new(&keys))), (0o600, 0o700));
    let text = fs::read_to_string(&secret).unwrap();
    // N-41, N-40
    let key: AuthoritySecret = text.trim().parse().unwrap();
    let shown: AuthorityKey = fs::read_to_string(&public).unwrap().trim().parse().unwrap();
    assert_eq!(key.public(), shown);
    assert!(out.contains(&format!("stratum2+tcp://HOST:3336/{shown}\n")), "{out}");
    assert!(!out.contains(text.trim()), "the secret is not printed: {out}");
}

#[test]
fn what_is_printed_for_the_configuration_works() {
    let (dir, keys) = place();
    let section = printed_section(&keygen(&[&keys]).unwrap());
    assert!(matches!(section.identity, IdentitySource::Authority(_)));
    let (own, _) = identity::start(&section.identity, NOW).unwrap();
    let key = Path::new(&keys).join(SECRET_FILE).display().to_string();
    let file = dir.path().join("pool.cert").display().to_string();
    let section = printed_section(&keygen(&["--certify", &key, "--out", &file]).unwrap());
    assert!(matches!(section.identity, IdentitySource::Certificate(_)));
    let (certified, _) = identity::start(&section.identity, NOW).unwrap();
    assert_eq!(certified.authority, own.authority);
}

#[test]
fn certificate_holds_for_the_days_asked_for() {
    let (dir, keys) = place();
    keygen(&[&keys]).unwrap();
    let key = Path::new(&keys).join(SECRET_FILE).display().to_string();
    let file = dir.path().join("pool.cert");
    keygen(&["--certify", &key, "--days", "7", "--out", &file.display().to_string()]).unwrap();
    assert_eq!(mode(&file), 0o600);
    let (certified, _) = identity::start(&IdentitySource::Certificate(file), NOW).unwrap();
    let validity = certified.current.borrow().validity();
    // N-16
    assert_eq!(validity.valid_from, NOW.seconds() - 3600);
    assert_eq!(validity.not_valid_after, NOW.seconds() + 7 * 86_400);
}

#[test]
fn two_authorities_and_two_certificates_differ() {
    let (dir, keys) = place();
    let (first, second) = (format!("{keys}/1"), format!("{keys}/2"));
    keygen(&[&first]).unwrap();
    keygen(&[&second]).unwrap();
    let read = |dir: &str| fs::read_to_string(Path::new(dir).join(PUBLIC_FILE)).unwrap();
    assert_ne!(read(&first), read(&second));
    let certify = |name: &str| {
        let file = dir.path().join(name).display().to_string();
        keygen(&["--certify", &format!("{first}/{SECRET_FILE}"), "--out", &file]).unwrap();
        fs::read_to_string(file).unwrap()
    };
    assert_ne!(certify("1.cert"), certify("2.cert"));
}

#[test]
fn keys_are_never_overwritten() {
    let (dir, keys) = place();
    keygen(&[&keys]).unwrap();
    let (secret, public) = (Path::new(&keys).join(SECRET_FILE), Path::new(&keys).join(PUBLIC_FILE));
    let before = fs::read_to_string(&secret).unwrap();
    assert!(keygen(&[&keys]).unwrap_err().contains("never overwritten"));
    assert_eq!(fs::read_to_string(&secret).unwrap(), before);
    // A public key alone is somebody's too, and no secret is left beside it.
    fs::remove_file(&secret).unwrap();
    let before = fs::read_to_string(&public).unwrap();
    assert!(keygen(&[&keys]).unwrap_err().contains("authority.pub exists"));
    assert_eq!(fs::read_to_string(&public).unwrap(), before);
    assert!(!secret.exists());
    let other = format!("{keys}/other");
    keygen(&[&other]).unwrap();
    let file = dir.path().join("pool.cert");
    fs::write(&file, "precious").unwrap();
    let key = format!("{other}/{SECRET_FILE}");
    let error = keygen(&["--certify", &key, "--out", &file.display().to_string()]).unwrap_err();
    assert!(error.contains("never overwritten"), "{error}");
    assert_eq!(fs::read_to_string(&file).unwrap(), "precious");
}

#[test]
fn certificate_needs_a_secret_that_is_one() {
    let (dir, keys) = place();
    keygen(&[&keys]).unwrap();
    let file = dir.path().join("pool.cert").display().to_string();
    let public = Path::new(&keys).join(PUBLIC_FILE);
    fs::set_permissions(&public, fs::Permissions::from_mode(0o600)).unwrap();
    let certify = |key: &str| keygen(&["--certify", key, "--out", &file]).unwrap_err();
    let error = certify(&public.display().to_string());
    assert!(error.contains("has the length of a public key"), "{error}");
    assert!(certify("/does/not/exist").contains("failed to open /does/not/exist"));
    let secret = Path::new(&keys).join(SECRET_FILE);
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o644)).unwrap();
    assert!(certify(&secret.display().to_string()).contains("chmod 600"));
    assert!(!Path::new(&file).exists());
}

#[test]
fn help_says_how() {
    let help = keygen(&["--help"]).unwrap_err();
    assert!(help.contains("sluice keygen --certify keys/authority.key --days 90 --out pool.cert"), "{help}");
    assert!(help.contains("authority.pub") && help.contains("never over"), "{help}");
}
