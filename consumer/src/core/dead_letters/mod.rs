//! Dead letters after they were set aside: their states, and how they are selected. The table in
//! the database is authoritative; anything else is a copy.

pub mod effective_change;
pub mod later_changes;

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use write_behind_shared::{Offset, Partition};

use crate::core::bookkeeping_key::BookkeepingKey;
use crate::core::record::DeadLetter;

/// The state of a dead letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DeadLetterState {
    /// Not resolved yet.
    Open,
    /// Applied to its row, except where later records had overwritten it.
    Replayed,
    /// A person decided not to apply it.
    Discarded,
    /// Later records had overwritten all of it, so nothing was applied.
    Superseded,
}

/// A dead letter as the database stores it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredDeadLetter {
    /// The pipeline, cluster and topic that it belongs to.
    pub scope: BookkeepingKey,
    /// The record, and why it was set aside.
    pub dead_letter: DeadLetter,
    /// The time it was set aside, in seconds since 1970.
    pub failed_at: i64,
    /// Its state.
    pub state: DeadLetterState,
}

/// Selects dead letters of a pipeline: those that match every field given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// In this Kafka cluster.
    pub cluster: Option<String>,
    /// In this topic.
    pub topic: Option<String>,
    /// In this partition.
    pub partition: Option<i32>,
    /// From this offset on.
    pub from: Option<i64>,
    /// Up to and including this offset.
    pub to: Option<i64>,
    /// With this text in their reason, ignoring case.
    pub reason: Option<String>,
    /// With an SQLSTATE that starts with this.
    pub sqlstate: Option<String>,
    /// With this record key.
    pub key: Option<Vec<u8>>,
    /// Set aside at this time or later, in seconds since 1970.
    pub since: Option<i64>,
    /// Set aside before this time, in seconds since 1970.
    pub until: Option<i64>,
    /// In this state.
    pub state: Option<DeadLetterState>,
}

/// The number of letters of a topic in one state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tally {
    /// The topic.
    pub topic: String,
    /// The state.
    pub state: DeadLetterState,
    /// The number.
    pub letters: u64,
}

impl StoredDeadLetter {
    /// Its partition.
    pub fn partition(&self) -> Partition {
        self.dead_letter.record.partition
    }

    /// Its offset.
    pub fn offset(&self) -> Offset {
        self.dead_letter.record.offset
    }
}

impl DeadLetterState {
    /// All states.
    pub const ALL: [Self; 4] = [Self::Open, Self::Replayed, Self::Discarded, Self::Superseded];

    /// The state as the table spells it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Replayed => "replayed",
            Self::Discarded => "discarded",
            Self::Superseded => "superseded",
        }
    }
}

impl fmt::Display for DeadLetterState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for DeadLetterState {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|state| state.as_str() == text);
        found.ok_or_else(|| "a state is open, replayed, discarded or superseded".to_owned())
    }
}

/// The states of one row's letters, by offset.
pub type OfRow = BTreeMap<Offset, DeadLetterState>;
