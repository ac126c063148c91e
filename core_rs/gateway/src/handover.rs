//! A live session moves to another process: its bytes and its socket go there, and the connection here is forgotten.
//!
//! Its held outputs are waited for, frames that wait go along. What the session used, and what the embedder allowed, does not:
//! the trips are made, and the embedder is asked, again. Receipts are told again from what the device acknowledged.

use seam::{Address, Commands};

use crate::accounts::Source;
use crate::api::Carrier;
use crate::conns::{Asked, Conn, Session, State};
use crate::deferred::{Frames, Waiting};
use crate::login::NoSession;
use crate::out::pause;
use crate::runs::Run;
use crate::saved::Saved;
use crate::{Gateway, Host};

impl Gateway {
    /// Takes the session of a socket out, as bytes, with all that its transport has not taken. From the first call on it is not
    /// read. `None`: outputs are held for it; to be called again after the next sync.
    ///
    /// # Errors
    /// There is no live session, or it is too long: the connection is to be closed.
    pub fn hand_over<H: Host>(host: &mut H, id: Address) -> Result<Option<Vec<u8>>, NoSession> {
        let gateway = host.gateway();
        let slot = gateway.conns.slot(id).ok_or(NoSession)?;
        let conn = gateway.conns.get(slot).ok_or(NoSession)?;
        let Conn { state: State::Live, carrier: Carrier::Socket, session: Some(session), .. } = conn else {
            return Err(NoSession);
        };
        let (held, attached) = (session.held, session.attached.ok_or(NoSession)?);
        gateway.conns.outs.pause(slot, pause::MOVING, true);
        if held > 0 {
            return Ok(None);
        }
        let mut sent = Vec::new();
        host.split().0.in_flight(attached, &mut sent);
        let gateway = host.gateway();
        let framing = gateway.conns.outs.framing(slot);
        let output = gateway.conns.outs.lend(slot);
        let conn = gateway.conns.get(slot).ok_or(NoSession)?;
        let session = conn.session.as_ref().ok_or(NoSession)?;
        let mut link = Vec::new();
        conn.link.save(&mut link);
        let saved = Saved {
            framing,
            receive: session.receive,
            user: &session.user,
            device: session.device,
            expires_ms: session.expires_ms,
            window: session.run.window(),
            sent,
            link: &link,
            output: &output,
            deferred: session.waiting.as_ref().map_or(&[][..], |waiting| waiting.frames.as_bytes()),
        };
        let bytes = saved.save().ok_or(NoSession);
        gateway.forget(slot);
        bytes.map(Some)
    }

    /// Goes on with a session that another process handed over; `user` and `source` as for [`Gateway::open`].
    ///
    /// # Errors
    /// These are no such bytes, or those of a later build, or its user has too many connections: the socket is to be closed.
    pub fn take_over(&mut self, user: usize, source: Option<Source>, bytes: &[u8]) -> Result<Address, NoSession> {
        let saved = Saved::restore(bytes).ok_or(NoSession)?;
        let link = link::Link::restore(saved.link).ok_or(NoSession)?;
        let frames = Frames::restore(saved.deferred).ok_or(NoSession)?;
        if self.failed.is_some() || self.stopping {
            return Err(NoSession);
        }
        let mut payer = self.accounts.open(source, self.now.mono_ms).ok_or(NoSession)?;
        if !self.accounts.admit(&mut payer, saved.user) {
            self.accounts.close(payer);
            return Err(NoSession);
        }
        let address = self.conns.open(user, Carrier::Socket, Some(payer), self.now.mono_ms);
        let slot = address.slot();
        self.conns.outs.set_framing(slot, saved.framing);
        self.conns.outs.append(slot, saved.output);
        self.conns.outs.pause(slot, pause::JOINING, true);
        let [window, in_flight] = saved.window;
        if let Some(conn) = self.conns.get_mut(slot) {
            conn.link = link;
            conn.session = Some(Box::new(Session {
                user: saved.user.into(),
                expires_ms: saved.expires_ms,
                // Of what nobody knows that it was sent, all is sent again.
                run: Run::new(window, if saved.sent.is_empty() { (0, 0) } else { in_flight }),
                asked: Some(Box::new(Asked { returns: Some(saved.sent), ..Asked::default() })),
                waiting: Some(Box::new(Waiting { frames, ..Waiting::default() })),
                device: saved.device,
                receive: saved.receive,
                ..Session::new()
            }));
        }
        self.begin_to_join(slot);
        Ok(address)
    }
}
