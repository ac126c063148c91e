//! A crash at every point: what was accepted stands, and everybody has the same group.

use super::model::Model;
use super::*;

/// Changes by whom, in order; each can be accepted when those before it were.
fn story(eve: bool) -> Vec<(&'static str, Change<'static>)> {
    let hash = sha(b"a secret of ours");
    let mut story = vec![
        ("ann", created(&["bob", "cal", "dan"])),
        ("ann", Change::Promoted(names(&["bob", "cal"]))),
        ("bob", Change::Profile(named(b"others"))),
        ("bob", Change::Invited(Invite { hash, expires: 0 })),
        ("eve", Change::Joined { hash: Hash::default(), secret: b"a secret of ours".as_slice().into() }),
        ("cal", Change::Removed(names(&["dan"]))),
        ("ann", Change::Owner("bob".into())),
        ("cal", Change::Added(names(&["dan"]))),
        ("bob", Change::Left { successor: "".into() }),
        ("ann", Change::Demoted(names(&["cal"]))),
        ("ann", Change::Rules(Rules { post: Who::Admins, ..Rules::default() })),
        ("cal", Change::Left { successor: "".into() }),
        ("ann", Change::Revoked(hash)),
    ];
    if !eve {
        story.push(("ann", Change::Closed));
    }
    story
}

/// Everybody's connection, anew.
struct Crowd {
    rig: Rig<SimDisk>,
    clients: Vec<(&'static str, Client)>,
}

impl Crowd {
    fn new(mut rig: Rig<SimDisk>) -> Self {
        let clients = ["ann", "bob", "cal", "dan", "eve"].map(|name| (name, rig.join(name, 1, true))).into();
        Self { rig, clients }
    }

    fn of(&self, name: &str) -> Client {
        self.clients.iter().find(|client| client.0 == name).unwrap().1
    }

    fn wish(&mut self, step: usize, at: Option<ConversationId>, (name, change): &(&'static str, Change<'static>)) {
        let client = self.of(name);
        feed(&mut self.rig, client, at, &[step as u8], change.clone());
    }
}

/// The fold of the first changes of the story, by a group of our own.
fn fold(story: &[(&'static str, Change<'static>)]) -> Model {
    let mut group = Model::default();
    for (name, change) in story {
        let decided = group.decide(name, change, 1024).unwrap();
        group.apply(group.seq + 1, name, &decided);
    }
    group
}

/// What everybody is told of the group is this.
fn check(crowd: &mut Crowd, at: ConversationId, expected: &Model) {
    assert_eq!(head(&crowd.rig, at), Some(expected.seq));
    for (name, client) in crowd.clients.clone() {
        let member = expected.role(name).is_some();
        assert_eq!(groups(&mut crowd.rig, client), if member { vec![at] } else { vec![] }, "{name}");
        let told = snapshot(&mut crowd.rig, client, at).map(Model::from);
        assert_eq!(told.as_ref(), Some(expected).filter(|_| member), "{name}");
    }
}

#[test]
fn after_a_crash_behind_any_change_the_group_is_the_fold_of_all_that_were_accepted_i1() {
    let story = story(false);
    for stop in 1..=story.len() {
        for quick in [true, false] {
            let mut crowd = Crowd::new(rig());
            let mut at = None;
            for (step, change) in story[..stop].iter().enumerate() {
                crowd.wish(step, at, change);
                crowd.rig.turn();
                let got = crowd.rig.got(crowd.of(change.0));
                assert_eq!(answer(&got, &[step as u8]), None, "{change:?}");
                at.get_or_insert_with(|| conversation(&got));
                if !quick {
                    crowd.rig.pass(1_100);
                }
            }
            let mut crowd = Crowd::new(restart(crowd.rig));
            let expected = fold(&story[..stop]);
            check(&mut crowd, at.unwrap(), &expected);
        }
    }
}

#[test]
fn a_crash_between_batches_leaves_a_beginning_of_the_story_and_the_rest_can_be_wanted_again_i1_i4() {
    let options = LogOptions { batch_bytes: 150, ..small_log() };
    let story = story(true);
    for kept in 0..60 {
        let rig = Rig::open(SimDisk::new(1), Config::default(), options.clone(), START, Default::default());
        let mut crowd = Crowd::new(rig);
        crowd.rig.got(crowd.of("ann"));
        crowd.rig.hold_disk = true;
        let at = wire::ids::group_id("ann", 1, &[0]);
        for (step, change) in story.iter().enumerate() {
            crowd.wish(step, (step > 0).then_some(at), change);
            crowd.rig.turn();
        }
        for (name, client) in crowd.clients.clone() {
            assert_eq!(codes(&crowd.rig.got(client)), Vec::<&str>::new(), "{name}");
        }
        assert_eq!(head(&crowd.rig, at), Some(story.len() as u64));
        let time_ms = crowd.rig.node.time_ms();
        let mut batches = crowd.rig.node.log().take(time_ms);
        let whole = batches.len() <= kept;
        batches.truncate(kept);
        crowd.rig.write(&mut batches);
        let mut crowd = Crowd::new(restart(crowd.rig));
        let came = head(&crowd.rig, at).unwrap_or(0) as usize;
        assert!(!whole || came == story.len());
        if came > 0 {
            let expected = fold(&story[..came]);
            check(&mut crowd, at, &expected);
        }
        // Everybody repeats what was not answered.
        for (step, change) in story.iter().enumerate() {
            crowd.wish(step, (step > 0).then_some(at), change);
            crowd.rig.turn();
            let got = crowd.rig.got(crowd.of(change.0));
            assert_eq!(answer(&got, &[step as u8]), None, "{kept} {change:?}");
        }
        let expected = fold(&story);
        check(&mut crowd, at, &expected);
        assert_eq!(head(&crowd.rig, at), Some(story.len() as u64), "nothing happened twice");
        if whole {
            return;
        }
    }
    panic!("the story is longer than that");
}

#[test]
fn a_state_that_was_written_while_changes_were_on_the_way_outlives_their_messages_i1() {
    let mut p = party();
    p.rig.hold_disk = true;
    feed(&mut p.rig, p.ann, Some(p.at), b"1", Change::Added(names(&["eve"])));
    feed(&mut p.rig, p.bob, Some(p.at), b"2", Change::Promoted(names(&["eve"])));
    let first = p.rig.node.log().segment();
    let mut n = 0u32;
    let fill = |p: &mut Party, n: &mut u32| {
        *n += 1;
        p.rig.send(p.dan, "dan", &n.to_be_bytes(), &[0; 200]);
    };
    while p.rig.node.log().segment() == first {
        fill(&mut p, &mut n);
    }
    // Behind the messages, as if its old segment had to go; and nothing that says more comes after it.
    image(&mut p.rig, p.at);
    p.rig.hold_disk = false;
    p.rig.turn();
    p.collect();
    while !p.rig.unlinked.contains(&first) {
        fill(&mut p, &mut n);
        p.rig.pass(1_100);
    }
    let mut p = p.restart();
    assert_eq!(p.members(), people(&[("ann", 2), ("bob", 1), ("cal", 0), ("dan", 0), ("eve", 1)]));
    assert_eq!(groups(&mut p.rig, p.eve), [p.at]);
}

#[test]
fn changes_go_with_their_segments_and_the_group_stays_i5() {
    let mut p = party();
    for n in 0..400u32 {
        let name: &'static [u8] = if n % 2 == 0 { b"even" } else { b"odd" };
        assert_eq!(p.wish(p.ann, &n.to_be_bytes(), Change::Profile(named(name))), None);
        // Its answer was taken already: the change has the number after those of `party`.
        let accepted = smallvec![(p.at, u64::from(n) + 3)];
        p.rig.feed(p.ann, &ClientFrame::Ack(Ack { accepted, ..Ack::default() }));
        p.collect();
    }
    assert!(p.rig.unlinked.len() > 2, "{:?}", p.rig.unlinked);
    let before = snapshot(&mut p.rig, p.ann, p.at);
    let mut p = p.restart();
    assert_eq!(snapshot(&mut p.rig, p.dan, p.at), before);
    assert_eq!(before.unwrap().seq, 402);
    assert_eq!(p.rig.node.stats().lost_total, 0);
}

#[test]
fn a_member_behind_a_crash_of_many_changes_folds_to_the_same() {
    let mut p = party();
    p.rig.cut(p.dan);
    for n in 0..30u8 {
        let change = if n % 2 == 0 { Change::Promoted(names(&["cal"])) } else { Change::Demoted(names(&["cal"])) };
        assert_eq!(p.wish(p.ann, &[n], change), None);
    }
    let mut p = p.restart();
    let got = p.rig.got(p.dan);
    assert_eq!(seqs(&got), (3..33).collect::<Vec<_>>());
    assert!(!got.iter().any(|g| matches!(g, Got::Group(_))), "it can fold them");
}
