//! Who asks for much, and to whom much is owed.

use super::*;
use crate::engine::Engine;

/// A group of 1,024 with a picture; ann's.
fn large_group(rig: &mut Rig<SimDisk>, ann: Client, id: &[u8]) -> ConversationId {
    let others: Vec<String> = (0..1023).map(|n| format!("user {n}")).collect();
    others.iter().for_each(|name| rig.engine.create_user(name));
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

/// Bytes of the largest write, of those that are owed now.
fn largest_write(rig: &mut Rig<SimDisk>) -> usize {
    let mut most = 0;
    while let Some(write) = rig.engine.next_write() {
        most = most.max(write.data.len());
        rig.wires.get_mut(&write.user).unwrap().add(write.data);
    }
    most
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
            let user = rig.engine.directory.find("ann").unwrap();
            let blocked = (0..1000).map(|n| format!("{n:064}").into()).collect();
            rig.engine.directory.get_mut(user).unwrap().blocked = blocked;
        }
        rig.got(ann);
        let mut bytes: Vec<u8> = (0..count).flat_map(|_| rig::framed(&question)).collect();
        rig.engine.data(ann.conn, &mut bytes);
        let mut answers = 0;
        for _ in 0..20_000 {
            let most = largest_write(&mut rig);
            assert!(most <= bound, "{most} bytes at once");
            rig.pass(50);
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
    rig.engine.create_user("bob");
    for n in 0..40_u8 {
        let at = large_group(&mut rig, ann, &[n]);
        assert_eq!(manage(&mut rig, ann, at, &[n, 1], Change::Removed(vec!["user 0".into()])), None);
        assert_eq!(manage(&mut rig, ann, at, &[n, 2], Change::Added(names(&["bob"]))), None);
    }
    let (wire, conn) = rig.open_raw();
    let bob = Client { wire, conn };
    let mut bytes = crate::link::MAGIC.to_vec();
    let hello = crate::wire::types::Hello { protocol: 1, receive: true, ..Default::default() };
    bytes.extend(rig::framed(&ClientFrame::Hello(hello)));
    rig.engine.data(conn, &mut bytes);
    rig.engine.admit(conn, crate::engine::Identity { user: "bob".into(), device: 1, expires_ms: 0 });
    let mut snapshots = 0;
    for _ in 0..100 {
        let Engine { delivery, directory, conns, .. } = &mut rig.engine;
        delivery.run(directory, conns, 1);
        let most = largest_write(&mut rig);
        assert!(most <= rig.config.out_bytes, "{most} bytes at once");
        snapshots += rig.got(bob).iter().filter(|g| matches!(g, Got::Group(_))).count();
    }
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
        rig.engine.set_now(rig.now);
        let mut more = true;
        while more {
            let before = rig.engine.stats().expired_total;
            more = rig.engine.run();
            let expired = rig.engine.stats().expired_total - before;
            assert!(expired <= 1, "hour {hour}: {expired} in one turn");
        }
        rig.turn();
    }
    assert_eq!(rig.engine.stats().expired_total, u64::from(groups));
}

#[test]
fn who_blocks_and_unblocks_without_end_fills_no_more_log_than_its_sends_could_i6() {
    let mut rig = large_rig();
    let ann = rig.join("ann", 1, true);
    rig.engine.create_user("bob");
    rig.turn();
    // Its state is large: what it sent is remembered until it confirms that it saw that.
    for n in 0..256_u32 {
        rig.feed(ann, &rig::message(Target::User("bob".into()), &[&[7; 28][..], &n.to_be_bytes()].concat(), b"x"));
        rig.turn();
    }
    rig.got(ann);
    let before = rig.engine.stats().log_bytes_total;
    let toggle = |n: u32| rig::framed(&ClientFrame::Block { user: "bob".into(), off: n % 2 == 1 });
    let mut bytes: Vec<u8> = (0..5000).flat_map(toggle).collect();
    rig.engine.data(ann.conn, &mut bytes);
    let logged = rig.engine.stats().log_bytes_total - before;
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
    p.rig.hold_cold = true;
    let ann = p.rig.join("ann", 1, true);
    p.rig.release();
    p.rig.got(ann);
    let mut bytes = rig::framed(&ClientFrame::GroupGet { conversation: Some(p.at) });
    let pings = 10_000;
    (0..pings).for_each(|nonce| bytes.extend(rig::framed(&ClientFrame::Ping { nonce })));
    p.rig.engine.data(ann.conn, &mut bytes);
    p.rig.turn();
    p.rig.release();
    for _ in 0..10 {
        p.rig.pass(50);
    }
    let got = p.rig.got(ann);
    let pongs = got.iter().filter(|g| matches!(g, Got::Pong(_))).count();
    assert_eq!(pongs as u64, pings);
}
