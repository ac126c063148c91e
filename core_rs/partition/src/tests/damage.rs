//! What is missing from a log, or cannot be read, is reported; it is never taken for nothing (I12).

use wire::types::{Send, Target};

use super::crash::log_of;
use super::random::Random;
use super::world::{Logged, World, recover};
use crate::bytes::Malformed;
use crate::ids::{Place, Position, RowKey};
use crate::propose::{self, Sent};
use crate::records::{self, Record, kind};
use crate::recover::{Problem, Recovery};
use crate::rows::VERSION;
use crate::suspects::Findings;

/// ann and bob with a device each, and three messages from ann; a batch for each decision.
fn world() -> World {
    let mut world = World::new();
    for user in ["ann", "bob"] {
        let records = propose::create_user(&world.state, user).unwrap().unwrap();
        world.commit(&records);
        world.sync();
        let (_, records) = propose::register_device(&world.state, world.now, &world.config, user).unwrap();
        world.commit(&records);
        world.sync();
    }
    for id in 1..=3 {
        let send = Send {
            id: vec![id].into(),
            target: Target::User("bob".into()),
            body: b"hello"[..].into(),
            bodies: Vec::new(),
            lists: Vec::new(),
            media: Vec::new(),
        };
        let (mut stored, author) = (Vec::new(), world.state.author("ann", 1).unwrap());
        let sent = propose::send(&world.state, world.now, &world.config, author, None, &send, &mut stored).unwrap();
        let Sent::New { records, .. } = sent else { unreachable!("it is new") };
        world.commit(&records);
        world.sync();
    }
    world
}

fn problems(batches: &[Vec<Logged>]) -> Vec<Problem> {
    recover(batches, false).unwrap_err().rows.into_values().collect()
}

/// What a log of one record comes to.
fn findings(kind: u8, body: &[u8]) -> Findings {
    let mut recovery = Recovery::default();
    recovery.take(kind, body, Place::default(), Position(1));
    recovery.resolve(false, false, 0, &mut |_| None).1
}

fn is_message(record: &Logged) -> bool {
    record.0 == kind::MESSAGE
}

#[test]
fn missing_record_is_a_gap() {
    let mut batches = world().journal.batches;
    let second = batches.iter().position(|batch| batch.iter().any(is_message)).unwrap() + 1;
    batches.remove(second);
    let problems = problems(&batches);
    // The message concerned the conversation, and ann's device, which sent it.
    assert!(matches!(
        &problems[..],
        [
            Problem::Gap { row: RowKey::Device(_, 1), due: 2, came: 3 },
            Problem::Gap { row: RowKey::Conversation(_), due: 2, came: 3 }
        ]
    ));
}

#[test]
fn records_without_an_image_are_an_error() {
    let mut batches = world().journal.batches;
    batches.iter_mut().for_each(|batch| batch.retain(|record| record.0 != kind::IMAGE));
    let problems = problems(&batches);
    let rows: Vec<bool> = problems.iter().map(|problem| matches!(problem, Problem::NoImage(_))).collect();
    // Two users, ann's device, and the conversation; bob's device has no record but its image.
    assert_eq!(rows, [true; 4], "{problems:?}");
}

#[test]
fn missing_undelivered_message_is_an_error() {
    let mut world = world();
    let (_, active) = world.state.conversations().next().unwrap();
    let (mut bytes, mut body) = (Vec::new(), Vec::new());
    active.row.encode(&world.state.names, &mut bytes);
    let image = Record::Image { row: RowKey::Conversation(active.id), bytes: bytes.into() };
    let kind = records::encode(&image, &mut body);
    world.journal.batches.push(vec![(kind, body, Place { segment: 9, offset: 0, len: 0 })]);
    assert!(recover(&world.journal.batches, false).is_ok());
    // The last message stood before the image, whose row says that bob lacks it.
    let last = world.journal.batches.len() - 2;
    world.journal.batches.remove(last);
    let problems = problems(&world.journal.batches);
    assert!(matches!(problems[..], [Problem::NoBody { seq: 3, .. }]), "{problems:?}");
}

#[test]
fn record_of_a_later_build_is_refused() {
    let why = Malformed::Unknown { what: "kind of a record", found: 200 };
    let unknown = Problem::Unreadable { row: None, kind: 200, place: Place::default(), why };
    assert_eq!(findings(200, &[]).unknown, Some(unknown));
    let batches = world().journal.batches;
    let (kind, body, _) = batches.iter().flatten().find(|record| record.0 == kind::IMAGE).unwrap();
    let mut body = body.clone();
    // Behind the key (its kind, its length, "ann") stands the version of the row.
    body[5] += 1;
    let why = match findings(*kind, &body).unknown {
        Some(Problem::Unreadable { why, .. }) => why,
        other => unreachable!("{other:?}"),
    };
    assert_eq!(why, Malformed::Unknown { what: "user row", found: VERSION + 1 });
}

#[test]
fn truncated_record_is_refused() {
    for (kind, body, _) in world().journal.batches.iter().flatten() {
        for len in 0..body.len() {
            let found = findings(*kind, &body[..len]);
            let refused = found.unreadable == 1 || found.rows.len() == 1;
            // A stored message may end with any of its fields; its length is the log's to check.
            assert!(refused || *kind == kind::MESSAGE, "{len} bytes of kind {kind}");
        }
    }
}

/// A record with a changed byte is read as another one, refused, or makes a log that does not fit: it never makes the start panic.
#[test]
fn changed_byte_in_a_log_never_panics() {
    let mut random = Random::new(1);
    let (mut fine, mut refused) = (0, 0);
    for seed in 0..60 {
        let batches = log_of(seed);
        for _ in 0..40 {
            let mut batches = batches.clone();
            let mut records: Vec<&mut Logged> =
                batches.iter_mut().flatten().filter(|record| !record.1.is_empty()).collect();
            let place = random.below(records.len());
            let body = &mut records[place].1;
            let at = random.below(body.len());
            body[at] = if random.one_in(4) { 0xFF } else { random.next() as u8 };
            match recover(&batches, true) {
                Ok(mut state) => {
                    state.versions.durable = u64::MAX;
                    state.settle_all();
                    fine += 1;
                }
                Err(_) => refused += 1,
            }
        }
    }
    assert!(fine > 0 && refused > 0, "{fine} {refused}");
}
