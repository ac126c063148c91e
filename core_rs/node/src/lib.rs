//! A partition and a gateway with their log, store, bodies and clock: what one process runs. Why it is shaped like this:
//! docs/adr/0010-gateway-and-node.md. No server uses it yet.
//!
//! - [`node`]: the state machine. [`api`]: what passes between it and its driver. [`config`]: limits. `around`: what a partition is
//!   lent.
//! - [`journal`]: the log, as the partition writes it. [`bodies`]: bodies of messages in memory. [`clock`]: the server's time.
//! - `loads`, [`keys`]: rows from the store. `rests`: rows that go there. `users`: users that an embedder asks about.
//! - `upkeep`: what is done beside serving. [`trim`]: when the log's oldest segment goes.
//! - [`runtime`]: a node with its files, threads and clocks, for a process.
//!
//! # Rules
//! - No I/O, no threads, no clock outside of [`runtime`]: whatever is slow is a [`Request`], answered by a call.
//! - A turn is bounded, in items and in bytes (I11).
#![deny(unsafe_code)]

pub mod api;
mod around;
pub mod bodies;
pub mod clock;
pub mod config;
pub mod journal;
pub mod keys;
mod loads;
pub mod node;
mod rests;
pub mod runtime;
pub mod trim;
mod upkeep;
mod users;

pub use api::{Request, Stats, UserAnswer};
pub use config::Config;
pub use node::Node;

#[cfg(test)]
mod tests;
