use super::*;

const THEN: &str = "package sluice:policy@0.1.0;
interface types { type sats = u64; variant fault { bad(string), none } }
interface log { enum level { info, warn } write: func(level: level, text: string); }
interface payout {
  use types.{sats, fault};
  record round { height: u32, fees: sats, finder: option<string> }
  settle: func(round: round) -> result<list<u64>, fault>;
}
world payout-policy { import log; export payout; }";

fn broken_by(change: &[(&str, &str)]) -> Vec<String> {
    let mut text = THEN.replace("@0.1.0", "@0.1.1");
    for (from, to) in change {
        assert!(text.contains(from), "{from} is there");
        text = text.replace(from, to);
    }
    let (mut then, mut now) = (Resolve::default(), Resolve::default());
    let old = then.push_source("then.wit", THEN).unwrap();
    let new = now.push_source("now.wit", &text).unwrap();
    broken((&then, old), (&now, new))
}

#[test]
fn what_a_track_allows_breaks_nothing() {
    assert_eq!(broken_by(&[]), [""; 0]);
    let function = ("text: string);", "text: string); flush: func();");
    let interface = ("interface types", "interface more { ask: func() -> u32; } interface types");
    let world = ("world payout-policy", "world other { import more; export payout; } world payout-policy");
    assert_eq!(broken_by(&[function]), [""; 0], "a function of log");
    assert_eq!(broken_by(&[interface, world]), [""; 0], "an interface and a world");
    assert_eq!(broken_by(&[("type sats = u64;", "type sats = u64; type height = u32;")]), [""; 0], "a type");
    assert_eq!(broken_by(&[("height: u32", "/// Words.\nheight: u32")]), [""; 0], "words");
}

#[test]
fn every_change_of_a_type_is_named_where_it_is_used() {
    for (change, part) in [
        (("height: u32", "height: u64"), "payout.round was record { height: u32"),
        (("height: u32, ", ""), "payout.round"),
        (("finder: option<string>", "finder: string"), "payout.round"),
        (("fees: sats", "fees: sats, extra: bool"), "payout.settle"),
        (("bad(string), none", "bad(string)"), "types.fault"),
        (("bad(string), none", "bad(string), none, other"), "types.fault"),
        (("bad(string), none", "none, bad(string)"), "types.fault"),
        (("info, warn", "info, warn, error"), "log.level"),
        (("type sats = u64", "type sats = s64"), "types.sats was u64 and is s64"),
        (("text: string)", "text: string, more: bool)"), "log.write"),
        (("result<list<u64>, fault>", "result<list<u64>>"), "payout.settle"),
    ] {
        let broken = broken_by(&[change]);
        assert!(broken.iter().any(|line| line.contains(part)), "{change:?}: {broken:?}");
    }
}

#[test]
fn a_function_that_an_earlier_plugin_lacks_is_named() {
    let added = ("settle: func", "preview: func(); settle: func");
    assert_eq!(broken_by(&[added]), ["payout.preview is new: an earlier plugin does not have it"]);
}

#[test]
fn worlds_keep_what_they_import_and_export() {
    let more = broken_by(&[
        ("interface log", "interface more { ask: func(); } interface log"),
        ("import log;", "import log; import more;"),
    ]);
    assert_eq!(more.len(), 1, "{more:?}");
    assert!(
        more[0].starts_with("world payout-policy was { export payout; import log; import types }"),
        "{more:?}"
    );
    let gone = broken_by(&[("world payout-policy", "world payouts")]);
    assert_eq!(gone, ["world payout-policy is gone"]);
}
