//! Receipts of a group come four times a second, whatever its members do.

use super::*;
use wire::types::Hello;

/// A group is told this often at most, ms.
const BURST_MS: u64 = 250;

/// Bursts that came: receipts that were written in one turn.
fn bursts(rig: &mut Rig<SimDisk>, client: Client) -> (usize, usize) {
    let got = rig.got(client);
    let frames = got.iter().filter(|g| matches!(g, Got::Receipts { .. })).count();
    (usize::from(frames > 0), frames)
}

#[test]
fn a_thousand_readers_at_once_are_a_trickle_to_the_author_s13() {
    let large = LogOptions { segment_bytes: 64 << 20, ..LogOptions::default() };
    let mut rig = Rig::open(SimDisk::new(1), Config::default(), large, START, Default::default());
    let others: Vec<String> = (0..1023).map(|n| format!("user {n}")).collect();
    let readers: Vec<Client> = others.iter().map(|name| rig.join(name, 1, true)).collect();
    let ann = rig.join("ann", 1, true);
    rig.got(ann);
    let members = others.iter().map(|name| name.as_str().into()).collect();
    feed(&mut rig, ann, None, b"1", Change::Created { members, profile: named(b"crowd"), rules: Rules::default() });
    rig.turn();
    let got = rig.got(ann);
    let at = conversation(&got);
    keep(&mut rig, ann, at, &got);
    for n in 0..20_u8 {
        rig.feed(ann, &rig::message(Target::Conversation(at), &[2, n], b"hello"));
    }
    rig.turn();
    rig.got(ann);
    let (mut told, mut frames) = (0, 0);
    // One second in which everybody acknowledges and reads twenty times.
    for seq in 2..22 {
        rig.now.mono_ms += 50;
        rig.now.wall_ms += 50;
        for &reader in &readers {
            rig.feed(reader, &ClientFrame::Ack(Ack { conversation: Some(at), seq, ..Ack::default() }));
            let authors = vec!["ann".into()];
            rig.feed(reader, &ClientFrame::Read(wire::types::Read { conversation: at, seq, authors }));
        }
        rig.turn();
        let (burst, more) = bursts(&mut rig, ann);
        (told, frames) = (told + burst, frames + more);
    }
    assert!((1..=4).contains(&told), "{told} bursts");
    assert!(frames <= 4 * 9, "{frames} frames");
}

#[test]
fn who_reconnects_again_and_again_is_told_no_more_often() {
    let mut p = party_in(Rig::open(SimDisk::new(1), Config::default(), limits::large(), START, Default::default()));
    let mut seq = head(&p.rig, p.at).unwrap();
    for n in 0..200_u8 {
        p.rig.feed(p.bob, &rig::message(Target::Conversation(p.at), &[7, n], b"hello"));
        p.rig.turn();
        p.rig.feed(p.ann, &rig::message(Target::Conversation(p.at), &[8, n], b"hello"));
        p.rig.turn();
        confirm_sends(&mut p.rig, p.ann);
        confirm_sends(&mut p.rig, p.bob);
    }
    let mut ack = |p: &mut Party| {
        seq += 2;
        p.rig.feed(p.cal, &ClientFrame::Ack(Ack { conversation: Some(p.at), seq, ..Ack::default() }));
        p.rig.pass(10);
    };
    for _ in 0..20 {
        ack(&mut p);
        p.rig.cut(p.ann);
        p.ann = p.rig.join("ann", 1, true);
    }
    let mut told = 0;
    for _ in 0..100 {
        ack(&mut p);
        told += bursts(&mut p.rig, p.ann).0;
    }
    assert!(told as u64 <= 1 + 1000 / BURST_MS + 1, "{told} times in a second");
}

fn confirm_sends(rig: &mut Rig<SimDisk>, client: Client) {
    let accepted = accepted(&rig.got(client));
    rig.feed(client, &ClientFrame::Ack(Ack { accepted, ..Ack::default() }));
}

/// Ann returns to `count` groups of as many `members`, in three of which somebody has acknowledged what she said there: she is
/// told of those.
fn returns(count: usize, members: usize) {
    let large = LogOptions { segment_bytes: 64 << 20, ..LogOptions::default() };
    let mut rig = Rig::open(SimDisk::new(1), Config::default(), large, START, Default::default());
    let [ann, bob] = ["ann", "bob"].map(|name| rig.join(name, 1, true));
    let absent: Vec<String> = (2..members).map(|n| format!("user {n}")).collect();
    absent.iter().for_each(|name| rig.node.create_user(0, name));
    let others: Vec<_> = std::iter::once("bob").chain(absent.iter().map(String::as_str)).map(Into::into).collect();
    let mut groups = Vec::new();
    for n in 0..count as u32 {
        let (members, rules) = (others.clone(), Rules::default());
        feed(&mut rig, ann, None, &n.to_be_bytes(), Change::Created { members, profile: named(b"a group"), rules });
        rig.turn();
        let at = wire::ids::group_id("ann", 1, &n.to_be_bytes());
        rig.feed(ann, &rig::message(Target::Conversation(at), &[&b"hello"[..], &n.to_be_bytes()].concat(), b"hello"));
        let accepted = smallvec![(at, 1), (at, 2)];
        rig.feed(ann, &ClientFrame::Ack(Ack { conversation: Some(at), seq: 1, accepted, ..Ack::default() }));
        rig.ack(bob, at, 1);
        groups.push(at);
    }
    rig.got(bob);
    rig.pass(1_000);
    let got = rig.got(ann);
    let version = |g: &Got| if let Got::Receipts { version, .. } = g { Some(*version) } else { None };
    let receipts = kept(got.iter().rev().find_map(version).unwrap());
    rig.feed(ann, &ClientFrame::Ack(Ack { receipts: receipts.clone(), ..Ack::default() }));
    rig.turn();
    rig.cut(ann);
    for &at in groups.iter().step_by(count / 3).take(3) {
        rig.ack(bob, at, 2);
    }
    let ann = rig.join_with("ann", 1, Hello { protocol: 1, receive: true, receipts, ..Hello::default() });
    rig.pass(1_000);
    let told = |g: &Got| if let Got::Receipts { conversation, .. } = g { Some(*conversation) } else { None };
    let mut told: Vec<ConversationId> = rig.got(ann).iter().filter_map(told).collect();
    told.sort_unstable();
    let mut expected: Vec<ConversationId> = groups.iter().step_by(count / 3).take(3).copied().collect();
    expected.sort_unstable();
    assert_eq!(told, expected);
}

#[test]
fn a_return_to_500_groups_tells_only_what_changed_s13() {
    for (count, members) in [(50, 20), (500, 20), (50, 200)] {
        returns(count, members);
    }
}
