//! The end of a run: the disk heals, everybody comes back and takes what is theirs; then nothing may be left, and nothing
//! may be missing.

use super::Sim;
use super::crowd::Crowd;
use std::collections::HashMap;

use super::model::{Aim, Counts, Who};
use crate::tests::kept;
use crate::trim::Next;
use wire::types::{Ack, ConversationId};

/// How far users read at the end.
type Reads = HashMap<(ConversationId, Who), u64>;

/// Rounds in which everybody takes and acknowledges, at most.
const ROUNDS: usize = 3_000;

impl Sim {
    pub(super) fn finish(&mut self) {
        self.world.disk.set_capacity(u64::MAX);
        self.restart_well();
        self.world.prompt = true;
        for (wire, _) in std::mem::take(&mut self.abandoned) {
            self.world.cut(wire);
        }
        self.drain();
        self.check_mailboxes();
        let mut finally: Reads = HashMap::new();
        for place in 0..self.programs.len() {
            let inbox = &self.programs[place].inbox;
            let mut reads: Vec<_> = inbox.iter().filter(|(_, i)| i.acked > 0).map(|(at, i)| (*at, i.acked)).collect();
            reads.sort_unstable();
            for (at, seq) in reads {
                let read = finally.entry((at, self.programs[place].device.0)).or_default();
                *read = seq.max(*read);
                self.feed_read(place, at, seq);
            }
        }
        self.drain();
        self.check_receipts(&finally);
        self.check_floor();
    }

    /// Nothing that was planned to fail does any more.
    fn restart_well(&mut self) {
        self.ended(true);
        self.world.disk.crash();
        self.world.disk.restart();
        assert!(self.world.start(), "a sound disk");
        self.recovered();
    }

    /// Everybody takes and acknowledges until nothing comes.
    fn drain(&mut self) {
        let mut still = 0;
        for round in 0..ROUNDS {
            let before = (self.progress(), self.unresolved());
            for place in 0..self.programs.len() {
                self.listen_at(place);
                if self.programs[place].connection.is_none() {
                    self.join_well(place);
                    continue;
                }
                self.settle_program(place);
            }
            self.advance(300);
            let after = (self.progress(), self.unresolved());
            still = if before == after { still + 1 } else { 0 };
            if still > 12 {
                let diagnosis = self.world.node.diagnosis();
                assert_eq!(self.unresolved(), 0, "sends are never answered: {diagnosis:?}");
                return;
            }
            assert!(round + 1 < ROUNDS, "it never ends: {:?}", self.model.counts);
        }
    }

    /// What happened, less that somebody acknowledges once more what it had in a group that it left.
    fn progress(&self) -> Counts {
        let mut counts = self.model.counts.clone();
        counts.errors.remove("unknown_conversation");
        counts
    }

    fn unresolved(&self) -> usize {
        self.programs.iter().map(|p| p.unresolved.len()).sum()
    }

    fn join_well(&mut self, place: usize) {
        let programs = self.programs[place].connection.is_none();
        assert!(programs);
        self.join(place);
    }

    fn settle_program(&mut self, place: usize) {
        let Some(connection) = &mut self.programs[place].connection else { return };
        if std::mem::take(&mut connection.stalled) {
            let wire = connection.wire;
            self.world.set_writable(wire, true);
        }
        let program = &self.programs[place];
        let version = program.connection.as_ref().expect("connected").version;
        let (accepted, receipts) = (program.accepted_unconfirmed(&self.model), kept(version));
        self.feed_ack(place, Ack { accepted, receipts, ..Ack::default() });
        let mut ats: Vec<_> = self.programs[place].inbox.iter().map(|(at, inbox)| (*at, inbox.position)).collect();
        ats.sort_unstable();
        for (at, seq) in ats.into_iter().filter(|(_, seq)| *seq > 0) {
            self.feed_ack(place, Ack { conversation: Some(at), seq, ..Ack::default() });
        }
        self.resend(place);
    }

    fn advance(&mut self, ms: u64) {
        self.world.now.mono_ms += ms;
        self.world.now.wall_ms += ms;
        self.turn();
    }

    /// I1: everybody got, or was told to miss, what was theirs. I2: numbers have no gaps.
    fn check_mailboxes(&self) {
        let now_ms = self.world.node.time_ms();
        for (at, conversation) in &self.model.conversations {
            // One whose id was forgotten may be there more often than anybody saw.
            let forgotten = self.model.sendings.iter().any(|s| s.at == *at && s.forgotten);
            for (place, (seq, _)) in conversation.messages.iter().enumerate() {
                assert!(*seq == place as u64 + 1 || forgotten, "I2: a gap before {seq} of {at:?}");
            }
            for program in self.programs.iter().filter(|p| p.receive) {
                for (seq, &index) in &conversation.messages {
                    let got = program.inbox.get(at).is_some_and(|inbox| inbox.got.contains_key(seq));
                    let must = self.model.must(at, *seq, &self.model.sendings[index], program.device);
                    let sending = &self.model.sendings[index];
                    // That it expired stood in a state.
                    let untold = conversation.unsure && sending.fed.1 + self.model.hold_ms <= now_ms;
                    let lost = self.model.damaged && (conversation.lost.contains(seq) || untold);
                    assert!(
                        got || lost || !must,
                        "I1: {:?} never got {seq}: {:?}",
                        program.device,
                        self.model.sendings[index]
                    );
                }
            }
        }
    }

    /// I7: whoever wrote knows what became of it.
    fn check_receipts(&self, finally: &Reads) {
        self.check_ticks();
        for program in self.programs.iter().filter(|p| p.receive) {
            let since = self.model.users[program.device.0].devices[&program.device.1].since;
            for sending in self.model.sendings.iter().filter(|s| s.from == program.device && s.fed.0 >= since) {
                let peer = match sending.aim {
                    Aim::User(peer) | Aim::Device((peer, _)) if peer != program.device.0 => peer,
                    _ => continue,
                };
                let Some(seq) = sending.seq else { continue };
                let told = program.told.get(&(sending.at, peer)).copied().unwrap_or_default();
                let skipped = self.model.skipped(program.device, sending.at, peer, seq);
                // What stood in a damaged state alone is gone: who is to be told of what went before.
                let conversation = &self.model.conversations[&sending.at];
                let lost = self.model.damaged && (conversation.lost.contains(&seq) || conversation.unsure);
                assert!(told.0 >= seq || skipped || lost, "I7: {:?} never learns of {sending:?}", program.device);
            }
            for ((at, who), told) in program.told.iter().filter(|_| !program.reborn && !self.model.damaged) {
                let crowd = self.model.crowds.get(at);
                if crowd.is_some_and(|crowd| !self.reads_are_told(crowd, program.device.0, *who)) {
                    continue;
                }
                let read = finally.get(&(*at, *who)).copied().unwrap_or(0);
                let read = read.min(if *who == program.device.0 { read } else { told.0 });
                assert!(told.1 >= read, "I7: {:?} never learns that {who} read {read}", program.device);
            }
        }
    }

    /// I7 in groups: who wrote learns of everybody who was to get it and is still there.
    fn check_ticks(&self) {
        for program in self.programs.iter().filter(|p| p.receive) {
            let (me, number) = program.device;
            let since = self.model.users[me].devices[&number].since;
            for (at, crowd) in &self.model.crowds {
                for (seq, said) in (1..).zip(&crowd.said) {
                    let sending = &self.model.sendings[said.sending];
                    if sending.from != program.device || sending.fed.0 < since || !crowd.stays(me, seq) {
                        continue;
                    }
                    for who in (0..self.model.users.len()).filter(|who| *who != me && crowd.stays(*who, seq)) {
                        let told = program.told.get(&(*at, who)).copied().unwrap_or_default();
                        let skipped = self.model.skipped(program.device, *at, who, seq);
                        assert!(
                            told.0 >= seq || skipped,
                            "I7: {:?} never learns that {who} has {seq} of {at:?}: {sending:?}",
                            program.device
                        );
                    }
                }
            }
        }
    }

    /// Whoever was named as an author is told, if it is there.
    fn reads_are_told(&self, crowd: &Crowd, me: Who, who: Who) -> bool {
        let head = crowd.head();
        crowd.has(me, head) && crowd.has(who, head)
    }

    /// I5: nothing is left on the disk or in memory.
    fn check_floor(&mut self) {
        let stats = self.world.node.stats();
        let left = self.world.pending();
        assert_eq!((stats.messages_pending, stats.bytes_pending), (0, 0), "I5: bodies are left: {left:?}");
        for place in 0..self.programs.len() {
            if let Some(connection) = &self.programs[place].connection {
                self.world.cut(connection.wire);
                self.programs[place].disconnected();
            }
        }
        // A part of a batch of rows is put after a minute, users and devices go after their conversations, and a segment in steps.
        for _ in 0..300 {
            self.advance(self.world.config.quiet_ms.max(6_000) / 2);
        }
        let stats = self.world.node.stats();
        let state = &self.world.node.partition.state;
        assert!(state.rows_len() <= self.world.config.rows_soft, "memory is not at its floor: {:?}", state.rows());
        assert_eq!((stats.body_bytes, stats.unaccepted_bytes, stats.gateway.connections), (0, 0, 0));
        // A log is at rest when it has hardly more than what is needed of it, and two segments.
        let next = self.world.node.trim.next(self.world.node.synced, state.image_bytes());
        let rests = matches!(next, Next::Nothing | Next::Retain { cheap: true, .. });
        assert!(rests, "I5: {} segments are left: {next:?}", stats.log_segments);
    }
}
