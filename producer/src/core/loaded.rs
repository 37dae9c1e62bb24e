//! What a loader found, what has to be known to judge it, and what becomes of it.

use write_behind_shared::NextOffset;

use crate::core::delta::Row;
use crate::core::ledger::Sequence;

/// What a loader found in the database.
#[derive(Clone, Debug)]
pub(crate) struct LoadedRow {
    /// The row, if there is one.
    pub(crate) row: Option<Row>,
    /// The partition's next offset in the same snapshot, if the loader knows it.
    pub(crate) next: Option<NextOffset>,
}

/// What became of a load.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum LoadOutcome {
    /// The row that reads see, `None` if there is none.
    Row(Option<Row>),
    /// The same, but a newer write of the row was forgotten here, and the database may not have it.
    MayBeBehind(Option<Row>),
    /// Whether the database already holds an increment in flight can only be told once Kafka has
    /// answered the write of this sequence: offer the same row again then.
    WaitFor(Sequence),
}

/// What is known about a load's answer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LoadContext {
    /// Every write from this sequence on was accepted after the loader had answered.
    pub(crate) horizon: Sequence,
    /// Whether the row may be kept: it was not invalidated since the load began.
    pub(crate) keep: bool,
    /// Kafka has answered every write below.
    pub(crate) replicated: Sequence,
    /// No write that Kafka has not answered has an offset below.
    pub(crate) first_unanswered: NextOffset,
    /// With `follow`: every record below was read from the log.
    pub(crate) tail: Option<NextOffset>,
    /// A write of the row below this offset was forgotten, and was not known to be in the database
    /// when the load began.
    pub(crate) forgotten_below: Option<NextOffset>,
}
