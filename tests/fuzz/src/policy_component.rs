//! A component: any bytes are refused with a reason, or are a policy that is held to the rules.
//!
//! What begins like WebAssembly is taken as it is. Anything else seeds a module with the exports of the contract and
//! random instructions behind them, so that some get past the door.

use std::sync::OnceLock;

use arbitrary::Unstructured;
use sluice_core::policy::PolicyKind;
use sluice_policy::config::Settings;
use wit_component::{ComponentEncoder, StringEncoding, dummy_module, embed_component_metadata};
use wit_parser::{LiftLowerAbi, ManglingAndAbi, Resolve, WorldId};

use super::policy::ask;

const WIT: &str = include_str!("../../../wit/policy.wit");

pub fn run(data: &[u8]) {
    answered(data);
}

/// Whether it is a policy, and answered something within the rules.
pub fn answered(data: &[u8]) -> bool {
    if data.starts_with(b"\0asm") {
        let answers = PolicyKind::ALL.map(|kind| ask(kind, data, &Settings::new()));
        return answers.contains(&true);
    }
    let Some((first, rest)) = data.split_first() else { return false };
    let kind = PolicyKind::ALL[usize::from(*first) % PolicyKind::ALL.len()];
    random(kind, rest).is_some_and(|component| ask(kind, &component, &Settings::new()))
}

/// A world of the contract, and a module that has what it exports.
struct World {
    resolve: Resolve,
    id: WorldId,
    exports: Vec<u8>,
}

fn world(kind: PolicyKind) -> &'static World {
    static WORLDS: [OnceLock<World>; 3] = [const { OnceLock::new() }; 3];
    let place = PolicyKind::ALL.iter().position(|one| *one == kind).expect("it is one of them");
    WORLDS[place].get_or_init(|| {
        let mut resolve = Resolve::default();
        let package = resolve.push_str("policy.wit", WIT).expect("the contract is valid");
        let id = resolve.select_world(&[package], Some(&format!("{kind}-policy"))).expect("its world");
        let exports = dummy_module(&resolve, id, ManglingAndAbi::Legacy(LiftLowerAbi::Sync));
        World { resolve, id, exports }
    })
}

/// `None` where the bytes run out, or where what they make is no policy.
fn random(kind: PolicyKind, seed: &[u8]) -> Option<Vec<u8>> {
    let World { resolve, id, exports } = world(kind);
    let config = wasm_smith::Config {
        exports: Some(exports.clone()),
        max_imports: 0,
        max_memory32_bytes: 1 << 20,
        max_table_elements: 1000,
        memory64_enabled: false,
        gc_enabled: false,
        exceptions_enabled: false,
        threads_enabled: false,
        shared_everything_threads_enabled: false,
        relaxed_simd_enabled: false,
        tail_call_enabled: false,
        custom_page_sizes_enabled: false,
        wide_arithmetic_enabled: false,
        allow_start_export: true,
        ..wasm_smith::Config::default()
    };
    let mut module = wasm_smith::Module::new(config, &mut Unstructured::new(seed)).ok()?.to_bytes();
    embed_component_metadata(&mut module, resolve, *id, StringEncoding::UTF8, false).ok()?;
    ComponentEncoder::default().module(&module).ok()?.encode().ok()
}
