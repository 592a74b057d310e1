//! The fuzz targets on stable, for seconds: every seed as it is, then thousands of deterministic mutations of it.
//! `tests/fuzz` runs the same functions under libFuzzer for as long as one likes.

#![allow(clippy::unwrap_used, reason = "test code: a failure is to stop the test where it is")]

use std::fs;
use std::path::Path;

use proptest::prelude::Rng;
use proptest::test_runner::{RngAlgorithm, TestRng};

#[allow(unreachable_pub, reason = "they are public in their own crate")]
#[path = "../fuzz/src/lib.rs"]
mod targets;

/// Mutations of each seed.
const ROUNDS: usize = 1500;
/// The same, where each is a component that has to be compiled, or an instance that has to be made.
const COMPONENTS: usize = 12;
const ANSWERS: usize = 300;

fn seeds(target: &str) -> Vec<Vec<u8>> {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let mut files: Vec<_> = fs::read_dir(&corpus).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(!files.is_empty(), "{} is empty", corpus.display());
    files.iter().map(|file| fs::read(file).unwrap()).collect()
}

/// Bytes changed, cut, doubled, swapped between seeds, or made of what means something here.
fn mutate(rng: &mut TestRng, bytes: &mut Vec<u8>, other: &[u8]) {
    const WORDS: [&[u8]; 12] = [
        b"\"",
        b"{",
        b"[",
        b"]}",
        b"\n",
        b"null",
        b"\\u0000",
        b"1e999",
        b"-1",
        b"\xff",
        b"mining.",
        b"[[node]]\n",
    ];
    for _ in 0..=rng.next_u32() % 4 {
        let mut below = |limit: usize| usize::try_from(rng.next_u64() % (limit as u64 + 1)).unwrap();
        let at = below(bytes.len());
        match below(5) {
            0 if at < bytes.len() => bytes[at] = u8::try_from(below(255)).unwrap(),
            1 => bytes.insert(at, u8::try_from(below(255)).unwrap()),
            2 => drop(bytes.drain(at..bytes.len().min(at + below(16)))),
            3 => {
                let word = WORDS[below(WORDS.len() - 1)];
                bytes.splice(at..at, word.iter().copied());
            }
            4 => {
                let from = below(other.len());
                let part = other[from..other.len().min(from + below(64))].to_vec();
                bytes.splice(at..at, part);
            }
            _ => bytes.extend_from_within(at..bytes.len().min(at + 32)),
        }
    }
}

fn smoke(target: &str, run: fn(&[u8])) {
    smoke_with(&seeds(target), ROUNDS, run);
}

fn smoke_with(seeds: &[Vec<u8>], rounds: usize, run: fn(&[u8])) {
    let mut rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    for (index, seed) in seeds.iter().enumerate() {
        run(seed);
        let other = &seeds[(index + 1) % seeds.len()];
        for _ in 0..rounds {
            let mut bytes = seed.clone();
            mutate(&mut rng, &mut bytes, other);
            run(&bytes);
        }
    }
}

#[test]
fn sv1_line() {
    smoke("sv1_line", targets::sv1_line::run);
}

#[test]
fn sv1_connection() {
    smoke("sv1_connection", targets::sv1_connection::run);
}

#[test]
fn sv2_connection() {
    smoke("sv2_connection", targets::sv2_connection::run);
}

#[test]
fn sv2_frame() {
    smoke("sv2_frame", targets::sv2_frame::run);
}

#[test]
fn sv2_message() {
    smoke("sv2_message", targets::sv2_message::run);
}

#[test]
fn sv2_handshake() {
    smoke("sv2_handshake", targets::sv2_handshake::run);
}

#[test]
fn config() {
    smoke("config", targets::config::run);
}

#[test]
fn policy_answer() {
    let seeds = seeds("policy_answer");
    // All but one that is an error.
    let answers = seeds.iter().filter(|seed| targets::policy_answer::answered(seed)).count();
    assert_eq!(answers, seeds.len() - 1);
    smoke_with(&seeds, ANSWERS, targets::policy_answer::run);
}

#[test]
fn policy_component() {
    let mut all = seeds("policy_component");
    let frozen = seeds("../../vectors/components/0.1.0");
    let frozen: Vec<_> = frozen.into_iter().filter(|file| file.starts_with(b"\0asm")).collect();
    // Some want settings, and some a login that they know.
    assert!(frozen.iter().filter(|file| targets::policy_component::answered(file)).count() >= 4);
    all.extend(frozen);
    smoke_with(&all, COMPONENTS, targets::policy_component::run);
}
