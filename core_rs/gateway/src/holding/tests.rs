use proptest::prelude::*;

use super::*;

/// What a release gave: session, what it does, bytes.
fn release(holding: &mut Holding) -> Vec<(u32, Kind, Vec<u8>)> {
    let mut left = Vec::new();
    holding.release(|to, kind, bytes| left.push((to.slot(), kind, bytes.to_vec())));
    left
}

fn push(holding: &mut Holding, at: u64, to: u32, bytes: &[u8]) {
    let len = holding.push(Position(at), Address::new(to, 1), Kind::Frame, |out| out.extend_from_slice(bytes));
    assert_eq!(len, bytes.len());
}

#[test]
fn an_entry_takes_24_bytes() {
    assert_eq!(ENTRY, 24);
}

#[test]
fn an_output_waits_for_its_position_and_leaves_with_it() {
    let mut holding = Holding::default();
    push(&mut holding, 1, 5, b"one");
    push(&mut holding, 2, 6, b"two");
    assert_eq!((release(&mut holding), holding.bytes()), (vec![], 6 + 2 * ENTRY));
    holding.synced(Position(1));
    assert!(holding.passes(Position(1)) && !holding.passes(Position(2)));
    assert_eq!(release(&mut holding), [(5, Kind::Frame, b"one".to_vec())]);
    // Never back.
    holding.synced(Position(0));
    assert!(holding.passes(Position(1)));
    holding.synced(Position(2));
    assert_eq!(release(&mut holding), [(6, Kind::Frame, b"two".to_vec())]);
    assert_eq!(holding.bytes(), 0);
}

#[test]
fn an_output_with_a_lower_position_than_one_before_it_stays_behind_that() {
    let mut holding = Holding::default();
    push(&mut holding, 9, 1, b"later");
    push(&mut holding, 3, 1, b"repeat");
    holding.synced(Position(8));
    assert_eq!(release(&mut holding), []);
    holding.synced(Position(9));
    assert_eq!(release(&mut holding).len(), 2);
}

#[test]
fn one_release_is_bounded_in_outputs_and_bytes_i11() {
    let mut holding = Holding::default();
    for _ in 0..RELEASE.0 + 1 {
        push(&mut holding, 1, 1, b"x");
    }
    holding.synced(Position(1));
    assert_eq!((release(&mut holding).len(), holding.due()), (RELEASE.0, true));
    assert_eq!((release(&mut holding).len(), holding.due()), (1, false));
    for _ in 0..6 {
        push(&mut holding, 1, 1, &vec![1; 1 << 20]);
    }
    assert_eq!((release(&mut holding).len(), holding.due()), (4, true));
    assert_eq!((release(&mut holding).len(), holding.due()), (2, false));
}

#[test]
fn what_is_kept_after_a_flood_is_bounded_i6() {
    let mut holding = Holding::default();
    for _ in 0..40_000 {
        push(&mut holding, 1, 1, &[1; 60]);
    }
    push(&mut holding, 1, 1, &vec![1; 1 << 20]);
    holding.synced(Position(1));
    while holding.due() {
        release(&mut holding);
    }
    assert!(holding.queue.capacity() <= 2 * RELEASE.0, "{}", holding.queue.capacity());
    let kept: usize = holding.chunks.iter().chain(&holding.spare).map(Vec::capacity).sum();
    assert!(kept <= CHUNK, "{kept}");
}

proptest! {
    #[test]
    fn what_is_released_is_what_was_held_in_order_and_never_before_its_position_i1(
        ops in proptest::collection::vec(
            (0u64..3, 0u32..5, prop_oneof![9 => 0usize..300, 1 => 0usize..100_000], proptest::option::of(0u64..4)), 0..200,
        ),
    ) {
        let mut holding = Holding::default();
        let mut model = VecDeque::new();
        let (mut newest, mut synced) = (0, 0);
        for (n, (step, to, len, sync)) in ops.into_iter().enumerate() {
            newest += step;
            let kind = [Kind::Frame, Kind::Welcome, Kind::Last][n % 3];
            let bytes = vec![n as u8; len];
            holding.push(Position(newest), Address::new(to, 1), kind, |out| out.extend_from_slice(&bytes));
            model.push_back((newest, (to, kind, bytes)));
            if let Some(behind) = sync {
                synced = synced.max(newest.saturating_sub(behind));
                holding.synced(Position(synced));
                while holding.due() {
                    for left in release(&mut holding) {
                        let (at, expected) = model.pop_front().expect("one that was held");
                        prop_assert!(at <= synced);
                        prop_assert_eq!(left, expected);
                    }
                }
                prop_assert!(model.front().is_none_or(|(at, _)| *at > synced));
            }
            let held: usize = model.iter().map(|(_, (.., bytes))| bytes.len() + ENTRY).sum();
            prop_assert_eq!(holding.bytes(), held);
            prop_assert!(holding.chunks.iter().map(Vec::len).sum::<usize>() <= held + CHUNK + 100_000);
        }
    }
}
