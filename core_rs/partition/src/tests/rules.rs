//! What single commands come to: a few users, each with one device unless a test says more.

use std::borrow::Cow;

use wire::codes;
use wire::types::{Change, DeviceBody, DeviceList, Invite, Manage, Profile, Role, Rules, Send, SkipReason, Target};

use super::world::World;
use crate::apply::device::MAX_REPEATS;
use crate::ids::{ConversationId, DeviceId};
use crate::lazy::News;
use crate::propose::{self, Author, Fitting, Sent, Stop};
use crate::rows::{Kind, Member};

/// A world with what tests say often.
struct Told {
    world: World,
    ids: u8,
}

impl Told {
    fn new() -> Self {
        let mut told = Self { world: World::new(), ids: 0 };
        for user in ["ann", "bob", "cid", "dan", "eve"] {
            let records = propose::create_user(&told.world.state, user).unwrap().unwrap();
            told.world.commit(&records);
            if user != "eve" {
                told.register(user);
            }
        }
        told
    }

    fn register(&mut self, user: &str) -> DeviceId {
        let (device, records) = propose::register_device(&self.world.state, &self.world.config, user).unwrap();
        self.world.commit(&records);
        self.fit(user);
        device
    }

    fn drop_device(&mut self, user: &str, device: DeviceId) {
        let records = propose::drop_device(&self.world.state, user, device).unwrap().unwrap();
        self.world.commit(&records);
        self.fit(user);
    }

    fn fit(&mut self, user: &str) {
        while let Fitting::More(records, 0) = propose::fit(&self.world.state, user, 0, 10).unwrap() {
            self.world.commit(&records);
        }
        self.world.sync();
    }

    fn block(&mut self, user: &str, other: &str, off: bool) {
        let decided = propose::block(&self.world.state, &self.world.config, user, other, off);
        let records = decided.unwrap().unwrap();
        self.world.commit(&records);
    }

    fn id(&mut self) -> Cow<'static, [u8]> {
        self.ids += 1;
        vec![self.ids].into()
    }

    fn to(&mut self, target: Target<'static>) -> Send<'static> {
        let id = self.id();
        Send { id, target, body: b"hello"[..].into(), bodies: Vec::new(), lists: Vec::new(), media: Vec::new() }
    }

    fn give(&mut self, user: &str, send: &Send<'_>) -> Result<(ConversationId, u64), Stop> {
        let mut stored = Vec::new();
        let (state, now, config) = (&self.world.state, self.world.now, &self.world.config);
        match propose::send(state, now, config, Author { user, device: 1 }, send, &mut stored)? {
            Sent::New { conversation, seq, records } => {
                self.world.commit(&records);
                self.world.sync();
                Ok((conversation, seq))
            }
            Sent::Again(repeat) => Ok((repeat.conversation, repeat.seq)),
        }
    }

    fn send(&mut self, user: &str, target: Target<'static>) -> Result<(ConversationId, u64), Stop> {
        let send = self.to(target);
        self.give(user, &send)
    }

    fn manage(
        &mut self,
        user: &str,
        conversation: Option<ConversationId>,
        change: Change<'_>,
    ) -> Result<ConversationId, Stop> {
        let manage = Manage { id: self.id(), conversation, change };
        let mut stored = Vec::new();
        let (state, now, config) = (&self.world.state, self.world.now, &self.world.config);
        match propose::change(state, now, config, Author { user, device: 1 }, &manage, &mut stored)? {
            Sent::New { conversation, records, .. } => {
                self.world.commit(&records);
                self.world.sync();
                Ok(conversation)
            }
            Sent::Again(repeat) => Ok(repeat.conversation),
        }
    }

    fn group(&mut self, members: &[&'static str]) -> ConversationId {
        let members = members.iter().map(|&member| member.into()).collect();
        let created = Change::Created { members, profile: Profile::default(), rules: Rules::default() };
        self.manage("ann", None, created).unwrap()
    }

    fn ack(&mut self, user: &str, device: DeviceId, id: &ConversationId, seq: u64) -> Result<Option<News>, Stop> {
        self.world.state.ack(Author { user, device }, id, seq)
    }

    fn member(&self, id: &ConversationId, user: &str) -> Member {
        let active = self.world.state.active(id).unwrap();
        let index = active.member(self.world.state.names.find(user).unwrap(), 0).unwrap();
        active.row.member(index).unwrap().clone()
    }

    fn pending(&self, id: &ConversationId) -> usize {
        self.world.state.active(id).unwrap().entries.len()
    }
}

fn code<T: std::fmt::Debug>(result: Result<T, Stop>) -> &'static str {
    match result {
        Err(Stop::Refused(refusal)) => refusal.code,
        other => unreachable!("{other:?}"),
    }
}

fn named(users: &[&'static str]) -> Vec<Cow<'static, str>> {
    users.iter().map(|&user| user.into()).collect()
}

const BOB: Target<'static> = Target::User(Cow::Borrowed("bob"));
const ANN: Target<'static> = Target::User(Cow::Borrowed("ann"));

#[test]
fn a_message_goes_when_everybody_has_it_i5() {
    let mut told = Told::new();
    let (id, seq) = told.send("ann", BOB).unwrap();
    assert_eq!((seq, told.pending(&id)), (1, 1));
    let news = told.ack("bob", 1, &id, 1).unwrap().unwrap();
    assert_eq!(news.to.len(), 1);
    assert_eq!((told.member(&id, "bob").delivered, told.pending(&id)), (1, 0));
}

#[test]
fn a_repeated_id_is_the_same_message_or_refused_i4() {
    let mut told = Told::new();
    let send = told.to(BOB);
    let first = told.give("ann", &send).unwrap();
    assert_eq!(told.give("ann", &send).unwrap(), first);
    let elsewhere = Send { target: Target::User("cid".into()), ..send };
    assert_eq!(code(told.give("ann", &elsewhere)), codes::ID_REUSED);
    let long = Send { id: vec![7; 33].into(), ..elsewhere };
    assert_eq!(code(told.give("ann", &long)), codes::BAD_ID);
}

/// The ids of a device are a list that pushes the oldest one out. What was confirmed makes room, and a start must know that
/// before the next id is in: else it pushes out one that running still had.
#[test]
fn a_start_remembers_the_ids_that_running_did_i4() {
    let mut told = Told::new();
    told.world.config.conversation_messages = 1000;
    let ann = Author { user: "ann", device: 1 };
    let mut first = Vec::new();
    for number in 0..MAX_REPEATS as u16 {
        let send = Send { id: number.to_be_bytes().to_vec().into(), ..told.to(BOB) };
        first.push(told.give("ann", &send).unwrap());
        if number % 64 == 63 {
            told.ids = 0;
        }
    }
    told.world.state.confirm(ann, &first[5..6]).unwrap();
    let oldest = Send { id: 0_u16.to_be_bytes().to_vec().into(), ..told.to(BOB) };
    let another = Send { id: vec![9; 9].into(), ..told.to(BOB) };
    told.give("ann", &another).unwrap();
    assert_eq!(told.give("ann", &oldest).unwrap(), first[0]);
    told.world.crash(told.world.synced);
    assert_eq!(told.give("ann", &oldest).unwrap(), first[0]);
}

#[test]
fn a_conversation_of_others_is_like_none_i8() {
    let mut told = Told::new();
    let (direct, _) = told.send("ann", BOB).unwrap();
    let group = told.group(&["bob"]);
    for id in [direct, group, [9; 16]] {
        let answers = [
            code(told.send("cid", Target::Conversation(id))),
            code(told.ack("cid", 1, &id, 1)),
            code(told.world.state.read(Author { user: "cid", device: 1 }, &id, 1, &["ann"])),
            code(told.manage("cid", Some(id), Change::Added(named(&["nobody"])))),
            code(told.manage("cid", Some(id), Change::Left { successor: "".into() })),
        ];
        assert_eq!(answers, [codes::UNKNOWN_CONVERSATION; 5]);
        let joined = Change::Joined { hash: [0; 32], secret: Cow::Borrowed(b"0123456789abcdef") };
        let joins = code(told.manage("cid", Some(id), joined));
        assert!(id == direct || joins == codes::BAD_INVITE, "{joins}");
    }
}

#[test]
fn nothing_is_acknowledged_before_it_is_durable() {
    let mut told = Told::new();
    let send = told.to(BOB);
    let mut stored = Vec::new();
    let (state, now, config) = (&told.world.state, told.world.now, &told.world.config);
    let author = Author { user: "ann", device: 1 };
    let Ok(Sent::New { conversation, records, .. }) = propose::send(state, now, config, author, &send, &mut stored)
    else {
        unreachable!("it is new")
    };
    told.world.commit(&records);
    assert_eq!(code(told.ack("bob", 1, &conversation, 1)), codes::ACK_BEYOND_HEAD);
    told.world.sync();
    assert!(told.ack("bob", 1, &conversation, 1).is_ok());
}

#[test]
fn a_blocked_author_sees_one_tick_until_a_later_message_is_had_i7() {
    let mut told = Told::new();
    told.block("bob", "ann", false);
    let (id, _) = told.send("ann", BOB).unwrap();
    assert_eq!(told.member(&id, "bob").cursors[0].acked, 0, "bob is told of it first");
    assert_eq!(told.ack("bob", 1, &id, 1).unwrap(), None);
    assert_eq!((told.member(&id, "bob").delivered, told.pending(&id)), (0, 0));
    told.block("bob", "ann", true);
    told.send("ann", BOB).unwrap();
    assert!(told.ack("bob", 1, &id, 2).unwrap().is_some());
    let bob = told.member(&id, "bob");
    assert_eq!((bob.delivered, bob.withheld()), (2, &[(1, 1)][..]));
    let skips: Vec<_> = bob.told_skips().map(|skip| (skip.from, skip.to, skip.reason)).collect();
    assert_eq!(skips, [(1, 1, SkipReason::Expired)], "and first that the other one never will be");
}

#[test]
fn a_message_for_other_devices_is_refused_with_the_lists() {
    let mut told = Told::new();
    told.register("bob");
    let body = |device| DeviceBody { user: "bob".into(), device, body: b"own"[..].into() };
    let list =
        |user: &'static str, version| DeviceList { user: user.into(), version, devices: [1].into_iter().collect() };
    let mut send = told.to(BOB);
    (send.body, send.bodies, send.lists) = (Vec::new().into(), vec![body(1)], vec![list("ann", 1), list("bob", 1)]);
    let Err(Stop::Refused(refusal)) = told.give("ann", &send) else { unreachable!("the list is old") };
    assert_eq!(refusal.code, codes::DEVICES_CHANGED);
    let lists: Vec<_> = refusal.lists.iter().map(|list| (list.0.as_str(), list.1, list.2.as_slice())).collect();
    assert_eq!(lists, [("ann", 1, &[1][..]), ("bob", 2, &[1, 2][..])]);
    send.lists = vec![list("ann", 1), list("bob", 2)];
    let (id, seq) = told.give("ann", &send).unwrap();
    assert_eq!(seq, 1, "what was refused took no number");
    // The device without a body vouches for nothing while the other one waits.
    assert_eq!(told.ack("bob", 2, &id, 1).unwrap(), None);
    assert_eq!(told.member(&id, "bob").delivered, 0);
    assert!(told.ack("bob", 1, &id, 1).unwrap().is_some());
    assert_eq!(told.member(&id, "bob").delivered, 1);
}

#[test]
fn a_member_without_any_body_is_a_skip_i7() {
    let mut told = Told::new();
    let list = |user: &'static str| DeviceList { user: user.into(), version: 1, devices: [1].into_iter().collect() };
    let mut send = told.to(BOB);
    let body = DeviceBody { user: "ann".into(), device: 1, body: b"own"[..].into() };
    (send.body, send.bodies, send.lists) = (Vec::new().into(), vec![body], vec![list("ann"), list("bob")]);
    let (id, _) = told.give("ann", &send).unwrap();
    let skips: Vec<_> = told.member(&id, "bob").skips().iter().map(|s| (s.from, s.to, s.reason)).collect();
    assert_eq!(skips, [(1, 1, SkipReason::NoBody)]);
}

#[test]
fn a_full_direct_conversation_refuses_and_a_full_group_raises_its_floor() {
    let mut told = Told::new();
    let most = told.world.config.conversation_messages as u64;
    for _ in 0..most {
        told.send("ann", BOB).unwrap();
    }
    assert_eq!(code(told.send("ann", BOB)), codes::CONVERSATION_FULL);
    let id = told.group(&["bob"]);
    for _ in 1..most {
        told.send("ann", Target::Conversation(id)).unwrap();
    }
    told.world.state.saw_snapshot(Author { user: "bob", device: 1 }, &id);
    assert!(!told.member(&id, "bob").cursors[0].fresh);
    let (_, seq) = told.send("ann", Target::Conversation(id)).unwrap();
    assert_eq!((seq, told.world.state.active(&id).unwrap().row.floor), (most + 1, 2));
    let bob = told.member(&id, "bob");
    assert_eq!((bob.skips()[0].to, bob.skips()[0].reason), (1, SkipReason::Cap));
    assert!(bob.cursors[0].fresh, "the snapshot comes before what is left");
    assert_eq!(told.member(&id, "ann").owed, bob.version, "its author is to be told");
}

#[test]
fn age_raises_the_floor_of_a_direct_conversation() {
    let mut told = Told::new();
    let (id, _) = told.send("ann", BOB).unwrap();
    told.world.now.wall_ms += told.world.config.hold_ms - 1;
    let expire = |told: &Told| {
        let active = told.world.state.active(&id).unwrap();
        propose::expire(&told.world.state, told.world.now, &told.world.config, active)
    };
    assert_eq!(expire(&told), None);
    told.world.now.wall_ms += 1;
    let records = expire(&told).unwrap();
    told.world.commit(&records);
    assert_eq!(told.pending(&id), 0);
    let skip = told.member(&id, "bob").skips()[0];
    assert_eq!((skip.from, skip.to, skip.reason), (1, 1, SkipReason::Expired));
}

#[test]
fn who_returns_keeps_what_was_lacked_and_a_new_device_does_not_vouch_for_it_i7() {
    let mut told = Told::new();
    let id = told.group(&["bob"]);
    told.ack("bob", 1, &id, 1).unwrap();
    let (_, lacked) = told.send("ann", Target::Conversation(id)).unwrap();
    told.manage("ann", Some(id), Change::Removed(named(&["bob"]))).unwrap();
    let (_, outside) = told.send("ann", Target::Conversation(id)).unwrap();
    let second = told.register("bob");
    told.manage("ann", Some(id), Change::Added(named(&["bob"]))).unwrap();
    let bob = told.member(&id, "bob");
    assert!(bob.sees(lacked) && bob.sees(3) && !bob.sees(outside) && bob.sees(5));
    // The new device has all that is its own; the user lacks two messages all the same.
    told.ack("bob", second, &id, 5).unwrap();
    assert_eq!(told.member(&id, "bob").delivered, 1);
    assert!(told.ack("bob", 1, &id, 5).unwrap().is_some());
    assert_eq!((told.member(&id, "bob").delivered, told.member(&id, "bob").skips()), (5, &[][..]));
}

#[test]
fn a_first_device_gets_what_waited_and_a_leave_before_it_is_a_skip() {
    let mut told = Told::new();
    let id = told.group(&["eve"]);
    told.send("ann", Target::Conversation(id)).unwrap();
    assert_eq!(told.member(&id, "eve").cursors[0].device, 0);
    let device = told.register("eve");
    let cursor = told.member(&id, "eve").cursors[0];
    assert_eq!((cursor.device, cursor.acked), (device, 0));
    told.drop_device("eve", device);
    assert_eq!(told.member(&id, "eve").cursors[0].device, 0);
    told.manage("ann", Some(id), Change::Removed(named(&["eve"]))).unwrap();
    let eve = told.member(&id, "eve");
    let skips: Vec<_> = eve.skips().iter().map(|s| (s.from, s.to, s.reason)).collect();
    assert_eq!((skips, eve.cursors.len()), (vec![(1, 3, SkipReason::Expired)], 0));
    assert!(told.member(&id, "ann").owed >= eve.version);
}

#[test]
fn a_device_that_came_before_its_user_went_gets_what_waited() {
    let mut told = Told::new();
    let id = told.group(&["eve"]);
    let (_, records) = propose::register_device(&told.world.state, &told.world.config, "eve").unwrap();
    told.world.commit(&records);
    // The group has not taken the device up yet.
    told.manage("ann", Some(id), Change::Removed(named(&["eve"]))).unwrap();
    let eve = told.member(&id, "eve");
    assert_eq!((eve.cursors[0].device, eve.cursors[0].acked, eve.skips()), (1, 0, &[][..]));
    assert!(told.ack("eve", 1, &id, 2).is_ok());
    assert_eq!(code(told.ack("eve", 1, &id, 2)), codes::UNKNOWN_CONVERSATION, "it has all that it was to get");
}

#[test]
fn a_later_read_reaches_an_author_who_was_not_named_before() {
    let mut told = Told::new();
    let id = told.group(&["bob", "cid"]);
    told.send("bob", Target::Conversation(id)).unwrap();
    told.send("cid", Target::Conversation(id)).unwrap();
    told.ack("ann", 1, &id, 3).unwrap();
    let ann = Author { user: "ann", device: 1 };
    let first = told.world.state.read(ann, &id, 3, &["bob"]).unwrap().unwrap();
    assert_eq!(told.member(&id, "bob").owed, first.version);
    let later = told.world.state.read(ann, &id, 3, &["cid"]).unwrap().unwrap();
    assert_eq!((told.member(&id, "cid").owed, told.member(&id, "ann").read), (later.version, 3));
    assert_eq!(told.world.state.read(ann, &id, 2, &["nobody"]).unwrap(), None);
    assert_eq!(code(told.world.state.read(ann, &id, 4, &["bob"])), codes::ACK_BEYOND_HEAD);
}

#[test]
fn a_group_follows_its_roles_rules_and_limits() {
    let mut told = Told::new();
    let id = told.group(&["bob", "cid"]);
    let role = |told: &Told, user: &str| told.member(&id, user).role;
    assert_eq!((role(&told, "ann"), role(&told, "bob")), (Some(Role::Owner), Some(Role::Member)));
    assert_eq!(code(told.manage("bob", Some(id), Change::Removed(named(&["cid"])))), codes::FORBIDDEN);
    told.manage("ann", Some(id), Change::Promoted(named(&["cid"]))).unwrap();
    assert_eq!(code(told.manage("cid", Some(id), Change::Removed(named(&["ann"])))), codes::FORBIDDEN);
    assert_eq!(code(told.manage("ann", Some(id), Change::Added(named(&["bob"])))), codes::NO_CHANGE);
    assert_eq!(code(told.manage("ann", Some(id), Change::Added(named(&["dan", "eve"])))), codes::GROUP_FULL);
    told.manage("ann", Some(id), Change::Added(named(&["dan", "dan", "bob"]))).unwrap();
    assert_eq!(code(told.manage("ann", Some(id), Change::Added(named(&["nobody"])))), codes::UNKNOWN_USER);
    let bodies = vec![DeviceBody { user: "bob".into(), device: 1, body: b"own"[..].into() }];
    let send = Send { bodies, body: Cow::Borrowed(b""), ..told.to(Target::Conversation(id)) };
    assert_eq!(code(told.give("ann", &send)), codes::BAD_FIELD);
    // The admin who came first is the heir.
    told.manage("ann", Some(id), Change::Left { successor: "".into() }).unwrap();
    assert_eq!(role(&told, "cid"), Some(Role::Owner));
    assert_eq!(code(told.send("ann", Target::Conversation(id))), codes::UNKNOWN_CONVERSATION);
    told.manage("cid", Some(id), Change::Closed).unwrap();
    assert_eq!(role(&told, "cid"), None);
}

#[test]
fn nobody_is_added_against_a_block_or_joins_without_an_invite() {
    let mut told = Told::new();
    told.block("cid", "ann", false);
    let id = told.group(&["bob"]);
    assert_eq!(code(told.manage("ann", Some(id), Change::Added(named(&["dan", "cid"])))), codes::CANNOT_ADD);
    let join = || Change::Joined { hash: [0; 32], secret: Cow::Borrowed(b"0123456789abcdef") };
    assert_eq!(code(told.manage("cid", Some(id), join())), codes::BAD_INVITE);
    let expires = told.world.now.wall_ms + 1;
    told.manage("bob", Some(id), Change::Invited(Invite { hash: propose::hash_of(b"0123456789abcdef"), expires }))
        .unwrap();
    told.manage("cid", Some(id), join()).unwrap();
    assert!(told.member(&id, "cid").is_current());
    told.world.now.wall_ms = expires;
    assert_eq!(code(told.manage("dan", Some(id), join())), codes::BAD_INVITE);
}

#[test]
fn a_device_conversation_needs_both_devices() {
    let mut told = Told::new();
    let (id, _) = told.send("ann", Target::Device("bob".into(), 1)).unwrap();
    assert_eq!(told.world.state.active(&id).unwrap().row.kind, Kind::Device);
    assert_eq!(code(told.send("ann", Target::Device("bob".into(), 2))), codes::UNKNOWN_USER);
    assert_eq!(code(told.send("ann", Target::Device("ann".into(), 1))), codes::UNKNOWN_USER);
    told.drop_device("bob", 1);
    let skip = told.member(&id, "bob").skips()[0];
    assert_eq!((skip.from, skip.to), (1, 1));
    assert_eq!(code(told.send("ann", Target::Conversation(id))), codes::UNKNOWN_USER);
    // Another device gets the number, and begins with the next message.
    assert_eq!(told.register("bob"), 1);
    let (_, seq) = told.send("ann", Target::Conversation(id)).unwrap();
    assert!(told.ack("bob", 1, &id, seq).unwrap().is_some());
}

#[test]
fn a_conversation_with_oneself_has_one_member() {
    let mut told = Told::new();
    let (id, _) = told.send("ann", ANN).unwrap();
    assert_eq!((told.world.state.active(&id).unwrap().row.members.len(), told.pending(&id)), (1, 0));
    let second = told.register("ann");
    told.send("ann", ANN).unwrap();
    assert_eq!(told.pending(&id), 1, "the other device gets it");
    told.ack("ann", second, &id, 2).unwrap();
    assert_eq!(told.pending(&id), 0);
}
