//! The gate of one partition: whether its next write may be given to the Kafka client by now.
//!
//! INV-15: the log has the writes of a partition in the order of their sequences, because the
//! consumer drops a record whose sequence is not above the last. A client sends on behind a batch
//! that failed, unless brokers refuse what comes behind it; and they do that only for a client that
//! they know in this partition, from a record that they took.
//!
//! - So the first write that a client is given goes alone: nothing follows until Kafka has it.
//!   Brokers forget a client that is idle, so the first one after a long pause goes alone too.
//! - What Kafka does not take now is kept, and all behind it. After a while it is tried again, and
//!   alone, until Kafka takes it.
//! - Writes that a broker refused together go in halves, one half after the other, and a half that
//!   is refused again in halves of its own: only the one that is refused alone has failed. Each
//!   refusal costs a client, so a few of them go one by one.

use std::ops::Range;
use std::time::{Duration, Instant};

use crate::core::ledger::Sequence;
use crate::core::reason::Reason;

/// Whether a partition's writes may go to the Kafka client.
#[derive(Debug)]
pub(crate) struct SendGate {
    /// Brokers know the client in this partition.
    is_known: bool,
    /// When it was first seen that nothing is on its way, since Kafka answered last.
    idle_since: Option<Instant>,
    /// Where the parts end of what was refused together, the nearest last. A part goes when the one
    /// before it is in the log.
    part_ends: Vec<Sequence>,
    /// The client was given writes of a part, and more of it may follow.
    part_goes: bool,
    held: Option<OnHold>,
    news: Option<GateNews>,
}

/// The partition is held.
#[derive(Debug)]
struct OnHold {
    reason: Reason,
    /// Not known before it is asked for the first time.
    until: Option<Instant>,
    /// How long it is held between two attempts.
    delay: Duration,
    /// The write that was tried since it is held.
    tried: Option<Sequence>,
}

/// What became of a partition that was told of last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum GateNews {
    /// Kafka does not take its writes now, for this reason.
    OnHold(Reason),
    /// Kafka takes them again.
    Open,
}

/// How long a partition is held before the first attempt, and at most between two.
const HELD_FOR: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(30));
/// How long brokers are relied on to know a client that sends nothing here. They forget it after
/// `producer.id.expiration.ms`, and take any of its records as the first from then on.
const KNOWN_FOR: Duration = Duration::from_mins(5);
/// This many writes that were refused together go one by one: that takes as many round trips, where
/// halves would take a client each.
const FEW: u64 = 16;

impl SendGate {
    /// No client was given anything.
    pub(crate) fn new() -> Self {
        Self {
            is_known: false,
            idle_since: None,
            part_ends: Vec::new(),
            part_goes: false,
            held: None,
            news: None,
        }
    }

    /// Whether a write may follow those before it at once.
    pub(crate) fn is_open(&self) -> bool {
        self.is_known && self.held.is_none() && self.part_ends.is_empty()
    }

    /// Whether the write may go alone, by `now`: only if the client has no other. `closed`: the
    /// handle is being closed, and has no time for a long wait.
    pub(crate) fn lets_try(&mut self, now: Instant, closed: bool) -> bool {
        let Some(held) = &mut self.held else { return true };
        let until = held.until.get_or_insert(now + held.delay);
        if closed {
            *until = (*until).min(now + HELD_FOR.0);
        }
        now >= *until
    }

    pub(crate) fn is_held(&self) -> bool {
        self.held.is_some()
    }

    /// Why it is held.
    pub(crate) fn reason(&self) -> Option<&Reason> {
        self.held.as_ref().map(|held| &held.reason)
    }

    /// Whether the write may follow those of its part that the client has.
    pub(crate) fn follows_its_part(&self, sequence: Sequence) -> bool {
        self.part_goes && self.part_ends.last().is_some_and(|end| sequence < *end)
    }

    /// The write was given to the client, which had no other.
    pub(crate) fn tried(&mut self, sequence: Sequence) {
        self.part_goes = self.is_known && self.held.is_none();
        if let Some(held) = &mut self.held {
            held.tried = Some(sequence);
        }
    }

    /// Kafka has writes that the client was given, and all below `replicated` are answered. Says
    /// whether what waits may go by now, alone or together.
    pub(crate) fn delivered(&mut self, replicated: Sequence) -> bool {
        let was_open = self.is_open();
        self.is_known = true;
        self.idle_since = None;
        while self.part_ends.last().is_some_and(|end| *end <= replicated) {
            self.part_ends.pop();
        }
        // Only for the write that was tried: an answer to one that was sent before the trouble
        // says nothing of it.
        let is_over = |held: &OnHold| held.tried.is_some_and(|tried| tried < replicated);
        if self.held.as_ref().is_some_and(is_over) {
            self.held = None;
            // A hold that ended before it was reported needs no report.
            let untold = matches!(self.news, Some(GateNews::OnHold(_)));
            self.news = if untold { None } else { Some(GateNews::Open) };
        }
        !was_open
    }

    /// Kafka does not take the partition's writes now.
    pub(crate) fn hold(&mut self, reason: &Reason) {
        self.part_goes = false;
        match &mut self.held {
            Some(held) if held.tried.is_some() => {
                held.tried = None;
                held.delay = (held.delay * 2).min(HELD_FOR.1);
                held.until = None;
                held.reason.clone_from(reason);
            }
            // More of what failed in the same moment.
            Some(_) => {}
            None => {
                let (delay, reason) = (HELD_FOR.0, reason.clone());
                self.news = Some(GateNews::OnHold(reason.clone()));
                self.held = Some(OnHold { reason, until: None, delay, tried: None });
            }
        }
    }

    /// These writes were refused together, and go in parts.
    pub(crate) fn split(&mut self, refused: Range<Sequence>) {
        self.part_goes = false;
        self.part_ends.retain(|end| *end > refused.end);
        self.part_ends.push(refused.end);
        let count = refused.end - refused.start;
        if count > FEW {
            self.part_ends.push(refused.start + count / 2);
        } else {
            self.part_ends.extend((refused.start + 1..refused.end).rev());
        }
    }

    /// Another client takes over: brokers do not know it here.
    pub(crate) fn client_gone(&mut self) {
        self.is_known = false;
        self.part_goes = false;
        if let Some(held) = &mut self.held
            && held.tried.take().is_some()
        {
            // It was cut off, perhaps by the failure of another partition, and waits again. Tried
            // at once, several such partitions would end one client after another.
            held.until = None;
        }
    }

    /// Looked at by `now`, when Kafka had answered all that the client was given.
    pub(crate) fn is_idle(&mut self, now: Instant) {
        let since = *self.idle_since.get_or_insert(now);
        if now.saturating_duration_since(since) >= KNOWN_FOR {
            self.is_known = false;
        }
    }

    /// What became of it since this was asked last.
    pub(crate) fn take_news(&mut self) -> Option<GateNews> {
        self.news.take()
    }
}

#[cfg(test)]
#[path = "tests/gate.rs"]
mod tests;
