//! Times in buckets: 64 to a power of two, so that each is at most 1.6 % wide.

/// Buckets to a power of two, as a power of two itself.
const BITS: u32 = 6;
const PART: usize = 1 << BITS;
/// Up to 2^42 ns: more than an hour. What takes longer is in the last one.
const BUCKETS: usize = PART * 37;

/// See the module.
#[derive(Clone, Debug)]
pub struct Histogram {
    counts: Box<[u64]>,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { counts: vec![0; BUCKETS].into() }
    }
}

impl Histogram {
    /// Counts one.
    #[inline]
    pub fn add(&mut self, ns: u64) {
        if let Some(count) = self.counts.get_mut(bucket(ns).min(BUCKETS - 1)) {
            *count += 1;
        }
    }

    /// The buckets that are not empty, ascending: the longest time that each takes, ns, and how many. Empties them.
    pub fn take(&mut self) -> Vec<(u64, u64)> {
        let full = self.counts.iter_mut().enumerate().filter(|(_, count)| **count > 0);
        full.map(|(index, count)| (longest(index), std::mem::take(count))).collect()
    }
}

#[inline]
fn bucket(ns: u64) -> usize {
    if ns < PART as u64 {
        return ns as usize;
    }
    let power = u64::BITS - BITS - 1 - ns.leading_zeros();
    (power as usize) * PART + (ns >> power) as usize
}

fn longest(index: usize) -> u64 {
    if index < PART {
        return index as u64;
    }
    let power = index / PART - 1;
    (((PART + index % PART + 1) as u64) << power) - 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn it_is_empty_until_something_is_counted_and_after_it_was_taken() {
        let mut times = Histogram::default();
        assert_eq!(times.take(), vec![]);
        times.add(5);
        times.add(5);
        times.add(1_000_000);
        let taken = times.take();
        assert_eq!(taken.iter().map(|(_, count)| count).sum::<u64>(), 3);
        assert_eq!(taken[0], (5, 2));
        assert_eq!(times.take(), vec![]);
    }

    #[test]
    fn what_takes_for_ever_is_in_the_last_bucket() {
        let mut times = Histogram::default();
        times.add(u64::MAX);
        assert_eq!(times.take(), vec![(longest(BUCKETS - 1), 1)]);
    }

    proptest! {
        #[test]
        fn a_bucket_is_never_below_its_times_and_at_most_a_64th_above(power in 0u32..42, part: u64) {
            let ns = (1u64 << power) | (part & ((1 << power) - 1));
            let said = longest(bucket(ns));
            prop_assert!(said >= ns && said <= ns + ns / 64, "{ns} is told as {said}");
            prop_assert!(bucket(said) == bucket(ns) && bucket(said + 1) == bucket(ns) + 1);
        }
    }
}
