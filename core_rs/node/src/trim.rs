//! When the log's oldest segment goes, and in which steps.
//!
//! What is still needed of it is written again (the partition says what); when that is synced, a batch says what the log keeps
//! from now on; when that is synced, the segment is removed. So a start that finds a first segment missing knows whether it
//! was removed or lost.
//!
//! Writing again costs. So a segment that is needed goes only while the log is more than twice as long as what it is needed for,
//! beside two segments: what is written again is then bounded by what was written. Otherwise it goes if it is hardly needed: an
//! eighth of it is written again at most. So an idle log comes to rest.

use std::collections::VecDeque;

use log::SegmentInfo;
use seam::Position;

#[derive(Clone, Copy, Debug)]
struct Segment {
    id: u32,
    first_batch: u64,
    bytes: u64,
}

/// How far the oldest segment is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// Nothing was done about it.
    Whole,
    /// It can go once this is synced.
    FreeAt(Position),
    /// It can go once the batch is synced that says so.
    ToldAt(Position),
    /// It is being removed.
    Going,
}

/// What is to be done next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Nothing, until more is synced or written.
    Nothing,
    /// What is needed of this segment is to be written again, or it is free: [`Trim::free_at`]. `cheap`: only as far as [`Trim::may_spend`]
    /// says so.
    Retain {
        /// The segment.
        oldest: u32,
        /// Whether only a little may be written for it.
        cheap: bool,
    },
    /// The log keeps batches from this one on; the batch that says so is [`Trim::told_at`].
    Keep(u64),
    /// This segment is to be removed: [`Trim::unlinked`].
    Unlink(u32),
}

/// See the module.
#[derive(Debug)]
pub struct Trim {
    segments: VecDeque<Segment>,
    segment_bytes: u64,
    step: Step,
    /// What was written again for the oldest segment though the log is not long, bytes.
    spent: u64,
}

impl Trim {
    /// Over the segments that a start found, in order; new ones have so many bytes.
    pub fn new(found: &[SegmentInfo], segment_bytes: u32) -> Self {
        let segment = |info: &SegmentInfo| Segment { id: info.id, first_batch: info.first_batch, bytes: info.bytes };
        Self {
            segments: found.iter().map(segment).collect(),
            segment_bytes: segment_bytes.into(),
            step: Step::Whole,
            spent: 0,
        }
    }

    /// A segment begins with this batch.
    pub fn began(&mut self, segment: u32, batch: Position) {
        if self.segments.back().is_none_or(|last| last.id < segment) {
            self.segments.push_back(Segment { id: segment, first_batch: batch.0, bytes: self.segment_bytes });
        }
    }

    /// What to do. `synced`: the last batch on disk. `wanted`: bytes that the log is needed for.
    pub fn next(&self, synced: Position, wanted: u64) -> Next {
        let (Some(oldest), Some(behind)) = (self.segments.front(), self.segments.get(1)) else { return Next::Nothing };
        match self.step {
            Step::Whole => {
                let all: u64 = self.segments.iter().map(|segment| segment.bytes).sum();
                let long = all > 2 * wanted + 2 * self.segment_bytes;
                Next::Retain { oldest: oldest.id, cheap: !long }
            }
            Step::FreeAt(position) if position <= synced => Next::Keep(behind.first_batch),
            Step::ToldAt(position) if position <= synced => Next::Unlink(oldest.id),
            Step::FreeAt(_) | Step::ToldAt(_) | Step::Going => Next::Nothing,
        }
    }

    /// Whether so many bytes may be written again for the oldest segment though the log is not long; they are counted then.
    pub fn may_spend(&mut self, bytes: u64) -> bool {
        let may = self.spent + bytes <= self.segment_bytes / 8;
        self.spent += if may { bytes } else { 0 };
        may
    }

    /// Nothing but this position is needed before the oldest segment can go.
    pub fn free_at(&mut self, position: Position) {
        self.step = Step::FreeAt(position);
    }

    /// This batch says what the log keeps.
    pub fn told_at(&mut self, position: Position) {
        self.step = Step::ToldAt(position);
    }

    /// The oldest segment is being removed.
    pub fn going(&mut self) {
        self.step = Step::Going;
    }

    /// A segment is gone.
    pub fn unlinked(&mut self, segment: u32) {
        if self.segments.front().is_some_and(|oldest| oldest.id == segment) {
            self.segments.pop_front();
            (self.step, self.spent) = (Step::Whole, 0);
        }
    }

    /// How many segments there are.
    pub fn len(&self) -> usize {
        self.segments.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.segments.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trim(segments: u32) -> Trim {
        let mut trim = Trim::new(&[], 100);
        (1..=segments).for_each(|id| trim.began(id, Position(u64::from(id) * 10)));
        trim
    }

    #[test]
    fn the_segment_that_is_written_is_never_touched() {
        assert_eq!(trim(1).next(Position(99), 0), Next::Nothing);
    }

    #[test]
    fn a_segment_goes_in_steps_each_of_which_waits_for_the_disk() {
        let mut trim = trim(3);
        assert_eq!(trim.next(Position(30), 0), Next::Retain { oldest: 1, cheap: false });
        trim.free_at(Position(31));
        assert_eq!(trim.next(Position(30), 0), Next::Nothing);
        assert_eq!(trim.next(Position(31), 0), Next::Keep(20));
        trim.told_at(Position(32));
        assert_eq!(trim.next(Position(31), 0), Next::Nothing);
        assert_eq!(trim.next(Position(32), 0), Next::Unlink(1));
        trim.going();
        assert_eq!(trim.next(Position(40), 0), Next::Nothing);
        trim.unlinked(1);
        assert_eq!((trim.len(), trim.next(Position(40), 0)), (2, Next::Retain { oldest: 2, cheap: true }));
    }

    #[test]
    fn what_is_needed_is_written_again_only_while_the_log_is_long() {
        let trim = trim(6);
        assert_eq!(trim.next(Position(60), 199), Next::Retain { oldest: 1, cheap: false });
        assert_eq!(trim.next(Position(60), 200), Next::Retain { oldest: 1, cheap: true });
    }

    #[test]
    fn a_segment_that_is_hardly_needed_costs_an_eighth_of_one_at_most() {
        let mut trim = trim(3);
        assert!(trim.may_spend(5) && trim.may_spend(7) && !trim.may_spend(1));
        trim.unlinked(1);
        assert!(trim.may_spend(12) && !trim.may_spend(1));
    }

    #[test]
    fn a_segment_begins_once() {
        let mut trim = trim(2);
        trim.began(2, Position(25));
        assert_eq!(trim.len(), 2);
        trim.free_at(Position(0));
        assert_eq!(trim.next(Position(30), 0), Next::Keep(20));
    }
}
