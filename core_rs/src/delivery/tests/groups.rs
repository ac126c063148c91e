//! Who gets what of a group, and who is told what of whom.

use super::*;
use crate::wire::types::SkipReason;

fn cursors(got: &[Got]) -> Vec<(&str, u64, u64)> {
    let cursor = |g| match g {
        &Got::Cursor(ref user, delivered, read, _) => Some((user.as_str(), delivered, read)),
        _ => None,
    };
    got.iter().filter_map(cursor).collect()
}

#[test]
fn a_newcomer_gets_the_snapshot_and_then_what_comes_from_its_adding_on() {
    let mut world = World::group(2);
    world.send(0);
    let late = world.dir.intern("late");
    let user = world.dir.get_mut(late).unwrap();
    user.known = true;
    user.devices.push(Device { id: 1, receives: true, ..Device::default() });
    let added = world.change(0, Change::Added(vec![late]));
    world.send(1);
    world.join(late, 1);
    assert_eq!(world.got(late, 1), [Got::Snapshot(added), Got::Message(3), Got::Message(4)]);
    world.cut(late, 1);
    world.join(late, 1);
    assert_eq!(world.got(late, 1)[0], Got::Snapshot(added), "until it acknowledged what came behind it");
    world.ack(late, 1, 3).unwrap();
    world.cut(late, 1);
    world.join(late, 1);
    assert_eq!(world.got(late, 1), [Got::Message(4)]);
}

#[test]
fn who_was_removed_sees_that_and_nothing_after_it_i8() {
    let mut world = World::group(3);
    world.join(0, 1);
    world.send(0);
    let removed = world.change(0, Change::Removed(vec![2]));
    world.send(0);
    world.join(2, 1);
    assert_eq!(messages(&world.got(2, 1)), [1, 2, removed], "and no snapshot: it is no member");
    assert_eq!(world.ack(2, 1, removed + 1), Err(Refusal::BeyondHead));
    world.ack(2, 1, removed).unwrap();
    assert!(world.conversation().members[2].is_gone());
    assert_eq!(*world.dir.get(2).unwrap().conversations, [0], "there it has a place, which is named by its slot");
    world.send(0);
    assert!(world.got(2, 1).is_empty());
    assert_eq!(world.ack(2, 1, removed), Err(Refusal::Unknown));
}

#[test]
fn who_is_removed_before_a_first_device_came_pins_nothing_i5() {
    let mut world = World::group(2);
    let late = world.dir.intern("late");
    world.dir.get_mut(late).unwrap().known = true;
    world.change(0, Change::Added(vec![late]));
    let removed = world.change(0, Change::Removed(vec![late]));
    for user in 0..2 {
        world.join(user, 1);
        world.run();
        world.ack(user, 1, removed).unwrap();
    }
    assert!(world.conversation().is_empty() && world.conversation().members[2].is_gone());
    world.restart();
}

#[test]
fn an_acknowledgement_by_one_who_is_back_before_that_can_be_seen_is_kept_i3() {
    let mut world = World::group(2);
    world.join(1, 1);
    let removed = world.change(0, Change::Removed(vec![1]));
    // Adding it again is in the log, and not to be seen yet.
    let back = (removed + 1, 0, Change::Added(vec![1]));
    world.log.push(Record::Change(back.0, back.1, back.2.clone()));
    world.ack(1, 1, removed).unwrap();
    assert!(world.conversation().members[1].is_gone());
    world.write_log();
    world.delivery = Delivery::new(1 << 30);
    world.replay(back.0);
    assert_eq!(world.conversation().cursor(1, 1).unwrap().acked, removed);
    assert_eq!(world.dir.get(1).unwrap().conversations[..], [0]);
}

#[test]
fn what_is_logged_before_a_return_can_be_seen_takes_no_mailbox_from_who_returned_i1() {
    let mut world = World::new(2, Kind::Group);
    world.dir.get_mut(1).unwrap().devices.push(Device { id: 2, receives: true, ..Device::default() });
    world.change(0, created(1..2));
    world.join(1, 1);
    world.join(1, 2);
    let removed = world.change(0, Change::Removed(vec![1]));
    world.ack(1, 1, removed).unwrap();
    world.write_log();
    let back = removed + 1;
    world.log.push(Record::Change(back, 0, Change::Added(vec![1])));
    world.ack(1, 2, removed).unwrap();
    assert!(world.conversation().members[1].is_gone());
    world.write_log();
    world.delivery = Delivery::new(1 << 30);
    world.replay(back);
    let acked = |device| world.conversation().cursor(1, device).map(|c| c.acked);
    assert_eq!([acked(1), acked(2)], [Some(removed); 2]);
}

#[test]
fn a_device_that_came_before_its_user_could_be_seen_to_come_sees_it_go_i1() {
    let mut world = World::new(3, Kind::Group);
    world.change(0, created(1..2));
    let (came, went) = (2, 3);
    world.log.push(Record::Change(came, 0, Change::Added(vec![2])));
    world.log.push(Record::Device(2, 2));
    world.log.push(Record::Change(went, 2, Change::Left { successor: None }));
    world.delivery = Delivery::new(1 << 30);
    world.replay(went);
    let acked = |device| world.conversation().cursor(2, device).map(|c| c.acked);
    assert_eq!([acked(1), acked(2)], [Some(came - 1); 2]);
}

#[test]
fn a_first_device_of_one_who_came_and_went_before_that_could_be_seen_gets_what_waits_i1() {
    let mut world = World::group(2);
    let late = world.dir.intern("late");
    let added = world.change(0, Change::Added(vec![late]));
    let removed = world.change(0, Change::Removed(vec![late]));
    // In the log the device came in between.
    world.dir.get_mut(late).unwrap().known = true;
    world.log.truncate(1);
    world.log.push(Record::Change(1, 0, created([1])));
    world.log.push(Record::Change(added, 0, Change::Added(vec![late])));
    world.log.push(Record::Change(removed, 0, Change::Removed(vec![late])));
    world.log.push(Record::Device(late, 7));
    world.delivery = Delivery::new(1 << 30);
    world.replay(removed);
    assert_eq!(world.conversation().cursor(late as usize, 7).unwrap().acked, added - 1);
}

#[test]
fn who_comes_back_gets_what_was_left_of_before_and_nothing_of_between_i8() {
    let mut world = World::group(3);
    world.send(0);
    let removed = world.change(0, Change::Removed(vec![2]));
    (0..5).for_each(|_| _ = world.send(0));
    let added = world.change(0, Change::Added(vec![2]));
    world.send(1);
    for _ in 0..2 {
        world.join(2, 1);
        let got = world.got(2, 1);
        assert_eq!(got[0], Got::Snapshot(added));
        assert_eq!(messages(&got), [1, 2, removed, added, added + 1]);
        world.restart();
    }
    world.join(2, 1);
    world.got(2, 1);
    world.ack(2, 1, removed).unwrap();
    assert_eq!(world.conversation().cursor(2, 1).unwrap().acked, added - 1, "it passes over what is not for it");
}

#[test]
fn an_acknowledgement_tells_the_authors_of_what_it_covers_in_one_burst() {
    let mut world = World::group(5);
    (0..5).for_each(|user| _ = world.join(user, 1));
    for user in 0..5 {
        world.got(user, 1);
        let _ = world.ack(user, 1, 1);
    }
    world.got(0, 1);
    world.send(1);
    world.send(2);
    world.run();
    for user in [0, 3, 4] {
        world.ack(user, 1, 3).unwrap();
        assert!(world.delivery.run.is_empty(), "it waits for its time");
    }
    let timers = world.delivery.effects.bursts.clone();
    assert_eq!(timers.len(), 2, "one for each of the authors");
    assert_eq!(cursors(&world.got(1, 1)), [("u0", 3, 0), ("u3", 3, 0), ("u4", 3, 0)]);
    assert_eq!(cursors(&world.got(2, 1)), [("u0", 3, 0), ("u3", 3, 0), ("u4", 3, 0)]);
    assert!(cursors(&world.got(0, 1)).is_empty() && cursors(&world.got(3, 1)).is_empty());
}

#[test]
fn a_read_tells_those_whom_it_names_and_the_readers_other_sessions() {
    let mut world = World::group(4);
    (0..4).for_each(|user| _ = world.join(user, 1));
    world.send(1);
    world.send(2);
    for user in 0..4 {
        world.got(user, 1);
        let _ = world.ack(user, 1, 3);
    }
    (0..4).for_each(|user| _ = world.got(user, 1));
    let (_, receiver) = world.sessions[&(3, 1)];
    let (conn, _) = world.sessions[&(3, 1)];
    let who = Attach { conn: 100, user: 3, device: 1, receive: false, window: (1, 1), told: world.delivery.version() };
    let (other, _) = world.delivery.attach(&mut world.dir, who);
    world.run();
    world.delivery.read(&world.dir, receiver, &AT, 3, &[2, 99], 1).unwrap();
    assert_eq!(cursors(&world.got(2, 1)), [("u3", 3, 3)]);
    assert!(cursors(&world.got(3, 1)).is_empty(), "the session that sent it knows");
    world.sessions.insert((3, 1), (100, other));
    assert_eq!(cursors(&world.got(3, 1)), [("u3", 0, 3)], "any other session of the user does not");
    world.sessions.insert((3, 1), (conn, receiver));
    assert!(cursors(&world.got(1, 1)).is_empty() && cursors(&world.got(0, 1)).is_empty());
}

#[test]
fn a_read_reaches_an_author_who_is_named_after_others_were() {
    let mut world = World::group(4);
    (0..4).for_each(|user| _ = world.join(user, 1));
    world.send(1);
    world.send(2);
    for user in 0..4 {
        world.got(user, 1);
        let _ = world.ack(user, 1, 3);
    }
    (0..4).for_each(|user| _ = world.got(user, 1));
    let (_, receiver) = world.sessions[&(3, 1)];
    let read = |world: &mut World, seq, authors: &[u32]| {
        world.delivery.read(&world.dir, receiver, &AT, seq, authors, 1).unwrap();
    };
    read(&mut world, 3, &[]);
    assert!(cursors(&world.got(3, 1)).is_empty(), "the session that sent it knows");
    read(&mut world, 3, &[1]);
    assert_eq!(cursors(&world.got(1, 1)), [("u3", 3, 3)]);
    read(&mut world, 2, &[2, 3]);
    assert_eq!(cursors(&world.got(2, 1)), [("u3", 3, 3)]);
    let before = world.delivery.version();
    read(&mut world, 3, &[3]);
    read(&mut world, 3, &[]);
    assert_eq!(world.delivery.version(), before, "nobody is to be told");
    for user in [0, 1, 3] {
        assert!(cursors(&world.got(user, 1)).is_empty(), "{user} was not named, or knows");
    }
}

#[test]
fn an_author_who_was_away_is_told_only_of_groups_with_news_for_it() {
    let mut world = World::group(3);
    world.send(1);
    for user in [0, 2] {
        world.join(user, 1);
        world.got(user, 1);
        world.ack(user, 1, 2).unwrap();
    }
    for _ in 0..2 {
        assert!(world.conversation().owes_receipts(&world.dir));
        assert!(cursors(&world.got(0, 1)).iter().all(|c| c.0 != "u1"));
        world.join(1, 1);
        assert_eq!(cursors(&world.got(1, 1)), [("u0", 2, 0), ("u2", 2, 0)]);
        world.cut(1, 1);
        world.restart();
    }
    // Acknowledged: nothing is to be told any more, whoever else is a stub.
    for user in 0..3 {
        world.dir.get_mut(user).unwrap().devices[0].receipts = world.delivery.version();
    }
    world.dir.intern("stub");
    assert!(!world.conversation().owes_receipts(&world.dir));
}

#[test]
fn a_group_at_its_cap_goes_on_and_who_is_behind_is_told_and_begins_anew() {
    let mut world = World::group(3);
    world.delivery.group_caps = (64, 1 << 30);
    world.join(0, 1);
    world.join(1, 1);
    for seq in 2..=100 {
        world.send(0);
        world.run();
        world.ack(1, 1, seq).unwrap();
        assert!(world.conversation().entries.len() <= 64);
    }
    let first = world.conversation().first;
    assert!((36..=38).contains(&first), "{first}");
    world.join(2, 1);
    let got = world.got(2, 1);
    assert_eq!(got[..2], [Got::Snapshot(1), Got::Skip(1, first - 1, SkipReason::Cap)], "{got:?}");
    assert_eq!(messages(&got), (first..=100).collect::<Vec<_>>());
    // The author knows before the cursor passes it (I7).
    let never = |got: &[Got]| {
        got.iter()
            .filter_map(|g| match g {
                Got::Never(user, from, to, _) => Some((user.clone(), *from, *to)),
                _ => None,
            })
            .collect::<Vec<_>>()
    };
    let told = world.got(0, 1);
    assert_eq!(never(&told).last(), Some(&("u2".to_owned(), 1, first - 1)), "{told:?}");
    world.ack(2, 1, 100).unwrap();
    assert!(cursors(&world.got(0, 1)).contains(&("u2", 100, 0)));
    assert!(!world.conversation().cursor(2, 1).unwrap().is(super::super::conversation::mark::FRESH));
    let progress = world.delivery.progress(&world.dir, 0, &AT, first - 1).unwrap();
    assert!(progress.iter().find(|c| c.user == "u2").unwrap().skipped);
    assert!(!progress.iter().find(|c| c.user == "u1").unwrap().skipped);
}

#[test]
fn an_acknowledgement_on_its_way_when_the_floor_rises_does_not_pass_for_one_of_the_snapshot() {
    let mut world = World::group(2);
    world.delivery.group_caps = (8, 1 << 30);
    world.window = (4, u32::MAX);
    world.join(1, 1);
    (0..3).for_each(|_| _ = world.send(0));
    assert_eq!(messages(&world.got(1, 1)), [1, 2, 3, 4]);
    world.ack(1, 1, 1).unwrap();
    (0..16).for_each(|_| _ = world.send(0));
    let got = world.got(1, 1);
    assert!(matches!(got[..], [Got::Message(5), ..]) || matches!(got[0], Got::Snapshot(1)), "{got:?}");
    world.ack(1, 1, 3).unwrap();
    assert!(world.conversation().cursor(1, 1).unwrap().is(super::super::conversation::mark::FRESH));
    world.cut(1, 1);
    world.join(1, 1);
    assert_eq!(world.got(1, 1)[0], Got::Snapshot(1));
}

#[test]
fn who_is_told_that_the_disk_lost_messages_gets_the_snapshot_before() {
    let mut world = World::group(3);
    world.join(1, 1);
    assert_eq!(world.got(1, 1)[..], [Got::Snapshot(1), Got::Message(1)]);
    world.ack(1, 1, 1).unwrap();
    world.cut(1, 1);
    world.change(0, Change::Removed(vec![2]));
    assert_eq!(world.delivery.lose(&world.dir, 0, 1), 2);
    world.join(1, 1);
    assert_eq!(world.got(1, 1)[..], [Got::Snapshot(2), Got::Skip(2, 2, SkipReason::Lost)]);
}

#[test]
fn progress_is_for_members_and_tells_of_those_who_are_to_have_the_message_i8() {
    let mut world = World::group(3);
    let sent = world.send(0);
    let removed = world.change(0, Change::Removed(vec![2]));
    let names = |world: &World, seq| {
        let cursors = world.delivery.progress(&world.dir, 0, &AT, seq).unwrap();
        cursors.iter().map(|c| c.user.to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(names(&world, sent), ["u1", "u2"]);
    let later = world.send(1);
    assert_eq!(names(&world, later), ["u0"]);
    assert_eq!(world.delivery.progress(&world.dir, 2, &AT, removed), Err(Refusal::Unknown));
    assert_eq!(world.delivery.progress(&world.dir, 0, &AT, later + 1), Err(Refusal::BeyondHead));
}

#[test]
fn a_state_that_is_older_than_the_changes_before_it_takes_nobody_out() {
    let mut world = World::group(2);
    let mut older = Vec::new();
    world.conversation().encode(1, &world.dir, &mut older);
    let late = world.dir.intern("late");
    world.change(0, Change::Added(vec![late]));
    let (state, _) = Conversation::decode(&mut Reader::new(&older), &mut world.dir).unwrap();
    let conversation = world.delivery.get_mut(0).unwrap();
    conversation.merge(state);
    assert_eq!(conversation.group.as_ref().unwrap().members.len(), 3);
    assert!(conversation.members[2].is_current() && !conversation.members[2].cursors.is_empty());
}

#[test]
fn who_is_known_to_have_gone_from_a_later_state_alone_keeps_its_place_in_memory() {
    let mut world = World::group(2);
    let mut older = Vec::new();
    world.conversation().encode(1, &world.dir, &mut older);
    world.log.insert(0, Record::State(older));
    let third = world.dir.intern("third");
    world.change(0, Change::Added(vec![third]));
    world.change(0, Change::Removed(vec![third]));
    world.log.retain(|record| matches!(record, Record::State(_)));
    world.write_log();
    world.log_state();
    world.dir.get_mut(third).unwrap().conversations.clear();
    world.delivery = Delivery::new(1 << 30);
    world.replay(3);
    assert!(world.conversation().members[third as usize].is_gone());
    assert_eq!(world.dir.get(third).unwrap().conversations[..], [0]);
}

#[test]
fn a_state_that_is_older_than_the_changes_before_it_says_what_is_skipped_all_the_same_i7() {
    let mut world = World::group(3);
    let mut states = Vec::new();
    for _ in 0..2 {
        let mut bytes = Vec::new();
        world.conversation().encode(1, &world.dir, &mut bytes);
        states.push(bytes);
        world.delivery.floor(&world.dir, 0, 1, SkipReason::Expired);
    }
    let mut read = |bytes: &[u8]| Conversation::decode(&mut Reader::new(bytes), &mut world.dir).unwrap().0;
    let mut conversation = read(&states[0]);
    conversation.group.as_mut().unwrap().apply(2, 0, &Change::Removed(vec![2]));
    conversation.merge(read(&states[1]));
    assert_eq!((conversation.first, conversation.group.as_ref().unwrap().seq), (2, 2));
    assert!(conversation.members[1].skips(1));
}

#[test]
fn all_devices_of_one_who_came_before_they_were_known_get_what_waits() {
    let mut world = World::group(2);
    let late = world.dir.intern("late");
    world.change(0, Change::Added(vec![late]));
    world.send(0);
    let user = world.dir.get_mut(late).unwrap();
    user.known = true;
    user.devices.extend((1..=2).map(|id| Device { id, receives: true, ..Device::default() }));
    world.delivery.fit_devices(&world.dir, late);
    world.check_counts();
    for device in 1..=2 {
        world.join(late, device);
        assert_eq!(world.got(late, device), [Got::Snapshot(2), Got::Message(2), Got::Message(3)]);
    }
}

#[test]
fn places_of_members_long_gone_are_given_to_others() {
    let mut world = World::group(1);
    world.join(0, 1);
    for round in 0..1200 {
        let user = world.dir.intern(&format!("guest{round}"));
        let known = world.dir.get_mut(user).unwrap();
        known.known = true;
        known.devices.push(Device { id: 1, receives: true, ..Device::default() });
        world.change(0, Change::Added(vec![user]));
        let removed = world.change(0, Change::Removed(vec![user]));
        world.join(user, 1);
        world.run();
        world.ack(user, 1, removed).unwrap();
        world.ack(0, 1, removed).unwrap();
        world.cut(user, 1);
        // Logged meanwhile.
        world.delivery.get_mut(0).unwrap().encode_members(&Directory::default(), &mut Vec::new());
    }
    assert!(world.conversation().members.len() < 1100, "{}", world.conversation().members.len());
}

/// Users without a device, who exist.
fn sleepers(world: &mut World, count: usize) -> Vec<u32> {
    let one = |n| {
        let user = world.dir.intern(&format!("sleeper{n}"));
        world.dir.get_mut(user).unwrap().known = true;
        user
    };
    (0..count).map(one).collect()
}

#[test]
fn who_goes_before_a_first_device_came_will_never_have_what_waited_and_its_authors_are_told_i7() {
    for restarted in [false, true] {
        let mut world = World::group(2);
        let late = sleepers(&mut world, 1)[0];
        let added = world.change(0, Change::Added(vec![late]));
        let said = world.send(1);
        world.join(1, 1);
        world.got(1, 1);
        let removed = world.change(0, Change::Removed(vec![late]));
        if restarted {
            world.restart();
            world.join(1, 1);
        }
        let never = Got::Never("sleeper0".into(), added, removed, 0);
        let got = world.got(1, 1);
        assert!(got.contains(&never), "{got:?}");
        // Nor does it claim to have it when it comes back.
        let back = world.change(0, Change::Added(vec![late]));
        world.send(1);
        let user = world.dir.get_mut(late).unwrap();
        user.devices.push(Device { id: 1, receives: true, ..Device::default() });
        world.delivery.fit_devices(&world.dir, late);
        world.join(late, 1);
        world.run();
        world.ack(late, 1, back + 1).unwrap();
        let got = world.got(1, 1);
        assert!(
            got.iter().any(|g| matches!(g, Got::Cursor(user, upto, ..) if user == "sleeper0" && *upto > back)),
            "{got:?}"
        );
        let places: Vec<_> = world.delivery.progress(&world.dir, 1, &AT, said).unwrap();
        assert!(places.iter().any(|c| c.user == "sleeper0" && c.skipped), "{places:?}");
    }
}

#[test]
fn those_who_come_cost_a_bounded_look_at_those_who_went_i11() {
    use super::super::member::TOUCHED;
    let mut world = World::group(2);
    let all = sleepers(&mut world, 3000);
    for some in all[..2000].chunks(1000) {
        world.change(0, Change::Added(some.to_vec()));
        world.change(0, Change::Removed(some.to_vec()));
    }
    TOUCHED.set(0);
    world.send_uncounted(0, 1, Some(Change::Added(all[2000..].to_vec())), false);
    assert!(TOUCHED.get() < 100_000, "{} looks", TOUCHED.get());
}
