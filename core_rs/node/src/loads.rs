//! Rows and index pages from the store: asked for in few questions, answered to the partition and to whoever waits.
//!
//! | the store says | here |
//! |---|---|
//! | found | the partition compares it with what the log says; one that differs cannot be used until a restart |
//! | absent | so it is, unless the log says otherwise |
//! | damaged | the row cannot be used until an operator mended it |
//! | unreadable | whoever waits is refused; it is asked for anew the next time |

use compact_str::CompactString;
use gateway::Key;
use partition::attached::Want;
use partition::rest::Misfit;
use seam::{ConversationId, Position, RowKey};
use store::{Kind, Lookup, MAX_KEYS, Page, Scan, StoreError};

use crate::api::Request;
use crate::keys::{key_of, row_of};
use crate::node::{Node, Question};

impl Node {
    /// Asks the store for rows.
    pub(crate) fn load(&mut self, rows: Vec<RowKey>) {
        let mut rows = rows.into_iter().peekable();
        while rows.peek().is_some() {
            let mut keys = Vec::new();
            for row in rows.by_ref().take(MAX_KEYS) {
                match key_of(&row) {
                    Ok(key) => keys.push(key),
                    // Nobody can have such a name.
                    Err(_) => self.answered(&row, Ok(None)),
                }
            }
            if !keys.is_empty() {
                let token = self.questions.ask(Question::Rows);
                self.requests.push_back(Request::Get { token, keys });
            }
        }
    }

    /// Asks for what a partition wants of the store.
    pub(crate) fn want(&mut self, want: Want) {
        match want {
            Want::Rows(rows) => self.load(rows.into_vec()),
            Want::Page { session, user, after } => {
                self.ask_page(Kind::Member, &user.clone(), after, Question::Member(session, user));
            }
            // A pass over memory finds them.
            Want::Rest(_) => {}
        }
    }

    /// Asks for a user's index rows behind `after`.
    pub(crate) fn ask_index(&mut self, user: CompactString, after: Option<ConversationId>) {
        if after.is_none() {
            self.partition.state.index_begin(&user);
        }
        self.ask_page(Kind::Member, &user.clone(), after, Question::Index(user));
    }

    /// Asks for a page of a user's rows of a kind.
    pub(crate) fn ask_page(&mut self, kind: Kind, user: &str, after: Option<ConversationId>, question: Question) {
        let scan = Scan::of_user(kind, user.as_bytes()).and_then(|scan| match after {
            Some(id) => Ok(scan.after(key_of(&RowKey::member(user, &id))?)),
            None => Ok(scan),
        });
        if let Ok(scan) = scan {
            let token = self.questions.ask(question);
            self.requests.push_back(Request::Page { token, scan });
        }
    }

    /// The store's answers about rows, in any order.
    pub fn looked(&mut self, token: u64, answers: Vec<Lookup>) {
        let Some(Question::Rows) = self.questions.take(token) else { return };
        let mut again = Vec::new();
        for answer in answers {
            let Some(row) = row_of(answer.key()) else { continue };
            match answer {
                Lookup::Found(found) => self.answered(&row, Ok(Some((Position(found.position), &found.value)))),
                Lookup::Absent(_) => self.answered(&row, Ok(None)),
                Lookup::Unreadable(_, StoreError::TooLarge { .. }) => again.push(row),
                Lookup::Damaged(_, damage) => {
                    self.alarm(
                        "row_damaged",
                        &format!("{row:?} is damaged in the store ({damage:?}): run `pyrouter fsck`."),
                    );
                    self.answered(&row, Err(true));
                }
                Lookup::Unreadable(_, error) => {
                    self.alarm("store_unreadable", &format!("A row cannot be read from the store: {error}."));
                    self.answered(&row, Err(false));
                    self.upkeep.rows_again = true;
                    continue;
                }
            }
            self.upkeep.fit_asked = false;
        }
        self.load(again);
        self.note_appended();
    }

    /// What is known of a row now. `Err(true)`: it cannot be used; `Err(false)`: not at the moment.
    fn answered(&mut self, row: &RowKey, found: Result<Option<(Position, &[u8])>, bool>) {
        let usable = match found {
            Ok(found) => match self.partition.loaded(&mut self.around, row, found) {
                Ok(()) => true,
                Err(misfit) => {
                    let (code, what) = match &misfit {
                        Misfit::Missing(_) => ("row_missing", "is missing in the store"),
                        Misfit::Unreadable(_) => ("row_damaged", "cannot be read"),
                        Misfit::Ahead(_) => ("row_ahead", "reflects more than the log ever had"),
                        Misfit::Other(..) => ("row_mismatch", "is not the one that the log speaks of"),
                    };
                    self.alarm(code, &format!("{row:?} {what} ({misfit:?}): run `pyrouter fsck`."));
                    false
                }
            },
            Err(unusable) => {
                if unusable {
                    self.partition.unusable(&mut self.around, row);
                }
                false
            }
        };
        let now_s = self.seconds();
        self.partition.state.touch(row, now_s);
        self.retry_user(row);
        self.around.gateway.loaded(&Key::Row(row.clone()), usable);
    }

    /// A page of the store, or why it cannot be read.
    pub fn scanned(&mut self, token: u64, page: Result<Page, StoreError>) {
        let Some(question) = self.questions.take(token) else { return };
        let page = match page {
            Ok(page) => page,
            Err(error) => {
                self.alarm("store_unreadable", &format!("A page of the store cannot be read: {error}."));
                return match question {
                    Question::Index(user) => self.around.gateway.loaded(&Key::Index(user), false),
                    Question::Member(Some(session), _) => self.upkeep.pages_again.push(session),
                    // It is asked for again in the next period.
                    Question::Member(None, _) | Question::Rows => {}
                    Question::Unseen => self.upkeep.unseen_asked = false,
                };
            }
        };
        self.upkeep.fit_asked = false;
        let last = page.next.is_none();
        match question {
            Question::Index(user) => {
                let rows = index_rows(&page);
                self.partition.state.index_page(&user, &rows, last);
                match rows.last() {
                    Some((id, _)) if !last => self.ask_index(user, Some(*id)),
                    _ => self.around.gateway.loaded(&Key::Index(user), true),
                }
            }
            Question::Member(session, user) => {
                let ids = index_rows(&page).into_iter().map(|(id, _)| id).collect();
                self.partition.page(&mut self.around, (session, &user), ids, last);
            }
            Question::Unseen => self.take_unseen(page),
            Question::Rows => {}
        }
    }

    pub(crate) fn seconds(&self) -> u32 {
        u32::try_from(self.clock.mono_ms() / 1000).unwrap_or(u32::MAX)
    }
}

/// The rows of a page of the index: conversations and values.
fn index_rows(page: &Page) -> Vec<(ConversationId, u8)> {
    let rows = page.rows.iter().filter_map(|row| match (row, row_of(row.key())?) {
        (Lookup::Found(found), RowKey::Member(_, id)) => Some((id, *found.value.first()?)),
        _ => None,
    });
    rows.collect()
}
