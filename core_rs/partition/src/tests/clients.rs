//! Clients that keep what they learn about others: each device attaches now and then, gets what changed since it last did, merges
//! it as docs/wire.md says, and acknowledges it. What it then believes is true, and complete.

use std::collections::BTreeMap;

use super::oracle::Oracle;
use super::world::World;
use crate::ids::{ConversationId, DeviceId};
use crate::index::{Step, Walk};
use crate::propose::{Author, Stop};
use crate::receipts::{Receipt, Visited};
use crate::records::Record;
use crate::rows::Kind;

/// What a device knows.
#[derive(Default)]
struct Client {
    /// Messages that there were when it was new.
    born: usize,
    told: u64,
    delivered: BTreeMap<(ConversationId, String), u64>,
    skips: Vec<(ConversationId, String, u64, u64)>,
}

#[derive(Default)]
pub struct Clients(BTreeMap<(String, DeviceId), Client>);

impl Clients {
    /// A device is new, and receives.
    pub fn begin(&mut self, world: &mut World, author: Author<'_>, born: usize) {
        self.0.insert((author.name.to_owned(), author.device), Client { born, ..Client::default() });
        assert_eq!(world.state.connected(author, 0, true).map(|last| last.1), Ok(true), "for the first time");
        let seen = world.state.seen_by(author.user, author.device).unwrap();
        world.commit(&[Record::Seen(seen)]);
        // It is welcomed when that is durable, and gives no command before.
        world.sync();
    }

    /// A device attaches, and gets what changed since it last did.
    pub fn attach(&mut self, world: &mut World, name: &str, device: DeviceId) {
        world.sync();
        let Ok(author) = world.until(|world| Ok(world.state.author(name, device)?.user)) else { return };
        let author = Author { name, user: author, device };
        let client = self.0.entry((name.to_owned(), device)).or_default();
        let seconds = (world.now.wall_ms / 1000) as u32;
        world.state.connected(author, seconds, true).unwrap();
        let (last, mut walk, mut loaded) = (world.state.versions.last, Walk::default(), Vec::new());
        // What the device acknowledged is where it begins, as for a client that kept nothing else.
        client.told = client.told.max(world.state.device(author.user, device).unwrap().row.receipts);
        loop {
            match world.state.owing(&mut walk, (author.user, device), client.told) {
                Step::At(slot) => {
                    client.visit(world, slot, author);
                    walk.pass(slot);
                }
                Step::Page(after) => {
                    let (page, end) = world.index_page(name, after, 2);
                    walk.page(page.into_iter().map(|row| row.0).collect(), end);
                }
                Step::Rows(keys) => world.resolve(&Stop::Wait(keys)),
                Step::Rest => loaded.extend(walk.give_back()),
                Step::Done => break,
            }
        }
        client.told = last;
        world.state.seen(author, last).unwrap();
    }

    /// Every device has attached, and everybody has everything. `complete`: no row was set back, so that a device which had receipts
    /// up to a version had all of them.
    pub fn check(&self, world: &World, oracle: &Oracle, complete: bool) {
        for ((name, device), client) in &self.0 {
            let Some((slot, row)) = world.state.user_named(name) else { continue };
            if !row.devices.contains(device) {
                continue;
            }
            for (&(id, seq), said) in
                oracle.said.iter().filter(|(_, said)| said.author == *name && said.order > client.born)
            {
                let Some(active) = world.state.active(&id).filter(|active| active.row.kind != Kind::Device) else {
                    continue;
                };
                let me = active.places(slot).first().map(|&index| active.row.member(index).unwrap());
                if !me.is_some_and(|member| member.is_current()) {
                    continue;
                }
                for (_, member) in active.row.iter().filter(|(_, member)| member.user != slot && member.sees(seq)) {
                    let other = world.state.names.text(member.user).to_owned();
                    let skips = |skip: &(ConversationId, String, u64, u64)| {
                        (skip.0, &skip.1) == (id, &other) && skip.2 <= seq && seq <= skip.3
                    };
                    let known = client.delivered.get(&(id, other.clone())).is_some_and(|upto| *upto >= seq);
                    let known = known && !client.skips.iter().any(skips);
                    let had = oracle.had(&id, &other, seq) && !said.withheld;
                    assert!(had || !known, "{name}/{device} believes that {other} has {seq}: {:#?}", active.row);
                    let skipped = member.skips_seq(seq) || client.skips.iter().any(skips);
                    let since = oracle.is_inside_since(active.row.kind, &id, name, seq);
                    let told = complete && member.is_current() && since && member.delivered >= seq && had && !skipped;
                    assert!(known || !told, "{name}/{device} does not know that {other} has {seq}: {:#?}", active.row);
                }
            }
        }
    }
}

impl Client {
    fn visit(&mut self, world: &World, slot: crate::ids::ConversationSlot, author: Author<'_>) {
        let active = world.state.conversation(slot).unwrap();
        let name = |index| world.state.names.text(active.row.member(index).unwrap().user).to_owned();
        for listener in active.places(author.user) {
            let visited = world.state.receipts(slot, listener, self.told, 0, |receipt| {
                match receipt {
                    // A client ignores a skip at or below what it learned to be delivered.
                    Receipt::Skip(member, range) => {
                        let known = self.delivered.get(&(active.id, name(member))).copied().unwrap_or(0);
                        self.skips.push((active.id, name(member), range.from.max(known + 1), range.to));
                    }
                    Receipt::Progress { member, delivered, .. } => {
                        let known = self.delivered.entry((active.id, name(member))).or_default();
                        *known = delivered.max(*known);
                    }
                }
                true
            });
            assert_eq!(visited, Visited::All, "all of it is durable");
        }
    }
}
