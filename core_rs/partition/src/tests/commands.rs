//! Random commands to a partition, with the oracle beside it.

use std::borrow::Cow;
use std::collections::BTreeMap;

use wire::types::{Change, DeviceBody, DeviceList, Invite, Manage, Profile, Rules, Send, Target, Who};

use super::clients::Clients;
use super::oracle::Oracle;
use super::random::Random;
use super::world::{Rows, World};
use crate::ids::{ConversationId, ConversationSlot, DeviceId, Position};
use crate::lazy::Mailbox;
use crate::propose::{self, Author, Decided, Fits, Sent, Stop, hash_of};
use crate::records::Record;
use crate::rows::Kind;
use crate::serve::Item;

mod faults;
mod upkeep;

const SECRET: &[u8] = b"0123456789abcdef";
const USERS: [&str; 4] = ["ann", "bob", "cid", "dan"];
/// Commands of a run.
const COMMANDS: usize = 150;
/// Times that a command is given again when it waited for rows.
const TRIES: usize = 8;

pub struct Run {
    random: Random,
    pub world: World,
    pub oracle: Oracle,
    clients: Clients,
    ids: u32,
    /// Skips are forgotten, at arbitrary versions.
    forgets: bool,
    /// Sends that were given before, to be given again.
    sends: Vec<(String, DeviceId, Send<'static>)>,
    resting: Option<Record<'static>>,
    /// Changes of devices that are being taken up.
    fits: BTreeMap<&'static str, Fits>,
    /// The store as it was some time ago, and the position that it reflected.
    copy: (Rows, Position),
    /// Parts of the log and the store are lost, and salvaged.
    pub damages: bool,
    /// Batches that there were at the last salvage.
    salvaged: usize,
    /// Messages, acknowledgements, rows that went to rest, segments that went, crashes that lost what was told, rows that were
    /// set back, rows that were given up.
    pub did: [usize; 7],
}

impl Run {
    pub fn new(seed: u64) -> Self {
        let mut run = Self {
            random: Random::new(seed),
            world: World::new(),
            oracle: Oracle::default(),
            clients: Clients::default(),
            ids: 0,
            forgets: seed.is_multiple_of(2),
            sends: Vec::new(),
            resting: None,
            fits: BTreeMap::new(),
            copy: (Rows::new(), Position(0)),
            damages: false,
            salvaged: 0,
            did: [0; 7],
        };
        // As under fsync, interval, and none.
        run.world.lag = [1, 4, 16][seed as usize % 3];
        for name in USERS {
            let records = propose::create_user(&run.world.state, name).unwrap().unwrap();
            run.commit(&records);
            if name != "dan" {
                run.register(name);
            }
        }
        run.world.sync();
        run.world.safe = run.world.synced;
        run
    }

    pub fn commands(&mut self) {
        for _ in 0..COMMANDS {
            self.command();
            if self.random.one_in(4) {
                self.oracle.check(&self.world.state);
                // A row may be left over of a member who came in what was lost.
                if !self.damages {
                    self.world.check_index();
                }
            }
        }
        self.world.sync();
    }
}

impl Run {
    fn commit(&mut self, records: &[Record<'_>]) {
        if self.random.one_in(40) {
            self.world.refuse(records);
        }
        let committed = self.world.commit(records);
        if self.random.one_in(3) {
            self.world.close();
        }
        self.oracle.committed(&self.world.state, committed.position, records);
    }

    fn commit_if(&mut self, decided: Decided<Option<Vec<Record<'_>>>>) {
        match decided {
            Ok(Some(records)) => self.commit(&records),
            Ok(None) => {}
            Err(stop) => self.world.resolve(&stop),
        }
    }

    fn user(&mut self) -> &'static str {
        USERS[self.random.below(USERS.len())]
    }

    fn device(&mut self) -> Option<Author<'static>> {
        let user = self.user();
        let (slot, row) = self.world.state.user_named(user)?;
        let devices = row.devices.clone();
        self.random.pick(&devices).map(|&device| Author { name: user, user: slot, device })
    }

    fn conversation(&mut self) -> Option<ConversationId> {
        let mut ids: Vec<ConversationId> = self.world.state.conversations().map(|(_, active)| active.id).collect();
        ids.sort_unstable();
        self.random.pick(&ids).copied()
    }

    fn id(&mut self) -> Vec<u8> {
        self.ids += 1;
        self.ids.to_be_bytes().to_vec()
    }

    fn command(&mut self) {
        match self.random.below(40) {
            0..=9 => self.send(),
            10..=14 => self.change(),
            15..=19 => self.ack(),
            20 => self.read(),
            21 => self.facts(),
            22 | 23 => self.flush(),
            24 => {
                let user = self.user();
                self.register(user);
            }
            25 => self.drop_device(),
            26 => self.fit(),
            27 => self.block(),
            28 => self.lose(),
            29 => self.drop_unseen(),
            30 => self.world.sync(),
            31 | 32 => self.age(),
            33..=35 => self.rest(),
            36..=38 => self.retain(),
            _ if self.random.one_in(3) => self.crash(),
            _ if self.damages => self.damage(),
            _ if self.random.one_in(3) => self.clock(),
            _ => self.world.sync(),
        }
    }

    fn send(&mut self) {
        if self.random.one_in(6)
            && let Some((user, device, send)) = self.random.pick(&self.sends).cloned()
        {
            return self.give((&user, device), &send);
        }
        let Some(author) = self.device() else { return };
        let target = match self.random.below(8) {
            0..=3 => Target::User(self.user().into()),
            4 => Target::Device(self.user().into(), 1 + self.random.below(3) as u32),
            _ => match self.conversation() {
                Some(id) => Target::Conversation(id),
                None => return,
            },
        };
        let mut send = Send {
            id: self.id().into(),
            target,
            body: b"hello"[..].into(),
            bodies: Vec::new(),
            lists: Vec::new(),
            media: Vec::new(),
        };
        if self.random.one_in(3)
            && let Target::User(other) = &send.target
        {
            let other = other.to_string();
            self.bodies(&mut send, [author.name, &other]);
        }
        self.sends.push((author.name.to_owned(), author.device, send.clone()));
        self.give((author.name, author.device), &send);
    }

    fn give(&mut self, (user, device): (&str, DeviceId), send: &Send<'_>) {
        let (mut stored, now, config) = (Vec::new(), self.world.now, self.world.config.clone());
        for _ in 0..TRIES {
            // Wherever the last one went, the decision is the same.
            let (state, mut again) = (&self.world.state, Vec::new());
            let slots: Vec<ConversationSlot> = state.conversations().map(|(slot, _)| slot).collect();
            let last = self.random.pick(&slots).copied();
            let sent = match state.author(user, device) {
                Ok(author) => {
                    let sent = propose::send(state, now, &config, author, last, send, &mut stored);
                    assert_eq!(sent, propose::send(state, now, &config, author, None, send, &mut again));
                    sent
                }
                Err(stop) => Err(stop),
            };
            if let Ok(sent) = &sent {
                self.oracle.sent((user, device), &send.id, sent);
            }
            if self.sent(sent) {
                break;
            }
        }
    }

    fn bodies(&mut self, send: &mut Send<'static>, users: [&str; 2]) {
        send.body = Cow::Borrowed(b"");
        for user in users {
            let Some((_, row)) = self.world.state.user_named(user) else { continue };
            let (version, devices) = (row.list_version, row.devices.clone());
            let list = devices.iter().map(|&device| u32::from(device)).collect();
            let version = u64::from(version) + u64::from(self.random.one_in(10));
            send.lists.push(DeviceList { user: user.to_owned().into(), version, devices: list });
            for device in devices {
                if !self.random.one_in(3) {
                    let (user, body) = (user.to_owned().into(), b"own"[..].into());
                    send.bodies.push(DeviceBody { user, device: device.into(), body });
                }
            }
        }
    }

    /// Whether there is an answer; otherwise the rows that it needs are there now.
    fn sent(&mut self, sent: Decided<Sent<'_>>) -> bool {
        match sent {
            Ok(Sent::New { conversation, seq, records }) => {
                self.did[0] += 1;
                self.commit(&records);
                assert_eq!(self.world.state.active(&conversation).unwrap().row.head, seq);
            }
            Ok(Sent::Again(repeat)) => {
                let active = self.world.state.active(&repeat.conversation);
                assert!(self.damages || active.is_none_or(|active| active.row.head >= repeat.seq));
            }
            Err(stop) => {
                self.world.resolve(&stop);
                return matches!(stop, Stop::Refused(_));
            }
        }
        true
    }

    fn change(&mut self) {
        let Some(author) = self.device() else { return };
        let users = |run: &mut Self| -> Vec<Cow<'static, str>> {
            (0..=run.random.below(3)).map(|_| Cow::Borrowed(run.user())).collect()
        };
        let groups = self.world.state.conversations().filter(|(_, active)| active.row.kind == Kind::Group);
        let mut groups: Vec<ConversationId> = groups.map(|(_, active)| active.id).collect();
        groups.sort_unstable();
        let change = match self.random.below(16) {
            0 | 1 if groups.len() < 2 => {
                Change::Created { members: users(self), profile: Profile::default(), rules: Rules::default() }
            }
            0..=4 => Change::Added(users(self)),
            5..=7 => Change::Removed(users(self)),
            8 | 9 => Change::Left { successor: "".into() },
            10 => Change::Promoted(users(self)),
            11 => Change::Demoted(users(self)),
            12 => Change::Owner(self.user().into()),
            13 => Change::Invited(Invite { hash: hash_of(SECRET), expires: 0 }),
            14 => Change::Joined { hash: [0; 32], secret: Cow::Borrowed(SECRET) },
            _ if self.random.one_in(6) => Change::Closed,
            _ => Change::Rules(Rules { post: Who::Admins, ..Rules::default() }),
        };
        let creates = matches!(change, Change::Created { .. });
        let conversation = if creates { None } else { self.random.pick(&groups).copied() };
        let manage = Manage { id: self.id().into(), conversation, change };
        let (mut stored, now, config) = (Vec::new(), self.world.now, self.world.config.clone());
        for _ in 0..TRIES {
            let sent = propose::change(&self.world.state, now, &config, author, &manage, &mut stored);
            if self.sent(sent) {
                break;
            }
        }
    }

    fn ack(&mut self) {
        if self.random.one_in(2) {
            self.world.sync();
        }
        let state = &self.world.state;
        let mut waiting: Vec<(String, DeviceId, ConversationId)> = Vec::new();
        for (_, active) in state.conversations() {
            for (_, member) in active.row.iter() {
                let last = active.visible.min(member.to);
                let cursors = member.cursors.iter().filter(|cursor| cursor.device != 0 && cursor.acked < last);
                let user = state.names.text(member.user);
                waiting.extend(cursors.map(|cursor| (user.to_owned(), cursor.device, active.id)));
            }
        }
        waiting.sort_unstable();
        let Some((user, device, id)) = self.random.pick(&waiting).cloned() else { return };
        let most = 1 + self.random.below(6);
        self.take(&user, device, id, most);
        // What is not there to be had is refused, and changes nothing.
        let (slot, before) = (self.world.state.names.find(&user).unwrap(), self.world.state.rows());
        let author = Author { name: &user, user: slot, device };
        let head = self.world.state.active(&id).map_or(0, |active| active.row.head);
        assert!(matches!(self.world.ack(author, &id, head + 1), Err(Stop::Refused(_))));
        assert_eq!(self.world.state.rows(), before);
    }

    /// A device gets what comes next, and acknowledges some of it. False: there was nothing.
    fn take(&mut self, user: &str, device: DeviceId, id: ConversationId, most: usize) -> bool {
        let state = &self.world.state;
        let (slot, name) = (state.find(&id).unwrap(), state.names.find(user).unwrap());
        let active = state.conversation(slot).unwrap();
        let index = active.member(name, device).unwrap();
        let acked = active.row.member(index).unwrap().cursor(device).unwrap().acked;
        let items = self.world.items(Mailbox { slot, member: index, device }, 0, most);
        self.oracle.served(state, &id, (user, device), acked, &items);
        let some = items.get(..1 + self.random.below(items.len())).unwrap_or_default();
        let seq = match some.last() {
            Some(Item::Message { seq, .. }) => *seq,
            Some(Item::Skip { to, .. }) => *to,
            _ => return !items.is_empty(),
        };
        let at = self.world.mailbox(Author { name: user, user: name, device }, &id).unwrap();
        self.world.state.ack(at, seq).unwrap();
        self.did[1] += 1;
        if items.first() == Some(&Item::Snapshot) {
            self.world.state.saw_snapshot(at);
        }
        true
    }

    fn read(&mut self) {
        let (Some(author), Some(id)) = (self.device(), self.conversation()) else { return };
        let seq = self.random.below(30) as u64;
        let authors = [self.user()];
        let authors = if self.random.one_in(2) { &authors[..] } else { &[] };
        if let Err(stop) = self.world.read(author, &id, seq, authors) {
            self.world.resolve(&stop);
        }
    }

    fn facts(&mut self) {
        let Some(author) = self.device() else { return };
        let seconds = (self.world.now.wall_ms / 1000) as u32;
        if let Err(stop) = self.world.state.connected(author, seconds, self.random.one_in(2)) {
            return self.world.resolve(&stop);
        }
        // In half of the runs nothing is forgotten, so that a device which attaches for the first time learns of all skips.
        if self.forgets {
            self.clients.attach(&mut self.world, author.name, author.device);
        }
        let repeats = &self.world.state.device(author.user, author.device).unwrap().row.repeats;
        let some: Vec<(ConversationId, u64)> =
            repeats.iter().filter(|_| self.random.one_in(2)).map(|repeat| (repeat.conversation, repeat.seq)).collect();
        self.oracle.confirmed((author.name, author.device), &some);
        self.world.state.confirm(author, &some).unwrap();
    }

    fn flush(&mut self) {
        let most = if self.random.one_in(2) { 2 } else { usize::MAX };
        for record in self.world.state.flush(most) {
            self.commit(&[record]);
        }
    }

    fn register(&mut self, user: &str) {
        let config = self.world.config.clone();
        let decided = propose::register_device(&self.world.state, self.world.now, &config, user);
        let device = decided.as_ref().map_or(0, |decided| decided.0);
        self.commit_if(decided.map(|(_, records)| Some(records)));
        // Receipts wait for a device from the first time that it asks for them.
        if self.forgets
            && let Ok(author) = self.world.state.author(user, device)
        {
            self.clients.begin(&mut self.world, author, self.oracle.count);
        }
    }

    fn drop_device(&mut self) {
        let (user, device) = (self.user(), 1 + self.random.below(3) as DeviceId);
        let decided = propose::drop_device(&self.world.state, user, device);
        if matches!(decided, Ok(Some(_))) {
            self.oracle.dropped((user, device));
        }
        self.commit_if(decided);
    }

    /// One conversation takes up a change of devices, or all do.
    fn fit(&mut self) {
        let user = self.user();
        let many = self.random.below(6);
        self.fit_user(user, many);
    }

    fn fit_user(&mut self, user: &'static str, steps: usize) {
        let (mut fits, most) = (self.fits.remove(user).unwrap_or_default(), 1 + self.random.below(2));
        for _ in 0..steps {
            let done = self.world.fit(user, &mut fits, most, 1);
            self.oracle.committed(&self.world.state, self.world.state.position, &[]);
            if done {
                break;
            }
            if self.random.one_in(3) {
                self.world.close();
            }
        }
        self.fits.insert(user, fits);
    }

    fn block(&mut self) {
        let (user, other, off) = (self.user(), self.user(), self.random.one_in(2));
        let config = self.world.config.clone();
        let decided = propose::block(&self.world.state, &config, user, other, off);
        self.commit_if(decided);
    }

    fn lose(&mut self) {
        let Some(id) = self.conversation().filter(|_| self.random.one_in(4)) else { return };
        let active = self.world.state.active(&id).unwrap();
        let Some((seq, _)) = active.entries.from(0).nth(self.random.below(active.entries.len())) else { return };
        let records = propose::lost(&self.world.state, active, &[(seq, seq)]);
        self.commit_if(Ok(records));
    }

    fn age(&mut self) {
        self.world.now.wall_ms += 5_000;
        let waiting = self.world.state.conversations().filter(|(_, active)| !active.entries.is_empty());
        let mut waiting: Vec<ConversationId> = waiting.map(|(_, active)| active.id).collect();
        waiting.sort_unstable();
        let Some(id) = self.random.pick(&waiting).copied() else { return };
        let active = self.world.state.active(&id).unwrap();
        let records = propose::expire(&self.world.state, self.world.now, &self.world.config, active);
        self.commit_if(Ok(records));
    }
}
