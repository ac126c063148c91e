//! Connections, login, sessions, windows and held outputs. Knows no rule of a conversation: those are a partition's, behind the
//! crate `seam`. No sockets, no threads, no clock. Why it is shaped like this: docs/adr/0010-gateway-and-node.md. No server uses
//! it yet.
#![deny(unsafe_code)]

pub mod accounts;
pub mod encode;
pub mod holding;
pub mod out;
pub mod runs;
