//! Frames to bytes and back: protobuf (hand-decoded, checked against the generated codec) and its JSON mapping.
//!
//! Knows the schema (`proto/pyrouter/v1/wire.proto`) and its limits. Must never know connections or conversations' state.

pub mod types;
