//! Frames to bytes and back: protobuf (hand-decoded, checked against the generated codec) and its JSON mapping.
//!
//! Knows the schema (`proto/pyrouter/v1/wire.proto`) and its limits. Must never know connections or conversations' state.
//!
//! # Layout
//! - [`types`]: the frames as values, and the limits. [`codes`]: the error codes and what they mean for a client.
//! - [`decode_client`], [`json::decode_client`]: a client's frame from bytes; `decode`, `send`, `manage`, `changes` and
//!   `limits` hold the rules.
//! - `encode`, `client`, `groups`: what fields each frame has, told once for all notations.
//! - [`ids`]: ids of conversations. [`message`]: messages as the log keeps them, and frames made from them.
//! - `fields`: the seam between frames and notations; `reader`, `writer`, [`json`]: the two notations.

mod changes;
mod client;
pub mod codes;
mod decode;
mod encode;
mod error;
mod fields;
mod groups;
pub mod ids;
pub mod json;
mod limits;
mod manage;
pub mod message;
mod reader;
mod send;
pub mod types;
mod writer;

pub use decode::decode_client;
pub use error::WireError;
pub use limits::check_user;
pub use message::stored_for_device;

#[cfg(test)]
mod tests;
