//! Looks again, every few seconds, at where the partitions stand that are being read: takes what the
//! status says of them, gives doubts to the poll thread, or the end.
//!
//! A partition without new records meets no error by which it would notice that its database was
//! restored, its topic recreated or its group's offsets lost. So all that is asked when a partition is
//! assigned is asked again.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;
use write_behind_shared::{NextOffset, Partition};

use crate::core::assign::{Again, judge_again};
use crate::core::batch::{LastRecord, Place};
use crate::kafka::client::BrokerError;
use crate::kafka::locator::Locator;
use crate::kafka::orders::{Exit, Input};
use crate::kafka::stand::{Unknown, ask, stand};
use crate::store::AnyStore;

/// How long between two looks.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// So many looks in a row must miss a topic before it counts as deleted: a broker that has just
/// started may not know it yet.
const MISSED_MAX: u32 = 3;

/// So many looks may be put off by partitions that are asked for again and again.
const PUT_OFF_MAX: u32 = 3;

/// What is kept from one look to the next.
pub(super) struct Looks {
    last: Instant,
    /// How many in a row missed a topic.
    missed: u32,
    /// Of each partition, the last record in the database when it was located or looked at last. Whether
    /// the log still has it tells whether what was applied since is of the same log.
    pub(super) anchors: BTreeMap<Place, LastRecord>,
}

impl Looks {
    pub(super) fn new() -> Self {
        Self { last: Instant::now(), missed: 0, anchors: BTreeMap::new() }
    }

    /// Whether the next look must not be put off any longer.
    pub(super) fn overdue(&self) -> bool {
        self.last.elapsed() > LOOK_EVERY * PUT_OFF_MAX
    }
}

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
    pub(super) async fn watch(&self, store: &mut Option<AnyStore>, looks: &mut Looks) -> Exit {
        loop {
            tokio::time::sleep_until(looks.last + LOOK_EVERY).await;
            if let Some(exit) = self.look_once(store, looks).await {
                return exit;
            }
        }
    }

    /// One look; gives the reason to stop, if there is one.
    pub(super) async fn look_once(
        &self,
        store: &mut Option<AnyStore>,
        looks: &mut Looks,
    ) -> Option<Exit> {
        let looked = self.look(store, &mut looks.anchors).await;
        looks.last = Instant::now();
        match looked {
            Ok(doubts) => {
                looks.missed = 0;
                let listens =
                    doubts.is_empty() || self.answers.send(Input::Doubted(doubts)).await.is_ok();
                (!listens).then_some(Exit::Drained { clean: false })
            }
            Err(Trouble::Refused(exit)) => Some(exit),
            Err(Trouble::NoTopic(topic)) => {
                looks.missed += 1;
                (looks.missed >= MISSED_MAX).then(|| Exit::Refused(deleted(&topic)))
            }
            // Whoever reads or writes tells of it.
            Err(Trouble::Passes(error)) => {
                tracing::debug!(%error, "the partitions can't be looked at");
                None
            }
        }
    }

    /// The partitions whose database stands elsewhere than where it was left, with where that was.
    async fn look(
        &self,
        store: &mut Option<AnyStore>,
        anchors: &mut BTreeMap<Place, LastRecord>,
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
            let of_it = anchors.iter().filter(|(place, _)| place.route == route);
            let of_it = of_it.map(|(place, last)| (place.partition, *last)).collect();
            let standings =
                stand(&self.broker, connected, &target.scope, &partitions, &of_it).await;
            let standings = standings.map_err(|error| match error {
                Unknown::Broker(error) => Trouble::from(error),
                Unknown::Store(error) => passes(error),
            })?;
            for ((place, written), stood) in held.iter().zip(standings) {
                let standing = match stood {
                    Ok(standing) => standing,
                    // It is looked at again.
                    Err(error) => {
                        tracing::debug!(partition = %place.partition, %error, "not looked at");
                        continue;
                    }
                };
                match judge_again(&standing, self.adopt_offsets, *written) {
                    Again::GoOn => anchors.extend(standing.last.map(|last| (*place, last))),
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
