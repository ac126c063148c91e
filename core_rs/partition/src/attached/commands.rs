//! What sessions say to a partition.

use std::borrow::Cow;

use compact_str::CompactString;
use seam::{
    Action, Attach, Attached, Bodies, Commands, Credit, Env, Full, Lent, Outputs, Query, RowKey, Served, Taken, Token,
    Wait,
};
use smallvec::SmallVec;
use wire::codes;
use wire::types::{Ack, Change, ClientFrame, ConversationId, Manage, Read, Send, Target};

use super::{OVER, Session};
use crate::ids::UserSlot;
use crate::lazy::Mailbox;
use crate::partition::{Partition, waits};
use crate::propose::{self, Decided, Sent, Stop, refuse};
use crate::records::Record;
use crate::rows::Kind;

/// Records, and conversations, that a session which begins may cause at once.
const AT_ONCE: usize = 64;
/// Bytes of most messages' records beside the message.
const RECORD_HEAD: usize = 5;

impl Commands for Partition {
    fn uses(&self, from: Attached, frame: &ClientFrame<'_>, rows: &mut SmallVec<[RowKey; 4]>) {
        let Some(session) = self.sessions.get(from) else { return };
        // Whether a conversation is the user's is looked at first: to others it makes no difference whether there is one.
        let mine = |id: &ConversationId| RowKey::member(&session.name, id);
        match frame {
            ClientFrame::Send(send) => match &send.target {
                Target::User(peer) | Target::Device(peer, _) => rows.push(RowKey::user(peer)),
                Target::Conversation(id) => {
                    rows.push(mine(id));
                    rows.extend(self.peer(id, session.user).map(RowKey::User));
                }
            },
            ClientFrame::Manage(manage) => {
                rows.extend(propose::users(&manage.change).iter().map(|user| RowKey::user(user)));
                match (&manage.change, &manage.conversation) {
                    (Change::Joined { .. }, Some(id)) => rows.push(RowKey::Conversation(*id)),
                    (Change::Created { .. }, _) | (_, None) => {}
                    (_, Some(id)) => rows.push(mine(id)),
                }
            }
            // What was written to the session is in memory whatever others do.
            ClientFrame::Ack(Ack { conversation: Some(id), seq, .. })
            | ClientFrame::Read(Read { conversation: id, seq, .. })
                if !self.was_sent(session, from, id, *seq) =>
            {
                rows.push(mine(id));
            }
            ClientFrame::GroupGet { conversation: Some(id) } | ClientFrame::ProgressGet { conversation: id, .. } => {
                rows.push(mine(id));
            }
            ClientFrame::DevicesGet { user } => rows.push(RowKey::user(user)),
            ClientFrame::Block { user, .. } if !user.is_empty() => rows.push(RowKey::user(user)),
            _ => {}
        }
    }

    fn attach<E: Env>(&mut self, env: &mut E, who: &Attach<'_>) -> Result<Attached, Wait> {
        let user = match self.device(env, who) {
            Ok(user) => user,
            Err(stop) => return self.answer(env, who.address, &[], None, Err(stop)).map(|()| OVER),
        };
        let (at, (seen_s, first)) = self.sessions.begin(&mut self.state, env, user, who);
        // Durable before it is welcomed: a conversation that rests notes receipts for devices that receive, and a start drops
        // devices that were not seen for long.
        let due = first || propose::is_seen_late(seen_s, &self.config, env.lend().now);
        if let Some(seen) = self.state.seen_by(user, who.device).filter(|_| due) {
            // If there is no room, it is logged with the other lazy facts.
            let _ = self.commit(env, &[Record::Seen(seen)]);
        }
        if self.state.user(user).is_some_and(|row| !row.fits.is_empty()) {
            // What it waits for is asked for by upkeep.
            let _ = self.fit(env, AT_ONCE);
        }
        self.sessions.welcome(&mut self.state, env, at, AT_ONCE);
        self.enter(env);
        Ok(at)
    }

    fn detach<E: Env>(&mut self, env: &mut E, at: Attached) {
        self.end(env, at);
    }

    fn send<E: Env>(&mut self, env: &mut E, from: Attached, send: &Send<'_>) -> Taken {
        if let Target::User(peer) = &send.target {
            self.make_unknown(env, std::slice::from_ref(peer));
        }
        let Some(session) = self.sessions.get(from) else { return Ok(()) };
        let (name, mut stored) = (session.name.clone(), std::mem::take(&mut self.stored));
        let author = propose::Author { name: &name, user: session.user, device: session.device };
        let (now, last) = (env.lend().now, session.last.map(|last| last.slot));
        let decided = propose::send(&self.state, now, &self.config, author, last, send, &mut stored);
        let peer = match &send.target {
            Target::User(peer) => Some(CompactString::from(&**peer)),
            Target::Conversation(id) => self.peer(id, session.user),
            Target::Device(..) => None,
        };
        let taken = self.sent(env, from, &send.id, (Action::Send, peer.as_deref()), decided);
        self.stored = stored;
        taken
    }

    fn change<E: Env>(&mut self, env: &mut E, from: Attached, manage: &Manage<'_>) -> Taken {
        self.make_unknown(env, propose::users(&manage.change));
        let Some(session) = self.sessions.get(from) else { return Ok(()) };
        let (name, mut stored) = (session.name.clone(), std::mem::take(&mut self.stored));
        let author = propose::Author { name: &name, user: session.user, device: session.device };
        let now = env.lend().now;
        let decided = propose::change(&self.state, now, &self.config, author, manage, &mut stored);
        let taken = self.sent(env, from, &manage.id, (Action::Manage, None), decided);
        self.stored = stored;
        taken
    }

    fn ack<E: Env>(&mut self, env: &mut E, from: Attached, id: &ConversationId, seq: u64) -> Taken {
        let Some(session) = self.sessions.get_mut(from) else { return Ok(()) };
        let address = session.address;
        let done = self.state.mailbox(session.author(), id, session.last).and_then(|at| {
            session.last = Some(at);
            let covered = self.state.covered(at, seq);
            Ok((at, covered, self.state.ack(at, seq)?))
        });
        let (at, covered, news) = match done {
            Ok(done) => done,
            Err(stop) => return self.answer(env, address, &[], Some(id), Err(stop)),
        };
        let Lent { now, bodies, out, .. } = env.lend();
        self.state.freed.drain(..).for_each(|(place, hint)| bodies.remove(place, hint));
        let online = self.state.free(at, seq, covered).and_then(|online| self.sessions.get(online));
        if let Some(session) = online.filter(|_| covered.0 > 0) {
            out.freed(session.address, covered.0, covered.1);
        }
        if let Some(news) = news {
            self.sessions.tell(&self.state, at.slot, &news, None, now.mono_ms, out);
        }
        Ok(())
    }

    fn read<E: Env>(&mut self, env: &mut E, from: Attached, read: &Read<'_>) -> Taken {
        let Some(session) = self.sessions.get_mut(from) else { return Ok(()) };
        let (address, user, device, told_all) = (session.address, session.user, session.device, session.is_told_all());
        let id = &read.conversation;
        let found = self.state.mailbox(session.author(), id, session.last);
        let at = match found {
            Ok(at) => at,
            Err(stop) => return self.answer(env, address, &[], Some(id), Err(stop)),
        };
        session.last = Some(at);
        let peer = self.peer(id, user);
        match env.lend().out.permit(address, id, Action::Read, peer.as_deref()) {
            None => return Err(Wait::Permit(*id, Action::Read)),
            Some(false) => return self.answer(env, address, &[], Some(id), refuse(codes::FORBIDDEN)),
            Some(true) => {}
        }
        let news = match self.state.read(at, read.seq, &read.authors) {
            Ok(news) => news,
            Err(stop) => return self.answer(env, address, &[], Some(id), Err(stop)),
        };
        let Some(news) = news else { return Ok(()) };
        let Lent { now, out, .. } = env.lend();
        // To oneself one is the author as well, who waits to be told.
        let alone = self.state.conversation(at.slot).is_some_and(|active| active.row.members.len() == 1);
        self.sessions.tell(&self.state, at.slot, &news, Some(from).filter(|_| !alone), now.mono_ms, out);
        let Some(session) = self.sessions.get_mut(from).filter(|session| session.receives && told_all && !alone) else {
            return Ok(());
        };
        // It is not told of its own reading: if it has all receipts, it has this one.
        let has = self.state.device(user, device).is_some_and(|device| device.row.receipts >= session.given);
        session.told = self.state.versions.last;
        if has {
            let _ = self.state.seen(session.author(), session.told);
        }
        Ok(())
    }

    fn confirm<E: Env>(&mut self, _env: &mut E, from: Attached, seen: &[(ConversationId, u64)]) {
        if let Some(session) = self.sessions.get(from) {
            // Its row is in memory while it is attached, unless its device is no more.
            let _ = self.state.confirm(session.author(), seen);
        }
    }

    fn seen<E: Env>(&mut self, _env: &mut E, from: Attached, receipts: &Token) {
        let Some((generation, version)) = self.sessions.tokens.take(receipts) else { return };
        let session = self.sessions.get(from).filter(|session| session.receives);
        if let Some(session) = session.filter(|_| generation == self.state.generation.number) {
            // Who has all that concerns it needs nothing up to now.
            let all = version >= session.given && session.is_told_all();
            let _ = self.state.seen(session.author(), if all { self.state.versions.last } else { version });
        }
    }

    fn block<E: Env>(&mut self, env: &mut E, from: Attached, user: &str, off: bool) -> Taken {
        let Some(session) = self.sessions.get(from) else { return Ok(()) };
        let (address, name) = (session.address, session.name.clone());
        match propose::block(&self.state, &self.config, &name, user, off) {
            Ok(None) => {}
            Ok(Some(records)) => {
                if self.commit(env, &records).is_err() {
                    return self.answer(env, address, &[], None, refuse(codes::STORAGE_FULL));
                }
            }
            Err(stop) => return self.answer(env, address, &[], None, Err(stop)),
        }
        self.query(env, from, &Query::Blocks)
    }

    fn query<E: Env>(&mut self, env: &mut E, from: Attached, query: &Query<'_>) -> Taken {
        let Some(session) = self.sessions.get(from) else { return Ok(()) };
        let (address, at, out) = (session.address, self.state.exact, env.lend().out);
        let answered = self.state.query(session.author(), query, |frame| out.answer(address, frame, at));
        let conversation = match query {
            Query::Group(id) | Query::Progress(id, _) => Some(id),
            Query::Devices(_) | Query::Groups | Query::Blocks => None,
        };
        self.answer(env, address, &[], conversation, answered)
    }

    fn credit<E: Env>(&mut self, env: &mut E, to: Attached, credit: Credit) -> Served {
        self.sessions.credit(&mut self.state, env, to, credit)
    }

    fn notify<E: Env>(&mut self, env: &mut E, to: Attached, most: usize) -> Served {
        self.sessions.notify(&self.state, env, to, most)
    }
}

impl Partition {
    /// The device of a session that begins, with its user: what is not there is made, if it may be.
    fn device<E: Env>(&mut self, env: &mut E, who: &Attach<'_>) -> Decided<UserSlot> {
        if self.state.need_user(who.user)?.is_none() {
            if !who.create {
                return refuse(codes::BAD_TOKEN);
            }
            let records = propose::create_user(&self.state, who.user)?;
            if records.is_some_and(|records| self.commit(env, &records).is_err()) {
                return refuse(codes::STORAGE_FULL);
            }
        }
        let registered = self.state.need_user(who.user)?.map(|(user, row)| (user, row.devices.contains(&who.device)));
        let Some((user, registered)) = registered else { return refuse(codes::BAD_TOKEN) };
        if !registered {
            let records = propose::begin_device(&self.state, env.lend().now, &self.config, who.user, who.device)?;
            if self.commit(env, &records).is_err() {
                return refuse(codes::STORAGE_FULL);
            }
            self.sessions.fits(user);
        }
        self.state.author(who.user, who.device).map(|author| author.user)
    }

    /// Makes users who are known not to be there, if that is wanted; not in what a full disk keeps.
    fn make_unknown<E: Env>(&mut self, env: &mut E, names: &[Cow<'_, str>]) {
        let wanted = self.config.create_unknown;
        for name in names.iter().filter(|_| wanted) {
            if env.lend().room > 0
                && let Ok(Some(records)) = propose::create_user(&self.state, name)
            {
                // If it is not made, there is none.
                let _ = self.commit(env, &records);
            }
        }
    }

    /// Whether a session was written something up to `seq`.
    fn was_sent(&self, session: &Session, at: Attached, id: &ConversationId, seq: u64) -> bool {
        let Ok(mailbox) = self.state.mailbox(session.author(), id, session.last) else { return false };
        let online = self.state.conversation(mailbox.slot).and_then(|a| a.online.get(mailbox.member, mailbox.device));
        online.is_some_and(|online| online.session == at && seq <= online.last)
    }

    /// The other user of a direct conversation of this user in memory.
    fn peer(&self, id: &ConversationId, user: UserSlot) -> Option<CompactString> {
        let active = self.state.active(id).filter(|active| active.row.kind == Kind::Direct)?;
        active.member(user, 0)?;
        let other = active.row.iter().map(|(_, member)| member.user).find(|&other| other != user).unwrap_or(user);
        Some(self.state.names.text(other).into())
    }

    /// A command that was refused is answered; one that waits is given again.
    fn answer<E: Env>(
        &mut self,
        env: &mut E,
        to: seam::Address,
        id: &[u8],
        conversation: Option<&ConversationId>,
        stopped: Decided<()>,
    ) -> Taken {
        match stopped {
            Ok(()) => Ok(()),
            Err(Stop::Refused(mut refusal)) => {
                refusal.conversation = refusal.conversation.or(conversation.copied());
                env.lend().out.refused(to, id, &refusal, self.state.exact);
                Ok(())
            }
            Err(stop) => waits(stop).map_or(Ok(()), Err),
        }
    }

    /// What a message or a change of a group came to.
    fn sent<E: Env>(
        &mut self,
        env: &mut E,
        from: Attached,
        id: &[u8],
        (action, peer): (Action, Option<&str>),
        decided: Decided<Sent<'_>>,
    ) -> Taken {
        let Some(to) = self.sessions.get(from).map(|session| session.address) else { return Ok(()) };
        let (conversation, seq, records) = match decided {
            Ok(Sent::New { conversation, seq, records }) => (conversation, seq, records),
            Ok(Sent::Again(known)) => {
                let (out, at) = (env.lend().out, self.state.exact);
                out.accepted(to, id, &known.conversation, known.seq, known.time_ms, at);
                return Ok(());
            }
            Err(stop) => return self.answer(env, to, id, None, Err(stop)),
        };
        let Lent { room, out, .. } = env.lend();
        match out.permit(to, &conversation, action, peer) {
            None => return Err(Wait::Permit(conversation, action)),
            Some(false) => return self.answer(env, to, id, Some(&conversation), refuse(codes::FORBIDDEN)),
            Some(true) => {}
        }
        let message = records.iter().find_map(|record| if let Record::Message(m) = record { Some(m) } else { None });
        let Some(message) = message else { return Ok(()) };
        let stored = message.parts();
        let full = stored.iter().map(|part| part.len()).sum::<usize>() + RECORD_HEAD > room;
        let committed = if full { Err(Full::Disk) } else { self.commit(env, &records) };
        let (position, slot) = match committed {
            Ok(committed) => (committed.position, committed.slot),
            Err(Full::Disk) => return self.answer(env, to, id, None, refuse(codes::STORAGE_FULL)),
            Err(Full::Batch) => return self.answer(env, to, id, None, refuse(codes::BODY_TOO_LARGE)),
        };
        let Lent { bodies, out, .. } = env.lend();
        out.accepted(to, id, &conversation, seq, message.message.time, position);
        let Some((slot, active)) = slot.and_then(|slot| Some((slot, self.state.conversation_mut(slot)?))) else {
            return Ok(());
        };
        if let Some(entry) = active.entries.get_mut(seq) {
            entry.hint = bodies.insert(entry.place, &stored);
        }
        // A direct conversation is found again without its id being computed.
        if let Some(session) = self.sessions.get_mut(from)
            && let Some((member, _)) = active.peer(session.user)
        {
            session.last = Some(Mailbox { slot, member, device: session.device });
        }
        Ok(())
    }
}
