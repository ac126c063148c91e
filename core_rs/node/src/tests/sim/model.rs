//! What is true, as plain maps: who wrote what, what became of it, who must get it, and who has it.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use sha2::{Digest, Sha256};

use super::crowd::Crowd;
use wire::types::{Change, ConversationId};

/// A user, by its place in [`Model::users`].
pub type Who = usize;
/// A device: user and number.
pub type Device = (Who, u32);

/// Where a message goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Aim {
    User(Who),
    Device(Device),
    /// A user that does not exist.
    Nobody,
    /// A group: a message, or a change of it.
    Group,
}

/// A message that a client wants to be sent.
#[derive(Clone, Debug)]
pub struct Sending {
    pub from: Device,
    pub id: Vec<u8>,
    pub aim: Aim,
    pub at: ConversationId,
    /// Length of the padding in its body.
    pub pad: usize,
    /// Per-device bodies: each list of devices for which it was made, in turn. Empty: one body for all.
    pub made_for: Vec<Vec<Device>>,
    /// Which of those it became, once somebody saw it.
    pub variant: Option<usize>,
    /// When it was first fed: step, and the server's time.
    pub fed: (u64, u64),
    /// Its number, once it was seen.
    pub seq: Option<u64>,
    /// Answered for good.
    pub resolved: bool,
    /// And the server was told that the answer came: it need not know the id any more.
    pub confirmed: bool,
    /// The server may have forgotten its id: its device was dropped.
    pub forgotten: bool,
    /// How many its device had sent before.
    pub ordinal: u64,
    /// It is a change of a group that is wanted.
    pub wish: Option<Change<'static>>,
    /// When it was last fed: step, and the server's time.
    pub tried: (u64, u64),
}

/// A device that takes part.
#[derive(Clone, Copy, Debug)]
pub struct Registered {
    /// It must get what was fed from this step on.
    pub since: u64,
    /// The step at which it came.
    pub came: u64,
    /// It took over the mailbox that waited, at this time of the server: what expired before is not told.
    pub inherited: Option<u64>,
    /// The batch with which it is durable, until it is.
    pub batch: Option<u64>,
    /// When it was connected, the server's time, as far as that is durable; and what is to become so, with its batch.
    pub seen_ms: u64,
    pub seeing: Option<(u64, u64)>,
}

/// A user.
#[derive(Clone, Debug, Default)]
pub struct User {
    pub name: String,
    pub devices: BTreeMap<u32, Registered>,
    /// It had devices before.
    pub ever: bool,
}

/// A conversation.
#[derive(Clone, Debug, Default)]
pub struct Conversation {
    /// Users, and in a device conversation their devices; 0: all.
    pub members: Vec<Device>,
    /// What stands under each number.
    pub messages: BTreeMap<u64, usize>,
    /// What a device of a user had and acknowledged.
    pub had: HashMap<Who, BTreeSet<u64>>,
    /// The highest that a user said to have read.
    pub read: HashMap<Who, u64>,
    /// Numbers whose message was damaged on the disk, or could not be read from it.
    pub lost: BTreeSet<u64>,
    /// Its state was damaged: numbers below may be given again, if nothing else knew them.
    pub unsure: bool,
}

/// See the module.
#[derive(Default)]
pub struct Model {
    pub users: Vec<User>,
    pub sendings: Vec<Sending>,
    pub by_id: HashMap<(Device, Vec<u8>), usize>,
    pub conversations: BTreeMap<ConversationId, Conversation>,
    /// Those of them that are groups.
    pub crowds: BTreeMap<ConversationId, Crowd>,
    /// Most members of a group.
    pub most: usize,
    /// Undelivered messages of a group above which its oldest go.
    pub cap: u64,
    /// What a device was told that another user will never have.
    pub skips: HashMap<(Device, ConversationId, Who), Vec<(u64, u64)>>,
    /// Messages fed by a device.
    pub sent: HashMap<Device, u64>,
    pub step: u64,
    pub hold_ms: u64,
    /// The disk was damaged: what was told before may be told otherwise.
    pub damaged: bool,
    pub counts: Counts,
}

/// What happened in a run, to see that a run is worth something.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub accepted: u64,
    pub messages: u64,
    pub changes: u64,
    pub snapshots: u64,
    pub skips: BTreeMap<u64, u64>,
    pub receipts: u64,
    pub user_skips: u64,
    pub errors: BTreeMap<String, u64>,
    pub refusals: BTreeMap<String, u64>,
    /// Crashes after which exact facts were compared with those before.
    pub compared: u64,
    pub died: u64,
    pub failed: u64,
    pub dropped: u64,
}

/// The id of the conversation of an aim, as docs/wire.md tells it.
pub fn conversation_id(users: &[User], from: Device, aim: Aim) -> ConversationId {
    let mut hash = Sha256::new();
    let name = |who: Who| users[who].name.as_bytes();
    match aim {
        Aim::Nobody | Aim::Group => return [0; 16],
        Aim::User(to) => {
            let mut sides = [name(from.0), name(to)];
            sides.sort_unstable();
            hash.update(b"direct\0");
            hash.update(sides[0]);
            hash.update([0]);
            hash.update(sides[1]);
        }
        Aim::Device(to) => {
            let mut sides = [(name(from.0), from.1), (name(to.0), to.1)];
            sides.sort_unstable();
            hash.update(b"device\0");
            hash.update(sides[0].0);
            hash.update([0]);
            hash.update(sides[0].1.to_be_bytes());
            hash.update([0]);
            hash.update(sides[1].0);
            hash.update([0]);
            hash.update(sides[1].1.to_be_bytes());
        }
    }
    hash.finalize()[..16].try_into().unwrap()
}

impl Sending {
    /// The body, for everybody or for one device.
    pub fn body(&self, made: Option<(usize, Device)>) -> Vec<u8> {
        let mut body = match made {
            None => format!("{:?} {:?} ", self.from, self.id),
            Some((variant, to)) => format!("{:?} {:?} #{variant} {to:?} ", self.from, self.id),
        }
        .into_bytes();
        body.resize(body.len() + self.pad, b'.');
        body
    }
}

impl Model {
    /// A message is seen under a number: it is the same as before, and so is the number (I2, I4).
    pub fn numbered(&mut self, at: ConversationId, seq: u64, sending: usize) {
        let conversation = self.conversations.entry(at).or_default();
        let forgot = conversation.lost.contains(&seq) || conversation.unsure;
        if forgot && self.damaged && conversation.messages.get(&seq).is_some_and(|known| *known != sending) {
            // Nobody knew that there had been one.
            conversation.lost.insert(seq);
            conversation.messages.insert(seq, sending);
        }
        let known = *conversation.messages.entry(seq).or_insert(sending);
        assert_eq!(known, sending, "I2: {seq} is {:?} and {:?}", self.sendings[known], self.sendings[sending]);
        let sending = &mut self.sendings[sending];
        assert_eq!(sending.at, at, "I8: in another conversation");
        if let Some(before) = sending.seq.filter(|before| *before != seq) {
            assert!(sending.forgotten, "I4: a repeat is {seq} and was {before}: {sending:?}");
        }
        sending.seq = Some(seq);
    }

    /// Whether a user's device ever takes part in a conversation.
    pub fn admits(&self, at: &ConversationId, device: Device) -> bool {
        match (self.crowds.get(at), self.conversations.get(at)) {
            (Some(crowd), _) => crowd.ever(device.0),
            (None, Some(conversation)) => {
                conversation.members.iter().any(|m| m.0 == device.0 && (m.1 == 0 || m.1 == device.1))
            }
            (None, None) => false,
        }
    }

    /// Whether a device must get a message, in time.
    pub fn must(&self, at: &ConversationId, seq: u64, sending: &Sending, device: Device) -> bool {
        if !self.admits(at, device) {
            return false;
        }
        let Some(registered) = self.users[device.0].devices.get(&device.1) else { return false };
        let mut own = sending.from == device;
        let mut inherits = true;
        if let Some(crowd) = self.crowds.get(at) {
            // What happens to a group comes to everybody.
            own &= sending.wish.is_none();
            inherits = crowd.sees(device.0, seq) && (registered.inherited.is_none() || self.waits(crowd, seq, device));
        }
        let expired = registered.inherited.is_some_and(|at_ms| sending.fed.1 + self.hold_ms <= at_ms);
        !own && inherits && sending.fed.0 >= registered.since && !expired
    }

    /// Whether a device may be dropped: it was not seen for as long as messages are held. What is noted of a device that stays
    /// connected may be older by a thirtieth of that.
    pub fn is_unseen(&self, registered: &Registered, now_ms: u64) -> bool {
        now_ms + self.hold_ms / 30 + 2_000 >= registered.seen_ms + self.hold_ms
    }

    /// Whether a message was made without a body for a device; `None`: nobody knows.
    pub fn bodiless(&self, sending: &Sending, device: Device) -> Option<bool> {
        if sending.made_for.is_empty() {
            return Some(false);
        }
        match sending.variant {
            _ if sending.forgotten => None,
            Some(variant) => Some(!sending.made_for[variant].contains(&device)),
            None if sending.made_for.iter().all(|list| list.contains(&device)) => Some(false),
            None if sending.made_for.iter().all(|list| !list.contains(&device)) => Some(true),
            None => None,
        }
    }

    /// Whether a device was told that another user will never have a message.
    pub fn skipped(&self, device: Device, at: ConversationId, who: Who, seq: u64) -> bool {
        let ranges = self.skips.get(&(device, at, who));
        ranges.is_some_and(|ranges| ranges.iter().any(|r| r.0 <= seq && seq <= r.1))
    }

    /// A skip's reason must be a good one for every message that it covers.
    pub fn check_skip(&self, at: &ConversationId, range: (u64, u64), reason: u64, to: (Device, u64), now_ms: u64) {
        let (to, acked) = to;
        let Some(conversation) = self.conversations.get(at) else { return };
        let lost = || conversation.unsure || (range.0..=range.1).all(|seq| conversation.lost.contains(&seq));
        assert!(reason != 4 || self.damaged || lost(), "I1: {range:?} is lost, though nothing was damaged");
        for (seq, &index) in conversation.messages.range(range.0..=range.1) {
            let sending = &self.sendings[index];
            let crowd = self.crowds.get(at);
            let own = sending.from == to && sending.wish.is_none();
            let foreign = crowd.is_some_and(|crowd| !crowd.sees(to.0, *seq));
            assert!(!foreign, "I8: {to:?} is told that {range:?} is skipped, and {seq} is outside of its intervals");
            if own {
                continue;
            }
            let good = match reason {
                // The reason is that of what went last.
                1 | 2 if crowd.is_some_and(|crowd| self.capped(crowd, *seq)) => true,
                1 | 2 if crowd.is_some() => now_ms >= sending.fed.1 + self.hold_ms,
                1 => now_ms >= sending.fed.1 + self.hold_ms,
                3 => self.bodiless(sending, to) != Some(false),
                4 => conversation.lost.contains(seq) || conversation.unsure || (self.damaged && *seq <= acked),
                _ => false,
            };
            assert!(good, "I1: {to:?} is told that {seq} is skipped for {reason}: {sending:?}");
        }
    }
}
