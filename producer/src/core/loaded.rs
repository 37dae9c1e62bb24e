//! A row that a loader found, and what has to be known to judge it.

use write_behind_shared::NextOffset;

use crate::core::age::KnownSince;
use crate::core::delta::Row;
use crate::core::ledger::Sequence;

/// What a loader found.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The row, if there is one.
    pub(crate) row: Option<Row>,
    /// The partition's next offset in the same snapshot, if the loader knows it.
    pub(crate) next: Option<NextOffset>,
}

/// What a read found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Reading {
    /// The row, if there is one.
    pub(crate) row: Option<Row>,
    /// A newer write of the row was forgotten here, and the database may not have it.
    pub(crate) may_be_behind: bool,
}

impl Reading {
    /// It is as new as is promised.
    pub(crate) fn of(row: Option<Row>) -> Self {
        Self { row, may_be_behind: false }
    }
}

/// Whether what a load finds may be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Validity {
    /// The load is the row's latest.
    Valid,
    /// The row was invalidated or loaded again since the load began: those who wait for it get
    /// their answer, and nothing of it is kept.
    Invalidated,
}

/// What is known about a load's answer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LoadContext {
    /// When the loader had answered.
    pub(crate) now: KnownSince,
    /// Every write from this sequence on was accepted after the loader had answered.
    pub(crate) horizon: Sequence,
    pub(crate) validity: Validity,
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
