//! Users that an embedder asks about, or wants to have made: answered when the store has said what it knows, and when what was
//! made is durable.

use std::collections::{HashMap, VecDeque};

use compact_str::CompactString;
use partition::commit::Owner;
use partition::propose::{self, Stop};
use seam::{Position, RowKey};

use crate::api::{Request, UserAnswer};
use crate::node::Node;

#[derive(Debug)]
struct Ask {
    ticket: u64,
    name: CompactString,
    create: bool,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Asks {
    /// Those that wait for a row, by the user's name.
    waiting: HashMap<CompactString, Vec<Ask>>,
    /// Answers that wait until this is durable, in order.
    made: VecDeque<(Position, u64, UserAnswer)>,
}

impl Node {
    /// Makes a user with an empty mailbox, unless there is one; answered with the ticket.
    pub fn create_user(&mut self, ticket: u64, name: &str) {
        self.ask_user(Ask { ticket, name: name.into(), create: true });
    }

    /// Whether there is such a user; answered with the ticket.
    pub fn has_user(&mut self, ticket: u64, name: &str) {
        self.ask_user(Ask { ticket, name: name.into(), create: false });
    }

    fn ask_user(&mut self, ask: Ask) {
        if wire::check_user(&ask.name).is_err() {
            return self.answer_user(ask.ticket, UserAnswer::BadName);
        }
        if let Some(ask) = self.try_user(ask) {
            let waiting = self.asks.waiting.entry(ask.name.clone()).or_default();
            waiting.push(ask);
            if let [ask] = &waiting[..] {
                let row = RowKey::user(&ask.name);
                self.load(vec![row]);
            }
        }
    }

    /// Answers a question, or gives it back: its row is needed.
    fn try_user(&mut self, ask: Ask) -> Option<Ask> {
        match propose::create_user(&self.partition.state, &ask.name) {
            Ok(None) => self.answer_durable(self.made_at(&ask.name), ask.ticket, UserAnswer::There),
            Ok(Some(_)) if !ask.create => self.answer_user(ask.ticket, UserAnswer::Absent),
            Ok(Some(records)) => match self.partition.commit(&mut self.around, &records) {
                Ok(committed) => self.answer_durable(committed.position, ask.ticket, UserAnswer::Made),
                Err(_) => self.answer_user(ask.ticket, UserAnswer::Full),
            },
            Err(Stop::Wait(_)) => return Some(ask),
            Err(_) => self.answer_user(ask.ticket, UserAnswer::Unusable),
        }
        None
    }

    /// It is known what the store says of a row.
    pub(crate) fn retry_user(&mut self, row: &RowKey) {
        let RowKey::User(name) = row else { return };
        for ask in self.asks.waiting.remove(name).unwrap_or_default() {
            if let Some(ask) = self.try_user(ask) {
                self.answer_user(ask.ticket, UserAnswer::Unusable);
            }
        }
    }

    /// The batch of the last record of a user in memory.
    fn made_at(&self, name: &str) -> Position {
        let state = &self.partition.state;
        let user = state.user_named(name).map(|(user, _)| Owner::User(user));
        user.and_then(|user| state.mark(user)).map_or(Position(0), |mark| mark.position)
    }

    /// An answer leaves when what it says is durable.
    fn answer_durable(&mut self, position: Position, ticket: u64, answer: UserAnswer) {
        if position <= self.durable {
            return self.answer_user(ticket, answer);
        }
        let last = self.asks.made.back().map_or(position, |last| last.0);
        self.asks.made.push_back((position.max(last), ticket, answer));
    }

    /// Users that were made are durable.
    pub(crate) fn answer_users(&mut self) {
        while let Some(&(position, ticket, answer)) = self.asks.made.front()
            && position <= self.durable
        {
            self.asks.made.pop_front();
            self.answer_user(ticket, answer);
        }
    }

    fn answer_user(&mut self, ticket: u64, answer: UserAnswer) {
        self.requests.push_back(Request::User { ticket, answer });
    }
}
