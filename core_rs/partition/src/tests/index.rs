//! Which conversations a user has: what the index says of them, who may learn of it, and passes over all of them.

use std::collections::{BTreeMap, BTreeSet};

use wire::codes;
use wire::types::{Change, Target};

use super::scenario::{BOB, Scenario, code, named};
use super::world::World;
use crate::ids::{ConversationId, DeviceId, Position, RowKey};
use crate::index::{Answers, InStore, MAX_NOTED, Resting, Said, Step, Walk};
use crate::names::Names;
use crate::propose::{self, Decided, Fits, Stop};
use crate::records::Record;
use crate::rest::Rest;
use crate::rows::device::MAX_OWED;
use crate::rows::{Conversation, Cursor, Kind, Member};

impl World {
    /// The index has the members of all conversations at rest, and of each user it is known which groups it is in.
    pub fn check_index(&self) {
        let (mut index, mut groups) = (BTreeMap::new(), BTreeMap::<_, BTreeSet<ConversationId>>::new());
        for (key, (_, bytes)) in &self.store {
            let RowKey::Conversation(id) = key else { continue };
            if self.state.find(id).is_some() {
                continue;
            }
            let mut names = Names::default();
            let row = Conversation::decode(bytes, &mut names).unwrap();
            for (_, member) in row.iter() {
                let (name, left) = (names.text(member.user), u8::from(!member.is_current()) << 7);
                index.insert(RowKey::member(name, id), vec![row.kind as u8 | left]);
                if member.role.is_some() {
                    groups.entry(name.to_owned()).or_default().insert(*id);
                }
            }
        }
        let rows = self.store.iter().filter(|(key, _)| match key {
            RowKey::Member(_, id) => self.state.find(id).is_none(),
            _ => false,
        });
        assert_eq!(rows.map(|(key, (_, value))| (key.clone(), value.clone())).collect::<BTreeMap<_, _>>(), index);
        for (slot, entry) in self.state.users.iter() {
            let name = self.state.names.text(slot);
            if let Resting::Known(resting) = &entry.resting {
                assert_eq!(*resting, groups.get(name).cloned().unwrap_or_default(), "{name}");
            }
            for (conversation, active) in self.state.conversations() {
                let member = active.places(slot).first().map(|&index| active.row.member(index).unwrap());
                assert_eq!(entry.conversations.contains(&conversation), member.is_some(), "{name}");
                let current = member.is_some_and(|member| member.role.is_some());
                assert_eq!(entry.groups.contains(&conversation), current, "{name}");
            }
        }
    }
}

fn waits_for<T: std::fmt::Debug>(result: Decided<T>) -> Vec<RowKey> {
    match result {
        Err(Stop::Wait(keys)) => keys.into_vec(),
        other => unreachable!("{other:?}"),
    }
}

/// Commands of cid that name a conversation by its id.
fn commands(s: &mut Scenario, id: ConversationId) -> Vec<Stop> {
    let query = |s: &Scenario, query| {
        let author = s.world.state.author("cid", 1)?;
        s.world.state.query(author, &query, |_| {})
    };
    [
        s.send("cid", Target::Conversation(id)).map(drop),
        s.ack("cid", 1, &id, 1).map(drop),
        s.read("cid", &id, 1, &["ann"]).map(drop),
        s.manage("cid", Some(id), Change::Added(named(&["dan"]))).map(drop),
        query(s, seam::Query::Group(id)),
        query(s, seam::Query::Progress(id, 1)),
    ]
    .into_iter()
    .map(|result| result.unwrap_err())
    .collect()
}

#[test]
fn command_by_id_asks_for_the_membership_alone_i8_i13() {
    let mut s = Scenario::new();
    let (direct, _) = s.send("ann", BOB).unwrap();
    s.ack("bob", 1, &direct, 1).unwrap();
    let group = s.group(&["bob"]);
    for user in ["ann", "bob"] {
        s.ack(user, 1, &group, 1).unwrap();
    }
    s.world.rest_all();
    assert_eq!(s.world.state.conversations().count(), 0);
    s.world.until(|world| world.state.author("cid", 1).map(drop)).unwrap();
    for id in [direct, group, [9; 16]] {
        let mine = Stop::Wait([RowKey::member("cid", &id)].into_iter().collect());
        assert!(commands(&mut s, id).iter().all(|stop| *stop == mine), "whatever there is");
        s.world.resolve(&mine);
        let refused = commands(&mut s, id).into_iter().map(|stop| code::<()>(Err(stop)));
        assert!(refused.into_iter().all(|code| code == codes::UNKNOWN_CONVERSATION));
    }
    assert_eq!(s.world.state.conversations().count(), 0, "nothing was loaded");
    // A member's command goes on to the conversation.
    s.world.until(|world| world.state.author("bob", 1).map(drop)).unwrap();
    for expected in [RowKey::member("bob", &direct), RowKey::Conversation(direct)] {
        let stop = s.send("bob", Target::Conversation(direct)).unwrap_err();
        assert_eq!(stop, Stop::Wait([expected].into_iter().collect()));
        s.world.resolve(&stop);
    }
    assert!(s.ack("bob", 1, &direct, 1).is_ok());
}

/// What the store said of a membership before the conversation began, or changed, does not outlive it.
#[test]
fn membership_that_was_absent_is_asked_for_again_after_the_next_rest() {
    let mut s = Scenario::new();
    s.world.state.users.store = true;
    for user in ["ann", "bob", "cid"] {
        s.world.until(|world| world.state.author(user, 1).map(drop)).unwrap();
        s.world.resolve(&Stop::Index(user.into()));
    }
    let id = propose::conversation_id(Kind::Direct, [("ann", 0), ("bob", 0)]);
    s.world.until(|world| world.state.not_in_memory::<()>("bob", &id)).unwrap_err();
    s.world.resolve(&Stop::Wait([RowKey::Conversation(id)].into_iter().collect()));
    s.send("ann", BOB).unwrap();
    s.ack("bob", 1, &id, 1).unwrap();
    s.world.rest_all();
    s.world.until(|world| world.state.author("bob", 1).map(drop)).unwrap();
    assert_eq!(waits_for(s.send("bob", Target::Conversation(id))), [RowKey::member("bob", &id)]);
}

#[test]
fn index_rows_are_written_for_those_who_came_or_went() {
    let mut s = Scenario::new();
    let id = s.group(&["bob", "cid"]);
    let acked = |s: &mut Scenario, users: &[&str]| {
        let head = s.world.state.active(&id).unwrap().row.head;
        for user in users {
            s.world.until(|world| world.state.author(user, 1).map(drop)).unwrap();
            s.ack(user, 1, &id, head).unwrap();
        }
    };
    acked(&mut s, &["ann", "bob", "cid"]);
    s.world.rest_all();
    s.world.check_index();
    let write = |s: &mut Scenario| {
        for record in s.world.state.flush(usize::MAX) {
            s.world.commit(&[record]);
        }
        s.world.sync();
        let world = &mut s.world;
        let decided = world.until(|world| world.state.rest(&RowKey::Conversation(id), world.synced)).unwrap();
        let Rest::Write(write) = decided else { unreachable!("{decided:?}") };
        let rows = write.rows.into_iter().filter_map(|(key, value)| match key {
            RowKey::Member(name, _) => Some((name.to_string(), value)),
            _ => None,
        });
        rows.collect::<Vec<_>>()
    };
    let load = Stop::Wait([RowKey::Conversation(id)].into_iter().collect());
    s.world.resolve(&load);
    s.world.until(|world| world.state.author("ann", 1).map(drop)).unwrap();
    s.send("ann", Target::Conversation(id)).unwrap();
    acked(&mut s, &["ann", "bob", "cid"]);
    assert_eq!(write(&mut s), [], "nobody came or went");
    s.world.resolve(&Stop::Wait([RowKey::user("dan")].into_iter().collect()));
    for user in ["ann", "dan"] {
        s.world.resolve(&Stop::Index(user.into()));
    }
    s.manage("ann", Some(id), Change::Removed(named(&["bob"]))).unwrap();
    s.manage("ann", Some(id), Change::Added(named(&["dan"]))).unwrap();
    acked(&mut s, &["ann", "cid", "dan"]);
    s.ack("bob", 1, &id, 3).unwrap();
    let kind = Kind::Group as u8;
    assert_eq!(write(&mut s), [("bob".into(), Some(vec![kind | 0x80])), ("dan".into(), Some(vec![kind]))]);
}

#[test]
fn answers_of_the_store_outlive_many_others() {
    let key = |number: u32| RowKey::User(number.to_string().into());
    let mut answers = Answers::default();
    answers.put(key(0), Said::Absent);
    (1..1 << 15).for_each(|number| answers.put(key(number), Said::Absent));
    assert_eq!(answers.get(&key(0)), Some(Said::Absent));
    (1 << 15..1 << 16).for_each(|number| answers.put(key(number), Said::Absent));
    assert_eq!(answers.get(&key(0)), Some(Said::Absent), "as the last of the older half");
    answers.put(key(1 << 16), Said::There);
    assert_eq!((answers.get(&key(0)), answers.get(&key(1 << 15))), (None, Some(Said::Absent)));
    answers.remove(&key(1 << 16));
    assert_eq!(answers.get(&key(1 << 16)), None);
}

/// ann with so many direct conversations at rest, put into the store as they would be.
fn resting(many: u32) -> Scenario {
    let mut s = Scenario::new();
    for number in 0..many {
        let id = propose::hash_of(&number.to_be_bytes())[..16].try_into().unwrap();
        let mut row = Conversation::new(Kind::Direct);
        (row.head, row.floor) = (1, 2);
        for user in ["ann", "bob"] {
            let mut member = Member::new(s.world.state.names.hold(user), 0, 1);
            member.delivered = 1;
            member.cursors.push(Cursor::new(1, 1));
            row.members.push(Some(member));
            s.world.store.insert(RowKey::member(user, &id), (Position(0), vec![Kind::Direct as u8]));
        }
        let mut bytes = Vec::new();
        row.encode(&s.world.state.names, &mut bytes);
        for (_, member) in row.iter() {
            s.world.state.names.release(member.user);
        }
        s.world.store.insert(RowKey::Conversation(id), (Position(0), bytes));
    }
    s.world.state.users.store = true;
    s
}

fn devices_of(world: &World, key: &RowKey, user: &str) -> Vec<DeviceId> {
    let mut names = crate::names::Names::default();
    let row = Conversation::decode(&world.store.get(key).unwrap().1, &mut names).unwrap();
    let member = row.iter().find(|(_, member)| names.text(member.user) == user).unwrap().1;
    member.cursors.iter().map(|cursor| cursor.device).collect()
}

#[test]
fn new_device_is_taken_up_by_conversations_at_rest_a_few_at_a_time() {
    let mut s = resting(1500);
    let (device, records) = propose::register_device(&s.world.state, s.world.now, &s.world.config, "ann").unwrap();
    s.world.commit(&records);
    let (mut fits, mut most, mut steps) = (Fits::default(), 0, 0);
    while !s.world.fit("ann", &mut fits, 64, 1) {
        steps += 1;
        most = most.max(s.world.state.conversations().count());
        if steps == 50 {
            // What is done is met again, and stays as it is. The last that went to rest are active once more.
            s.world.crash(s.world.synced);
            s.world.state.users.store = true;
            fits = Fits::default();
        }
    }
    assert!(steps > 50 && most <= 128, "{steps} steps, {most} in memory");
    let keys: Vec<RowKey> = s.world.store.keys().filter(|k| matches!(k, RowKey::Conversation(_))).cloned().collect();
    assert!(keys.len() == 1500 && keys.iter().all(|key| devices_of(&s.world, key, "ann") == [1, device]));
    assert!(s.world.state.user_named("ann").unwrap().1.fits.is_empty());
}

#[test]
fn damaged_conversation_delays_no_other_and_is_taken_up_after_it_was_healed() {
    let mut s = resting(10);
    let key = s.world.store.keys().find(|key| matches!(key, RowKey::Conversation(_))).unwrap().clone();
    s.world.damaged = true;
    let whole = s.world.store.insert(key.clone(), (Position(0), vec![77])).unwrap();
    let (device, records) = propose::register_device(&s.world.state, s.world.now, &s.world.config, "ann").unwrap();
    s.world.commit(&records);
    assert!(s.world.fit("ann", &mut Fits::default(), 3, 1000));
    assert_eq!(s.world.state.user_named("ann").unwrap().1.fits.len(), 1, "it is not done");
    s.world.store.insert(key.clone(), whole);
    s.world.sync();
    s.world.crash(s.world.synced);
    s.world.state.users.store = true;
    assert!(s.world.fit("ann", &mut Fits::default(), 3, 1000));
    let keys = s.world.store.keys().filter(|key| matches!(key, RowKey::Conversation(_)));
    assert!(keys.into_iter().all(|key| devices_of(&s.world, key, "ann") == [1, device]));
    assert!(s.world.state.user_named("ann").unwrap().1.fits.is_empty());
}

/// A device that has been away while more conversations than it is remembered for went to rest with receipts for it.
#[test]
fn device_that_is_owed_by_too_many_conversations_reads_the_index() {
    let mut s = resting(MAX_OWED as u32 + 10);
    let keys: Vec<RowKey> = s.world.store.keys().filter(|k| matches!(k, RowKey::Conversation(_))).cloned().collect();
    for (version, key) in (1..).zip(&keys) {
        let RowKey::Conversation(conversation) = *key else { continue };
        let ann = s.world.state.names.find("ann").unwrap();
        let change = s.world.state.device(ann, 1).unwrap().row.changes.wrapping_add(1);
        s.world.commit(&[Record::Owed { user: "ann".into(), device: 1, change, conversation, version }]);
        if version == MAX_OWED as u64 {
            assert_eq!(returns(&mut s, 0), keys[..MAX_OWED]);
        }
    }
    assert_eq!(returns(&mut s, 0), keys);
    // Whoever kept all of it, whatever the server knows of that, has nothing to look for.
    assert_eq!(returns(&mut s, keys.len() as u64), []);
}

/// The conversations that ann's device meets when it attaches.
fn returns(s: &mut Scenario, told: u64) -> Vec<RowKey> {
    let ann = s.world.state.names.find("ann").unwrap();
    let (mut walk, mut met) = (Walk::default(), Vec::new());
    loop {
        match s.world.state.owing(&mut walk, (ann, 1), told) {
            Step::At(slot) => {
                met.push(RowKey::Conversation(s.world.state.conversation(slot).unwrap().id));
                walk.pass(slot);
            }
            Step::Page(after) => {
                let (page, last) = s.world.index_page("ann", after, 1024);
                walk.page(page.into_iter().map(|row| row.0).collect(), last);
            }
            Step::Rows(keys) => s.world.resolve(&Stop::Wait(keys)),
            Step::Rest => {
                let ids = walk.give_back();
                assert!(ids.len() <= 16);
                ids.into_iter().for_each(|id| drop(s.world.rest(&RowKey::Conversation(id))));
                assert_eq!(s.world.state.conversations().count(), 0);
            }
            Step::Done => return met,
        }
    }
}

#[test]
fn index_row_without_its_conversation_is_damage_and_not_an_unknown_conversation() {
    let mut s = resting(1);
    let id =
        *s.world.store.keys().find_map(|k| if let RowKey::Conversation(id) = k { Some(id) } else { None }).unwrap();
    s.world.store.remove(&RowKey::Conversation(id));
    let result = s.world.until(|world| world.state.not_in_memory::<()>("ann", &id));
    assert_eq!(code(result), codes::UNAVAILABLE);
}

#[test]
fn more_than_4096_users_who_came_or_went_are_not_noted_one_by_one() {
    let mut s = Scenario::new();
    let id = s.group(&["bob", "cid"]);
    let active = s.world.state.active(&id).unwrap();
    let mut in_store = InStore::loaded(&active.row);
    let rows = |in_store: &InStore| {
        let rows = in_store.rows(active, &s.world.state.names);
        let members = rows.iter().filter(|(_, value)| value.is_some()).count();
        (members, rows.len() - members)
    };
    assert_eq!(rows(&in_store), (0, 0));
    in_store.note("bob", false);
    assert_eq!(rows(&in_store), (1, 0));
    (1..MAX_NOTED).for_each(|number| in_store.note(&format!("user{number}"), true));
    assert_eq!(rows(&in_store), (1, MAX_NOTED - 1));
    in_store.note("user1", true);
    assert_eq!(rows(&in_store), (1, MAX_NOTED - 1), "it is noted already");
    in_store.note("zoe", true);
    assert_eq!(rows(&in_store), (3, MAX_NOTED), "all members, and all but one of the others");
}
