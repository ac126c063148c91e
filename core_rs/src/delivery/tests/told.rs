//! What authors in a group are told of others, and never overtaken in it.

use super::*;
use crate::wire::types::SkipReason;

/// A conversation of the first two beside the group.
fn add_pair(world: &mut World) {
    add_pair_with(world, 1, [8; 16]);
}

/// A conversation of the first user and another; its slot.
fn add_pair_with(world: &mut World, other: u32, id: ConversationId) -> u32 {
    let mut pair = Conversation::new(id, Kind::Direct, 0);
    for (index, user) in [0, other].into_iter().enumerate() {
        pair.members.push(super::super::conversation::Member::new(user, 0, 1));
        pair.add_device(index, 1, 0, 0);
    }
    world.delivery.insert(&mut world.dir, pair)
}

/// The first writes in it, and the second acknowledges that.
fn write_in_pair(world: &mut World) {
    write_to(world, 1, ([8; 16], 1));
}

/// The first writes to another, who acknowledges that.
fn write_to(world: &mut World, other: u32, (conversation, seq): (ConversationId, u64)) {
    write(world, conversation, seq);
    let (_, receiver) = world.sessions[&(other, 1)];
    world.delivery.ack(&mut world.dir, receiver, &conversation, seq, 1).unwrap();
    world.delivery.run(&world.dir, &mut world.out, 64);
}

fn write(world: &mut World, conversation: ConversationId, seq: u64) {
    let message = Sequenced {
        conversation,
        seq,
        user: 0,
        device: 1,
        at: Ref { segment: 1, offset: 9, len: 100 },
        time_ms: 1,
        bodies: None,
        change: None,
        withheld: false,
        stored: vec![0; 100],
    };
    assert!(world.delivery.sequenced(&mut world.dir, message, 1));
    world.delivery.run(&world.dir, &mut world.out, 64);
}

#[test]
fn receipts_of_a_turn_claim_no_skip_that_comes_after_them_i7() {
    let mut world = World::group(3);
    add_pair(&mut world);
    let slot = add_pair_with(&mut world, 2, [9; 16]);
    (1..3).for_each(|user| _ = world.join(user, 1));
    // A skip in one conversation, a receipt in another, a receipt in the first; their reader is away.
    write(&mut world, [9; 16], 1);
    world.delivery.floor(&world.dir, slot, 1, SkipReason::Expired);
    write_in_pair(&mut world);
    write_to(&mut world, 2, ([9; 16], 2));
    let latest = world.delivery.version();
    world.join(0, 1);
    let mut got = world.got(0, 1);
    got.truncate(3);
    let [receipt, skip] = [Got::Cursor("u1".into(), 1, 0, 0), Got::Never("u2".into(), 1, 1, 0)];
    assert_eq!(got, [receipt, skip, Got::Cursor("u2".into(), 2, 0, latest)]);
}

#[test]
fn what_is_told_counts_as_told_only_up_to_what_is_held_back() {
    let mut world = World::group(3);
    add_pair(&mut world);
    (0..3).for_each(|user| _ = world.join(user, 1));
    (0..3).for_each(|user| _ = world.got(user, 1));
    let before = world.delivery.version();
    world.ack(2, 1, 1).unwrap();
    write_in_pair(&mut world);
    let told: Vec<Got> = world.out.0.drain(..).map(|got| got.1).filter(|g| matches!(g, Got::Cursor(..))).collect();
    assert_eq!(told, [Got::Cursor("u1".into(), 1, 0, before)], "the group's news is older and not told yet");
    let told = world.got(0, 1);
    assert_eq!(told, [Got::Cursor("u2".into(), 1, 0, before + 2)], "now everything is");
}

#[test]
fn who_leaves_a_group_that_held_back_receipts_is_told_their_version_alone() {
    let mut world = World::group(3);
    add_pair(&mut world);
    (0..3).for_each(|user| _ = world.join(user, 1));
    (0..3).for_each(|user| _ = world.got(user, 1));
    let before = world.delivery.version();
    world.ack(2, 1, 1).unwrap();
    write_in_pair(&mut world);
    world.change(0, Change::Left { successor: Some(1) });
    let after = world.delivery.version();
    assert_eq!(after, before + 2);
    let told = |world: &mut World| -> Vec<Got> {
        let receipts = |g: &Got| matches!(g, Got::Cursor(..) | Got::Version(_));
        world.got(0, 1).into_iter().filter(receipts).collect()
    };
    assert_eq!(told(&mut world), [Got::Cursor("u1".into(), 1, 0, before), Got::Version(after)]);
    assert_eq!(world.delivery.told(world.sessions[&(0, 1)].1), Some(after));
    // It acknowledged nothing.
    world.cut(0, 1);
    world.join(0, 1);
    assert_eq!(told(&mut world), [Got::Cursor("u1".into(), 1, 0, after)]);
}

#[test]
fn what_several_members_will_never_have_is_not_overtaken_in_part_i7() {
    let mut world = World::group(4);
    add_pair(&mut world);
    (0..2).for_each(|user| _ = world.join(user, 1));
    (0..2).for_each(|user| _ = world.got(user, 1));
    world.ack(1, 1, 1).unwrap();
    world.got(0, 1);
    let before = world.delivery.version();
    world.delivery.floor(&world.dir, 0, 1, SkipReason::Expired);
    // It is held back for a while, and a receipt of another conversation is told before it.
    write_in_pair(&mut world);
    let told = world.got(0, 1);
    let never = told.iter().filter_map(|g| if let Got::Never(user, ..) = g { Some(user.as_str()) } else { None });
    assert_eq!(never.collect::<Vec<_>>(), ["u2", "u3"], "{told:?}");
    assert!(world.delivery.version() > before);
}

#[test]
fn what_one_who_is_gone_never_had_is_remembered_as_its_author_may_come_back_with_it_i7() {
    let mut world = World::group(3);
    world.delivery.floor(&world.dir, 0, 1, SkipReason::Expired);
    let removed = world.change(0, Change::Removed(vec![1, 2]));
    for user in 1..3 {
        world.join(user, 1);
        world.ack(user, 1, removed).unwrap();
    }
    world.dir.get_mut(0).unwrap().devices[0].receipts = world.delivery.version();
    assert!(world.conversation().members[2].is_gone() && !world.conversation().owes_receipts(&world.dir));
    let mut bytes = Vec::new();
    world.conversation().encode(removed, &world.dir, &mut bytes);
    let (state, _) = Conversation::decode(&mut Reader::new(&bytes), &mut world.dir).unwrap();
    assert!(state.members[2].skips(1));
}

#[test]
fn who_came_back_is_told_of_what_others_never_had_after_a_start_too_i7() {
    let mut world = World::group(3);
    world.change(0, Change::Left { successor: Some(1) });
    world.delivery.floor(&world.dir, 0, 2, SkipReason::Expired);
    world.log_state();
    // Many receipts are told elsewhere.
    world.delivery.resume_versions(1_000);
    world.dir.get_mut(0).unwrap().devices[0].receipts = 1_000;
    world.change(1, Change::Added(vec![0]));
    // A crash: of what followed the change in the log nothing is there.
    world.delivery.effects.floors.clear();
    world.restart();
    assert!(world.conversation().members[1].skipped()[0].version > 1_000);
    world.join(0, 1);
    let got = world.got(0, 1);
    assert!(got.iter().any(|g| matches!(g, Got::Never(user, 1, 2, _) if user == "u1")), "{got:?}");
}
