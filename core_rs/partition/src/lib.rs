//! Users, devices and conversations as rows that records change.
//!
//! A library without I/O, sockets, threads or a clock. Why it is shaped like this: docs/adr/0009-one-state-machine.md. No server
//! uses it yet.
//!
//! # Layout
//! - [`ids`], [`names`], [`bytes`]: what things are called, in memory and as bytes.
//! - [`rows`]: users, devices and conversations: all that is remembered.
//! - [`records`]: decided facts about rows. [`apply`]: what a record does to its row, running and starting alike (I14).
//! - [`propose`]: what a command comes to, as records, or a refusal. [`commit`]: records are appended to the [`journal`], with
//!   what must stand before them, and applied to the [`state`] (with [`active`], [`entries`], [`users`]).
//! - [`lazy`]: acknowledgements, reads and what devices have seen, which are logged within a second. [`claims`]: what a user is
//!   known to have (I7). [`serve`]: what a mailbox is to get next (I3). [`receipts`]: what a device that attaches learns about
//!   others. [`queries`]: what a device asks for.
//! - [`attached`], [`online`], [`partition`]: sessions, and what a gateway and a node call.
//! - [`recover`], [`start`]: from a log to a state. [`suspects`]: what does not fit, and what a salvage makes of it.
//!   [`retention`]: what keeps the oldest segment. [`rest`]: rows that go to a store and come back. [`index`]: which
//!   conversations a user has, in memory and at rest. [`upkeep`]: devices that nobody uses any more.
//! - `tests`: the crash test, which holds most of the above together, and what single commands come to.
//!
//! It must never know a connection, a file or a store: the crate `node` asks the store for what [`rest`] and [`index`] name, and
//! `gateway` holds outputs until their position is durable.
#![deny(unsafe_code)]

pub mod active;
pub mod apply;
pub mod attached;
pub mod bytes;
pub mod claims;
pub mod commit;
pub mod config;
pub mod entries;
pub mod ids;
pub mod index;
pub mod journal;
pub mod lazy;
pub mod memory;
pub mod names;
pub mod online;
pub mod partition;
pub mod propose;
pub mod queries;
pub mod receipts;
pub mod records;
pub mod recover;
pub mod rest;
pub mod retention;
pub mod rows;
pub mod serve;
pub mod start;
pub mod state;
pub mod suspects;
pub mod upkeep;
pub mod users;

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests;
