//! Random commands, with crashes at any batch: the rows that a start makes are those that running made (I14).

use super::commands::Run;
use super::world::Logged;

/// Runs of the suite.
const SEEDS: u64 = 1000;

fn run(seed: u64, damages: bool) -> [usize; 7] {
    let mut run = Run::new(seed);
    run.damages = damages;
    run.commands();
    run.crash();
    run.oracle.check(&run.world.state);
    run.finish();
    run.did
}

/// The log of a run, for tests that damage it.
pub fn log_of(seed: u64) -> Vec<Vec<Logged>> {
    let mut run = Run::new(seed);
    run.commands();
    run.world.journal.batches
}

/// `PARTITION_SEED=7 cargo test -p pyrouter-partition crash` runs one seed alone, to look at a failure; `PARTITION_SEEDS=100000`
/// runs more of them.
#[test]
fn recovered_rows_equal_the_rows_before_the_crash_i14() {
    let did = runs(SEEDS, false);
    assert!(did.is_none_or(|did| did[..5].iter().all(|&count| count > 200)), "{did:?}");
}

/// The same, with parts of the log and of the store that are lost, and older copies of them. No number is given twice (I2), what
/// is lost is a skip (I7), and what a salvage decided is what the next start reads (I14).
#[test]
fn salvage_gives_no_number_twice_and_skips_what_is_lost_i2() {
    let did = runs(SEEDS / 2, true);
    assert!(did.is_none_or(|did| did.iter().all(|&count| count > 200)), "{did:?}");
}

/// What runs did in all; `None`: it was one seed alone.
fn runs(most: u64, damages: bool) -> Option<[usize; 7]> {
    let only = std::env::var("PARTITION_SEED").ok().and_then(|seed| seed.parse().ok());
    let many = std::env::var("PARTITION_SEEDS").ok().and_then(|seeds| seeds.parse().ok());
    let seeds = only.map_or(0..many.unwrap_or(most), |seed: u64| seed..seed + 1);
    let mut did = [0; 7];
    for seed in seeds {
        match std::panic::catch_unwind(|| run(seed, damages)) {
            Ok(more) => did.iter_mut().zip(more).for_each(|(all, more)| *all += more),
            Err(panic) => {
                eprintln!("repeat it: PARTITION_SEED={seed} cargo test -p pyrouter-partition crash");
                std::panic::resume_unwind(panic);
            }
        }
    }
    only.is_none().then_some(did)
}
