//! Who asks for much, and to whom much is owed.

use super::*;
use wire::types::Hello;

/// A group of 1,024 with a picture; ann's.
fn large_group(rig: &mut Rig<SimDisk>, ann: Client, id: &[u8]) -> ConversationId {
    let others: Vec<String> = (0..1023).map(|n| format!("user {n}")).collect();
    others.iter().for_each(|name| rig.node.create_user(0, name));
    let profile = Profile { picture: Some(vec![7; 32 << 10].into()), ..Profile::default() };
    let members = others.iter().map(|name| name.as_str().into()).collect();
    rig.got(ann);
    feed(rig, ann, None, id, Change::Created { members, profile, rules: Rules::default() });
    rig.turn();
    let got = rig.got(ann);
    let at = conversation(&got);
    keep(rig, ann, at, &got);
    at
}

fn large_rig() -> Rig<SimDisk> {
    let large = LogOptions { segment_bytes: 64 << 20, ..LogOptions::default() };
    Rig::open(SimDisk::new(1), Config::default(), large, START, Default::default())
}

#[test]
fn answers_to_one_read_are_bounded_however_many_questions_it_has_i6() {
    let mut rig = large_rig();
    let ann = rig.join("ann", 1, true);
    let at = large_group(&mut rig, ann, b"1");
    let bound = 2 * rig.config.out_bytes;
    for (question, count) in [
        (ClientFrame::GroupGet { conversation: Some(at) }, 300),
        (ClientFrame::ProgressGet { conversation: at, seq: 1 }, 300),
        (ClientFrame::Block { user: "".into(), off: false }, 2000),
    ] {
        if let ClientFrame::Block { .. } = question {
            for n in 0..1000 {
                let user = format!("{n:064}");
                rig.node.create_user(0, &user);
                rig.feed(ann, &ClientFrame::Block { user: user.as_str().into(), off: false });
                rig.pass(50);
                rig.got(ann);
            }
        }
        rig.got(ann);
        let mut bytes: Vec<u8> = (0..count).flat_map(|_| rig::framed(&question)).collect();
        rig.node.data(ann.conn, &mut bytes);
        let mut answers = 0;
        for _ in 0..20_000 {
            rig.pass(50);
            let most = rig.wires[&ann.wire].largest;
            assert!(most <= bound, "{most} bytes at once");
            answers += rig
                .got(ann)
                .iter()
                .filter(|g| matches!(g, Got::Group(_) | Got::Progress { .. } | Got::Blocks(_)))
                .count();
            if answers == count {
                break;
            }
        }
        assert_eq!(answers, count, "each is answered, one after the other");
        assert!(!rig.closed(ann));
    }
}

#[test]
fn snapshots_count_towards_what_a_session_is_written_before_others_have_their_turn_i6() {
    let mut rig = large_rig();
    let ann = rig.join("ann", 1, true);
    rig.node.create_user(0, "bob");
    for n in 0..40_u8 {
        let at = large_group(&mut rig, ann, &[n]);
        assert_eq!(manage(&mut rig, ann, at, &[n, 1], Change::Removed(vec!["user 0".into()])), None);
        assert_eq!(manage(&mut rig, ann, at, &[n, 2], Change::Added(names(&["bob"]))), None);
    }
    let bob = rig.join_with("bob", 1, Hello { protocol: 1, receive: true, ..Hello::default() });
    let mut snapshots = 0;
    for _ in 0..100 {
        rig.pass(10);
        snapshots += rig.got(bob).iter().filter(|g| matches!(g, Got::Group(_))).count();
    }
    let most = rig.wires[&bob.wire].largest;
    assert!(most <= rig.config.out_bytes, "{most} bytes at once");
    assert_eq!(snapshots, 40);
}

#[test]
fn groups_that_expire_at_once_do_so_one_after_the_other_i11() {
    let mut rig = large_rig();
    let ann = rig.join("ann", 1, true);
    let groups = 8;
    for n in 0..groups {
        large_group(&mut rig, ann, &[n]);
    }
    let hold_ms = rig.config.hold_ms + 3_600_000;
    rig.cut(ann);
    for hour in 1..=hold_ms / 3_600_000 {
        rig.now.mono_ms += 3_600_000;
        rig.now.wall_ms += 3_600_000;
        rig.node.set_now(rig.now);
        let mut more = true;
        while more {
            let before = rig.node.stats().expired_total;
            more = rig.node.run();
            let expired = rig.node.stats().expired_total - before;
            assert!(expired <= 1, "hour {hour}: {expired} in one turn");
        }
        rig.turn();
    }
    assert_eq!(rig.node.stats().expired_total, u64::from(groups));
}

#[test]
fn who_blocks_and_unblocks_without_end_fills_no_more_log_than_its_sends_could_i6() {
    let mut rig = large_rig();
    let ann = rig.join("ann", 1, true);
    rig.node.create_user(0, "bob");
    rig.turn();
    // Its state is large: what it sent is remembered until it confirms that it saw that.
    for n in 0..256_u32 {
        rig.feed(ann, &rig::message(Target::User("bob".into()), &[&[7; 28][..], &n.to_be_bytes()].concat(), b"x"));
        rig.turn();
    }
    rig.got(ann);
    let before = rig.node.stats().log_bytes_total;
    let toggle = |n: u32| rig::framed(&ClientFrame::Block { user: "bob".into(), off: n % 2 == 1 });
    let mut bytes: Vec<u8> = (0..5000).flat_map(toggle).collect();
    rig.node.data(ann.conn, &mut bytes);
    let logged = rig.node.stats().log_bytes_total - before;
    assert!(logged <= 5 * u64::from(rig.config.unaccepted_bytes), "{logged} bytes for {}", bytes.len());
    let mut answers = 0;
    for _ in 0..200 {
        rig.pass(50);
        answers += rig.got(ann).iter().filter(|g| matches!(g, Got::Blocks(_))).count();
    }
    assert_eq!(answers, 5000, "each is answered");
}

#[test]
fn frames_that_waited_for_an_answer_are_all_taken_up_however_many_there_are() {
    let mut p = party();
    for client in p.all() {
        p.rig.cut(client);
    }
    quiet(&mut p.rig);
    p.rig.hold_store = true;
    let ann = p.rig.join("ann", 1, true);
    p.rig.release();
    p.rig.got(ann);
    let mut bytes = rig::framed(&ClientFrame::GroupGet { conversation: Some(p.at) });
    let pings = 10_000;
    (0..pings).for_each(|nonce| bytes.extend(rig::framed(&ClientFrame::Ping { nonce })));
    p.rig.node.data(ann.conn, &mut bytes);
    p.rig.turn();
    p.rig.release();
    for _ in 0..10 {
        p.rig.pass(50);
    }
    let got = p.rig.got(ann);
    let pongs = got.iter().filter(|g| matches!(g, Got::Pong(_))).count();
    assert_eq!(pongs as u64, pings);
}
