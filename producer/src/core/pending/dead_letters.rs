//! What dead letters do to a lane: takes their places in the log, lets go of what reads saw because of
//! them.
//!
//! A dead letter may be heard of before Kafka has answered for its write, and before the tail of the
//! log has come to it.

use write_behind_shared::{NextOffset, Offset};

use crate::core::ledger::{Key, Loss, Ticket};
use crate::core::pending::{CleanCopies, Lane};

/// A record that the database refused.
#[derive(Clone, Debug)]
pub(crate) struct Refused {
    pub(crate) offset: Offset,
    pub(crate) key: Key,
    /// The write of this handle that it carries.
    pub(crate) own: Option<Ticket>,
    pub(crate) reason: Box<str>,
}

impl Lane {
    /// A record is a dead letter, and the group is about to be known to have `committed` past it.
    pub(crate) fn dead_letter(
        &mut self,
        refused: &Refused,
        committed: NextOffset,
        clean: &impl CleanCopies,
    ) {
        let Refused { offset, key, own, reason } = refused;
        if let Some(ticket) = *own {
            self.ledger.lose(ticket, Loss::DeadLetter((**reason).into()));
            // Its place is still to be told; the write must not look like a good one then.
            if self.ledger.unanswered(ticket).is_some() {
                self.answered(ticket, key, Some(*offset), clean);
            }
        }
        self.others.skip(*offset, self.rules.tail);
        clean.forget(key);
        let passed = self.rules.tail.map_or(committed, |tail| tail.min(committed));
        self.change(key, |entry| entry.dead_letter(*offset, passed));
    }
}
