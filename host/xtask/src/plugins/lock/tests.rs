use super::*;

fn entry(wasm: &str, sources: &str) -> Entry {
    Entry { wasm: wasm.to_owned(), sources: sources.to_owned() }
}

fn lock(plugins: &[(&str, Entry)]) -> Lock {
    let plugins = plugins.iter().map(|(name, e)| ((*name).to_owned(), entry(&e.wasm, &e.sources))).collect();
    Lock { toolchain: "rustc 1.95.0".to_owned(), plugins }
}

#[test]
fn a_lock_comes_back_as_it_was_written() {
    let lock = lock(&[("a", entry("11", "22")), ("b-c", entry("33", "44"))]);
    assert_eq!(Lock::parse(&lock.to_text().unwrap()).unwrap(), lock);
}

#[test]
fn what_is_the_same_is_not_stale() {
    let lock = lock(&[("a", entry("11", "22"))]);
    assert!(lock.differences([("a", &entry("11", "22"))].into_iter()).is_empty());
}

#[test]
fn everything_stale_is_named() {
    let lock = lock(&[
        ("edited", entry("1", "1")),
        ("gone", entry("1", "1")),
        ("missing", entry("1", "1")),
        ("swapped", entry("1", "1")),
    ]);
    let found = [
        ("edited", &entry("1", "2")),
        ("missing", &entry("", "1")),
        ("new", &entry("1", "1")),
        ("swapped", &entry("2", "1")),
    ];
    assert_eq!(
        lock.differences(found.into_iter()),
        [
            "edited: its sources have changed since it was built",
            "missing: missing.wasm is missing",
            "new: never built",
            "swapped: swapped.wasm is not the one that was built",
            "gone: recorded and no longer a plugin",
        ]
    );
}

#[test]
fn a_damaged_lock_is_refused() {
    for text in
        ["", "toolchain = 1", "toolchain = \"x\"\nplugins = {}\nextra = 1", "[plugins.a]\nwasm = \"1\""]
    {
        assert!(Lock::parse(text).is_err(), "{text}");
    }
}
