//! What a thread used: CPU, and bytes that it wrote to the block device.

use rustix::time::{ClockId, clock_gettime};

/// CPU of this thread, microseconds.
pub fn cpu_us() -> f64 {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    now.tv_sec as f64 * 1e6 + now.tv_nsec as f64 / 1e3
}

/// A line of this thread's /proc/…/io: `write_bytes` or `read_bytes`.
pub fn io(line: &str) -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/io").expect("/proc/thread-self/io can be read");
    let value = text.lines().find_map(|each| each.strip_prefix(line)?.strip_prefix(": ")?.parse().ok());
    value.expect("the kernel accounts for I/O")
}

/// The middle of what was measured.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// The value that `share` of all are below.
pub fn quantile(mut values: Vec<f64>, share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let place = ((values.len() as f64 * share) as usize).min(values.len().saturating_sub(1));
    values.get(place).copied().unwrap_or(f64::NAN)
}
