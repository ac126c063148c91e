//! A member leaves and returns: its mailboxes begin at its return, also after a crash that took the last second's cursors.

use partition::propose;

use super::*;

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
    let state = &p.rig.node.partition.state;
    let active = state.active(&p.at).unwrap();
    let (user, _) = state.user_named(name).unwrap();
    let member = active.row.member(active.member(user, 0).unwrap()).unwrap();
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
            image(&mut p.rig, p.at);
        }
        assert_eq!(p.wish(p.ann, b"6", Change::Added(names(&["eve"]))), None);
        let back = head(&p.rig, p.at).unwrap();
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
    let first = head(&p.rig, p.at).unwrap();
    assert_eq!(say(&mut p.rig, p.cal, p.at, b"2"), None);
    assert_eq!(p.wish(p.ann, b"3", Change::Removed(names(&["eve"]))), None);
    assert_eq!(say(&mut p.rig, p.cal, p.at, b"4"), None);
    assert_eq!(p.wish(p.ann, b"5", Change::Added(names(&["eve"]))), None);
    let (left, back) = (first + 2, first + 4);
    assert_eq!(head(&p.rig, p.at), Some(back));
    for restarted in [false, true] {
        if restarted {
            p = p.restart();
        } else {
            // As if nobody had looked for the whole time.
            let node = &mut p.rig.node;
            let later = Now { wall_ms: p.rig.now.wall_ms + node.config.hold_ms + 1_000, ..p.rig.now };
            let (state, config) = (&node.partition.state, node.config.partition());
            let records = propose::expire(state, later, &config, state.active(&p.at).unwrap()).unwrap();
            assert!(node.commit(&records));
            p.rig.turn();
            p.eve = p.rig.join("eve", 1, true);
        }
        let got = p.rig.got(p.eve);
        assert_eq!(missed(&got), [(first, left, 1), (back, back, 1)], "restarted: {restarted}, {got:?}");
    }
}

#[test]
fn a_start_gives_newcomers_the_mailboxes_that_were_decided_when_they_were_added() {
    let mut p = party();
    p.rig.join("eve", 2, true);
    assert_eq!(p.wish(p.ann, b"1", Change::Added(names(&["eve"]))), None);
    let before = mailboxes(&p, "eve");
    assert_eq!(before.1.len(), 2);
    // One more device, of which a start knows when it comes to the change if an image of her row stands before it.
    p.rig.cut(p.eve);
    let p = Party { rig: restart(p.rig), ..p };
    assert_eq!(mailboxes(&p, "eve"), before);
}
