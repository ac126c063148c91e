//! The store's trips that a question makes: they tell nothing of who is online, who talks with whom, or what there is
//! (I8, I13).

use super::*;
use crate::engine::uses::USES;
use crate::engine::{Key, Request};
use crate::sequencer::Kind;
use crate::wire::ids::{conversation_id, group_id};
use crate::wire::types::{Change, DeviceBody, Manage, Read, Send, Target};

/// Where a row is that the questions of a session are about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// In memory: the others are online.
    Memory,
    /// In the store: the others have been away for long.
    Store,
    /// There is none.
    Nowhere,
}

const HERE: [Place; 2] = [Place::Memory, Place::Store];
const ANYWHERE: [Place; 3] = [Place::Memory, Place::Store, Place::Nowhere];

/// The conversations of a world.
#[derive(Clone, Copy)]
struct Talks {
    /// Of ann and bob.
    ours: ConversationId,
    /// Of bob and cal.
    theirs: ConversationId,
    /// A group of bob and cal.
    group: ConversationId,
    /// A group of ann and bob.
    our_group: ConversationId,
}

/// Ann asks; bob and cal, and what they talk about, are where `place` says.
fn world(place: Place) -> (Rig<SimDisk>, Client, Talks) {
    let mut rig = rig();
    let id = |sides| conversation_id(Kind::Direct, sides);
    let ours = id([("ann", 0), ("bob", 0)]);
    let theirs = id([("bob", 0), ("cal", 0)]);
    let (ann, bob) = pair(&mut rig);
    let create = |rig: &mut Rig<SimDisk>, by: Client, sent_as: &'static [u8], member: &'static str| {
        let (members, profile, rules) = (vec![member.into()], Default::default(), Default::default());
        let change = Change::Created { members, profile, rules };
        rig.feed(by, &ClientFrame::Manage(Manage { id: sent_as.into(), conversation: None, change }));
        rig.turn();
    };
    rig.send(ann, "bob", b"1", b"x");
    create(&mut rig, ann, b"our group", "bob");
    if place != Place::Nowhere {
        rig.engine.create_user("cal");
        rig.send(bob, "cal", b"2", b"x");
        create(&mut rig, bob, b"group", "cal");
    }
    let (our_group, group) = (group_id("ann", 1, b"our group"), group_id("bob", 1, b"group"));
    let cal = (place != Place::Nowhere).then(|| rig.join("cal", 1, true));
    let all = [Some(ann), Some(bob), cal];
    for client in all.into_iter().flatten() {
        let got = rig.got(client);
        for g in &got {
            if let Got::Message { conversation, seq, .. } = g {
                rig.ack(client, *conversation, *seq);
            }
        }
        confirm(&mut rig, client, &got);
    }
    rig.pass(1_500);
    for client in all.into_iter().flatten() {
        let got = rig.got(client);
        confirm(&mut rig, client, &got);
        rig.cut(client);
    }
    quiet(&mut rig);
    assert_eq!(rig.engine.stats().users_in_memory, 0, "everybody is away");
    if place == Place::Memory {
        // They are online, and do what brings their conversations into memory.
        for (name, peer) in [("bob", "cal"), ("cal", "bob"), ("bob", "ann")] {
            let client = rig.join(name, if peer == "ann" { 2 } else { 1 }, false);
            rig.send(client, peer, format!("{name} {peer}").as_bytes(), b"x");
            for at in [group, our_group].into_iter().filter(|_| name == "bob") {
                rig.feed(client, &ClientFrame::GroupGet { conversation: Some(at) });
            }
            rig.turn();
        }
    }
    let ann = rig.join("ann", 1, false);
    rig.got(ann);
    (rig, ann, Talks { ours, theirs, group, our_group })
}

/// Asks, and answers the store's trips one after the other: the rows of each.
fn trips(rig: &mut Rig<SimDisk>, ann: Client, frame: &ClientFrame<'_>) -> Vec<Vec<Key>> {
    rig.hold_cold = true;
    rig.feed(ann, frame);
    rig.feed(ann, &ClientFrame::Ping { nonce: 7 });
    let mut trips = Vec::new();
    loop {
        rig.turn();
        let asked: Vec<Key> =
            rig.held.iter().filter_map(|r| if let Request::Load(key) = r { Some(key.clone()) } else { None }).collect();
        if asked.is_empty() {
            break;
        }
        trips.push(asked);
        rig.release();
    }
    rig.hold_cold = false;
    rig.release();
    assert!(!rig.closed(ann));
    trips
}

/// The trips of a frame, made twice, and the codes of errors, are the same wherever the rows are; what they are.
fn same_trips<'a>(places: &[Place], frame: impl Fn(Talks) -> ClientFrame<'a>) -> [usize; 2] {
    let of = |place| {
        let (mut rig, ann, talks) = world(place);
        let frame = frame(talks);
        let trips = [(); 2].map(|()| trips(&mut rig, ann, &frame));
        let got = rig.got(ann);
        let codes: Vec<String> = codes(&got).into_iter().map(str::to_owned).collect();
        assert_eq!(got.iter().filter(|g| matches!(g, Got::Pong(7))).count(), 2);
        (trips, codes, format!("{frame:?}"))
    };
    let first = of(places[0]);
    for &place in &places[1..] {
        let (trips, codes, frame) = of(place);
        assert_eq!((&trips, &codes), (&first.0, &first.1), "{place:?}, not {:?}: {frame}", places[0]);
    }
    first.0.map(|trips| trips.len())
}

fn to<'a>(target: Target<'a>, bodies: bool) -> ClientFrame<'a> {
    let body = DeviceBody { user: "bob".into(), device: 1, body: b"b".as_slice().into() };
    ClientFrame::Send(Send {
        id: b"question".into(),
        target,
        body: Default::default(),
        bodies: if bodies { vec![body] } else { Vec::new() },
        lists: Vec::new(),
        media: Default::default(),
    })
}

fn read<'a>(conversation: ConversationId) -> ClientFrame<'a> {
    ClientFrame::Read(Read { conversation, seq: 1, authors: Vec::new() })
}

fn ack<'a>(conversation: ConversationId) -> ClientFrame<'a> {
    ClientFrame::Ack(Ack { conversation: Some(conversation), seq: 1, ..Ack::default() })
}

#[test]
fn a_question_about_another_user_makes_the_same_trip_whether_it_is_online_or_not_i13() {
    let once = [1, 0];
    assert_eq!(same_trips(&HERE, |_| ClientFrame::DevicesGet { user: "bob".into() }), once);
    assert_eq!(same_trips(&HERE, |_| ClientFrame::Block { user: "bob".into(), off: false }), once);
    assert_eq!(same_trips(&HERE, |_| to(Target::User("bob".into()), false)), once);
    assert_eq!(same_trips(&HERE, |_| to(Target::User("bob".into()), true)), once);
    assert_eq!(same_trips(&HERE, |_| to(Target::Device("bob".into(), 1), false)), once);
    assert_eq!(same_trips(&HERE, |_| to(Target::Device("bob".into(), 9), false)), once);
}

#[test]
fn what_a_member_does_in_its_conversation_makes_the_same_trip_whoever_is_online_i13() {
    // The conversation, then the other user.
    assert_eq!(same_trips(&HERE, |talks| to(Target::Conversation(talks.ours), false)), [2, 0]);
    let once = [1, 0];
    assert_eq!(same_trips(&HERE, |talks| to(Target::Conversation(talks.our_group), false)), once);
    for at in [|talks: Talks| talks.ours, |talks: Talks| talks.our_group] {
        assert_eq!(same_trips(&HERE, |talks| ack(at(talks))), once);
        assert_eq!(same_trips(&HERE, |talks| read(at(talks))), once);
    }
    assert_eq!(same_trips(&HERE, |talks| ClientFrame::GroupGet { conversation: Some(talks.our_group) }), once);
    assert_eq!(same_trips(&HERE, |talks| ClientFrame::ProgressGet { conversation: talks.our_group, seq: 1 }), once);
}

#[test]
fn to_a_stranger_a_conversation_makes_the_same_trip_whether_there_is_one_or_not_i8() {
    let once = [1, 0];
    for at in [|talks: Talks| talks.theirs, |talks: Talks| talks.group] {
        assert_eq!(same_trips(&ANYWHERE, |talks| ack(at(talks))), once);
        assert_eq!(same_trips(&ANYWHERE, |talks| read(at(talks))), once);
        assert_eq!(same_trips(&ANYWHERE, |talks| to(Target::Conversation(at(talks)), false)), once);
        assert_eq!(same_trips(&ANYWHERE, |talks| to(Target::Conversation(at(talks)), true)), once);
    }
}

#[test]
fn to_a_stranger_a_question_about_a_group_makes_no_trip_at_all_i8() {
    let never = [0, 0];
    assert_eq!(same_trips(&ANYWHERE, |talks| ClientFrame::GroupGet { conversation: Some(talks.group) }), never);
    assert_eq!(same_trips(&ANYWHERE, |talks| ClientFrame::ProgressGet { conversation: talks.group, seq: 1 }), never);
    let manage = |talks: Talks, change| {
        ClientFrame::Manage(Manage { id: b"question".into(), conversation: Some(talks.group), change })
    };
    assert_eq!(same_trips(&ANYWHERE, |talks| manage(talks, Change::Closed)), never);
    assert_eq!(same_trips(&ANYWHERE, |talks| manage(talks, Change::Added(vec!["bob".into()]))), never);
    let joined = || Change::Joined { hash: Default::default(), secret: b"a secret of ours".as_slice().into() };
    assert_eq!(same_trips(&ANYWHERE, |talks| manage(talks, joined())), [1, 0], "an invite may be for anybody");
}

#[test]
fn uses_of_a_session_are_bounded_and_end_before_a_row_can_leave_memory_i6_i13() {
    let mut rig = rig_with(Config { idle_ms: u64::MAX >> 1, ..Config::default() });
    let ann = rig.join("ann", 1, false);
    rig.engine.create_user("bob");
    rig.got(ann);
    let question = ClientFrame::DevicesGet { user: "bob".into() };
    assert_eq!(trips(&mut rig, ann, &question).len(), 1);
    rig.pass(rig.config.quiet_ms - 1_000);
    assert_eq!(trips(&mut rig, ann, &question).len(), 0, "remembered");
    rig.pass(1_000);
    assert_eq!(trips(&mut rig, ann, &question).len(), 1, "as long as the row is sure to be here");
    for (others, expected) in [(USES - 2, 0), (USES - 1, 0), (USES, 1)] {
        let session = rig.join("ann", 1, false);
        assert_eq!(trips(&mut rig, session, &question).len(), 1, "of each session");
        for n in 0..others {
            rig.feed(session, &ClientFrame::DevicesGet { user: format!("nobody {n}").into() });
            rig.turn();
        }
        assert_eq!(trips(&mut rig, session, &question).len(), expected, "after {others} others");
    }
}
