//! Dead letters after they were set aside: what is known of one, how they are chosen, what becomes of
//! them. The table in the database is the truth; whatever else there is of them is a copy.

pub mod effective_change;
pub mod later_changes;

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use write_behind_shared::{Offset, Partition};

use crate::core::bookkeeping_key::BookkeepingKey;
use crate::core::record::DeadLetter;

/// What became of a dead letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DeadLetterState {
    /// Nothing yet.
    Open,
    /// It was applied to its row, as far as no later record had said otherwise.
    Replayed,
    /// A person decided that it is not to be applied.
    Discarded,
    /// Later records had said otherwise of all that it says, so nothing of it was applied.
    Superseded,
}

/// A dead letter as the database holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredDeadLetter {
    /// Whose it is, and of which topic.
    pub scope: BookkeepingKey,
    /// The record, and why it was set aside.
    pub dead_letter: DeadLetter,
    /// When it was set aside, in seconds since 1970.
    pub failed_at: i64,
    /// What became of it.
    pub state: DeadLetterState,
}

/// Which dead letters of a pipeline are meant: those that every given part fits.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Of this Kafka cluster.
    pub cluster: Option<String>,
    /// Of this topic.
    pub topic: Option<String>,
    /// Of this partition.
    pub partition: Option<i32>,
    /// From this offset on.
    pub from: Option<i64>,
    /// Up to this offset, which still counts.
    pub to: Option<i64>,
    /// Whose reason holds this text, in upper or lower case.
    pub reason: Option<String>,
    /// Whose SQLSTATE begins like this.
    pub sqlstate: Option<String>,
    /// Whose record has this key.
    pub key: Option<Vec<u8>>,
    /// Set aside at this time or later, in seconds since 1970.
    pub since: Option<i64>,
    /// Set aside before this time, in seconds since 1970.
    pub until: Option<i64>,
    /// In this state.
    pub state: Option<DeadLetterState>,
}

/// How many letters of a topic are in a state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tally {
    /// The topic.
    pub topic: String,
    /// The state.
    pub state: DeadLetterState,
    /// How many.
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
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Open, Self::Replayed, Self::Discarded, Self::Superseded];

    /// As the table spells it.
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

/// The letters of one row, by their offsets.
pub type OfRow = BTreeMap<Offset, DeadLetterState>;
