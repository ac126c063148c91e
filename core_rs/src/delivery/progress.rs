//! Who has a message of a group, who read it.

use super::acks::Refusal;
use super::{Delivery, conversation::Member};
use crate::engine::directory::Directory;
use crate::wire::types::{ConversationId, CursorOf};

impl Delivery {
    /// How far everybody is who is to get message `seq` of a group, its author aside as long as the message is here; asked
    /// by a member that may see it.
    pub fn progress<'a>(
        &self,
        dir: &'a Directory,
        user: u32,
        id: &ConversationId,
        seq: u64,
    ) -> Result<Vec<CursorOf<'a>>, Refusal> {
        let conversation = self.find(id).and_then(|slot| self.get(slot)).filter(|c| c.group.is_some());
        let conversation = conversation.ok_or(Refusal::Unknown)?;
        let asks = conversation.member(user, 0).and_then(|index| conversation.members.get(index));
        if !asks.is_some_and(Member::is_current) {
            return Err(Refusal::Unknown);
        }
        if seq > conversation.head || !asks.is_some_and(|member| member.sees(seq)) {
            return Err(Refusal::BeyondHead);
        }
        let author = conversation.entry(seq).map(|entry| usize::from(entry.author));
        let members = conversation.members.iter().enumerate();
        let concerned = members.filter(|(index, member)| Some(*index) != author && member.sees(seq));
        let cursor = |member: &Member| CursorOf {
            user: dir.name(member.user),
            delivered: member.delivered,
            read: member.read.min(member.delivered),
            skipped: member.skips(seq),
        };
        Ok(concerned.map(|(_, member)| cursor(member)).collect())
    }
}
