//! Anything by anybody, with absences, sleep and crashes: each wish comes to what the model says, each device gets exactly
//! what was said while its user was a member, and all fold to one group.

use std::collections::{BTreeMap, BTreeSet};

use super::model::Model;
use super::*;

const USERS: [&str; 6] = ["ann", "bob", "cal", "dan", "eve", "fay"];
const MOST: usize = 5;

/// Numbers that look random (splitmix64).
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % sides as u64) as usize
    }

    fn some(&mut self) -> Vec<&'static str> {
        (0..1 + self.roll(3)).map(|_| USERS[self.roll(USERS.len())]).collect()
    }
}

/// A client program of one device: what it keeps of a group.
#[derive(Default)]
struct Copy {
    group: Model,
    last: u64,
    got: BTreeSet<u64>,
}

struct Device {
    user: usize,
    number: u32,
    client: Option<Client>,
    copies: BTreeMap<ConversationId, Copy>,
    /// Head of each group when it came.
    since: BTreeMap<ConversationId, u64>,
}

/// A group as it must be.
#[derive(Default)]
struct Truth {
    group: Model,
    head: u64,
    /// Messages that are no changes: number, user, device.
    texts: BTreeMap<u64, (usize, u32)>,
    /// Members after each change.
    history: BTreeMap<u64, Model>,
}

impl Truth {
    /// Whether a user gets message `seq`.
    fn is_for(&self, user: usize, seq: u64) -> bool {
        let at = |seq| self.history.range(..=seq).next_back().is_some_and(|(_, g)| g.role(USERS[user]).is_some());
        at(seq) || at(seq - 1)
    }
}

struct World {
    rig: Rig<SimDisk>,
    devices: Vec<Device>,
    truths: BTreeMap<ConversationId, Truth>,
    wishes: u32,
}

impl World {
    fn new() -> Self {
        let mut rig = rig_with(Config { group_members: MOST as u32, quiet_ms: 60_000, ..forgetful() });
        let device = |(user, name): (usize, &&str)| {
            let client = Some(rig.join(name, 1, true));
            Device { user, number: 1, client, copies: BTreeMap::new(), since: BTreeMap::new() }
        };
        let devices = USERS.iter().enumerate().map(device).collect();
        Self { rig, devices, truths: BTreeMap::new(), wishes: 0 }
    }

    fn join(&mut self, place: usize) -> Client {
        let device = &mut self.devices[place];
        let (name, number) = (USERS[device.user], device.number);
        *device.client.get_or_insert_with(|| self.rig.join(name, number, true))
    }

    fn group(&self, dice: &mut Dice) -> Option<ConversationId> {
        let ids: Vec<_> = self.truths.keys().copied().collect();
        (!ids.is_empty()).then(|| ids[dice.roll(ids.len())])
    }

    fn wanted(&self, dice: &mut Dice, n: u32) -> Change<'static> {
        let who = |dice: &mut Dice| if dice.roll(2) == 0 { Who::Everyone } else { Who::Admins };
        let secret: &[u8] = if dice.roll(2) == 0 { b"the first of secrets" } else { b"the second of secrets" };
        let hash = sha(secret);
        match dice.roll(16) {
            0..=2 => Change::Added(names(&dice.some())),
            3..=4 => Change::Removed(names(&dice.some())),
            5 => Change::Left { successor: "".into() },
            6..=7 => Change::Promoted(names(&dice.some())),
            8 => Change::Demoted(names(&dice.some())),
            9 => Change::Owner(USERS[dice.roll(USERS.len())].into()),
            10 => Change::Invited(Invite { hash, expires: 0 }),
            11 => Change::Revoked(hash),
            12 => Change::Joined { hash: Hash::default(), secret: secret.into() },
            13 => Change::Rules(Rules { post: who(dice), add: who(dice), edit: who(dice) }),
            14 if dice.roll(8) == 0 => Change::Closed,
            _ => Change::Profile(Profile { name: Some(n.to_be_bytes().to_vec().into()), ..Profile::default() }),
        }
    }

    fn wish(&mut self, dice: &mut Dice) {
        self.wishes += 1;
        let (id, place) = (self.wishes.to_be_bytes(), dice.roll(self.devices.len()));
        let (client, user, number) = (self.join(place), self.devices[place].user, self.devices[place].number);
        let at = self.group(dice).filter(|_| self.truths.len() == 3 || dice.roll(12) > 0);
        let change = match at {
            Some(_) => self.wanted(dice, self.wishes),
            None => created(&dice.some()),
        };
        feed(&mut self.rig, client, at, &id, change.clone());
        self.rig.turn();
        let at = at.unwrap_or_else(|| wire::ids::group_id(USERS[user], number as u16, &id));
        let truth = self.truths.entry(at).or_default();
        let expected = match truth.group.decide(USERS[user], &change, MOST) {
            Ok(decided) => {
                truth.head += 1;
                truth.group.apply(truth.head, USERS[user], &decided);
                truth.history.insert(truth.head, truth.group.clone());
                None
            }
            Err(refusal) => Some(refusal),
        };
        let answer = self.take(place, &id);
        assert_eq!(answer.as_deref(), expected, "{} wanted {change:?}", USERS[user]);
        if self.truths[&at].head == 0 {
            self.truths.remove(&at);
        }
    }

    fn say(&mut self, dice: &mut Dice) {
        let Some(at) = self.group(dice) else { return };
        self.wishes += 1;
        let (id, place) = (self.wishes.to_be_bytes(), dice.roll(self.devices.len()));
        let (client, user, number) = (self.join(place), self.devices[place].user, self.devices[place].number);
        self.rig.feed(client, &rig::message(Target::Conversation(at), &id, b"hello"));
        self.rig.turn();
        let truth = self.truths.get_mut(&at).unwrap();
        let expected = match truth.group.role(USERS[user]) {
            None => Some("unknown_conversation"),
            Some(_) if !truth.group.may_post(USERS[user]) => Some("forbidden"),
            Some(_) => {
                truth.head += 1;
                truth.texts.insert(truth.head, (user, number));
                None
            }
        };
        assert_eq!(self.take(place, &id).as_deref(), expected);
    }

    /// A device takes what came: folds, and keeps what is new. Gives the answer to `id`.
    fn take(&mut self, place: usize, id: &[u8]) -> Option<String> {
        let client = self.devices[place].client?;
        let (mut answer, mut accepted) = (None, SmallVec::new());
        for got in self.rig.got(client) {
            match got {
                Got::Accepted { conversation, seq, .. } => accepted.push((conversation, seq)),
                Got::Error { code, id: of, .. } => {
                    assert_eq!(of, id, "{code}");
                    answer = Some(code);
                }
                Got::Group(snapshot) => {
                    let copy = self.devices[place].copies.entry(snapshot.conversation).or_default();
                    let group = Model::from(*snapshot);
                    if group.seq > copy.group.seq {
                        copy.group = group;
                    }
                }
                Got::Message { conversation, seq, sender, change, .. } => {
                    let copy = self.devices[place].copies.entry(conversation).or_default();
                    if seq > copy.last {
                        copy.last = seq;
                        copy.got.insert(seq);
                        change.into_iter().for_each(|change| copy.group.apply(seq, &sender, &change));
                    }
                }
                Got::Skip { user, reason, from, to, .. } if user.is_empty() => panic!("skip {reason}: {from} to {to}"),
                _ => {}
            }
        }
        self.rig.feed(client, &ClientFrame::Ack(Ack { accepted, ..Ack::default() }));
        answer
    }

    fn ack(&mut self, place: usize) {
        let Some(client) = self.devices[place].client else { return };
        self.take(place, b"");
        let acks: Vec<_> = self.devices[place].copies.iter().map(|(at, copy)| (*at, copy.last)).collect();
        for (conversation, seq) in acks.into_iter().filter(|ack| ack.1 > 0) {
            self.rig.feed(client, &ClientFrame::Ack(Ack { conversation: Some(conversation), seq, ..Ack::default() }));
            self.rig.turn();
            // One who is gone for good may acknowledge its last message again.
            let again = self.rig.got(client);
            assert!(codes(&again).iter().all(|code| *code == "unknown_conversation"), "{again:?}");
        }
    }

    fn step(&mut self, dice: &mut Dice) {
        let place = dice.roll(self.devices.len());
        match dice.roll(40) {
            0..=15 => self.wish(dice),
            16..=23 => self.say(dice),
            24..=27 => self.ack(place),
            28..=30 => {
                self.take(place, b"");
                if let Some(client) = self.devices[place].client.take() {
                    self.rig.cut(client);
                }
            }
            31..=33 => drop(self.join(place)),
            34 => self.rig.pass(1_100),
            35 if self.devices.len() < 9 => {
                let user = dice.roll(USERS.len());
                let number = 1 + self.devices.iter().filter(|device| device.user == user).count() as u32;
                let since = self.truths.iter().map(|(at, truth)| (*at, truth.head)).collect();
                self.devices.push(Device { user, number, client: None, copies: BTreeMap::new(), since });
                self.join(self.devices.len() - 1);
            }
            36 => self.sleep(),
            37..=38 => self.crash(dice.roll(2) == 0),
            _ => self.doomed(dice),
        }
    }

    /// Whoever has nothing to do is forgotten.
    fn sleep(&mut self) {
        for place in 0..self.devices.len() {
            self.ack(place);
            if let Some(client) = self.devices[place].client.take() {
                self.rig.cut(client);
            }
        }
        for _ in 0..70 {
            self.rig.pass(2_000);
        }
    }

    /// What is fed now is never on the disk.
    fn doomed(&mut self, dice: &mut Dice) {
        let place = dice.roll(self.devices.len());
        let (client, at) = (self.join(place), self.group(dice));
        self.take(place, b"");
        self.rig.hold_disk = true;
        for n in 0..3u32 {
            let id = [9, 9, 9, 9, 9, n as u8];
            match at {
                Some(at) if n == 0 => drop(self.rig.feed(client, &rig::message(Target::Conversation(at), &id, b"x"))),
                Some(_) => {
                    let change = self.wanted(dice, n);
                    feed(&mut self.rig, client, at, &id, change);
                }
                None => feed(&mut self.rig, client, None, &id, created(&dice.some())),
            }
            self.rig.turn();
        }
        self.crash(true);
    }

    fn crash(&mut self, quick: bool) {
        for place in 0..self.devices.len() {
            if !self.rig.hold_disk {
                self.take(place, b"");
            }
            self.devices[place].client = None;
        }
        if !quick {
            self.rig.pass(1_100);
        }
        let rig = std::mem::replace(&mut self.rig, super::rig());
        self.rig = restart(rig);
    }

    /// Everybody comes and takes everything: it is what it must be.
    fn finish(mut self) {
        for round in 0..3 {
            for place in 0..self.devices.len() {
                self.join(place);
                self.ack(place);
            }
            if round == 0 {
                self.rig.pass(1_100);
            }
        }
        for device in &self.devices {
            for (at, truth) in &self.truths {
                let since = device.since.get(at).copied().unwrap_or(0);
                let own = (device.user, device.number);
                let expected: BTreeSet<u64> = (since + 1..=truth.head)
                    .filter(|&seq| truth.is_for(device.user, seq) && truth.texts.get(&seq) != Some(&own))
                    .collect();
                let nothing = Copy::default();
                let copy = device.copies.get(at).unwrap_or(&nothing);
                let who = format!("{}.{}", USERS[device.user], device.number);
                assert_eq!(copy.got, expected, "{who}");
                // Who is gone may have gone before it was shown a beginning.
                let member = truth.group.role(USERS[device.user]).is_some();
                if member && !expected.is_empty() {
                    assert_eq!(copy.group, truth.group, "{who}");
                }
            }
        }
        for place in 0..self.devices.len() {
            let (client, user) = (self.join(place), USERS[self.devices[place].user]);
            let member = |(at, truth): (&ConversationId, &Truth)| truth.group.role(user).map(|_| *at);
            let expected: BTreeSet<_> = self.truths.iter().filter_map(member).collect();
            assert_eq!(groups(&mut self.rig, client).into_iter().collect::<BTreeSet<_>>(), expected);
        }
        let stats = self.rig.node.stats();
        assert_eq!((stats.messages_pending, stats.lost_total, stats.expired_total), (0, 0, 0));
        assert!(self.rig.alarms.is_empty(), "{:?}", self.rig.alarms);
    }
}

/// `GROUP_SEEDS=1000..2000` runs those.
fn seeds() -> std::ops::Range<u64> {
    let Ok(given) = std::env::var("GROUP_SEEDS") else { return 0..40 };
    let (from, to) = given.split_once("..").unwrap();
    from.parse().unwrap()..to.parse().unwrap()
}

#[test]
fn whatever_happens_everybody_has_the_same_group_and_what_was_said_to_them_i1_i3_i8() {
    for seed in seeds() {
        let run = std::panic::catch_unwind(|| {
            let (mut dice, mut world) = (Dice(seed), World::new());
            for _ in 0..120 {
                world.step(&mut dice);
            }
            world.finish();
        });
        assert!(run.is_ok(), "seed {seed}");
    }
}
