//! Whether a start goes on, and how: one function of what was found (docs/adr/0010-gateway-and-node.md, section 7).
//!
//! # Rules
//! - Nothing is written before this has decided. What cannot be read is no evidence of anything.
//! - What may have been told and is gone is followed by a new generation of numbers. What is known to be missing is a refusal, that
//!   says what was found and what to do; an operator may accept the loss by the code that stands in it.

use std::fmt;

use log::{End, Finding, FindingKind};
use partition::recover::Problem;
use partition::suspects::{Cost, Findings};
use store::StoreError;
use wire::ids::hash_of;

/// Findings that a refusal names; the others are counted.
const NAMED: usize = 3;

/// What an operator said about this start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Consent {
    /// The code of the loss that is accepted, as a refusal gave it.
    pub salvage: Option<String>,
    /// The data directory was restored from a copy: what happened since is lost.
    pub restored: bool,
}

/// What stands beside the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreFound {
    /// No store.
    Missing,
    /// This log's.
    Here {
        /// The highest batch that a row in it ever reflected.
        reflects: u64,
    },
    /// Another log's.
    OtherLog,
    /// It cannot be said whose it is, or what is in it.
    Unusable(StoreError),
}

/// What was found.
#[derive(Clone, Debug)]
pub struct Evidence {
    /// How the last run ended.
    pub end: End,
    /// The last batch that was on disk; 0: the log is empty.
    pub last_batch: u64,
    /// The log says that rows were put into the store.
    pub stored: bool,
    /// Up to which batch it says that rows there reflect.
    pub reflects: u64,
    /// The store.
    pub store: StoreFound,
    /// Damage of the log that no start accepted; a torn end is none.
    pub damage: Vec<Finding>,
    /// Rows that are not known for certain.
    pub rows: Findings,
}

/// How a start goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Where the last run ended.
    GoOn,
    /// With a new generation of numbers.
    Renew(Reason),
}

/// Why numbers go on in a new generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The machine went down, and batches were reported before they were on disk.
    Unsynced,
    /// Nothing says whether the end of the log is all there.
    NoFormat,
    /// The store reflects more than the log has.
    StoreAhead,
    /// The operator says that the directory is a copy.
    Restored,
    /// The operator accepted a loss.
    Salvage,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unsynced => {
                "the machine went down while the log ran without a sync for each batch: what was confirmed last may be lost"
            }
            Self::NoFormat => "the log's file FORMAT was missing: whether the end of the log is all there is not known",
            Self::StoreAhead => "the store reflects more than the log holds: the log's end is lost, or the log is an older copy",
            Self::Restored => "the data directory was restored from a copy: what happened since is lost",
            Self::Salvage => "a loss was accepted with --salvage",
        })
    }
}

/// Why there is no start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// What was found, and what to do.
    pub sentence: String,
    /// How the loss is accepted, if it can be.
    pub salvage: Option<Salvage>,
}

/// A loss that can be accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Salvage {
    /// What [`Consent::salvage`] has to be.
    pub code: String,
    /// What it costs.
    pub cost: Cost,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.sentence)?;
        if let Some(Salvage { code, cost }) = &self.salvage {
            write!(
                f,
                ". To go on without, start with --salvage {code}: that gives up {} rows, sets {} back to what they were before, and \
                 loses at most {} messages with them",
                cost.given_up, cost.set_back, cost.messages
            )?;
        }
        f.write_str(". Nothing was changed")
    }
}

impl Evidence {
    /// Whether there may be rows, of which nothing tells, that are missing.
    pub fn is_partial(&self) -> bool {
        !self.damage.is_empty() || self.store_loss().is_some()
    }

    /// The highest batch that may have been used.
    pub fn used(&self) -> u64 {
        self.last_batch.max(self.store_reflects())
    }

    /// The highest batch that the store reflects; 0: none.
    pub fn store_reflects(&self) -> u64 {
        if let StoreFound::Here { reflects } = self.store { reflects } else { 0 }
    }

    /// What of the store is lost.
    fn store_loss(&self) -> Option<String> {
        let stored = self.stored || self.reflects > 0;
        match self.store {
            StoreFound::Missing if stored => Some("the store is missing, although rows were put there".to_owned()),
            StoreFound::OtherLog if stored => Some("the store is another log's".to_owned()),
            StoreFound::Here { reflects: 0 } if self.reflects > 0 => {
                Some("the store was made anew, although rows were put into another one".to_owned())
            }
            StoreFound::Here { reflects } if reflects < self.reflects => Some(format!(
                "the store is an older copy: it reflects batch {reflects} of the log, and reflected batch {} before",
                self.reflects
            )),
            _ => None,
        }
    }

    /// What is known to be lost.
    fn losses(&self) -> Vec<String> {
        let mut losses: Vec<String> = self.store_loss().into_iter().collect();
        losses.extend(self.damage.iter().take(NAMED).map(|finding| format!("log: {finding}")));
        if self.damage.len() > NAMED {
            losses.push(format!("log: {} more such findings", self.damage.len() - NAMED));
        }
        if self.rows.unreadable > 0 {
            losses.push(format!("{} records cannot be read", self.rows.unreadable));
        }
        losses.extend(self.rows.rows.iter().take(NAMED).map(|(row, problem)| format!("{row:?}: {problem:?}")));
        if self.rows.rows.len() > NAMED {
            losses.push(format!("{} more rows are not known for certain", self.rows.rows.len() - NAMED));
        }
        losses
    }

    /// Names what was found: consent to it is consent to nothing else.
    fn code(&self) -> String {
        let (damage, store) = (&self.damage, self.store_loss());
        let text = format!("{:?} {damage:?} {store:?}", self.rows.digest());
        hash_of(text.as_bytes()).iter().take(6).map(|byte| format!("{byte:02x}")).collect()
    }
}

/// Decides.
///
/// # Errors
/// There is no start, and why.
pub fn decide(found: &Evidence, consent: &Consent) -> Result<Decision, Refusal> {
    let refuse = |sentence: String| Err(Refusal { sentence, salvage: None });
    if let Some(problem) = &found.rows.unknown {
        return refuse(later(problem));
    }
    match &found.store {
        StoreFound::Unusable(error) => return refuse(error.to_string()),
        StoreFound::OtherLog if found.last_batch == 0 => {
            return refuse(
                "the store belongs to a log that is not there: put the folder log/ back, or restore the data \
                 directory from a copy"
                    .to_owned(),
            );
        }
        StoreFound::OtherLog if found.store_loss().is_none() => {
            return refuse(
                "the store belongs to another log, and this one has put no rows into any: move it away, or put the \
                 log back that belongs to it"
                    .to_owned(),
            );
        }
        _ => {}
    }
    if let Some(unread) = found.damage.iter().find(|finding| finding.kind == FindingKind::Unreadable) {
        return refuse(format!(
            "log: {unread}. That may pass: nothing is concluded from it. If it stays, copy the data directory to another disk and \
             start there"
        ));
    }
    let losses = found.losses();
    if !losses.is_empty() {
        let code = found.code();
        if consent.salvage.as_ref() == Some(&code) {
            return Ok(Decision::Renew(Reason::Salvage));
        }
        let sentence =
            format!("{}. Put back what is missing, or restore the data directory from a copy", losses.join("; "));
        return Err(Refusal { sentence, salvage: Some(Salvage { code, cost: found.rows.cost }) });
    }
    let reasons = [
        (found.end.unsynced && !found.end.same_boot, Reason::Unsynced),
        (found.end.new_id, Reason::NoFormat),
        (found.store_reflects() > found.last_batch, Reason::StoreAhead),
        (consent.restored, Reason::Restored),
    ];
    let reason = reasons.into_iter().find(|(holds, _)| *holds);
    Ok(reason.map_or(Decision::GoOn, |(_, reason)| Decision::Renew(reason)))
}

/// A record of a later version.
fn later(problem: &Problem) -> String {
    let Problem::Unreadable { kind, place, why, .. } = problem else { return format!("{problem:?}") };
    format!(
        "log: the record of kind {kind} at segment {} offset {} is not understood by this version of pyrouter ({why:?}): a later \
         version wrote it; run that version",
        place.segment, place.offset
    )
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use partition::bytes::Malformed;
    use seam::{Place, RowKey};

    use super::*;

    fn fine() -> Evidence {
        Evidence {
            end: End { same_boot: true, ..End::default() },
            last_batch: 100,
            stored: true,
            reflects: 90,
            store: StoreFound::Here { reflects: 90 },
            damage: Vec::new(),
            rows: Findings::default(),
        }
    }

    fn with(change: impl FnOnce(&mut Evidence)) -> Evidence {
        let mut found = fine();
        change(&mut found);
        found
    }

    fn finding(kind: FindingKind) -> Finding {
        Finding { kind, segment: 3, offset: 64, bytes: 10, first_batch: 5, last_batch: 6, kept_as: None }
    }

    fn rows(problem: Problem) -> Findings {
        let mut rows = Findings::default();
        rows.rows.insert(RowKey::user("ann"), problem);
        rows
    }

    fn other_boot(found: &mut Evidence, unsynced: bool) {
        found.end = End { unsynced, ..End::default() };
    }

    #[test]
    fn what_fits_goes_on_and_what_may_have_been_told_begins_a_generation() {
        use Decision::*;
        let table: [(Evidence, Decision); 12] = [
            (fine(), GoOn),
            (with(|found| found.end = End { clean: true, ..End::default() }), GoOn),
            // Every batch was on disk before it was reported.
            (with(|found| other_boot(found, false)), GoOn),
            // The process was killed; the machine ran on.
            (with(|found| found.end.unsynced = true), GoOn),
            (with(|found| other_boot(found, true)), Renew(Reason::Unsynced)),
            (with(|found| found.end.new_id = true), Renew(Reason::NoFormat)),
            (with(|found| found.store = StoreFound::Here { reflects: 100 }), GoOn),
            (with(|found| found.store = StoreFound::Here { reflects: 101 }), Renew(Reason::StoreAhead)),
            // A store that has nothing of this log's yet.
            (with(|found| (found.stored, found.reflects, found.store) = (false, 0, StoreFound::Missing)), GoOn),
            (
                with(|found| {
                    (found.stored, found.reflects, found.store) = (false, 0, StoreFound::Here { reflects: 0 })
                }),
                GoOn,
            ),
            // Rows were put, and the log's last words of it were lost.
            (with(|found| (found.stored, found.reflects) = (false, 0)), GoOn),
            (with(|found| found.reflects = 80), GoOn),
        ];
        for (found, expected) in table {
            assert_eq!(decide(&found, &Consent::default()), Ok(expected), "{found:?}");
            let restored = Consent { restored: true, ..Consent::default() };
            let expected = if expected == GoOn { Renew(Reason::Restored) } else { expected };
            assert_eq!(decide(&found, &restored), Ok(expected), "{found:?}");
        }
    }

    #[test]
    fn a_loss_is_refused_and_accepted_by_its_own_code_only() {
        let table: [(Evidence, &str); 9] = [
            (with(|found| found.store = StoreFound::Missing), "the store is missing"),
            (with(|found| (found.stored, found.store) = (false, StoreFound::Missing)), "the store is missing"),
            (with(|found| found.store = StoreFound::OtherLog), "another log"),
            (with(|found| found.store = StoreFound::Here { reflects: 0 }), "made anew"),
            (with(|found| found.store = StoreFound::Here { reflects: 89 }), "older copy: it reflects batch 89"),
            (with(|found| found.damage = vec![finding(FindingKind::Damaged)]), "are damaged"),
            (with(|found| found.damage = vec![finding(FindingKind::Missing)]), "are missing"),
            (with(|found| found.rows.unreadable = 2), "2 records cannot be read"),
            (with(|found| found.rows = rows(Problem::NoImage(RowKey::user("ann")))), "NoImage"),
        ];
        let mut codes = Vec::new();
        for (found, words) in &table {
            // Whatever else holds, and also if the directory is a copy.
            let restored = Consent { restored: true, ..Consent::default() };
            let refusal = decide(found, &restored).unwrap_err();
            assert!(refusal.sentence.contains(words), "{refusal}");
            let code = refusal.salvage.clone().unwrap().code;
            assert!(refusal.to_string().contains(&format!("--salvage {code}")), "{refusal}");
            let consent = Consent { salvage: Some(code.clone()), ..Consent::default() };
            assert_eq!(decide(found, &consent), Ok(Decision::Renew(Reason::Salvage)));
            codes.push(code);
        }
        // The first two are the same loss.
        for (at, code) in codes.iter().enumerate().skip(1) {
            let consent = Consent { salvage: Some(code.clone()), ..Consent::default() };
            let accepted = table.iter().filter(|(found, _)| decide(found, &consent).is_ok()).count();
            assert_eq!(accepted, if at == 1 { 2 } else { 1 }, "{code}");
        }
    }

    #[test]
    fn what_is_no_damage_or_cannot_be_read_is_refused_whatever_the_operator_accepts() {
        let why = Malformed::Unknown { what: "kind of a record", found: 77 };
        let place = Place { segment: 2, offset: 40, len: 8 };
        let unknown = Problem::Unreadable { row: None, kind: 77, place, why };
        let store = |error| with(|found| found.store = StoreFound::Unusable(error));
        let path = || "store/rows.db".to_owned();
        let table: [(Evidence, &str); 8] = [
            (with(|found| found.rows.unknown = Some(unknown)), "record of kind 77 at segment 2 offset 40"),
            (with(|found| found.damage = vec![finding(FindingKind::Unreadable)]), "nothing is concluded"),
            (store(StoreError::UnknownFormat { path: path(), version: 9, known: 1 }), "run the version that wrote it"),
            (store(StoreError::NotAStore { path: path() }), "is not a store"),
            (store(StoreError::DamagedSummary { path: path() }), "is damaged"),
            (store(StoreError::InUse { path: path() }), "in use"),
            (
                with(|found| {
                    (found.last_batch, found.stored, found.reflects, found.store) = (0, false, 0, StoreFound::OtherLog)
                }),
                "a log that is not there",
            ),
            (
                with(|found| (found.stored, found.reflects, found.store) = (false, 0, StoreFound::OtherLog)),
                "move it away",
            ),
        ];
        for (found, words) in table {
            let code = found.code();
            let refusal = decide(&found, &Consent { salvage: Some(code), restored: true }).unwrap_err();
            assert!(refusal.salvage.is_none() && refusal.sentence.contains(words), "{refusal}");
            assert!(refusal.to_string().ends_with("Nothing was changed"));
        }
    }
}
