//! Templates in, blocks out: the only crate that talks to a Bitcoin node.
//!
//! [`bitcoind`] follows a list of nodes over RPC; [`sim`] is a chain that lives in this process. Both hand out a
//! [`NodeHandle`]: a watch of templates, a watch of health, one [`BlockSink`] per node, and [`Places`] to ask where a
//! block is. [`blocks`] keeps every block found on disk until those sinks have said what became of it.
//!
//! Nothing here knows miners, shares or accounts.

pub mod address;
pub mod bitcoind;
pub mod blocks;
mod clock;
mod handle;
pub mod health;
mod http;
mod lookup;
mod place;
pub mod rpc;
pub mod sim;
mod sink;
mod template;

pub use address::{AddressError, Auth, NodeAddress, Secret};
pub use bitcoind::{NodeConfig, Polling, StartError, start};
pub use blocks::{BlockEvent, BlockRecord, BlockStore, JournalError, Outcome};
pub use handle::NodeHandle;
pub use health::{ChainHealth, Health, NodeStatus};
pub use lookup::{BlockPlace, FoundTransaction, Lookup, LookupError, Mempool, NodeFault, Unspent};
pub use place::{Place, PlaceError, Places};
pub use rpc::{Rpc, RpcError};
pub use sink::{BlockSink, SubmitAnswer};
pub use template::TemplateError;
