//! Sessions whose conversations and devices come and go: rows at rest, devices that end, and a new generation.

use std::collections::BTreeMap;

use seam::{Commands, Served};
use wire::types::{Ack, Change, ClientFrame, Manage, Send, Target};

use super::scenarios::{BOB, accepted, notified};
use super::{House, Out};
use crate::config::Config;
use crate::ids::{Position, RowKey};
use crate::partition::Want;
use crate::rest::Rest;

/// All rows rest that may.
fn rest_all(house: &mut House) -> BTreeMap<RowKey, (Position, Vec<u8>)> {
    let mut store = BTreeMap::new();
    for _ in 0..4 {
        house.partition.flush(&mut house.host, 1000).unwrap();
        house.sync();
        let state = &house.partition.state;
        // Conversations first, which may need rows of devices.
        let keys: Vec<RowKey> = state.rows().into_iter().rev().map(|row| row.0).collect();
        for key in keys {
            match house.partition.state.rest(&key, house.partition.state.synced) {
                Ok(Rest::Log(records)) => {
                    records.iter().for_each(|record| {
                        house.partition.commit(&mut house.host, std::slice::from_ref(record)).unwrap();
                    });
                }
                Ok(Rest::Write(write)) => {
                    let rows = write.rows.into_iter().filter_map(|(key, row)| Some((key, (write.position, row?))));
                    store.extend(rows);
                    house.partition.commit(&mut house.host, &[write.stored]).unwrap();
                }
                Ok(Rest::Busy | Rest::Unchanged) | Err(_) => {}
            }
        }
    }
    house.sync();
    store
}

/// What sessions wait for comes.
fn load(house: &mut House, store: &BTreeMap<RowKey, (Position, Vec<u8>)>) -> usize {
    let mut loaded = 0;
    for want in house.partition.wanted() {
        match want {
            Want::Rows(keys) => keys.iter().for_each(|key| {
                loaded += 1;
                let row = store.get(key).map(|(position, row)| (*position, &row[..]));
                house.partition.loaded(&mut house.host, key, row).unwrap();
            }),
            Want::Page { session, user, .. } => {
                house.partition.page(&mut house.host, (session, &user), vec![], true);
            }
            Want::Rest(_) => {}
        }
    }
    loaded
}

#[test]
fn device_that_returns_is_told_of_a_conversation_at_rest() {
    let mut house = House::new(Config::default());
    let ann = house.attach("ann", 1);
    let bob = house.attach("bob", 1);
    house.sync();
    house.send(ann.0, BOB);
    house.sync();
    let (direct, _) = accepted(&house.said(ann.1));
    house.partition.detach(&mut house.host, ann.0);
    house.partition.ack(&mut house.host, bob.0, &direct, 1).unwrap();
    let store = rest_all(&mut house);
    assert!(store.contains_key(&RowKey::Conversation(direct)) && house.partition.state.active(&direct).is_none());
    // Its rows are at rest as well.
    let address = seam::Address::new(99, 0);
    let who =
        seam::Attach { address, user: "ann", device: 1, receive: true, create: true, receipts: None, in_flight: &[] };
    let again = loop {
        match house.partition.attach(&mut house.host, &who) {
            Ok(again) => break again,
            Err(seam::Wait::Rows(keys)) => {
                for key in keys {
                    let row = store.get(&key).map(|(position, row)| (*position, &row[..]));
                    house.partition.loaded(&mut house.host, &key, row).unwrap();
                }
            }
            Err(wait) => unreachable!("{wait:?}"),
        }
    };
    house.host.out.said.clear();
    assert_eq!(house.partition.notify(&mut house.host, again, 100), Served::Reading);
    assert_eq!(load(&mut house, &store), 1);
    assert!(house.host.out.said.contains(&(address, Out::Owed(false))), "it is told when they came");
    let told = notified(&mut house, (again, address));
    let Some(Out::Receipts { cursors, .. }) = told.first() else { unreachable!("{told:?}") };
    assert_eq!(cursors[..], [("bob".to_owned(), 1, 0)]);
}

/// A session that takes nothing holds no conversation in memory, and misses nothing.
#[test]
fn receipts_that_were_listed_when_their_conversation_went_to_rest_are_taken_from_the_rows() {
    let mut house = House::new(Config::default());
    let ann = house.attach("ann", 1);
    let bob = house.attach("bob", 1);
    house.sync();
    house.send(ann.0, BOB);
    house.sync();
    let (direct, _) = accepted(&house.said(ann.1));
    notified(&mut house, ann);
    house.partition.ack(&mut house.host, bob.0, &direct, 1).unwrap();
    let store = rest_all(&mut house);
    assert!(house.partition.state.active(&direct).is_none());
    house.said(ann.1);
    let mut told = notified(&mut house, ann);
    while load(&mut house, &store) > 0 {
        told.extend(notified(&mut house, ann));
    }
    let Some(Out::Receipts { cursors, .. }) = told.first() else { unreachable!("{told:?}") };
    assert_eq!(cursors[..], [("bob".to_owned(), 1, 0)]);
}

#[test]
fn session_of_a_device_that_is_dropped_is_over() {
    let mut house = House::new(Config::default());
    let (ann, to_ann) = house.attach("ann", 1);
    house.sync();
    house.said(to_ann);
    let records = crate::propose::drop_device(&house.partition.state, "ann", 1).unwrap().unwrap();
    house.partition.commit(&mut house.host, &records).unwrap();
    assert_eq!(house.said(to_ann), [Out::Replaced]);
    house.send(ann, BOB);
    assert_eq!(house.said(to_ann), []);
    assert!(house.partition.state.users.iter().all(|(_, user)| user.sessions.is_empty()));
}

/// What a client may have had of the generation before is lost; it may acknowledge that, and gets the group as it is.
#[test]
fn conversation_enters_the_generation_when_a_device_attaches() {
    let mut house = House::new(Config::default());
    let ann = house.attach("ann", 1);
    let bob = house.attach("bob", 1);
    house.sync();
    let group = house.group(ann.0, &["bob"]);
    house.sync();
    house.partition.detach(&mut house.host, bob.0);
    let renewed = crate::propose::generation(&house.partition.state, Position(0), 0, Position(0)).unwrap();
    house.partition.commit(&mut house.host, &renewed).unwrap();
    house.sync();
    let bob = house.attach("bob", 1);
    house.sync();
    let base = crate::ids::generation_base(1);
    assert_eq!(house.partition.state.active(&group).unwrap().row.head, base);
    house.said(bob.1);
    house.credit(bob.0, 10, 10_000);
    assert!(matches!(house.said(bob.1)[0], Out::Snapshot { .. }));
    house.partition.ack(&mut house.host, bob.0, &group, base - 5).unwrap();
    assert!(!house.said(bob.1).iter().any(|out| matches!(out, Out::Refused { .. })));
}

/// What a frame reads of others is named before it is given; of a conversation only the user's own row of the index, whether there
/// is such a conversation or not (I8, I13).
#[test]
fn uses_names_rows_of_others_and_never_a_conversation_of_an_outsider() {
    let mut house = House::new(Config::default());
    let (ann, to_ann) = house.attach("ann", 1);
    let (bob, _) = house.attach("bob", 1);
    let (cid, _) = house.attach("cid", 1);
    house.sync();
    house.send(ann, BOB);
    house.sync();
    let (direct, _) = accepted(&house.said(to_ann));
    let send = |target| {
        let (id, body) = (b"1"[..].into(), b"hello"[..].into());
        ClientFrame::Send(Send { id, target, body, bodies: vec![], lists: vec![], media: vec![] })
    };
    let ack = |seq| ClientFrame::Ack(Ack { conversation: Some(direct), seq, ..Ack::default() });
    let uses = |house: &House, at, frame: &ClientFrame<'_>| {
        let mut rows = smallvec::SmallVec::new();
        house.partition.uses(at, frame, &mut rows);
        rows.into_vec()
    };
    let (peer, mine) = (RowKey::user("bob"), |name: &str| RowKey::member(name, &direct));
    assert_eq!(uses(&house, ann, &send(BOB)), [RowKey::user("bob")]);
    let by_id = send(Target::Conversation(direct));
    assert_eq!(uses(&house, ann, &by_id), [mine("ann"), peer.clone()]);
    assert_eq!(uses(&house, cid, &by_id), [mine("cid")]);
    assert_eq!(uses(&house, cid, &ack(1)), [mine("cid")]);
    // What was written to the session is in memory whatever others do.
    assert_eq!(uses(&house, bob, &ack(1)), [mine("bob")]);
    house.credit(bob, 10, 10_000);
    assert_eq!((uses(&house, bob, &ack(1)), uses(&house, bob, &ack(2))), (vec![], vec![mine("bob")]));
    let change = Change::Added(vec!["bob".into(), "dan".into()]);
    let manage = ClientFrame::Manage(Manage { id: b"2"[..].into(), conversation: Some(direct), change });
    assert_eq!(uses(&house, cid, &manage), [peer.clone(), RowKey::user("dan"), mine("cid")]);
    assert_eq!(uses(&house, cid, &ClientFrame::Block { user: "bob".into(), off: false }), [peer]);
    assert_eq!(uses(&house, cid, &ClientFrame::GroupGet { conversation: Some(direct) }), [mine("cid")]);
}
