use proptest::collection::vec;
use proptest::prelude::*;
use wire::types::{Invite, Role, Rules, SkipReason, Who};

use super::repeats::Repeats;
use super::*;
use crate::names::Names;

fn name() -> impl Strategy<Value = String> {
    prop_oneof![Just("ann".to_owned()), Just("bob".to_owned()), "[a-zé]{1,12}"]
}

prop_compose! {
    fn user()(
        changes: u16,
        list_version: u32,
        devices in proptest::collection::btree_set(1..100_u16, 0..5),
        fits in vec((1..100_u16, any::<bool>()), 0..4),
        blocked in proptest::collection::btree_set(name(), 0..4),
    ) -> User {
        User {
            changes,
            list_version,
            devices: devices.into_iter().collect(),
            fits: fits.into_iter().map(|(device, begins)| Fit { device, begins }).collect(),
            blocked: blocked.into_iter().map(Into::into).collect(),
        }
    }
}

prop_compose! {
    fn device()(
        changes: u16,
        receives: bool,
        seen_s: u32,
        receipts: u64,
        repeats in vec((vec(any::<u8>(), 1..=repeats::MAX_ID), 0..3_u8, any::<(u64, u64, bool)>()), 0..6),
        owed in proptest::collection::btree_map(any::<[u8; 16]>(), any::<u64>(), 0..4),
        owed_all: u64,
    ) -> Device {
        let mut kept = Repeats::default();
        repeats.iter().for_each(|(id, of, (seq, time_ms, _))| kept.push(id, [*of; 16], *seq, *time_ms));
        let mut keep = repeats.iter().map(|(_, _, (_, _, keep))| *keep);
        kept.retain(|_| keep.next().unwrap_or(true));
        Device {
            changes,
            receives,
            seen_s,
            receipts,
            repeats: kept,
            owed: owed.into_iter().map(|(conversation, version)| Owed { conversation, version }).collect(),
            owed_all,
        }
    }
}

fn rare() -> impl Strategy<Value = Rare> {
    let ranges = || vec(any::<(u64, u64)>(), 0..3);
    (vec(any::<(u64, u64, u64)>(), 0..3), ranges(), ranges()).prop_map(|(skips, earlier, withheld)| {
        let skip = |(from, to, version)| SkipRange { from, to, reason: SkipReason::Expired, version };
        Rare { skips: skips.into_iter().map(skip).collect(), earlier, withheld }
    })
}

type Plain = (String, u16, Option<u8>, u32, [u64; 7], Vec<(u16, bool, u64, u64)>);

fn member(names: &mut Names, plain: Plain, rare: Rare) -> Member {
    let (name, only, role, rank, [from, to, delivered, read, version, read_version, owed], cursors) = plain;
    let cursor = |(device, fresh, acked, base)| Cursor { device, fresh, acked, base };
    Member {
        user: names.hold(&name),
        only,
        role: role.map(|role| group::role(role % 3).unwrap_or(Role::Member)),
        rank,
        from,
        to,
        delivered,
        read,
        version,
        read_version,
        owed,
        rare: (rare != Rare::default()).then(|| Box::new(rare)),
        cursors: cursors.into_iter().map(cursor).collect(),
    }
}

fn group_part() -> impl Strategy<Value = Group> {
    let bytes = || proptest::option::of(vec(any::<u8>(), 0..5).prop_map(Into::into));
    (any::<(u64, u32, bool, u64)>(), (bytes(), bytes(), bytes())).prop_map(|(plain, (name, description, picture))| {
        let (seq, next_rank, closed, expires) = plain;
        Group {
            seq,
            next_rank,
            profile: Profile { name, description, picture },
            rules: Rules { post: Who::Admins, add: Who::Everyone, edit: Who::Admins },
            invites: vec![Invite { hash: [7; 32], expires }],
            closed,
        }
    })
}

proptest! {
    #[test]
    fn user_rows_come_back_and_have_one_encoding(user in user()) {
        let mut bytes = Vec::new();
        user.encode(&mut bytes);
        prop_assert_eq!(User::decode(&bytes), Ok(user));
    }

    #[test]
    fn device_rows_come_back_and_have_one_encoding(device in device()) {
        let mut bytes = Vec::new();
        device.encode(&mut bytes);
        prop_assert_eq!(Device::decode(&bytes), Ok(device));
    }

    #[test]
    fn conversation_rows_come_back_and_have_one_encoding(
        members in vec((any::<Plain>(), rare(), any::<bool>()), 0..4),
        (changes, head, below) in any::<(u16, u32, u32)>(),
        mut gaps in vec(1..u64::from(u32::MAX), 0..4),
        group in group_part(),
        kind in prop_oneof![Just(Kind::Direct), Just(Kind::Device), Just(Kind::Group)],
    ) {
        let mut names = Names::default();
        let mut row = Conversation::new(kind);
        (row.changes, row.head) = (changes, u64::from(head));
        row.floor = 1 + row.head.saturating_sub(below.into());
        gaps.sort_unstable();
        gaps.dedup();
        row.gaps = gaps.chunks_exact(2).map(|gap| (2 * gap[0], 2 * gap[1])).filter(|gap| gap.1 <= row.head).collect();
        for (plain, rare, there) in members {
            row.members.push(there.then(|| member(&mut names, plain, rare)));
        }
        row.group = (kind == Kind::Group).then(|| Box::new(group));
        let mut bytes = Vec::new();
        row.encode(&names, &mut bytes);
        prop_assert_eq!(Conversation::decode(&bytes, &mut names), Ok(row));
    }

    #[test]
    fn what_is_read_from_changed_bytes_is_written_as_those_bytes(
        user in user(),
        device in device(),
        at in any::<prop::sample::Index>(),
        flip in 1..=255_u8,
    ) {
        let (mut one, mut two) = (Vec::new(), Vec::new());
        user.encode(&mut one);
        device.encode(&mut two);
        for (bytes, is_user) in [(&mut one, true), (&mut two, false)] {
            let at = at.index(bytes.len());
            bytes[at] ^= flip;
            let mut again = Vec::new();
            let read = if is_user {
                User::decode(bytes).map(|row| row.encode(&mut again))
            } else {
                Device::decode(bytes).map(|row| row.encode(&mut again))
            };
            if read.is_ok() {
                prop_assert_eq!(&again, bytes);
            }
        }
    }
}

proptest! {
    /// Ids are found until they are confirmed or pushed out. A log that has the messages, and what was confirmed before a message
    /// that would push out an id, makes the same list.
    #[test]
    fn remembered_ids_are_those_that_were_not_confirmed_i4(
        commands in vec(proptest::option::weighted(0.4, any::<prop::sample::Index>()), 0..700),
    ) {
        let (mut repeats, mut logged, mut model) = (Repeats::default(), Repeats::default(), Vec::new());
        for (n, confirm) in commands.iter().enumerate() {
            match confirm {
                Some(index) if !model.is_empty() => {
                    let n = model.remove(index.index(model.len()));
                    prop_assert!(repeats.confirm(&[7; 16], n as u64));
                    prop_assert!(!repeats.confirm(&[7; 16], n as u64));
                }
                _ => {
                    if logged.len() >= repeats::MAX_REPEATS {
                        logged.forget(&repeats.confirmed());
                    }
                    if model.len() >= repeats::MAX_REPEATS {
                        model.remove(0);
                    }
                    model.push(n);
                    for repeats in [&mut repeats, &mut logged] {
                        repeats.push(&n.to_le_bytes(), [7; 16], n as u64, 0);
                    }
                }
            }
        }
        for n in 0..commands.len() {
            let found = repeats.find(&n.to_le_bytes()).map(|repeat| repeat.seq as usize);
            prop_assert_eq!(found, model.contains(&n).then_some(n));
        }
        logged.forget(&repeats.confirmed());
        prop_assert_eq!(&logged, &repeats);
        prop_assert!(repeats.confirmed().also.len() <= repeats::MAX_REPEATS);
    }
}

#[test]
fn a_device_row_with_all_its_ids_is_small() {
    let mut device = Device::default();
    for n in 0..300_u128 {
        let conversation = [n as u8 / 32; 16];
        device.repeats.push(&n.to_le_bytes(), conversation, n as u64, 1_700_000_000_000 + 100 * n as u64);
    }
    let mut bytes = Vec::new();
    device.encode(&mut bytes);
    assert_eq!(device.repeats.len(), repeats::MAX_REPEATS);
    assert!(bytes.len() < 23 * repeats::MAX_REPEATS, "{} bytes", bytes.len());
}

#[test]
fn a_row_of_a_later_version_is_unknown_not_empty() {
    let mut bytes = Vec::new();
    User::default().encode(&mut bytes);
    bytes[0] = VERSION + 1;
    let unknown = crate::bytes::Malformed::Unknown { what: "user row", found: VERSION + 1 };
    assert_eq!(User::decode(&bytes), Err(unknown));
}

#[test]
fn names_of_a_conversation_that_cannot_be_read_are_released() {
    let mut names = Names::default();
    let ann = names.hold("ann");
    let mut row = Conversation::new(Kind::Direct);
    row.members.push(Some(Member::new(ann, 0, 1)));
    let mut bytes = Vec::new();
    row.encode(&names, &mut bytes);
    names.release(ann);
    for cut in 0..bytes.len() {
        assert!(Conversation::decode(&bytes[..cut], &mut names).is_err());
        assert!(names.is_empty());
    }
}
