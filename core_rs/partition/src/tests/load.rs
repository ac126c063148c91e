//! Rows that come back from a store are those that the log speaks of, or nothing begins with them (positive evidence).

use super::world::World;
use crate::ids::{Position, RowKey};
use crate::propose::{self, Stop};
use crate::rest::Misfit;

/// ann, at rest with two changes.
fn world() -> (World, RowKey) {
    let mut world = World::new();
    for user in ["ann", "bob"] {
        let records = propose::create_user(&world.state, user).unwrap().unwrap();
        world.commit(&records);
    }
    let key = RowKey::user("ann");
    world.sync();
    let old = world.rest(&key).unwrap();
    let records = propose::block(&world.state, &world.config, "ann", "bob", false).unwrap().unwrap();
    world.commit(&records);
    assert!(world.rest(&key).is_none(), "its last change is not durable");
    assert!(!world.state.may_rest(&old), "it changed since it was written");
    world.sync();
    let stored = world.rest(&key).unwrap();
    world.commit(&[stored]);
    world.sync();
    (world, key)
}

#[test]
fn command_waits_for_an_evicted_row_and_loads_it() {
    let (mut world, key) = world();
    assert!(world.state.user_named("ann").is_none());
    let stop = propose::register_device(&world.state, world.now, &world.config, "ann").unwrap_err();
    assert_eq!(stop, Stop::Wait([key].into_iter().collect()));
    world.resolve(&stop);
    assert!(world.state.user_named("ann").unwrap().1.blocks("bob"));
}

#[test]
fn load_refuses_a_missing_older_newer_or_truncated_row() {
    let (mut world, key) = world();
    let (position, newest) = world.store.get(&key).unwrap().clone();
    let mut older = newest.clone();
    // The count of changes follows the version.
    older[1] -= 1;
    for crash in [false, true] {
        if crash {
            world.crash(world.synced);
        }
        let missing = world.state.loaded(&key, None);
        assert!(matches!(missing, Err(Misfit::Missing(said)) if said.change == 1), "{missing:?}");
        let other = world.state.loaded(&key, Some((position, &older)));
        assert!(matches!(other, Err(Misfit::Other(said, _, 0, 0)) if said.change == 1), "{other:?}");
        // Counts repeat after 65,536 changes; positions do not.
        for at in [Position(position.0 - 1), Position(position.0 + 1)] {
            let other = world.state.loaded(&key, Some((at, &newest)));
            assert!(matches!(other, Err(Misfit::Other(said, found, 1, 0)) if found == at && said.position == position));
        }
        let ahead = Position(world.journal.last().0 + 1);
        assert_eq!(world.state.loaded(&key, Some((ahead, &newest))), Err(Misfit::Ahead(ahead)));
        let cut = world.state.loaded(&key, Some((position, &newest[..3])));
        assert!(matches!(cut, Err(Misfit::Unreadable(_))), "{cut:?}");
        assert!(world.state.user_named("ann").is_none() && !world.state.is_absent(&key));
    }
    assert_eq!(world.state.loaded(&key, Some((position, &newest))), Ok(()));
}

#[test]
fn row_is_absent_only_after_the_store_said_so() {
    let (mut world, _) = world();
    let key = RowKey::user("cid");
    assert!(!world.state.is_absent(&key));
    assert_eq!(world.state.loaded(&key, None), Ok(()));
    assert!(world.state.is_absent(&key));
}

/// The log lost its end, and a row in the store reflects some of it: that row is the newest there is.
#[test]
fn row_above_its_record_is_taken_after_a_new_generation() {
    let (mut world, key) = world();
    let (position, newest) = world.store.get(&key).unwrap().clone();
    let found = Position(position.0 + 1);
    let record = propose::generation(&world.state, found, 0, found).unwrap();
    world.commit(&record);
    assert_eq!(world.state.loaded(&key, Some((found, &newest))), Ok(()));
    assert_eq!(world.state.mark(world.state.owner(&key).unwrap()).unwrap().position, found);
}
