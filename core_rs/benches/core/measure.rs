//! Runs two sides in turns, A B A B, and prints what each took: CPU of this thread, which others on the machine disturb
//! less than the time on the wall.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// Of each side.
pub const ROUNDS: usize = 7;
const ROUND: Duration = Duration::from_millis(60);

/// Runs the cases that were asked for.
pub struct Bench {
    wanted: Option<String>,
}

impl Bench {
    /// All cases, or those whose name holds `wanted`.
    pub fn new(wanted: Option<String>) -> Self {
        Bench { wanted }
    }

    /// Whether a case is to be run: for those that are costly to set up.
    pub fn wants(&self, name: &str) -> bool {
        self.wanted.as_deref().is_none_or(|wanted| name.contains(wanted))
    }

    /// Measures `ours` beside `yardstick`. One call does `operations` operations.
    pub fn compare(
        &mut self,
        name: &str,
        operations: u32,
        (yardstick_name, mut yardstick): (&str, impl FnMut()),
        mut ours: impl FnMut(),
    ) {
        if !self.wants(name) {
            return;
        }
        let (calls_a, calls_b) = (calibrate(&mut yardstick), calibrate(&mut ours));
        let (mut a, mut b) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            a.push(time(calls_a, &mut yardstick) / f64::from(operations));
            b.push(time(calls_b, &mut ours) / f64::from(operations));
        }
        report(name, yardstick_name, &b, &a);
    }
}

/// Prints a case's line: nanoseconds for one operation, run by run.
pub fn report(name: &str, yardstick_name: &str, ours: &[f64], yardstick: &[f64]) {
    println!(
        r#"{{"name": "{name}", "yardstick_name": "{yardstick_name}", "ours": {ours:.2?}, "yardstick": {yardstick:.2?}}}"#
    );
}

/// Nanoseconds of CPU that a call takes, over enough calls to tell.
pub fn sample(run: &mut impl FnMut()) -> f64 {
    time(calibrate(run), run)
}

/// How many calls fill a round.
fn calibrate(run: &mut impl FnMut()) -> u32 {
    let mut calls = 1;
    loop {
        let took = time(calls, run) * f64::from(calls);
        if took >= ROUND.as_nanos() as f64 / 4.0 || calls >= 1 << 28 {
            return ((f64::from(calls) * ROUND.as_nanos() as f64 / took) as u32).max(1);
        }
        calls *= 2;
    }
}

/// Nanoseconds a call.
fn time(calls: u32, run: &mut impl FnMut()) -> f64 {
    let begin = cpu_ns();
    for _ in 0..calls {
        run();
    }
    (cpu_ns() - begin) as f64 / f64::from(calls)
}

/// CPU that this thread has used, nanoseconds.
pub fn cpu_ns() -> i64 {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    now.tv_sec * 1_000_000_000 + now.tv_nsec
}
