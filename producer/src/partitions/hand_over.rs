//! The hand-over: a partition's waiting writes go to the Kafka client, in order.

use std::time::Instant;

use uuid::Uuid;
use write_behind_shared::{Partition, WriteId};

use crate::core::ledger::{Key, LOW_BITS, Loss};
use crate::core::pending::Cache;
use crate::error::Refusal;
use crate::partitions::outlet::{Content, NotTaken};
use crate::partitions::partition::State;

/// What came of handing over.
#[derive(Debug, Default)]
pub(crate) struct HandedOver {
    /// More is due, and was only left for the next time.
    pub(crate) more: bool,
    /// Rows whose writes can never be sent: each such write is lost.
    pub(crate) lost: Vec<(Key, Loss)>,
}

impl State {
    /// Hands over what waits, in order, as far as it is due and the client takes it; `at_once`
    /// records at most, so that the lock is not held for long.
    pub(crate) fn hand_over(
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
