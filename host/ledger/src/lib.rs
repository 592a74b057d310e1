//! The share log, what follows from it, and the books. The only crate that names the database (SQLite).
//!
//! - Shares are queued in order ([`Ledger::append`]) and committed in batches by one thread (`writer`); a share may be
//!   acknowledged once [`Ledger::committed`] has reached it.
//! - Windows of work by account ([`Ledger::contributions`]) and statistics by worker are derived from the log, kept in
//!   memory and rebuilt from it (`window`, `live`, `totals`).
//! - A found block closes a round ([`Ledger::block_found`]); an accepted one's round is settled once
//!   ([`Ledger::settle_round`]), in double entry. What a block that leaves the chain had brought is reversed, and booked
//!   again if it comes back ([`Ledger::block_places`]).
//!
//! Chart of accounts (see `books`): `reward` is debited with what a block brought in; each `account`, and the `house`,
//! is credited with its part and debited with what the coinbase paid it; `coinbase` is credited with what was paid. Each
//! round's entries sum to zero, and so do the books.
//!
//! docs/ledger.md has the schema, sizes and what survives what.

mod account;
mod accruals;
mod audit;
mod backup;
mod blocks;
mod books;
mod check;
mod checkpoint;
mod damage;
mod error;
mod export;
mod file;
mod fold;
mod insert;
mod job;
mod journal;
mod ledger;
mod life;
mod live;
mod money;
mod names;
mod open;
mod owed;
pub mod payouts;
mod query;
mod queue;
mod readonly;
mod recorded;
mod salvage;
mod sums;
mod templates;
mod totals;
mod walk;
mod window;
mod writer;

pub use account::{AccountPayout, AccountView, AccountWorker, Done, Owed};
pub use accruals::{AccrualSettlement, OpenAccrual};
pub use audit::{
    Bearing, Difference, Finding, Judge, MissingPolicy, NoAnswer, PolicyRecord, Progress, Report, Subject,
    UnsettledBlock, audit,
};
pub use backup::{BackedUp, backup};
pub use blocks::{BlockRow, OpenRound, Payment};
pub use books::Settlement;
pub use check::{Checked, TableState, check};
pub use damage::{Damage, DamagedPart};
pub use error::{AppendError, LedgerError, NamesFull, OpenError, Stopped};
pub use export::{Exported, Format, export};
pub use fold::{Folded, Keeps, Needed};
pub use ledger::{Contributions, Ledger, LedgerConfig, QUEUE_LIMIT};
pub use life::{BlockState, Change, INCONCLUSIVE, MATURITY, ORPHANS_WATCHED, Place, Verdict, WatchedBlock};
pub use money::{Money, PayoutRow};
pub use names::NAMES_LIMIT;
pub use open::Durability;
pub use query::{Balance, BlockView, CreditRow, CreditSource, ROWS_LIMIT, Totals, WorkerRow};
pub use readonly::{FileError, database_in};
pub use recorded::{Extent, Recorded, RecordedRound, RecordedShare, RecordedWork, RecordedWorker};
pub use salvage::{Salvaged, SalvagedTable, salvage};
pub use templates::{TEMPLATES_LIMIT, TemplateFacts};
pub use walk::LostRows;
pub use writer::LedgerHealth;
