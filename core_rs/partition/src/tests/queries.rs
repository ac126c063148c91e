//! Answers to queries, what waits for a device, and devices that nobody uses any more.

use seam::Query;
use wire::codes;
use wire::types::{Change, Role, ServerFrame, Target};

use super::scenario::{BOB, Scenario, code, named};
use crate::ids::RowKey;
use crate::propose::{self, Decided, Stop};
use crate::queries::Waiting;

fn ask<T>(s: &mut Scenario, user: &str, query: Query<'_>, read: impl Fn(&ServerFrame<'_>) -> T) -> Decided<T> {
    s.world.until(|world| {
        let author = world.state.author(user, 1)?;
        let mut answer = None;
        world.state.query(author, &query, |frame| answer = Some(read(frame)))?;
        Ok(answer.unwrap())
    })
}

#[test]
fn queries_answer_the_same_of_rows_in_memory_and_at_rest() {
    let mut s = Scenario::new();
    s.register("bob");
    let group = s.group(&["bob", "cid"]);
    let (_, seq) = s.send("ann", Target::Conversation(group)).unwrap();
    s.world.now.wall_ms += s.world.config.hold_ms;
    let active = s.world.state.active(&group).unwrap();
    let records = propose::expire(&s.world.state, s.world.now, &s.world.config, active).unwrap();
    s.world.commit(&records);
    for (user, device) in [("bob", 1), ("bob", 2), ("cid", 1)] {
        s.ack(user, device, &group, seq).unwrap();
    }
    s.manage("ann", Some(group), Change::Removed(named(&["cid"]))).unwrap();
    for (user, device) in [("ann", 1), ("bob", 1), ("bob", 2), ("cid", 1)] {
        s.ack(user, device, &group, seq + 1).unwrap();
    }
    let other = s.group(&[]);
    s.ack("ann", 1, &other, 1).unwrap();
    s.block("ann", "dan", false);
    let both = |s: &mut Scenario, of: &str| {
        ask(s, of, Query::Groups, |frame| match frame {
            ServerFrame::Groups(groups) => groups.to_vec(),
            other => unreachable!("{other:?}"),
        })
    };
    for resting in [false, true] {
        if resting {
            s.world.rest_all();
            assert_eq!(s.world.state.conversations().count(), 0);
        }
        let mut groups = vec![group, other];
        groups.sort_unstable();
        assert_eq!((both(&mut s, "ann").unwrap(), both(&mut s, "bob").unwrap()), (groups, vec![group]));
        assert!(both(&mut s, "cid").unwrap().is_empty());
        let devices = ask(&mut s, "ann", Query::Devices("bob"), |frame| match frame {
            ServerFrame::Devices(list) => (list.version, list.devices.to_vec()),
            other => unreachable!("{other:?}"),
        });
        assert_eq!(devices.unwrap(), (2, vec![1, 2]));
        assert_eq!(code(ask(&mut s, "ann", Query::Devices("nobody"), |_| ())), codes::UNKNOWN_USER);
        let members = ask(&mut s, "bob", Query::Group(group), |frame| match frame {
            ServerFrame::Group(group) => {
                let members = group.members.iter().map(|(user, role)| (user.to_string(), *role));
                (group.seq, members.collect::<Vec<_>>())
            }
            other => unreachable!("{other:?}"),
        });
        assert_eq!(members.unwrap(), (3, vec![("ann".into(), Role::Owner), ("bob".into(), Role::Member)]));
        assert_eq!(code(ask(&mut s, "cid", Query::Group(group), |_| ())), codes::UNKNOWN_CONVERSATION);
        let blocks = ask(&mut s, "ann", Query::Blocks, |frame| match frame {
            ServerFrame::Blocks(users) => users.iter().map(|user| user.to_string()).collect::<Vec<_>>(),
            other => unreachable!("{other:?}"),
        });
        assert_eq!(blocks.unwrap(), ["dan"]);
        let progress = |s: &mut Scenario, seq| {
            ask(s, "ann", Query::Progress(group, seq), |frame| match frame {
                ServerFrame::Progress { cursors, .. } => {
                    let cursor = |c: &wire::types::CursorOf<'_>| (c.user.to_owned(), c.delivered, c.skipped);
                    cursors.iter().map(cursor).collect::<Vec<_>>()
                }
                other => unreachable!("{other:?}"),
            })
        };
        let told = progress(&mut s, seq).unwrap();
        // The message is gone, and its author is not known any more.
        assert_eq!(told[1..], [("bob".into(), 3, true), ("cid".into(), 3, true)]);
        assert_eq!(progress(&mut s, 3).unwrap().len(), 3);
        for seq in [0, 4] {
            assert_eq!(code(progress(&mut s, seq)), codes::UNKNOWN_MESSAGE);
        }
    }
}

#[test]
fn groups_are_known_again_after_one_changed_while_the_index_was_read() {
    let mut s = Scenario::new();
    let (first, second) = (s.group(&["bob"]), s.group(&["bob"]));
    for (user, id) in [("ann", first), ("ann", second), ("bob", first), ("bob", second)] {
        s.ack(user, 1, &id, 1).unwrap();
    }
    s.world.rest_all();
    s.world.state.index_begin("bob");
    s.world.until(|world| world.state.author("bob", 1).map(drop)).unwrap();
    s.world.state.index_begin("bob");
    let (page, last) = s.world.index_page("bob", None, 10);
    assert!(last && page.len() == 2);
    // Before the page comes, the first group is loaded, bob leaves it, and it rests again.
    s.world.resolve(&Stop::Wait([RowKey::Conversation(first)].into_iter().collect()));
    s.manage("bob", Some(first), Change::Left { successor: "".into() }).unwrap();
    s.ack("bob", 1, &first, 2).unwrap();
    s.world.until(|world| world.state.author("ann", 1).map(drop)).unwrap();
    s.ack("ann", 1, &first, 2).unwrap();
    let bob = s.world.state.owner(&RowKey::user("bob")).unwrap();
    s.world.state.pin(bob);
    s.world.rest_all();
    assert_eq!(s.world.state.find(&first), None);
    s.world.state.index_page("bob", &page, last);
    s.world.check_index();
    let groups = ask(&mut s, "bob", Query::Groups, |frame| format!("{frame:?}")).unwrap();
    assert_eq!(groups, format!("{:?}", ServerFrame::Groups(&[second])));
    // It is known from then on, whatever is loaded and rests.
    for resting in [false, true] {
        ask(&mut s, "bob", Query::Group(second), |_| ()).unwrap();
        if resting {
            s.world.rest_all();
        }
        assert_eq!(s.world.state.find(&second).is_none(), resting);
        s.world.check_index();
        let bob = s.world.state.author("bob", 1).unwrap_or_else(|_| {
            s.world.until(|world| world.state.author("bob", 1).map(drop)).unwrap();
            s.world.state.author("bob", 1).unwrap()
        });
        let mut groups = Vec::new();
        let answer = |frame: &ServerFrame<'_>| {
            if let ServerFrame::Groups(ids) = frame {
                groups.extend_from_slice(ids);
            }
        };
        s.world.state.query(bob, &Query::Groups, answer).unwrap();
        assert_eq!(groups, [second], "without a look at the index");
    }
}

#[test]
fn what_waits_is_counted_a_few_messages_at_a_time() {
    let mut s = Scenario::new();
    for _ in 0..5 {
        s.send("ann", BOB).unwrap();
        s.send("cid", BOB).unwrap();
    }
    let id = s.group(&["bob"]);
    s.ack("bob", 1, &id, 1).unwrap();
    let (direct, _) = s.send("bob", Target::User("ann".into())).unwrap();
    s.ack("bob", 1, &direct, 2).unwrap();
    let bob = s.world.state.names.find("bob").unwrap();
    let mut all = Waiting::default();
    assert!(s.world.state.count_waiting(bob, 1, &mut all, usize::MAX));
    assert_eq!((all.messages, all.conversations), (8, 2), "3 and 5, and none of its own");
    for most in 1..20 {
        let (mut waiting, mut calls) = (Waiting::default(), 1);
        while !s.world.state.count_waiting(bob, 1, &mut waiting, most) {
            calls += 1;
        }
        assert_eq!((waiting.messages, waiting.conversations), (8, 2));
        assert!(calls <= 1 + 14 / most, "{calls} calls of {most}");
    }
}

#[test]
fn device_unseen_for_the_hold_time_is_dropped_in_memory_and_at_rest() {
    let mut s = Scenario::new();
    let hold = s.world.config.hold_ms;
    let second = s.register("bob");
    let seen = |s: &mut Scenario| {
        let (now, config) = (s.world.now, s.world.config.clone());
        let (mut from, mut all) = (Some(0), Vec::new());
        while let Some(at) = from {
            let (seen, next) = s.world.state.last_seen(now, &config, at, 2);
            all.extend(seen.into_iter().map(|(user, seen)| (s.world.state.names.text(user).to_owned(), seen)));
            from = next;
        }
        all
    };
    let drop_unseen = |s: &mut Scenario, seen: &[(String, propose::LastSeen)]| {
        let mut dropped = Vec::new();
        for (name, seen) in seen {
            let records = s.world.until(|world| {
                let records = propose::unseen(&world.state, world.now, &world.config, name, seen)?;
                records.iter().for_each(|record| drop(world.commit(std::slice::from_ref(record))));
                Ok(records.len())
            });
            dropped.push((name.clone(), records.unwrap()));
        }
        dropped.retain(|dropped| dropped.1 > 0);
        dropped
    };
    // ann is connected all the time.
    let pinned = s.world.state.owner(&RowKey::device("ann", 1)).unwrap();
    s.world.state.pin(pinned);
    let at_first = seen(&mut s);
    assert_eq!(at_first.iter().map(|seen| seen.1.len()).sum::<usize>(), 4, "bob's two, cid's and dan's");
    s.world.now.wall_ms += hold - 1;
    assert_eq!(drop_unseen(&mut s, &at_first), []);
    // bob's second device comes again.
    let bob = s.world.state.author("bob", second).unwrap();
    s.world.state.connected(bob, (s.world.now.wall_ms / 1000) as u32, false).unwrap();
    s.world.rest_all();
    assert_eq!(s.world.state.owner(&RowKey::device("cid", 1)), None);
    s.world.now.wall_ms += 1;
    assert_eq!(seen(&mut s), [], "the others are at rest");
    // What rows at rest say may be old.
    let dropped = drop_unseen(&mut s, &at_first);
    let expected: Vec<_> = ["bob", "cid", "dan"].map(|user| (user.to_owned(), 1)).into();
    let sorted = |mut list: Vec<(String, usize)>| {
        list.sort_unstable();
        list
    };
    assert_eq!(sorted(dropped), expected);
    for (user, devices) in [("ann", vec![1]), ("bob", vec![second]), ("cid", vec![]), ("dan", vec![])] {
        let row = s.world.until(|world| Ok(world.state.need_user(user)?.unwrap().1.devices.to_vec()));
        assert_eq!(row.unwrap(), devices, "{user}");
    }
    // A connection counts as seen, also if the server ends before it does.
    let ann = s.world.state.names.find("ann").unwrap();
    assert_eq!(u64::from(s.world.state.device(ann, 1).unwrap().row.seen_s), s.world.now.wall_ms / 1000);
}
