//! The contract in Rust, generated from `wit/`. One world that has every export, used interface by interface: a component
//! of any kind binds to the interfaces it has.

#![allow(unsafe_code, reason = "wasmtime's generated bindings wrap functions whose types they checked")]
#![allow(clippy::all, unreachable_pub, reason = "generated")]

mod generated {
    wasmtime::component::bindgen!({
        path: "../../wit",
        inline: "
            package sluice:host;
            world every {
                import sluice:policy/log@0.1.1;
                import sluice:policy/lookup@0.1.1;
                export sluice:policy/lifecycle@0.1.1;
                export sluice:policy/auth@0.1.1;
                export sluice:policy/vardiff@0.1.1;
                export sluice:policy/payout@0.1.1;
            }
        ",
        world: "sluice:host/every",
        ownership: Borrowing { duplicate_if_necessary: true },
        imports: { default: trappable },
    });
}

pub(crate) use generated::exports::sluice::policy::{auth, lifecycle, payout, vardiff};
pub(crate) use generated::sluice::policy::{log, lookup, types};
