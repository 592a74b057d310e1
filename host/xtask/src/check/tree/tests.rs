use super::*;

fn strangers(names: &[&str]) -> Vec<String> {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let ignored = "/target\n/tests/fuzz/target\n/data\n*.swp\n";
    problems(&names, ignored).iter().map(|problem| problem.file.display().to_string()).collect()
}

#[test]
fn the_given_tree_is_fine() {
    assert!(
        strangers(&["Cargo.toml", "host", "plugins", "wit", "config", "tests", "README.md", "docs"])
            .is_empty()
    );
    assert!(strangers(&[".git", ".ci", "LICENSE-MIT", "LICENSE-APACHE"]).is_empty());
}

#[test]
fn what_git_ignores_is_not_looked_at() {
    assert!(strangers(&["target", "data", "notes.swp"]).is_empty());
}

#[test]
fn strangers_are_named() {
    assert_eq!(strangers(&["src", "host", "scripts", "notes.txt"]), ["src", "scripts", "notes.txt"]);
}
