//! The calls that the compiler cannot check, each with its reason. Nothing else in this crate is `unsafe`.

#![allow(unsafe_code, reason = "mapping compiled code and setting process limits have no safe interface")]

use std::path::Path;

use wasmtime::Engine;
use wasmtime::component::Component;

/// Maps compiled code that this host wrote itself.
///
/// # Errors
/// Code made by another version or configuration of the engine.
pub(crate) fn map_compiled(engine: &Engine, file: &Path) -> wasmtime::Result<Component> {
    // SAFETY: the file lies in a directory that only this user can write (checked when it is opened), was written by
    // this engine's compiler, is named after the content and the engine it was made by, and is never written again: it
    // comes into being by rename and goes by unlink.
    unsafe { Component::deserialize_file(engine, file) }
}

/// The most address space of a compiling child, in bytes; CPython's component takes a tenth.
const CHILD_MEMORY: libc::rlim_t = 4 << 30;
/// The most processor time of a compiling child, in seconds: it ends even where its parent is gone.
const CHILD_SECONDS: libc::rlim_t = 600;
/// Compiling gives way to everything else.
const CHILD_NICENESS: libc::c_int = 15;

/// Makes this process a polite and bounded one. Best effort: a limit that is refused is done without.
pub(crate) fn confine_child() {
    let memory = libc::rlimit { rlim_cur: CHILD_MEMORY, rlim_max: CHILD_MEMORY };
    let seconds = libc::rlimit { rlim_cur: CHILD_SECONDS, rlim_max: CHILD_SECONDS };
    // SAFETY: plain system calls on integers and structs that live through the call.
    unsafe {
        libc::setrlimit(libc::RLIMIT_AS, &raw const memory);
        libc::setrlimit(libc::RLIMIT_CPU, &raw const seconds);
        libc::nice(CHILD_NICENESS);
    }
}
