//! The partition's journal: the log's appender, and how much room clients have in it.
//!
//! On a full disk the segment in reserve, and an eighth of the one before it, are for acknowledgements and whatever gives room:
//! sends are refused before they are numbered.

use std::collections::VecDeque;

use log::{Appender, LogError, Ref};
use seam::{Full, Place, Position};
use smallvec::SmallVec;

/// See the module.
#[derive(Debug)]
pub struct Journal {
    log: Appender,
    segment_bytes: usize,
    /// The first segment of this run.
    first: u32,
    /// The disk has no room for another segment: the one that clients may still fill, begun before.
    full: Option<u32>,
    /// The segment of the last record.
    last: u32,
    /// Segments that were begun, and the first batch of each.
    began: Vec<(u32, Position)>,
    /// Batches that are not durable, and where the first record of each stands: segment and offset.
    open: VecDeque<(Position, (u32, u32))>,
}

impl Journal {
    /// Appends to `log`, whose segments have so many bytes.
    pub fn new(log: Appender, segment_bytes: u32) -> Self {
        let first = log.segment();
        Self {
            log,
            segment_bytes: segment_bytes as usize,
            first,
            full: None,
            last: 0,
            began: Vec::new(),
            open: VecDeque::new(),
        }
    }

    /// The log.
    pub fn log(&mut self) -> &mut Appender {
        &mut self.log
    }

    /// The log, to look at.
    pub fn appender(&self) -> &Appender {
        &self.log
    }

    /// Room for another segment is reserved, or is not to be had. True: the disk was just found full. `came`: clients may have
    /// written to the segment; what a start wrote, before anybody came, does not make it one for them.
    pub fn space(&mut self, ok: bool, came: bool) -> bool {
        let found = !ok && self.full.is_none();
        if ok {
            self.full = None;
        } else if found {
            let begun = self.log.is_begun() && (came || self.log.segment() > self.first);
            self.full = Some(self.log.segment() - u32::from(!begun));
        }
        found
    }

    /// Segments that were written to first since this was last asked, with the first batch that this run wrote to each.
    pub fn take_began(&mut self) -> Vec<(u32, Position)> {
        std::mem::take(&mut self.began)
    }

    /// Batches up to this one are durable.
    pub fn durable(&mut self, position: Position) {
        while self.open.front().is_some_and(|(open, _)| *open <= position) {
            self.open.pop_front();
        }
    }

    /// Whether the record at this place can be read: it is durable. To read another one would show damage.
    pub fn is_readable(&self, place: Place) -> bool {
        self.open.front().is_none_or(|(_, first)| (place.segment, place.offset) < *first)
    }

    /// Whether the disk has room for another segment.
    pub fn has_space(&self) -> bool {
        self.full.is_none()
    }

    /// Bytes that a message's record may take now.
    pub fn room(&self) -> usize {
        let kept = self.segment_bytes / 8;
        match self.full {
            None => self.log.max_body(),
            Some(segment) if segment == self.log.segment() => (self.log.room() as usize).saturating_sub(kept),
            Some(_) => 0,
        }
    }
}

/// A place as the log names it.
pub fn ref_of(place: Place) -> Ref {
    Ref { segment: place.segment, offset: place.offset, len: place.len }
}

impl seam::Journal for Journal {
    fn append(
        &mut self,
        records: &[(u8, &[&[u8]])],
        sync: bool,
        places: &mut SmallVec<[Place; 4]>,
    ) -> Result<Position, Full> {
        let place = |at: Ref| places.push(Place { segment: at.segment, offset: at.offset, len: at.len });
        let appended = self.log.append(records, sync, place);
        match appended {
            Ok(batch) => {
                if let Some(first) = places.first().filter(|_| self.open.back().is_none_or(|last| last.0.0 < batch)) {
                    self.open.push_back((Position(batch), (first.segment, first.offset)));
                }
                // All records of a decision stand in one segment.
                if let Some(place) = places.last().filter(|place| place.segment != self.last) {
                    self.last = place.segment;
                    self.began.push((place.segment, Position(batch)));
                }
                Ok(Position(batch))
            }
            Err(LogError::RecordTooLarge { .. } | LogError::DecisionTooLarge { .. }) => Err(Full::Batch),
            Err(_) => Err(Full::Disk),
        }
    }
}

#[cfg(test)]
mod tests {
    use log::{LogOptions, Recovered};
    use seam::Journal as _;

    use super::*;

    const SEGMENT: u32 = 8 << 10;

    fn journal() -> Journal {
        let options = LogOptions { segment_bytes: SEGMENT, ..LogOptions::default() };
        Journal::new(Appender::new(&Recovered::default(), &options), SEGMENT)
    }

    fn append(journal: &mut Journal, bytes: usize) -> Result<Position, Full> {
        journal.append(&[(1, &[&vec![0; bytes]])], true, &mut SmallVec::new())
    }

    #[test]
    fn all_records_of_a_decision_get_a_place_in_one_batch() {
        let mut journal = journal();
        let mut places = SmallVec::new();
        let position = journal.append(&[(1, &[b"ab", b"c"]), (2, &[b""])], true, &mut places).unwrap();
        assert_eq!(position.0, journal.log().last_batch());
        assert_eq!(places.iter().map(|place| place.len).collect::<Vec<_>>(), [3, 0]);
    }

    #[test]
    fn a_segment_is_named_with_its_first_batch() {
        let mut journal = journal();
        let half = SEGMENT as usize / 2;
        for _ in 0..3 {
            append(&mut journal, half).unwrap();
        }
        let began = journal.take_began();
        assert_eq!(began.iter().map(|each| each.0).collect::<Vec<_>>(), [1, 2, 3]);
        assert!(began.is_sorted_by_key(|each| each.1) && began[0].1 < began[1].1);
        assert!(journal.take_began().is_empty());
    }

    #[test]
    fn a_record_can_be_read_when_its_batch_is_durable() {
        let mut journal = journal();
        let append = |journal: &mut Journal| {
            let mut places = SmallVec::new();
            let position = journal.append(&[(1, &[b"body"]), (1, &[b"body"])], true, &mut places).unwrap();
            journal.log().take(1);
            (position, places)
        };
        let (first, second) = (append(&mut journal), append(&mut journal));
        assert!(first.1.iter().chain(&second.1).all(|place| !journal.is_readable(*place)));
        journal.durable(first.0);
        assert!(first.1.iter().all(|place| journal.is_readable(*place)));
        assert!(second.1.iter().all(|place| !journal.is_readable(*place)));
        journal.durable(second.0);
        assert!(second.1.iter().all(|place| journal.is_readable(*place)));
    }

    #[test]
    fn a_decision_that_no_segment_holds_is_refused() {
        let mut journal = journal();
        let most = journal.log().max_body();
        assert_eq!(append(&mut journal, most + 1), Err(Full::Batch));
        assert!(append(&mut journal, most).is_ok());
    }

    #[test]
    fn on_a_full_disk_clients_may_fill_the_segment_that_they_began_but_for_an_eighth() {
        let mut journal = journal();
        append(&mut journal, 100).unwrap();
        assert!(journal.space(false, true), "just found full");
        assert!(!journal.space(false, true), "and not again");
        assert_eq!(journal.room(), journal.log().room() as usize - SEGMENT as usize / 8);
        let most = journal.room();
        append(&mut journal, most).unwrap();
        assert_eq!(journal.room(), 0);
        // Acknowledgements go on, also in the reserve.
        append(&mut journal, 2000).unwrap();
        assert_eq!(journal.room(), 0);
        assert!(!journal.space(true, true));
        assert!(journal.room() > 0);
    }

    #[test]
    fn what_a_start_wrote_is_not_a_segment_for_clients() {
        let mut journal = journal();
        append(&mut journal, 100).unwrap();
        journal.space(false, false);
        assert_eq!(journal.room(), 0);
    }
}
