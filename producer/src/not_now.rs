//! Which errors may pass by themselves: "not now", apart from "never".

use crate::error::{BuildError, ModifyError, ReadError, WriteError};

impl WriteError {
    /// Whether the same call may succeed later: "not now". False is "never": the write itself must
    /// change, or another handle be built.
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Overloaded(_) | Self::NoRoomInTime => true,
            Self::Refused(_) | Self::Closed | Self::Halted(_) => false,
        }
    }
}

impl ReadError {
    /// Whether the same call may succeed later, because Kafka, the database or the loader answers
    /// again.
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Load(_) | Self::NoAnswerInTime | Self::MayBeBehind => true,
            Self::Key(_) | Self::Type(_) | Self::NoLoader => false,
        }
    }
}

impl ModifyError {
    /// Whether the same call may succeed later.
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Read(error) => error.may_pass(),
            Self::Write(error) => error.may_pass(),
        }
    }
}

impl BuildError {
    /// Whether the same `build` may succeed later though nobody changes its settings: Kafka answers,
    /// the topic is created, a right is given, the loader's database is there again.
    pub fn may_pass(&self) -> bool {
        match self {
            Self::NoAnswer(_)
            | Self::NoTopic(_)
            | Self::NotAuthorized(_)
            | Self::Loader(_)
            | Self::Thread(_) => true,
            #[cfg(feature = "journal")]
            Self::Journal(error) => {
                use write_behind_journal::OpenError;
                matches!(**error, OpenError::InUse { .. } | OpenError::Io(_))
            }
            #[cfg(feature = "journal")]
            Self::JournalEntry(_) => false,
            Self::Settings(_)
            | Self::NoSinkGroup
            | Self::Limit(_)
            | Self::NoSuchColumn { .. }
            | Self::Partitions { .. }
            | Self::KeyColumns(_)
            | Self::TopicName(_)
            | Self::Client(_)
            | Self::NoRuntime
            | Self::MetricsTaken(_)
            | Self::Metrics(_) => false,
        }
    }
}
