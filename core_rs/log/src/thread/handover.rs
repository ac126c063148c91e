//! Every interleaving of the hand-over from the log's threads to the event loop, as a model: no news may stay unheard, and
//! no batch unsubmitted, while the loop sleeps.
//!
//! The steps are those of `Shared::settled`, `Bell`, `LogThread::poll`, `Runtime::turn` and the driver's `_readable`, one
//! atomic operation each. A change there is to be made here, too.

use std::collections::HashSet;

/// Threads of the log, and what each settles.
const THREADS: usize = 2;
const SETTLED: u8 = 2;

/// Where a thread of the log is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Log {
    Push,
    Settle,
    Swap,
    Write,
    Done,
}

/// Where the loop's thread is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Loop {
    /// Asleep, unless the descriptor is readable or a turn is due.
    Poll,
    /// The driver has read the descriptor.
    Schedule,
    Load,
    /// The two halves of `hush`, in the order of the variant.
    First,
    Second,
    Pop,
    /// Nothing was left: whether the log is idle.
    Idle,
}

/// The order of the two halves of `hush`.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Order {
    ReadThenStore,
    /// As it was once: a ring between the two was read away.
    StoreThenRead,
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct State {
    logs: [(Log, u8); THREADS],
    main: Loop,
    mark: bool,
    readable: bool,
    scheduled: bool,
    news: u8,
    in_flight: u8,
    /// A batch is open, and goes when the log is idle.
    open: bool,
}

impl State {
    fn new() -> Self {
        State {
            logs: [(Log::Push, SETTLED); THREADS],
            main: Loop::Poll,
            mark: false,
            readable: false,
            scheduled: false,
            news: 0,
            in_flight: SETTLED * THREADS as u8,
            open: true,
        }
    }

    /// One step of a thread of the log; `None`: it has done all.
    fn log(&self, thread: usize) -> Option<State> {
        let mut next = self.clone();
        let (at, left) = &mut next.logs[thread];
        *at = match *at {
            Log::Push => {
                next.news += 1;
                Log::Settle
            }
            Log::Settle => {
                next.in_flight -= 1;
                Log::Swap
            }
            Log::Swap => match std::mem::replace(&mut next.mark, true) {
                false => Log::Write,
                true => Self::rung(left),
            },
            Log::Write => {
                next.readable = true;
                Self::rung(left)
            }
            Log::Done => return None,
        };
        Some(next)
    }

    fn rung(left: &mut u8) -> Log {
        *left -= 1;
        if *left == 0 { Log::Done } else { Log::Push }
    }

    /// One step of the loop; `None`: it sleeps.
    fn main(&self, order: Order) -> Option<State> {
        let mut next = self.clone();
        next.main = match self.main {
            Loop::Poll if self.scheduled => {
                next.scheduled = false;
                Loop::Load
            }
            Loop::Poll if self.readable => {
                next.readable = false;
                Loop::Schedule
            }
            Loop::Poll => return None,
            Loop::Schedule => {
                next.scheduled = true;
                Loop::Poll
            }
            Loop::Load if self.mark => Loop::First,
            Loop::Load => Loop::Pop,
            Loop::First => {
                next.half(order == Order::ReadThenStore);
                Loop::Second
            }
            Loop::Second => {
                next.half(order == Order::StoreThenRead);
                Loop::Pop
            }
            Loop::Pop if self.news > 0 => {
                next.news -= 1;
                Loop::Load
            }
            Loop::Pop => Loop::Idle,
            Loop::Idle => {
                next.open &= self.in_flight > 0;
                Loop::Poll
            }
        };
        Some(next)
    }

    fn half(&mut self, read: bool) {
        if read {
            self.readable = false;
        } else {
            self.mark = false;
        }
    }
}

/// How many states there are, and how many of them are an end at which something was forgotten. Turns that others ask for
/// may come at any time, up to `asked`.
fn explore(order: Order, asked: u8) -> (usize, usize) {
    let mut seen = HashSet::from([(State::new(), asked)]);
    let mut ahead: Vec<_> = seen.iter().cloned().collect();
    let mut forgotten = 0;
    while let Some((state, asked)) = ahead.pop() {
        let mut nexts: Vec<_> = (0..THREADS).filter_map(|thread| state.log(thread)).map(|next| (next, asked)).collect();
        nexts.extend(state.main(order).map(|next| (next, asked)));
        if nexts.is_empty() {
            forgotten += usize::from(state.news > 0 || state.open);
        }
        if asked > 0 && !state.scheduled {
            nexts.push((State { scheduled: true, ..state }, asked - 1));
        }
        ahead.extend(nexts.into_iter().filter(|next| seen.insert(next.clone())));
    }
    (seen.len(), forgotten)
}

#[test]
fn the_loop_never_sleeps_on_news_or_beside_an_idle_log() {
    for asked in 0..3 {
        let (states, forgotten) = explore(Order::ReadThenStore, asked);
        assert!(states > 500, "{states} states");
        assert_eq!(forgotten, 0, "of {states} states");
    }
}

#[test]
fn the_model_finds_the_wake_up_that_was_once_lost() {
    assert!(explore(Order::StoreThenRead, 1).1 > 0);
}
