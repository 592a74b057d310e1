mod lookup;
mod pool;
mod stratum_v2;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use bitcoin::Network;
use proptest::prelude::*;
use sluice_core::policy::PolicyKind;
use sluice_policy::Limits;

use super::address_range::AddressRange;
use super::{Chain, Config, NodeAuth, PROBLEM_LIMIT, ProxyProtocol, parse, reference};

const ADDRESS: &str = "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080";

/// A right configuration with `more` at its end. `more` must not reopen a table.
fn with(more: &str) -> String {
    format!(
        "network = \"regtest\"\ndata_dir = \"data\"\npool.address = \"{ADDRESS}\"\npolicy.dir = \"plugins\"\n{more}"
    )
}

fn good(more: &str) -> Config {
    parse(&with(more), "etc/pool.toml").unwrap_or_else(|errors| panic!("{errors}"))
}

/// The problems of [`with`], as lines.
fn problems(more: &str) -> Vec<String> {
    lines(&with(more))
}

fn lines(text: &str) -> Vec<String> {
    let errors = parse(text, "pool.toml").expect_err("there is a problem");
    errors.problems.iter().map(ToString::to_string).collect()
}

const SIMULATED: &str = "simulation.enabled = true\n";

#[track_caller]
fn check(more: &str, expected: &str) {
    let found = problems(&format!("{SIMULATED}{more}"));
    assert_eq!(found, [expected], "{more}");
}

#[test]
fn defaults_fill_what_is_not_written() {
    let config = good(SIMULATED);
    let listener = &config.stratum_v1.listeners[0];
    assert_eq!(config.network, Network::Regtest);
    assert_eq!(config.pool.tag, "/Sluice/");
    assert_eq!(listener.listen.to_string(), "127.0.0.1:3333");
    assert_eq!(listener.proxy_protocol, ProxyProtocol::Off);
    assert_eq!(config.http.listen.to_string(), "127.0.0.1:8080");
    assert_eq!(config.stratum_v1.extranonce2_size, 8);
    assert_eq!(config.stratum_v1.version_mask.to_string(), "1fffe000");
    assert_eq!(config.policy.of(PolicyKind::Payout).file, "payout-solo.wasm");
    for kind in PolicyKind::ALL {
        assert_eq!(config.policy.of(kind).limits, Limits::of(kind), "{kind}");
    }
}

#[test]
fn paths_begin_at_the_file() {
    let config = good("[[node]]\nurl = \"http://localhost\"\ncookie = \"/absolute/.cookie\"\n");
    assert_eq!(config.data_dir, Path::new("etc/data"));
    assert_eq!(config.policy.dir, Path::new("etc/plugins"));
    let Chain::Nodes(nodes) = config.chain else { panic!("simulated") };
    assert_eq!(nodes[0].auth, NodeAuth::Cookie("/absolute/.cookie".into()));
    // The network's usual port.
    assert_eq!(nodes[0].url, "http://localhost:18443");
}

#[test]
fn node_urls_are_hosts_with_ports() {
    for (url, expected) in [
        ("http://node-1.example/", "http://node-1.example:18443"),
        ("http://[::1]:9", "http://[::1]:9"),
        ("http://[::1]", "http://[::1]:18443"),
    ] {
        let config = good(&format!("[[node]]\nurl = \"{url}\"\nuser = \"u\"\npassword = \"p\"\n"));
        let Chain::Nodes(nodes) = config.chain else { panic!("simulated") };
        assert_eq!(nodes[0].url, expected);
    }
    for url in [
        "127.0.0.1:8332",
        "https://a",
        "http://",
        "http://a:0",
        "http://a:b",
        "http://a/wallet",
        "http://a b",
    ] {
        let found = problems(&format!("[[node]]\nurl = \"{url}\"\ncookie = \"c\"\n"));
        assert!(found.len() == 1 && found[0].starts_with("pool.toml:6:7: node[0].url: "), "{url}: {found:?}");
    }
}

#[test]
fn all_problems_come_at_once_in_the_order_of_the_file() {
    let text = r#"
netwrok = "main"
data_dir = 5
[pool]
tag = "much too long a tag for this"
colour = "red"
[stratum_v1]
extranonce2_size = 9
[[stratum_v1.listener]]
listen = "localhost:3333"
start_difficulty = 0
[http]
allow_remote = "yes"
"#;
    let expected = [
        "pool.toml:1:1: network: is missing; one of \"main\", \"testnet4\", \"signet\", \"regtest\" is required",
        "pool.toml:1:1: policy.dir: is missing; the path of the directory that holds the plugins is required",
        "pool.toml:1:1: node: is missing; at least one [[node]], or simulation.enabled = true, is required",
        "pool.toml:2:1: netwrok: is an unknown key, did you mean `network`?; allowed here: network, data_dir, pool, \
         node, simulation, stratum_v1, stratum_v2, policy, ledger, payouts, http, log",
        "pool.toml:3:12: data_dir: is a whole number where a text in quotes belongs; the path of a directory is allowed",
        "pool.toml:4:1: pool.address: is missing; an address of the network is required",
        "pool.toml:5:7: pool.tag: has 28 bytes; up to 20 characters of printable ASCII is allowed",
        "pool.toml:6:1: pool.colour: is an unknown key; allowed here: tag, address, coinbase_bytes, \
         coinbase_class",
        "pool.toml:8:20: stratum_v1.extranonce2_size: 9 is out of range; a whole number from 4 to 8 is allowed",
        "pool.toml:10:10: stratum_v1.listener[0].listen: \"localhost:3333\" is no IP address with a port; an address \
         with a port is allowed",
        "pool.toml:11:20: stratum_v1.listener[0].start_difficulty: 0.0 is no difficulty; a number greater than 0 \
         (from 2^-32 to 2^128) is allowed",
        "pool.toml:13:16: http.allow_remote: is a text; true or false is allowed",
    ];
    assert_eq!(lines(text), expected);
}

#[test]
fn syntax_errors_have_their_place_too() {
    let found = lines("network = \"regtest\"\ndata_dir = \n= 3\n");
    assert!(
        found.iter().any(|line| line.starts_with("pool.toml:2:") && line.contains(": syntax: ")),
        "{found:?}"
    );
    assert!(found.iter().any(|line| line.contains("pool.address: is missing")), "{found:?}");
    let found = lines("network = \"regtest\"\nnetwork = \"main\"\n");
    assert!(found.iter().any(|line| line.starts_with("pool.toml:2:1: syntax: ")), "{found:?}");
}

#[test]
fn column_counts_characters() {
    check(
        "log = { filter = \"é\", format = \"täxt\" }",
        "pool.toml:6:32: log.format: \"täxt\" is not known, did you mean \"text\"?; one of \"text\", \"json\" is allowed",
    );
}

#[test]
fn typing_mistakes_are_recognised() {
    for (typed, meant) in [("tga", Some("tag")), ("adress", Some("address")), ("coinbase", None), ("t", None)]
    {
        let found = problems(&format!("{SIMULATED}pool.{typed} = 1"));
        let hint = meant.map_or("is an unknown key;".to_owned(), |meant| format!("did you mean `{meant}`?;"));
        assert!(found.len() == 1 && found[0].contains(&hint), "{typed}: {found:?}");
    }
}

#[test]
fn combinations_that_cannot_be_are_refused() {
    let node = "[[node]]\nurl = \"http://a\"\ncookie = \"c\"\n";
    check(
        node,
        "pool.toml:5:22: simulation.enabled: is true beside [[node]]; either nodes or the simulation is allowed",
    );
    check(
        "http.listen = \"0.0.0.0:8080\"",
        "pool.toml:6:15: http.listen: 0.0.0.0:8080 can be reached from other machines; a loopback address, or \
         http.allow_remote = true as well, is allowed",
    );
    good(&format!("{SIMULATED}http = {{ listen = \"0.0.0.0:8080\", allow_remote = true }}"));
    check(
        "http.listen = \"127.0.0.1:3333\"",
        "pool.toml:6:15: http.listen: 127.0.0.1:3333 is taken by stratum_v1 listener \"main\"; an address of its own \
         is allowed",
    );
    check(
        "[stratum_v1]\nsubscribe_timeout_s = 90",
        "pool.toml:6:1: stratum_v1.authorize_timeout_s: is 60, below subscribe_timeout_s = 90; at least that is \
         allowed (raise this or lower subscribe_timeout_s)",
    );
    check(
        "[[stratum_v1.listener]]\nminimum_difficulty = 8\nmaximum_difficulty = 4\nstart_difficulty = 4",
        "pool.toml:8:22: stratum_v1.listener[0].maximum_difficulty: is 4, below minimum_difficulty = 8; at least that \
         is allowed (raise this or lower minimum_difficulty)",
    );
}

#[test]
fn simulation_needs_regtest() {
    let text = with(SIMULATED)
        .replace("regtest", "signet")
        .replace(ADDRESS, "tb1qw508d6qejxtdg4y5r3zarvary0c5xw7kxpjzsx");
    assert_eq!(
        lines(&text),
        [
            "pool.toml:5:22: simulation.enabled: is true; the simulation is allowed with network = \"regtest\" only"
        ]
    );
}

#[test]
fn address_of_another_network_is_refused() {
    let text = with(SIMULATED).replace(ADDRESS, "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4");
    assert_eq!(
        lines(&text),
        ["pool.toml:3:16: pool.address: belongs to another network; an address of regtest is allowed"]
    );
    assert!(lines(&with(SIMULATED).replace(ADDRESS, "bcrt1nonsense"))[0].contains("is no address"));
}

#[test]
fn node_has_one_kind_of_credentials() {
    for (credentials, wrong) in [
        ("", "lacks the other half of its credentials"),
        ("user = \"u\"", "lacks the other half of its credentials"),
        ("password = \"p\"", "lacks the other half of its credentials"),
        ("cookie = \"c\"\nuser = \"u\"\npassword = \"p\"", "is given beside cookie"),
    ] {
        let found = problems(&format!("[[node]]\nurl = \"http://a\"\n{credentials}\n"));
        assert!(found.len() == 1 && found[0].contains(wrong), "{credentials}: {found:?}");
    }
    let twice = "[[node]]\nurl = \"http://a\"\ncookie = \"c\"\n".repeat(2);
    assert!(problems(&twice)[0].contains("node[1].url: is the same as that of an earlier node"));
}

#[test]
fn credentials_never_show() {
    let config = good(
        "[[node]]\nurl = \"http://a\"\nuser = \"u\"\npassword = \"hunter2\"\n[policy.auth.settings]\nsalt = \"hunter2\"\n",
    );
    let shown = format!("{config:?}");
    assert!(!shown.contains("hunter2") && shown.contains("[redacted]") && shown.contains("salt"), "{shown}");
    let found = problems("[[node]]\nurl = \"http://u:hunter2@a\"\ncookie = \"c\"\n");
    assert!(
        !found[0].contains("hunter2") && found[0].contains("belong in `user` and `password`"),
        "{found:?}"
    );
}

#[test]
fn listeners_are_distinct() {
    let found = problems(&format!("{SIMULATED}[[stratum_v1.listener]]\n[[stratum_v1.listener]]\n"));
    assert_eq!(found.len(), 2, "{found:?}");
    let config = good(&format!(
        "{SIMULATED}[[stratum_v1.listener]]\nname = \"a\"\nlisten = \"127.0.0.1:0\"\n\
         [[stratum_v1.listener]]\nname = \"b\"\nlisten = \"127.0.0.1:0\"\ntls = {{ certificate = \"c\", key = \"k\" }}\n"
    ));
    let tls = config.stratum_v1.listeners[1].tls.as_ref().unwrap();
    assert_eq!((tls.certificate.as_path(), tls.key.as_path()), (Path::new("etc/c"), Path::new("etc/k")));
    check(
        "[[stratum_v1.listener]]\ntls.certificate = \"c\"",
        "pool.toml:7:1: stratum_v1.listener[0].tls.key: is missing; the path of a PEM file is required",
    );
}

#[test]
fn settings_become_json_with_sorted_keys() {
    let config = good(&format!(
        "{SIMULATED}[policy.payout.settings]\nz = 1\nfee = 0.5\nlist = [true, \"x\"]\nb = {{ d = 2026-01-02, a = -1 }}\n\
         "
    ));
    let json = serde_json::to_string(&config.policy.payout.settings).unwrap();
    assert_eq!(json, r#"{"b":{"a":-1,"d":"2026-01-02"},"fee":0.5,"list":[true,"x"],"z":1}"#);
    check(
        "policy.auth.settings = { a = nan }",
        "pool.toml:6:24: policy.auth.settings: \"a\" holds a number that is not finite; a table that JSON can express \
         is allowed",
    );
}

#[test]
fn limits_are_of_a_kind_and_have_ranges() {
    let config = good(&format!(
        "{SIMULATED}[policy.payout.limits]\nfuel = 20_000\nfuel_per_item = 0\ndeadline_ms = 250\nmemory_mb = 16\n\
         table_elements = 100\nanswer_kb = 2\nlog_lines = 0\nlog_lines_per_second = 1\n"
    ));
    let expected = Limits {
        fuel: 20_000,
        fuel_per_item: 0,
        deadline: Duration::from_millis(250),
        memory: 16 << 20,
        table_elements: 100,
        answer_bytes: 2048,
        log_lines: 0,
        log_lines_per_second: 1,
        ..Limits::of(PolicyKind::Payout)
    };
    assert_eq!(config.policy.payout.limits, expected);
    assert_eq!(config.policy.vardiff.limits, Limits::of(PolicyKind::Vardiff));
    for (key, value, allowed) in [
        ("fuel", "9_999", "from 10000 to 1000000000000"),
        ("fuel_per_item", "1_000_000_001", "from 0 to 1000000000"),
        ("deadline_ms", "0", "from 1 to 60000"),
        ("memory_mb", "4097", "from 1 to 4096"),
        ("table_elements", "99", "from 100 to 10000000"),
        ("answer_kb", "0", "from 1 to 1048576"),
        ("log_lines", "10_001", "from 0 to 10000"),
        ("log_lines_per_second", "-1", "from 0 to 10000"),
    ] {
        let number = value.replace('_', "");
        let column = "policy.vardiff.limits.".len() + key.len() + 4;
        check(
            &format!("policy.vardiff.limits.{key} = {value}"),
            &format!(
                "pool.toml:6:{column}: policy.vardiff.limits.{key}: {number} is out of range; a whole number {allowed} is allowed"
            ),
        );
    }
    check(
        "policy.auth.limits.fuel_per_item = 1",
        "pool.toml:6:36: policy.auth.limits.fuel_per_item: has no meaning here; an auth policy is asked about one login \
         at a time: `fuel` is allowed",
    );
}

#[test]
fn plugin_is_a_wasm_file_of_the_directory() {
    for file in ["../a.wasm", "/a.wasm", "a.cwasm", ".wasm", "", ".hidden.wasm"] {
        let found = problems(&format!("{SIMULATED}policy.auth.file = \"{file}\""));
        assert!(
            found.len() == 1 && found[0].contains("the name of a .wasm file in policy.dir"),
            "{file}: {found:?}"
        );
    }
}

#[test]
fn version_mask_stays_within_bip320() {
    // V1-75
    for mask in ["ffffffff", "1fffe00", "0x1fffe0", "+1ffe000", "20000000"] {
        let found = problems(&format!("{SIMULATED}stratum_v1.version_mask = \"{mask}\""));
        assert!(found.len() == 1 && found[0].contains("within 1fffe000 (BIP 320)"), "{mask}: {found:?}");
    }
    assert_eq!(
        good(&format!("{SIMULATED}stratum_v1.version_mask = \"00c00000\"")).stratum_v1.version_mask.0,
        0x00c0_0000
    );
}

#[test]
fn ranges_hold_the_addresses_they_say() {
    let range = |text: &str| text.parse::<AddressRange>().unwrap();
    let address = |text: &str| text.parse::<IpAddr>().unwrap();
    for (text, inside, outside) in [
        ("10.0.0.0/8", "10.255.1.2", "11.0.0.0"),
        ("192.0.2.7", "::ffff:192.0.2.7", "192.0.2.8"),
        ("0.0.0.0/0", "255.255.255.255", "::1"),
        ("2001:db8::/32", "2001:db8:ffff::1", "2001:db9::"),
        ("::/0", "::1", "1.2.3.4"),
        ("::1", "::1", "::2"),
    ] {
        assert!(range(text).contains(address(inside)), "{inside} in {text}");
        assert!(!range(text).contains(address(outside)), "{outside} in {text}");
    }
    for text in ["", "10.0.0.0/33", "10.0.0/8", "::/129", "10.0.0.0/", "10.0.0.0/-1", "a"] {
        assert!(text.parse::<AddressRange>().is_err(), "{text}");
    }
}

#[test]
fn very_many_problems_are_counted() {
    let keys: String = (0..PROBLEM_LIMIT * 2).map(|index| format!("key{index} = 1\n")).collect();
    let errors = parse(&keys, "pool.toml").unwrap_err();
    assert_eq!(errors.problems.len(), PROBLEM_LIMIT);
    assert!(errors.to_string().ends_with(&format!("and {} more", errors.more)));
}

#[test]
fn control_characters_of_the_file_do_not_reach_the_terminal() {
    let text = lines("\"\\u001b[2J\" = 1\nnetwork = \"\\u001b[2J\"\n").join("\n");
    assert!(!text.contains('\u{1b}') && text.contains("[2J"), "{text:?}");
}

fn shipped(name: &str) -> (String, String) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../config").join(name);
    (std::fs::read_to_string(&path).unwrap(), path.display().to_string())
}

#[test]
fn shipped_configurations_load() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../config");
    let mut count = 0;
    // What lies in directories is for other commands.
    let files =
        std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_file());
    for file in files {
        Config::load(&file).unwrap_or_else(|errors| panic!("{errors}"));
        count += 1;
    }
    assert!(count >= 2);
}

/// Every key of a text with its value, by path without indices.
fn flatten(prefix: &str, value: &toml::Value, out: &mut BTreeMap<String, toml::Value>) {
    match value {
        toml::Value::Table(table) if !table.is_empty() => {
            for (key, value) in table {
                let path = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
                flatten(&path, value, out);
            }
        }
        toml::Value::Array(items) if items.iter().all(toml::Value::is_table) => {
            items.iter().for_each(|item| flatten(prefix, item, out));
        }
        value => {
            out.insert(prefix.to_owned(), value.clone());
        }
    }
}

/// The reference and the file say the same: every key, and every default.
#[test]
fn sluice_toml_shows_every_key_with_its_default() {
    let (text, _) = shipped("sluice.toml");
    let all: String = text
        .lines()
        .map(|line| {
            let key =
                |rest: &&str| rest.starts_with("[[") || rest.starts_with(|c: char| c.is_ascii_lowercase());
            format!("{}\n", line.strip_prefix('#').filter(key).unwrap_or(line))
        })
        .collect();
    let mut shown = BTreeMap::new();
    flatten("", &toml::Value::Table(all.parse().unwrap()), &mut shown);
    // The shipped policy cannot do without its network; the default is empty.
    shown.remove("policy.auth.settings.network").unwrap();
    shown.insert("policy.auth.settings".to_owned(), toml::Value::Table(toml::Table::new()));
    for key in reference() {
        let value = shown.remove(&key.path).unwrap_or_else(|| panic!("{} is not in sluice.toml", key.path));
        if let Some(default) = key.default {
            let default: toml::Table = format!("x = {default}").parse().unwrap();
            assert_eq!(value, default["x"], "{}", key.path);
        }
    }
    assert!(shown.is_empty(), "unknown keys in sluice.toml: {shown:?}");
}

#[test]
fn guide_names_every_key() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/configuration.md");
    let guide = std::fs::read_to_string(path).unwrap();
    for key in reference() {
        let default = key.default.map_or(String::new(), |default| format!(" | `{default}` |"));
        let row = format!("| `{}`{default}", key.path);
        assert!(guide.contains(&row), "docs/configuration.md lacks {row}");
    }
}

proptest! {
    #[test]
    fn any_text_is_a_configuration_or_a_list_of_problems(text in "\\PC{0,200}") {
        if let Err(errors) = parse(&text, "f") {
            prop_assert!(!errors.problems.is_empty());
        }
    }

    /// Cuts and changes of a real file reach deeper than noise.
    #[test]
    fn damaged_configuration_never_panics(cut in 0usize..9000, at in 0usize..9000, with in "[\\[\\]{}\"'=.,#0-9a-z\\n\u{e9}-]{0,6}") {
        let (text, file) = shipped("sluice.toml");
        let cut = text.floor_char_boundary(cut.min(text.len()));
        let mut text = text[..cut].to_owned();
        text.insert_str(text.floor_char_boundary(at.min(text.len())), &with);
        if let Err(errors) = parse(&text, &file) {
            prop_assert!(!errors.problems.is_empty());
            prop_assert!(errors.problems.iter().all(|problem| problem.line >= 1 && problem.column >= 1));
        }
    }
}
