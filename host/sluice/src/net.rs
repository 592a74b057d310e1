//! Sockets: who may connect ([`gate`], [`handshakes`]), how ([`listener`], [`tls`]), what a newcomer becomes
//! ([`greeter`]), all of them together ([`doors`]), and the one loop that runs any protocol's state machine over a
//! connection ([`connection`]).

pub mod connection;
pub mod doors;
pub mod gate;
pub mod greeter;
pub mod handshakes;
pub mod listener;
pub mod prefixes;
pub mod tls;
mod wire;
