//! A change that is wanted again with the same id is the same change (I4).

use super::*;

fn accepted(got: &[Got]) -> Vec<(Vec<u8>, ConversationId, u64)> {
    got.iter()
        .filter_map(|g| match g {
            Got::Accepted { id, conversation, seq } => Some((id.clone(), *conversation, *seq)),
            _ => None,
        })
        .collect()
}

fn twice(rig: &mut Rig<SimDisk>, by: Client, at: Option<ConversationId>, id: &[u8], change: &Change<'_>) -> Vec<Got> {
    rig.got(by);
    feed(rig, by, at, id, change.clone());
    rig.turn();
    rig.got(by)
}

#[test]
fn a_repeat_is_the_same_before_and_after_it_is_durable_and_after_a_crash_i4() {
    let mut rig = rig();
    let [ann, _bob] = ["ann", "bob"].map(|name| rig.join(name, 1, true));
    rig.got(ann);
    rig.hold_disk = true;
    let wanted = created(&["bob"]);
    feed(&mut rig, ann, None, b"1", wanted.clone());
    feed(&mut rig, ann, None, b"1", wanted.clone());
    rig.turn();
    assert!(rig.got(ann).is_empty());
    rig.hold_disk = false;
    rig.turn();
    let first = accepted(&rig.got(ann));
    assert_eq!((first.len(), first[0].2), (2, 1));
    assert_eq!(first[0], first[1]);
    let at = first[0].1;
    assert_eq!(accepted(&twice(&mut rig, ann, None, b"1", &wanted)), first[..1]);
    let changes = [
        Change::Promoted(names(&["bob"])),
        Change::Demoted(names(&["bob"])),
        Change::Removed(names(&["bob"])),
        Change::Left { successor: "".into() },
    ];
    for (n, change) in (2u8..).zip(&changes) {
        let first = accepted(&twice(&mut rig, ann, Some(at), &[n], change));
        assert_eq!(first, [(vec![n], at, u64::from(n))]);
        assert_eq!(accepted(&twice(&mut rig, ann, Some(at), &[n], change)), first);
    }
    let mut rig = restart(rig);
    let ann = rig.join("ann", 1, true);
    for (n, change) in (2u8..).zip(&changes) {
        assert_eq!(accepted(&twice(&mut rig, ann, Some(at), &[n], change)), [(vec![n], at, u64::from(n))]);
    }
    assert_eq!(accepted(&twice(&mut rig, ann, None, b"1", &wanted)), first[..1]);
    assert_eq!(head(&rig, at), Some(5));
}

#[test]
fn an_id_is_of_one_thing_only_i4() {
    let mut p = party();
    let other = create(&mut p.rig, p.ann, b"other", &[]);
    assert_eq!(p.wish(p.ann, b"1", Change::Promoted(names(&["cal"]))), None);
    let mut codes_of = |at, change: Change<'_>| {
        let got = twice(&mut p.rig, p.ann, at, b"1", &change);
        codes(&got).first().map(|code| (*code).to_owned())
    };
    assert_eq!(codes_of(Some(other), Change::Closed).as_deref(), Some("id_reused"));
    assert_eq!(codes_of(None, created(&[])).as_deref(), Some("id_reused"));
    assert_eq!(codes_of(Some(p.at), Change::Closed), None, "the same group: the same change, whatever is in it");
    p.rig.send(p.ann, "bob", b"1", b"x");
    assert_eq!(codes(&p.rig.got(p.ann)), ["id_reused"], "sends and changes share their ids");
    p.rig.send(p.ann, "bob", b"2", b"x");
    p.rig.got(p.ann);
    assert_eq!(p.wish(p.ann, b"2", Change::Closed).as_deref(), Some("id_reused"));
}

#[test]
fn a_group_is_not_made_again_with_an_id_that_was_forgotten() {
    let mut p = party();
    p.rig.got(p.ann);
    let state = &p.rig.node.partition.state;
    let (ann, _) = state.user_named("ann").unwrap();
    assert_eq!(state.device(ann, 1).unwrap().row.repeats.len(), 0, "confirmed");
    let got = twice(&mut p.rig, p.ann, None, b"g", &created(&["eve"]));
    assert_eq!(codes(&got), ["id_reused"]);
    assert_eq!(p.members().len(), 4);
    assert_eq!(say(&mut p.rig, p.ann, p.at, b"g"), None, "as a message it is new");
}

#[test]
fn changes_and_sends_keep_their_order() {
    let mut rig = rig_with(forgetful());
    rig.node.create_user(0, "frank");
    quiet(&mut rig);
    assert!(rig.node.partition.state.user_named("frank").is_none());
    let mut p = party_in(rig);
    p.rig.got(p.ann);
    p.rig.hold_store = true;
    feed(&mut p.rig, p.ann, Some(p.at), b"1", Change::Added(names(&["frank"])));
    p.rig.feed(p.ann, &rig::message(Target::Conversation(p.at), b"2", b"welcome"));
    feed(&mut p.rig, p.ann, Some(p.at), b"3", Change::Promoted(names(&["frank"])));
    p.rig.turn();
    assert!(accepted(&p.rig.got(p.ann)).is_empty());
    while !p.rig.held.is_empty() {
        p.rig.release();
    }
    let numbers: Vec<_> = accepted(&p.rig.got(p.ann)).into_iter().map(|a| (a.0, a.2)).collect();
    assert_eq!(numbers, [(b"1".to_vec(), 3), (b"2".to_vec(), 4), (b"3".to_vec(), 5)]);
}

#[test]
fn a_full_disk_refuses_a_change_and_takes_it_later() {
    let mut p = party();
    p.rig.node.space(false);
    // What is left of the segment is for clients, but for an eighth.
    let left = (0..1000u16).take_while(|n| say(&mut p.rig, p.ann, p.at, &n.to_be_bytes()).is_none()).count();
    assert!(left < 1000);
    assert_eq!(p.wish(p.ann, b"1", Change::Promoted(names(&["cal"]))).as_deref(), Some("storage_full"));
    p.rig.node.space(true);
    assert_eq!(p.wish(p.ann, b"1", Change::Promoted(names(&["cal"]))), None);
}
