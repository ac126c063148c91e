//! Rows that rest: what the index says of them, what a conversation owes devices first, and what keeps a row in memory.

use std::borrow::Cow;

use wire::types::{Change, DeviceBody, DeviceList, Send, Target};

use super::crowd;
use super::scenario::{BOB, Scenario, named};
use super::world::World;
use crate::ids::{ConversationId, Position, RowKey};
use crate::propose::{self, Fits, Stop};
use crate::receipts::{Receipt, Visited};
use crate::records::Record;
use crate::rows::Device;
use crate::rows::device::MAX_OWED;

#[test]
fn pinned_row_stays_in_memory() {
    let mut s = Scenario::new();
    let (id, _) = s.send("ann", BOB).unwrap();
    s.ack("bob", 1, &id, 1).unwrap();
    let keys = [RowKey::user("ann"), RowKey::device("ann", 1), RowKey::Conversation(id)];
    let owners: Vec<_> = keys.iter().map(|key| s.world.state.owner(key).unwrap()).collect();
    for &owner in &owners {
        s.world.state.pin(owner);
        s.world.state.pin(owner);
    }
    for left in [2, 1, 0] {
        s.world.rest_all();
        let here: Vec<bool> = keys.iter().map(|key| s.world.state.owner(key).is_some()).collect();
        assert_eq!(here, [left > 0; 3]);
        owners.iter().filter(|_| left > 0).for_each(|&owner| s.world.state.unpin(owner));
    }
    // What did not change since it was loaded stays as well.
    s.world.resolve(&Stop::Wait([keys[0].clone()].into_iter().collect()));
    let owner = s.world.state.owner(&keys[0]).unwrap();
    s.world.state.pin(owner);
    s.world.state.forget(&keys[0]);
    assert!(s.world.state.owner(&keys[0]).is_some());
    s.world.state.unpin(owner);
    s.world.state.forget(&keys[0]);
    assert!(s.world.state.owner(&keys[0]).is_none());
}

#[test]
fn conversation_whose_mailbox_waits_for_a_skip_stays_in_memory() {
    let mut s = Scenario::new();
    let (id, _) = s.send("ann", BOB).unwrap();
    s.world.now.wall_ms += s.world.config.hold_ms;
    let active = s.world.state.active(&id).unwrap();
    let records = propose::expire(&s.world.state, s.world.now, &s.world.config, active).unwrap();
    s.world.commit(&records);
    s.world.rest_all();
    assert!(s.world.state.find(&id).is_some());
    s.world.until(|world| world.state.author("bob", 1).map(drop)).unwrap();
    s.ack("bob", 1, &id, 1).unwrap();
    s.world.rest_all();
    assert!(s.world.state.find(&id).is_none());
}

fn receipts(s: &Scenario, id: &ConversationId, user: &str) -> (Vec<Receipt>, Visited) {
    let (slot, mut receipts) = (s.world.state.find(id).unwrap(), Vec::new());
    let index = s.world.state.active(id).unwrap().member(s.world.state.names.find(user).unwrap(), 0).unwrap();
    let visited = s.world.state.receipts(slot, index, 0, 0, |receipt| {
        receipts.push(receipt);
        true
    });
    (receipts, visited)
}

/// Every record that notes skips holds the receipts of its conversation, which pass them, until it is durable.
#[test]
fn receipts_wait_until_skips_are_durable_i7() {
    let mut s = Scenario::new();
    let (id, _) = s.send("ann", Target::Device("bob".into(), 1)).unwrap();
    assert_eq!(receipts(&s, &id, "ann").1, Visited::All);
    // What only this device would have had goes with it.
    let records = propose::drop_device(&s.world.state, "bob", 1).unwrap().unwrap();
    s.world.commit(&records);
    assert!(s.world.fit("bob", &mut Fits::default(), 10, 10));
    assert_eq!(receipts(&s, &id, "ann"), (vec![], Visited::NotDurable));
    s.world.sync();
    let (told, visited) = receipts(&s, &id, "ann");
    assert!(matches!(told.first(), Some(Receipt::Skip(_, range)) if range.to == 1) && visited == Visited::All);
    // A message that has no body for bob.
    let (id, _) = s.send("ann", Target::User("cid".into())).unwrap();
    let mut send = s.to(Target::User("cid".into()));
    let list = |user: &'static str| DeviceList { user: user.into(), version: 1, devices: [1].into_iter().collect() };
    let body = DeviceBody { user: "ann".into(), device: 1, body: b"own"[..].into() };
    (send.body, send.bodies, send.lists) = (Vec::new().into(), vec![body], vec![list("ann"), list("cid")]);
    let (mut stored, state) = (Vec::new(), &s.world.state);
    let author = state.author("ann", 1).unwrap();
    let sent = propose::send(state, s.world.now, &s.world.config, author, None, &send, &mut stored).unwrap();
    let propose::Sent::New { records, .. } = sent else { unreachable!("it is new") };
    s.world.commit(&records);
    assert_eq!(receipts(&s, &id, "ann"), (vec![], Visited::NotDurable));
    s.world.sync();
    let (told, visited) = receipts(&s, &id, "ann");
    assert!(matches!(told.first(), Some(Receipt::Skip(_, range)) if range.to == 2) && visited == Visited::All);
}

#[test]
fn new_member_learns_no_skips_from_before_it_came() {
    let mut s = Scenario::new();
    let id = s.group(&["bob"]);
    s.send("ann", Target::Conversation(id)).unwrap();
    s.world.now.wall_ms += s.world.config.hold_ms;
    let active = s.world.state.active(&id).unwrap();
    let records = propose::expire(&s.world.state, s.world.now, &s.world.config, active).unwrap();
    s.world.commit(&records);
    s.manage("ann", Some(id), Change::Added(named(&["cid"]))).unwrap();
    let (_, seq) = s.send("cid", Target::Conversation(id)).unwrap();
    s.ack("bob", 1, &id, seq).unwrap();
    let skips = |(receipts, _): (Vec<Receipt>, _)| receipts.iter().filter(|r| matches!(r, Receipt::Skip(..))).count();
    let progress = receipts(&s, &id, "cid").0;
    assert!(matches!(progress[..], [Receipt::Progress { delivered, .. }] if delivered == seq), "{progress:?}");
    s.world.sync();
    assert_eq!((skips(receipts(&s, &id, "ann")), skips(receipts(&s, &id, "cid"))), (1, 0));
}

#[test]
fn visit_of_receipts_goes_on_where_it_stopped() {
    let mut s = Scenario::new();
    let id = s.group(&["bob", "cid", "dan"]);
    let (_, seq) = s.send("ann", Target::Conversation(id)).unwrap();
    for user in ["bob", "cid", "dan"] {
        s.ack(user, 1, &id, seq).unwrap();
    }
    let all = receipts(&s, &id, "ann").0;
    let (slot, ann) = (s.world.state.find(&id).unwrap(), s.world.state.names.find("ann").unwrap());
    let index = s.world.state.active(&id).unwrap().member(ann, 0).unwrap();
    let (mut from, mut found) = (0, Vec::new());
    loop {
        let visited = s.world.state.receipts(slot, index, 0, from, |receipt| {
            found.push(receipt);
            false
        });
        match visited {
            Visited::From(next) => from = next,
            other => break assert_eq!(other, Visited::All),
        }
    }
    assert_eq!((found.len(), found), (3, all));
}

/// A group of 1,024 at rest, its users and devices too: ten of them write, everybody has it, and all rests again.
#[test]
fn group_of_1024_that_rests_loads_the_devices_of_those_who_wrote() {
    let (mut world, names) = crowd::world(1023);
    let id = crowd::manage(&mut world, 1, None, crowd::created(&names)).unwrap();
    let ack_all = |world: &mut World| {
        let head = world.state.active(&id).unwrap().row.head;
        for user in names.iter().map(String::as_str).chain(["ann"]) {
            let author = world.until(|world| world.state.author(user, 1).map(|author| author.user)).unwrap();
            let author = propose::Author { name: user, user: author, device: 1 };
            world.state.connected(author, 1000, true).unwrap();
            world.ack(author, &id, head).unwrap();
        }
    };
    ack_all(&mut world);
    world.rest_all();
    assert_eq!((world.state.conversations().count(), world.state.names.len()), (0, 0));
    let mut number = 0_u32;
    for (round, authors) in [10, 1, 0].into_iter().enumerate() {
        world.resolve(&Stop::Wait([RowKey::Conversation(id)].into_iter().collect()));
        for user in &names[100 * round..100 * round + authors] {
            world.until(|world| world.state.author(user, 1).map(drop)).unwrap();
            number += 1;
            let target = Target::Conversation(id);
            let send = Send {
                id: number.to_be_bytes().to_vec().into(),
                target,
                body: b"hello"[..].into(),
                bodies: vec![],
                lists: vec![],
                media: vec![],
            };
            let mut stored = Vec::new();
            let author = world.state.author(user, 1).unwrap();
            let sent = propose::send(&world.state, world.now, &world.config, author, None, &send, &mut stored).unwrap();
            let propose::Sent::New { records, .. } = sent else { unreachable!("it is new") };
            world.commit(&records);
        }
        world.sync();
        ack_all(&mut world);
        let owner = world.state.owner(&RowKey::Conversation(id)).unwrap();
        // It rests when its users and devices do already.
        world.state.pin(owner);
        world.rest_all();
        world.state.unpin(owner);
        let loads = world.loads;
        world.rest_all();
        assert_eq!((world.state.find(&id), world.loads - loads), (None, authors), "round {round}");
    }
}

#[test]
fn device_remembers_at_most_4096_conversations_one_by_one() {
    let id = |number: usize| {
        let mut id = [0; 16];
        id[..8].copy_from_slice(&number.to_be_bytes());
        id
    };
    let mut device = Device::default();
    (1..MAX_OWED).for_each(|number| device.owe(id(number), number as u64));
    assert_eq!((device.owed.len(), device.owed_all), (MAX_OWED - 1, 0));
    device.owe(id(MAX_OWED), 7);
    assert_eq!((device.owed.len(), device.owed_all), (MAX_OWED, 0));
    // One that is there already takes no room.
    device.owe(id(1), 9000);
    assert_eq!(
        (device.owed.len(), device.is_owed(&id(1), 9000), device.is_owed(&id(1), 9001)),
        (MAX_OWED, true, false)
    );
    assert!(!device.is_owed(&id(MAX_OWED + 1), 1));
    device.owe(id(MAX_OWED + 1), 8);
    assert_eq!((device.owed.len(), device.owed_all), (0, 9000));
    assert!(device.is_owed(&id(5), 9000) && !device.is_owed(&id(5), 9001));
    device.owe(id(3), 9001);
    assert!(device.see(9000) && device.owed_all == 9001);
    assert!(device.see(9001) && device.owed_all == 0);
    device.owe(id(3), 9002);
    assert_eq!((device.owed.len(), device.see(9001)), (1, false));
}

/// Whether the list is full depends on what the device has seen, which is logged late: a record that may fill it stands behind
/// that, or a start would take the list for full (I14).
#[test]
fn recovery_keeps_what_a_device_is_owed_at_the_bound_i14() {
    let mut s = Scenario::new();
    for number in 1..=MAX_OWED as u16 {
        owe(&mut s, number, u64::from(number));
    }
    s.world.state.versions.last = s.world.state.versions.last.max(5000);
    let author = s.world.state.author("ann", 1).unwrap();
    s.world.state.seen(author, 1).unwrap();
    owe(&mut s, 5000, 5000);
    let ann = s.world.state.names.find("ann").unwrap();
    let row = s.world.state.device(ann, 1).unwrap().row.clone();
    assert_eq!((row.owed.len(), row.owed_all), (MAX_OWED, 0));
    s.world.sync();
    s.world.crash(s.world.synced);
    let ann = s.world.state.names.find("ann").unwrap();
    assert_eq!(s.world.state.device(ann, 1).unwrap().row, row);
}

fn owe(s: &mut Scenario, number: u16, version: u64) {
    let ann = s.world.state.names.find("ann").unwrap();
    let change = s.world.state.device(ann, 1).unwrap().row.changes.wrapping_add(1);
    let mut conversation = [0; 16];
    conversation[..2].copy_from_slice(&number.to_be_bytes());
    s.world.commit(&[Record::Owed { user: "ann".into(), device: 1, change, conversation, version }]);
}

/// A device that connects daily and never acknowledges a receipt keeps nothing in memory but its own row (fault G).
#[test]
fn device_that_never_acknowledges_receipts_pins_no_conversation() {
    let mut s = Scenario::new();
    let author = s.world.state.author("ann", 1).unwrap();
    s.world.state.connected(author, 1000, true).unwrap();
    for _ in 0..3 {
        for user in ["ann", "bob"] {
            s.world.until(|world| world.state.author(user, 1).map(drop)).unwrap();
        }
        let (id, seq) = loop {
            match s.send("ann", BOB) {
                Err(stop @ Stop::Wait(_)) => s.world.resolve(&stop),
                sent => break sent.unwrap(),
            }
        };
        let news = s.ack("bob", 1, &id, seq).unwrap().unwrap();
        s.world.rest_all();
        assert_eq!(s.world.state.names.len(), 0, "all of it rests");
        // Also of what came after it was loaded again.
        s.world.until(|world| world.state.author("ann", 1).map(drop)).unwrap();
        let ann = s.world.state.names.find("ann").unwrap();
        let row = &s.world.state.device(ann, 1).unwrap().row;
        assert!(row.is_owed(&id, news.version) && !row.is_owed(&id, news.version + 1));
    }
}

/// Skips are forgotten when the devices of their own conversation know of them, whatever others have.
#[test]
fn skips_are_forgotten_by_the_devices_of_their_conversation() {
    let mut s = Scenario::new();
    let (id, _) = s.send("ann", Target::Device("bob".into(), 1)).unwrap();
    s.drop_device("bob", 1);
    let version = s.member(&id, "bob").version;
    assert_eq!(s.register("bob"), 1);
    let flush = |s: &mut Scenario| {
        let (_, seq) = s.send("ann", Target::Conversation(id)).unwrap();
        s.ack("bob", 1, &id, seq).unwrap();
        for record in s.world.state.flush(usize::MAX) {
            s.world.commit(&[record]);
        }
        s.member(&id, "bob").skips().len()
    };
    let ann = s.world.state.author("ann", 1).unwrap();
    assert_eq!(flush(&mut s), 1, "ann's device has never received, and may yet");
    s.world.state.connected(ann, 1000, true).unwrap();
    let bob = s.world.state.author("bob", 1).unwrap();
    s.world.state.connected(bob, 1000, true).unwrap();
    s.world.state.seen(bob, version).unwrap();
    s.world.state.seen(ann, version - 1).unwrap();
    assert_eq!(flush(&mut s), 1);
    s.world.state.seen(ann, version).unwrap();
    assert_eq!(flush(&mut s), 0);
}

#[test]
fn conversation_rests_only_when_it_has_taken_up_its_members_devices() {
    let mut s = Scenario::new();
    let (id, _) = s.send("ann", BOB).unwrap();
    s.ack("bob", 1, &id, 1).unwrap();
    let (_, records) = propose::register_device(&s.world.state, s.world.now, &s.world.config, "bob").unwrap();
    s.world.commit(&records);
    s.world.rest_all();
    assert!(s.world.state.find(&id).is_some() && s.world.state.user_named("bob").is_some());
    s.fit("bob");
    s.world.rest_all();
    assert!(s.world.state.find(&id).is_none() && s.world.state.user_named("bob").is_none());
}

/// The embedder's users who block somebody get nothing from them, keys neither; and the one who is blocked cannot tell.
#[test]
fn device_conversation_withholds_from_who_blocks() {
    let mut s = Scenario::new();
    s.group(&["bob"]);
    s.block("bob", "ann", false);
    let (id, seq) = s.send("ann", Target::Device(Cow::Borrowed("bob"), 1)).unwrap();
    let bob = s.member(&id, "bob");
    assert_eq!((bob.withheld(), bob.delivered), (&[(seq, seq)][..], 0));
    assert_eq!(s.ack("bob", 1, &id, seq).unwrap(), None);
}

#[test]
fn conversation_that_owes_a_damaged_device_stays_in_memory() {
    let mut s = Scenario::new();
    let (id, _) = s.send("ann", BOB).unwrap();
    s.world.rest_all();
    let (key, conversation) = (RowKey::device("ann", 1), RowKey::Conversation(id));
    assert!(s.world.state.owner(&key).is_none() && s.world.state.find(&id).is_some(), "bob has not got it");
    s.world.damaged = true;
    let whole = s.world.store.insert(key.clone(), (Position(0), vec![77])).unwrap();
    s.world.until(|world| world.state.author("bob", 1).map(drop)).unwrap();
    s.ack("bob", 1, &id, 1).unwrap();
    for record in s.world.state.flush(usize::MAX) {
        s.world.commit(&[record]);
    }
    s.world.sync();
    assert!(s.world.rest(&conversation).is_none() && s.world.state.find(&id).is_some());
    let loads = s.world.loads;
    assert!(s.world.rest(&conversation).is_none());
    assert_eq!(s.world.loads, loads, "it is not asked for again");
    s.world.store.insert(key, whole);
    s.world.crash(s.world.synced);
    s.world.state.users.store = true;
    assert!(s.world.rest(&conversation).is_some());
}
