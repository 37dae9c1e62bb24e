//! Sends recorded writes to the Kafka client, and releases acknowledged ones from the journal.

use tracing::error;

use crate::core::journaled::Position;
use crate::error::Halt;
use crate::partitions::Partitions;
use crate::partitions::partition::SharedPending;

impl Partitions {
    /// Hands over what is recorded by now. The polling thread, which does this too, may be waiting
    /// for an answer.
    pub(crate) fn hand_over_recorded(&self) {
        for (_, pending) in self.iter().filter(|(_, pending)| pending.has_waiting()) {
            self.hand_over_of(pending);
        }
    }

    fn hand_over_of(&self, pending: &SharedPending) {
        loop {
            let (mut lost, now) = (Vec::new(), (self.clock)());
            let more = self.change(pending.lock(), |state, cache| {
                // The polling thread does the rest, and reports it.
                if state.gate.is_held() || state.core.ledger().has_given_back() {
                    return false;
                }
                let at_once = self.bounds.records_at_once;
                let handed = state.hand_over(pending.partition, at_once, now, &mut lost, cache);
                pending.set_waiting(state.has_waiting());
                handed.more
            });
            self.tell_settled(pending, lost);
            if !more {
                return;
            }
        }
    }

    /// Releases the entries of the writes that Kafka has answered.
    pub(crate) fn release_answered(&self) {
        let Some(journal) = &self.journal else { return };
        // Asked for first: an entry that is appended meanwhile stands at this position or past it,
        // and one that was appended before is among those of its partition, whose lock it was under.
        let next = journal.next();
        let needed = self.iter().filter_map(|(_, pending)| {
            let mut state = pending.lock();
            let replicated = state.core.ledger().replicated();
            state.journaled.answered_below(replicated)
        });
        let below = needed.fold(next, Position::min);
        journal.release(below);
    }

    /// How many writes that Kafka has not answered are recorded.
    pub(crate) fn recorded_unanswered(&self) -> usize {
        let Some(journal) = &self.journal else { return 0 };
        let recorded = journal.recorded();
        let writes = self.iter().map(|(_, pending)| {
            let mut state = pending.lock();
            let replicated = state.core.ledger().replicated();
            state.journaled.answered_below(replicated);
            state.journaled.recorded(recorded)
        });
        writes.sum()
    }

    /// Takes no more writes, if the journal has ended.
    pub(crate) fn halt_if_the_journal_ended(&self) {
        let Some(reason) = self.journal.as_ref().and_then(|journal| journal.ended()) else {
            return;
        };
        if self.halt(Halt::Journal(reason.clone())) {
            error!(%reason, "the handle takes no more writes");
        }
    }
}
