use clap::{CommandFactory, Parser};

use super::{Cli, Command, exit};

fn parse(line: &str) -> Result<Cli, clap::Error> {
    Cli::try_parse_from(line.split(' '))
}

#[test]
fn definition_is_consistent() {
    Cli::command().debug_assert();
}

#[test]
fn every_command_shows_an_example_and_the_exit_codes() {
    fn check(command: &mut clap::Command, path: &str) {
        if command.is_hide_set() || command.get_name() == "help" {
            return;
        }
        let help = command.render_long_help().to_string();
        assert!(help.contains("Exit codes: 0 done, 1 failed while running, 2 wrong usage"), "{path}: {help}");
        assert!(path == "sluice" || help.contains(&format!("Example:\n  {path}")), "{path}: {help}");
        let children: Vec<String> = command.get_subcommands().map(|c| c.get_name().to_owned()).collect();
        for name in children {
            check(command.find_subcommand_mut(&name).unwrap(), &format!("{path} {name}"));
        }
    }
    check(&mut Cli::command(), "sluice");
}

#[test]
fn examples_in_the_help_parse() {
    fn check(command: &mut clap::Command) -> usize {
        // Not wrapped: an example may be longer than a terminal is wide.
        let help = command.clone().term_width(0).render_long_help().to_string();
        let mut examples = 0;
        for line in help.lines().filter_map(|line| line.strip_prefix("  sluice ")) {
            parse(&format!("sluice {line}")).unwrap_or_else(|error| panic!("{line}: {error}"));
            examples += 1;
        }
        examples + command.get_subcommands_mut().map(check).sum::<usize>()
    }
    let examples = check(&mut Cli::command());
    assert!(examples >= 20, "{examples}");
}

#[test]
fn demo_takes_port_zero_and_directories() {
    let cli = parse(
        "sluice demo --sv1 127.0.0.1:0 --sv2 127.0.0.1:0 --http [::1]:0 --data d --plugins p --blocks 3",
    )
    .unwrap();
    let Command::Demo(demo) = cli.command else { panic!("not the demo") };
    assert_eq!((demo.sv1.port(), demo.sv2.port(), demo.http.port(), demo.blocks), (0, 0, 0, Some(3)));
    let defaults = parse("sluice demo").unwrap();
    let Command::Demo(demo) = defaults.command else { panic!("not the demo") };
    assert_eq!(demo.sv1.to_string(), "127.0.0.1:3333");
    assert_eq!(demo.sv2.to_string(), "127.0.0.1:3336");
    assert_eq!(demo.http.to_string(), "127.0.0.1:8080");
}

#[test]
fn wrong_usage_exits_with_two() {
    for line in [
        "sluice",
        "sluice run",
        "sluice demo --sv1 nowhere",
        "sluice demo --blocks 0",
        "sluice plugin inspect",
        "sluice keygen",
        "sluice keygen keys --days 3",
        "sluice keygen keys --certify keys/authority.key --out file",
        "sluice keygen --certify keys/authority.key",
        "sluice keygen --out file",
        "sluice keygen --certify keys/authority.key --out file --days 0",
    ] {
        assert_eq!(parse(line).unwrap_err().exit_code(), i32::from(exit::USAGE), "{line}");
    }
}

#[test]
fn keygen_makes_an_authority_or_a_certificate() {
    let cli = parse("sluice keygen keys").unwrap();
    let Command::Keygen(keygen) = cli.command else { panic!("not keygen") };
    assert_eq!((keygen.dir, keygen.certify, keygen.out), (Some("keys".into()), None, None));
    let cli = parse("sluice keygen --certify a --out b").unwrap();
    let Command::Keygen(keygen) = cli.command else { panic!("not keygen") };
    assert_eq!((keygen.certify, keygen.out, keygen.days), (Some("a".into()), Some("b".into()), 90));
}
