//! Compiling in a child process: this program is both the test and the child.

#![allow(clippy::unwrap_used, reason = "a test program")]

use std::process::ExitCode;

#[path = "hostile/bombs.rs"]
mod bombs;
#[path = "policies/guest.rs"]
#[allow(dead_code, reason = "shared with the other test program, which uses all of it")]
mod guest;

use sluice_core::policy::PolicyKind;
use sluice_policy::{Compiler, LoadError, Loader, SlotConfig, compile_child_main};

const SUBCOMMAND: &str = "compile-policy";
/// The same, and then the limits of the process.
const CONFINED: &str = "confined";

fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1);
    let first = args.next();
    if first.as_ref().is_some_and(|first| first == SUBCOMMAND) {
        return compile_child_main(args);
    }
    if first.is_some_and(|first| first == CONFINED) {
        let _ = compile_child_main(args);
        print!("{}", std::fs::read_to_string("/proc/self/limits").expect("this process has limits"));
        return ExitCode::SUCCESS;
    }
    compiles_once_and_maps_afterwards();
    a_refusal_by_the_child_is_quoted();
    a_child_that_is_no_compiler_is_an_error();
    let bombs = bombs::all();
    println!("compile_child: {} passed", 3 + bombs);
    ExitCode::SUCCESS
}

fn child() -> Compiler {
    Compiler::Child { program: std::env::current_exe().expect("this program"), args: vec![SUBCOMMAND.into()] }
}

fn load(root: &std::path::Path, compiler: Compiler, bytes: &[u8]) -> Result<(), LoadError> {
    let loader = Loader::new(&root.join("cache"), compiler, bitcoin::Network::Regtest).expect("a loader");
    loader.auth(bytes, &SlotConfig::new(PolicyKind::Auth, "")).map(|_| ())
}

fn nowhere() -> Compiler {
    Compiler::Child { program: "/nonexistent/compiler".into(), args: Vec::new() }
}

fn compiles_once_and_maps_afterwards() {
    let root = tempfile::tempdir().expect("a directory");
    let bytes = guest::Guest::new(PolicyKind::Auth, "a").build();
    load(root.path(), child(), &bytes).expect("it compiles");
    // No compiler is needed any more.
    load(root.path(), nowhere(), &bytes).expect("it is in the cache");
}

fn a_refusal_by_the_child_is_quoted() {
    let root = tempfile::tempdir().expect("a directory");
    let bytes = guest::spoiled();
    let why = load(root.path(), child(), &bytes).expect_err("it does not compile");
    assert!(matches!(&why, LoadError::Compile(text) if !text.is_empty()), "{why}");
}

fn a_child_that_is_no_compiler_is_an_error() {
    let root = tempfile::tempdir().expect("a directory");
    let bytes = guest::Guest::new(PolicyKind::Auth, "b").build();
    let why = load(root.path(), nowhere(), &bytes).expect_err("there is no compiler");
    assert!(matches!(why, LoadError::Compiler { .. }), "{why}");
    let why = load(root.path(), Compiler::Child { program: "/bin/false".into(), args: Vec::new() }, &bytes);
    assert!(matches!(why, Err(LoadError::Compiler { .. })), "{why:?}");
    load(root.path(), child(), &bytes).expect("nothing of that is remembered");
}
