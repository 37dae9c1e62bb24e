//! The hand-over: a partition's waiting writes go to the Kafka client, in order.

use std::sync::atomic::Ordering;
use std::time::Instant;

use uuid::Uuid;
use write_behind_shared::{Partition, WriteId};

use crate::core::ledger::{Key, LOW_BITS, Loss};
use crate::core::pending::Cache;
use crate::error::Refusal;
use crate::partitions::Partitions;
use crate::partitions::outlet::{Content, NotTaken};
use crate::partitions::partition::{SharedPending, State};

/// What came of handing over.
#[derive(Debug, Default)]
struct HandedOver {
    /// More writes are due; they were left for the next turn.
    more: bool,
    /// Rows whose writes can never be sent: each such write is lost.
    lost: Vec<(Key, Loss)>,
}

impl Partitions {
    /// Gives the client what waits in a partition, as far as it is due. Says whether there is more,
    /// and how many writes can never be sent.
    pub(crate) fn hand_over(&self, pending: &SharedPending, now: Instant) -> (bool, usize) {
        let (partition, at_once) = (pending.partition, self.bounds.records_at_once);
        let handed = self.change(pending.lock(), |state, cache| {
            let handed = state.hand_over((partition, self.writer), at_once, now, cache);
            pending.set_waiting(!state.core.ledger().all_are_sent());
            handed
        });
        let lost = handed.lost.len();
        if lost > 0 {
            // They are settled without an answer of Kafka, and perhaps nothing else of this
            // partition moves any more: without this, those who wait for them would sleep for ever.
            pending.answered.store(true, Ordering::Release);
            self.tell_lost(partition, handed.lost);
        }
        (handed.more, lost)
    }
}

impl State {
    /// Hands over what waits, in order, as far as it is due and the client takes it; `at_once`
    /// records at most, so that the lock is not held for long.
    fn hand_over(
        &mut self,
        (partition, writer): (Partition, Uuid),
        at_once: usize,
        now: Instant,
        cache: &impl Cache,
    ) -> HandedOver {
        let mut handed = HandedOver::default();
        let Some(outlet) = self.outlet.clone() else { return handed };
        let due_below = self.outbox.due_below(self.core.ledger().next(), now, self.closed);
        for _ in 0..at_once {
            let Some((sequence, key, delta)) = self.core.next_unsent() else { return handed };
            if sequence >= due_below {
                return handed;
            }
            let write_id = WriteId { writer, sequence };
            let taken = match delta.to_record() {
                Some((value, add)) => {
                    let content = Content { key, value: value.as_deref(), add: add.as_deref() };
                    outlet.enqueue(partition, write_id, content)
                }
                None => Err(NotTaken::Refused(Refusal::NotOneRecord)),
            };
            match taken {
                Ok(()) => {}
                // It is not marked as sent, so it goes first the next time.
                Err(NotTaken::Yet) => return handed,
                Err(NotTaken::Refused(refusal)) => {
                    let loss = Loss::Failed(refusal.to_string().into());
                    let key = self.core.lost(sequence as usize & LOW_BITS, loss.clone(), cache);
                    handed.lost.extend(key.map(|key| (key, loss)));
                }
            }
            // Before the lock is released: the answer is already on its way, and a write accepted
            // meanwhile asks whether all before it are sent.
            self.core.mark_sent(sequence);
        }
        handed.more = true;
        handed
    }
}
