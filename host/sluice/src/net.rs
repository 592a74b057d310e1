//! Sockets: who may connect ([`gate`]), how ([`listener`], [`tls`]), and the one loop that runs any protocol's state
//! machine over a connection ([`connection`]).

pub mod connection;
pub mod gate;
pub mod listener;
pub mod tls;
mod wire;
