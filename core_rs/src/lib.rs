//! The core of pyrouter: a state machine that turns bytes from devices into bytes for devices and records for a log.
//!
//! # Layout
//! From the outside in; arrows point down only.
//! - [`python`]: the extension module: one class, and the table of C functions that `ext/` calls. PyO3 lives here only.
//! - [`runtime`]: an engine, its log threads and the clock, tied together for a process.
//! - [`engine`]: connections, sessions and users; composes the two halves of a partition; no sockets, no threads, no clock.
//! - [`sequencer`]: may this sender write here, was this id seen, which number is next.
//! - [`delivery`]: cursors, windows, receipts and skips: who is still owed what.
//! - [`group`]: what a group is, and what every change does to it.
//!
//! Crates of their own, so that the compiler keeps them from importing what stands above:
//! - [`link`]: one connection's bytes: which carrier, RFC 6455, frame boundaries.
//! - [`wire`]: frames to bytes and back.
//! - [`log`]: records in segments on a disk; the only module of a server that does I/O.
//! - [`load`]: apart from all of these: clients by the thousand, for `pyrouter bench`.

pub mod delivery;
pub mod engine;
pub mod group;
#[cfg(feature = "python")]
#[allow(unsafe_code)]
pub mod python;
pub mod runtime;
pub mod sequencer;
pub mod time;

// The crates below, so that the modules here and the benches find them at `crate::`.
pub use link;
#[cfg(feature = "python")]
pub use load;
pub use log;
pub use wire;
