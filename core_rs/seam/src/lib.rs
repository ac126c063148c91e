//! The seam between gateway and partition: what they say to each other, and what a node lends to both. No implementation.
//!
//! A gateway has connections and sessions, and knows no rule. A partition has users, devices and conversations, and knows no
//! connection. Neither imports the other. Why it is shaped like this: docs/adr/0010-gateway-and-node.md.
//!
//! - [`ids`]: names for rows, places and positions. [`commands`]: gateway to partition. [`outputs`]: partition to gateway.
//!   [`env`]: what a node lends for the length of a call: the time, the journal, bodies, the gateway.
//!
//! Units: bytes; ms since 1970 (`_ms`) or of a monotonic clock (`mono_ms`); sequence numbers.
#![deny(unsafe_code)]

pub mod commands;
pub mod env;
pub mod ids;
pub mod outputs;

pub use commands::{Attach, Attached, Commands, Credit, Query, Served, Taken, Wait};
pub use env::{Bodies, Body, Env, Full, Journal, Lent, Now};
pub use ids::{Address, ConversationId, DeviceId, Place, Position, RowKey, Token};
pub use outputs::{Action, Outputs, Refusal};
