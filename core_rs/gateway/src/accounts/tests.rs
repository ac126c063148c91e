use proptest::prelude::*;

use super::*;

const HOME: Source = [1; 16];
const AWAY: Source = [2; 16];

fn bounds(held: u64, sessions: u32) -> Bounds {
    Bounds { bytes: Rate::ANY, records: Rate::ANY, sessions, held }
}

fn config() -> Config {
    Config { session: bounds(10_000, 1), user: bounds(20_000, 2), address: bounds(40_000, 3), all: bounds(80_000, 5) }
}

/// A connection of a user.
fn session(accounts: &mut Accounts, source: Source, user: &str) -> Payer {
    let mut payer = accounts.open(Some(source), 0).expect("room for a connection");
    assert!(accounts.admit(&mut payer, user));
    payer
}

/// A connection that comes and goes, at which unused accounts are looked at.
fn open_and_close(accounts: &mut Accounts, mono_ms: u64) {
    let payer = accounts.open(None, mono_ms).expect("room for a connection");
    accounts.close(payer);
}

#[test]
fn accounts_of_a_connection_take_48_bytes_and_one_that_is_shared_72() {
    assert_eq!((size_of::<Payer>(), size_of::<Shared>()), (48, 72));
}

#[test]
fn connections_are_bounded_by_user_by_address_and_all_together_i6() {
    let mut accounts = Accounts::new(config());
    let first = session(&mut accounts, HOME, "ann");
    let _second = session(&mut accounts, AWAY, "ann");
    let mut third = accounts.open(Some(HOME), 0).expect("a third connection");
    assert!(!accounts.admit(&mut third, "ann"));
    assert!(accounts.admit(&mut third, "bob"));
    let _fourth = session(&mut accounts, HOME, "bob");
    assert!(accounts.open(Some(HOME), 0).is_none(), "the address has three");
    let local = accounts.open(None, 0).expect("a fifth connection, of no address");
    assert!(accounts.open(Some(AWAY), 0).is_none(), "there are five");
    accounts.close(local);
    accounts.close(first);
    let _again = session(&mut accounts, HOME, "ann");
}

#[test]
fn a_connection_meets_its_own_bound_first_and_others_are_not_concerned_i6() {
    let mut accounts = Accounts::new(config());
    let mut greedy = session(&mut accounts, HOME, "ann");
    let mut quiet = session(&mut accounts, HOME, "bob");
    assert_eq!(accounts.hold(&mut greedy, 0, 10_001), Room::Pause);
    assert_eq!(accounts.hold(&mut greedy, 10_001, 0), Room::Wait);
    assert_eq!(accounts.hold(&mut quiet, 5_000, 0), Room::Free);
    assert_eq!(accounts.hold(&mut greedy, 40_001, 0), Room::Close);
    accounts.close(greedy);
    assert_eq!(accounts.held(), 5_000);
}

#[test]
fn sessions_of_a_user_are_bounded_together_and_those_that_hold_nothing_go_on_i6() {
    let mut accounts = Accounts::new(config());
    let mut one = session(&mut accounts, HOME, "ann");
    let mut two = session(&mut accounts, AWAY, "ann");
    assert_eq!(accounts.hold(&mut one, 10_000, 0), Room::Free);
    assert_eq!(accounts.hold(&mut two, 0, UNCOUNTED), Room::Free);
    assert_eq!(accounts.held(), 10_000);
    // Deferred frames do not make those of others wait: they could wait for each other.
    assert_eq!(accounts.hold(&mut two, 0, 10_000), Room::Free);
    assert_eq!(accounts.hold(&mut one, 10_000, 5_000), Room::Pause);
    assert_eq!(accounts.hold(&mut two, 0, 0), Room::Free);
    assert_eq!(accounts.hold(&mut one, 10_000, 0), Room::Free);
}

#[test]
fn what_a_connection_held_before_its_user_was_known_counts_for_the_user() {
    let mut accounts = Accounts::new(config());
    let mut one = accounts.open(Some(HOME), 0).expect("room");
    accounts.hold(&mut one, 10_000, 0);
    assert!(accounts.admit(&mut one, "ann"));
    let mut two = session(&mut accounts, AWAY, "ann");
    assert_eq!(accounts.hold(&mut two, 10_001, 0), Room::Wait);
    accounts.close(one);
    assert_eq!(accounts.hold(&mut two, 10_000, 0), Room::Free);
}

fn rates(per_second: u64, burst: u64) -> Config {
    let mut config = config();
    config.user.records = Rate::new(per_second, burst);
    config
}

#[test]
fn a_connection_above_a_rate_waits_as_long_as_the_rate_needs() {
    let mut accounts = Accounts::new(rates(100, 50));
    let mut payer = session(&mut accounts, HOME, "ann");
    assert_eq!(accounts.charge(&mut payer, 1 << 20, 50, 1_000), 0);
    assert_eq!(accounts.charge(&mut payer, 0, 1, 1_000), 10);
    assert_eq!(accounts.charge(&mut payer, 0, 4, 1_010), 40);
    assert_eq!(accounts.charge(&mut payer, 0, 0, 1_050), 0);
    // As many as may come at once, and no more, however long it was quiet.
    assert_eq!(accounts.charge(&mut payer, 0, 50, 100_000), 0);
    assert_eq!(accounts.charge(&mut payer, 0, 10, 100_000), 100);
}

#[test]
fn a_new_connection_does_not_get_around_its_users_rate_i6() {
    let mut accounts = Accounts::new(rates(100, 50));
    let mut payer = session(&mut accounts, HOME, "ann");
    accounts.charge(&mut payer, 0, 150, 1_000);
    accounts.close(payer);
    for ms in 0..20 {
        open_and_close(&mut accounts, 1_001 + ms);
    }
    let mut again = session(&mut accounts, AWAY, "ann");
    assert_eq!(accounts.charge(&mut again, 0, 0, 1_500), 500);
}

#[test]
fn accounts_that_nobody_needs_are_forgotten() {
    let mut accounts = Accounts::new(Config::default());
    for n in 0..100u8 {
        let mut payer = session(&mut accounts, [n; 16], &format!("user {n}"));
        accounts.charge(&mut payer, 1 << 20, 1, 0);
        accounts.close(payer);
    }
    assert_eq!(accounts.shared.len(), 200);
    for ms in 0..100 {
        open_and_close(&mut accounts, 10_000 + ms);
    }
    assert_eq!((accounts.shared.len(), accounts.index.len(), accounts.unused.len()), (0, 0, 0));
}

#[derive(Clone, Debug)]
enum Op {
    Open(Option<u8>),
    Admit(usize, u8),
    Hold(usize, u32, u32),
    Charge(usize, u64),
    Close(usize),
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let bytes = prop_oneof![Just(0), 1u32..30_000];
    let op = prop_oneof![
        3 => proptest::option::of(0u8..3).prop_map(Op::Open),
        3 => (0usize..6, 0u8..3).prop_map(|(at, user)| Op::Admit(at, user)),
        6 => (0usize..6, bytes.clone(), bytes).prop_map(|(at, output, deferred)| Op::Hold(at, output, deferred)),
        2 => (0usize..6, 0u64..1000).prop_map(|(at, n)| Op::Charge(at, n)),
        2 => (0usize..6).prop_map(Op::Close),
    ];
    proptest::collection::vec(op, 0..120)
}

/// One connection of the model.
#[derive(Debug)]
struct Model {
    payer: Payer,
    source: Option<u8>,
    user: Option<u8>,
    held: (u64, u64),
}

proptest! {
    /// A model that sums up what connections hold, anew each time.
    #[test]
    fn what_is_counted_is_the_sum_of_what_connections_hold_i6(ops in ops()) {
        let mut accounts = Accounts::new(rates(100, 50));
        let mut model: Vec<Model> = Vec::new();
        for (ms, op) in ops.into_iter().enumerate() {
            match op {
                Op::Open(source) => {
                    let same = model.iter().filter(|m| source.is_some() && m.source == source).count();
                    let payer = accounts.open(source.map(|n| [n; 16]), ms as u64);
                    prop_assert_eq!(payer.is_some(), model.len() < 5 && same < 3);
                    model.extend(payer.map(|payer| Model { payer, source, user: None, held: (0, 0) }));
                }
                Op::Admit(at, user) => {
                    let same = model.iter().filter(|m| m.user == Some(user)).count();
                    let Some(it) = model.get_mut(at).filter(|m| m.user.is_none()) else { continue };
                    prop_assert_eq!(accounts.admit(&mut it.payer, &format!("{user}")), same < 2);
                    it.user = (same < 2).then_some(user);
                }
                Op::Hold(at, output, deferred) => {
                    let Some(it) = model.get_mut(at) else { continue };
                    let room = accounts.hold(&mut it.payer, output, deferred);
                    let counted = |bytes: u32| if bytes > UNCOUNTED { u64::from(bytes) } else { 0 };
                    it.held = (counted(output), counted(deferred));
                    let (own, user, source) = (it.held, it.user, it.source);
                    let sums = [
                        (10_000, own),
                        (20_000, sum(model.iter().filter(|m| user.is_some() && m.user == user))),
                        (40_000, sum(model.iter().filter(|m| source.is_some() && m.source == source))),
                        (80_000, sum(model.iter())),
                    ];
                    let expected = sums.map(|(most, sum)| match sum.0 + sum.1 {
                        _ if own == (0, 0) => Room::Free,
                        all if all > 4 * most => Room::Close,
                        _ if own.0 > 0 && sum.0 > most => Room::Wait,
                        all if all > most => Room::Pause,
                        _ => Room::Free,
                    });
                    prop_assert_eq!(Some(room), expected.into_iter().max());
                }
                Op::Charge(at, n) => {
                    if let Some(it) = model.get_mut(at) {
                        accounts.charge(&mut it.payer, n, n, ms as u64);
                    }
                }
                Op::Close(at) if at < model.len() => accounts.close(model.swap_remove(at).payer),
                Op::Close(_) => {}
            }
            let all = sum(model.iter());
            prop_assert_eq!(accounts.held(), all.0 + all.1);
            prop_assert_eq!(accounts.shared.len(), accounts.index.len());
        }
        model.drain(..).for_each(|m| accounts.close(m.payer));
        let left: u64 = accounts.shared.iter().map(|(_, shared)| shared.account.output + shared.account.deferred).sum();
        prop_assert_eq!((left, accounts.held(), accounts.all.sessions), (0, 0, 0));
        for ms in 0..20 {
            open_and_close(&mut accounts, 1_000_000 + ms);
        }
        prop_assert_eq!((accounts.shared.len(), accounts.unused.len()), (0, 0));
    }
}

fn sum<'a>(of: impl Iterator<Item = &'a Model>) -> (u64, u64) {
    of.fold((0, 0), |sum, m| (sum.0 + m.held.0, sum.1 + m.held.1))
}
