use proptest::prelude::*;
use wire::message::{encode_stored, encode_stored_bodies};
use wire::types::{DeviceBody, Message};

use super::*;

fn stored(body: &[u8]) -> Body {
    let mut stored = Vec::new();
    let message =
        Message { conversation: [7; 16], seq: 3, sender: "ann", device: 1, id: b"i", body, ..Message::default() };
    encode_stored(&message, &mut stored);
    Body { stored, frames: Default::default() }
}

/// What each connection was written, until nothing is owed: slot, bytes, flags.
fn drain(outs: &mut Outs) -> Vec<(u32, Vec<u8>, u8)> {
    let mut writes = Vec::new();
    while let Some(write) = outs.next_write() {
        writes.push((write.slot, write.data.to_vec(), write.flags));
    }
    writes
}

const FRAMINGS: [Framing; 3] = [Framing::Raw, Framing::WsBinary, Framing::WsText];

#[test]
fn an_idle_connection_takes_24_bytes() {
    assert_eq!(size_of::<Option<Out>>(), 24);
}

#[test]
fn buffers_kept_for_reuse_are_bounded_i6() {
    let mut outs = Outs::default();
    let long = stored(&vec![0; 25 << 10]);
    for round in 0..3 {
        let most = 2 * POOL.0 as u32;
        for slot in 0..most {
            outs.open(slot, Framing::Raw);
            let bytes = if slot % 2 == 0 { 100 } else { long.stored.len() };
            outs.append(slot, &long.stored[..bytes]);
        }
        assert_eq!(drain(&mut outs).len() as u32, most, "round {round}");
        let kept: usize = outs.pool.buffers.iter().map(|buffer| buffer.bytes.capacity()).sum();
        assert_eq!(outs.pool.bytes, kept);
        assert!(kept <= POOL_BYTES && outs.pool.buffers.len() <= POOL.0);
        (0..most).for_each(|slot| outs.end(slot));
    }
}

#[test]
fn a_frame_that_many_get_is_made_once_for_each_framing_and_is_what_one_alone_gets() {
    let mut outs = Outs::default();
    let mut body = stored(b"hello");
    for slot in 0..9 {
        outs.open(slot, FRAMINGS[slot as usize % 3]);
        outs.message(slot, &mut body, None, None, slot < 6);
    }
    let mut shared = Vec::new();
    let mut writes = Vec::new();
    while let Some(write) = outs.next_write() {
        shared.push(write.shared);
        writes.push(write.data.to_vec());
    }
    for framing in 0..3 {
        assert_ne!(shared[framing], 0);
        assert_eq!((shared[framing], 0), (shared[framing + 3], shared[framing + 6]));
        assert!(writes[framing] == writes[framing + 3] && writes[framing] == writes[framing + 6]);
    }
    assert_eq!(outs.framed, writes.iter().map(|bytes| bytes.len() as u64).sum::<u64>());
}

#[test]
fn a_device_gets_its_own_body_and_one_without_gets_nothing() {
    let mut stored = Vec::new();
    let message = Message { conversation: [7; 16], seq: 3, sender: "ann", device: 1, id: b"i", ..Message::default() };
    let body = |device, body: &'static [u8]| DeviceBody { user: "bob".into(), device, body: body.into() };
    encode_stored_bodies(&message, &[body(1, b"one"), body(2, b"two")], &mut stored);
    let mut two = Vec::new();
    encode_stored(&Message { body: b"two", ..message }, &mut two);
    let mut expected = Vec::new();
    let mut body = Body { stored, frames: Default::default() };
    for framing in FRAMINGS {
        let mut outs = Outs::default();
        outs.open(0, framing);
        outs.message(0, &mut body, None, Some(("bob", 3)), true);
        assert_eq!(outs.framed, 0);
        outs.message(0, &mut body, Some("cyd"), Some(("bob", 2)), true);
        expected.clear();
        outs.encoder.message(framing, &two, Some("cyd"), &mut expected);
        assert_eq!(drain(&mut outs), [(0, expected.clone(), 0)]);
    }
}

#[test]
fn a_connection_whose_transport_is_full_keeps_what_it_is_owed_and_takes_no_messages() {
    let mut outs = Outs::default();
    outs.open(0, Framing::Raw);
    outs.append(0, b"one");
    assert_eq!(drain(&mut outs), [(0, b"one".to_vec(), 0)]);
    outs.set_writable(0, false);
    assert_eq!((outs.ready(0), outs.backlog(0)), (Ready::Stalled, 3));
    outs.append(0, b"more");
    assert_eq!((drain(&mut outs), outs.backlog(0)), (vec![], 7));
    outs.set_writable(0, true);
    assert_eq!((outs.ready(0), outs.backlog(0)), (Ready::Now, 4));
    outs.append(0, &[0; FULL]);
    assert_eq!(outs.ready(0), Ready::Later);
    assert_eq!(drain(&mut outs)[0].1.len(), 4 + FULL);
    assert_eq!(outs.ready(0), Ready::Now);
}

#[test]
fn a_connection_that_is_closed_takes_nothing_more_and_closes_also_when_its_transport_is_full() {
    let mut outs = Outs::default();
    outs.open(0, Framing::Raw);
    outs.set_writable(0, false);
    outs.append(0, b"last");
    outs.close(0, false);
    outs.append(0, b"lost");
    outs.message(0, &mut stored(b"lost"), None, None, true);
    assert_eq!(drain(&mut outs), [(0, b"last".to_vec(), write_flags::CLOSE)]);
    outs.set_writable(0, true);
    assert_eq!(drain(&mut outs), [], "it is closed once");
}

#[test]
fn a_driver_is_told_of_a_pause_once_however_many_reasons_there_are() {
    let mut outs = Outs::default();
    outs.open(0, Framing::Raw);
    outs.pause(0, pause::HELD, true);
    outs.pause(0, pause::RATE, true);
    assert_eq!(drain(&mut outs), [(0, vec![], write_flags::PAUSE)]);
    outs.pause(0, pause::HELD, false);
    assert_eq!(drain(&mut outs), []);
    outs.pause(0, pause::RATE, false);
    outs.pause(0, pause::LOG, true);
    assert_eq!(drain(&mut outs), []);
    outs.pause(0, pause::LOG, false);
    assert_eq!(drain(&mut outs), [(0, vec![], write_flags::RESUME)]);
}

#[derive(Clone, Debug)]
enum Op {
    Append(u32, u8),
    Shared(u32, bool),
    Lend(u32, u8, bool),
    Writable(u32, bool),
    Reopen(u32),
    Drain,
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let slot = 0u32..4;
    let op = prop_oneof![
        4 => (slot.clone(), 0u8..40).prop_map(|(slot, len)| Op::Append(slot, len)),
        4 => (slot.clone(), any::<bool>()).prop_map(|(slot, many)| Op::Shared(slot, many)),
        2 => (slot.clone(), 0u8..9, any::<bool>()).prop_map(|(slot, len, swap)| Op::Lend(slot, len, swap)),
        2 => (slot.clone(), any::<bool>()).prop_map(|(slot, on)| Op::Writable(slot, on)),
        1 => slot.prop_map(Op::Reopen),
        2 => Just(Op::Drain),
    ];
    proptest::collection::vec(op, 0..80)
}

proptest! {
    /// A model: bytes that wait for each connection, and whether it takes them.
    #[test]
    fn each_connection_gets_in_one_write_what_was_added_in_order(ops in ops()) {
        let mut outs = Outs::default();
        let mut model: Vec<(Vec<u8>, bool)> = vec![(Vec::new(), true); 4];
        (0..4).for_each(|slot| outs.open(slot, FRAMINGS[slot as usize % 3]));
        let mut body = stored(b"shared");
        let mut mark = 0u8;
        for op in ops.into_iter().chain([Op::Drain]) {
            mark = mark.wrapping_add(1);
            match op {
                Op::Append(slot, len) => {
                    outs.append(slot, &vec![mark; len.into()]);
                    model[slot as usize].0.extend(vec![mark; len.into()]);
                }
                Op::Shared(slot, many) => {
                    outs.message(slot, &mut body, None, None, many);
                    let framing = FRAMINGS[slot as usize % 3];
                    outs.encoder.message(framing, &body.stored, None, &mut model[slot as usize].0);
                }
                Op::Lend(slot, len, swap) => {
                    let mut lent = outs.lend(slot);
                    prop_assert_eq!(&lent, &model[slot as usize].0);
                    lent.extend(vec![mark; len.into()]);
                    if swap {
                        outs.swap(slot, &mut lent);
                    }
                    outs.append(slot, b"answer");
                    if swap {
                        outs.swap(slot, &mut lent);
                    }
                    outs.give_back(slot, lent);
                    model[slot as usize].0.extend(vec![mark; len.into()]);
                    model[slot as usize].0.extend(b"answer");
                }
                Op::Writable(slot, on) => {
                    outs.set_writable(slot, on);
                    model[slot as usize].1 = on;
                }
                Op::Reopen(slot) => {
                    outs.end(slot);
                    outs.append(slot, b"lost");
                    outs.open(slot, FRAMINGS[slot as usize % 3]);
                    model[slot as usize] = (Vec::new(), true);
                }
                Op::Drain => {
                    let mut writes = drain(&mut outs);
                    writes.sort_unstable();
                    let takes = |(slot, out): (usize, &mut (Vec<u8>, bool))| {
                        (out.1 && !out.0.is_empty()).then(|| (slot as u32, mem::take(&mut out.0), 0))
                    };
                    let expected: Vec<_> = model.iter_mut().enumerate().filter_map(takes).collect();
                    prop_assert_eq!(writes, expected);
                }
            }
        }
    }
}
