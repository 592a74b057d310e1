//! From an empty directory to what a miner is sent, in every language and for every kind: `plugin new`, `build`, `inspect`,
//! `test`, into a running pool, an edit of the author's, built again, reloaded while miners work, and they are sent
//! something else. Real toolchains from the registries, the real program, real sockets.
//!
//! Builds load some 500 MB when nothing is there yet, so they run where `SLUICE_WORKSHOP=1` asks for them, or `CI` is set.

mod auth;
mod author;
mod cell;
mod payout;
mod peers;
mod scene;
mod vardiff;

use std::time::Duration;

use anyhow::{Context, Result};

use author::Author;
use cell::{Cell, Kind, Language};

/// The longest that one cell takes, with its tools from a slow registry.
const LIMIT: Duration = Duration::from_secs(1800);

/// Each cell of the table by itself: `cargo test -p sluice-tests --test workshop python` runs Python's three. They begin in
/// the order of their names, so that two of a language are seldom at work at once.
macro_rules! cells {
    ($($name:ident: $language:ident, $kind:ident;)*) => { $(
        #[tokio::test]
        async fn $name() -> Result<()> {
            prove(Cell { name: stringify!($name), language: Language::$language, kind: Kind::$kind }).await
        }
    )* };
}

cells! {
    auth_c: C, Auth;
    auth_python: Python, Auth;
    auth_quickjs: QuickJs, Auth;
    auth_rust: Rust, Auth;
    auth_starlingmonkey: StarlingMonkey, Auth;
    payout_c: C, Payout;
    payout_python: Python, Payout;
    payout_quickjs: QuickJs, Payout;
    payout_rust: Rust, Payout;
    payout_starlingmonkey: StarlingMonkey, Payout;
    vardiff_c: C, Vardiff;
    vardiff_python: Python, Vardiff;
    vardiff_quickjs: QuickJs, Vardiff;
    vardiff_rust: Rust, Vardiff;
    vardiff_starlingmonkey: StarlingMonkey, Vardiff;
}

async fn prove(cell: Cell) -> Result<()> {
    let Some(mut author) = Author::begin(cell)? else { return Ok(()) };
    let proof = async {
        let Some(first) = author.first_build().await? else { return Ok(()) };
        match cell.kind {
            Kind::Auth => auth::prove(&mut author, &first).await?,
            Kind::Vardiff => vardiff::prove(&mut author, &first).await?,
            Kind::Payout => payout::prove(&mut author, &first).await?,
        }
        author.tell("done");
        Ok(())
    };
    tokio::time::timeout(LIMIT, Box::pin(proof)).await.with_context(|| format!("{cell} does not end"))?
}
