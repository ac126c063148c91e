//! What the state machine costs by itself: a direct message, a delivery in a group, a change of a group, a start.
//!
//!     cargo bench -p pyrouter-partition --bench path [-- NAME]
//!
//! One JSON line a case, as the core's benchmarks print: runs of CPU time of this thread, the median last. Nothing here
//! touches a disk or a socket. Each case checks what it got.

#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod world;

use wire::types::Change;
use world::{PAIRS, World, cpu_ns, report};

/// Runs of each case.
const RUNS: usize = 5;
/// Bytes of a message's body.
const BODY: usize = 160;
/// Members of the group.
const MEMBERS: usize = 1024;

fn main() {
    let wanted: Option<String> = std::env::args().skip(1).find(|arg| !arg.starts_with('-'));
    let wants = |name: &str| wanted.as_deref().is_none_or(|wanted| name.contains(wanted));
    if wants("direct") {
        direct();
    }
    if wants("fanout") {
        fanout();
    }
    if wants("change") {
        change();
    }
    if wants("start") {
        start();
    }
}

/// A message between two users, acknowledged, its receipt taken and its `accepted` confirmed; lazy facts flushed once in
/// 20,000 messages, as in a second of a busy server.
fn direct() {
    let mut world = World::new();
    let users = world.users(2 * PAIRS);
    let pairs: Vec<_> = users.chunks(2).collect();
    let mut runs = Vec::new();
    let mut bytes = (0, 0);
    for _ in 0..RUNS {
        let (messages, lazy) = (world.journal.message_bytes, world.journal.other_bytes);
        let begin = cpu_ns();
        for n in 0..20_000 {
            let [ann, bob] = pairs[n % PAIRS] else { panic!("a pair") };
            let (id, seq) = world.send(ann, bob, BODY);
            world.sync();
            world.ack(bob, &id, seq);
            world.confirm(ann, &id, seq);
        }
        world.flush();
        runs.push((cpu_ns() - begin) as f64 / 20_000.0);
        bytes = (world.journal.message_bytes - messages, world.journal.other_bytes - lazy);
        assert_eq!(world.pending(), 0, "every message was delivered");
    }
    report("direct: message, ack, receipt, confirmation", "ns a message", &runs);
    report("direct: record of a message of 160 bytes", "bytes", &[bytes.0 as f64 / 20_000.0]);
    report("direct: other records", "bytes a message", &[bytes.1 as f64 / 20_000.0]);
}

/// A message to 1,024 members, acknowledged by all others.
fn fanout() {
    let mut world = World::new();
    let (members, id) = world.group(MEMBERS);
    let mut runs = Vec::new();
    for _ in 0..RUNS {
        let begin = cpu_ns();
        for n in 0..200 {
            let seq = world.post(&members[n % 8], &id, BODY);
            world.sync();
            for (place, member) in members.iter().enumerate() {
                if place != n % 8 {
                    world.ack(member, &id, seq);
                }
            }
            world.confirm(&members[n % 8], &id, seq);
        }
        runs.push((cpu_ns() - begin) as f64 / (200 * (MEMBERS - 1)) as f64);
        world.flush();
        assert_eq!(world.pending(), 0, "every message was delivered");
    }
    report("fanout: ack of one of 1,024 members, its share of the message", "ns a delivery", &runs);
}

/// A change of a group of 1,024 in which every cursor moved since the last one: the cursors stand before it.
fn change() {
    let mut world = World::new();
    let (members, id) = world.group(MEMBERS);
    let (mut quiet, mut busy) = (Vec::new(), Vec::new());
    let mut bytes = 0;
    for n in 0..10 * RUNS {
        let wanted = |text: &str| {
            let name = Some(format!("{text} {n}").into_bytes().into());
            Change::Profile(wire::types::Profile { name, ..Default::default() })
        };
        let begin = cpu_ns();
        world.change(&members[0], &id, wanted("quiet"));
        quiet.push((cpu_ns() - begin) as f64 / 1000.0);
        world.sync();
        let seq = world.post(&members[1], &id, BODY);
        world.sync();
        members.iter().for_each(|member| world.ack(member, &id, seq));
        let before = world.journal.other_bytes;
        let begin = cpu_ns();
        world.change(&members[0], &id, wanted("busy"));
        busy.push((cpu_ns() - begin) as f64 / 1000.0);
        bytes = world.journal.other_bytes - before;
        world.sync();
    }
    report("change: no cursor moved", "us", &quiet);
    report("change: 1,023 cursors moved, logged before it", "us", &busy);
    report("change: bytes of these cursors", "bytes", &[bytes as f64]);
}

/// A start: a million pending messages of 1 KiB in 200,000 conversations, and as many quiet rows as there are users. The
/// records come from memory: what a disk needs for the same bytes comes on top.
fn start() {
    let (conversations, messages, body) = (200_000, 5, 1024);
    let mut world = World::keeping();
    let users = world.users(2 * conversations);
    for pair in users.chunks(2) {
        for _ in 0..messages {
            world.send(&pair[0], &pair[1], body);
        }
        world.sync();
    }
    let records = world.journal.kept.len();
    let bytes: usize = world.journal.kept.iter().map(|record| record.1.len()).sum();
    let mut runs = Vec::new();
    for _ in 0..3 {
        let begin = cpu_ns();
        let state = world.recover();
        runs.push((cpu_ns() - begin) as f64 / 1e9);
        let pending: usize = state.conversations().map(|(_, active)| active.entries.len()).sum();
        assert_eq!(pending, conversations * messages);
    }
    let name = format!("start: {records} records, {} MB, {} pending", bytes >> 20, conversations * messages);
    report(&name, "s", &runs);
}
