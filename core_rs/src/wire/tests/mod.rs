//! The wire, held to the schema, to its limits and to docs/wire.md.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

mod any;
mod client;
mod docs;
mod json;
mod limits;
mod samples;
mod schema;
mod server;
mod stored;
