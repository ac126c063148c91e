//! What the core's parts cost, each beside a yardstick that does the unavoidable share of the same work.
//!
//! `cargo bench --bench core` prints a line of JSON for each case: nanoseconds of CPU for one operation, run by run, of
//! both sides, which take turns. `cargo bench --bench core -- NAME` runs the cases whose name holds NAME. Every case checks
//! what came out. benches/core.py puts the lines into docs/performance.md.
//!
//! - `measure`: taking turns and counting. `world`: an engine and what drives it. `wire`, `link`, `log`, `engine`,
//!   `fanout`: the cases, one file for each part.

// A benchmark may stop at what cannot be.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, missing_docs)]

mod engine;
mod fanout;
mod generated;
mod link;
mod log;
mod measure;
mod wire;
mod world;

use measure::Bench;

fn main() {
    // Cargo passes `--bench`; whatever is no option names the cases.
    let wanted = std::env::args().skip(1).find(|argument| !argument.starts_with("--"));
    let mut bench = Bench::new(wanted);
    engine::cases(&mut bench);
    fanout::cases(&mut bench);
    wire::cases(&mut bench);
    link::cases(&mut bench);
    log::cases(&mut bench);
}
