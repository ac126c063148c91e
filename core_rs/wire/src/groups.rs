//! What fields changes and snapshots of groups have.

use super::fields::{Describe, Sink};
use super::types::*;

impl Describe for Change<'_> {
    fn describe<S: Sink>(&self, sink: &mut S) {
        match self {
            Self::Created { members, profile, rules } => {
                sink.message(1, "created", &Created { members, profile, rules });
            }
            Self::Profile(profile) => sink.message(2, "profile", profile),
            Self::Rules(rules) => sink.message(3, "rules", rules),
            Self::Added(users) => sink.message(4, "added", &Users(users)),
            Self::Removed(users) => sink.message(5, "removed", &Users(users)),
            Self::Left { successor } => sink.message(6, "left", &One("successor", successor)),
            Self::Promoted(users) => sink.message(7, "promoted", &Users(users)),
            Self::Demoted(users) => sink.message(8, "demoted", &Users(users)),
            Self::Owner(user) => sink.message(9, "owner", &One("user", user)),
            Self::Invited(invite) => sink.message(10, "invited", invite),
            Self::Revoked(hash) => sink.message(11, "revoked", &Invite { hash: *hash, expires: 0 }),
            Self::Joined { hash, secret } => sink.message(12, "joined", &Joined { hash, secret }),
            Self::Closed => sink.message(13, "closed", &Nothing),
        }
    }
}

struct Created<'c, T> {
    members: &'c [T],
    profile: &'c Profile<'c>,
    rules: &'c Rules,
}

impl<T: AsRef<str>> Describe for Created<'_, T> {
    fn describe<S: Sink>(&self, sink: &mut S) {
        sink.strings(1, "members", self.members);
        profile(sink, 2, self.profile);
        rules(sink, 3, self.rules);
    }
}

/// A part of another message, left out where it says nothing.
fn profile<S: Sink>(sink: &mut S, number: u32, profile: &Profile<'_>) {
    if *profile != Profile::default() {
        sink.message(number, "profile", profile);
    }
}

/// The same: all rules at 0 let everybody.
fn rules<S: Sink>(sink: &mut S, number: u32, rules: &Rules) {
    if *rules != Rules::default() {
        sink.message(number, "rules", rules);
    }
}

impl Describe for Profile<'_> {
    fn describe<S: Sink>(&self, sink: &mut S) {
        sink.optional_bytes(1, "name", self.name.as_deref());
        sink.optional_bytes(2, "description", self.description.as_deref());
        sink.optional_bytes(3, "picture", self.picture.as_deref());
    }
}

impl Describe for Rules {
    fn describe<S: Sink>(&self, sink: &mut S) {
        for (number, name, who) in [(1, "post", self.post), (2, "add", self.add), (3, "edit", self.edit)] {
            sink.enumeration(number, name, who as u8, who.label());
        }
    }
}

struct Users<'u, T>(&'u [T]);

impl<T: AsRef<str>> Describe for Users<'_, T> {
    fn describe<S: Sink>(&self, sink: &mut S) {
        sink.strings(1, "users", self.0);
    }
}

/// A message of one user, under this name.
struct One<'u>(&'static str, &'u str);

impl Describe for One<'_> {
    fn describe<S: Sink>(&self, sink: &mut S) {
        sink.string(1, self.0, self.1);
    }
}

impl Describe for Invite {
    fn describe<S: Sink>(&self, sink: &mut S) {
        sink.bytes(1, "hash", &self.hash);
        sink.uint(2, "expires", self.expires);
    }
}

/// `Change::Joined`: with the secret where it is wanted, with the hash where it happened.
struct Joined<'c> {
    hash: &'c Hash,
    secret: &'c [u8],
}

impl Describe for Joined<'_> {
    fn describe<S: Sink>(&self, sink: &mut S) {
        if self.secret.is_empty() {
            sink.bytes(1, "hash", self.hash);
        }
        sink.bytes(3, "secret", self.secret);
    }
}

struct Nothing;

impl Describe for Nothing {
    fn describe<S: Sink>(&self, _: &mut S) {}
}

impl Describe for GroupFrame<'_> {
    fn describe<S: Sink>(&self, sink: &mut S) {
        sink.bytes(1, "conversation", &self.conversation);
        sink.uint(2, "seq", self.seq);
        sink.messages(3, "members", &self.members);
        profile(sink, 4, &self.profile);
        rules(sink, 5, &self.rules);
        sink.messages(6, "invites", self.invites);
        sink.boolean(7, "closed", self.closed);
    }
}

/// `GroupMember`.
impl Describe for (&str, Role) {
    fn describe<S: Sink>(&self, sink: &mut S) {
        sink.string(1, "user", self.0);
        sink.enumeration(2, "role", self.1 as u8, self.1.label());
    }
}

impl Describe for CursorOf<'_> {
    fn describe<S: Sink>(&self, sink: &mut S) {
        sink.string(1, "user", self.user);
        sink.uint(2, "delivered", self.delivered);
        sink.uint(3, "read", self.read);
        sink.boolean(4, "skipped", self.skipped);
    }
}

impl Who {
    /// Name in the schema.
    pub fn label(self) -> &'static str {
        match self {
            Self::Everyone => "EVERYONE",
            Self::Admins => "ADMINS",
        }
    }
}

impl Role {
    /// Name in the schema.
    pub fn label(self) -> &'static str {
        match self {
            Self::Member => "MEMBER",
            Self::Admin => "ADMIN",
            Self::Owner => "OWNER",
        }
    }
}
