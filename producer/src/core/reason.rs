//! Why Kafka does not have a record: as text, and as a cause that a service can match on.

use std::fmt;
use std::sync::Arc;

/// Why something is not where it should be: its text is for people, its
/// [`kafka`](Self::kafka) for code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason {
    text: Arc<str>,
    cause: Option<KafkaCause>,
}

/// What Kafka or its client said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum KafkaCause {
    /// No broker that is needed can be reached, or none answers: it is away, its name does not
    /// resolve, or the network is cut.
    Unreachable,
    /// The login or TLS failed.
    NotAuthenticated,
    /// This client lacks a right.
    NotAuthorized,
    /// The topic or the partition is not known.
    UnknownTopic,
    /// Fewer replicas are in sync than `min.insync.replicas` asks for.
    NotEnoughReplicas,
    /// The record is too large for the topic or the broker.
    TooLarge,
    /// A broker refused the record for what is in it.
    Invalid,
    /// The Kafka client could no longer promise order and exactly-once, and gave up.
    ClientFailed,
    /// Something else: the text says it.
    Other,
}

impl KafkaCause {
    /// Whether it may pass by itself or be mended while everything goes on: "not now", where the
    /// others are "never".
    pub fn may_pass(self) -> bool {
        !matches!(self, KafkaCause::TooLarge | KafkaCause::Invalid)
    }
}

impl Reason {
    /// What Kafka said.
    pub(crate) fn of_kafka(cause: KafkaCause, text: impl Into<Arc<str>>) -> Self {
        Self { text: text.into(), cause: Some(cause) }
    }

    /// The same cause, in other words.
    pub(crate) fn told_as(&self, text: impl Into<Arc<str>>) -> Self {
        Self { text: text.into(), cause: self.cause }
    }

    /// In words.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// What Kafka or its client said, if it was one of them.
    pub fn kafka(&self) -> Option<KafkaCause> {
        self.cause
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl From<&str> for Reason {
    fn from(text: &str) -> Self {
        Self { text: text.into(), cause: None }
    }
}

impl From<String> for Reason {
    fn from(text: String) -> Self {
        Self { text: text.into(), cause: None }
    }
}
