//! What the model looks at inside a node, and what is told of it.

use std::collections::BTreeMap;

use gateway::State;
use wire::types::ConversationId;

use super::world::{World, traced};

impl World {
    /// Whether a connection was welcomed.
    pub fn joined(&self, wire: usize) -> bool {
        let conn = self.wires.get(&wire).and_then(|w| w.conn);
        conn.and_then(|conn| self.node.around.gateway.state(conn)) == Some(State::Live)
    }

    /// The devices of a user, if its row is in memory.
    pub fn devices(&self, user: &str) -> Option<Vec<u32>> {
        let (_, row) = self.node.partition.state.user_named(user)?;
        Some(row.devices.iter().map(|&device| u32::from(device)).collect())
    }

    /// The cursor of a device, if its conversation is in memory.
    pub fn cursor(&self, id: &ConversationId, user: &str, device: u32) -> Option<u64> {
        let state = &self.node.partition.state;
        let (active, user) = (state.active(id)?, state.names.find(user)?);
        let members = active.row.iter().map(|(_, member)| member).filter(|member| member.user == user);
        members.flat_map(|member| &member.cursors).find(|c| u32::from(c.device) == device).map(|c| c.acked)
    }

    /// The last message of a conversation that is to be seen, if it is in memory.
    pub fn visible(&self, id: &ConversationId) -> Option<u64> {
        Some(self.node.partition.state.active(id)?.visible)
    }

    /// Conversations in which something waits, for the one who looks into a failure.
    pub fn pending(&self) -> Vec<String> {
        let all = self.node.partition.state.conversations().map(|(_, active)| active);
        all.filter(|active| !active.entries.is_empty()).map(|active| format!("{:?}", active.row)).collect()
    }

    /// Tells what changed in memory, if that is wanted.
    pub fn tell(&mut self) {
        if !traced() {
            return;
        }
        let state = &self.node.partition.state;
        let mut now = BTreeMap::new();
        for (slot, entry) in state.users.iter() {
            let name = state.names.text(slot);
            if let Some(row) = &entry.row {
                now.insert(format!("user {name}"), format!("{:?} fits {:?}", row.devices, row.fits));
            }
            for device in &entry.devices {
                let row = &device.row;
                let told =
                    format!("seen {} receipts {} owed {:?} pins {}", row.seen_s, row.receipts, row.owed, device.pins);
                now.insert(format!("device {name} {}", device.id), told);
            }
        }
        for (_, active) in state.conversations() {
            let members = active.row.iter().map(|(_, m)| {
                let name = state.names.text(m.user);
                let cursors: Vec<_> = m.cursors.iter().map(|c| (c.device, c.acked, c.base, c.fresh)).collect();
                format!("{name} {}-{} delivered {} read {} {:?} {cursors:?}", m.from, m.to, m.delivered, m.read, m.rare)
            });
            let members: Vec<_> = members.collect();
            let row = &active.row;
            let told = format!("{} of {} floor {} {members:?}", active.visible, row.head, row.floor);
            now.insert(format!("{:?}", active.id), told);
        }
        for (what, state) in &now {
            if self.told.get(what) != Some(state) {
                eprintln!("    {what}: {state}");
            }
        }
        for what in self.told.keys().filter(|what| !now.contains_key(*what)) {
            eprintln!("    {what}: not in memory");
        }
        self.told = now;
    }
}
