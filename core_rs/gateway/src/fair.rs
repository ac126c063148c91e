//! A queue that is fair to users: round robin by user, and in order of arrival for each of them.

use std::collections::VecDeque;

use hashbrown::HashMap;

/// See the module. Users are named by their accounts.
#[derive(Debug)]
pub struct Fair<T> {
    queues: HashMap<u32, VecDeque<T>>,
    /// Users with something in the queue, each once.
    turns: VecDeque<u32>,
    len: usize,
}

impl<T> Default for Fair<T> {
    fn default() -> Self {
        Self { queues: HashMap::new(), turns: VecDeque::new(), len: 0 }
    }
}

impl<T> Fair<T> {
    /// Adds something behind what the user has here already.
    pub fn push(&mut self, user: u32, item: T) {
        self.len += 1;
        let queue = self.queues.entry(user).or_default();
        queue.push_back(item);
        if queue.len() == 1 {
            self.turns.push_back(user);
        }
    }

    /// Takes the first of the next user that `may` have a turn, whose next turn comes after those of all others.
    pub fn pop(&mut self, mut may: impl FnMut(u32) -> bool) -> Option<(u32, T)> {
        let at = self.turns.iter().position(|&user| may(user))?;
        let user = self.turns.remove(at)?;
        let queue = self.queues.get_mut(&user)?;
        let item = queue.pop_front()?;
        self.len -= 1;
        if queue.is_empty() {
            self.queues.remove(&user);
        } else {
            self.turns.push_back(user);
        }
        Some((user, item))
    }

    /// How much is in it.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing is.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_take_turns_and_each_keeps_its_order() {
        let mut fair = Fair::default();
        for item in 0..4 {
            fair.push(1, item);
        }
        fair.push(2, 10);
        fair.push(3, 20);
        fair.push(2, 11);
        let order: Vec<_> = std::iter::from_fn(|| fair.pop(|_| true)).collect();
        assert_eq!(order, [(1, 0), (2, 10), (3, 20), (1, 1), (2, 11), (1, 2), (1, 3)]);
        assert!(fair.is_empty() && fair.queues.is_empty() && fair.turns.is_empty());
    }

    #[test]
    fn a_user_that_may_not_is_passed_over_and_keeps_its_place() {
        let mut fair = Fair::default();
        fair.push(1, 'a');
        fair.push(2, 'b');
        assert_eq!(fair.pop(|user| user != 1), Some((2, 'b')));
        assert_eq!(fair.pop(|user| user != 1), None);
        assert_eq!((fair.pop(|_| true), fair.len()), (Some((1, 'a')), 0));
    }
}
