//! A disk that forgets what was durable: bits flip while the machine is down.
//!
//! Not in the last segment: there, damage cannot be told from the end of an interrupted write. What the flipped bytes held
//! may be lost, and is told; of everything else nothing may be missing, though old news may come again.

use super::Sim;
use super::world::say;
use crate::engine::directory::UserState;
use crate::engine::records::kind;
use crate::log::{Disk, fsck};
use crate::wire::message::decode_stored;

impl Sim {
    pub(super) fn flip_bits(&mut self) {
        let Ok(names) = self.world.disk.list() else { return };
        let mut segments: Vec<u32> = names.iter().filter_map(|n| n.strip_suffix(".seg")?.parse().ok()).collect();
        segments.sort_unstable();
        // What stands before a segment that was begun is known to have been durable.
        let begun = |id: &u32| self.world.disk.contents(&name(*id)).is_some_and(|bytes| bytes.starts_with(b"PRB"));
        let Some(last) = segments.iter().copied().rev().find(begun) else { return };
        segments.retain(|id| *id < last);
        if segments.is_empty() {
            return;
        }
        let segment = segments[self.rng.below(segments.len())];
        let len = self.world.disk.contents(&name(segment)).map_or(0, |bytes| bytes.len());
        let from = self.rng.below(len);
        let to = (from + 1 + self.rng.below(30)).min(len);
        // The records that they touch, each with its header of 10 bytes.
        let mut touched = Vec::new();
        let looked = fsck(&self.world.disk, &mut |record| {
            let (start, end) = (record.at.offset as usize - 10, (record.at.offset + record.at.len) as usize);
            if record.at.segment == segment && start < to && from < end {
                touched.push((record.kind, record.body.to_vec()));
            }
        });
        if looked.is_err() || len == 0 {
            return;
        }
        say(|| format!("bytes {from} to {to} of segment {segment} are damaged: {} records", touched.len()));
        self.world.disk.damage(&name(segment), from..to, 1 << self.rng.below(8));
        touched.iter().for_each(|(kind, body)| self.lose(*kind, body));
        // What else the damaged bytes knew is unknown: cursors and ids may be as they were before.
        self.model.damaged = true;
        self.programs.iter_mut().flat_map(|p| p.inbox.values_mut()).for_each(|inbox| inbox.floor = 0);
        self.model.sendings.iter_mut().for_each(|sending| sending.forgotten = true);
    }

    fn lose(&mut self, kind: u8, body: &[u8]) {
        match kind {
            kind::MESSAGE | kind::CARRIED => {
                let message = decode_stored(body).unwrap();
                say(|| format!("{} of {:?} is damaged", message.seq, message.conversation));
                self.model.conversations.entry(message.conversation).or_default().lost.insert(message.seq);
            }
            kind::CONVERSATION => {
                let id = body[2..18].try_into().unwrap();
                say(|| format!("a state of {id:?} is damaged"));
                self.model.conversations.entry(id).or_default().unsure = true;
            }
            kind::USER => {
                let state = UserState::decode(&mut crate::engine::binary::Reader::new(body)).unwrap();
                say(|| format!("a state of {} is damaged", state.name));
            }
            _ => say(|| "cursors are damaged".to_owned()),
        }
    }
}

fn name(segment: u32) -> String {
    format!("{segment:012}.seg")
}
