//! A configuration: any text comes to a configuration, or to problems with places that are in the text.

use sluice::config::{PROBLEM_LIMIT, parse};

pub fn run(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    match parse(&text, "fuzz.toml") {
        Ok(config) => {
            assert!(!config.stratum_v1.listeners.is_empty());
            assert!((4..=8).contains(&config.stratum_v1.extranonce2_size));
        }
        Err(errors) => {
            assert!(!errors.problems.is_empty() && errors.problems.len() <= PROBLEM_LIMIT);
            let lines = text.split('\n').count();
            for problem in &errors.problems {
                assert!(problem.line >= 1 && problem.line <= lines, "{problem} of {lines} lines");
                assert!(problem.column >= 1 && !problem.wrong.is_empty() && !problem.allowed.is_empty());
                assert!(!problem.to_string().contains(|c: char| c.is_control()), "{problem:?}");
            }
        }
    }
}
