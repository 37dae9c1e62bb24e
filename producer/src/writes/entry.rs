//! The entry of a write in the journal, appended under the lock of its partition.

use crate::core::journal_entry::JournalEntry;
use crate::core::journaled::Position;
use crate::core::ledger::Sequence;
use crate::error::WriteError;
use crate::partitions::journaling::Journaling;
use crate::partitions::partition::State;
use crate::writes::encode::Prepared;

/// A partition's buffer that grew beyond this for one large row is given back.
const BUFFER_BYTES_MAX: usize = 16 << 10;

/// Appends the write's entry to the journal, and says where it stands. An error changes nothing.
pub(crate) fn record(
    journal: &Journaling,
    write: &Prepared,
    state: &mut State,
    joins: Option<Sequence>,
) -> Result<Position, WriteError> {
    let mut buffer = std::mem::take(&mut state.journaled.buffer);
    buffer.clear();
    let sequence = joins.unwrap_or_else(|| state.core.ledger().next());
    let entry = JournalEntry {
        partition: write.partition,
        id: state.ids.of(sequence),
        is_joined: joins.is_some(),
        priority: write.priority,
        key: &write.key,
        delta: &write.delta,
        value: write.value(),
        add: write.add.as_deref(),
        headers: write.headers.as_deref(),
    };
    entry.write(&mut buffer);
    let appended = journal.append(&buffer);
    if buffer.capacity() <= BUFFER_BYTES_MAX {
        state.journaled.buffer = buffer;
    }
    appended
}
