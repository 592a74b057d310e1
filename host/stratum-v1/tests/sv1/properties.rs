use proptest::prelude::*;
use sluice_core::session::Session;
use sluice_stratum_v1::fast;

use crate::support::*;

/// Lines that look like submissions, most of them with something odd.
fn lines() -> impl Strategy<Value = String> {
    let text = prop_oneof![
        8 => "[0-9a-fA-F]{0,10}",
        4 => Just("alice.rig".to_owned()),
        1 => r#"[ -~]{0,12}"#,
        1 => Just("\\u0041".to_owned()),
        1 => Just("é".to_owned()),
        1 => Just("\\\"".to_owned()),
    ];
    let id = prop_oneof![6 => "[1-9][0-9]{0,3}", 1 => "0[0-9]?", 1 => "-1|1\\.5|null|\"a\"|1e3|12345678901234567890"];
    let blank = prop_oneof![5 => Just(""), 3 => Just(" "), 1 => Just("\t")];
    let method =
        prop_oneof![8 => Just("mining.submit"), 1 => Just("mining.ping"), 1 => Just("mining.submit2")];
    (prop::collection::vec(text, 3..8), id, blank, method, any::<prop::sample::Index>(), 0..12u8).prop_map(
        |(texts, id, blank, method, order, odd)| {
            let params: Vec<String> = texts.iter().map(|text| format!("\"{text}\"")).collect();
            let params = format!("[{}]", params.join(&format!(",{blank}")));
            let mut members = vec![
                format!("\"id\":{blank}{id}"),
                format!("\"method\":{blank}\"{method}\""),
                format!("\"params\":{blank}{params}"),
            ];
            members.rotate_left(order.index(3));
            match odd {
                0 => members.push("\"jsonrpc\":\"2.0\"".into()),
                1 => members.push("\"id\":1".into()),
                2 => drop(members.pop()),
                _ => {}
            }
            format!("{{{}}}", members.join(&format!(",{blank}")))
        },
    )
}

/// What the JSON parser makes of a line.
fn slowly(line: &str) -> Option<(String, Vec<String>)> {
    let value: serde_json::Value = serde_json::from_str(line).ok()?;
    (value["method"] == "mining.submit").then_some(())?;
    let params = value["params"].as_array()?.iter().map(|param| Some(param.as_str()?.to_owned()));
    Some((value.get("id")?.to_string(), params.collect::<Option<_>>()?))
}

proptest! {
    #[test]
    fn the_fast_path_finds_what_the_slow_one_does(line in lines()) {
        if let Some((id, fields)) = fast::parse(line.as_bytes()) {
            let (slow_id, slow) = slowly(&line).expect("taken by the fast path only");
            let texts = [fields.worker, fields.job, fields.extranonce2, fields.ntime, fields.nonce];
            let texts: Vec<&str> =
                texts.into_iter().chain(fields.version).map(|text| std::str::from_utf8(text).unwrap()).collect();
            prop_assert_eq!(texts, slow);
            prop_assert_eq!(id, slow_id);
        }
    }

    #[test]
    fn both_paths_answer_the_same(line in lines()) {
        // A tab makes the line unusual and changes nothing else.
        let (mut fast, _) = Pool::ready();
        let (mut slow, _) = Pool::ready();
        let spread = line.replacen(',', ",\t", 1).replacen('{', "{\t", 1);
        if fast::parse(line.as_bytes()).is_some() && slowly(&spread) == slowly(&line) {
            prop_assert_eq!(fast.send_raw(line.as_bytes()), slow.send_raw(spread.as_bytes()));
            prop_assert_eq!(fast.send_raw(b"\n"), slow.send_raw(b"\n"));
            prop_assert_eq!(fast.rejected, slow.rejected);
        }
    }

    #[test]
    fn random_bytes_do_no_harm(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        let (mut pool, _) = Pool::ready();
        pool.send_raw(&bytes);
        pool.send_raw(b"\n");
    }

    #[test]
    fn the_pieces_do_not_matter(lines in prop::collection::vec(lines(), 1..6), cut in any::<prop::sample::Index>()) {
        let handshake = "{\"id\":1,\"method\":\"mining.subscribe\"}\n{\"id\":2,\"method\":\"mining.authorize\",\"params\":[\"alice\"]}\n";
        let all = format!("{handshake}{}\n", lines.join("\n"));
        let at = cut.index(all.len());
        let (mut whole, mut pieces) = (Pool::new(), Pool::new());
        let expected = whole.send_raw(all.as_bytes());
        let mut seen = Vec::new();
        for piece in [&all.as_bytes()[..at], &all.as_bytes()[at..]] {
            seen.extend(pieces.send_raw(piece).lines().map(String::from));
        }
        // Work goes out as soon as it can, so it may stand earlier among the answers.
        let answers = |lines: Vec<String>| -> Vec<String> {
            lines.into_iter().filter(|line| !line.contains("\"id\":null,\"method\"")).collect()
        };
        prop_assert_eq!(answers(seen), answers(expected.lines().map(String::from).collect()));
        prop_assert_eq!(whole.rejected, pieces.rejected);
        prop_assert!(pieces.session.next_effect().is_none());
    }
}

#[test]
fn the_fast_path_takes_the_usual_shapes() {
    for line in [
        r#"{"id":4,"method":"mining.submit","params":["w","1a","0000000000000001","5f5e1000","00000001"]}"#,
        r#"{"params": ["w", "1a", "00", "5f", "1", "2000"], "id": 4, "method": "mining.submit"}"#,
        r#"{ "method" : "mining.submit", "params" : [ "w" , "1a" , "00" , "5f" , "1" ] , "id" : 4 }"#,
    ] {
        assert!(fast::parse(line.as_bytes()).is_some(), "{line}");
    }
}
