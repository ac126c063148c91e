use proptest::prelude::*;
use seam::{Action, Body, ConversationId, Outputs, Position, Refusal, Token};
use wire::types::ServerFrame;

use super::boxes::{Alone, Boxes, Item};
use super::*;

/// A gateway that has the run queue and nothing else: sessions by their slots.
#[derive(Debug)]
struct Half {
    runs: Runs,
    sessions: Vec<Option<(Run, Attached, Ready)>>,
    written: u64,
    /// What was written: session, and number of a message or skip; 0: a receipt.
    log: Vec<(u32, u64)>,
    /// After so many frames in a turn a session takes no more before the next.
    full_after: Option<usize>,
}

impl Half {
    fn write(&mut self, to: Address, number: u64, bytes: usize) {
        self.log.push((to.slot(), number));
        self.written += bytes as u64;
        if self.full_after == Some(self.log.len())
            && let Some(Some((.., ready))) = self.sessions.get_mut(to.slot() as usize)
        {
            *ready = Ready::Later;
        }
    }
}

impl Running for Half {
    fn runs(&mut self) -> &mut Runs {
        &mut self.runs
    }
    fn run(&mut self, of: Address) -> Option<(&mut Run, Attached, Ready)> {
        let (run, attached, ready) = self.sessions.get_mut(of.slot() as usize)?.as_mut()?;
        Some((run, *attached, *ready))
    }
    fn written(&self) -> u64 {
        self.written
    }
}

impl Outputs for Half {
    fn permit(&mut self, _: Address, _: &ConversationId, _: Action, _: Option<&str>) -> Option<bool> {
        None
    }
    fn owed(&mut self, to: Address, messages: bool) {
        if let Some(Some((run, ..))) = self.sessions.get_mut(to.slot() as usize) {
            self.runs.owed(to, run, messages);
        }
    }
    fn message(&mut self, to: Address, body: &mut Body, _: Option<&str>, _: bool, _: bool) {
        if let Some(Some((run, ..))) = self.sessions.get_mut(to.slot() as usize) {
            run.message(body.stored.len() as u32);
        }
        let seq = wire::message::decode_stored(&body.stored).map_or(0, |message| message.seq);
        self.write(to, seq, body.stored.len());
    }
    fn pushed(&mut self, to: Address, frame: &ServerFrame<'_>) {
        let number = if let ServerFrame::Skip { from, .. } = frame { *from } else { 0 };
        self.write(to, number, 20);
    }
    fn freed(&mut self, to: Address, messages: u32, bytes: u32) {
        if let Some(Some((run, ..))) = self.sessions.get_mut(to.slot() as usize) {
            self.runs.freed(to, run, messages, bytes);
        }
    }
    fn welcome(&mut self, _: Address, _: (u64, u64), _: &Token, _: Position) {}
    fn accepted(&mut self, _: Address, _: &[u8], _: &ConversationId, _: u64, _: u64, _: Position) {}
    fn refused(&mut self, _: Address, _: &[u8], _: &Refusal, _: Position) {}
    fn answer(&mut self, _: Address, _: &ServerFrame<'_>, _: Position) {}
    fn replaced(&mut self, _: Address) {}
}

struct World {
    env: Alone<Half>,
    boxes: Boxes,
}

impl World {
    fn new(sessions: u32, window: (u32, u32), longest: u32) -> Self {
        let half =
            Half { runs: Runs::new(longest), sessions: Vec::new(), written: 0, log: Vec::new(), full_after: None };
        let mut world = Self { env: Alone::new(half), boxes: Boxes::default() };
        for slot in 0..sessions {
            let attached = world.boxes.add(Address::new(slot, 1), window);
            world.env.out.sessions.push(Some((Run::new(window, (0, 0)), attached, Ready::Now)));
        }
        world
    }

    /// So many messages for a session, with bodies of so many bytes.
    fn messages(&mut self, slot: usize, count: usize, body: usize) {
        (0..count).for_each(|_| self.boxes.message(&mut self.env, slot, body));
    }

    fn acked(&mut self, slot: usize, most: usize) {
        self.boxes.acked(&mut self.env, slot, most);
    }

    /// What a turn wrote, and whether more sessions stand in the queue.
    fn turn(&mut self) -> (Vec<(u32, u64)>, bool) {
        let more = turn(&mut self.env, &mut self.boxes);
        (std::mem::take(&mut self.env.out.log), more)
    }

    fn ready(&mut self, slot: u32, ready: Ready) {
        let Half { runs, sessions, .. } = &mut self.env.out;
        let Some(Some((run, _, now))) = sessions.get_mut(slot as usize) else { return };
        *now = ready;
        runs.wake(Address::new(slot, 1), run);
    }
}

const WINDOW: (u32, u32) = (256, 1 << 20);

#[test]
fn receipts_come_before_messages() {
    let mut world = World::new(1, WINDOW, 0);
    world.messages(0, 1, 10);
    world.boxes.receipts(&mut world.env, 0, 2);
    assert_eq!(world.turn(), (vec![(0, 0), (0, 0), (0, 1)], false));
}

#[test]
fn sessions_take_turns_of_64_kib_i6() {
    let mut world = World::new(2, WINDOW, 0);
    world.messages(0, 20, 10_000);
    world.messages(1, 1, 10);
    let (first, more) = world.turn();
    assert_eq!((first.len(), first.last(), more), (7, Some(&(1, 1)), true));
    assert_eq!(world.turn().0.len(), 6);
    assert_eq!(world.turn().0.len(), 6);
    assert_eq!(world.turn(), (vec![(0, 19), (0, 20)], false));
}

#[test]
fn receipts_that_are_many_take_several_turns() {
    let mut world = World::new(2, WINDOW, 0);
    world.boxes.receipts(&mut world.env, 0, CURSORS + 5);
    world.boxes.receipts(&mut world.env, 1, 1);
    let (first, more) = world.turn();
    assert_eq!((first.len(), first.last(), more), (CURSORS + 1, Some(&(1, 0)), true));
    let (rest, more) = world.turn();
    assert_eq!((rest.len(), more), (5, false));
}

#[test]
fn a_turn_serves_so_many_sessions_and_bytes_and_the_rest_comes_next_i11() {
    let mut world = World::new(300, WINDOW, 0);
    (0..300).for_each(|slot| world.messages(slot, 1, 10));
    let (first, more) = world.turn();
    assert_eq!((first.len(), more), (SESSIONS, true));
    let (rest, more) = world.turn();
    assert_eq!((rest.len(), more), (300 - SESSIONS, false));
    (0..100).for_each(|slot| world.messages(slot, 6, 10_000));
    let before = world.env.out.written;
    assert!(world.turn().1);
    let written = world.env.out.written - before;
    assert!((RUN_BYTES..RUN_BYTES + u64::from(TURN_BYTES)).contains(&written), "{written}");
    assert!(!world.turn().1);
}

#[test]
fn a_full_window_is_given_nothing_until_something_is_acknowledged() {
    let mut world = World::new(1, (3, 1 << 20), 0);
    world.messages(0, 5, 10);
    assert_eq!(world.turn(), (vec![(0, 1), (0, 2), (0, 3)], false));
    world.messages(0, 1, 10);
    assert_eq!(world.turn(), (vec![], false));
    world.acked(0, 1);
    assert_eq!(world.turn(), (vec![(0, 4)], false));
    world.acked(0, 3);
    assert_eq!(world.turn(), (vec![(0, 5), (0, 6)], false));
}

#[test]
fn a_message_longer_than_what_is_left_of_the_window_waits_without_a_turn_i11() {
    let mut world = World::new(1, (10, 1000), 0);
    world.messages(0, 2, 300);
    world.messages(0, 1, 500);
    assert_eq!(world.turn(), (vec![(0, 1), (0, 2)], true));
    // It is asked for once, and then not before there is room.
    assert_eq!(world.turn(), (vec![], false));
    assert_eq!(world.turn(), (vec![], false));
    world.acked(0, 1);
    assert_eq!(world.turn(), (vec![(0, 3)], false));
}

#[test]
fn skips_beyond_a_turn_go_on_beside_a_message_in_flight() {
    let mut world = World::new(1, WINDOW, 0);
    world.messages(0, 1, 10);
    world.turn();
    let skips = 2 * TURN_BYTES as usize / 20;
    (0..skips).for_each(|_| world.boxes.skip(&mut world.env, 0));
    let written: usize = (0..3).map(|_| world.turn().0.len()).sum();
    assert_eq!(written, skips);
}

#[test]
fn a_message_longer_than_the_window_is_given_alone() {
    let mut world = World::new(1, (10, 1000), 0);
    world.messages(0, 2, 5000);
    assert_eq!(world.turn(), (vec![(0, 1)], false));
    world.acked(0, 1);
    assert_eq!(world.turn(), (vec![(0, 2)], false));
}

#[test]
fn messages_longer_than_a_turn_follow_each_other_within_the_window() {
    let longest = 100_000;
    let mut world = World::new(1, WINDOW, longest);
    world.messages(0, 3, longest as usize - 100);
    assert_eq!(world.turn().0, [(0, 1)]);
    assert_eq!(world.turn().0, [(0, 2)]);
    assert_eq!(world.turn().0, [(0, 3)]);
}

#[test]
fn a_stalled_session_is_given_nothing_and_goes_on_when_it_takes_more_i6() {
    let mut world = World::new(2, WINDOW, 0);
    world.ready(0, Ready::Stalled);
    world.messages(0, 1, 10);
    world.boxes.receipts(&mut world.env, 0, 1);
    world.messages(1, 1, 10);
    assert_eq!(world.turn(), (vec![(1, 1)], false));
    world.ready(0, Ready::Later);
    assert_eq!(world.turn(), (vec![], true));
    assert_eq!(world.turn(), (vec![], true));
    world.ready(0, Ready::Now);
    assert_eq!(world.turn(), (vec![(0, 0), (0, 1)], false));
}

#[test]
fn messages_for_which_receipts_left_no_room_have_the_next_turn() {
    let mut world = World::new(1, WINDOW, 0);
    world.env.out.full_after = Some(3);
    world.boxes.receipts(&mut world.env, 0, 3);
    world.messages(0, 1, 10);
    assert_eq!(world.turn(), (vec![(0, 0), (0, 0), (0, 0)], true));
    world.ready(0, Ready::Now);
    assert_eq!(world.turn(), (vec![(0, 1)], false));
}

#[test]
fn a_session_whose_bodies_are_read_is_not_asked_for_meanwhile() {
    let mut world = World::new(1, WINDOW, 0);
    world.boxes.boxes[0].cold = true;
    world.messages(0, 2, 10);
    assert_eq!(world.turn(), (vec![], false));
    world.boxes.warm(&mut world.env, 0);
    assert_eq!(world.turn(), (vec![(0, 1), (0, 2)], false));
}

#[test]
fn a_session_that_is_attached_anew_stands_in_the_queue_once() {
    let mut world = World::new(1, WINDOW, 0);
    world.messages(0, 1, 10);
    let Half { runs, sessions, .. } = &mut world.env.out;
    let Some(Some((run, ..))) = sessions.first_mut() else { panic!("a session") };
    run.restart();
    runs.owed(Address::new(0, 1), run, true);
    assert_eq!((runs.queue.len(), run.window()), (1, [WINDOW, (0, 0)]));
}

#[test]
fn bytes_in_flight_end_with_the_last_message_whatever_was_counted() {
    let mut runs = Runs::new(0);
    let mut run = Run::new(WINDOW, (0, 0));
    run.message(100);
    runs.freed(Address::new(0, 1), &mut run, 1, 90);
    assert_eq!(run.window(), [WINDOW, (0, 0)]);
}

#[derive(Clone, Debug)]
enum Op {
    Message(usize, usize),
    Skip(usize),
    Receipts(usize, usize),
    Acked(usize, usize),
    Ready(usize, Ready),
    Cold(usize),
    Warm(usize),
    End(usize),
    Turn,
}

const SESSION: std::ops::Range<usize> = 0..4;

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let body = prop_oneof![8 => 0usize..400, 1 => 400usize..3000];
    let ready = prop_oneof![Just(Ready::Now), Just(Ready::Later), Just(Ready::Stalled)];
    let op = prop_oneof![
        8 => (SESSION, body).prop_map(|(slot, body)| Op::Message(slot, body)),
        2 => SESSION.prop_map(Op::Skip),
        2 => (SESSION, 1usize..2000).prop_map(|(slot, cursors)| Op::Receipts(slot, cursors)),
        5 => (SESSION, 0usize..6).prop_map(|(slot, most)| Op::Acked(slot, most)),
        3 => (SESSION, ready).prop_map(|(slot, ready)| Op::Ready(slot, ready)),
        1 => SESSION.prop_map(Op::Cold),
        2 => SESSION.prop_map(Op::Warm),
        6 => Just(Op::Turn),
    ];
    let end = SESSION.prop_map(Op::End);
    (proptest::collection::vec(op, 0..150), proptest::collection::vec((0usize..150, end), 0..2)).prop_map(
        |(mut ops, ends)| {
            ends.into_iter().for_each(|(at, end)| ops.insert(at.min(ops.len()), end));
            ops
        },
    )
}

proptest! {
    /// The mailboxes assert that no credit exceeds a window, and that nothing is asked for that is not owed.
    #[test]
    fn every_session_gets_all_that_it_is_owed_in_order_and_within_its_window_i3_i6(ops in ops(), messages in 1u32..6) {
        let window = (messages, 1500);
        let mut world = World::new(SESSION.end as u32, window, 0);
        let mut written = vec![Vec::new(); SESSION.end];
        let mut over = [false; SESSION.end];
        let step = |world: &mut World, written: &mut Vec<Vec<u64>>, over: &[bool]| {
            for (slot, number) in world.turn().0 {
                assert!(!over[slot as usize]);
                if number > 0 {
                    written[slot as usize].push(number);
                }
            }
        };
        for op in ops {
            match op {
                Op::Message(slot, body) if !over[slot] => world.messages(slot, 1, body),
                Op::Skip(slot) if !over[slot] => world.boxes.skip(&mut world.env, slot),
                Op::Receipts(slot, cursors) if !over[slot] => world.boxes.receipts(&mut world.env, slot, cursors),
                Op::Acked(slot, most) if !over[slot] => world.acked(slot, most),
                Op::Ready(slot, ready) => world.ready(slot as u32, ready),
                Op::Cold(slot) => world.boxes.boxes[slot].cold = true,
                Op::Warm(slot) if !over[slot] => world.boxes.warm(&mut world.env, slot),
                Op::End(slot) => {
                    world.env.out.sessions[slot] = None;
                    over[slot] = true;
                }
                Op::Turn => {
                    let is_stalled = |s: &Option<(Run, Attached, Ready)>| s.as_ref().is_none_or(|s| s.2 != Ready::Now);
                    let stalled: Vec<bool> = world.env.out.sessions.iter().map(is_stalled).collect();
                    let before: Vec<usize> = written.iter().map(Vec::len).collect();
                    step(&mut world, &mut written, &over);
                    prop_assert!((0..SESSION.end).all(|slot| !stalled[slot] || written[slot].len() == before[slot]));
                }
                _ => {}
            }
        }
        // Nothing stands in the way any more: everything comes.
        for _ in 0..200 {
            for slot in SESSION.filter(|slot| !over[*slot]) {
                world.ready(slot as u32, Ready::Now);
                world.boxes.warm(&mut world.env, slot);
                world.acked(slot, usize::MAX);
            }
            step(&mut world, &mut written, &over);
        }
        prop_assert_eq!(world.turn(), (vec![], false));
        for slot in SESSION {
            prop_assert!(written[slot].iter().copied().eq(1..=written[slot].len() as u64));
            if !over[slot] {
                let waiting: &VecDeque<Item> = &world.boxes.boxes[slot].waiting;
                prop_assert!(waiting.is_empty() && world.boxes.boxes[slot].receipts == 0, "{} is left of {}", waiting.len(), slot);
            }
        }
    }
}
