//! A floor that rises above what a mailbox has, whether or not it has a device yet.

use super::*;
use crate::wire::types::SkipReason;

/// A device of a user comes, as the engine does it.
fn come(world: &mut World, user: u32, id: u16) {
    world.dir.get_mut(user).unwrap().devices.push(Device { id, receives: true, ..Device::default() });
    world.delivery.fit_devices(&world.dir, user);
}

/// A group of two with devices and one without.
fn with_a_sleeper() -> (World, u32) {
    let mut world = World::group(2);
    let late = world.dir.intern("late");
    world.dir.get_mut(late).unwrap().known = true;
    world.change(0, Change::Added(vec![late]));
    world.log_state();
    (world, late)
}

#[test]
fn first_device_after_a_cap_gets_the_snapshot_and_the_skip_i7() {
    for restarted in [false, true] {
        let (mut world, late) = with_a_sleeper();
        world.delivery.group_caps = (8, 1 << 30);
        (0..20).for_each(|_| _ = world.send(0));
        world.check_counts();
        let first = world.conversation().first;
        assert!(first > 3, "{first}");
        if restarted {
            world.restart();
        }
        come(&mut world, late, 1);
        world.join(late, 1);
        let got = world.got(late, 1);
        assert_eq!(got[..2], [Got::Snapshot(2), Got::Skip(2, first - 1, SkipReason::Cap)], "{got:?}");
        assert_eq!(messages(&got), (first..=22).collect::<Vec<_>>());
        world.ack(late, 1, 22).unwrap();
        assert!(world.conversation().members[2].skips(first - 1));
    }
}

#[test]
fn first_device_after_expiry_of_everything_gets_the_skip_i7() {
    let (mut world, late) = with_a_sleeper();
    let last = world.send(0);
    world.delivery.expire(&world.dir, 0, u32::MAX, usize::MAX);
    assert!(world.conversation().is_empty());
    come(&mut world, late, 1);
    world.join(late, 1);
    assert_eq!(world.got(late, 1), [Got::Snapshot(2), Got::Skip(2, last, SkipReason::Expired)]);
    world.ack(late, 1, last).unwrap();
    world.cut(late, 1);
    world.join(late, 1);
    assert_eq!(world.got(late, 1), [], "acknowledged");
}

#[test]
fn next_device_of_one_whose_only_device_was_dropped_gets_the_skip_i7() {
    let mut world = World::direct();
    world.send(0);
    world.dir.get_mut(1).unwrap().devices.clear();
    world.delivery.fit_devices(&world.dir, 1);
    world.delivery.expire(&world.dir, 0, u32::MAX, usize::MAX);
    let last = world.send(0);
    come(&mut world, 1, 2);
    world.join(1, 2);
    assert_eq!(world.got(1, 2), [Got::Skip(1, 1, SkipReason::Expired), Got::Message(last)]);
}
