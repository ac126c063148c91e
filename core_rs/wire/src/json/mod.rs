//! Frames as JSON text: the JSON mapping of protobuf.
//!
//! Written: lowerCamelCase names, defaults left out, integers below 2^53 as numbers and others as text, bytes as padded
//! standard base64, enums by name. Read: what any writer of that mapping may write.

mod read;
mod walk;
mod write;

pub use read::decode_client;
pub(super) use write::Json;
