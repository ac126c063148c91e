//! Users that an embedder asks about, or wants to have made: answered when the store has said what it knows, and when what was
//! made is durable.

use compact_str::CompactString;
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
    /// Those that wait for a row.
    waiting: Vec<Ask>,
    /// Answers that wait until this is durable, in order.
    made: std::collections::VecDeque<(Position, u64)>,
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
            self.load(vec![RowKey::user(&ask.name)]);
            self.asks.waiting.push(ask);
        }
    }

    /// Answers a question, or gives it back: its row is needed.
    fn try_user(&mut self, ask: Ask) -> Option<Ask> {
        match propose::create_user(&self.partition.state, &ask.name) {
            Ok(None) => self.answer_user(ask.ticket, UserAnswer::There),
            Ok(Some(_)) if !ask.create => self.answer_user(ask.ticket, UserAnswer::Absent),
            Ok(Some(records)) => match self.partition.commit(&mut self.around, &records) {
                Ok(committed) => self.asks.made.push_back((committed.position, ask.ticket)),
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
        let (about, others): (Vec<Ask>, Vec<Ask>) =
            std::mem::take(&mut self.asks.waiting).into_iter().partition(|ask| ask.name == *name);
        self.asks.waiting = others;
        for ask in about {
            if let Some(ask) = self.try_user(ask) {
                self.answer_user(ask.ticket, UserAnswer::Unusable);
            }
        }
    }

    /// Users that were made are durable.
    pub(crate) fn answer_users(&mut self) {
        while let Some(&(position, ticket)) = self.asks.made.front()
            && position <= self.durable
        {
            self.asks.made.pop_front();
            self.answer_user(ticket, UserAnswer::Made);
        }
    }

    fn answer_user(&mut self, ticket: u64, answer: UserAnswer) {
        self.requests.push_back(Request::User { ticket, answer });
    }
}
