//! One engine for all policies: what WebAssembly may be, and the clock that ends a call.

use std::thread;
use std::time::Duration;

use wasmtime::{Config, Engine, WasmFeatures};

use crate::error::StartError;

/// How often the epoch moves; a deadline is counted in these.
pub(crate) const TICK: Duration = Duration::from_millis(10);

/// Stack of a guest. The policy threads have eight times as much.
const GUEST_STACK: usize = 1 << 20;

/// Deterministic (fuel, canonical NaNs, no relaxed SIMD, no threads) and bounded (epochs). The same in the process that
/// compiles and in the one that runs, or the code does not load.
fn config() -> Config {
    let mut config = Config::new();
    config
        .wasm_component_model(true)
        .concurrency_support(false)
        .consume_fuel(true)
        .epoch_interruption(true)
        .cranelift_nan_canonicalization(true)
        .wasm_relaxed_simd(false)
        // Off by crate features too; said here so that a feature switched on elsewhere changes nothing.
        .wasm_features(WasmFeatures::THREADS | WasmFeatures::SHARED_EVERYTHING_THREADS, false)
        .wasm_features(WasmFeatures::GC | WasmFeatures::FUNCTION_REFERENCES | WasmFeatures::EXCEPTIONS, false)
        .wasm_memory64(false)
        .wasm_tail_call(false)
        // Switched off, a valid QuickJS component panics in the compiler.
        .wasm_multi_memory(true)
        .max_wasm_stack(GUEST_STACK);
    config
}

/// An engine that compiles and runs.
///
/// # Errors
/// A machine that wasmtime does not support.
pub(crate) fn engine() -> Result<Engine, StartError> {
    Engine::new(&config()).map_err(|error| StartError::Engine(format!("{error:#}")))
}

/// Starts the clock of an engine; it ends with the engine.
pub(crate) fn tick(engine: &Engine) -> Result<(), StartError> {
    let engine = engine.weak();
    thread::Builder::new()
        .name("policy-clock".to_owned())
        .spawn(move || {
            while let Some(engine) = engine.upgrade() {
                engine.increment_epoch();
                drop(engine);
                thread::sleep(TICK);
            }
        })
        .map(|_| ())
        .map_err(|error| StartError::Thread(error.to_string()))
}
