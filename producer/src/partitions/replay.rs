//! Replay: what an earlier life of the process recorded, and Kafka may not have, is pending again.

use write_behind_shared::WriteId;

use crate::core::journaled::Position;
use crate::core::priority::Priority;
use crate::core::replayed::Replayed;
use crate::partitions::Partitions;
use crate::partitions::partition::Extras;

/// A write that goes with an earlier one, and can't be joined with it again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the write {} of {} goes with an earlier one of its row, which it does not fit", .0.sequence, .0.writer)]
pub(crate) struct NotJoined(WriteId);

impl Partitions {
    /// Takes a write of an earlier life; in the order of the journal, and before any new one. Says
    /// whether it is one of its own: it may have been joined with an earlier one, or belong to one
    /// that was released.
    pub(crate) fn replay(&self, position: Position, write: Replayed) -> Result<bool, NotJoined> {
        let Replayed { partition, id, is_joined, priority, key, delta, headers } = write;
        let Some(pending) = self.of(partition) else { return Ok(false) };
        self.change(pending.lock(), |state, cache| {
            if is_joined {
                // Without an earlier one, all of it is in the log: they were released together.
                let Some(sequence) = state.ids.sequence_of(id) else { return Ok(false) };
                if state.core.join(&key, &delta, usize::MAX) != Some(sequence) {
                    return Err(NotJoined(id));
                }
                state.journaled.join(sequence, position);
                if priority == Priority::High {
                    state.extras.entry(sequence).or_default().priority = priority;
                }
                return Ok(false);
            }
            if state.ids.sequence_of(id).is_some() {
                return Ok(false);
            }
            let sequence = state.core.accept(&key, delta, cache);
            state.ids.push_earlier(id);
            state.journaled.push(position);
            if headers.is_some() || priority != Priority::Normal {
                state.extras.insert(sequence, Extras { headers, priority });
            }
            pending.set_waiting(true);
            Ok(true)
        })
    }

    /// All of earlier lives was replayed: what comes now is new.
    pub(crate) fn replayed(&self) {
        for (_, pending) in self.iter() {
            pending.lock().core.are_replayed();
        }
    }
}
