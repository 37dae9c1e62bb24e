//! Errors, as decisions: refused before anything changed, no room, or lost afterwards.

use std::sync::Arc;

use write_behind_shared::change::ChangeError;
use write_behind_shared::json::{DEPTH_MAX, JsonError};
use write_behind_shared::kafka::SettingsError;
use write_behind_shared::key::KeyError;

pub use crate::core::halt::Halt;
use crate::core::lost_writes::Loss;
use crate::core::reason::Reason;
pub use crate::core::usage::Full;

/// Why a write was not accepted. Nothing changed: reads see what they saw before.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WriteError {
    /// This write can never be accepted, now or later.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// There is no room for it now; the limits are `max_pending`, `max_pending_rows`,
    /// `max_in_flight` and `max_in_flight_bytes`, and the journal's `max_bytes` and disk.
    #[error("there is no room for another write: {0}")]
    Overloaded(Full),
    /// It waited for room as long as it was given: nothing changed.
    #[error("there was no room for another write in the time given")]
    NoRoomInTime,
    /// The handle was closed.
    #[error("the handle is closed")]
    Closed,
    /// Nothing can be written any more; a new handle is needed.
    #[error("writes are halted: {0}")]
    Halted(Halt),
}

/// Why a write can never be accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// The key has no canonical text.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The row cannot be written as JSON.
    #[error("the row cannot be written as JSON: {0}")]
    NotJson(String),
    /// The row is not a struct or a map of columns.
    #[error("a row must be a struct or a map of columns")]
    NotAnObject,
    /// A float is NaN or infinite, which JSON would turn into null.
    #[error("a number is not finite")]
    NotFinite,
    /// A text holds a NUL character, which no database text can.
    #[error("a text holds a NUL character")]
    Nul,
    /// Nested too deeply.
    #[error("the row is nested deeper than {DEPTH_MAX} levels")]
    TooDeep,
    /// Larger than a record or than `max_pending` may be.
    #[error("the write takes {bytes} bytes, at most {limit} are allowed")]
    TooLarge {
        /// What it takes.
        bytes: usize,
        /// What is allowed.
        limit: usize,
    },
    /// Many writes at once take more of a limit than it is in all: they must go in parts.
    #[error("the batch takes {takes} of `{}`, which is {limit}: write it in parts", which.setting())]
    BatchTooLarge {
        /// Which limit.
        which: Full,
        /// What they take.
        takes: usize,
        /// What it is.
        limit: usize,
    },
    /// The change sets and increments one column, or deletes and writes one row.
    #[error("a change that does two things to one row or column needs two writes")]
    NotOneRecord,
    /// The row gives a key column another value than the key does, or increments it.
    #[error("the key column {column:?} may only be repeated as the key has it, not as {says}")]
    KeyColumn {
        /// The key column.
        column: String,
        /// What the write says of it, as JSON.
        says: String,
    },
    /// A column's name cannot stand in the `add` header.
    #[error("a column whose name holds a comma cannot be incremented: {0:?}")]
    ColumnName(String),
    /// The write sets no version, which a handle with [`version`](crate::Builder::version) needs of
    /// everything but deletes: the consumer would make a dead letter of it.
    #[error("the version column {0:?} is not set, or is null")]
    NoVersion(String),
    /// The headers that [`Builder::headers`](crate::Builder::headers) added can't be sent.
    #[error("the record's headers can't be sent: {0}")]
    Headers(String),
    /// The loader's table has no such column that a record may name.
    #[error("the table has no column {0:?} that a record may name")]
    NoSuchColumn(String),
}

/// How a write ended that is not known to be where it was waited for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DeliveryError {
    /// It is not in the log and never will be. Reads see again what they saw without it.
    #[error("the write failed: {0}")]
    Failed(Reason),
    /// Whether it is in the log cannot be told.
    #[error("whether the write is in the log is unknown: {0}")]
    Unknown(Reason),
    /// It is in the log, but the database refused it: it is a dead letter. Told only if the loader
    /// knows of dead letters, as the table loaders do.
    #[error("the database refused the write: {0}")]
    DeadLetter(Arc<str>),
    /// The journal ended before it had the write, or the handle has no journal.
    #[error("the write is not recorded: {0}")]
    NotRecorded(Arc<str>),
    /// It did not get there in the time given. It is still under way and may get there yet.
    #[error("the write did not get there in time, and is still under way")]
    TimedOut,
    /// The handle was closed first. If the write was replicated, it will be in the database, unless
    /// its topic was created again ([`Halt::LogReplaced`]): then nobody knows.
    #[error("the handle was closed before the write got there")]
    Closed,
}

/// How a write-through ended otherwise than in the database.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PersistError {
    /// It was not accepted: nothing changed.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// It was accepted, and is not known to be in the database.
    #[error(transparent)]
    Delivery(#[from] DeliveryError),
}

/// Why a row cannot be read.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The key has no canonical text.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The row does not fit the type it is read as.
    #[error("the row does not fit the type it is read as: {0}")]
    Type(Arc<serde_json::Error>),
    /// Columns were set or added to, the rest of the row is not known, and there is no loader.
    #[error("the row beneath pending changes is not known, and there is no loader")]
    NoLoader,
    /// The loader failed, or did not answer within
    /// [`load_timeout`](crate::Builder::load_timeout).
    #[error("the row could not be loaded: {0}")]
    Load(LoadError),
    /// The loaded row may or may not hold a pending increment, which only Kafka's answer to that
    /// write can tell, and Kafka did not answer within
    /// [`load_timeout`](crate::Builder::load_timeout). A later read tries again.
    #[error("kafka did not say in time whether the loaded row holds a pending increment")]
    NoAnswerInTime,
    /// A newer write of the row was forgotten here ([`WhenFull::ForgetRows`](crate::WhenFull::ForgetRows),
    /// or more followed than there is room for), and the database may not have it yet.
    /// [`read`](crate::WriteBehind::read) gives what is known.
    #[error("a newer write of the row was forgotten here, and the database may not have it yet")]
    MayBeBehind,
}

/// Why a row was not modified: nothing was written.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ModifyError {
    /// What the row is can't be told.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// What was made of it can't be written.
    #[error(transparent)]
    Write(#[from] WriteError),
}

/// Why a row could not be loaded. Its text and its [`source`](std::error::Error::source) are those of
/// its cause.
#[derive(Clone, Debug, thiserror::Error)]
#[error(transparent)]
pub struct LoadError(Arc<dyn std::error::Error + Send + Sync>);

impl LoadError {
    /// A loader's own error.
    pub fn new(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self(Arc::from(error.into()))
    }

    /// The loader's own error, to be downcast: a table loader's is its driver's, where the
    /// database failed.
    pub fn cause(&self) -> &(dyn std::error::Error + Send + Sync + 'static) {
        &*self.0
    }
}

/// Why a handle cannot be built.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// A Kafka property is reserved, or no broker is named.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// Without it nothing would ever count as persisted.
    #[error("`sink_group` is missing: name the consumer's group, which is its pipeline's name")]
    NoSinkGroup,
    /// A limit makes no sense.
    #[error("{0}")]
    Limit(&'static str),
    /// The row type has a field that the loader's table has no column for: its rows would become
    /// dead letters.
    #[error(
        "the row type has the field {field:?}, and the loader's table has no such column that a \
         record may name; it has {columns}. Where the field is never written, or the route renames \
         columns, say `check_columns(false)`"
    )]
    NoSuchColumn {
        /// The field.
        field: String,
        /// The table's columns, with commas in between.
        columns: String,
    },
    /// [`start_offline`](crate::Builder::start_offline) was given another partition count than the
    /// topic's.
    #[error("`start_offline` says that the topic has {said} partitions, and it has {has}")]
    Partitions {
        /// What was said.
        said: i32,
        /// What the topic has.
        has: i32,
    },
    /// No topic can have this name.
    #[error("no topic can be named {0:?}: up to 249 of a-z, A-Z, 0-9, `.`, `_`, `-` make a name")]
    TopicName(String),
    /// `key_columns` names no row.
    #[error("`key_columns` names {0:?} twice, or not at all")]
    KeyColumns(String),
    /// The Kafka client refused its configuration.
    #[error("the Kafka client cannot be made: {0}")]
    Client(String),
    /// No broker answered in time; [`Reason::kafka`] says whether that is the network, the login, or
    /// something else.
    #[error("Kafka did not answer: {0}")]
    NoAnswer(Reason),
    /// This client may not see the topic.
    #[error(
        "the topic {0:?} is not authorized for this client: grant it Describe and Write on the topic"
    )]
    NotAuthorized(String),
    /// The topic does not exist, and is not created.
    #[error("the topic {0:?} does not exist; create it first, with its final partition count")]
    NoTopic(String),
    /// The loader cannot do its work: its table, its key or the bookkeeping is not as it must be.
    #[error("the loader is not ready: {0}")]
    Loader(LoadError),
    /// `build` was called outside of a tokio runtime, on which the handle would load rows.
    #[error("there is no tokio runtime here: call `build` on one")]
    NoRuntime,
    /// Another handle on the topic has its metrics on the registry.
    #[error(
        "another handle on the topic {0:?} has its metrics on this registry; give each its own"
    )]
    MetricsTaken(String),
    /// The metrics cannot be registered.
    #[error("the metrics cannot be registered: {0}")]
    Metrics(Arc<prometheus::Error>),
    /// A thread could not be started.
    #[error("a thread cannot be started: {0}")]
    Thread(Arc<std::io::Error>),
    /// The journal can't be opened; [`JournalError::InUse`](crate::JournalError::InUse) names the process
    /// that has it.
    #[cfg(feature = "journal")]
    #[error("{0}")]
    Journal(Arc<write_behind_journal::OpenError>),
    /// The journal is another handle's, or was written for another cluster or partition count:
    /// nothing is sent, and it is as it was.
    #[cfg(feature = "journal")]
    #[error("the journal is not this handle's: {0}")]
    JournalEntry(String),
}

/// The handle was closed, and not all of its writes are in the log: some were unanswered by the
/// deadline, or some had been lost before and nobody was told.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{writes} writes of {} rows were not delivered to Kafka{}{}", keys.len(), recorded(*journaled), and_lost(lost.as_ref()))]
pub struct Undelivered {
    /// How many writes Kafka had not answered. They may be in the log or not.
    pub writes: usize,
    /// How many of them stand in the journal: the next handle on its directory sends them.
    pub journaled: usize,
    /// The canonical keys of their rows, sorted.
    pub keys: Vec<String>,
    /// The first write that was lost before without any call returning its loss: neither a wait for
    /// the write nor [`persisted_all`](crate::WriteBehind::persisted_all) or
    /// [`replicated_all`](crate::WriteBehind::replicated_all). Each loss was an
    /// [`Event`](crate::Event), and was logged.
    pub lost: Option<DeliveryError>,
}

// Each text below has its cause's text in it, so the cause is no `source`: who prints the chain would
// print it twice. The variants hold it.
impl From<LoadError> for ReadError {
    fn from(error: LoadError) -> Self {
        Self::Load(error)
    }
}

impl From<std::io::Error> for BuildError {
    fn from(error: std::io::Error) -> Self {
        Self::Thread(Arc::new(error))
    }
}

fn recorded(journaled: usize) -> String {
    if journaled == 0 {
        return String::new();
    }
    format!("; {journaled} of them are in the journal, from which the next start sends them")
}

fn and_lost(lost: Option<&DeliveryError>) -> String {
    lost.map_or_else(String::new, |lost| format!("; one was lost before: {lost}"))
}

impl From<Loss> for DeliveryError {
    fn from(loss: Loss) -> Self {
        match loss {
            Loss::Failed(reason) => Self::Failed(reason),
            Loss::Unknown(reason) => Self::Unknown(reason),
            Loss::DeadLetter(reason) => Self::DeadLetter(reason),
        }
    }
}

impl From<ChangeError> for Refusal {
    fn from(error: ChangeError) -> Self {
        match error {
            ChangeError::NotAnObject(JsonError::TooDeep) => Self::TooDeep,
            ChangeError::NotAnObject(error @ JsonError::NamedTwice(_)) => {
                Self::NotJson(error.to_string())
            }
            ChangeError::NotAnObject(_) => Self::NotAnObject,
            ChangeError::NotFinite => Self::NotFinite,
            ChangeError::NotJson(error) => Self::NotJson(error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::error::Error;

    use super::*;

    #[test]
    fn no_text_of_an_error_stands_twice_in_its_chain() {
        let load = || LoadError::new(std::io::Error::other("no such shard"));
        let errors: [Box<dyn Error>; 9] = [
            Box::new(load()),
            Box::new(ReadError::from(load())),
            Box::new(ModifyError::from(ReadError::from(load()))),
            Box::new(ReadError::from(KeyError::Nul)),
            Box::new(WriteError::from(Refusal::from(KeyError::Nul))),
            Box::new(PersistError::from(WriteError::from(Refusal::from(KeyError::Nul)))),
            Box::new(BuildError::Loader(load())),
            Box::new(BuildError::from(std::io::Error::other("no more threads"))),
            Box::new(BuildError::Metrics(Arc::new(prometheus::Error::AlreadyReg))),
        ];
        for error in errors {
            let (text, mut next) = (error.to_string(), error.source());
            while let Some(cause) = next {
                assert!(!text.contains(&cause.to_string()), "{text} of {cause}");
                next = cause.source();
            }
        }
    }

    #[test]
    fn the_loaders_own_error_can_be_reached() {
        let error = ReadError::from(LoadError::new(std::io::Error::other("no such shard")));
        assert_eq!(error.to_string(), "the row could not be loaded: no such shard");
        let ReadError::Load(load) = error else { panic!("{error}") };
        assert!(load.cause().downcast_ref::<std::io::Error>().is_some());
    }
}
