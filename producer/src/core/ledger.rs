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
use std::ops::Range;
use std::sync::Arc;

use write_behind_shared::{NextOffset, Offset};

use crate::core::bounds::Bounds;
use crate::core::untold::Untold;

/// A row's canonical key.
pub(crate) type Key = Arc<[u8]>;
/// A write's place in its partition; equal to the sequence of its `write-id`.
pub(crate) type Sequence = u64;

/// What the group must commit before an acknowledged write counts as persisted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PersistedWhen {
    /// At once: the write failed, or there was none.
    AtOnce,
    /// When the group's committed offset has reached this.
    Committed(NextOffset),
    /// Its offset is unknown: when the end of the log, sampled from now on, is committed.
    EndCommitted,
}

impl PersistedWhen {
    /// Whether `committed` is enough.
    pub(crate) fn is_met_by(self, committed: Option<NextOffset>) -> bool {
        match self {
            PersistedWhen::AtOnce => true,
            PersistedWhen::Committed(next) => committed.is_some_and(|committed| committed >= next),
            PersistedWhen::EndCommitted => false,
        }
    }
}

/// How a write ended that is not simply in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Loss {
    /// It is not in the log and never will be.
    Failed(Arc<str>),
    /// Whether it is in the log cannot be told.
    Unknown(Arc<str>),
    /// It is in the log, but the database refused it: it is a dead letter.
    DeadLetter(Arc<str>),
}

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
    unanswered: VecDeque<Unanswered>,
    /// The answered writes that are not persisted, in order.
    runs: VecDeque<OffsetRun>,
    persisted: Sequence,
    last_acked: Option<Offset>,
    committed: Option<NextOffset>,
    losses: VecDeque<(Range<Sequence>, Loss)>,
    /// Below this, losses were forgotten.
    losses_known_from: Sequence,
    untold: Untold,
    bounds: Bounds,
}

#[derive(Debug)]
struct Unanswered {
    key: Key,
    /// Set when Kafka answered out of order; it leaves when all before it have.
    answer: Option<PersistedWhen>,
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
            runs: VecDeque::new(),
            persisted: 0,
            last_acked: None,
            committed: None,
            losses: VecDeque::new(),
            losses_known_from: 0,
            untold: Untold::new(bounds.losses),
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
    pub(crate) fn was_sent_again(&self, sequence: Sequence) -> bool {
        sequence < self.resent_below
    }

    /// Whether every write was given to the Kafka client.
    pub(crate) fn all_are_sent(&self) -> bool {
        self.sent == self.next
    }

    /// The write that the Kafka client gets next.
    pub(crate) fn next_unsent(&self) -> Option<(Sequence, &Key)> {
        let first = self.replicated();
        let from = usize::try_from(self.sent.saturating_sub(first)).ok()?;
        let later = self.unanswered.iter().enumerate().skip(from);
        let (place, waiting) = later.into_iter().find(|(_, w)| w.answer.is_none())?;
        Some((first + place as u64, &waiting.key))
    }

    /// The write and all before it were given to the Kafka client.
    pub(crate) fn mark_sent(&mut self, sequence: Sequence) {
        self.sent = self.sent.max(sequence + 1);
    }

    /// The Kafka client is gone: what it has not answered goes to another.
    pub(crate) fn requeue(&mut self) {
        if self.replicated() < self.sent {
            self.resent_from = self.first_unanswered();
            self.resent_below = self.resent_below.max(self.sent);
        }
        self.sent = self.replicated();
    }

    /// The writes Kafka has not answered.
    pub(crate) fn in_flight(&self) -> usize {
        self.unanswered.len()
    }

    /// The keys of the writes Kafka has not answered, in order.
    pub(crate) fn keys_in_flight(&self) -> impl Iterator<Item = &Key> {
        self.unanswered
            .iter()
            .filter(|waiting| waiting.answer.is_none())
            .map(|waiting| &waiting.key)
    }

    /// Whether any write is not persisted.
    pub(crate) fn is_behind(&self) -> bool {
        self.persisted < self.next
    }

    /// A new write of `key`, which the Kafka client does not have yet.
    pub(crate) fn issue(&mut self, key: Key) -> Sequence {
        let sequence = self.next;
        self.next += 1;
        self.unanswered.push_back(Unanswered { key, answer: None });
        sequence
    }

    /// The key of an unanswered write, by the low bits of its sequence (a pointer's worth).
    pub(crate) fn find(&self, low_bits: usize) -> Option<(Sequence, Key)> {
        let first = self.replicated();
        let place = low_bits.wrapping_sub(first as usize) & LOW_BITS;
        let waiting = self.unanswered.get(place)?;
        waiting.answer.is_none().then(|| (first + place as u64, Key::clone(&waiting.key)))
    }

    /// The key of an unanswered write.
    pub(crate) fn unanswered(&self, sequence: Sequence) -> Option<Key> {
        let place = usize::try_from(sequence.checked_sub(self.replicated())?).ok()?;
        let waiting = self.unanswered.get(place)?;
        waiting.answer.is_none().then(|| Key::clone(&waiting.key))
    }

    /// The offset in an acknowledgement, if it can be trusted. librdkafka reports a duplicate
    /// sequence as success with an offset that counts up from -1, so an offset that does not
    /// advance says nothing about where the record is.
    pub(crate) fn trusted_offset(&mut self, sequence: Sequence, offset: i64) -> Option<Offset> {
        let advances = self.last_acked.is_none_or(|last| offset > last.0);
        if offset < 0 || !advances {
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
        let Some(waiting) = self.unanswered.get_mut(place as usize) else { return };
        waiting.answer = Some(persisted_when);
        while let Some(persisted_when) = self.unanswered.front().and_then(|waiting| waiting.answer)
        {
            let sequence = self.replicated();
            self.unanswered.pop_front();
            self.push_run(sequence, persisted_when);
        }
        // An answered write was sent, also when it was read in the log before it was sent again.
        self.sent = self.sent.max(self.replicated());
        self.advance();
    }

    /// Remembers that the write was lost.
    pub(crate) fn lose(&mut self, sequence: Sequence, loss: Loss) {
        self.untold.add(sequence);
        match self.losses.back_mut() {
            Some((range, same)) if range.end == sequence && *same == loss => range.end += 1,
            _ => self.losses.push_back((sequence..sequence + 1, loss)),
        }
        if self.losses.len() > self.bounds.losses
            && let Some((forgotten, _)) = self.losses.pop_front()
        {
            self.losses_known_from = self.losses_known_from.max(forgotten.end);
        }
    }

    /// The first loss among the writes.
    pub(crate) fn loss_in(&self, sequences: &Range<Sequence>) -> Option<Loss> {
        if sequences.start < self.losses_known_from {
            return Some(Loss::Unknown(
                "it is no longer known: too many writes were lost since".into(),
            ));
        }
        let overlaps =
            |range: &Range<Sequence>| range.start < sequences.end && sequences.start < range.end;
        self.losses.iter().find(|(range, _)| overlaps(range)).map(|(_, loss)| loss.clone())
    }

    /// The first loss among the writes, for a caller that is told of it now.
    pub(crate) fn tell_loss_in(&mut self, sequences: &Range<Sequence>) -> Option<Loss> {
        let loss = self.loss_in(sequences)?;
        self.untold.told(sequences);
        Some(loss)
    }

    /// The first loss below `end` that nobody was told of, for a caller that is told of it now.
    pub(crate) fn tell_untold_loss(&mut self, end: Sequence) -> Option<Loss> {
        let first = self.untold.first_below(end)?;
        let loss = self.loss_in(&(first..end));
        self.untold.told(&(0..end));
        loss
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
