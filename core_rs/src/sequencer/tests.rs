use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::wire::types::MAX_ID;

const ID: ConversationId = [7; 16];
const CAPS: (u32, u64) = (3, 1000);

fn sequencer() -> Sequencer {
    let mut sequencer = Sequencer::default();
    let writers = SmallVec::from_slice(&[Writer { user: 1, device: 0 }, Writer { user: 2, device: 5 }]);
    sequencer.load(ID, writers, 0, 1, 0);
    sequencer
}

fn repeat(seq: u64) -> Repeat {
    Repeat { conversation: ID, seq, time_ms: 9, batch: 1 }
}

#[test]
fn numbers_are_gap_free_from_one_and_a_refusal_takes_none_i2() {
    let mut sequencer = sequencer();
    assert_eq!(sequencer.number(&ID, (1, 1), b"a", 10, CAPS), Ok(Outcome::Next(1)));
    assert_eq!(sequencer.number(&ID, (3, 1), b"b", 10, CAPS), Err(Refusal::Unknown));
    assert_eq!(sequencer.number(&ID, (1, 9), b"c", 991, CAPS), Err(Refusal::Full));
    assert_eq!(sequencer.number(&ID, (2, 5), b"c", 990, CAPS), Ok(Outcome::Next(2)));
}

#[test]
fn only_members_write_and_only_from_the_device_named_i8() {
    let mut sequencer = sequencer();
    assert_eq!(sequencer.number(&ID, (2, 6), b"a", 1, CAPS), Err(Refusal::Unknown));
    assert_eq!(sequencer.number(&[8; 16], (1, 1), b"a", 1, CAPS), Err(Refusal::Unknown));
    assert_eq!(sequencer.number(&ID, (2, 5), b"a", 1, CAPS), Ok(Outcome::Next(1)));
}

#[test]
fn a_repeat_is_the_same_message_and_an_id_is_bound_to_its_conversation_i4() {
    let mut sequencer = sequencer();
    assert_eq!(sequencer.number(&ID, (1, 1), b"a", 1, CAPS), Ok(Outcome::Next(1)));
    sequencer.remember((1, 1), b"a", repeat(1), 256);
    assert_eq!(sequencer.number(&ID, (1, 1), b"a", 1, CAPS), Ok(Outcome::Repeated(repeat(1))));
    assert_eq!(sequencer.number(&ID, (1, 2), b"a", 1, CAPS), Ok(Outcome::Next(2)), "another device's id is another id");
    sequencer.load([8; 16], SmallVec::from_slice(&[Writer { user: 1, device: 0 }]), 0, 1, 0);
    assert_eq!(sequencer.number(&[8; 16], (1, 1), b"a", 1, CAPS), Err(Refusal::IdReused));
    sequencer.confirm((1, 2), &mut [(ID, 1)]);
    sequencer.confirm((1, 1), &mut [(ID, 2), ([8; 16], 1)]);
    assert!(sequencer.sender((1, 1)).is_some(), "neither another device nor another message confirms it");
    sequencer.confirm((1, 1), &mut [(ID, 1)]);
    assert!(sequencer.sender((1, 1)).is_none(), "confirmed ids take no memory");
}

#[test]
fn the_oldest_id_goes_when_too_many_are_unconfirmed() {
    let mut sender = Sender::default();
    for seq in 1..=5u64 {
        sender.remember(&[seq as u8], repeat(seq), 3);
    }
    assert_eq!(sender.find(&[2]), None);
    assert_eq!(sender.find(&[3]).map(|r| r.seq), Some(3));
    sender.confirm(&mut [(ID, 4)]);
    assert_eq!(sender.iter().map(|(_, r)| r.seq).collect::<Vec<_>>(), [3, 5]);
}

proptest! {
    /// Few bytes, so that ids are often the same, or the beginning of another. What is confirmed is there or not, in any
    /// order, often more than one.
    #[test]
    fn ids_are_found_as_in_a_plain_list_i4(
        steps in vec((vec(0u8..3, 1..=MAX_ID), prop_oneof![Just(vec![]), vec(0u64..12, 1..5)]), 1..200),
    ) {
        let (mut sender, mut plain) = (Sender::default(), Vec::<(Vec<u8>, u64)>::new());
        for (seq, (id, confirmed)) in (1u64..).zip(steps) {
            let known = plain.iter().rev().find(|(other, _)| *other == id).map(|(_, seq)| *seq);
            prop_assert_eq!(sender.find(&id).map(|r| r.seq), known);
            sender.remember(&id, repeat(seq), 8);
            plain.push((id, seq));
            plain.drain(..plain.len().saturating_sub(8));
            let mut seen: Vec<_> = confirmed.iter().map(|back| (ID, seq.saturating_sub(*back))).collect();
            plain.retain(|(_, seq)| !seen.contains(&(ID, *seq)));
            seen.push(([8; 16], seq));
            sender.confirm(&mut seen);
        }
        prop_assert!(sender.iter().map(|(id, r)| (id.to_vec(), r.seq)).eq(plain));
    }
}

#[test]
fn room_returns_when_delivery_lets_go_and_repeats_of_that_news_change_nothing() {
    let mut sequencer = sequencer();
    for id in [b"a", b"b", b"c"] {
        sequencer.number(&ID, (1, 1), id, 1, CAPS).unwrap();
    }
    assert_eq!(sequencer.number(&ID, (1, 1), b"d", 1, CAPS), Err(Refusal::Full));
    for _ in 0..3 {
        sequencer.reclaimed(Reclaimed { conversation: ID, first: 2, bytes: 1 });
    }
    assert_eq!(sequencer.number(&ID, (1, 1), b"d", 1, CAPS), Ok(Outcome::Next(4)));
    assert_eq!(sequencer.number(&ID, (1, 1), b"e", 1, CAPS), Err(Refusal::Full));
}
