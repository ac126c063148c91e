//! Users, devices and conversations as rows that records change.
//!
//! A library without I/O, sockets, threads or a clock. See docs/adr/0009-one-state-machine.md.
//!
//! # Layout
//! - [`ids`], [`names`], [`bytes`]: what things are called, in memory and as bytes.
//! - [`rows`]: users, devices and conversations: all that is remembered.
//! - [`records`]: decided facts about rows. [`apply`]: what a record does to its row, running and starting alike (I14).
#![deny(unsafe_code)]

pub mod active;
pub mod apply;
pub mod bytes;
pub mod claims;
pub mod commit;
pub mod config;
pub mod entries;
pub mod ids;
pub mod journal;
pub mod lazy;
pub mod names;
pub mod propose;
pub mod records;
pub mod recover;
pub mod rest;
pub mod retention;
pub mod rows;
pub mod start;
pub mod state;
pub mod users;

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests;
