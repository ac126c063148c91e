//! Partitions as a gateway uses them: sessions with windows, several devices of a user, and a node that reads bodies.

mod host;
mod model;
mod rows;
mod scenarios;
mod unseen;

use seam::{Address, Attach, Attached, Commands, Credit, Served, Token};
use wire::types::{Change, ConversationId, Manage, Profile, Rules, Send, Target};

use crate::config::Config;
use crate::ids::DeviceId;
use crate::partition::{Fit, Partition};
use crate::state::State;
use host::{Host, Out};

const SECRET: [u8; 16] = [7; 16];

pub struct House {
    pub partition: Partition,
    pub host: Host,
    addresses: u32,
    ids: u32,
}

impl House {
    pub fn new(config: Config) -> Self {
        Self { partition: Partition::new(State::default(), config, SECRET), host: Host::new(), addresses: 0, ids: 0 }
    }

    /// A session of a device; it need not be welcomed yet.
    pub fn attach(&mut self, user: &str, device: DeviceId) -> (Attached, Address) {
        self.attach_with(user, device, true, None, &[])
    }

    pub fn attach_with(
        &mut self,
        user: &str,
        device: DeviceId,
        receive: bool,
        receipts: Option<&Token>,
        in_flight: &[(ConversationId, u64)],
    ) -> (Attached, Address) {
        self.addresses += 1;
        let address = Address::new(self.addresses, 0);
        let who = Attach { address, user, device, receive, create: true, receipts, in_flight };
        (self.partition.attach(&mut self.host, &who).unwrap(), address)
    }

    /// The open batch is durable, and upkeep does what it can.
    pub fn sync(&mut self) {
        self.durable();
        while self.partition.fit(&mut self.host, 100) == Fit::More {}
        self.durable();
    }

    fn durable(&mut self) {
        self.host.journal.open = false;
        let last = self.host.journal.last();
        self.partition.synced(&mut self.host, last);
    }

    /// Bodies that were asked for come.
    pub fn bodies(&mut self) {
        for (of, seq, place) in std::mem::take(&mut self.host.cache.wanted) {
            let stored = self.host.read(place).unwrap();
            self.host.cache.put(place, stored);
            self.partition.body_read(&mut self.host, of, (seq, place), place.offset);
        }
    }

    fn id(&mut self) -> Vec<u8> {
        self.ids += 1;
        self.ids.to_be_bytes().to_vec()
    }

    pub fn send(&mut self, from: Attached, target: Target<'static>) {
        let id = self.id().into();
        let send = Send { id, target, body: b"hello"[..].into(), bodies: vec![], lists: vec![], media: vec![] };
        self.partition.send(&mut self.host, from, &send).unwrap();
    }

    pub fn change(&mut self, from: Attached, conversation: Option<ConversationId>, change: Change<'_>) {
        let manage = Manage { id: self.id().into(), conversation, change };
        self.partition.change(&mut self.host, from, &manage).unwrap();
    }

    pub fn group(&mut self, from: Attached, members: &[&'static str]) -> ConversationId {
        let members = members.iter().map(|&member| member.into()).collect();
        self.change(from, None, Change::Created { members, profile: Profile::default(), rules: Rules::default() });
        let said = self.host.out.said.iter().rev();
        said.clone()
            .find_map(|(_, out)| if let Out::Accepted { conversation, .. } = out { Some(*conversation) } else { None })
            .unwrap()
    }

    pub fn credit(&mut self, to: Attached, messages: u32, bytes: u32) -> Served {
        self.partition.credit(&mut self.host, to, Credit { messages, bytes, first_any: false })
    }

    /// What was said to a session since this was last asked, but for what it was said to be owed.
    pub fn said(&mut self, to: Address) -> Vec<Out> {
        let (mine, others): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.host.out.said).into_iter().partition(|s| s.0 == to);
        self.host.out.said = others;
        mine.into_iter().map(|said| said.1).filter(|out| !matches!(out, Out::Owed(_))).collect()
    }
}
