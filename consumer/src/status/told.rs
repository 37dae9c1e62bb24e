//! Log lines about outages and dead letters.

use crate::apply::retry::WriteError;
use crate::core::dead_letters::{DeadLetterState, Tally};
use crate::status::Status;
use crate::status::outage::{LogLine, Reporter, Subject};
use crate::status::set_aside::{NewLetters, SetAsideLog};
use crate::store::StoreError;

impl Status {
    /// Records of `route` are in the dead letters; `first`: where the first stood, and why.
    pub(crate) fn set_aside(&self, route: usize, records: u64, first: String) {
        self.lock().set_aside[route].note(records, first);
        self.tell_set_aside(|log| log.due(self.started.elapsed()));
    }

    pub(super) fn tell_set_aside(&self, what: impl Fn(&mut SetAsideLog) -> Option<NewLetters>) {
        let told: Vec<_> = self.lock().set_aside.iter_mut().map(what).collect();
        for (route, told) in self.routes.iter().zip(told) {
            if let Some(told) = told {
                tracing::warn!("{}", told.line(&route.topic));
            }
        }
    }

    /// An attempt to write a batch of `route` failed, and will be made again.
    pub(crate) fn write_failed(&self, worker: u64, route: usize, failed: &WriteError) {
        self.metrics.retried();
        let subject = match failed {
            WriteError::Connect(_)
            | WriteError::Store(StoreError::Unavailable(_) | StoreError::Saturated(_)) => {
                Subject::Database
            }
            WriteError::Store(
                StoreError::MissingReference(_)
                | StoreError::Stop(_)
                | StoreError::Refused(_)
                | StoreError::Conflict(_)
                | StoreError::Uncertain(_),
            ) => Subject::Route(route),
            WriteError::Log(_) => Subject::Kafka,
        };
        self.tell_failure(Reporter::Worker(worker), subject, Some(route), failed);
    }

    /// The letters that the database holds, by topic and state.
    pub(crate) fn stored_letters(&self, tallies: &[Tally]) {
        let topics = || self.routes.iter().map(|route| &*route.topic);
        self.metrics.stored_letters(topics(), tallies);
        self.lock().open_letters =
            topics().map(|topic| Some(open_letters(tallies, topic))).collect();
    }

    /// Writes the beginning and the end of an outage to the log, and between them that it lasts.
    pub(super) fn say(&self, said: Vec<LogLine>) {
        for line in said {
            match line {
                LogLine::Began(subject, error) => tracing::warn!(
                    what = %self.name(subject), %error,
                    "an outage begins; retrying until it is over"
                ),
                LogLine::Lasts(subject, error, lasted, attempts) => tracing::warn!(
                    what = %self.name(subject), %error, seconds = lasted.as_secs(), attempts,
                    "the outage goes on"
                ),
                LogLine::Ended(subject, lasted, attempts) => tracing::info!(
                    what = %self.name(subject), seconds = lasted.as_secs(), attempts,
                    "the outage is over"
                ),
            }
        }
    }

    /// Logs what was not logged yet, and the outages that still last. The last call.
    pub(super) fn tell_the_end(&self) {
        self.tell_set_aside(SetAsideLog::rest);
        let (now, state) = (self.started.elapsed(), self.lock());
        for (subject, outage) in state.outages.now() {
            tracing::warn!(
                what = %self.name(subject), error = %outage.message,
                seconds = now.saturating_sub(outage.since).as_secs(), attempts = outage.attempts,
                "stops during the outage; what is not written is read again after the next start"
            );
        }
    }
}

/// How many letters of `topic` are open.
pub(crate) fn open_letters(tallies: &[Tally], topic: &str) -> u64 {
    let open = |tally: &&Tally| tally.topic == topic && tally.state == DeadLetterState::Open;
    tallies.iter().filter(open).map(|tally| tally.letters).sum()
}
