//! What a message costs in a group, in operations and in bytes.

use super::super::member::TOUCHED;
use super::*;

/// A group of 1,024 of whom 24 are there.
fn mostly_away() -> World {
    let mut world = World::group(1024);
    (0..24).for_each(|user| _ = world.join(user, 1));
    world.run();
    (0..24).for_each(|user| _ = world.ack(user, 1, 1));
    world.run();
    world.out.0.clear();
    world
}

#[test]
fn a_message_costs_nothing_for_members_who_are_away_s13() {
    let touched = |world: &mut World, messages: u64| {
        TOUCHED.set(0);
        for _ in 0..messages {
            let seq = world.send_unchecked(0);
            world.run();
            for user in 1..24 {
                let (_, receiver) = world.sessions[&(user, 1)];
                world.delivery.ack(&mut world.dir, receiver, &AT, seq, 1).unwrap();
            }
        }
        world.run();
        TOUCHED.get()
    };
    let mut world = mostly_away();
    let many = touched(&mut world, 100);
    let mut small = World::group(24);
    (0..24).for_each(|user| _ = small.join(user, 1));
    small.run();
    (0..24).for_each(|user| _ = small.ack(user, 1, 1));
    small.run();
    let few = touched(&mut small, 100);
    assert_eq!(many, few, "members that were looked at, with 1,000 away and with none");
    assert!(many / 100 <= 24 * 24, "{many}");
}

#[test]
fn a_message_that_waits_takes_at_most_64_bytes_of_memory_its_body_on_disk_s13() {
    let mut world = mostly_away();
    world.delivery.hot = Hot::new(0);
    for _ in 0..10_000 {
        world.send_unchecked(0);
    }
    let conversation = world.conversation();
    assert_eq!(conversation.entries.len(), 10_001);
    // A queue that grew doubles: at worst half of it is not used yet.
    assert!(2 * size_of::<Entry>() <= 64);
    assert!(conversation.entries.capacity() * size_of::<Entry>() <= 64 * conversation.entries.len());
    assert_eq!(world.delivery.hot_bytes(), 0);
}

#[test]
fn what_two_users_need_stays_small_though_groups_need_more() {
    use super::super::conversation::Member;
    let sizes = (size_of::<Entry>(), size_of::<Cursor>(), size_of::<Member>(), size_of::<Conversation>());
    assert_eq!(sizes, (28, 32, 104, 360), "in a conversation of two, each counts");
}
