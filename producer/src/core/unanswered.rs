//! What is known of a write that Kafka has not answered.

use write_behind_shared::NextOffset;

use crate::core::reason::Reason;

/// A write that Kafka has not answered, or that waits for the answers to those before it.
#[derive(Debug)]
pub(crate) struct Unanswered(Known);

#[derive(Clone, Copy, Debug)]
enum Known {
    /// It waits to be sent, or for its answer. `doubt`: it was sent before, and that copy may be in
    /// the log.
    Open { doubt: bool },
    /// The client could not deliver it.
    Back { how: GivenBack, doubt: bool },
    /// Kafka answered out of order; it leaves when all before it have.
    Answered(PersistedWhen),
}

/// What the group must commit before an acknowledged write counts as persisted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PersistedWhen {
    /// At once: the write failed, or there was none.
    AtOnce,
    /// When the group's committed offset has reached this.
    Committed(NextOffset),
    /// Its offset is unknown: when the end of the log, sampled from now on, is committed.
    EndCommitted,
}

impl PersistedWhen {
    /// Whether `committed` is enough.
    pub(crate) fn is_met_by(self, committed: Option<NextOffset>) -> bool {
        match self {
            PersistedWhen::AtOnce => true,
            PersistedWhen::Committed(next) => committed.is_some_and(|committed| committed >= next),
            PersistedWhen::EndCommitted => false,
        }
    }
}

/// How a Kafka client gave a write back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum GivenBack {
    /// A broker refused the batch that it was in, for what is in it.
    Refused,
    /// A broker refused the batch that it was in for its size.
    BatchTooLarge,
    /// A broker did not take its batch now. An earlier attempt may be in the log.
    NotNow,
    /// The client gave it up by itself. An earlier attempt may be in the log, and later writes may
    /// be, that the client took since.
    Unsent,
}

/// A write that a Kafka client could not deliver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    /// The low bits of its sequence.
    pub(crate) low_bits: usize,
    pub(crate) how: GivenBack,
    pub(crate) reason: Reason,
    /// An attempt whose answer was lost may have put it into the log.
    pub(crate) may_be_logged: bool,
}

/// What is known of the writes after one.
#[derive(Debug, Default)]
pub(crate) struct Later {
    /// One of them is in the log.
    is_logged: bool,
    /// The client had one of them, and said nothing of it.
    is_open: bool,
}

impl Unanswered {
    pub(crate) fn new() -> Self {
        Self(Known::Open { doubt: false })
    }

    /// Kafka's answer, if it came before those to earlier writes.
    pub(crate) fn answer(&self) -> Option<PersistedWhen> {
        match self.0 {
            Known::Answered(persisted_when) => Some(persisted_when),
            Known::Open { .. } | Known::Back { .. } => None,
        }
    }

    pub(crate) fn set_answer(&mut self, persisted_when: PersistedWhen) {
        self.0 = Known::Answered(persisted_when);
    }

    /// Whether a client that was sent it has said nothing of it.
    pub(crate) fn is_with_the_client(&self) -> bool {
        matches!(self.0, Known::Open { .. })
    }

    /// Whether the client could not deliver it.
    pub(crate) fn is_given_back(&self) -> bool {
        matches!(self.0, Known::Back { .. })
    }

    /// Whether an earlier copy of it may be in the log.
    pub(crate) fn is_in_doubt(&self) -> bool {
        match self.0 {
            Known::Open { doubt } | Known::Back { doubt, .. } => doubt,
            Known::Answered(_) => true,
        }
    }

    /// A copy of it may be in the log.
    pub(crate) fn mark_in_doubt(&mut self) {
        if let Known::Open { doubt } | Known::Back { doubt, .. } = &mut self.0 {
            *doubt = true;
        }
    }

    /// The client could not deliver it.
    pub(crate) fn give_back(&mut self, how: GivenBack) {
        if let Known::Open { doubt } | Known::Back { doubt, .. } = self.0 {
            let is_refused = matches!(how, GivenBack::Refused | GivenBack::BatchTooLarge);
            self.0 = Known::Back { how, doubt: doubt || !is_refused };
        }
    }

    /// It is no longer with the client. `later`: what is known of those after it, for which this
    /// was called before. Says whether one of them has overtaken it, or may have.
    ///
    /// INV-15: sent again, it would stand behind a later sequence in the log, and the consumer
    /// would drop it as a duplicate while Kafka acknowledges it.
    pub(crate) fn leaves_the_client(&mut self, later: &mut Later) -> bool {
        match self.0 {
            // It failed, so it is not in the log.
            Known::Answered(PersistedWhen::AtOnce) => false,
            Known::Answered(_) => {
                later.is_logged = true;
                false
            }
            Known::Open { .. } => {
                // Not overtaken: brokers take no later write of a client before this one, so with
                // a later one in the log it is there too, and another copy is dropped rightly.
                later.is_open = true;
                self.0 = Known::Open { doubt: true };
                false
            }
            Known::Back { how, doubt } => {
                self.0 = Known::Open { doubt };
                // Behind a write that a broker did not take, brokers take nothing of this client,
                // because its own numbers leave a gap there. What the client gives up by itself
                // leaves no such mark.
                later.is_logged || later.is_open && how == GivenBack::Unsent
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_of_a_write_takes_no_room_beside_its_answer() {
        assert_eq!(size_of::<Known>(), size_of::<Option<PersistedWhen>>());
    }
}
