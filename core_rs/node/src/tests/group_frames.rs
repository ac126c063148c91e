//! The frames of groups read back, plainly, like those of [`super::frames`].

use super::frames::{Fields, Value};
use wire::types::ConversationId;

/// Name, description, picture; `None`: absent.
pub type Profile = [Option<Vec<u8>>; 3];
/// Who may post, add and edit: 0 everyone, 1 admins.
pub type Rules = [u64; 3];

/// What happened to a group.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Change {
    Created { members: Vec<String>, profile: Profile, rules: Rules },
    Profile(Profile),
    Rules(Rules),
    Added(Vec<String>),
    Removed(Vec<String>),
    Left(Option<String>),
    Promoted(Vec<String>),
    Demoted(Vec<String>),
    Owner(String),
    Invited { hash: Vec<u8>, expires: u64 },
    Revoked(Vec<u8>),
    Joined(Vec<u8>),
    Closed,
}

/// A group's snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Snapshot {
    pub conversation: ConversationId,
    pub seq: u64,
    pub members: Vec<(String, u64)>,
    pub profile: Profile,
    pub rules: Rules,
    pub invites: Vec<(Vec<u8>, u64)>,
    pub closed: bool,
}

/// How far a member is.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct CursorOf {
    pub user: String,
    pub delivered: u64,
    pub read: u64,
    pub skipped: bool,
}

fn profile(f: &Fields) -> Profile {
    [1, 2, 3].map(|number| f.has(number).then(|| f.bytes(number)))
}

fn rules(f: &Fields) -> Rules {
    [1, 2, 3].map(|number| f.number(number))
}

/// The change in a message, if it is one of the system's.
pub(super) fn change(message: &Fields) -> Option<Change> {
    if !message.has(10) {
        return None;
    }
    let outer = Fields::read(&message.bytes(10));
    let (number, Value::Bytes(inner)) = outer.0.first().expect("a change").clone() else { panic!("not a change") };
    let f = Fields::read(&inner);
    Some(match number {
        1 => {
            let (profile, rules) = (profile(&Fields::read(&f.bytes(2))), rules(&Fields::read(&f.bytes(3))));
            Change::Created { members: f.texts(1), profile, rules }
        }
        2 => Change::Profile(profile(&f)),
        3 => Change::Rules(rules(&f)),
        4 => Change::Added(f.texts(1)),
        5 => Change::Removed(f.texts(1)),
        6 => Change::Left(f.texts(1).pop().filter(|name| !name.is_empty())),
        7 => Change::Promoted(f.texts(1)),
        8 => Change::Demoted(f.texts(1)),
        9 => Change::Owner(f.text(1)),
        10 => Change::Invited { hash: f.bytes(1), expires: f.number(2) },
        11 => Change::Revoked(f.bytes(1)),
        12 => {
            assert!(!f.has(3), "nobody is told the secret");
            Change::Joined(f.bytes(1))
        }
        13 => Change::Closed,
        other => panic!("change {other}"),
    })
}

pub(super) fn snapshot(f: &Fields) -> Snapshot {
    let member = |bytes: Vec<u8>| {
        let f = Fields::read(&bytes);
        (f.text(1), f.number(2))
    };
    let invite = |bytes: Vec<u8>| {
        let f = Fields::read(&bytes);
        (f.bytes(1), f.number(2))
    };
    Snapshot {
        conversation: f.id16(1),
        seq: f.number(2),
        members: f.many(3).into_iter().map(member).collect(),
        profile: profile(&Fields::read(&f.bytes(4))),
        rules: rules(&Fields::read(&f.bytes(5))),
        invites: f.many(6).into_iter().map(invite).collect(),
        closed: f.number(7) != 0,
    }
}

/// All cursors in a field.
pub(super) fn cursors(f: &Fields, number: u64) -> Vec<CursorOf> {
    let cursor = |bytes: Vec<u8>| {
        let f = Fields::read(&bytes);
        CursorOf { user: f.text(1), delivered: f.number(2), read: f.number(3), skipped: f.number(4) != 0 }
    };
    f.many(number).into_iter().map(cursor).collect()
}
