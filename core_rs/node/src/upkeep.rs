//! What a node does beside serving: lazy facts are logged, changes of devices are taken up, what was held too long is dropped,
//! devices that nobody uses are dropped, and the log's oldest segment goes. A bounded part of each in a turn.

use bytes::Bytes;
use log::LogError;
use partition::attached::Want;
use partition::partition::Fit;
use partition::records::{Message, Record};
use partition::retention::{Need, Oldest};
use seam::{ConversationId, Now, Place, RowKey};
use store::{Kind, Lookup, Page, Scan};

use crate::api::Request;
use crate::journal::ref_of;
use crate::keys::row_of;
use crate::node::{Node, Question, Reading};
use crate::trim::Next;

/// How often what is slow is looked at, ms; lazy facts are logged after this at the latest (I3).
const PERIOD_MS: u64 = 1000;
/// Records of lazy facts, mailboxes of devices, and sessions that may be told of groups, in a turn.
const PER_TURN: usize = 256;
/// Records that are written again in a turn for the oldest segment.
const RETAINED: usize = 256;
/// The same of a segment that goes only if it is hardly needed.
const CHEAP: usize = 16;
/// What a record that is written again takes beside an image or a message, about, bytes.
const RECORD_BYTES: usize = 64;
/// Fewest and most conversations that are looked at in a period for messages that were held too long.
const EXPIRY: (usize, usize) = (1024, 8192);
/// Users in memory that are looked at in a period for devices that were not seen.
const UNSEEN: usize = 1024;
/// A page of the store is read for the same so many periods apart.
const UNSEEN_PERIODS: u64 = 10;

/// A page is read again so often because of rows that are needed.
const UNSEEN_AGAIN: u8 = 3;

/// A message that is written again.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Carry {
    conversation: ConversationId,
    seq: u64,
    place: Place,
}

/// See the module.
#[derive(Debug)]
pub struct Upkeep {
    at_ms: u64,
    periods: u64,
    /// Lazy facts are being logged.
    flushing: bool,
    /// Something is to be done about the oldest segment now.
    trimming: bool,
    /// Messages of it are being read.
    carrying: bool,
    /// Conversations that are still to be looked at in this period.
    expiring: usize,
    /// A page of devices was asked for.
    pub(crate) unseen_asked: bool,
    /// Where the look at users in memory, and at devices at rest, goes on.
    unseen: (usize, Option<store::Key>),
    /// How often the page of devices at rest was read anew, because rows were needed.
    unseen_again: u8,
    /// Changes of devices wait for rows or a page that was asked for.
    pub(crate) fit_asked: bool,
    /// Rows could not be read: whoever waits for them asks again in the next period, …
    pub(crate) rows_again: bool,
    /// … and so do these sessions, whose pages could not be.
    pub(crate) pages_again: Vec<seam::Attached>,
}

impl Upkeep {
    pub(crate) fn new(now: Now) -> Self {
        Self {
            at_ms: now.mono_ms,
            periods: 0,
            flushing: false,
            trimming: true,
            carrying: false,
            expiring: 0,
            unseen_asked: false,
            unseen: (0, None),
            unseen_again: 0,
            fit_asked: false,
            rows_again: false,
            pages_again: Vec::new(),
        }
    }

    pub(crate) fn next_timer(&self) -> Option<u64> {
        Some(self.at_ms)
    }
}

impl Node {
    /// After a start: what is told before it is logged needs a bound that is durable, and users may be known to have more.
    pub(crate) fn begin(&mut self) {
        self.bound();
    }

    /// One bounded part of everything. True: there is more.
    pub(crate) fn maintain(&mut self) -> bool {
        let now_ms = self.clock.mono_ms();
        if now_ms >= self.upkeep.at_ms {
            self.upkeep.at_ms = now_ms + PERIOD_MS;
            self.upkeep.periods += 1;
            (self.upkeep.flushing, self.upkeep.trimming, self.upkeep.fit_asked) = (true, true, false);
            self.bound();
            if std::mem::take(&mut self.upkeep.rows_again) {
                self.partition.rows_again(&mut self.around);
            }
            for session in std::mem::take(&mut self.upkeep.pages_again) {
                self.partition.page_again(&mut self.around, session);
            }
            if self.clock.trusted() {
                self.expire_begin();
                self.drop_unseen();
            }
            self.rest_begin();
        }
        let mut more = self.fit();
        more |= self.expire();
        more |= self.partition.burst(&mut self.around, PER_TURN);
        if self.upkeep.flushing {
            self.upkeep.flushing = self.flush(PER_TURN);
            more |= self.upkeep.flushing;
        }
        more |= self.trim();
        more | self.rest()
    }

    /// The bound of receipt versions rises before it is reached.
    fn bound(&mut self) {
        if let Some(record) = self.partition.state.bound_due() {
            self.commit(&[record]);
        }
    }

    /// Commits records of the node's own. What the journal does not take is found to be due again.
    pub(crate) fn commit(&mut self, records: &[Record<'_>]) -> bool {
        self.partition.commit(&mut self.around, records).is_ok()
    }

    /// Logs lazy facts; whether there are more.
    pub(crate) fn flush(&mut self, most: usize) -> bool {
        self.partition.flush(&mut self.around, most).unwrap_or(false)
    }

    /// Changes of devices reach conversations; whether there is more to do now.
    fn fit(&mut self) -> bool {
        if self.upkeep.fit_asked {
            return false;
        }
        match self.partition.fit(&mut self.around, PER_TURN) {
            Fit::Done => false,
            Fit::More => true,
            Fit::Wants(want) => {
                // Asked for once, until something came.
                self.upkeep.fit_asked = !matches!(want, Want::Rest(_));
                self.want(want);
                !self.upkeep.fit_asked
            }
        }
    }

    /// Drops what was held too long, in some of the conversations: all of them within a tenth of that time, and an hour.
    fn expire_begin(&mut self) {
        let periods = (self.config.hold_ms / 10).min(3_600_000) / PERIOD_MS;
        let all = self.partition.state.conversation_slots();
        let most = all.div_ceil(periods.max(1) as usize).clamp(EXPIRY.0, EXPIRY.1);
        self.upkeep.expiring = most;
    }

    /// Some of them in a turn; whether there are more.
    fn expire(&mut self) -> bool {
        if !self.clock.trusted() {
            self.upkeep.expiring = 0;
        }
        let before = self.partition.state.pending_totals().0;
        let looked = self.partition.expire(&mut self.around, self.upkeep.expiring);
        // What the journal does not take is found again in the next pass.
        self.upkeep.expiring -= looked.unwrap_or(usize::MAX).min(self.upkeep.expiring);
        self.stats.expired_total += before.saturating_sub(self.partition.state.pending_totals().0);
        self.upkeep.expiring > 0
    }

    /// Looks for devices that were not connected for as long as messages are held.
    fn drop_unseen(&mut self) {
        if let Ok((next, rows)) = self.partition.drop_unseen(&mut self.around, self.upkeep.unseen.0, UNSEEN) {
            self.upkeep.unseen.0 = next.unwrap_or(0);
            self.load(rows);
        }
        if self.upkeep.periods.is_multiple_of(UNSEEN_PERIODS) && !self.upkeep.unseen_asked {
            self.ask_unseen();
        }
    }

    fn ask_unseen(&mut self) {
        self.upkeep.unseen_asked = true;
        let scan = Scan::kind(Kind::Device);
        let scan = self.upkeep.unseen.1.clone().map_or_else(|| scan.clone(), |after| scan.clone().after(after));
        let token = self.questions.ask(Question::Unseen);
        self.requests.push_back(Request::Page { token, scan });
    }

    /// A page of devices at rest came.
    pub(crate) fn take_unseen(&mut self, page: Page) {
        self.upkeep.unseen_asked = false;
        let mut needed = Vec::new();
        for row in &page.rows {
            let (Lookup::Found(found), Some(RowKey::Device(name, device))) = (row, row_of(row.key())) else { continue };
            if let Ok(row) = partition::rows::Device::decode(&found.value) {
                let rows = self.partition.drop_unseen_of(&mut self.around, &name, &[(device, row.seen_s)]);
                needed.extend(rows.unwrap_or_default());
            }
        }
        // The same page again, behind the rows: first that of the user, then that of the device.
        if !needed.is_empty() && self.upkeep.unseen_again < UNSEEN_AGAIN {
            self.upkeep.unseen_again += 1;
            self.load(needed);
            return self.ask_unseen();
        }
        self.upkeep.unseen_again = 0;
        self.upkeep.unseen.1 = page.next;
    }

    /// The next step of removing the log's oldest segment; true: there is more to do now.
    fn trim(&mut self) -> bool {
        if !self.upkeep.trimming || self.upkeep.carrying {
            return false;
        }
        self.upkeep.trimming = false;
        match self.trim.next(self.synced, self.wanted_bytes()) {
            Next::Nothing => {}
            Next::Retain { oldest, cheap } => return self.retain(oldest, if cheap { CHEAP } else { RETAINED }, cheap),
            Next::Keep(first) => {
                self.around.journal.log().keep_from(first);
                // The header of a batch says it.
                let record = self.partition.state.bound(self.partition.state.versions.bound);
                if self.commit(&[record]) {
                    self.trim.told_at(self.partition.state.position);
                }
            }
            Next::Unlink(segment) => {
                self.trim.going();
                self.requests.push_back(Request::Unlink(segment));
            }
        }
        false
    }

    /// Bytes that the log is needed for: undelivered messages, and images of rows.
    fn wanted_bytes(&self) -> u64 {
        self.partition.state.pending_totals().1 + self.partition.state.image_bytes()
    }

    fn retain(&mut self, oldest: u32, most: usize, cheap: bool) -> bool {
        let needs = match self.partition.state.retain(oldest, most) {
            Oldest::FreeAt(position) => {
                self.trim.free_at(position);
                return true;
            }
            Oldest::Needs(needs) if cheap && !self.trim.may_spend(needs.iter().map(bytes_of).sum()) => return false,
            Oldest::Needs(needs) => needs,
        };
        self.upkeep.trimming = true;
        let mut carry = Vec::new();
        for need in needs {
            match need {
                Need::Record(record) => {
                    if !self.commit(&[record]) {
                        self.upkeep.trimming = false;
                        return false;
                    }
                }
                Need::Carry { conversation, seq, place } => carry.push(Carry { conversation, seq, place }),
            }
        }
        if carry.is_empty() {
            return true;
        }
        self.upkeep.carrying = true;
        let refs = carry.iter().map(|carry| ref_of(carry.place)).collect();
        let token = self.reads.insert(Reading::Carry(carry)) as u64;
        self.requests.push_back(Request::Read { token, refs });
        false
    }

    /// Messages of the oldest segment were read: they are written again.
    pub(crate) fn carry(&mut self, carried: Vec<Carry>, bodies: Vec<Result<Bytes, LogError>>) {
        self.upkeep.carrying = false;
        let mut lost = 0;
        for (Carry { conversation, seq, place }, body) in carried.into_iter().zip(bodies) {
            // What was collected meanwhile is not carried.
            let there =
                |node: &Self| node.partition.state.active(&conversation)?.entries.get(seq).map(|entry| entry.place);
            if there(self) != Some(place) {
                continue;
            }
            let record = match &body {
                Ok(body) => Message::decode(body).ok(),
                Err(error) if error.is_loss() => None,
                Err(_) => continue,
            };
            match record {
                Some(message) => {
                    self.stats.carried_total += u64::from(self.commit(&[Record::Carried(message)]));
                }
                None => {
                    lost += 1;
                    let active = self.partition.state.active(&conversation);
                    let records = active
                        .and_then(|active| partition::propose::lost(&self.partition.state, active, &[(seq, seq)]));
                    if let Some(records) = records {
                        self.commit(&records);
                    }
                }
            }
        }
        if lost > 0 {
            self.stats.lost_total += lost;
            self.alarm("log_findings", &format!("{lost} messages cannot be read from the log any more."));
        }
    }

    /// A segment is gone.
    pub fn unlinked(&mut self, segment: u32) {
        self.trim.unlinked(segment);
        self.partition.state.trimmed(segment);
        self.upkeep.trimming = true;
    }
}

/// What is written for a need, about, bytes.
fn bytes_of(need: &Need) -> u64 {
    let body = match need {
        Need::Record(Record::Image { bytes, .. }) => bytes.len(),
        Need::Record(_) => 0,
        Need::Carry { place, .. } => place.len as usize,
    };
    (body + RECORD_BYTES) as u64
}
