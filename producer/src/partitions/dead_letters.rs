//! What the partitions learn of dead letters.

use std::sync::atomic::Ordering;

use write_behind_shared::NextOffset;

use crate::core::ledger::Key;
use crate::core::lost_writes::Loss;
use crate::core::pending::dead_letters::DeadLetterNotice;
use crate::event::Event;
use crate::load::DeadLetter;
use crate::partitions::{Partitions, text};

impl Partitions {
    /// Dead letters of a partition that the group is about to commit past, and this handle's writes
    /// that they were.
    pub(crate) fn dead_letters<'l>(
        &self,
        letters: impl Iterator<Item = &'l DeadLetter>,
        committed: NextOffset,
    ) {
        for letter in letters {
            let Some(pending) = self.of(letter.partition) else { continue };
            let own = letter.write_id.and_then(|id| pending.lock().ids.sequence_of(id));
            let refused = DeadLetterNotice {
                offset: letter.offset,
                key: Key::from(&*letter.key),
                own,
                reason: (*letter.reason).into(),
            };
            let lost = self.change(pending.lock(), |state, cache| {
                state.core.dead_letter(&refused, committed, cache);
                state.core.take_overtaken()
            });
            self.tell_lost(letter.partition, lost);
            if own.is_some() {
                self.counts.dead_letters.fetch_add(1, Ordering::Relaxed);
                let loss = Loss::DeadLetter(refused.reason.as_ref().into());
                self.losses.add(letter.partition, &loss);
                self.events.tell(|| Event::DeadLetter {
                    key: text(&letter.key),
                    partition: letter.partition.0,
                    offset: letter.offset.0,
                    reason: letter.reason.clone(),
                });
            }
        }
    }
}
