use super::*;

fn member(name: &str, directory: &str, dependencies: &[&str]) -> Member {
    let lines: Vec<String> =
        dependencies.iter().map(|name| format!("{name} = {{ workspace = true }}")).collect();
    let named = |name: &&str| Dependency { name: (*name).to_owned(), kind: DependencyKind::Normal };
    Member {
        name: name.to_owned(),
        manifest: Path::new(directory).join("Cargo.toml"),
        manifest_text: format!("[dependencies]\n{}\n", lines.join("\n")),
        dependencies: dependencies.iter().map(named).collect(),
    }
}

fn check(members: &[Member], wanted: &[&str]) {
    let found: Vec<String> = problems(members).iter().map(Problem::to_string).collect();
    assert_eq!(found, wanted);
}

#[test]
fn the_layering_of_the_design_holds() {
    check(
        &[
            member("sluice-core", "host/core", &["bitcoin"]),
            member("sluice-stratum-v1", "host/stratum-v1", &["sluice-core", "serde_json"]),
            member("sluice-policy", "host/policy", &["sluice-core", "wasmtime", "tokio"]),
            member("sluice-ledger", "host/ledger", &["sluice-core", "rusqlite"]),
            member("sluice", "host/sluice", &["sluice-core", "sluice-stratum-v1", "sluice-ledger"]),
            member("sluice-plugin", "plugins/sdk/rust", &["serde_json"]),
            member("plugin-payout-solo", "plugins/payout-solo", &["sluice-plugin"]),
            member("sluice-tests", "tests", &["sluice", "sluice-core", "plugin-payout-solo"]),
        ],
        &[],
    );
}

#[test]
fn siblings_do_not_know_each_other() {
    check(
        &[
            member("sluice-core", "host/core", &[]),
            member("sluice-ledger", "host/ledger", &["sluice-core"]),
            member("sluice-node", "host/node", &["sluice-core", "sluice-ledger"]),
        ],
        &[
            "host/node/Cargo.toml:3: sluice-node must not depend on sluice-ledger: of our crates it may depend on \
           sluice-core",
        ],
    );
}

#[test]
fn core_knows_nobody() {
    check(
        &[member("sluice-core", "host/core", &["sluice-node"]), member("sluice-node", "host/node", &[])],
        &[
            "host/core/Cargo.toml:2: sluice-core must not depend on sluice-node: it may depend on none of our crates",
        ],
    );
}

#[test]
fn a_test_of_a_host_crate_may_look_across() {
    let mut policy = member("sluice-policy", "host/policy", &["plugin-payout-solo"]);
    policy.dependencies[0].kind = DependencyKind::Development;
    check(&[policy, member("plugin-payout-solo", "plugins/payout-solo", &[])], &[]);
}

#[test]
fn plugins_know_nothing_of_the_host_even_in_tests() {
    let mut plugin = member("plugin-x", "plugins/x", &["sluice-core"]);
    plugin.dependencies[0].kind = DependencyKind::Development;
    check(
        &[plugin, member("sluice-core", "host/core", &[]), member("plugin-y", "plugins/y", &["plugin-x"])],
        &[
            "plugins/x/Cargo.toml:2: plugin-x is a plugin and must not depend on sluice-core",
            "plugins/y/Cargo.toml:2: plugin-y is a plugin and must not depend on plugin-x",
        ],
    );
}

#[test]
fn pure_crates_reach_for_nothing() {
    let mut core = member("sluice-core", "host/core", &["serde", "tokio", "rand"]);
    core.dependencies[2].kind = DependencyKind::Development;
    check(&[core], &["host/core/Cargo.toml:3: sluice-core is pure and must not depend on tokio"]);
}

#[test]
fn some_crates_exist_to_hide_a_dependency() {
    check(
        &[member("sluice", "host/sluice", &["wasmtime", "rusqlite"])],
        &[
            "host/sluice/Cargo.toml:2: only sluice-policy may name wasmtime",
            "host/sluice/Cargo.toml:3: only sluice-ledger may name rusqlite",
        ],
    );
}

#[test]
fn a_new_crate_needs_a_place() {
    check(
        &[member("sluice-util", "host/util", &[])],
        &["host/util/Cargo.toml: sluice-util has no place in the layering; give it one in host/xtask"],
    );
}
