//! Groups through a node: who may what, what everybody sees of it, and what is left after a crash.

mod basics;
mod blocks;
mod departed;
mod floods;
mod invites;
mod limits;
mod model;
mod privacy;
mod races;
mod random;
mod repeats;
mod residency;
mod restarts;
mod returns;
mod roles;
mod trickle;

use partition::commit::Owner;
use partition::records::Record;
use smallvec::smallvec;

use super::group_frames::{Change as Seen, Snapshot};
use super::*;
use wire::types::{Change, Hash, Invite, Manage, Profile, Rules, Target, Who};

/// Members by role: 0 member, 1 admin, 2 owner.
type Members = Vec<(String, u64)>;

/// Ann owns a group, bob is an admin, cal and dan are members; eve exists.
struct Party {
    rig: Rig<SimDisk>,
    ann: Client,
    bob: Client,
    cal: Client,
    dan: Client,
    eve: Client,
    at: ConversationId,
}

/// Everybody is there, and has everything.
fn party() -> Party {
    party_in(rig())
}

fn party_in(mut rig: Rig<SimDisk>) -> Party {
    let [ann, bob, cal, dan, eve] = ["ann", "bob", "cal", "dan", "eve"].map(|name| rig.join(name, 1, true));
    let at = create(&mut rig, ann, b"g", &["bob", "cal", "dan"]);
    manage(&mut rig, ann, at, b"a", Change::Promoted(names(&["bob"])));
    let accepted = smallvec![(at, 1), (at, 2)];
    rig.feed(ann, &ClientFrame::Ack(Ack { accepted, ..Ack::default() }));
    let mut party = Party { rig, ann, bob, cal, dan, eve, at };
    party.collect();
    party
}

impl Party {
    fn all(&self) -> [Client; 5] {
        [self.ann, self.bob, self.cal, self.dan, self.eve]
    }

    /// Everybody takes and acknowledges everything, and confirms it.
    fn collect(&mut self) {
        for client in self.all() {
            collect(&mut self.rig, client, self.at);
        }
        // Receipts of groups are held a little, cursors are logged once a second.
        self.rig.pass(1_100);
        for client in self.all() {
            collect(&mut self.rig, client, self.at);
        }
    }

    /// What a wish comes to: `None` if it was accepted.
    fn wish(&mut self, by: Client, id: &[u8], change: Change<'_>) -> Option<String> {
        manage(&mut self.rig, by, self.at, id, change)
    }

    fn members(&mut self) -> Members {
        snapshot(&mut self.rig, self.ann, self.at).expect("a member").members
    }

    /// The process is killed and comes back; everybody joins again.
    fn restart(self) -> Self {
        let mut rig = restart(self.rig);
        let [ann, bob, cal, dan, eve] = ["ann", "bob", "cal", "dan", "eve"].map(|name| rig.join(name, 1, true));
        Self { rig, ann, bob, cal, dan, eve, at: self.at }
    }
}

/// A conversation's last number; `None`: it is not in memory.
fn head(rig: &Rig<SimDisk>, at: ConversationId) -> Option<u64> {
    rig.node.partition.state.active(&at).map(|active| active.row.head)
}

fn names(names: &[&'static str]) -> Vec<std::borrow::Cow<'static, str>> {
    names.iter().map(|&name| name.into()).collect()
}

fn created(members: &[&'static str]) -> Change<'static> {
    let rules = Rules { post: Who::Everyone, add: Who::Admins, edit: Who::Admins };
    Change::Created { members: names(members), profile: named(b"friends"), rules }
}

fn named(name: &'static [u8]) -> Profile<'static> {
    Profile { name: Some(name.into()), ..Profile::default() }
}

fn feed(rig: &mut Rig<SimDisk>, by: Client, at: Option<ConversationId>, id: &[u8], change: Change<'_>) {
    rig.feed(by, &ClientFrame::Manage(Manage { id: id.into(), conversation: at, change }));
}

/// Makes a group, which must be accepted.
fn create(rig: &mut Rig<SimDisk>, by: Client, id: &[u8], others: &[&'static str]) -> ConversationId {
    feed(rig, by, None, id, created(others));
    rig.turn();
    let got = rig.got(by);
    let at = conversation(&got);
    keep(rig, by, at, &got);
    at
}

/// Wants a change; `None`: accepted, else the code of the refusal.
fn manage(rig: &mut Rig<SimDisk>, by: Client, at: ConversationId, id: &[u8], change: Change<'_>) -> Option<String> {
    rig.got(by);
    feed(rig, by, Some(at), id, change);
    rig.turn();
    let got = rig.got(by);
    keep(rig, by, at, &got);
    answer(&got, id)
}

/// Sends into a group; as [`manage`].
fn say(rig: &mut Rig<SimDisk>, by: Client, at: ConversationId, id: &[u8]) -> Option<String> {
    rig.got(by);
    rig.feed(by, &rig::message(Target::Conversation(at), id, b"hello"));
    rig.turn();
    answer(&rig.got(by), id)
}

fn answer(got: &[Got], id: &[u8]) -> Option<String> {
    got.iter()
        .find_map(|g| match g {
            Got::Accepted { id: of, .. } if of == id => Some(None),
            Got::Error { code, id: of, .. } if of == id => Some(Some(code.clone())),
            _ => None,
        })
        .unwrap_or_else(|| panic!("no answer to {id:?}: {got:?}"))
}

/// Takes everything, acknowledges it and every `accepted`; gives what came.
fn collect(rig: &mut Rig<SimDisk>, client: Client, at: ConversationId) -> Vec<Got> {
    let got = rig.got(client);
    keep(rig, client, at, &got);
    confirm(rig, client, &got);
    got
}

/// Acknowledges what came of a group.
fn keep(rig: &mut Rig<SimDisk>, client: Client, at: ConversationId, got: &[Got]) {
    let covers = |g: &Got| match g {
        Got::Message { conversation, seq, .. } if *conversation == at => Some(*seq),
        Got::Skip { conversation, to, user, .. } if *conversation == at && user.is_empty() => Some(*to),
        _ => None,
    };
    if let Some(seq) = got.iter().filter_map(covers).max() {
        rig.ack(client, at, seq);
    }
}

/// The group's row goes to the log once more, as when its old segment is to go.
fn image(rig: &mut Rig<SimDisk>, at: ConversationId) {
    let state = &rig.node.partition.state;
    let (slot, mut bytes) = (state.find(&at).unwrap(), Vec::new());
    let (row, ..) = state.encode(Owner::Conversation(slot), &mut bytes).unwrap();
    assert!(rig.node.commit(&[Record::Image { row, bytes: bytes.into() }]));
    rig.turn();
}

/// A router whose quiet rows leave memory.
fn forgetful() -> Config {
    Config { rows_soft: 0, ..Config::default() }
}

/// The group as a member is told it; `None`: it is told that there is none.
fn snapshot(rig: &mut Rig<SimDisk>, by: Client, at: ConversationId) -> Option<Snapshot> {
    rig.got(by);
    rig.feed(by, &ClientFrame::GroupGet { conversation: Some(at) });
    rig.turn();
    let got = rig.got(by);
    let found = got.iter().find_map(|g| if let Got::Group(group) = g { Some((**group).clone()) } else { None });
    assert!(found.is_some() || codes(&got) == ["unknown_conversation"], "{got:?}");
    found
}

/// The groups that a user is told to be in.
fn groups(rig: &mut Rig<SimDisk>, by: Client) -> Vec<ConversationId> {
    rig.got(by);
    rig.feed(by, &ClientFrame::GroupGet { conversation: None });
    rig.turn();
    let got = rig.got(by);
    got.iter().find_map(|g| if let Got::Groups(ids) = g { Some(ids.clone()) } else { None }).expect("an answer")
}

/// Changes and messages as they came: number, sender, change.
fn seen(got: &[Got]) -> Vec<(u64, &str, Option<&Seen>)> {
    let message = |g| match g {
        &Got::Message { seq, ref sender, ref change, .. } => Some((seq, sender.as_str(), change.as_deref())),
        _ => None,
    };
    got.iter().filter_map(message).collect()
}

fn people(members: &[(&str, u64)]) -> Members {
    members.iter().map(|&(name, role)| (name.to_owned(), role)).collect()
}

fn sha(secret: &[u8]) -> Hash {
    use sha2::Digest;
    sha2::Sha256::digest(secret).into()
}
