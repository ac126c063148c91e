//! What happens next, by chance.

use super::Sim;
use super::model::{Aim, Sending, conversation_id};
use super::program::Connection;
use super::world::End;
use crate::tests::kept;
use log::sim::Call;
use partition::rows::repeats::MAX_REPEATS;
use rustix::io::Errno;
use smallvec::SmallVec;
use store::Fault;
use store::memory::Outcome;
use wire::types::{
    Ack, Change, ClientFrame, ConversationId, DeviceBody, DeviceList, Hello, Manage, Read, Send, Target,
};

const HOUR: u64 = 3_600_000;

impl Sim {
    pub(super) fn step(&mut self) {
        match self.rng.below(1_000) {
            0..260 => self.send(),
            260..440 => self.listen(),
            440..640 => self.ack(),
            640..670 => self.read(),
            670..730 => self.connect(),
            730..765 => self.leave(),
            765..785 => self.stall(),
            785..788 => self.get_devices(),
            788..790 => self.ask(),
            790..795 => {
                let place = self.any();
                self.resend(place);
            }
            795..810 => self.misbehave(),
            810..880 => self.pass(1 + self.rng.clone().below(400) as u64),
            880..920 => self.pass(1_000 + self.rng.clone().below(2_000) as u64),
            920..930 => self.pass(40_000),
            930..936 => self.pass(20 * 60_000),
            936..939 => self.pass(HOUR + 30_000),
            939..941 => self.pass(6 * HOUR),
            941..943 => self.jump(),
            943..957 => self.world.hold_disk = !self.world.hold_disk,
            957..968 => self.world.hold_store = !self.world.hold_store,
            968..981 => self.fail_store(),
            981..984 => self.fail_some_call(),
            984..988 => self.fill_up(),
            988..994 => self.world.disk.crash_in(1 + self.rng.below(40) as u64),
            994..997 => self.restart(End::Died),
            997..999 => self.restart(End::Failed),
            _ => self.stop(),
        }
    }

    fn any(&mut self) -> usize {
        self.rng.below(self.programs.len())
    }

    /// Time passes; a long time bit by bit, and no disk hangs for so long.
    fn pass(&mut self, ms: u64) {
        self.rng.next();
        let mut left = ms;
        while left > 0 {
            let bit = left.min(10 * 60_000);
            left -= bit;
            self.world.now.mono_ms += bit;
            self.world.now.wall_ms += bit;
            if ms > 60_000 {
                self.world.hold_disk = false;
                self.turn();
            }
        }
    }

    /// The machine's clock is set.
    fn jump(&mut self) {
        let by = [60_000, 2 * HOUR, 20 * HOUR][self.rng.below(3)];
        let wall_ms = &mut self.world.now.wall_ms;
        *wall_ms = if self.rng.once_in(2) { *wall_ms + by } else { *wall_ms - by };
    }

    fn fail_some_call(&mut self) {
        let call = [Call::Sync, Call::Write, Call::Read, Call::SyncDir, Call::Reserve, Call::Open][self.rng.below(6)];
        let errno = match call {
            Call::Open => Errno::MFILE,
            Call::Read => [Errno::IO, Errno::NOMEM, Errno::AGAIN][self.rng.below(3)],
            _ if self.rng.once_in(3) => Errno::NOSPC,
            _ => Errno::IO,
        };
        self.world.disk.fail(call, 1 + self.rng.below(6) as u64, errno.raw_os_error());
    }

    /// The store cannot be read for a while, or does not take the next batch.
    fn fail_store(&mut self) {
        let fault = [Fault::Busy, Fault::Disk, Fault::Memory][self.rng.below(3)];
        if self.rng.once_in(8) {
            let outcome = if self.rng.once_in(2) { Outcome::Durable } else { Outcome::Lost };
            return self.world.rows.fail_put(fault, outcome);
        }
        self.world.rows.fail_reads(self.rng.below(4) as u32, fault);
    }

    fn fill_up(&mut self) {
        let room = self.rng.below(60_000) as u64;
        let full = self.world.disk.used() + room;
        let capacity = if self.rng.once_in(3) { full } else { u64::MAX };
        self.world.disk.set_capacity(capacity);
    }

    /// The router is stopped in good order, and started.
    fn stop(&mut self) {
        self.world.node.set_now(self.world.now);
        self.world.node.stop("test", 0);
        self.turn();
        self.restart(End::Failed);
    }

    fn connect(&mut self) {
        let place = self.any();
        self.join(place);
    }

    /// A program connects; what it had is cut, or given up.
    pub(super) fn join(&mut self, place: usize) {
        if let Some(connection) = &self.programs[place].connection {
            if self.rng.once_in(3) {
                self.abandoned.push((connection.wire, self.programs[place].device));
            } else {
                self.world.cut(connection.wire);
            }
            self.programs[place].disconnected();
        }
        let program = &self.programs[place];
        let window = [0, 1, 3][self.rng.below(3)];
        let receipts = kept(if self.rng.once_in(2) { program.version } else { 0 });
        let window_bytes = [0, 1, 400][self.rng.below(3)];
        let (receive, (who, number)) = (program.receive, program.device);
        let hello = Hello { protocol: 1, receive, window_messages: window, window_bytes, receipts, ..Hello::default() };
        let name = self.model.users[who].name.clone();
        let wire = self.world.connect(&name, number, hello);
        let most = self.world.config.window_messages;
        let window = if window == 0 { most } else { window.min(most) };
        self.programs[place].connection = Some(Connection { wire, window, ..Connection::default() });
        // What was not answered comes first, in order.
        for index in self.programs[place].unresolved.clone() {
            self.feed_send(place, index);
        }
    }

    /// Sends what was refused for a while, or for other devices than there are, again.
    pub(super) fn resend(&mut self, place: usize) {
        let program = &self.programs[place];
        let Some(connection) = &program.connection else { return };
        let open: Vec<usize> =
            program.unresolved.iter().copied().filter(|index| !connection.unanswered.contains(index)).collect();
        let bodies = open.iter().any(|&index| !self.model.sendings[index].made_for.is_empty());
        if bodies && program.lists.len() < self.model.users.len() {
            return self.get_devices_at(place);
        }
        for index in open {
            self.feed_send(place, index);
        }
    }

    fn leave(&mut self) {
        if !self.abandoned.is_empty() && self.rng.once_in(2) {
            let (wire, _) = self.abandoned.swap_remove(self.rng.below(self.abandoned.len()));
            self.world.cut(wire);
            return;
        }
        let place = self.any();
        if self.rng.once_in(2) {
            self.listen_at(place);
        }
        if let Some(connection) = &self.programs[place].connection {
            self.world.cut(connection.wire);
            self.programs[place].disconnected();
        }
    }

    fn stall(&mut self) {
        let place = self.any();
        if let Some(connection) = &mut self.programs[place].connection {
            connection.stalled = !connection.stalled;
            let (wire, on) = (connection.wire, !connection.stalled);
            self.world.set_writable(wire, on);
        }
    }

    fn listen(&mut self) {
        let place = self.any();
        if self.programs[place].connection.is_none() {
            return self.join(place);
        }
        self.listen_at(place);
    }

    /// A program takes what came, and answers pings.
    pub(super) fn listen_at(&mut self, place: usize) {
        let now_ms = self.world.node.time_ms();
        self.hear(place, now_ms);
        let Some(connection) = &mut self.programs[place].connection else { return };
        let (wire, pings) = (connection.wire, std::mem::take(&mut connection.pings));
        if pings > 0 {
            self.world.feed(wire, &ClientFrame::Pong { nonce: 1 });
        }
        if self.world.wires.get(&wire).is_none_or(|w| w.closed) {
            self.world.wires.remove(&wire);
            self.programs[place].disconnected();
        }
    }

    pub(super) fn hear(&mut self, place: usize, now_ms: u64) {
        let Some(connection) = &self.programs[place].connection else { return };
        let Some(wire) = self.world.wires.get_mut(&connection.wire) else { return };
        let mut bytes = std::mem::take(&mut wire.bytes);
        for (at, seq) in self.world.unread.drain(..) {
            self.model.conversations.entry(at).or_default().lost.insert(seq);
        }
        self.note_logged();
        self.programs[place].hear(&mut self.model, &mut bytes, now_ms);
    }

    fn send(&mut self) {
        let place = self.any();
        if self.programs[place].connection.is_none() {
            return;
        }
        let again = self.rng.once_in(12);
        let program = &self.programs[place];
        let known: Vec<usize> = program.unresolved.iter().chain(&program.unconfirmed).copied().collect();
        if again && !known.is_empty() {
            // A repeat, though nothing was lost.
            let index = known[self.rng.below(known.len())];
            let waits = |c: &Connection| c.unanswered.contains(&index);
            if !self.model.sendings[index].forgotten && !program.connection.as_ref().is_some_and(waits) {
                self.feed_send(place, index);
            }
            return;
        }
        let device = program.device;
        let sent = self.model.sent.get(&device).copied().unwrap_or(0);
        let open =
            self.programs.iter().filter(|p| p.device == device).flat_map(|p| p.unresolved.iter().chain(&p.unconfirmed));
        let oldest = open.map(|&index| self.model.sendings[index].ordinal).min().unwrap_or(sent);
        if sent - oldest + 2 >= MAX_REPEATS as u64 {
            return;
        }
        let index = self.compose(place, sent);
        self.programs[place].unresolved.push(index);
        self.feed_send(place, index);
    }

    fn compose(&mut self, place: usize, ordinal: u64) -> usize {
        let program = &mut self.programs[place];
        let from = program.device;
        program.next_id += 1;
        let mut id = vec![program.prefix];
        id.extend(program.next_id.to_be_bytes());
        let users = self.model.users.len();
        let to = self.rng.below(users);
        let group = self.rng.below(30) < self.social;
        let aim = match self.rng.below(20) {
            _ if group => Aim::Group,
            0 => Aim::Nobody,
            1..4 => Aim::Device((to, 1 + self.rng.below(3) as u32)),
            _ => Aim::User(to),
        };
        let aim = if aim == Aim::Device(from) { Aim::User(to) } else { aim };
        let (at, wish) = match aim {
            Aim::Group => self.address(from, &id),
            _ => (conversation_id(&self.model.users, from, aim), None),
        };
        let members = match aim {
            Aim::Nobody | Aim::Group => vec![],
            Aim::User(to) if to == from.0 => vec![(to, 0)],
            Aim::User(to) => vec![(from.0, 0), (to, 0)],
            Aim::Device(to) => vec![from, to],
        };
        let conversation = self.model.conversations.entry(at).or_default();
        conversation.members = members;
        let fed = (self.model.step, self.world.node.time_ms());
        let pad = [0, 5, 120, 500][self.rng.below(4)];
        let made_for = if self.rng.once_in(6) && matches!(aim, Aim::User(_)) { vec![vec![]] } else { vec![] };
        self.model.sendings.push(Sending {
            from,
            id: id.clone(),
            aim,
            at,
            pad,
            made_for,
            variant: None,
            fed,
            seq: None,
            resolved: false,
            confirmed: false,
            forgotten: false,
            ordinal,
            wish,
            tried: fed,
        });
        *self.model.sent.entry(from).or_default() += 1;
        let index = self.model.sendings.len() - 1;
        self.model.by_id.insert((from, id), index);
        index
    }

    /// Feeds a send; one with a body per device is made anew, from the lists that the program knows.
    fn feed_send(&mut self, place: usize, index: usize) {
        let mut lists = Vec::new();
        // What was fed before may be lost, and with it the time at which it was.
        let fed_ms = &mut self.model.sendings[index].fed.1;
        *fed_ms = self.world.node.time_ms().min(*fed_ms);
        self.model.sendings[index].tried = (self.model.step, self.world.node.time_ms());
        if !self.model.sendings[index].made_for.is_empty() {
            lists = self.make_bodies(place, index);
        }
        let sending = &self.model.sendings[index];
        let name = |who: usize| self.model.users[who].name.as_str();
        let target = match sending.aim {
            Aim::Group => Target::Conversation(sending.at),
            Aim::Nobody => Target::User("nobody".into()),
            Aim::User(to) if sending.seq.is_some() && to % 2 == 0 => Target::Conversation(sending.at),
            Aim::User(to) => Target::User(name(to).into()),
            Aim::Device(to) => Target::Device(name(to.0).into(), to.1),
        };
        let variant = sending.made_for.len().saturating_sub(1);
        let bodies = sending.made_for.last().into_iter().flatten();
        let bodies: Vec<DeviceBody<'_>> = bodies
            .map(|&to| DeviceBody {
                user: name(to.0).into(),
                device: to.1,
                body: sending.body(Some((variant, to))).into(),
            })
            .collect();
        let body = if sending.made_for.is_empty() { sending.body(None) } else { Vec::new() };
        let lists = lists
            .iter()
            .map(|(who, version)| DeviceList {
                user: name(*who).into(),
                version: *version,
                devices: Default::default(),
            })
            .collect();
        let send = Send {
            id: sending.id.as_slice().into(),
            target,
            body: body.into(),
            bodies,
            lists,
            media: Default::default(),
        };
        let frame = match &sending.wish {
            None => ClientFrame::Send(send),
            Some(change) => {
                let conversation = (!matches!(change, Change::Created { .. })).then_some(sending.at);
                ClientFrame::Manage(Manage { id: send.id, conversation, change: change.clone() })
            }
        };
        let connection = self.programs[place].connection.as_mut().expect("connected");
        connection.unanswered.push_back(index);
        self.world.feed(connection.wire, &frame);
    }

    fn make_bodies(&mut self, place: usize, index: usize) -> Vec<(usize, u64)> {
        let sending = &self.model.sendings[index];
        let Aim::User(to) = sending.aim else { return Vec::new() };
        let users = if to == sending.from.0 { vec![to] } else { vec![sending.from.0, to] };
        let program = &self.programs[place];
        let mut lists = Vec::new();
        let mut made_for = Vec::new();
        for who in users {
            let Some((version, devices)) = program.lists.get(&who) else { continue };
            lists.push((who, *version));
            made_for.extend(devices.iter().map(|&number| (who, number)).filter(|device| *device != sending.from));
        }
        // Now and then somebody is left out.
        if self.rng.once_in(4) && made_for.len() > 1 {
            made_for.swap_remove(self.rng.below(made_for.len()));
        }
        if made_for.is_empty() {
            // There must be some body.
            made_for.push((to, 1));
        }
        let sending = &mut self.model.sendings[index];
        sending.made_for.push(made_for);
        lists
    }

    fn get_devices(&mut self) {
        let place = self.any();
        self.get_devices_at(place);
    }

    fn get_devices_at(&mut self, place: usize) {
        let Some(connection) = &self.programs[place].connection else { return };
        for user in &self.model.users {
            self.world.feed(connection.wire, &ClientFrame::DevicesGet { user: user.name.as_str().into() });
        }
    }

    fn ack(&mut self) {
        let place = self.any();
        let program = &self.programs[place];
        let Some(version) = program.connection.as_ref().map(|connection| connection.version) else { return };
        let none = self.rng.once_in(3);
        let accepted = if none { SmallVec::new() } else { program.accepted_unconfirmed(&self.model) };
        let receipts = kept(if self.rng.once_in(3) { 0 } else { version });
        let at = self.pick(place, |inbox| inbox.position > 0);
        let partial = self.rng.once_in(3);
        let seq = at.map_or(0, |at| {
            let position = self.programs[place].inbox[&at].position;
            if partial { 1 + self.rng.clone().below(position as usize) as u64 } else { position }
        });
        self.feed_ack(place, Ack { conversation: at, seq, receipts, accepted });
    }

    fn pick(&mut self, place: usize, which: impl Fn(&super::program::Inbox) -> bool) -> Option<ConversationId> {
        let mut some: Vec<ConversationId> =
            self.programs[place].inbox.iter().filter(|(_, inbox)| which(inbox)).map(|(at, _)| *at).collect();
        some.sort_unstable();
        if some.is_empty() { None } else { Some(some[self.rng.below(some.len())]) }
    }

    /// Feeds an acknowledgement, and notes what follows from it.
    pub(super) fn feed_ack(&mut self, place: usize, ack: Ack<'_>) {
        let program = &mut self.programs[place];
        let Some(connection) = &mut program.connection else { return };
        // Confirmed: not repeated any more.
        program.unconfirmed.retain(|&index| {
            let sending = &mut self.model.sendings[index];
            sending.confirmed = sending.seq.is_some_and(|seq| ack.accepted.contains(&(sending.at, seq)));
            !sending.confirmed
        });
        if let Some(at) = ack.conversation {
            connection.unacked.retain(|(other, seq)| *other != at || *seq > ack.seq);
            let inbox = program.inbox.get_mut(&at).expect("known");
            inbox.settling.push((ack.seq, None, None));
            inbox.acked = inbox.acked.max(ack.seq);
            let had = self.model.conversations.get_mut(&at).expect("known").had.entry(program.device.0).or_default();
            had.extend(inbox.got.range(..=ack.seq).filter(|(_, message)| **message).map(|(seq, _)| *seq));
        }
        self.world.feed(connection.wire, &ClientFrame::Ack(ack));
    }

    fn read(&mut self) {
        let place = self.any();
        if self.programs[place].connection.is_none() {
            return;
        }
        if let Some(at) = self.pick(place, |inbox| inbox.acked > 0) {
            let seq = self.programs[place].inbox[&at].acked;
            self.feed_read(place, at, seq);
        }
    }

    pub(super) fn feed_read(&mut self, place: usize, at: ConversationId, seq: u64) {
        let program = &mut self.programs[place];
        let Some(connection) = &program.connection else { return };
        // The session that sends it is not told.
        let known = program.told.entry((at, program.device.0)).or_default();
        known.1 = known.1.max(seq);
        let read = self.model.conversations.get_mut(&at).expect("known").read.entry(program.device.0).or_default();
        *read = (*read).max(seq);
        // In a group, authors are named.
        let named = self.model.users.iter().filter(|_| self.model.crowds.contains_key(&at));
        let authors = named.map(|user| user.name.as_str().into()).collect();
        self.world.feed(connection.wire, &ClientFrame::Read(Read { conversation: at, seq, authors }));
    }

    /// What a bad client does: refused, and nothing else comes of it.
    fn misbehave(&mut self) {
        let place = self.any();
        let Some(connection) = &self.programs[place].connection else { return };
        let wire = connection.wire;
        let conversations: Vec<ConversationId> = self.model.conversations.keys().copied().collect();
        if conversations.is_empty() {
            return;
        }
        let at = conversations[self.rng.below(conversations.len())];
        let (who, number) = self.programs[place].device;
        let mine = self.model.crowds.contains_key(&at) || self.model.admits(&at, (who, number));
        // Beyond the head, or somebody else's.
        let seq = if mine { 1 << 40 } else { 1 };
        let ack = ClientFrame::Ack(Ack { conversation: Some(at), seq, ..Ack::default() });
        let read = ClientFrame::Read(Read { conversation: at, seq, authors: Vec::new() });
        let frame = if self.rng.once_in(2) { ack } else { read };
        self.world.feed(wire, &frame);
    }
}
