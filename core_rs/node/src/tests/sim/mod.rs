//! The router by model: node, log, store and disks that fail, driven by chance and held to plain maps.
//!
//! One number, the seed, decides everything: what clients do, what is late, when the machine dies. A run that fails says
//! its seed and step; `SIM_SEED=… SIM_STEPS=… make sim` repeats it exactly, `SIM_TRACE=1` tells what happens in it.
//! `SIM_STEPS=… make sim` alone goes through as many steps, of seeds that were not tried before.
//!
//! - [`world`]: connections, disk, store and time around a node; whatever can be late or die does.
//! - [`look`]: what is looked at inside it.
//! - [`model`]: what is true: who wrote what, who must get it, who has it.
//! - [`program`]: client programs, and what each checks in everything that it is told.
//! - [`crowd`]: groups in the model; [`group`]: their rules.
//! - [`steps`]: what happens next; [`groups`]: in groups. [`finish`]: the end of a run.
//! - [`exact`]: what is the same before and after a crash.
//! - [`runs`]: the runs that are made, and how one is repeated.

mod crowd;
mod exact;
mod finish;
mod group;
mod groups;
mod look;
mod model;
mod program;
mod runs;
mod steps;
mod world;

use crate::Config;
use log::LogOptions;
use log::sim::{Rng, SimDisk};
use model::{Counts, Device, Model, Registered, User};
use program::Program;
use world::{End, World, say};

/// What a run is made of.
struct Sim {
    rng: Rng,
    world: World,
    model: Model,
    programs: Vec<Program>,
    /// Connections that their program gave up, and the server does not know yet.
    abandoned: Vec<(usize, Device)>,
    /// Of 30 messages so many are for groups.
    social: usize,
    trace: u64,
}

impl Sim {
    fn new(seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let names = ["ann", "bob", "cal", "zoë", "eve"];
        let users: Vec<String> = names.iter().take(2 + rng.below(4)).map(|n| (*n).to_owned()).collect();
        let config = Config {
            window_messages: [2, 5, 64][rng.below(3)],
            window_bytes: [300, 3_000, 1 << 20][rng.below(3)],
            unaccepted_messages: [4, 256][rng.below(2)],
            hold_ms: [2, 12][rng.below(2)] * 3_600_000,
            group_members: [3, 1_024][rng.below(2)],
            conversation_messages: [20, 100_000][rng.below(2)],
            body_cache_bytes: [0, 600, 1 << 20][rng.below(3)],
            quiet_ms: [4_000, 30_000][rng.below(2)],
            rows_soft: [0, 200_000][rng.below(2)],
            segment_bytes: [8 << 10, 16 << 10, 48 << 10][rng.below(3)],
            ..Config::default()
        };
        let options = LogOptions {
            segment_bytes: config.segment_bytes,
            batch_bytes: [700, 4_000, 100_000][rng.below(3)],
            ..LogOptions::default()
        };
        let disk = SimDisk::new(rng.next());
        if rng.once_in(2) {
            disk.be_hostile();
        }
        let mut programs = Vec::new();
        for who in 0..users.len() {
            for number in 1..=1 + rng.below(3) as u32 {
                programs.push(Program::new((who, number), true, 0));
            }
            if rng.once_in(2) {
                programs.push(Program::new((who, 1), false, 1));
            }
        }
        let model = Model {
            users: users.iter().map(|name| User { name: name.clone(), ..User::default() }).collect(),
            hold_ms: config.hold_ms,
            most: config.group_members as usize,
            cap: u64::from(config.conversation_messages),
            ..Model::default()
        };
        let world = World::new(config, options, disk, &users);
        let social = [5, 12, 24][rng.below(3)];
        Self { rng, world, model, programs, abandoned: Vec::new(), social, trace: 0 }
    }

    /// Runs `steps` steps and the end.
    fn run(&mut self, steps: u64) -> Counts {
        for _ in 0..steps {
            self.model.step += 1;
            say(|| {
                format!("step {} at {} mono {}", self.model.step, self.world.node.time_ms(), self.world.now.mono_ms)
            });
            self.step();
            self.turn();
        }
        self.finish();
        self.model.counts.clone()
    }

    /// Whatever happens at its own pace, and what follows from it for the model.
    fn turn(&mut self) {
        let ended = self.world.turn(&mut self.rng);
        self.note_groups();
        if let Err(end) = ended {
            self.restart(end);
        }
        self.world.tell();
        self.note_devices();
        self.note_acks();
        let stats = self.world.node.stats();
        let sum = [
            stats.gateway.acks_total,
            stats.gateway.delivered_total,
            stats.rested_total,
            stats.log_segments,
            stats.bytes_pending,
            self.world.now.wall_ms,
        ];
        for number in sum {
            self.trace = (self.trace ^ number).wrapping_mul(0x100_0000_01b3).rotate_left(5);
        }
    }

    /// The router ended, and starts again, as often as it takes.
    fn restart(&mut self, end: End) {
        match end {
            End::Died => self.model.counts.died += 1,
            End::Failed => self.model.counts.failed += 1,
        }
        let power = end == End::Died || self.rng.once_in(2);
        say(|| format!("{end:?}, power lost: {power}"));
        let before = self.world.exact();
        self.ended(power);
        let mut tries = 0;
        loop {
            let now = &mut self.world.now;
            now.mono_ms = 1_000 + self.rng.below(50) as u64;
            now.wall_ms += [0, 20, 900, 20_000, 3 * 3_600_000][self.rng.below(5)];
            if self.rng.once_in(8) {
                now.wall_ms -= self.rng.below(100_000) as u64;
            }
            tries += 1;
            if tries > 3 {
                self.world.disk.set_capacity(u64::MAX);
            } else if self.rng.once_in(4) {
                self.world.disk.crash_in(1 + self.rng.below(60) as u64);
            }
            if self.world.start() {
                if let Some(before) = &before {
                    before.check(&self.world.recovered);
                    self.model.counts.compared += 1;
                }
                break;
            }
            assert!(tries < 10, "the router does not start");
            let power = self.world.disk.is_crashed();
            self.world.end(&mut self.rng, power);
        }
        if self.rng.once_in(8) {
            self.world.disk.crash_in(1 + self.rng.below(100) as u64);
        }
        self.recovered();
    }

    fn ended(&mut self, power: bool) {
        let now_ms = self.world.node.time_ms();
        self.world.end(&mut self.rng, power);
        for place in 0..self.programs.len() {
            // What was on its way may still arrive.
            if self.rng.once_in(2) {
                self.hear(place, now_ms);
            }
            if let Some(connection) = &self.programs[place].connection {
                self.world.wires.remove(&connection.wire);
            }
            self.programs[place].disconnected();
            for inbox in self.programs[place].inbox.values_mut() {
                inbox.settling.clear();
            }
        }
        self.abandoned.clear();
        self.world.wires.clear();
    }

    /// What came back decides what was not known to be durable.
    fn recovered(&mut self) {
        self.note_logged();
        for who in 0..self.model.users.len() {
            let name = self.model.users[who].name.clone();
            let found = self.world.devices(&name);
            let step = self.model.step;
            let known: Vec<u32> = self.model.users[who].devices.keys().copied().collect();
            for number in known {
                let registered = &self.model.users[who].devices[&number];
                let unseen = self.model.is_unseen(registered, self.world.node.time_ms());
                let registered = self.model.users[who].devices.get_mut(&number).unwrap();
                let there = found.as_ref().map_or(registered.batch.is_none(), |found| found.contains(&number));
                registered.seeing = None;
                if there {
                    registered.batch = None;
                } else {
                    let may = registered.batch.is_some() || unseen || self.model.damaged;
                    assert!(may, "I1: {name}'s device {number} is gone");
                    self.model.users[who].devices.remove(&number);
                    self.reborn((who, number));
                }
            }
            let user = &mut self.model.users[who];
            for number in found.unwrap_or_default() {
                // It was dropped, and that was lost again; or nobody saw that it came.
                user.ever = true;
                let back =
                    Registered { since: u64::MAX, came: step, inherited: None, batch: None, seen_ms: 0, seeing: None };
                user.devices.entry(number).or_insert(back);
            }
        }
    }

    fn reborn(&mut self, device: Device) {
        self.programs.iter_mut().filter(|p| p.device == device).for_each(Program::reborn);
        for sending in self.model.sendings.iter_mut().filter(|s| s.from == device) {
            sending.forgotten = true;
        }
    }

    /// Devices come with their first session, and go when they were away for too long.
    fn note_devices(&mut self) {
        let (last, durable) = self.world.batches();
        let now_ms = self.world.node.time_ms();
        for program in &mut self.programs {
            if let Some(connection) = &mut program.connection {
                connection.joined |= self.world.joined(connection.wire);
            }
        }
        let connected = self.connected();
        for who in 0..self.model.users.len() {
            let user = &mut self.model.users[who];
            let there = self.world.devices(&user.name).unwrap_or_default();
            let new: Vec<u32> = there.into_iter().filter(|number| !user.devices.contains_key(number)).collect();
            // Of several that came at once, one was the first: nobody knows which.
            let inherits = user.devices.is_empty() && !user.ever && new.len() == 1;
            for number in new {
                let since = if inherits { 0 } else { u64::MAX };
                let inherited = inherits.then_some(now_ms);
                let came = self.model.step;
                let new = Registered { since, came, inherited, batch: Some(last), seen_ms: now_ms, seeing: None };
                user.devices.insert(number, new);
            }
        }
        for &(who, number) in &connected {
            let Some(registered) = self.model.users[who].devices.get_mut(&number) else { continue };
            // Before it is welcomed, some mailboxes have not begun.
            registered.since = registered.since.min(self.model.step + 1);
            registered.seeing.get_or_insert((now_ms, last));
        }
        for user in &mut self.model.users {
            for registered in user.devices.values_mut() {
                if registered.batch.is_some_and(|batch| batch <= durable) {
                    registered.batch = None;
                    user.ever = true;
                }
                if let Some((seen_ms, _)) = registered.seeing.take_if(|seeing| seeing.1 <= durable) {
                    registered.seen_ms = seen_ms;
                }
            }
        }
        for who in 0..self.model.users.len() {
            let Some(there) = self.world.devices(&self.model.users[who].name) else { continue };
            let known: Vec<u32> = self.model.users[who].devices.keys().copied().collect();
            for number in known.into_iter().filter(|n| !there.contains(n)) {
                let registered = &self.model.users[who].devices[&number];
                let (seen_ms, unseen) = (registered.seen_ms, self.model.is_unseen(registered, now_ms));
                assert!(
                    unseen || self.model.damaged,
                    "I1: {:?} is dropped at {now_ms}, seen at {seen_ms}",
                    (who, number)
                );
                self.model.counts.dropped += 1;
                self.model.users[who].devices.remove(&number);
                self.reborn((who, number));
            }
        }
    }

    /// Devices that have a session.
    fn connected(&self) -> Vec<Device> {
        let connections = self.programs.iter().filter_map(|p| Some((p.connection.as_ref()?.wire, p.device)));
        let all = connections.chain(self.abandoned.iter().copied());
        all.filter(|(wire, _)| self.world.joined(*wire)).map(|(_, device)| device).collect()
    }

    /// Acknowledgements become final a second after the server took them, and durable.
    fn note_acks(&mut self) {
        let (last, durable) = self.world.batches();
        let mono_ms = self.world.now.mono_ms;
        for place in 0..self.programs.len() {
            let (who, number) = self.programs[place].device;
            let name = self.model.users[who].name.clone();
            for (at, inbox) in &mut self.programs[place].inbox {
                if inbox.settling.is_empty() {
                    continue;
                }
                let cursor = self.world.cursor(at, &name, number).unwrap_or(u64::MAX);
                for (seq, taken, batch) in &mut inbox.settling {
                    if taken.is_none() && cursor >= *seq {
                        *taken = Some(mono_ms);
                    }
                    if taken.is_some_and(|taken| mono_ms >= taken + 1_100) && batch.is_none() {
                        *batch = Some(last);
                    }
                    if batch.is_some_and(|batch| batch <= durable) {
                        inbox.floor = inbox.floor.max(*seq);
                    }
                }
                let floor = inbox.floor;
                inbox.settling.retain(|s| s.0 > floor);
            }
        }
    }
}
