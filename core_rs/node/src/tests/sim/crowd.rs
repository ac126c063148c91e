//! Groups as they should be.
//!
//! The truth about a group is what the log has of it, message by message: the model looks at each batch that became durable,
//! and at what a start found. That each change is what the rules make of the wish is held to [`super::group`]; who gets what, and what programs know of a group, follows from it.

use std::collections::BTreeMap;

use super::group::{Change, Group, code};
use super::model::{Device, Model, Sending, Who};
use super::program::Program;
use crate::tests::group_frames::{Change as Seen, CursorOf, Snapshot};
use wire::message::decode_stored;
use wire::types::ConversationId;

/// A message of a group.
#[derive(Debug)]
pub struct Said {
    pub sending: usize,
    pub change: Option<Change>,
    /// The step in which it became durable, as far as anybody knows.
    pub step: u64,
}

/// A group.
#[derive(Debug)]
pub struct Crowd {
    /// Its messages, from number 1 on.
    pub said: Vec<Said>,
    /// What each change made of it.
    states: BTreeMap<u64, Group>,
    /// What wishes were judged by, from which step on: it runs ahead of what is durable, and falls back in a crash.
    judged: Vec<(u64, Group)>,
    /// What was to be seen, from which step on.
    landed: Vec<(u64, u64)>,
}

impl Default for Crowd {
    fn default() -> Self {
        Self {
            said: Vec::new(),
            states: BTreeMap::from([(0, Group::default())]),
            judged: vec![(0, Group::default())],
            landed: vec![(0, 0)],
        }
    }
}

impl Crowd {
    pub fn head(&self) -> u64 {
        self.said.len() as u64
    }

    /// The group as its messages up to `seq` made it.
    pub fn at(&self, seq: u64) -> &Group {
        self.states.range(..=seq).next_back().expect("there is a beginning").1
    }

    /// The group as the next wish will be judged.
    pub fn latest(&self) -> &Group {
        &self.judged.last().expect("there is a beginning").1
    }

    pub fn has(&self, who: Who, seq: u64) -> bool {
        self.at(seq).role(who as u32).is_some()
    }

    /// Whether a user is to get a message: it was a member then, or is one no more because of it.
    pub fn sees(&self, who: Who, seq: u64) -> bool {
        seq <= self.head() && (self.has(who, seq) || self.has(who, seq - 1))
    }

    /// Whether a user ever was a member.
    pub fn ever(&self, who: Who) -> bool {
        self.states.values().any(|group| group.role(who as u32).is_some())
    }

    /// Whether a user was a member from some number on to the end.
    pub fn stays(&self, who: Who, from: u64) -> bool {
        self.has(who, from) && self.states.range(from..).all(|(_, group)| group.role(who as u32).is_some())
    }

    /// The states that delivery can have been in since a step.
    fn seen_since(&self, step: u64) -> impl Iterator<Item = &Group> {
        let before = self.landed.iter().rev().find(|landed| landed.0 < step).map_or(0, |landed| landed.1);
        std::iter::once(self.at(before)).chain(self.states.range(before + 1..).map(|state| state.1))
    }

    /// Whether a user can have been a member for delivery since a step; and whether it can have been none.
    pub fn membership(&self, who: Who, step: u64) -> (bool, bool) {
        let is = |group: &Group| group.role(who as u32).is_some();
        (self.seen_since(step).any(is), !self.seen_since(step).all(is))
    }

    /// The states by which a wish can have been judged since a step.
    fn judged_since(&self, step: u64) -> &[(u64, Group)] {
        let first = self.judged.iter().rposition(|judged| judged.0 < step).unwrap_or(0);
        &self.judged[first..]
    }

    /// A change has a number.
    pub fn decided(&mut self, step: u64, seq: u64, actor: Who, change: &Change) {
        if seq > self.latest().seq {
            let mut group = self.latest().clone();
            group.apply(seq, actor as u32, change);
            self.judged.push((step, group));
        }
    }

    /// What is to be seen.
    pub fn shown(&mut self, step: u64, head: u64) {
        if self.landed.last().is_some_and(|landed| landed.1 < head) {
            self.landed.push((step, head));
        }
    }
}

/// A user's slot, if there is such a user.
fn slot(model: &Model, name: &str) -> Option<u32> {
    Some(model.users.iter().position(|user| user.name == name)? as u32)
}

impl Model {
    /// A message is durable, or was found to be. If it is one of a group it is the next, or known (I2, I4); and it is what
    /// the rules allow, exactly.
    pub fn logged(&mut self, stored: &[u8]) {
        let message = decode_stored(stored).expect("what the core wrote");
        let (at, seq) = (message.conversation, message.seq);
        let Some(head) = self.crowds.get(&at).map(Crowd::head) else { return };
        let who = slot(self, message.sender).expect("a user") as Who;
        let sending = self.by_id[&((who, message.device), message.id.to_vec())];
        let change = message.change.as_deref().map(|change| Change::resolve(change, |name| slot(self, name)));
        let change = change.map(|change| change.expect("users"));
        assert!(seq <= head + 1, "I1, I2: {seq} of {at:?} comes after {head}");
        self.numbered(at, seq, sending);
        let (step, most) = (self.step, self.most);
        let Self { crowds, sendings, users, .. } = self;
        let (crowd, wanted) = (crowds.get_mut(&at).expect("a group"), &sendings[sending]);
        if let Some(known) = crowd.said.get(seq as usize - 1) {
            assert_eq!(known.change, change, "I1: {seq} of {at:?} is another change than it was");
            return;
        }
        let before = crowd.at(head);
        match (&change, &wanted.wish) {
            (None, None) => {
                assert!(before.may_post(who as u32), "I8: {wanted:?} is accepted from {who}: {before:?}");
                assert_eq!(message.body, wanted.body(None), "I9");
            }
            (Some(change), Some(wish)) => {
                let named = |name: &str| users.iter().position(|user| user.name == name).map(|who| who as u32);
                let wish = Change::resolve(wish, named).expect("nobody is named who is none");
                let due = before.decide(who as u32, wish, message.time, most);
                assert_eq!(due.as_ref(), Ok(change), "{wanted:?} by {who}: {before:?}");
                let mut after = before.clone();
                after.apply(seq, who as u32, change);
                crowd.states.insert(seq, after);
                crowd.decided(step, seq, who, change);
                self.counts.changes += 1;
            }
            other => panic!("a wish is a change: {other:?}"),
        }
        crowd.said.push(Said { sending, change, step });
    }

    /// A message or a change was refused for good: there is a state at that time by which it had to be.
    pub fn check_refusal(&self, sending: &Sending, code_told: &str, now_ms: u64) {
        let Some(crowd) = self.crowds.get(&sending.at) else { panic!("{code_told}: {sending:?}") };
        let who = sending.from.0 as u32;
        let mut states = crowd.judged_since(sending.tried.0).iter().map(|judged| &judged.1);
        let good = match &sending.wish {
            None => states.any(|group| match group.role(who) {
                None => code_told == "unknown_conversation",
                Some(_) => !group.may_post(who) && code_told == "forbidden",
            }),
            Some(wish) => match Change::resolve(wish, |name| slot(self, name)) {
                // Whoever is no member is told nothing of the users whom a change names.
                None => match code_told {
                    "unknown_user" => true,
                    _ => code_told == "unknown_conversation" && states.any(|group| group.role(who).is_none()),
                },
                Some(Change::Created { .. }) if code_told == "id_reused" => sending.forgotten,
                Some(wish) => states.any(|group| {
                    let mut times = [sending.tried.1, now_ms].into_iter();
                    let refused = |at_ms| group.decide(who, wish.clone(), at_ms, self.most).err().map(code);
                    times.any(|at_ms| refused(at_ms) == Some(code_told))
                }),
            },
        };
        let judged = crowd.judged_since(sending.tried.0);
        assert!(good, "{sending:?} is refused for {code_told} at {now_ms}: {judged:?}");
    }

    /// Whether a message may have gone because its group held too much.
    pub fn capped(&self, crowd: &Crowd, seq: u64) -> bool {
        crowd.head() >= seq + self.cap
    }

    /// Whether a mailbox that waited for a device still had a message when this one, the first, came.
    pub fn waits(&self, crowd: &Crowd, seq: u64, device: Device) -> bool {
        let came = self.users[device.0].devices[&device.1].came;
        let mut later = (seq..=crowd.head()).take_while(|&seq| crowd.said[seq as usize - 1].step <= came + 1);
        !self.capped(crowd, seq) && later.all(|seq| crowd.has(device.0, seq))
    }

    /// What of a group a snapshot shows.
    fn snapshot_of(&self, at: ConversationId, group: &Group) -> Snapshot {
        let name = |user: u32| self.users[user as usize].name.clone();
        let rules = group.rules;
        Snapshot {
            conversation: at,
            seq: group.seq,
            members: group.members.iter().map(|&(user, role)| (name(user), role as u64)).collect(),
            profile: [&group.profile.name, &group.profile.description, &group.profile.picture]
                .map(|field| Some(field.as_deref().unwrap_or_default().to_vec())),
            rules: [rules.post, rules.add, rules.edit].map(|who| who as u64),
            invites: group.invites.iter().map(|invite| (invite.hash.to_vec(), invite.expires)).collect(),
            closed: group.closed,
        }
    }
}

/// What a program knows of a group: the fold of what it got.
#[derive(Debug, Default)]
pub struct Copy {
    pub group: Group,
    /// Changes were passed over: only a snapshot helps.
    stale: bool,
}

impl Program {
    /// A snapshot is the truth at its number, and comes to members only (I8).
    pub(super) fn snapshot(&mut self, model: &mut Model, mut snapshot: Snapshot) {
        model.counts.snapshots += 1;
        let at = snapshot.conversation;
        let Some(crowd) = model.crowds.get(&at) else { panic!("a snapshot of {at:?}") };
        assert!(snapshot.seq <= crowd.head(), "I1: a snapshot of what is not durable");
        let truth = crowd.at(snapshot.seq);
        for field in &mut snapshot.profile {
            field.get_or_insert_default();
        }
        assert_eq!(snapshot, model.snapshot_of(at, truth), "the snapshot of {at:?}");
        assert!(crowd.has(self.device.0, snapshot.seq), "I8: {:?} gets a snapshot: {snapshot:?}", self.device);
        let (member, _) = crowd.membership(self.device.0, self.heard);
        assert!(member, "I8: {:?} is no member any more: {snapshot:?}", self.device);
        let copy = self.copies.entry(at).or_default();
        if truth.seq > copy.group.seq {
            *copy = Copy { group: truth.clone(), stale: false };
        }
    }

    /// A message of a group came: it is the one that was said, and what the program knows then is the truth.
    pub(super) fn fold(&mut self, model: &Model, (at, seq): (ConversationId, u64), actor: Who, change: Option<&Seen>) {
        let crowd = &model.crowds[&at];
        assert!(crowd.sees(self.device.0, seq), "I8: {seq} of {at:?} is not for {:?}", self.device);
        let change = change.map(|change| change.resolve(|name| slot(model, name).expect("a user")));
        assert_eq!(crowd.said[seq as usize - 1].change, change, "{seq} of {at:?}");
        self.passed(model, at, seq - 1);
        let copy = self.copies.entry(at).or_default();
        if let Some(change) = change.filter(|_| !copy.stale) {
            copy.group.apply(seq, actor as u32, &change);
        }
        if !copy.stale && copy.group.seq <= seq {
            assert_eq!(&copy.group, crowd.at(seq), "what {:?} knows of {at:?} at {seq}", self.device);
        }
    }

    /// What was up to `seq` will not come: if there were changes, a snapshot has told them, or one will that comes before
    /// what follows when this user is a member again.
    pub(super) fn passed(&mut self, model: &Model, at: ConversationId, seq: u64) {
        let Some(crowd) = model.crowds.get(&at) else { return };
        let copy = self.copies.entry(at).or_default();
        if crowd.at(seq).seq > copy.group.seq && !copy.stale {
            let (_, gone) = crowd.membership(self.device.0, self.heard);
            assert!(gone, "{:?} knows {} of {at:?} and gets what follows {seq}", self.device, copy.group.seq);
            copy.stale = true;
        }
    }

    /// The groups of this user, as they were at some time since it was asked (I8).
    pub(super) fn groups(&self, model: &Model, groups: &[ConversationId]) {
        let asked = self.connection.as_ref().and_then(|connection| connection.asked).expect("it asked");
        let member = |judged: &(u64, Group)| judged.1.role(self.device.0 as u32).is_some();
        for (at, crowd) in &model.crowds {
            let (listed, states) = (groups.contains(at), crowd.judged_since(asked));
            let good = if listed { states.iter().any(member) } else { !states.iter().all(member) };
            assert!(good, "I8: {:?} is told that it is in {groups:?}: {at:?} {states:?}", self.device);
        }
        assert!(groups.iter().all(|at| model.crowds.contains_key(at)));
    }

    /// Who has a message: all who are to get it are there, and nobody is said to have it who has not (I7).
    pub(super) fn progress(&self, model: &Model, (at, seq): (ConversationId, u64), cursors: &[CursorOf]) {
        let crowd = &model.crowds[&at];
        assert!(crowd.sees(self.device.0, seq), "I8: {:?} may not see {seq} of {at:?}", self.device);
        assert!(crowd.membership(self.device.0, self.heard).0, "I8: {:?} is no member any more", self.device);
        let sending = &model.sendings[crowd.said[seq as usize - 1].sending];
        for who in (0..model.users.len()).filter(|who| *who != sending.from.0) {
            let cursor = cursors.iter().find(|cursor| cursor.user == model.users[who].name);
            assert!(cursor.is_some() || !crowd.stays(who, seq), "{who} is to get {seq} of {at:?}: {cursors:?}");
            let Some(cursor) = cursor else { continue };
            assert!(crowd.sees(who, seq), "I8: {who} is not to get {seq} of {at:?}");
            let had = model.conversations[&at].had.get(&who).is_some_and(|had| had.contains(&seq));
            let claimed = cursor.delivered >= seq && !cursor.skipped;
            assert!(had || !claimed, "I7: {who} has not got {seq} of {at:?}: {cursor:?}");
        }
    }
}
