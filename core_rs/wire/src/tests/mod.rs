//! The wire, held to the schema, to its limits and to docs/wire.md.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

mod any;
mod any_group;
mod client;
mod docs;
mod groups;
mod json;
mod limits;
mod sample_groups;
mod samples;
mod schema;
mod server;
mod stored;
