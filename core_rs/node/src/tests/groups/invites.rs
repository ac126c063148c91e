//! Joining by a secret.

use super::*;

const SECRET: &[u8] = b"a secret of ours";

fn join(secret: &'static [u8]) -> Change<'static> {
    Change::Joined { hash: Hash::default(), secret: secret.into() }
}

fn invite(expires: u64) -> Change<'static> {
    Change::Invited(Invite { hash: sha(SECRET), expires })
}

#[test]
fn who_knows_the_secret_becomes_a_member_and_nobody_is_told_the_secret() {
    let mut p = party();
    assert_eq!(p.wish(p.eve, b"1", join(SECRET)).as_deref(), Some("bad_invite"));
    assert_eq!(p.wish(p.bob, b"2", invite(0)), None);
    assert_eq!(p.wish(p.eve, b"3", join(b"some other secret")).as_deref(), Some("bad_invite"));
    assert_eq!(p.wish(p.eve, b"4", join(SECRET)), None);
    let joined = Seen::Joined(sha(SECRET).to_vec());
    assert_eq!(seen(&p.rig.got(p.dan))[1..], [(4, "eve", Some(&joined))]);
    assert_eq!(p.wish(p.eve, b"5", join(SECRET)).as_deref(), Some("no_change"));
    assert_eq!(say(&mut p.rig, p.eve, p.at, b"6"), None);
    assert_eq!(groups(&mut p.rig, p.eve), [p.at]);
    let invites = snapshot(&mut p.rig, p.eve, p.at).unwrap().invites;
    assert_eq!(invites, [(sha(SECRET).to_vec(), 0)]);
}

#[test]
fn an_invite_ends_by_the_servers_clock_and_when_it_is_revoked() {
    let mut p = party();
    let soon = p.rig.node.time_ms() + 60_000;
    assert_eq!(p.wish(p.bob, b"1", invite(soon)), None);
    p.rig.pass(60_001);
    assert_eq!(p.wish(p.eve, b"2", join(SECRET)).as_deref(), Some("bad_invite"));
    assert_eq!(p.wish(p.bob, b"3", invite(soon)).as_deref(), Some("bad_invite"), "over before it begins");
    assert_eq!(p.wish(p.bob, b"4", invite(0)), None, "prolonged");
    assert_eq!(p.wish(p.bob, b"5", Change::Revoked(sha(SECRET))), None);
    assert_eq!(p.wish(p.eve, b"6", join(SECRET)).as_deref(), Some("bad_invite"));
}

#[test]
fn an_invite_outlives_a_crash() {
    let mut p = party();
    assert_eq!(p.wish(p.bob, b"1", invite(0)), None);
    let mut p = p.restart();
    assert_eq!(p.wish(p.eve, b"2", join(SECRET)), None);
    assert_eq!(say(&mut p.rig, p.dan, p.at, b"3"), None);
    assert_eq!(seqs(&p.rig.got(p.eve)), [5]);
    assert_eq!(snapshot(&mut p.rig, p.eve, p.at).expect("a member").seq, 4);
}
