//! What the embedder allows: asked before a session's first action of a kind in a conversation, known from then on.

use super::Engine;
use super::api::{ConnId, Request};
use crate::wire::types::ConversationId;

/// Answers of the embedder kept for one session; at more it is asked anew.
const PERMITS: usize = 4096;

/// What the embedder is asked about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Action {
    /// To send messages.
    Send = 0,
    /// To tell that they were read.
    Read = 1,
    /// To make a group, to change it, or to join it.
    Manage = 2,
}

impl Action {
    fn name(self) -> &'static str {
        match self {
            Self::Send => "send",
            Self::Read => "read",
            Self::Manage => "manage",
        }
    }
}

impl Engine {
    /// Whether the embedder allows a session to do this in a conversation; `None`: it has been asked. It is not asked
    /// about what is refused anyway.
    pub(super) fn permitted(&mut self, slot: u32, id: &ConversationId, action: Action) -> Option<bool> {
        if !self.config.authorize {
            return Some(true);
        }
        let session = self.conns.session(slot)?;
        let known = session.permits.as_ref().and_then(|p| p.known.get(&(*id, action)));
        if let Some(allowed) = known {
            return Some(*allowed);
        }
        let writers = self.sequencer.writers(id).unwrap_or_default();
        let member = match self.sequencer.group(id) {
            Some(group) => group.role(session.user).is_some(),
            None => writers.iter().any(|w| w.user == session.user),
        };
        if !member && action != Action::Manage {
            return Some(true);
        }
        let peer = writers.iter().find(|w| w.user != session.user).or(writers.first()).map(|w| w.user);
        let request = Request::Authorize {
            conn: self.conns.id(slot),
            ticket: action as u64,
            user: self.directory.name(session.user).to_owned(),
            device: u32::from(session.device),
            conversation: *id,
            peer: peer.map(|peer| self.directory.name(peer).to_owned()),
            action: action.name(),
        };
        self.requests.push_back(request);
        if let Some(session) = self.conns.session_mut(slot) {
            session.permits.get_or_insert_default().asked = Some((*id, action));
        }
        None
    }

    /// The embedder's answer to the session's last question: it holds for this session.
    pub fn permit(&mut self, id: ConnId, ticket: u64, allowed: bool) {
        let Some(slot) = self.conns.slot(id) else { return };
        let Some(permits) = self.conns.session_mut(slot).and_then(|s| s.permits.as_mut()) else { return };
        match permits.asked {
            Some(asked) if asked.1 as u64 == ticket => {
                if permits.known.len() >= PERMITS {
                    permits.known.clear();
                }
                permits.known.insert(asked, allowed);
                permits.asked = None;
            }
            _ => return,
        }
        self.make_ready(slot);
        self.settle();
    }
}
