//! A client program of one device: what it keeps, and what it checks in everything that it is told.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use smallvec::SmallVec;

use super::crowd::Copy;
use super::model::{Aim, Device, Model, Who};
use super::world::say;
use crate::tests::frames::{Got, take};
use crate::tests::group_frames::CursorOf;
use wire::types::ConversationId;

/// A receiving program's side of a conversation.
#[derive(Clone, Debug, Default)]
pub struct Inbox {
    /// The highest acknowledgement that was fed.
    pub acked: u64,
    /// What can never come again: acknowledged long enough ago, and durable (I3).
    pub floor: u64,
    /// Acknowledgements on the way there: seq, when the server took it, the batch that has it.
    pub settling: Vec<(u64, Option<u64>, Option<u64>)>,
    /// The last that came on this connection.
    pub position: u64,
    /// Everything that ever came: whether as a message.
    pub got: BTreeMap<u64, bool>,
}

/// A connection.
#[derive(Debug, Default)]
pub struct Connection {
    pub wire: usize,
    pub joined: bool,
    pub welcomed: bool,
    pub stalled: bool,
    /// Fed and not answered, in order.
    pub unanswered: VecDeque<usize>,
    /// Last receipt version on this connection, which is the highest.
    pub version: u64,
    /// Messages that came and are not acknowledged: what the window bounds.
    pub unacked: BTreeSet<(ConversationId, u64)>,
    pub window: u32,
    pub pings: u32,
    /// The step since which it asked about groups.
    pub asked: Option<u64>,
}

/// See the module.
#[derive(Debug)]
pub struct Program {
    pub device: Device,
    pub receive: bool,
    pub connection: Option<Connection>,
    /// Not answered, over all connections, in order.
    pub unresolved: Vec<usize>,
    /// Accepted, and that is not confirmed.
    pub unconfirmed: Vec<usize>,
    pub inbox: HashMap<ConversationId, Inbox>,
    /// What it knows of groups.
    pub copies: HashMap<ConversationId, Copy>,
    /// When it last took what the server wrote: the step.
    pub heard: u64,
    /// The last receipt version that it was given; 0: none.
    pub version: u64,
    /// What it was told of others: delivered and read.
    pub told: HashMap<(ConversationId, Who), (u64, u64)>,
    /// Device lists that it knows.
    pub lists: HashMap<Who, (u64, Vec<u32>)>,
    pub next_id: u32,
    pub prefix: u8,
    /// Its device was dropped once: what others told it before, nobody tells again.
    pub reborn: bool,
}

impl Program {
    pub fn new(device: Device, receive: bool, prefix: u8) -> Self {
        Self {
            device,
            receive,
            connection: None,
            unresolved: Vec::new(),
            unconfirmed: Vec::new(),
            inbox: HashMap::new(),
            copies: HashMap::new(),
            heard: 0,
            version: 0,
            told: HashMap::new(),
            lists: HashMap::new(),
            next_id: 0,
            prefix,
            reborn: false,
        }
    }

    /// Its connection is gone.
    pub fn disconnected(&mut self) {
        self.connection = None;
        for inbox in self.inbox.values_mut() {
            inbox.position = 0;
        }
    }

    /// Its device was dropped, or never was: it begins anew.
    pub fn reborn(&mut self) {
        self.inbox.clear();
        self.reborn = true;
    }

    /// Takes what the server wrote.
    pub fn hear(&mut self, model: &mut Model, bytes: &mut Vec<u8>, now_ms: u64) {
        for got in take(bytes) {
            self.take(model, got, now_ms);
        }
        self.heard = model.step;
    }

    fn take(&mut self, model: &mut Model, got: Got, now_ms: u64) {
        let Some(connection) = &mut self.connection else { return };
        say(|| format!("{} ← {got:?}", connection.wire));
        match got {
            Got::Welcome { receipts, .. } => {
                connection.welcomed = true;
                self.version = receipts;
            }
            Got::Accepted { id, conversation, seq } => self.accepted(model, &id, conversation, seq),
            Got::Error { code, id, .. } => self.error(model, &code, &id, now_ms),
            Got::Message { conversation, seq, sender, device, id, body, to, change } => {
                let from = (model.users.iter().position(|u| u.name == sender).expect("a user"), device as u32);
                self.message(model, (conversation, seq), (from, &id, &body, &to), now_ms);
                if model.crowds.contains_key(&conversation) {
                    self.fold(model, (conversation, seq), from.0, change.as_deref());
                }
            }
            Got::Skip { conversation, from, to, reason, user, .. } if user.is_empty() => {
                self.item(model, conversation, (from, to), false);
                self.passed(model, conversation, to);
                let acked = self.inbox.get(&conversation).map_or(0, |inbox| inbox.acked);
                model.check_skip(&conversation, (from, to), reason, (self.device, acked), now_ms);
                *model.counts.skips.entry(reason).or_default() += 1;
            }
            Got::Skip { conversation, from, to, user, version, .. } => {
                let who = model.users.iter().position(|u| u.name == user).expect("a user");
                model.skips.entry((self.device, conversation, who)).or_default().push((from, to));
                self.keep(version);
                model.counts.user_skips += 1;
            }
            Got::Receipt { conversation, user, delivered, read, version } => {
                let who = model.users.iter().position(|u| u.name == user).expect("a user");
                self.receipt(model, (conversation, who), delivered, read, version);
            }
            Got::Devices { user, version, devices } => {
                let who = model.users.iter().position(|u| u.name == user).expect("a user");
                self.lists.insert(who, (version, devices.into_iter().map(|d| d as u32).collect()));
            }
            Got::Ping => connection.pings += 1,
            Got::Pong(_) | Got::Replaced | Got::Goodbye(_) => {}
            Got::Group(snapshot) => self.snapshot(model, *snapshot),
            Got::Receipts { conversation, cursors, version } => {
                // Also without cursors: then there is only the version to be acknowledged.
                self.keep(version);
                for CursorOf { user, delivered, read, .. } in cursors {
                    let who = model.users.iter().position(|u| u.name == user).expect("a user");
                    self.receipt(model, (conversation, who), delivered, read, version);
                }
            }
            Got::Groups(groups) => self.groups(model, &groups),
            Got::Progress { conversation, seq, cursors } => self.progress(model, (conversation, seq), &cursors),
            Got::Blocks(_) => {}
        }
    }

    fn accepted(&mut self, model: &mut Model, id: &[u8], at: ConversationId, seq: u64) {
        let index = model.by_id[&(self.device, id.to_vec())];
        let connection = self.connection.as_mut().expect("connected");
        assert_eq!(
            connection.unanswered.pop_front(),
            Some(index),
            "accepted out of order: {:?}",
            model.sendings[index]
        );
        model.counts.accepted += 1;
        model.numbered(at, seq, index);
        assert!(model.crowds.get(&at).is_none_or(|crowd| seq <= crowd.head()), "I1: {seq} of {at:?} is not durable");
        model.sendings[index].resolved = true;
        self.unresolved.retain(|&other| other != index);
        if !model.sendings[index].confirmed && !self.unconfirmed.contains(&index) {
            self.unconfirmed.push(index);
        }
    }

    fn error(&mut self, model: &mut Model, code: &str, id: &[u8], now_ms: u64) {
        *model.counts.errors.entry(code.to_owned()).or_default() += 1;
        let connection = self.connection.as_mut().expect("connected");
        let Some(&index) = model.by_id.get(&(self.device, id.to_vec())) else { return };
        let place = connection.unanswered.iter().position(|&other| other == index).expect("an answer to a send");
        connection.unanswered.remove(place);
        if model.sendings[index].aim == Aim::Group
            && !matches!(code, "storage_full" | "conversation_full" | "unavailable")
        {
            *model.counts.refusals.entry(code.to_owned()).or_default() += 1;
            model.check_refusal(&model.sendings[index], code, now_ms);
            model.sendings[index].resolved = true;
            return self.unresolved.retain(|&other| other != index);
        }
        let sending = &mut model.sendings[index];
        match code {
            "unknown_user" => {
                assert!(!matches!(sending.aim, Aim::User(_)), "{sending:?}");
                sending.resolved = true;
                self.unresolved.retain(|&other| other != index);
            }
            "devices_changed" => {
                assert!(!sending.made_for.is_empty());
                self.lists.clear();
            }
            "storage_full" | "conversation_full" | "unavailable" => {}
            other => panic!("{other}: {sending:?}"),
        }
    }

    fn message(
        &mut self,
        model: &mut Model,
        (at, seq): (ConversationId, u64),
        (from, id, body, to): (Device, &[u8], &[u8], &str),
        now_ms: u64,
    ) {
        model.counts.messages += 1;
        let index = *model.by_id.get(&(from, id.to_vec())).expect("a message that somebody sent");
        let sending = &mut model.sendings[index];
        assert!(from != self.device || sending.wish.is_some(), "its own message");
        if sending.wish.is_some() {
            assert!(body.is_empty(), "I9");
        } else if sending.made_for.is_empty() {
            assert_eq!(body, sending.body(None), "I9");
        } else {
            let variant = (0..sending.made_for.len()).find(|&v| body == sending.body(Some((v, self.device))));
            let variant = variant.expect("I8: this device's body");
            if sending.forgotten {
                sending.variant = Some(variant);
            }
            assert_eq!(*sending.variant.get_or_insert(variant), variant, "I2: one variant of a message");
            assert!(sending.made_for[variant].contains(&self.device));
        }
        if from.0 == self.device.0 {
            match sending.aim {
                Aim::User(peer) => assert_eq!(to, model.users[peer].name),
                _ => assert_eq!(to, ""),
            }
        }
        model.numbered(at, seq, index);
        assert!(model.admits(&at, self.device), "I8: not its conversation");
        self.item(model, at, (seq, seq), true);
        let connection = self.connection.as_mut().expect("connected");
        connection.unacked.insert((at, seq));
        let in_flight = |(at, seq): &&(ConversationId, u64)| {
            let conversation = &model.conversations[at];
            let sending = conversation.messages.get(seq).map(|&index| &model.sendings[index]);
            let capped = model.crowds.get(at).is_some_and(|crowd| model.capped(crowd, *seq));
            !capped && !conversation.lost.contains(seq) && sending.is_none_or(|s| s.fed.1 + model.hold_ms > now_ms)
        };
        let in_flight = connection.unacked.iter().filter(in_flight).count();
        assert!(in_flight <= connection.window as usize, "I6: the window");
    }

    /// Something comes in the order of a conversation: nothing was passed over that this device must have (I1, I3).
    fn item(&mut self, model: &Model, at: ConversationId, (from, to): (u64, u64), message: bool) {
        assert!(self.receive, "nobody asked for messages");
        let inbox = self.inbox.entry(at).or_default();
        assert!(from > inbox.position && from <= to, "I3: {from} after {}", inbox.position);
        assert!(from > inbox.floor, "I3: {from} comes again, {} was acknowledged durably", inbox.floor);
        let passed = (inbox.acked.max(inbox.position) + 1).min(from)..from;
        if let Some(conversation) = model.conversations.get(&at) {
            for (seq, &index) in conversation.messages.range(passed) {
                let sending = &model.sendings[index];
                assert!(
                    !model.must(&at, *seq, sending, self.device),
                    "I1: {:?} gets {from} of {at:?} before {seq}: {sending:?}",
                    self.device
                );
            }
        }
        inbox.position = to;
        for seq in from..=to {
            *inbox.got.entry(seq).or_default() |= message;
        }
    }

    /// A receipt version came. A client keeps the last one; here it is known what is in them.
    fn keep(&mut self, version: u64) {
        let connection = self.connection.as_mut().expect("connected");
        if version > 0 {
            assert!(version >= connection.version, "receipts come in the order of versions");
            (connection.version, self.version) = (version, version);
        }
    }

    /// The messages of those `accepted` that the server was not told of.
    pub fn accepted_unconfirmed(&self, model: &Model) -> SmallVec<[(ConversationId, u64); 1]> {
        let message = |&index: &usize| model.sendings[index].seq.map(|seq| (model.sendings[index].at, seq));
        self.unconfirmed.iter().filter_map(message).collect()
    }

    fn receipt(&mut self, model: &mut Model, of: (ConversationId, Who), delivered: u64, read: u64, version: u64) {
        model.counts.receipts += 1;
        self.keep(version);
        let told = self.told.entry(of).or_default();
        *told = (told.0.max(delivered), told.1.max(read));
        let Some(conversation) = model.conversations.get(&of.0) else { panic!("I8: of an unknown conversation") };
        assert!(model.admits(&of.0, self.device), "I8: a receipt for a device that is no member");
        let crowd = model.crowds.get(&of.0);
        assert!(
            crowd.is_none_or(|crowd| crowd.membership(self.device.0, self.heard).0 && crowd.ever(of.1)),
            "I8: a receipt of {:?} for one who is no member any more",
            of.0
        );
        assert!(read <= conversation.read.get(&of.1).copied().unwrap_or(0), "I7: nobody read {read}");
        if of.1 == self.device.0 {
            return;
        }
        for (seq, &index) in conversation.messages.range(..=delivered) {
            let foreign = crowd.is_some_and(|crowd| !crowd.sees(of.1, *seq));
            if model.sendings[index].from != self.device || model.sendings[index].forgotten || foreign {
                continue;
            }
            let had = conversation.had.get(&of.1).is_some_and(|had| had.contains(seq));
            let skipped = model.skipped(self.device, of.0, of.1, *seq);
            assert!(
                had || skipped,
                "I7: {:?} is told that {seq} is delivered to {:?} in {:?}",
                self.device,
                model.users[of.1],
                of.0
            );
        }
    }
}
