//! Frames that wait for rows of the cold store: how often they are taken up, and how many at once.

use super::*;
use crate::engine::Key;
use crate::engine::turns::RESUMED_PER_TURN;
use crate::wire::types::Target;

/// Both sessions of one user send to the same `count` unknown names; how often a frame was taken up again.
fn resumed_by_strangers(count: usize) -> u64 {
    let mut rig = rig();
    let sessions = [1, 2].map(|device| rig.join("ann", device, false));
    sessions.iter().for_each(|session| drop(rig.got(*session)));
    let before = rig.engine.stats().resumed_total;
    rig.hold_cold = true;
    for n in 0..count {
        for session in sessions {
            rig.feed(session, &rig::message(Target::User(format!("nobody {n}").into()), &n.to_be_bytes(), b"x"));
        }
    }
    rig.turn();
    while !rig.held.is_empty() {
        let waiters = rig.engine.loading.values();
        assert!(waiters.map(Vec::len).all(|waiting| waiting <= sessions.len()), "one entry per connection and row");
        rig.release();
    }
    for session in sessions {
        assert_eq!(codes(&rig.got(session)), vec!["unknown_user"; count]);
    }
    rig.engine.stats().resumed_total - before
}

#[test]
fn sends_of_two_sessions_to_the_same_strangers_are_retried_once_per_answer_i6() {
    // Once when the frame before it is done, and once when its own rows are answered.
    for count in [1, 24, 48] {
        assert!(resumed_by_strangers(count) <= 2 * 2 * count as u64, "{count} sends");
    }
}

#[test]
fn an_answered_load_has_a_bounded_number_of_frames_taken_up_in_a_turn_i11() {
    let mut rig = rig();
    let sessions: Vec<_> = (1..=40).map(|n| rig.join(&format!("user {n}"), 1, false)).collect();
    sessions.iter().for_each(|session| drop(rig.got(*session)));
    rig.hold_cold = true;
    let pings = 200;
    for &session in &sessions {
        let mut bytes = rig::framed(&rig::message(Target::User("nobody".into()), b"1", b"x"));
        (0..pings).for_each(|nonce| bytes.extend(rig::framed(&ClientFrame::Ping { nonce })));
        rig.engine.data(session.conn, &mut bytes);
    }
    rig.turn();
    let before = rig.engine.stats().resumed_total;
    let keys: Vec<Key> = rig.engine.loading.keys().cloned().collect();
    keys.iter().for_each(|key| rig.engine.loaded(key, None));
    assert_eq!(rig.engine.stats().resumed_total, before, "nothing is taken up by the answer itself");
    let mut turns = 0;
    loop {
        let before = rig.engine.stats().resumed_total;
        let more = rig.engine.run();
        let taken = rig.engine.stats().resumed_total - before;
        assert!(taken <= RESUMED_PER_TURN as u64, "{taken} in one turn");
        turns += 1;
        if !more {
            break;
        }
    }
    assert!(turns > 1);
    rig.turn();
    for session in sessions {
        let got = rig.got(session);
        assert!(matches!(&got[0], Got::Error { code, .. } if code == "unknown_user"));
        let nonces: Vec<u64> =
            got[1..].iter().map(|g| if let Got::Pong(n) = g { *n } else { panic!("{g:?}") }).collect();
        assert_eq!(nonces, (0..pings).collect::<Vec<u64>>(), "in their order");
    }
}
