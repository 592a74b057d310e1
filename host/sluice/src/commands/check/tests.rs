use std::path::Path;

use super::run;
use crate::cli::exit;

fn check(text: &str, deeper: &[&str]) -> (u8, String, String) {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("pool.toml");
    std::fs::write(&file, text).unwrap();
    let (mut out, mut problems) = (Vec::new(), Vec::new());
    let found = deeper.iter().map(|line| (*line).to_owned()).collect();
    let code = run(&file, |_| found, &mut out, &mut problems).unwrap();
    let plain =
        |bytes: Vec<u8>| String::from_utf8(bytes).unwrap().replace(&file.display().to_string(), "FILE");
    (code, plain(out), plain(problems))
}

const GOOD: &str = r#"
network = "regtest"
data_dir = "data"
pool.address = "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080"
simulation.enabled = true
policy.dir = "plugins"
"#;

#[test]
fn good_configuration_is_ok() {
    assert_eq!(check(GOOD, &[]), (exit::OK, "FILE: ok\n".to_owned(), String::new()));
}

#[test]
fn all_problems_are_listed_with_their_lines() {
    let (code, out, problems) = check("network = \"regtset\"\n[pool]\ntga = 1\n", &[]);
    assert_eq!((code, out.as_str()), (exit::USAGE, ""));
    assert!(problems.contains("FILE:1:11: network: "), "{problems}");
    assert!(problems.contains("FILE:3:1: pool.tga: is an unknown key, did you mean `tag`?"), "{problems}");
}

#[test]
fn what_the_configuration_points_to_counts_too() {
    let (code, _, problems) = check(GOOD, &["policy.dir does not exist"]);
    assert_eq!((code, problems.as_str()), (exit::USAGE, "FILE: policy.dir does not exist\n"));
}

#[test]
fn missing_file_says_so() {
    let (mut out, mut problems) = (Vec::new(), Vec::new());
    let code = run(Path::new("no/such/pool.toml"), |_| Vec::new(), &mut out, &mut problems).unwrap();
    let problems = String::from_utf8(problems).unwrap();
    assert_eq!(code, exit::USAGE);
    assert!(problems.starts_with("no/such/pool.toml:1:1: file: cannot be opened"), "{problems}");
}
