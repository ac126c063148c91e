//! A node driven from its outside, with a disk, a store and connections played by the test.
#![allow(dead_code, reason = "more tests of the old core come here with the swap")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, missing_docs)]

pub mod frames;
pub mod group_frames;
pub mod rig;

mod accounts;
mod acks;
mod claims;
mod conversations;
mod enemy;
mod groups;
mod sim;

use std::borrow::Cow;

use frames::Got;
use log::LogOptions;
use log::sim::SimDisk;
use partition::records::Record;
use rig::{Client, Rig, START};
use seam::{Now, RowKey};
use smallvec::SmallVec;
use wire::types::{Ack, ClientFrame, ConversationId};

use crate::{Config, Node};

/// A fresh router.
fn rig() -> Rig<SimDisk> {
    rig_with(Config::default())
}

fn rig_with(config: Config) -> Rig<SimDisk> {
    Rig::open(SimDisk::new(1), config, small_log(), START, Default::default())
}

/// Segments small enough to see them come and go.
fn small_log() -> LogOptions {
    LogOptions { segment_bytes: 16 << 10, batch_bytes: 4 << 10, ..LogOptions::default() }
}

/// The same router after its process was killed: what was synced is there, connections are not.
fn restart(rig: Rig<SimDisk>) -> Rig<SimDisk> {
    let disk = rig.disk.clone();
    disk.crash();
    disk.restart();
    let now = Now { mono_ms: rig.now.mono_ms + 20, wall_ms: rig.now.wall_ms + 20 };
    let (config, rows) = (rig.config.clone(), rig.rows.clone());
    drop(rig);
    Rig::open(disk, config, small_log(), now, rows)
}

/// Messages only: conversation's seqs.
fn seqs(got: &[Got]) -> Vec<u64> {
    got.iter().filter_map(|g| if let Got::Message { seq, .. } = g { Some(*seq) } else { None }).collect()
}

fn codes(got: &[Got]) -> Vec<&str> {
    got.iter().filter_map(|g| if let Got::Error { code, .. } = g { Some(code.as_str()) } else { None }).collect()
}

fn receipts(got: &[Got]) -> Vec<(&str, u64, u64)> {
    let receipt = |g| match g {
        &Got::Receipt { ref user, delivered, read, .. } => Some((user.as_str(), delivered, read)),
        _ => None,
    };
    got.iter().filter_map(receipt).collect()
}

fn conversation(got: &[Got]) -> ConversationId {
    got.iter()
        .find_map(|g| match g {
            Got::Message { conversation, .. } | Got::Accepted { conversation, .. } => Some(*conversation),
            _ => None,
        })
        .expect("a conversation")
}

/// Lets everybody who is not there be forgotten.
fn quiet(rig: &mut Rig<SimDisk>) {
    for _ in 0..700 {
        rig.pass(2_000);
    }
}

/// Lets days pass, an hour at a time.
fn days(rig: &mut Rig<SimDisk>, days: u64) {
    for _ in 0..days * 24 + 1 {
        rig.pass(3_600_000);
    }
}

/// A client acknowledges the last receipt that it got, and every `accepted`.
fn confirm(rig: &mut Rig<SimDisk>, client: Client, got: &[Got]) {
    let version = |g: &Got| match g {
        Got::Receipt { version, .. } | Got::Skip { version, .. } | Got::Receipts { version, .. } => *version,
        _ => 0,
    };
    let receipts = kept(got.iter().map(version).rfind(|version| *version > 0).unwrap_or(0));
    rig.feed(client, &ClientFrame::Ack(Ack { receipts, accepted: accepted(got), ..Ack::default() }));
    rig.turn();
}

/// A receipt version as a client gives it back.
fn kept(version: u64) -> Cow<'static, [u8]> {
    partition_token(version)
}

/// The messages of each `accepted`.
fn accepted(got: &[Got]) -> SmallVec<[(ConversationId, u64); 1]> {
    let message =
        |g: &Got| if let Got::Accepted { conversation, seq, .. } = g { Some((*conversation, *seq)) } else { None };
    got.iter().filter_map(message).collect()
}

/// Writes a row to the log once more, as it is.
fn log_image(rig: &mut Rig<SimDisk>, key: &RowKey) {
    let (state, mut bytes) = (&rig.node.partition.state, Vec::new());
    let (row, ..) = state.encode(state.owner(key).expect("in memory"), &mut bytes).expect("has a row");
    assert!(rig.node.commit(&[Record::Image { row, bytes: bytes.into() }]));
    rig.turn();
}

/// The devices of a user were away for long: all are dropped at once.
fn drop_devices(rig: &mut Rig<SimDisk>, user: &str) {
    rig.turn();
    let Node { partition, around, .. } = &mut rig.node;
    let (slot, row) = partition.state.user_named(user).expect("in memory");
    let seen: Vec<_> = row.devices.iter().map(|&device| (device, 0)).collect();
    let devices = &mut partition.state.users.entry(slot).devices;
    devices.iter_mut().for_each(|device| device.row.seen_s = 0);
    assert!(partition.drop_unseen_of(around, user, &seen).expect("there is room").is_empty());
    rig.turn();
    assert!(rig.node.partition.state.user_named(user).expect("in memory").1.devices.is_empty());
}

/// Both ends of a conversation, welcomed.
fn pair(rig: &mut Rig<SimDisk>) -> (Client, Client) {
    let (ann, bob) = (rig.join("ann", 1, true), rig.join("bob", 1, true));
    rig.got(ann);
    rig.got(bob);
    (ann, bob)
}

/// A receipt version as the rig's server makes them.
fn partition_token(version: u64) -> Cow<'static, [u8]> {
    let tokens = partition::attached::Tokens::new([7; 16]);
    Cow::Owned(tokens.give(0, version).bytes().to_vec())
}
