//! A member leaves and returns: its mailboxes begin at its return, also after a crash that took the last second's cursors.

use super::*;
use crate::engine::Engine;
use crate::engine::binary::Reader;
use crate::engine::directory::UserState;
use crate::engine::records::kind;
use crate::log::{Appender, recover};

/// Ranges that this device is told it will never get.
fn missed(got: &[Got]) -> Vec<(u64, u64, u64)> {
    let skip = |g: &Got| match g {
        &Got::Skip { from, to, reason, ref user, .. } if user.is_empty() => Some((from, to, reason)),
        _ => None,
    };
    got.iter().filter_map(skip).collect()
}

/// Everybody acknowledges what came; the log does not learn of it yet.
fn take(p: &mut Party) {
    for client in p.all() {
        collect(&mut p.rig, client, p.at);
    }
}

/// A user's intervals in a group, and how far each of its devices has collected it.
type Mailboxes = (Vec<(u64, u64)>, Vec<(u16, u64)>);

fn mailboxes(p: &Party, name: &str) -> Mailboxes {
    mailboxes_in(&p.rig.engine, &p.at, name)
}

fn mailboxes_in(engine: &Engine, at: &ConversationId, name: &str) -> Mailboxes {
    let conversation = engine.delivery.get(engine.delivery.find(at).unwrap()).unwrap();
    let index = conversation.member(engine.directory.find(name).unwrap(), 0).unwrap();
    let member = &conversation.members[index];
    let mut cursors: Vec<_> = member.cursors.iter().map(|c| (c.device, c.acked)).collect();
    cursors.sort_unstable();
    ([member.earlier(), &[(member.from, member.to)]].concat(), cursors)
}

#[test]
fn leave_then_rejoin_then_crash_sends_no_skip_i3() {
    for case in 0..64 {
        let late = |bit: u32| case & 1 << bit != 0;
        let mut p = party();
        assert_eq!(p.wish(p.ann, b"1", Change::Added(names(&["eve"]))), None);
        assert_eq!(say(&mut p.rig, p.cal, p.at, b"2"), None);
        take(&mut p);
        if late(0) {
            p.rig.pass(1_100);
        }
        let away = late(1);
        if away {
            p.rig.cut(p.eve);
            p.eve = p.rig.join("eve", 2, true);
        }
        assert_eq!(p.wish(p.ann, b"3", Change::Removed(names(&["eve"]))), None);
        take(&mut p);
        if late(2) {
            p.rig.pass(1_100);
        }
        for id in [b"4", b"5"] {
            assert_eq!(say(&mut p.rig, p.cal, p.at, id), None);
        }
        take(&mut p);
        if late(3) {
            p.rig.pass(1_100);
        }
        if late(4) {
            // Nobody is owed a receipt: the state does not name who is gone.
            p.collect();
            p.collect();
            let slot = p.rig.engine.delivery.find(&p.at).unwrap();
            p.rig.engine.log_conversation(slot);
            p.rig.turn();
        }
        assert_eq!(p.wish(p.ann, b"6", Change::Added(names(&["eve"]))), None);
        let back = p.rig.engine.sequencer.head(&p.at).unwrap();
        if late(5) {
            p.rig.pass(1_100);
        }
        let before = mailboxes(&p, "eve");
        let p = Party { rig: restart(p.rig), ..p };
        assert_eq!(mailboxes(&p, "eve"), before, "case {case:06b}");
        let mut p = p.restart();
        let got = p.rig.got(p.eve);
        assert_eq!((missed(&got), seqs(&got).last()), (vec![], Some(&back)), "case {case:06b}: {got:?}");
    }
}

#[test]
fn expiry_across_an_absence_skips_only_what_lies_in_the_intervals_i8() {
    let mut p = party_in(rig_with(Config { hold_ms: 3_600_000 * 24, ..Config::default() }));
    assert_eq!(p.wish(p.ann, b"1", Change::Added(names(&["eve"]))), None);
    p.rig.cut(p.eve);
    let first = p.rig.engine.sequencer.head(&p.at).unwrap();
    assert_eq!(say(&mut p.rig, p.cal, p.at, b"2"), None);
    assert_eq!(p.wish(p.ann, b"3", Change::Removed(names(&["eve"]))), None);
    assert_eq!(say(&mut p.rig, p.cal, p.at, b"4"), None);
    assert_eq!(p.wish(p.ann, b"5", Change::Added(names(&["eve"]))), None);
    let (left, back) = (first + 2, first + 4);
    assert_eq!(p.rig.engine.sequencer.head(&p.at), Some(back));
    for restarted in [false, true] {
        if restarted {
            p = p.restart();
        } else {
            let slot = p.rig.engine.delivery.find(&p.at).unwrap();
            let Engine { delivery, directory, .. } = &mut p.rig.engine;
            delivery.floor(directory, slot, back, crate::wire::types::SkipReason::Expired);
            p.rig.turn();
            p.eve = p.rig.join("eve", 1, true);
        }
        let got = p.rig.got(p.eve);
        assert_eq!(missed(&got), [(first, left, 1), (back, back, 1)], "restarted: {restarted}, {got:?}");
    }
}

#[test]
fn replay_gives_newcomers_the_mailboxes_that_were_decided_when_they_were_added() {
    let mut p = party();
    p.rig.join("eve", 2, true);
    assert_eq!(p.wish(p.ann, b"1", Change::Added(names(&["eve"]))), None);
    let before = mailboxes(&p, "eve");
    assert_eq!(before.1.len(), 2);
    // As if her state had been written anew, behind the change.
    let mut engine = Engine::new(p.rig.config.clone(), p.rig.now);
    let hers = |body: &[u8]| UserState::decode(&mut Reader::new(body)).is_some_and(|state| state.name == "eve");
    let recovered = recover(&p.rig.disk, &mut |record| {
        if record.kind != kind::USER || !hers(record.body) {
            engine.replay(&record);
        }
    });
    let recovered = recovered.unwrap();
    engine.start(&recovered, Appender::new(&recovered, &small_log()));
    assert_eq!(mailboxes_in(&engine, &p.at, "eve"), before);
}
