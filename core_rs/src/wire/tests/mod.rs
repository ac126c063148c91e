//! The wire, held to the generated codec, to its limits and to docs/wire.md.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

mod stored;
