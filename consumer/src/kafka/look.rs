//! Looks again, every few seconds, at where the partitions stand that are being read: takes what the
//! status says of them, gives doubts to the poll thread, or the end.
//!
//! A partition without new records meets no error by which it would notice that its database was
//! restored, its topic recreated or its group's offsets lost. So all that is asked when a partition is
//! assigned is asked again.

use std::time::Duration;

use write_behind_shared::{NextOffset, Partition};

use super::assign::{Again, judge_again};
use super::broker::BrokerError;
use super::locate::Locator;
use super::orders::{Exit, Input};
use super::stand::{Unknown, ask, stand};
use crate::pipeline::action::Place;
use crate::store::AnyStore;

/// How long between two looks.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// So many looks in a row must miss a topic before it counts as deleted: a broker that has just
/// started may not know it yet.
const MISSED_MAX: u32 = 3;

/// What a look ended with, other than with nothing to say.
enum Trouble {
    /// It is looked again.
    Passes(String),
    /// There is no such topic now.
    NoTopic(String),
    Refused(Exit),
}

impl From<BrokerError> for Trouble {
    fn from(error: BrokerError) -> Self {
        match error {
            BrokerError::NoTopic(topic) => Trouble::NoTopic(topic),
            other => Trouble::Passes(other.to_string()),
        }
    }
}

impl Locator {
    /// Looks until there is a reason to stop. Dropping the future is fine: the connection that it
    /// was using is given up.
    pub(super) async fn watch(&self, store: &mut Option<AnyStore>) -> Exit {
        let mut missed = 0;
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            match self.look(store).await {
                Ok(doubts) => {
                    missed = 0;
                    let listens = doubts.is_empty()
                        || self.answers.send(Input::Doubted(doubts)).await.is_ok();
                    if !listens {
                        return Exit::Drained { clean: false };
                    }
                }
                Err(Trouble::Refused(exit)) => return exit,
                Err(Trouble::NoTopic(_)) if missed + 1 < MISSED_MAX => missed += 1,
                Err(Trouble::NoTopic(topic)) => return Exit::Refused(deleted(&topic)),
                // Whoever reads or writes tells of it.
                Err(Trouble::Passes(error)) => {
                    tracing::debug!(%error, "the partitions can't be looked at");
                }
            }
        }
    }

    /// The partitions whose database stands elsewhere than where it was left, with where that was.
    async fn look(
        &self,
        store: &mut Option<AnyStore>,
    ) -> Result<Vec<(Place, NextOffset)>, Trouble> {
        let held = self.status.held();
        // Taken away for as long as it is in use: whoever drops this future drops it too.
        let mut in_use = store.take();
        let mut doubts = Vec::new();
        for (route, target) in self.targets.iter().enumerate() {
            let of_route = held.iter().filter(|(place, _)| place.route == route);
            let held: Vec<(Place, NextOffset)> = of_route.copied().collect();
            // Also of a topic of which nothing is held: one that is gone is taken from its readers.
            let topic = target.scope.topic.clone();
            let exists = ask(&self.broker, move |broker| broker.partitions(&topic)).await;
            exists.map_err(Trouble::from)?;
            if held.is_empty() {
                continue;
            }
            let partitions: Vec<Partition> = held.iter().map(|(at, _)| at.partition).collect();
            let connected = self.connected(&mut in_use).await.map_err(passes)?;
            let standings = stand(&self.broker, connected, &target.scope, &partitions).await;
            let standings = standings.map_err(|error| match error {
                Unknown::Broker(error) => Trouble::from(error),
                Unknown::Store(error) => passes(error),
            })?;
            for ((place, written), stood) in held.iter().zip(standings) {
                // One of which Kafka says nothing is looked at again.
                let Ok(standing) = stood else { continue };
                match judge_again(&standing, self.adopt_offsets, *written) {
                    Again::GoOn => {}
                    Again::Doubt => doubts.push((*place, *written)),
                    Again::Refuse(refusal) => {
                        let exit = Exit::refused(&target.scope.topic, place.partition, &refusal);
                        return Err(Trouble::Refused(exit));
                    }
                }
            }
        }
        *store = in_use;
        Ok(doubts)
    }
}

#[expect(clippy::needless_pass_by_value, reason = "it is handed to map_err")]
fn passes(error: impl ToString) -> Trouble {
    Trouble::Passes(error.to_string())
}

fn deleted(topic: &str) -> String {
    format!(
        "topic {topic} does not exist any more: it was deleted while it was read. What had been read \
         of it is in the database. If it is created anew, its log is another one: read it under \
         another `name` (docs/safety.md says how to hand the table over)"
    )
}
