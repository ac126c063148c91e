//! What is left of a group when the disk lost some of it (I12).

use super::*;
use crate::engine::records::kind;
use crate::log::{Record, fsck};

/// Spoils the records of a log that `which` picks; how many those were.
fn spoil(disk: &SimDisk, which: impl Fn(&Record<'_>) -> bool) -> usize {
    let mut found = Vec::new();
    let mut see = |record: Record<'_>| {
        if which(&record) {
            found.push(record.at);
        }
    };
    fsck(disk, &mut |record| see(record)).unwrap();
    for at in &found {
        let name = format!("{:012}.seg", at.segment);
        let mut bytes = disk.contents(&name).unwrap();
        bytes[at.offset as usize] ^= 0xff;
        disk.put(&name, bytes);
    }
    found.len()
}

/// Something behind it, so that damage is no torn end.
fn go_on(p: &mut Party) {
    for n in 0..3u8 {
        p.rig.send(p.eve, "eve", &[n], b"x");
        p.rig.pass(1_100);
    }
}

fn about(record: &Record<'_>, at: ConversationId) -> bool {
    record.body.windows(16).any(|window| window == at)
}

#[test]
fn a_group_whose_state_is_lost_is_made_anew_from_its_messages_i12() {
    let mut p = party();
    assert_eq!(p.wish(p.ann, b"1", Change::Added(names(&["eve"]))), None);
    p.rig.cut(p.dan);
    assert_eq!(say(&mut p.rig, p.cal, p.at, b"2"), None);
    go_on(&mut p);
    let (disk, at) = (p.rig.disk.clone(), p.at);
    assert!(spoil(&disk, |record| record.kind == kind::CONVERSATION && about(record, at)) > 0);
    let mut p = p.restart();
    assert_eq!(p.members(), people(&[("ann", 2), ("bob", 1), ("cal", 0), ("dan", 0), ("eve", 0)]));
    assert!(seqs(&p.rig.got(p.dan)).contains(&4));
    assert_eq!(say(&mut p.rig, p.eve, p.at, b"3"), None);
    assert_eq!(head(&p.rig, p.at), Some(5), "no number twice (I2)");
    assert_eq!(p.rig.node.failed(), None);
}

#[test]
fn a_group_of_which_only_late_messages_are_left_gives_no_number_twice_i2() {
    let mut p = party();
    assert_eq!(say(&mut p.rig, p.cal, p.at, b"1"), None);
    go_on(&mut p);
    let (disk, at) = (p.rig.disk.clone(), p.at);
    let early = |record: &Record<'_>| {
        let message = wire::message::decode_stored(record.body).ok().filter(|_| record.kind == kind::MESSAGE);
        message.is_some_and(|message| message.conversation == at && message.seq < 3)
    };
    assert!(spoil(&disk, |r| early(r) || r.kind == kind::CONVERSATION && about(r, at)) > 0);
    let mut p = p.restart();
    assert_eq!(say(&mut p.rig, p.cal, p.at, b"2").as_deref(), Some("unknown_conversation"), "nobody knows whose it is");
    assert!(groups(&mut p.rig, p.cal).is_empty() || snapshot(&mut p.rig, p.cal, p.at).is_none());
    // The same wish makes it again, above all that was.
    p.rig.got(p.ann);
    feed(&mut p.rig, p.ann, None, b"g", created(&["cal"]));
    p.rig.turn();
    let got = p.rig.got(p.ann);
    assert!(got.iter().any(|g| matches!(g, Got::Accepted { seq: 4, .. })), "{got:?}");
    assert_eq!(say(&mut p.rig, p.cal, p.at, b"3"), None);
}
