//! What is hard to compile: it loads, or it is refused with a reason; the process that asked for it is as it was.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use sluice_core::policy::PolicyKind;
use sluice_policy::{Compiler, LoadError};

use crate::guest::Guest;
use crate::{SUBCOMMAND, child, load};

/// Nothing here takes longer on a machine that is not busy; more than that is compiled for three minutes at most.
const BOUND: Duration = Duration::from_secs(60);

/// Runs each; returns how many.
pub(crate) fn all() -> usize {
    let tests: [fn(); 6] = [
        what_is_large_loads,
        what_is_nested_deep_loads_or_is_refused,
        nested_components_harm_nobody_here,
        a_bomb_meets_the_memory_limit_of_the_child,
        the_child_is_confined,
        what_is_refused_leaves_nothing_but_the_refusal,
    ];
    for test in tests {
        let began = Instant::now();
        test();
        assert!(began.elapsed() < BOUND, "{:?}", began.elapsed());
    }
    tests.len()
}

fn guest() -> Guest {
    Guest::new(PolicyKind::Auth, "bomb")
}

fn compile(bytes: &[u8]) -> Result<(), LoadError> {
    load(tempfile::tempdir().unwrap().path(), child(), bytes)
}

/// Where it is refused, the refusal says what is wrong.
fn refused(outcome: Result<(), LoadError>, why: &str) {
    if let Err(error) = outcome {
        let told = matches!(&error, LoadError::Compile(text) if text.contains(why));
        assert!(told, "{error}");
    }
}

fn what_is_large_loads() {
    let functions = "(func (param i32) (result i32) (i32.mul (local.get 0) (i32.const 3)))".repeat(10_000);
    compile(&guest().with(&functions).build()).expect("ten thousand functions");
    let table = format!("(block $out (br_table {} (i32.const 1)))", "$out ".repeat(60_000));
    compile(&guest().body_before("authorize", &table).build()).expect("a jump table of sixty thousand");
    let mut large = guest().build();
    large.extend(custom_section(&vec![0; 60 << 20]));
    compile(&large).expect("sixty megabytes that mean nothing");
}

fn what_is_nested_deep_loads_or_is_refused() {
    for depth in [1000, 50_000] {
        let blocks = format!("{} {}", "block ".repeat(depth), "end ".repeat(depth));
        refused(compile(&guest().body_before("authorize", &blocks).build()), "nest");
    }
}

/// A number as WebAssembly writes sizes.
fn leb(mut value: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let low = u8::try_from(value & 0x7f).unwrap();
        value >>= 7;
        bytes.push(if value == 0 { low } else { low | 0x80 });
        if value == 0 {
            return bytes;
        }
    }
}

fn section(id: u8, content: &[u8]) -> Vec<u8> {
    [&[id][..], &leb(content.len()), content].concat()
}

fn custom_section(content: &[u8]) -> Vec<u8> {
    section(0, &[&leb(4)[..], b"bomb", content].concat())
}

const EMPTY: &[u8] = b"\0asm\x0d\0\x01\0";

/// One in another in another.
fn nested(depth: usize) -> Vec<u8> {
    let (mut headers, mut size) = (Vec::new(), EMPTY.len());
    for _ in 0..depth {
        let header = [EMPTY, &[4], &leb(size)].concat();
        size += header.len();
        headers.push(header);
    }
    headers.reverse();
    headers.push(EMPTY.to_vec());
    headers.concat()
}

/// Behind a policy that is fine: whatever the compiler makes of it, this process and the next compile are as before.
fn nested_components_harm_nobody_here() {
    for depth in [1000, 100_000] {
        let bytes = [guest().build(), section(4, &nested(depth))].concat();
        if let Err(why) = compile(&bytes) {
            assert!(matches!(why, LoadError::Compile(_) | LoadError::Compiler { .. }), "{depth}: {why}");
        }
    }
    let wide = [guest().build(), section(4, EMPTY).repeat(5000)].concat();
    let types = [guest().build(), section(7, &[leb(200_000), [0x79].repeat(200_000)].concat())].concat();
    for (bytes, why) in [(wide, "limit"), (types, "limit")] {
        refused(compile(&bytes), why);
    }
    compile(&guest().build()).expect("the next one is compiled");
}

/// So many variables live through so many loops: the product of the two has to be looked at.
fn variables_times_loops(variables: usize, loops: usize) -> Vec<u8> {
    let locals: String = (0..variables).map(|number| format!("(local $v{number} i32)")).collect();
    let uses: String = (0..variables)
        .map(|number| format!("(local.set $v{number} (i32.add (local.get $v{number}) (i32.const {number})))"))
        .collect();
    let nest = "loop ".repeat(loops);
    let ends = "(br_if 0 (local.get $v0)) end ".repeat(loops);
    guest().body_before("authorize", &format!("{locals} {nest} {uses} {ends}")).build()
}

/// Under a lower limit than its own, so that it is met soon.
fn a_bomb_meets_the_memory_limit_of_the_child() {
    let this = std::env::current_exe().unwrap();
    let script = "ulimit -v 700000; exec \"$0\" \"$@\"";
    let args = ["-c".into(), script.into(), this.into_os_string(), SUBCOMMAND.into()];
    let compiler = Compiler::Child { program: PathBuf::from("/bin/sh"), args: args.into() };
    let root = tempfile::tempdir().unwrap();
    let why = load(root.path(), compiler, &variables_times_loops(4000, 4000)).expect_err("it is too much");
    assert!(matches!(&why, LoadError::Compiler { .. }), "{why}");
    assert!(why.to_string().contains("the compiler failed"), "{why}");
    // It may go otherwise with more memory: not remembered, and nothing is left.
    assert_eq!(fs::read_dir(root.path().join("cache/code")).unwrap().count(), 0);
    load(root.path(), child(), &guest().build()).expect("the next one is compiled");
}

/// What `compile-policy` does to its process, told by the test program after it was done.
fn the_child_is_confined() {
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args([crate::CONFINED, "/dev/null", "/dev/null"])
        .output()
        .unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    for (limit, value) in
        [("Max address space", "2147483648"), ("Max cpu time", "600"), ("Max file size", "1073741824")]
    {
        let line = said.lines().find(|line| line.starts_with(limit)).unwrap();
        assert!(line.contains(value), "{line}");
    }
}

fn what_is_refused_leaves_nothing_but_the_refusal() {
    let root = tempfile::tempdir().unwrap();
    load(root.path(), child(), &crate::guest::spoiled()).expect_err("it does not compile");
    let names = |dir: &str| -> Vec<String> {
        let entries = fs::read_dir(root.path().join("cache").join(dir)).unwrap();
        entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect()
    };
    let code = names("code");
    assert!(code.len() == 1 && code[0].ends_with(".refused"), "{code:?}");
    assert!(names("recent").is_empty() && names("wasm").is_empty());
}
