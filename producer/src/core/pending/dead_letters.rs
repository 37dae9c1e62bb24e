//! Dead letters of pending rows: reads no longer see them.
//!
//! A dead letter may be heard of before Kafka has answered for its write, and before the tail of
//! the log has come to it.

use write_behind_shared::{NextOffset, Offset};

use crate::core::cache::Cache;
use crate::core::ledger::{Key, Sequence};
use crate::core::lost_writes::Loss;
use crate::core::pending::Pending;

/// A record that the database refused.
#[derive(Clone, Debug)]
pub(crate) struct DeadLetterNotice {
    pub(crate) offset: Offset,
    pub(crate) key: Key,
    /// The write of this handle that it carries.
    pub(crate) own: Option<Sequence>,
    pub(crate) reason: Box<str>,
}

impl Pending {
    /// A record is a dead letter, and the group is about to be known to have `committed` past it.
    pub(crate) fn dead_letter(
        &mut self,
        refused: &DeadLetterNotice,
        committed: NextOffset,
        cache: &impl Cache,
    ) {
        let DeadLetterNotice { offset, key, own, reason } = refused;
        if let Some(sequence) = *own {
            self.ledger.lost.add(sequence, Loss::DeadLetter((**reason).into()));
            // Kafka has yet to say where it is; the write must not look like a good one then.
            if self.ledger.unanswered(sequence).is_some() {
                self.answered(sequence, key, Some(*offset), cache);
            }
        }
        self.foreign.skip(*offset, self.rules.tail);
        // The cache may hold the row with this write folded in.
        cache.remove(key);
        let passed = self.rules.tail.map_or(committed, |tail| tail.min(committed));
        self.change(key, |entry| entry.dead_letter(*offset, passed));
    }
}
