//! What the embedder allows: asked before a session's first action of a kind in a conversation, known from then on.

use hashbrown::HashMap;
use seam::{Action, Address, ConversationId};

use crate::Gateway;
use crate::api::Request;

/// Answers of the embedder kept for one session. At more it is asked anew.
const PERMITS: usize = 4096;

/// What the embedder allowed or forbade in one session.
#[derive(Debug, Default)]
pub(crate) struct Permits {
    known: HashMap<(ConversationId, Action), bool>,
    /// What it was asked last, and has not answered yet.
    asked: Option<(ConversationId, Action)>,
}

impl Gateway {
    /// See [`Outputs::permit`](seam::Outputs::permit). Of each session one question is open at most.
    pub(crate) fn ask_permit(
        &mut self,
        of: Address,
        id: &ConversationId,
        action: Action,
        peer: Option<&str>,
    ) -> Option<bool> {
        if !self.config.authorize {
            return Some(true);
        }
        let slot = self.conns.slot(of)?;
        let session = self.conns.session_mut(slot)?;
        let permits = session.permits.get_or_insert_default();
        if let Some(&allowed) = permits.known.get(&(*id, action)) {
            return Some(allowed);
        }
        if permits.asked.replace((*id, action)) != Some((*id, action)) {
            let request = Request::Authorize {
                conn: of,
                ticket: action as u64,
                user: session.user.to_string(),
                device: u32::from(session.device),
                conversation: *id,
                peer: peer.map(str::to_owned),
                action: match action {
                    Action::Send => "send",
                    Action::Read => "read",
                    Action::Manage => "manage",
                },
            };
            self.requests.push_back(request);
        }
        None
    }

    /// The embedder's answer to a session's last question: it holds for this session. Another answer is passed over.
    pub fn permit(&mut self, id: Address, ticket: u64, allowed: bool) {
        let Some(slot) = self.conns.slot(id) else { return };
        let Some(session) = self.conns.session_mut(slot) else { return };
        let Some(permits) = &mut session.permits else { return };
        let Some(asked) = permits.asked.take_if(|asked| asked.1 as u64 == ticket) else { return };
        if permits.known.len() >= PERMITS {
            permits.known.clear();
        }
        permits.known.insert(asked, allowed);
        if let Some(waiting) = &mut session.waiting {
            waiting.permit = false;
        }
        self.make_ready(slot);
    }
}
