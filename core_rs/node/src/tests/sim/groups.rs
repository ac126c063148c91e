//! What happens to groups, by chance: wishes that may come true, and messages to them.

use std::borrow::Cow;

use super::Sim;
use super::model::Device;
use sha2::{Digest, Sha256};
use wire::ids::group_id;
use wire::types::{Change, ClientFrame, ConversationId, Hash, Invite, Profile, Rules, Who};

/// Most groups of a run.
const GROUPS: usize = 6;
const SECRETS: [&[u8]; 2] = [b"the first of secrets", b"the second of secrets"];
const HOUR: u64 = 3_600_000;

impl Sim {
    /// A group to write to, and what is wanted of it: nothing, or a change.
    pub(super) fn address(&mut self, from: Device, id: &[u8]) -> (ConversationId, Option<Change<'static>>) {
        let all: Vec<ConversationId> = self.model.crowds.keys().copied().collect();
        let me = from.0 as u32;
        let mine = |at: &&ConversationId| self.model.crowds[*at].latest().role(me).is_some();
        let mine: Vec<ConversationId> = all.iter().filter(mine).copied().collect();
        let some = if self.rng.once_in(8) || mine.is_empty() { &all } else { &mine };
        if all.len() < GROUPS && (some.is_empty() || self.rng.once_in(20)) {
            let at = group_id(&self.model.users[from.0].name, from.1 as u16, id);
            self.model.crowds.entry(at).or_default();
            return (at, Some(self.beginning()));
        }
        let at = some[self.rng.below(some.len())];
        let wish = if self.rng.once_in(2) { Some(self.wish()) } else { None };
        (at, wish)
    }

    fn beginning(&mut self) -> Change<'static> {
        let (members, profile, rules) = (self.some(), self.profile(), self.rules());
        Change::Created { members, profile, rules }
    }

    fn wish(&mut self) -> Change<'static> {
        let secret = SECRETS[self.rng.below(2)];
        let hash: Hash = Sha256::digest(secret).into();
        match self.rng.below(32) {
            0..8 => Change::Added(self.some()),
            8..12 => Change::Removed(self.some()),
            12..14 => Change::Left { successor: "".into() },
            14..17 => Change::Promoted(self.some()),
            17..19 => Change::Demoted(self.some()),
            19..21 => Change::Owner(self.one()),
            21..23 => {
                let now_ms = self.world.node.time_ms();
                let expires = [0, now_ms + 2_000, now_ms + 2 * HOUR][self.rng.below(3)];
                Change::Invited(Invite { hash, expires })
            }
            23 => Change::Revoked(hash),
            24..27 => Change::Joined { hash: Hash::default(), secret: secret.into() },
            27..29 => Change::Rules(self.rules()),
            29 if self.rng.once_in(6) => Change::Closed,
            _ => Change::Profile(self.profile()),
        }
    }

    fn one(&mut self) -> Cow<'static, str> {
        if self.rng.once_in(20) {
            return "nobody".into();
        }
        let who = self.rng.below(self.model.users.len());
        self.model.users[who].name.clone().into()
    }

    fn some(&mut self) -> Vec<Cow<'static, str>> {
        (0..1 + self.rng.below(3)).map(|_| self.one()).collect()
    }

    fn rules(&mut self) -> Rules {
        let mut who = || if self.rng.once_in(3) { Who::Admins } else { Who::Everyone };
        Rules { post: who(), add: who(), edit: who() }
    }

    fn profile(&mut self) -> Profile<'static> {
        let mut field = |lengths: [usize; 3]| {
            let byte = b'a' + self.rng.below(3) as u8;
            let len = lengths[self.rng.below(3)];
            if self.rng.once_in(2) { Some(vec![byte; len].into()) } else { None }
        };
        Profile { name: field([0, 3, 20]), description: field([0, 30, 900]), picture: field([0, 5, 50]) }
    }

    /// A program asks: which groups, what of one, who has a message of it. If it is none of its own, it is told nothing.
    pub(super) fn ask(&mut self) {
        let place = self.rng.below(self.programs.len());
        let all: Vec<ConversationId> = self.model.crowds.keys().copied().collect();
        let Some(connection) = &mut self.programs[place].connection else { return };
        if all.is_empty() {
            return;
        }
        let at = all[self.rng.below(all.len())];
        let seq = 1 + self.rng.below(self.model.crowds[&at].head() as usize + 1) as u64;
        connection.asked.get_or_insert(self.model.step);
        let frame = match self.rng.below(3) {
            0 => ClientFrame::GroupGet { conversation: None },
            1 => ClientFrame::GroupGet { conversation: Some(at) },
            _ => ClientFrame::ProgressGet { conversation: at, seq },
        };
        self.world.feed(connection.wire, &frame);
    }

    /// What of groups became durable, and what is to be seen.
    pub(super) fn note_groups(&mut self) {
        self.note_logged();
        let Self { world, model, .. } = self;
        for (at, crowd) in &mut model.crowds {
            if let Some(visible) = world.visible(at) {
                crowd.shown(model.step, visible);
            }
        }
    }

    /// What of groups became durable.
    pub(super) fn note_logged(&mut self) {
        for stored in std::mem::take(&mut self.world.logged) {
            self.model.logged(&stored);
        }
    }
}
