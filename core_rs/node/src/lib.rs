//! A partition and a gateway with their log, store, bodies and clock: what one process runs. Why it is shaped like this:
//! docs/adr/0010-gateway-and-node.md. No server uses it yet.
//!
//! - [`bodies`]: bodies of messages in memory, and those that are being read. [`clock`]: the server's time.
//!   [`journal`]: the log, as the partition writes it. [`keys`]: rows by the store's keys.
//!   [`trim`]: when the log's oldest segment goes.
#![deny(unsafe_code)]

pub mod bodies;
pub mod clock;
pub mod journal;
pub mod keys;
pub mod trim;
