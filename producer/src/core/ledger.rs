//! Two watermarks over the writes of one partition: replicated and persisted.
//!
//! A sequence is a write's place in its partition, from 0 and without gaps; its `write-id` carries
//! it. Acknowledgements come in order and commits cover prefixes, so a single number per stage
//! tells which writes have passed it, and nothing is kept per write once Kafka has answered: the
//! table from sequences to offsets is kept as runs.
//!
//! ```text
//! 0 ── persisted ── replicated ── sent ── next
//!                                  └ given to the Kafka client; the rest waits for its turn
//! ```

use std::collections::VecDeque;
use std::sync::Arc;

use write_behind_shared::{NextOffset, Offset};

use crate::core::bounds::Bounds;
use crate::core::lost_writes::LostWrites;
use crate::core::unanswered::{GivenBack, Later, PersistedWhen, Unanswered};

/// A row's canonical key.
pub(crate) type Key = Arc<[u8]>;
/// A write's place in its partition; equal to the sequence of its `write-id`.
pub(crate) type Sequence = u64;

/// The sequences of one partition.
#[derive(Debug)]
pub(crate) struct Ledger {
    next: Sequence,
    /// Every write below was given to the Kafka client.
    sent: Sequence,
    /// Writes below were given to more than one client, so that one may be in the log twice and an
    /// acknowledgement does not say where it was first.
    resent_below: Sequence,
    /// What `first_unanswered` was when they were sent again.
    resent_from: NextOffset,
    /// The writes Kafka has not answered, in order; the first one's sequence is `replicated()`.
    unanswered: VecDeque<(Key, Unanswered)>,
    /// Writes were given back since the last `requeue`.
    given_back: bool,
    /// The answered writes that are not persisted, in order.
    runs: VecDeque<OffsetRun>,
    persisted: Sequence,
    last_acked: Option<Offset>,
    /// What the group had committed before the first write: all of them lie from there on.
    starts_at: NextOffset,
    committed: Option<NextOffset>,
    pub(crate) lost: LostWrites,
    bounds: Bounds,
}

/// Writes `first..end`. While `first + 1 < end` their offsets are consecutive, so that a commit in
/// the middle of the run says exactly which of them it covers.
#[derive(Debug)]
struct OffsetRun {
    first: Sequence,
    end: Sequence,
    persisted_when: PersistedWhen,
}

/// How much of a sequence an answer carries; the rest of a pointer's bits says whose it is.
pub(crate) const LOW_BITS: usize = usize::MAX >> HANDLE_BITS;
/// How many bits say whose sequence it is.
pub(crate) const HANDLE_BITS: u32 = usize::BITS / 4;

impl Ledger {
    /// No write yet.
    pub(crate) fn new(bounds: Bounds) -> Self {
        Self {
            next: 0,
            sent: 0,
            resent_below: 0,
            resent_from: NextOffset::ZERO,
            unanswered: VecDeque::new(),
            given_back: false,
            runs: VecDeque::new(),
            persisted: 0,
            last_acked: None,
            starts_at: NextOffset::ZERO,
            committed: None,
            lost: LostWrites::new(bounds.losses),
            bounds,
        }
    }

    /// The sequence that the next write will have.
    pub(crate) fn next(&self) -> Sequence {
        self.next
    }

    /// Every write below was answered by Kafka.
    pub(crate) fn replicated(&self) -> Sequence {
        self.next - self.unanswered.len() as u64
    }

    /// Every write below is persisted or lost.
    pub(crate) fn persisted(&self) -> Sequence {
        self.persisted
    }

    /// The highest offset at which Kafka acknowledged a write.
    pub(crate) fn last_acked(&self) -> Option<Offset> {
        self.last_acked
    }

    /// The group's committed offset, as last heard.
    pub(crate) fn committed(&self) -> Option<NextOffset> {
        self.committed
    }

    /// No unanswered write has an offset below this.
    pub(crate) fn first_unanswered(&self) -> NextOffset {
        if self.replicated() < self.resent_below {
            return self.resent_from;
        }
        self.last_acked.map_or(NextOffset::ZERO, Offset::next)
    }

    /// INV-14: no Kafka client was ever given a write from here on, so that none of them is in the
    /// log.
    pub(crate) fn never_sent(&self) -> Sequence {
        self.sent.max(self.resent_below)
    }

    /// Whether more than one client may have been given the write.
    fn was_sent_again(&self, sequence: Sequence) -> bool {
        sequence < self.resent_below
    }

    /// Whether a client that is gone was given the write, and its copy may be in the log.
    pub(crate) fn is_in_doubt(&self, sequence: Sequence) -> bool {
        let place = sequence.checked_sub(self.replicated());
        let waiting = place.and_then(|place| self.unanswered.get(place as usize));
        waiting.is_none_or(|(_, write)| write.is_in_doubt())
    }

    /// Whether every write was given to the Kafka client.
    pub(crate) fn all_are_sent(&self) -> bool {
        self.sent == self.next
    }

    /// Whether no client was given the write yet.
    pub(crate) fn is_unsent(&self, sequence: Sequence) -> bool {
        sequence >= self.sent
    }

    /// The write that the Kafka client gets next.
    pub(crate) fn next_unsent(&self) -> Option<(Sequence, &Key)> {
        let first = self.replicated();
        let from = usize::try_from(self.sent.saturating_sub(first)).ok()?;
        let later = self.unanswered.iter().enumerate().skip(from);
        let (place, (key, _)) = later.into_iter().find(|(_, (_, w))| w.answer().is_none())?;
        Some((first + place as u64, key))
    }

    /// The write and all before it were given to the Kafka client.
    pub(crate) fn mark_sent(&mut self, sequence: Sequence) {
        self.sent = self.sent.max(sequence + 1);
    }

    /// How many writes the Kafka client was given that Kafka has not answered.
    pub(crate) fn sent_unanswered(&self) -> usize {
        self.sent.saturating_sub(self.replicated()) as usize
    }

    /// Whether the Kafka client has no write that it has neither delivered nor given back.
    pub(crate) fn client_has_none(&self) -> bool {
        let sent = self.sent_unanswered();
        // Usually there is none at all, or the first is one.
        !self.unanswered.iter().take(sent).any(|(_, write)| write.is_with_the_client())
    }

    /// Whether writes were given back that were not taken back yet.
    pub(crate) fn has_given_back(&self) -> bool {
        self.given_back
    }

    /// The writes below that were given back and not taken back yet, in order.
    pub(crate) fn given_back_below(&self, sequence: Sequence) -> Vec<Sequence> {
        let first = self.replicated();
        let below = (first..sequence).zip(&self.unanswered);
        below.filter(|(_, (_, write))| write.is_given_back()).map(|(place, _)| place).collect()
    }

    /// The Kafka client could not deliver the write.
    pub(crate) fn give_back(&mut self, sequence: Sequence, how: GivenBack) {
        let Some(place) = sequence.checked_sub(self.replicated()) else { return };
        if let Some((_, write)) = self.unanswered.get_mut(place as usize) {
            write.give_back(how);
            self.given_back = true;
        }
    }

    /// A copy of the write may be in the log.
    pub(crate) fn mark_in_doubt(&mut self, sequence: Sequence) {
        let Some(place) = sequence.checked_sub(self.replicated()) else { return };
        if let Some((_, write)) = self.unanswered.get_mut(place as usize) {
            write.mark_in_doubt();
        }
    }

    /// The Kafka client is gone, or has given back all that it had: what is not answered is sent
    /// again. INV-15: not the writes that this gives, which later ones have overtaken.
    pub(crate) fn requeue(&mut self) -> Vec<Sequence> {
        let first = self.replicated();
        let mut overtaken = Vec::new();
        if first < self.sent {
            self.resent_from = self.first_unanswered();
            self.resent_below = self.resent_below.max(self.sent);
            let sent = (self.sent - first) as usize;
            let mut later = Later::default();
            for (place, (_, write)) in self.unanswered.iter_mut().enumerate().take(sent).rev() {
                if write.leaves_the_client(&mut later) {
                    overtaken.push(first + place as u64);
                }
            }
        }
        self.given_back = false;
        self.sent = first;
        overtaken
    }

    /// All writes so far are of an earlier life of the process: each may be in the log, as if a
    /// client that is gone had been given it.
    #[cfg(feature = "journal")]
    pub(crate) fn are_replayed(&mut self) {
        self.resent_below = self.next;
        self.resent_from = NextOffset::ZERO;
        self.unanswered.iter_mut().for_each(|(_, write)| write.mark_in_doubt());
    }

    /// The writes Kafka has not answered.
    pub(crate) fn in_flight(&self) -> usize {
        self.unanswered.len()
    }

    /// The keys of the writes Kafka has not answered, in order.
    pub(crate) fn keys_in_flight(&self) -> impl Iterator<Item = &Key> {
        self.unanswered.iter().filter(|(_, write)| write.answer().is_none()).map(|(key, _)| key)
    }

    /// Whether any write is not persisted.
    pub(crate) fn is_behind(&self) -> bool {
        self.persisted < self.next
    }

    /// A new write of `key`, which the Kafka client does not have yet.
    pub(crate) fn issue(&mut self, key: Key) -> Sequence {
        let sequence = self.next;
        self.next += 1;
        self.unanswered.push_back((key, Unanswered::new()));
        sequence
    }

    /// The key of an unanswered write, by the low bits of its sequence (a pointer's worth).
    pub(crate) fn find(&self, low_bits: usize) -> Option<(Sequence, Key)> {
        let first = self.replicated();
        let place = low_bits.wrapping_sub(first as usize) & LOW_BITS;
        let (key, write) = self.unanswered.get(place)?;
        write.answer().is_none().then(|| (first + place as u64, Key::clone(key)))
    }

    /// The key of an unanswered write.
    pub(crate) fn unanswered(&self, sequence: Sequence) -> Option<Key> {
        let place = usize::try_from(sequence.checked_sub(self.replicated())?).ok()?;
        let (key, write) = self.unanswered.get(place)?;
        write.answer().is_none().then(|| Key::clone(key))
    }

    /// The group had committed `next` before the first write.
    pub(crate) fn start_at(&mut self, next: NextOffset) {
        self.starts_at = next;
    }

    /// The offset in an acknowledgement, if it can be trusted. librdkafka reports a duplicate
    /// sequence as success with an offset that counts up from -1, so an offset that does not
    /// advance, or lies before the first write, says nothing about where the record is.
    pub(crate) fn trusted_offset(&mut self, sequence: Sequence, offset: i64) -> Option<Offset> {
        let advances = self.last_acked.is_none_or(|last| offset > last.0);
        if offset < 0 || !advances || self.starts_at.is_past(Offset(offset)) {
            return None;
        }
        self.last_acked = Some(Offset(offset));
        (!self.was_sent_again(sequence)).then_some(Offset(offset))
    }

    /// The write was read in the log at `offset`.
    pub(crate) fn seen_at(&mut self, offset: Offset) {
        self.last_acked = self.last_acked.max(Some(offset));
    }

    /// Kafka answered for the write.
    pub(crate) fn acknowledge(&mut self, sequence: Sequence, persisted_when: PersistedWhen) {
        let Some(place) = sequence.checked_sub(self.replicated()) else { return };
        let Some((_, write)) = self.unanswered.get_mut(place as usize) else { return };
        write.set_answer(persisted_when);
        while let Some(persisted_when) = self.unanswered.front().and_then(|(_, w)| w.answer()) {
            let sequence = self.replicated();
            self.unanswered.pop_front();
            self.push_run(sequence, persisted_when);
        }
        // An answered write was sent, also when it was read in the log before it was sent again.
        self.sent = self.sent.max(self.replicated());
        self.advance();
    }

    /// The group has committed `next`. It may be lower than before: an operator can reset it.
    pub(crate) fn commit(&mut self, next: NextOffset) {
        self.committed = Some(next);
        self.advance();
    }

    /// Below which sequence writes need the end of the log, because their offsets are unknown.
    pub(crate) fn wants_sample(&self) -> Option<Sequence> {
        self.runs
            .iter()
            .rev()
            .find(|run| run.persisted_when == PersistedWhen::EndCommitted)
            .map(|run| run.end)
    }

    /// The log ended at `end` after all writes below `mark` were answered.
    pub(crate) fn sampled(&mut self, mark: Sequence, end: NextOffset) {
        for run in self.runs.iter_mut().take_while(|run| run.first < mark) {
            if run.persisted_when == PersistedWhen::EndCommitted {
                run.persisted_when = PersistedWhen::Committed(end);
            }
        }
        self.advance();
    }

    /// Shrinks its queues to what `room` says of a capacity and a length.
    pub(crate) fn give_back_memory(&mut self, room: impl Fn(usize, usize) -> Option<usize>) {
        if let Some(room) = room(self.unanswered.capacity(), self.unanswered.len()) {
            self.unanswered.shrink_to(room);
        }
        if let Some(room) = room(self.runs.capacity(), self.runs.len()) {
            self.runs.shrink_to(room);
        }
    }

    fn push_run(&mut self, sequence: Sequence, persisted_when: PersistedWhen) {
        let full = self.runs.len() >= self.bounds.runs;
        if let Some(last) = self.runs.back_mut() {
            match (last.persisted_when, persisted_when) {
                (PersistedWhen::Committed(before), PersistedWhen::Committed(next))
                    if before.offset().next() == next =>
                {
                    last.end = sequence + 1;
                    last.persisted_when = persisted_when;
                    return;
                }
                (PersistedWhen::Committed(before), PersistedWhen::Committed(next)) if full => {
                    *last = OffsetRun {
                        first: sequence,
                        end: sequence + 1,
                        persisted_when: PersistedWhen::Committed(before.max(next)),
                    };
                    return;
                }
                // A failed write needs nothing itself, so it may wait for its neighbour.
                (_, PersistedWhen::AtOnce) if full => {
                    last.first = sequence;
                    last.end = sequence + 1;
                    return;
                }
                _ => {}
            }
        }
        self.runs.push_back(OffsetRun { first: sequence, end: sequence + 1, persisted_when });
    }

    fn advance(&mut self) {
        while let Some(run) = self.runs.front() {
            if run.persisted_when.is_met_by(self.committed) {
                self.persisted = run.end;
                self.runs.pop_front();
                continue;
            }
            if let (PersistedWhen::Committed(next), Some(committed)) =
                (run.persisted_when, self.committed)
            {
                let covered = run.end.saturating_sub(committed.distance_to(next));
                if covered > run.first {
                    self.persisted = self.persisted.max(covered);
                }
            }
            break;
        }
    }
}

#[cfg(test)]
#[path = "tests/ledger.rs"]
mod tests;
