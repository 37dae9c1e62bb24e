//! The hand-over: a partition's waiting writes go to the Kafka client, in order.

use std::sync::atomic::Ordering;
use std::time::Instant;

use write_behind_shared::{NextOffset, Partition};

use crate::core::cache::Cache;
use crate::core::delta::Delta;
use crate::core::gate::GateNews;
use crate::core::ledger::{Key, Sequence};
use crate::core::lost_writes::Loss;
use crate::core::priority::Priority;
use crate::core::reason::{KafkaCause, Reason};
use crate::core::unanswered::{Failure, GivenBack};
use crate::core::usage::Full;
use crate::core::window::Window;
use crate::error::Refusal;
use crate::partitions::Partitions;
use crate::partitions::outlet::{Content, NotTaken};
use crate::partitions::partition::{SharedPending, State};

/// What came of handing over.
#[derive(Debug, Default)]
pub(crate) struct HandedOver {
    /// More writes are due; they were left for the next turn.
    pub(crate) more: bool,
    /// The client keeps writes without a word, while it gave others of the partition back. Another
    /// client must take over before any of them is sent again.
    pub(crate) is_stuck: bool,
    pub(crate) news: Option<GateNews>,
}

impl Partitions {
    /// Gives the client what waits in a partition, as far as it is due.
    pub(crate) fn hand_over(&self, pending: &SharedPending, now: Instant) -> HandedOver {
        let at_once = self.bounds.records_at_once;
        let mut lost = Vec::new();
        let handed = self.change(pending.lock(), |state, cache| {
            let mut handed = state.hand_over(pending.partition, at_once, now, &mut lost, cache);
            handed.news = state.gate.take_news();
            pending.set_waiting(state.has_waiting());
            handed
        });
        self.tell_settled(pending, lost);
        handed
    }

    /// Gives the client a write that must not wait for its window, and all that is ahead of it. What
    /// does not go now waits for the polling thread, as always.
    pub(crate) fn hurry(&self, pending: &SharedPending, sequence: Sequence) {
        loop {
            let (mut lost, now) = (Vec::new(), (self.clock)());
            let goes_on = self.change(pending.lock(), |state, cache| {
                // It may have to wait until Kafka has what the client has, which must not linger.
                if let Some(outlet) = &state.outlet {
                    outlet.send_now();
                }
                // Whatever else there is to do is the polling thread's, which tells of it.
                if !state.gate.is_open() || state.core.ledger().has_given_back() {
                    return false;
                }
                let at_once = self.bounds.records_at_once;
                let handed = state.hand_over(pending.partition, at_once, now, &mut lost, cache);
                pending.set_waiting(state.has_waiting());
                handed.more && state.core.ledger().is_unsent(sequence)
            });
            self.tell_settled(pending, lost);
            if !goes_on {
                return;
            }
        }
    }

    /// The client could not deliver writes of a partition.
    pub(crate) fn failed(&self, partition: Partition, failures: &[Failure]) {
        let Some(pending) = self.of(partition) else { return };
        let lost = self.change(pending.lock(), |state, cache| {
            let lost = state.failed(failures, cache);
            pending.set_waiting(state.has_waiting());
            lost
        });
        self.tell_settled(pending, lost);
    }

    /// What the group had committed before the first write.
    pub(crate) fn start_at(&self, committed: &[(Partition, NextOffset)]) {
        for (partition, next) in committed {
            if let Some(pending) = self.of(*partition) {
                pending.lock().core.ledger.start_at(*next);
            }
        }
    }

    /// How much of each partition the client may have.
    pub(crate) fn set_window(&self, window: Window) {
        for (_, pending) in self.iter() {
            pending.lock().window = window;
        }
    }

    /// The client is gone: what it has not answered goes to another.
    pub(crate) fn requeue(&self) {
        for (_, pending) in self.iter() {
            let lost = self.change(pending.lock(), |state, cache| {
                let lost = state.requeue(cache);
                state.gate.client_gone();
                pending.set_waiting(state.has_waiting());
                lost
            });
            self.tell_settled(pending, lost);
        }
    }

    /// Tells of writes that were settled without an answer of Kafka.
    pub(super) fn tell_settled(&self, pending: &SharedPending, lost: Vec<(Key, Loss)>) {
        if !lost.is_empty() {
            // Perhaps nothing else of this partition moves any more: without this, those who wait
            // for them would sleep for ever.
            pending.answered.store(true, Ordering::Release);
            self.tell_lost(pending.partition, lost);
        }
    }
}

impl State {
    /// Whether the polling thread must look at it.
    pub(super) fn has_waiting(&self) -> bool {
        !self.core.ledger().all_are_sent() || self.gate.is_held()
    }

    /// Hands over what waits, in order, as far as it is due and the client takes it; `at_once`
    /// records at most, so that the lock is not held for long. What can never be sent is `lost`.
    pub(super) fn hand_over(
        &mut self,
        partition: Partition,
        at_once: usize,
        now: Instant,
        lost: &mut Vec<(Key, Loss)>,
        cache: &impl Cache,
    ) -> HandedOver {
        let mut handed = HandedOver::default();
        if self.outlet.is_none() {
            return handed;
        }
        if self.core.ledger().has_given_back() {
            if !self.core.ledger().client_has_none() {
                handed.is_stuck = self.gate.lets_try(now, self.closed);
                return handed;
            }
            lost.extend(self.requeue(cache));
        }
        let due_below = self.outbox.due_below(self.core.ledger().next(), now, self.closed);
        for _ in 0..at_once {
            let Some((sequence, key, delta)) = self.core.next_unsent() else { return handed };
            let follows = self.gate.is_open() || self.gate.follows_its_part(sequence);
            let passes = follows
                || self.core.ledger().client_has_none() && self.gate.lets_try(now, self.closed);
            let is_due = sequence < due_below && self.is_recorded(sequence);
            if !is_due || !passes || !self.window_has_room() {
                return handed;
            }
            let taken = self.give(partition, sequence, key, delta);
            if !follows {
                self.gate.tried(sequence);
            }
            match taken {
                Ok(()) => {}
                // It is not marked as sent, so it goes first the next time.
                Err(NotTaken::Yet) => return handed,
                Err(NotTaken::NotNow(reason)) => {
                    self.gate.hold(&reason);
                    return handed;
                }
                Err(NotTaken::Refused(refusal)) => {
                    let loss = Loss::Failed(refusal.to_string().into());
                    lost.extend(self.core.lose(sequence, loss, cache));
                }
            }
            // Before the lock is released: the answer is already on its way, and a write accepted
            // meanwhile asks whether all before it are sent.
            self.core.mark_sent(sequence);
        }
        handed.more = true;
        handed
    }

    /// Hands over a few writes that wait, as far as nothing speaks against it, so that a write which
    /// comes behind them soon finds none. Whatever else comes of it is left to the polling thread.
    pub(crate) fn hand_over_some(&mut self, partition: Partition, most: usize) {
        if !self.gate.is_open() || self.outbox.coalesces() || self.core.ledger().has_given_back() {
            return;
        }
        for _ in 0..most {
            let Some((sequence, key, delta)) = self.core.next_unsent() else { return };
            let may_go = self.is_recorded(sequence) && self.window_has_room();
            if !may_go || self.give(partition, sequence, key, delta).is_err() {
                return;
            }
            self.core.mark_sent(sequence);
        }
    }

    /// Gives the client a write.
    fn give(
        &self,
        partition: Partition,
        sequence: Sequence,
        key: &[u8],
        delta: &Delta,
    ) -> Result<(), NotTaken> {
        let Some(outlet) = &self.outlet else { return Err(NotTaken::Yet) };
        let record = delta.to_record();
        let (value, add) = record.ok_or(NotTaken::Refused(Refusal::NotOneRecord))?;
        let extras = self.extras.get(&sequence);
        let headers = extras.and_then(|extras| extras.headers.as_deref());
        let priority = extras.map_or(Priority::Normal, |extras| extras.priority);
        let (value, add) = (value.as_deref(), add.as_deref());
        let content = Content { sequence, key, value, add, headers, priority };
        outlet.enqueue(partition, self.ids.of(sequence), content)
    }

    /// Whether the client may have another write of this partition.
    pub(crate) fn window_has_room(&self) -> bool {
        let (writes, usage) = (self.core.ledger().sent_unanswered(), self.core.usage());
        // What waits here and what the client has are alike, so each takes its part of the memory.
        let bytes = usage[Full::InFlightBytes] / usage[Full::InFlight].max(1) * writes;
        self.window.has_room(writes, bytes)
    }

    /// Whether writes wait that the client may be given now.
    pub(crate) fn may_go_on(&self) -> bool {
        !self.core.ledger().all_are_sent() && self.window_has_room()
    }

    /// Whether a new write may be the only one that the client has of this partition.
    pub(crate) fn may_be_first(&self) -> bool {
        !self.gate.is_held() && self.core.ledger().in_flight() == 0
    }

    /// The client could not deliver writes. Gives those that are lost.
    fn failed(&mut self, failures: &[Failure], cache: &impl Cache) -> Vec<(Key, Loss)> {
        let mut lost = Vec::new();
        let mut refused = Vec::new();
        for Failure { low_bits, how, reason, may_be_logged } in failures {
            let Some(sequence) = self.core.give_back(*low_bits, *how) else { continue };
            if *may_be_logged {
                // Refused now, it may have been taken by an attempt whose answer was lost.
                self.core.ledger.mark_in_doubt(sequence);
            }
            match how {
                GivenBack::Refused | GivenBack::BatchTooLarge => {
                    refused.push((sequence, *how, reason));
                }
                GivenBack::NotNow | GivenBack::Unsent => self.gate.hold(reason),
            }
        }
        match &refused[..] {
            // Those of a batch that was too large are sent again in smaller ones.
            [] | [_, .., (_, GivenBack::BatchTooLarge, _)] => {}
            // All writes of a batch fail at once, so this one had a batch to itself.
            [(sequence, _, reason)] => {
                let loss = Loss::Failed((*reason).clone());
                lost.extend(self.core.lose(*sequence, loss, cache));
            }
            [(first, _, _), .., (last, _, _)] => self.gate.split(*first..last + 1),
        }
        // As long as the client has others of this partition, they may yet go into the log, ahead
        // of those that it gave back.
        if self.core.ledger().client_has_none() {
            lost.extend(self.requeue(cache));
        }
        lost
    }

    fn requeue(&mut self, cache: &impl Cache) -> Vec<(Key, Loss)> {
        let refused = Reason::of_kafka(KafkaCause::Invalid, "a broker refused its batch");
        let why = self.gate.reason().unwrap_or(&refused);
        let reason = format!("{why}; and a later write of its partition is, or may be, in the log");
        self.core.requeue(&why.told_as(reason), cache)
    }
}
