//! Who was a member and has left memory since.

use super::*;
use wire::types::Read;

/// Dan is away, so that what is said waits; cal says something, leaves, and leaves memory.
fn without_cal() -> (Party, u64) {
    let mut p = party_in(rig_with(Config { quiet_ms: 1_000, ..forgetful() }));
    p.rig.cut(p.dan);
    assert_eq!(say(&mut p.rig, p.cal, p.at, b"1"), None);
    let said = head(&p.rig, p.at).unwrap();
    assert_eq!(p.wish(p.cal, b"2", Change::Left { successor: "".into() }), None);
    for _ in 0..2 {
        for client in [p.ann, p.bob, p.cal, p.eve] {
            collect(&mut p.rig, client, p.at);
        }
        p.rig.pass(1_100);
    }
    p.rig.cut(p.cal);
    p.rig.cut(p.eve);
    for _ in 0..100 {
        p.rig.pass(500);
        [p.ann, p.bob].into_iter().for_each(|client| _ = p.rig.feed(client, &ClientFrame::Ping { nonce: 1 }));
    }
    p.rig.got(p.ann);
    p.rig.got(p.bob);
    (p, said)
}

fn progress(rig: &mut Rig<SimDisk>, by: Client, at: ConversationId, seq: u64) -> Result<Vec<String>, String> {
    rig.got(by);
    rig.feed(by, &ClientFrame::ProgressGet { conversation: at, seq });
    rig.turn();
    let got = rig.got(by);
    match &got[..] {
        [Got::Progress { cursors, .. }] => Ok(cursors.iter().map(|c| c.user.clone()).collect()),
        _ => Err(codes(&got).concat()),
    }
}

#[test]
fn nobody_is_taken_for_one_who_was_a_member_i7_i8() {
    let (mut p, said) = without_cal();
    let newcomers = ["new 1", "new 2", "new 3"].map(|name| p.rig.join(name, 1, true));
    assert_eq!(progress(&mut p.rig, p.ann, p.at, said - 1).unwrap(), ["ann", "bob", "cal", "dan"]);
    assert_eq!(progress(&mut p.rig, p.ann, p.at, said).unwrap(), ["ann", "bob", "dan"]);
    let added = Change::Added(names(&["new 1", "new 2", "new 3"]));
    assert_eq!(p.wish(p.ann, b"3", added), None);
    for client in newcomers {
        assert_eq!(progress(&mut p.rig, client, p.at, said), Err("unknown_message".into()));
        p.rig.got(client);
    }
    // Who gets what cal said tells nobody else.
    p.dan = p.rig.join("dan", 1, true);
    collect(&mut p.rig, p.dan, p.at);
    p.rig.pass(300);
    for client in newcomers {
        let got = p.rig.got(client);
        assert!(!got.iter().any(|g| matches!(g, Got::Receipts { .. })), "{got:?}");
    }
}

#[test]
fn a_read_that_names_an_author_who_is_no_more_tells_the_others_i7() {
    for restarted in [false, true] {
        let (mut p, said) = without_cal();
        if restarted {
            p = p.restart();
        }
        p.rig.got(p.bob);
        p.rig.got(p.ann);
        let authors = ["cal", "nobody", "ann"].map(Into::into).to_vec();
        p.rig.feed(p.bob, &ClientFrame::Read(Read { conversation: p.at, seq: said, authors }));
        p.rig.turn();
        p.rig.pass(300);
        assert_eq!(codes(&p.rig.got(p.bob)), [""; 0], "restarted: {restarted}");
        let got = p.rig.got(p.ann);
        let read = |g: &Got| match g {
            Got::Receipts { cursors, .. } => cursors.iter().any(|c| (c.user.as_str(), c.read) == ("bob", said)),
            _ => false,
        };
        assert!(got.iter().any(read), "restarted: {restarted}, {got:?}");
    }
}
