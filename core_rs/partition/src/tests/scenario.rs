//! A few users with one device each, and the commands that single tests give.

use std::borrow::Cow;

use wire::types::{Change, Manage, Profile, Rules, Send, Target};

use super::world::World;
use crate::ids::{ConversationId, DeviceId};
use crate::lazy::News;
use crate::propose::{self, Fits, Sent, Stop};
use crate::rows::Member;

/// A world, and the commands that the tests give.
pub struct Scenario {
    pub world: World,
    pub ids: u8,
}

impl Scenario {
    pub fn new() -> Self {
        let mut s = Self { world: World::new(), ids: 0 };
        for user in ["ann", "bob", "cid", "dan", "eve"] {
            let records = propose::create_user(&s.world.state, user).unwrap().unwrap();
            s.world.commit(&records);
            if user != "eve" {
                s.register(user);
            }
        }
        s
    }

    pub fn register(&mut self, user: &str) -> DeviceId {
        let (device, records) =
            propose::register_device(&self.world.state, self.world.now, &self.world.config, user).unwrap();
        self.world.commit(&records);
        self.fit(user);
        device
    }

    pub fn drop_device(&mut self, user: &str, device: DeviceId) {
        let records = propose::drop_device(&self.world.state, user, device).unwrap().unwrap();
        self.world.commit(&records);
        self.fit(user);
    }

    pub fn fit(&mut self, user: &str) {
        assert!(self.world.fit(user, &mut Fits::default(), 10, 1000));
        self.world.sync();
    }

    pub fn block(&mut self, user: &str, other: &str, off: bool) {
        let decided = propose::block(&self.world.state, &self.world.config, user, other, off);
        let records = decided.unwrap().unwrap();
        self.world.commit(&records);
    }

    pub fn id(&mut self) -> Cow<'static, [u8]> {
        self.ids += 1;
        vec![self.ids].into()
    }

    pub fn to(&mut self, target: Target<'static>) -> Send<'static> {
        let id = self.id();
        Send { id, target, body: b"hello"[..].into(), bodies: Vec::new(), lists: Vec::new(), media: Vec::new() }
    }

    pub fn give(&mut self, user: &str, send: &Send<'_>) -> Result<(ConversationId, u64), Stop> {
        let mut stored = Vec::new();
        let (state, now, config) = (&self.world.state, self.world.now, &self.world.config);
        match propose::send(state, now, config, state.author(user, 1)?, None, send, &mut stored)? {
            Sent::New { conversation, seq, records } => {
                self.world.commit(&records);
                self.world.sync();
                Ok((conversation, seq))
            }
            Sent::Again(repeat) => Ok((repeat.conversation, repeat.seq)),
        }
    }

    pub fn send(&mut self, user: &str, target: Target<'static>) -> Result<(ConversationId, u64), Stop> {
        let send = self.to(target);
        self.give(user, &send)
    }

    pub fn manage(
        &mut self,
        user: &str,
        conversation: Option<ConversationId>,
        change: Change<'_>,
    ) -> Result<ConversationId, Stop> {
        let manage = Manage { id: self.id(), conversation, change };
        let mut stored = Vec::new();
        let (state, now, config) = (&self.world.state, self.world.now, &self.world.config);
        match propose::change(state, now, config, state.author(user, 1)?, &manage, &mut stored)? {
            Sent::New { conversation, records, .. } => {
                self.world.commit(&records);
                self.world.sync();
                Ok(conversation)
            }
            Sent::Again(repeat) => Ok(repeat.conversation),
        }
    }

    pub fn group(&mut self, members: &[&'static str]) -> ConversationId {
        let members = members.iter().map(|&member| member.into()).collect();
        let created = Change::Created { members, profile: Profile::default(), rules: Rules::default() };
        self.manage("ann", None, created).unwrap()
    }

    pub fn ack(&mut self, user: &str, device: DeviceId, id: &ConversationId, seq: u64) -> Result<Option<News>, Stop> {
        let author = self.world.state.author(user, device)?;
        self.world.ack(author, id, seq)
    }

    pub fn read(&mut self, user: &str, id: &ConversationId, seq: u64, of: &[&str]) -> Result<Option<News>, Stop> {
        let author = self.world.state.author(user, 1)?;
        self.world.read(author, id, seq, of)
    }

    pub fn saw_snapshot(&mut self, user: &str, id: &ConversationId) {
        let author = self.world.state.author(user, 1).unwrap();
        let at = self.world.mailbox(author, id).unwrap();
        self.world.state.saw_snapshot(at);
    }

    pub fn member(&self, id: &ConversationId, user: &str) -> Member {
        let active = self.world.state.active(id).unwrap();
        let index = active.member(self.world.state.names.find(user).unwrap(), 0).unwrap();
        active.row.member(index).unwrap().clone()
    }

    pub fn pending(&self, id: &ConversationId) -> usize {
        self.world.state.active(id).unwrap().entries.len()
    }
}

pub fn code<T: std::fmt::Debug>(result: Result<T, Stop>) -> &'static str {
    match result {
        Err(Stop::Refused(refusal)) => refusal.code,
        other => unreachable!("{other:?}"),
    }
}

pub fn named(users: &[&'static str]) -> Vec<Cow<'static, str>> {
    users.iter().map(|&user| user.into()).collect()
}

pub const BOB: Target<'static> = Target::User(Cow::Borrowed("bob"));
pub const ANN: Target<'static> = Target::User(Cow::Borrowed("ann"));
