//! Devices that nobody uses any more, and those that are connected all the time.

use seam::Commands;

use super::House;
use crate::config::Config;
use crate::ids::RowKey;

#[test]
fn device_that_was_not_connected_for_the_hold_time_is_dropped() {
    let mut house = House::new(Config::default());
    let hold = house.partition.config.hold_ms;
    let (ann, _) = house.attach("ann", 1);
    let (bob, _) = house.attach("bob", 1);
    house.sync();
    house.partition.detach(&mut house.host, bob);
    let round = |house: &mut House| {
        let (mut from, mut wanted) = (Some(0), Vec::new());
        while let Some(at) = from {
            let (next, more) = house.partition.drop_unseen(&mut house.host, at, 1).unwrap();
            wanted.extend(more);
            from = next;
        }
        house.sync();
        let devices = |user: &str| house.partition.state.user_named(user).map(|(_, row)| row.devices.len());
        (devices("ann"), devices("bob"), wanted)
    };
    house.host.now.wall_ms += hold - 1;
    assert_eq!(round(&mut house), (Some(1), Some(1), vec![]));
    house.host.now.wall_ms += 1;
    assert_eq!(round(&mut house), (Some(1), Some(0), vec![]), "ann is connected");
    assert!(house.partition.state.user_named("bob").unwrap().1.fits.is_empty(), "all conversations know");
    // When ann went, it was seen last.
    house.partition.detach(&mut house.host, ann);
    house.host.now.wall_ms += hold - 1;
    assert_eq!(round(&mut house), (Some(1), Some(0), vec![]));
    house.host.now.wall_ms += 1;
    assert_eq!(round(&mut house), (Some(0), Some(0), vec![]));
}

#[test]
fn that_a_device_came_back_after_long_is_logged_before_it_is_welcomed() {
    let mut house = House::new(Config::default());
    let hold = house.partition.config.hold_ms;
    let lazy = |house: &House| {
        let users = &house.partition.state.users;
        users.iter().any(|(_, user)| user.devices.iter().any(|device| device.dirty))
    };
    let (ann, _) = house.attach("ann", 1);
    house.partition.detach(&mut house.host, ann);
    assert!(house.partition.flush(&mut house.host, 9).is_ok() && !lazy(&house));
    for (away_ms, is_lazy) in [(hold / 30 - 1_000, true), (hold - 1_000, false)] {
        house.host.now.wall_ms += away_ms;
        let (ann, _) = house.attach("ann", 1);
        assert_eq!(lazy(&house), is_lazy, "{away_ms}");
        house.host.now.wall_ms += 1;
        house.partition.detach(&mut house.host, ann);
        while house.partition.flush(&mut house.host, 9).unwrap() {}
    }
}

#[test]
fn what_a_row_at_rest_says_is_compared_with_the_row_first() {
    let mut house = House::new(Config::default());
    house.attach("ann", 1);
    house.sync();
    house.partition.state.users.store = true;
    house.host.now.wall_ms += house.partition.config.hold_ms;
    let wanted = house.partition.drop_unseen_of(&mut house.host, "bob", &[(1, 0)]).unwrap();
    assert_eq!(wanted.to_vec(), [RowKey::user("bob")]);
    let wanted = house.partition.drop_unseen_of(&mut house.host, "ann", &[(1, 0)]).unwrap();
    assert!(wanted.is_empty());
    assert_eq!(house.partition.state.user_named("ann").unwrap().1.devices[..], [1], "it is connected");
}
