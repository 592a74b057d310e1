use super::*;

fn found(file: &str, text: &str) -> Vec<String> {
    check(Path::new(file), text).iter().map(Problem::to_string).collect()
}

#[test]
fn a_pure_crate_reaches_for_nothing() {
    let text = "use std::fs;\nlet now = Instant::now(); // std::net\n/// See std::thread.\n";
    let wanted = [
        "host/core/src/a.rs:1: std::fs in a pure crate; make it an argument",
        "host/core/src/a.rs:2: Instant::now in a pure crate; make it an argument",
    ];
    assert_eq!(found("host/core/src/a.rs", text), wanted);
    for elsewhere in ["host/node/src/a.rs", "host/core/src/a/tests.rs", "host/core/tests/a.rs"] {
        assert!(found(elsewhere, text).is_empty(), "{elsewhere}");
    }
}

#[test]
fn a_file_has_at_most_600_lines_without_its_tests() {
    assert!(found("host/node/src/a.rs", &"x\n".repeat(600)).is_empty());
    let wanted = ["host/node/src/a.rs: 601 lines; at most 600 are allowed"];
    assert_eq!(found("host/node/src/a.rs", &"x\n".repeat(601)), wanted);
    let with_tests = format!("{}#[cfg(test)]\nmod tests {{\n{}}}\n", "x\n".repeat(500), "x\n".repeat(500));
    assert!(found("host/node/src/a.rs", &with_tests).is_empty());
    for test in ["host/node/src/a/tests.rs", "tests/e2e/main.rs"] {
        assert!(found(test, &"x\n".repeat(5000)).is_empty(), "{test}");
    }
}

#[test]
fn no_test_is_ignored() {
    let text = ["#[test]", "#[ignore]", "fn a() {}", "    #[ignore = \"slow\"]", "// #[ignore]"].join("\n");
    let wanted = ["tests/e2e/a.rs:2", "tests/e2e/a.rs:4"]
        .map(|at| format!("{at}: an ignored test is no test: mend it or remove it"));
    assert_eq!(found("tests/e2e/a.rs", &text), wanted);
}
