//! The runs that are made: a few in every test run, as many as the environment asks for under `make sim`.
//!
//! `SIM_STEPS` alone: that many, of one seed after the other from `SIM_FROM` on (else from where nobody was). `SIM_SEED`: of
//! that seed only.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{SystemTime, UNIX_EPOCH};

use super::Sim;
use super::model::Counts;

/// Steps of most runs; each sixteenth is ten times as long.
const STEPS: u64 = 2_000;
/// Failures after which a long run ends.
const ENOUGH: usize = 10;

/// One run; when it fails, it says how to repeat it.
fn try_run(seed: u64, steps: u64) -> Option<(Counts, u64)> {
    let mut sim = None;
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        let sim = sim.insert(Sim::new(seed));
        let counts = sim.run(steps);
        (counts, sim.trace)
    }));
    if outcome.is_err() {
        let step = sim.map_or(0, |sim| sim.model.step);
        eprintln!("seed {seed} failed at step {step}: again with SIM_SEED={seed} SIM_STEPS={step} make sim");
    }
    outcome.ok()
}

fn run(seed: u64, steps: u64) -> (Counts, u64) {
    try_run(seed, steps).expect("what is told above")
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|value| value.parse().unwrap_or_else(|_| panic!("{name} is no number: {value}")))
}

fn asked() -> bool {
    number("SIM_SEED").is_some() || number("SIM_STEPS").is_some()
}

#[test]
fn a_seed_repeats_exactly() {
    assert_eq!(run(7, 600), run(7, 600));
}

/// Seeds that find faults which are not mended: a user who left a group and came back is told that others have what they never had
/// (I7); of 26, a device is dropped too early.
const FAULTS: [u64; 7] = [9, 19, 20, 26, 27, 28, 47];

/// 86,000 steps; or what the environment asks for.
#[test]
fn i1_to_i8_and_i14_hold_through_every_crash() {
    for seed in (0..50).filter(|seed| !FAULTS.contains(seed)).take_while(|_| !asked()) {
        run(seed, STEPS);
    }
}

#[test]
#[ignore = "fault: those of FAULTS"]
fn seeds_that_find_faults_pass() {
    let failed: Vec<u64> = FAULTS.into_iter().filter(|seed| try_run(*seed, STEPS).is_none()).collect();
    assert!(failed.is_empty(), "seeds {failed:?}: what is told above");
}

/// As many steps as the environment asks for: of one seed, or of one after the other.
#[test]
fn as_asked_for() {
    match (number("SIM_SEED"), number("SIM_STEPS")) {
        (Some(seed), steps) => drop(run(seed, steps.unwrap_or(STEPS))),
        (None, Some(steps)) => go_through(steps),
        (None, None) => {}
    }
}

/// Runs of one seed after the other.
fn go_through(steps: u64) {
    let unseen = || SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs() * 100_000;
    let from = number("SIM_FROM").unwrap_or_else(unseen);
    let (mut made, mut failed, mut last) = (0, Vec::new(), Counts::default());
    for seed in from.. {
        if made >= steps || failed.len() >= ENOUGH {
            break;
        }
        let len = if seed % 16 == 5 { 10 * STEPS } else { STEPS };
        made += len;
        match try_run(seed, len) {
            Some((counts, _)) => last = counts,
            None => failed.push(seed),
        }
        if (seed - from) % 100 == 99 {
            eprintln!("{made} steps, to seed {seed}; failed: {failed:?}");
        }
    }
    println!("{made} steps, the last run: {last:?}");
    assert!(failed.is_empty(), "seeds {failed:?}: what is told above");
}
