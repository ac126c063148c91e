//! How a record changes its row: the same functions when a partition runs and when it starts (I14).
//!
//! # Rules
//! - A function reads one row and one record, and nothing else: no clock, no configuration, no other row, no randomness, no
//!   undelivered message. [`Names`](crate::names::Names) is a symbol table: it says which slot stands for a name.
//! - It is total: what [`decode`](crate::records::decode) admits is applied, and what does not fit has no effect. Whether a
//!   record is missing before it shows in the change count, which recovery compares.
//! - It must never decide: what may happen, and what follows from it, stands in the record.

pub mod conversation;
pub mod device;
pub mod group;
pub mod message;
pub mod user;
