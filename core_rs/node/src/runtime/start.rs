//! Opening a log and its store: what was found, then a decision, and only then the first write.

use std::path::Path;

use log::{Appender, Disk, Finding, FindingKind, LogError, Recovered, Unsettled, make_room};
use partition::ids::GENERATIONS;
use partition::partition::Partition;
use partition::propose;
use partition::records::Record;
use partition::recover::Recovery;
use partition::state::State;
use partition::suspects::Findings;
use seam::{Now, Place, Position, RowKey};
use store::{Identity, Lookup, OpenMode, SqliteOptions, SqliteStore, Store, StoreError};
use wire::ids::hash_of;

use super::decide::{Consent, Decision, Evidence, Reason, Refusal, StoreFound, decide};
use super::{OpenError, Options};
use crate::keys::key_of;
use crate::node::Node;
use crate::trim::Trim;

/// The beginning of 2026, ms since 1970.
const SINCE_MS: u64 = 1_767_225_600_000;

/// What a start read. Nothing is written.
pub(super) struct Found {
    unsettled: Unsettled,
    state: State,
    evidence: Evidence,
    store: Option<SqliteStore>,
}

/// A node, and what it is to be run with.
pub(super) struct Started {
    pub node: Node,
    pub recovered: Recovered,
    pub store: SqliteStore,
    pub decision: Decision,
}

/// Gives a record of the log to the recovery.
pub(super) fn take(recovery: &mut Recovery, record: &log::Record<'_>) {
    let at = record.at;
    let place = Place { segment: at.segment, offset: at.offset, len: at.len };
    recovery.take(record.kind, record.body, place, Position(record.batch));
}

/// Reads everything.
///
/// # Errors
/// The log or a row of the store cannot be read, or a part of the log is not there.
pub(super) fn read<D: Disk>(disk: &D, directory: &Path, now: Now) -> Result<Found, OpenError> {
    let mut recovery = Recovery::default();
    let mut unsettled = log::read(disk, &mut |record| take(&mut recovery, &record))?;
    let (store, beside) = find_store(&mut unsettled, directory);
    let mut evidence = Evidence {
        end: unsettled.end(),
        last_batch: unsettled.last_batch(),
        stored: unsettled.stored(),
        reflects: recovery.reflects.0,
        store: beside,
        damage: new_damage(unsettled.findings(), recovery.generation.position),
        rows: Findings::default(),
    };
    let rows = match &store {
        Some(store) => store.summary()?.counts.0.iter().sum::<u64>() > 0,
        None => false,
    };
    let mut failed = None;
    let (state, findings) = recovery.resolve(rows, evidence.is_partial(), least(now), &mut |row| {
        store.as_ref().and_then(|store| at_rest(store, row).unwrap_or_else(|error| failed.replace(error).and(None)))
    });
    evidence.rows = findings;
    match failed {
        // A row that cannot be read now is not given up.
        Some(error) => Err(error.into()),
        None => Ok(Found { unsettled, state, evidence, store }),
    }
}

/// The store in this directory, if it is the log's. One without its FORMAT file has the identity that its store knows.
fn find_store(unsettled: &mut Unsettled, directory: &Path) -> (Option<SqliteStore>, StoreFound) {
    let open = |id: Option<[u8; 16]>| {
        SqliteStore::open(directory, Identity(id.unwrap_or_default()), OpenMode::Find, &SqliteOptions::default())
    };
    let mut opened = open(unsettled.id());
    if let Err(StoreError::OtherLog { store, .. }) = &opened
        && unsettled.adopt(store.0)
    {
        opened = open(unsettled.id());
    }
    match opened.and_then(|store| Ok((store.summary()?, store))) {
        Ok((summary, store)) => (Some(store), StoreFound::Here { reflects: summary.reflects }),
        Err(StoreError::Missing { .. }) => (None, StoreFound::Missing),
        Err(StoreError::OtherLog { .. }) => (None, StoreFound::OtherLog),
        Err(error) => (None, StoreFound::Unusable(error)),
    }
}

/// The store's row; `None`: it has none that can be used.
fn at_rest(store: &SqliteStore, row: &RowKey) -> Result<Option<(Position, Vec<u8>)>, StoreError> {
    match store.get(&[key_of(row)?]).pop() {
        Some(Lookup::Found(found)) => Ok(Some((Position(found.position), found.value))),
        Some(Lookup::Unreadable(_, error)) => Err(error),
        Some(Lookup::Absent(_) | Lookup::Damaged(..)) | None => Ok(None),
    }
}

/// Damage that no start accepted: one that did set its bytes aside, and began a generation above its batches.
pub(super) fn new_damage(findings: &[Finding], generation: Position) -> Vec<Finding> {
    let accepted = |finding: &Finding| match finding.kind {
        FindingKind::TornEnd => true,
        FindingKind::Damaged => finding.kept_as.is_some() && finding.last_batch <= generation.0,
        FindingKind::Missing => finding.last_batch <= generation.0,
        FindingKind::Unreadable => false,
    };
    findings.iter().filter(|finding| !accepted(finding)).cloned().collect()
}

impl Found {
    /// Decides, and makes the log and the store ready to go on. What was decided stands among the first records of the node.
    ///
    /// # Errors
    /// It is decided that there is no start; or a disk refuses.
    pub fn settle<D: Disk>(
        self,
        disk: &D,
        directory: &Path,
        options: &Options,
        (consent, now): (&Consent, Now),
    ) -> Result<Started, OpenError> {
        let Self { unsettled, state, evidence, store } = self;
        let decision = decide(&evidence, consent)?;
        let concluded = conclude(&state, &evidence, (decision, now))?;
        let mut recovered = unsettled.settle(disk)?;
        recovered.jump_above(evidence.used());
        make_room(disk, &mut recovered, &options.log)?;
        let store = match store {
            Some(store) => store,
            None => make_store(directory, &evidence, Identity(recovered.id))?,
        };
        let partition = Partition::new(state, options.node.partition(), secret(&recovered.id));
        let trim = Trim::new(&recovered.segments, options.log.segment_bytes);
        let mut config = options.node.clone();
        config.segment_bytes = options.log.segment_bytes;
        let mut node = Node::new(config, now, partition, Appender::new(&recovered, &options.log), trim);
        if !node.conclude(&concluded) {
            return Err(LogError::Misused("a start has no room for what it concluded").into());
        }
        Ok(Started { node, recovered, store, decision })
    }
}

/// The records that say what was decided: a generation, and behind it what a salvage decides.
fn conclude(
    state: &State,
    evidence: &Evidence,
    (decision, now): (Decision, Now),
) -> Result<Vec<Record<'static>>, Refusal> {
    let Decision::Renew(reason) = decision else { return Ok(Vec::new()) };
    let (used, reflects) = (Position(evidence.used()), Position(evidence.store_reflects()));
    let spent = || Refusal { sentence: "all generations of numbers were used".to_owned(), salvage: None };
    let mut records = Vec::from(propose::generation(state, used, least(now), reflects).ok_or_else(spent)?);
    if reason == Reason::Salvage {
        records.extend(evidence.rows.decisions(state));
    }
    Ok(records)
}

/// A generation that a lost end of the log does not have: one for each quarter of a day. A clock that is wrong uses up half of all
/// generations at most.
fn least(now: Now) -> u32 {
    let quarters = now.wall_ms.saturating_sub(SINCE_MS) / (6 * 3_600_000);
    u32::try_from(quarters).unwrap_or(u32::MAX).min(GENERATIONS / 2)
}

/// A store where there is none. That of another log is set aside: the operator accepted that this log's is lost.
fn make_store(directory: &Path, evidence: &Evidence, identity: Identity) -> Result<SqliteStore, OpenError> {
    if evidence.store == StoreFound::OtherLog {
        let aside = directory.with_extension(format!("set-aside-{}", evidence.last_batch));
        std::fs::rename(directory, &aside).map_err(|error| OpenError::Directory(directory.to_owned(), error))?;
    }
    Ok(SqliteStore::open(directory, identity, OpenMode::Make, &SqliteOptions::default())?)
}

/// By what the partition knows its own tokens. It is as secret as the log's identity: whoever reads the data directory knows it.
/// With another identity, clients get receipts again that they have.
fn secret(id: &[u8; 16]) -> [u8; 16] {
    let hash = hash_of(&[b"receipt tokens".as_slice(), id].concat());
    hash.first_chunk().copied().unwrap_or_default()
}
