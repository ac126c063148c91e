//! Groups at their limits: as many members as there may be, and members of old whose places are given away.

use std::borrow::Cow;

use wire::codes;
use wire::types::{Change, Manage, Profile, Rules};

use super::world::World;
use crate::ids::ConversationId;
use crate::propose::{self, Fits, Sent, Stop};

/// ann, and so many others with a device each.
pub(super) fn world(others: usize) -> (World, Vec<String>) {
    let mut world = World::new();
    (world.config.group_members, world.config.groups) = (1024, 10);
    let names: Vec<String> = (0..others).map(|number| format!("user{number}")).collect();
    for name in names.iter().map(String::as_str).chain(["ann"]) {
        let records = propose::create_user(&world.state, name).unwrap().unwrap();
        world.commit(&records);
        let (_, records) = propose::register_device(&world.state, world.now, &world.config, name).unwrap();
        world.commit(&records);
        assert!(world.fit(name, &mut Fits::default(), 10, 10));
    }
    world.sync();
    (world, names)
}

pub(super) fn manage(
    world: &mut World,
    id: u16,
    conversation: Option<ConversationId>,
    change: Change<'_>,
) -> Result<ConversationId, Stop> {
    let manage = Manage { id: id.to_be_bytes().to_vec().into(), conversation, change };
    let mut stored = Vec::new();
    let sent =
        propose::change(&world.state, world.now, &world.config, world.state.author("ann", 1)?, &manage, &mut stored)?;
    let Sent::New { conversation, records, .. } = sent else { unreachable!("it is new") };
    world.commit(&records);
    world.sync();
    Ok(conversation)
}

pub(super) fn named(names: &[String]) -> Vec<Cow<'_, str>> {
    names.iter().map(|name| name.as_str().into()).collect()
}

pub(super) fn created(names: &[String]) -> Change<'_> {
    Change::Created { members: named(names), profile: Profile::default(), rules: Rules::default() }
}

fn is_full<T>(result: Result<T, Stop>) -> bool {
    matches!(result, Err(Stop::Refused(refusal)) if refusal.code == codes::GROUP_FULL)
}

#[test]
fn group_has_one_to_1024_members() {
    let (mut world, names) = world(1024);
    assert!(is_full(manage(&mut world, 1, None, created(&names))));
    let alone = manage(&mut world, 2, None, created(&[])).unwrap();
    assert_eq!(world.state.active(&alone).unwrap().row.members.len(), 1);
    let full = manage(&mut world, 3, None, created(&names[1..])).unwrap();
    assert_eq!(world.state.active(&full).unwrap().row.members.len(), 1024);
    assert!(is_full(manage(&mut world, 4, Some(full), Change::Added(named(&names[..1])))));
    world.crash(world.synced);
}

#[test]
fn places_of_former_members_are_reused_above_the_bound() {
    let (mut world, names) = world(1200);
    let id = manage(&mut world, 1, None, created(&[])).unwrap();
    for (number, some) in (0..).zip(names.chunks(600)) {
        manage(&mut world, 10 + number, Some(id), Change::Added(named(some))).unwrap();
        manage(&mut world, 20 + number, Some(id), Change::Removed(named(some))).unwrap();
        let head = world.state.active(&id).unwrap().row.head;
        for user in some {
            let author = world.state.author(user, 1).unwrap();
            world.ack(author, &id, head).unwrap();
        }
    }
    let places = |world: &World| {
        let members = &world.state.active(&id).unwrap().row.members;
        (members.len(), members.iter().flatten().count())
    };
    assert_eq!(places(&world), (1201, 1201));
    // One returns, and is not among those who are dropped.
    manage(&mut world, 30, Some(id), Change::Added(named(&names[..1]))).unwrap();
    assert_eq!(places(&world), (1201, 1201 - 64));
    let first = world.state.author(&names[0], 1).unwrap();
    assert!(world.state.mailbox(first, &id, None).is_ok());
    // A user who comes again after its place was given away is new.
    manage(&mut world, 31, Some(id), Change::Added(named(&names[1..3]))).unwrap();
    assert_eq!(places(&world), (1201, 1201 - 62));
    let (slot, entry) = (world.state.find(&id).unwrap(), world.state.names.find(&names[5]).unwrap());
    assert!(!world.state.users.get(entry).unwrap().conversations.contains(&slot));
    world.crash(world.synced);
    assert_eq!(places(&world), (1201, 1201 - 62));
}
