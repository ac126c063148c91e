//! A direct message from somebody who is blocked.

use super::*;
use crate::wire::types::SkipReason;

fn told(world: &mut World, user: u32) -> Vec<Got> {
    world.got(user, 1).into_iter().filter(|g| matches!(g, Got::Cursor(..) | Got::Never(..))).collect()
}

#[test]
fn a_withheld_message_holds_receipts_back_until_it_would_have_expired_i7_i8() {
    for restart in [false, true] {
        let mut world = World::direct();
        world.join(0, 1);
        world.join(1, 1);
        world.send(0);
        world.run();
        world.ack(1, 1, 1).unwrap();
        world.got(0, 1);
        world.got(1, 1);
        world.send_from(0, 1, None, true);
        world.send_from(0, 1, None, true);
        let skips = [Got::Skip(2, 3, SkipReason::Blocked)];
        assert_eq!(world.got(1, 1), skips);
        world.ack(1, 1, 3).unwrap();
        assert!(world.conversation().is_empty());
        world.send(1);
        world.got(0, 1);
        world.ack(0, 1, 4).unwrap();
        assert!(told(&mut world, 0).is_empty());
        if restart {
            world.restart();
            world.join(0, 1);
            world.join(1, 1);
        }
        assert!(told(&mut world, 0).iter().all(|g| matches!(g, Got::Cursor(_, 1, ..))), "only what was told before");
        // What gets through is not told as delivered: a device that is away would hold receipts back alike.
        for (seq, held_from_s) in [(5, 0), (6, 2), (7, 3)] {
            world.delivery.held_from_s = held_from_s;
            world.send(0);
            world.run();
            world.ack(1, 1, seq).unwrap();
            assert!(told(&mut world, 0).is_empty(), "the last of them was accepted at 3 s");
        }
        world.delivery.held_from_s = 4;
        world.send(0);
        world.run();
        world.ack(1, 1, 8).unwrap();
        let told = told(&mut world, 0);
        assert!(
            matches!(&told[..], [Got::Never(_, 2, 3, a), Got::Cursor(_, 8, 0, b)] if a <= b),
            "the skip first: {told:?}"
        );
    }
}

#[test]
fn the_authors_other_devices_get_it() {
    let mut world = World::direct();
    world.dir.get_mut(0).unwrap().devices.push(Device { id: 2, receives: true, ..Device::default() });
    world.delivery.fit_devices(&world.dir, 0);
    world.send_from(0, 1, None, true);
    world.join(0, 2);
    assert_eq!(messages(&world.got(0, 2)), [1]);
    let waiting = world.join(1, 1);
    assert_eq!(waiting.messages, 0);
}

#[test]
fn what_expires_while_it_is_withheld_is_not_told_to_its_author() {
    let mut world = World::direct();
    world.join(0, 1);
    world.send_from(0, 1, None, true);
    world.delivery.floor(&world.dir, 0, 1, SkipReason::Expired);
    world.check_counts();
    assert!(told(&mut world, 0).is_empty());
}
