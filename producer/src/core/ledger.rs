//! Which writes of one partition are replicated, persisted or failed: takes tickets and offsets,
//! gives two watermarks.
//!
//! A ticket is a write's place in its partition, from 0 and without gaps; it is also the sequence
//! of its `write-id`. Acknowledgements come in order and commits cover prefixes, so one number
//! each says which writes are replicated and which are persisted, and nothing is kept per write
//! once Kafka has answered: the table from tickets to offsets is kept as runs.
//!
//! ```text
//! 0 ── persisted ── replicated ── handed ── next
//!                                  └ given to the Kafka client; the rest waits for its turn
//! ```

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use write_behind_shared::{NextOffset, Offset};

/// A row's canonical key.
pub(crate) type Key = Arc<[u8]>;
/// A write's place in its partition; equal to the sequence of its `write-id`.
pub(crate) type Ticket = u64;

/// What has to be committed before a settled write counts as persisted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Needs {
    /// Nothing: the write failed, or there was none.
    Nothing,
    /// The group's committed offset must have reached this.
    Commit(NextOffset),
    /// Its offset is unknown: the end of the log, sampled from now on, must be committed.
    Sample,
}

impl Needs {
    /// Whether `committed` is enough.
    pub(crate) fn are_met_by(self, committed: Option<NextOffset>) -> bool {
        match self {
            Needs::Nothing => true,
            Needs::Commit(next) => committed.is_some_and(|committed| committed >= next),
            Needs::Sample => false,
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

/// The tickets of one partition.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    next: Ticket,
    /// Every write below was given to the Kafka client.
    handed: Ticket,
    /// Writes below were given to more than one client, so that one may be in the log twice and an
    /// acknowledgement does not say where it was first.
    resent_below: Ticket,
    /// What `first_unanswered` was when they were sent again.
    resent_from: NextOffset,
    /// The writes Kafka has not answered, in order; the first one's ticket is `replicated()`.
    waiting: VecDeque<Waiting>,
    /// The answered writes that are not persisted, in order.
    runs: VecDeque<Run>,
    persisted: Ticket,
    last_acked: Option<Offset>,
    committed: Option<NextOffset>,
    losses: VecDeque<(Range<Ticket>, Loss)>,
    /// Below this, losses were forgotten.
    losses_known_from: Ticket,
}

#[derive(Debug)]
struct Waiting {
    key: Key,
    /// Set when Kafka answered out of order; it leaves when all before it have.
    settled: Option<Needs>,
}

/// Writes `first..end`. While `first + 1 < end` their offsets are consecutive, so that a commit in
/// the middle of the run says exactly which of them it covers.
#[derive(Debug)]
struct Run {
    first: Ticket,
    end: Ticket,
    needs: Needs,
}

/// How much of a ticket an answer carries; the rest of a pointer's bits says whose ticket it is.
pub(crate) const LOW_BITS: usize = usize::MAX >> HANDLE_BITS;
/// How many bits say whose ticket it is.
pub(crate) const HANDLE_BITS: u32 = usize::BITS / 4;

/// Beyond this many runs (many writers' records interleaved) neighbours are merged: the watermark
/// then moves in larger steps, never too early.
const RUNS_MAX: usize = 16_384;
/// Ranges of lost writes that are remembered; the oldest are forgotten, and are then unknown.
const LOSSES_MAX: usize = 1_024;

impl Ledger {
    /// The ticket that the next write will have.
    pub(crate) fn next(&self) -> Ticket {
        self.next
    }

    /// Every write below was answered by Kafka.
    pub(crate) fn replicated(&self) -> Ticket {
        self.next - self.waiting.len() as u64
    }

    /// Every write below is persisted or lost.
    pub(crate) fn persisted(&self) -> Ticket {
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

    /// INV-14: no Kafka client was ever given a write from here on, so that none of them is in the log.
    pub(crate) fn never_handed(&self) -> Ticket {
        self.handed.max(self.resent_below)
    }

    /// Whether more than one client may have been given the write.
    pub(crate) fn was_sent_again(&self, ticket: Ticket) -> bool {
        ticket < self.resent_below
    }

    /// Whether every write was given to the Kafka client.
    pub(crate) fn all_are_handed(&self) -> bool {
        self.handed == self.next
    }

    /// The write that is to be given to the Kafka client next.
    pub(crate) fn next_to_hand(&self) -> Option<(Ticket, &Key)> {
        let first = self.replicated();
        let from = usize::try_from(self.handed.saturating_sub(first)).ok()?;
        let later = self.waiting.iter().enumerate().skip(from);
        let (place, waiting) = later.into_iter().find(|(_, w)| w.settled.is_none())?;
        Some((first + place as u64, &waiting.key))
    }

    /// `ticket` and all before it were given to the Kafka client.
    pub(crate) fn hand(&mut self, ticket: Ticket) {
        self.handed = self.handed.max(ticket + 1);
    }

    /// The Kafka client is gone: what it has not answered is to be given to another.
    pub(crate) fn take_back(&mut self) {
        if self.replicated() < self.handed {
            self.resent_from = self.first_unanswered();
            self.resent_below = self.resent_below.max(self.handed);
        }
        self.handed = self.replicated();
    }

    /// The writes Kafka has not answered.
    pub(crate) fn in_flight(&self) -> usize {
        self.waiting.len()
    }

    /// The keys of the writes Kafka has not answered, in order.
    pub(crate) fn keys_in_flight(&self) -> impl Iterator<Item = &Key> {
        self.waiting.iter().filter(|waiting| waiting.settled.is_none()).map(|waiting| &waiting.key)
    }

    /// Whether any write is not persisted.
    pub(crate) fn is_behind(&self) -> bool {
        self.persisted < self.next
    }

    /// A new write of `key`, which the Kafka client does not have yet.
    pub(crate) fn issue(&mut self, key: Key) -> Ticket {
        let ticket = self.next;
        self.next += 1;
        self.waiting.push_back(Waiting { key, settled: None });
        ticket
    }

    /// The key of an unanswered write, by the low bits of its ticket (a pointer's worth).
    pub(crate) fn find(&self, low_bits: usize) -> Option<(Ticket, Key)> {
        let first = self.replicated();
        let place = low_bits.wrapping_sub(first as usize) & LOW_BITS;
        let waiting = self.waiting.get(place)?;
        waiting.settled.is_none().then(|| (first + place as u64, Key::clone(&waiting.key)))
    }

    /// The key of an unanswered write.
    pub(crate) fn unanswered(&self, ticket: Ticket) -> Option<Key> {
        let place = usize::try_from(ticket.checked_sub(self.replicated())?).ok()?;
        let waiting = self.waiting.get(place)?;
        waiting.settled.is_none().then(|| Key::clone(&waiting.key))
    }

    /// The offset in an acknowledgement, if it can be believed. librdkafka reports a duplicate
    /// sequence as success with an offset that counts up from -1, so an offset that does not
    /// advance says nothing about where the record is.
    pub(crate) fn believe(&mut self, ticket: Ticket, offset: i64) -> Option<Offset> {
        let advances = self.last_acked.is_none_or(|last| offset > last.0);
        if offset < 0 || !advances {
            return None;
        }
        self.last_acked = Some(Offset(offset));
        (!self.was_sent_again(ticket)).then_some(Offset(offset))
    }

    /// The write was read in the log at `offset`.
    pub(crate) fn saw(&mut self, offset: Offset) {
        self.last_acked = self.last_acked.max(Some(offset));
    }

    /// Kafka's answer for `ticket`.
    pub(crate) fn settle(&mut self, ticket: Ticket, needs: Needs) {
        let Some(place) = ticket.checked_sub(self.replicated()) else { return };
        let Some(waiting) = self.waiting.get_mut(place as usize) else { return };
        waiting.settled = Some(needs);
        while let Some(needs) = self.waiting.front().and_then(|waiting| waiting.settled) {
            let ticket = self.replicated();
            self.waiting.pop_front();
            self.push_run(ticket, needs);
        }
        // Who has an answer had the write, also when it is read in the log before it is sent again.
        self.handed = self.handed.max(self.replicated());
        self.advance();
    }

    /// Remembers that `ticket` was lost.
    pub(crate) fn lose(&mut self, ticket: Ticket, loss: Loss) {
        match self.losses.back_mut() {
            Some((range, same)) if range.end == ticket && *same == loss => range.end += 1,
            _ => self.losses.push_back((ticket..ticket + 1, loss)),
        }
        if self.losses.len() > LOSSES_MAX
            && let Some((forgotten, _)) = self.losses.pop_front()
        {
            self.losses_known_from = self.losses_known_from.max(forgotten.end);
        }
    }

    /// The first loss among `tickets`.
    pub(crate) fn loss_in(&self, tickets: &Range<Ticket>) -> Option<Loss> {
        if tickets.start < self.losses_known_from {
            return Some(Loss::Unknown("so many writes failed since that it was forgotten".into()));
        }
        let overlaps =
            |range: &Range<Ticket>| range.start < tickets.end && tickets.start < range.end;
        self.losses.iter().find(|(range, _)| overlaps(range)).map(|(_, loss)| loss.clone())
    }

    /// The group has committed `next`. It may be lower than before: an operator can reset it.
    pub(crate) fn commit(&mut self, next: NextOffset) {
        self.committed = Some(next);
        self.advance();
    }

    /// Whether the end of the log is wanted, to place writes whose offset is unknown; and if so
    /// below which ticket.
    pub(crate) fn wants_sample(&self) -> Option<Ticket> {
        self.runs.iter().rev().find(|run| run.needs == Needs::Sample).map(|run| run.end)
    }

    /// The log ended at `end` after all writes below `mark` were answered.
    pub(crate) fn sampled(&mut self, mark: Ticket, end: NextOffset) {
        for run in self.runs.iter_mut().take_while(|run| run.first < mark) {
            if run.needs == Needs::Sample {
                run.needs = Needs::Commit(end);
            }
        }
        self.advance();
    }

    fn push_run(&mut self, ticket: Ticket, needs: Needs) {
        let full = self.runs.len() >= RUNS_MAX;
        if let Some(last) = self.runs.back_mut() {
            match (last.needs, needs) {
                (Needs::Commit(before), Needs::Commit(next)) if before.offset().next() == next => {
                    last.end = ticket + 1;
                    last.needs = needs;
                    return;
                }
                (Needs::Commit(before), Needs::Commit(next)) if full => {
                    *last = Run {
                        first: ticket,
                        end: ticket + 1,
                        needs: Needs::Commit(before.max(next)),
                    };
                    return;
                }
                // A failed write needs nothing itself, so it may wait for its neighbour.
                (_, Needs::Nothing) if full => {
                    last.first = ticket;
                    last.end = ticket + 1;
                    return;
                }
                _ => {}
            }
        }
        self.runs.push_back(Run { first: ticket, end: ticket + 1, needs });
    }

    fn advance(&mut self) {
        while let Some(run) = self.runs.front() {
            if run.needs.are_met_by(self.committed) {
                self.persisted = run.end;
                self.runs.pop_front();
                continue;
            }
            if let (Needs::Commit(next), Some(committed)) = (run.needs, self.committed) {
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
