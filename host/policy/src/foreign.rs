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

/// The most address space of a compiling child, in bytes; CPython's component takes a fifth.
const CHILD_MEMORY: libc::rlim_t = 2 << 30;
/// The most processor time of a compiling child, in seconds: it ends even where its parent is gone.
const CHILD_SECONDS: libc::rlim_t = 600;
/// The largest file that a compiling child may write, in bytes: the code of a component of 64 MiB has a quarter of it.
const CHILD_FILE: libc::rlim_t = 1 << 30;
/// Compiling gives way to everything else.
const CHILD_NICENESS: libc::c_int = 15;

/// Makes this process a polite and bounded one. Best effort: a limit that is refused is done without. One that is tighter
/// already stays.
pub(crate) fn confine_child() {
    // Where the machine is out of memory this process is the one to go, not the pool.
    let _ = std::fs::write("/proc/self/oom_score_adj", "1000");
    for (resource, most) in
        [(libc::RLIMIT_AS, CHILD_MEMORY), (libc::RLIMIT_CPU, CHILD_SECONDS), (libc::RLIMIT_FSIZE, CHILD_FILE)]
    {
        let mut now = libc::rlimit { rlim_cur: libc::RLIM_INFINITY, rlim_max: libc::RLIM_INFINITY };
        // SAFETY: plain system calls on integers and a struct that lives through the calls.
        unsafe {
            libc::getrlimit(resource, &raw mut now);
            let limit = now.rlim_cur.min(most);
            let new = libc::rlimit { rlim_cur: limit, rlim_max: limit };
            libc::setrlimit(resource, &raw const new);
        }
    }
    // SAFETY: a plain system call on an integer.
    unsafe {
        libc::nice(CHILD_NICENESS);
    }
}
