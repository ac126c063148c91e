//! What a start does, from what was found: the table of ADR 0010, section 7, as a function. It reads nothing and does nothing.
//!
//! # Rules
//! - Nothing is concluded from what could not be read, nor from what a later build wrote: such a start is refused, whatever else
//!   was found, and no salvage is offered.
//! - What is lost for certain is salvaged only by an operator who names the code of exactly these findings.
//! - Where numbers or positions may have been told that the log does not have, a generation begins.

use std::fmt;

use wire::ids::hash_of;

use crate::ids::Position;
use crate::suspects::{Cost, Findings};

/// What was found of the log, as far as it is not about rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Log {
    /// The error number of a read that failed.
    pub errno: Option<i32>,
    /// A later build wrote its format or a flag.
    pub later: bool,
    /// Bytes at its end were cut, of which nobody was told that they were durable.
    pub torn: bool,
    /// Batches that were durable, and are damaged or missing; also all of them, where the log says that it was begun.
    pub lost: u64,
    /// It was closed, and nothing was written since.
    pub clean: bool,
    /// The last run reported batches before they were on the disk.
    pub unsynced: bool,
    /// The machine has not started anew since.
    pub same_boot: bool,
    /// Its identity is not the one that its batches were written with.
    pub other_identity: bool,
    /// The last batch.
    pub last: Position,
    /// The store reflects at least this, if it is the log's; 0: no row was ever at rest.
    pub reflects: Position,
}

/// What was found of the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Store {
    /// The error number of a read that failed.
    Errno(i32),
    /// A later build wrote it.
    Later,
    /// What it says of itself cannot be read.
    Damaged,
    /// There is none, or one without rows.
    Empty,
    /// It is another log's.
    Other,
    /// It is the log's, and reflects this position.
    Here(Position),
}

impl Store {
    /// Whether its rows, if it has any, are not those that the log speaks of, so that rows may be missing of which nothing tells:
    /// `damaged` of [`Recovery::resolve`](crate::recover::Recovery::resolve), as are lost batches.
    pub fn is_lost(self, log: &Log) -> bool {
        match self {
            Self::Empty | Self::Other => log.reflects > Position(0),
            Self::Here(reflects) => reflects < log.reflects,
            Self::Errno(_) | Self::Later | Self::Damaged => false,
        }
    }
}

/// What the operator asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// The log and the store are copies that were restored.
    pub restored: bool,
    /// What was found under this code is to be salvaged.
    pub salvage: Option<Code>,
}

/// Stands for findings. Who names it has seen them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Code(pub [u8; 8]);

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Something that a start is refused for, or that makes it begin a generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The log or the store could not be read: the error number.
    Errno(i32),
    /// A later build wrote a part of the log or of the store.
    Later,
    /// What the store says of itself cannot be read; `fsck --repair` makes it anew from its rows.
    StoreDamaged,
    /// So many batches that were durable are damaged or missing.
    LostBatches(u64),
    /// So many rows, and records of which it is not known what they were about, do not fit.
    Suspects(u64),
    /// The store is empty, and should not be.
    StoreLost,
    /// The store is another log's.
    StoreOther,
    /// The store is an older copy: what it reflects, and what it should at least.
    StoreOlder(Position, Position),
    /// The store is ahead of the log, which is an older copy, or lost its end: what it reflects.
    StoreAhead(Position),
    /// What the last run reported last may be gone: the machine has started anew since.
    Unsynced,
    /// The log's identity is not that of its batches.
    OtherIdentity,
    /// The operator says that these are copies.
    Restored,
    /// What was lost is salvaged.
    Salvaged(Cost),
}

/// What a start does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Start {
    /// It goes on.
    GoOn,
    /// It begins a generation; these are the reasons. If one is a salvage, it commits the decisions behind it.
    Renew(Vec<Reason>),
    /// It begins nothing. With a code: a salvage would help, and this is what it would cost.
    Refuse(Vec<Reason>, Option<(Code, Cost)>),
}

/// What a start does. `findings`: of [`Recovery::resolve`](crate::recover::Recovery::resolve).
pub fn decide(log: &Log, store: Store, findings: &Findings, asked: Asked) -> Start {
    let mut refused: Vec<Reason> = log.errno.map(Reason::Errno).into_iter().collect();
    match store {
        Store::Errno(errno) => refused.push(Reason::Errno(errno)),
        Store::Damaged => refused.push(Reason::StoreDamaged),
        _ => {}
    }
    if log.later || store == Store::Later || findings.unknown.is_some() {
        refused.push(Reason::Later);
    }
    if !refused.is_empty() {
        return Start::Refuse(refused, None);
    }
    let lost = lost(log, store, findings);
    let mut renewed = renewed(log, store, asked);
    if lost.is_empty() {
        return if renewed.is_empty() { Start::GoOn } else { Start::Renew(renewed) };
    }
    let code = code(log, store, findings);
    if asked.salvage == Some(code) {
        renewed.push(Reason::Salvaged(findings.cost));
        Start::Renew(renewed)
    } else {
        Start::Refuse(lost, Some((code, findings.cost)))
    }
}

/// What is lost for certain.
fn lost(log: &Log, store: Store, findings: &Findings) -> Vec<Reason> {
    let mut lost = Vec::new();
    if log.lost > 0 {
        lost.push(Reason::LostBatches(log.lost));
    }
    let suspects = findings.rows.len() as u64 + findings.unreadable;
    if suspects > 0 {
        lost.push(Reason::Suspects(suspects));
    }
    if store.is_lost(log) {
        lost.push(match store {
            Store::Here(reflects) => Reason::StoreOlder(reflects, log.reflects),
            Store::Other => Reason::StoreOther,
            _ => Reason::StoreLost,
        });
    } else if store == Store::Other {
        // No row of this log was ever at rest: the store was put here by mistake, and its rows are none of ours.
        lost.push(Reason::StoreOther);
    }
    lost
}

/// Why numbers or positions may have been told that the log does not have.
fn renewed(log: &Log, store: Store, asked: Asked) -> Vec<Reason> {
    let mut renewed = Vec::new();
    if log.unsynced && !log.clean && !log.same_boot {
        renewed.push(Reason::Unsynced);
    }
    if log.other_identity {
        renewed.push(Reason::OtherIdentity);
    }
    if let Store::Here(reflects) = store
        && reflects > log.last
    {
        renewed.push(Reason::StoreAhead(reflects));
    }
    if asked.restored {
        renewed.push(Reason::Restored);
    }
    renewed
}

/// The code of what was found. What was cut or how the last run ended is not part of it: that is the same at the next start, or
/// does not matter.
fn code(log: &Log, store: Store, findings: &Findings) -> Code {
    let facts = format!("{} {:?} {:?} {store:?}", log.lost, log.last, log.reflects);
    let hash = hash_of(&[facts.as_bytes(), &findings.digest()].concat());
    let [a, b, c, d, e, f, g, h, ..] = hash;
    Code([a, b, c, d, e, f, g, h])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bytes::Malformed;
    use crate::ids::{Place, RowKey};
    use crate::recover::Problem;

    /// A log that was closed, with rows in a store that is as new.
    fn log() -> Log {
        Log { clean: true, same_boot: true, last: Position(50), reflects: Position(40), ..Log::default() }
    }

    const HERE: Store = Store::Here(Position(40));

    fn start(log: Log, store: Store) -> Start {
        decide(&log, store, &Findings::default(), Asked::default())
    }

    fn suspects() -> Findings {
        let mut findings = Findings::default();
        findings.note(Problem::NoImage(RowKey::user("ann")));
        findings.cost = Cost { given_up: 1, ..Cost::default() };
        findings
    }

    fn refused(log: Log, store: Store, findings: &Findings) -> (Vec<Reason>, Option<Code>) {
        match decide(&log, store, findings, Asked { restored: true, salvage: None }) {
            Start::Refuse(reasons, salvage) => (reasons, salvage.map(|(code, _)| code)),
            other => unreachable!("{other:?}"),
        }
    }

    #[test]
    fn intact_log_goes_on_however_it_ended() {
        let unclean = Log { clean: false, torn: true, same_boot: false, ..log() };
        for log in [log(), unclean, Log { unsynced: true, same_boot: true, ..unclean }] {
            assert_eq!(start(log, HERE), Start::GoOn);
        }
        assert_eq!(start(Log { unsynced: true, same_boot: false, ..log() }, HERE), Start::GoOn, "it was closed");
        assert_eq!(start(Log::default(), Store::Empty), Start::GoOn, "the first start");
    }

    #[test]
    fn what_may_have_been_told_and_lost_begins_a_generation() {
        let unsynced = Log { clean: false, unsynced: true, same_boot: false, ..log() };
        assert_eq!(start(unsynced, HERE), Start::Renew(vec![Reason::Unsynced]));
        assert_eq!(start(Log { other_identity: true, ..log() }, HERE), Start::Renew(vec![Reason::OtherIdentity]));
        let ahead = Position(51);
        assert_eq!(start(log(), Store::Here(ahead)), Start::Renew(vec![Reason::StoreAhead(ahead)]));
        let restored = Asked { restored: true, salvage: None };
        let start = decide(&log(), HERE, &Findings::default(), restored);
        assert_eq!(start, Start::Renew(vec![Reason::Restored]));
    }

    #[test]
    fn unread_and_later_parts_are_refused_without_a_salvage_whatever_else_there_is() {
        let damaged = Log { lost: 3, ..log() };
        let mut later = suspects();
        let why = Malformed::Unknown { what: "kind of a record", found: 99 };
        later.note(Problem::Unreadable { row: None, kind: 99, place: Place::default(), why });
        let errno = (vec![Reason::Errno(5)], None);
        assert_eq!(refused(Log { errno: Some(5), ..damaged }, HERE, &suspects()), errno);
        assert_eq!(refused(damaged, Store::Errno(5), &suspects()), errno);
        assert_eq!(refused(damaged, HERE, &later), (vec![Reason::Later], None));
        assert_eq!(refused(damaged, Store::Later, &suspects()), (vec![Reason::Later], None));
        assert_eq!(refused(Log { later: true, ..damaged }, HERE, &suspects()), (vec![Reason::Later], None));
        assert_eq!(refused(damaged, Store::Damaged, &suspects()), (vec![Reason::StoreDamaged], None));
    }

    #[test]
    fn loss_is_refused_until_the_code_of_the_same_findings_is_named() {
        let none = Findings::default();
        let cases = [
            (Log { lost: 3, ..log() }, HERE, none.clone(), Reason::LostBatches(3)),
            (log(), HERE, suspects(), Reason::Suspects(1)),
            (log(), HERE, Findings { unreadable: 2, ..none.clone() }, Reason::Suspects(2)),
            (log(), Store::Empty, none.clone(), Reason::StoreLost),
            (log(), Store::Other, none.clone(), Reason::StoreOther),
            (Log { reflects: Position(0), ..log() }, Store::Other, none.clone(), Reason::StoreOther),
            (log(), Store::Here(Position(39)), none, Reason::StoreOlder(Position(39), Position(40))),
        ];
        let mut codes = Vec::new();
        for (log, store, findings, reason) in cases {
            let (reasons, code) = refused(log, store, &findings);
            assert_eq!(reasons, [reason]);
            let code = code.unwrap_or_else(|| unreachable!("a salvage helps with {reason:?}"));
            assert!(!codes.contains(&code), "{reason:?}");
            codes.push(code);
            let asked = |code| Asked { restored: false, salvage: Some(code) };
            let salvaged = Start::Renew(vec![Reason::Salvaged(findings.cost)]);
            assert_eq!(decide(&log, store, &findings, asked(code)), salvaged);
            // Something else was found since, or another code is named.
            let more = Findings { unreadable: 9, ..findings.clone() };
            assert!(matches!(decide(&log, store, &more, asked(code)), Start::Refuse(_, Some(_))));
            assert!(matches!(decide(&log, store, &findings, asked(Code([0; 8]))), Start::Refuse(_, Some(_))));
        }
        assert_eq!(Code([0, 1, 2, 3, 4, 5, 0xab, 0xff]).to_string(), "000102030405abff");
    }
}
