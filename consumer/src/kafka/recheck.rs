//! The rechecks: every few seconds, the safety checks of an assignment are repeated for the
//! partitions that are being read. They tell the poll thread which partitions to doubt, or to end.
//!
//! A partition without new records meets no error by which it would notice that its database was
//! restored, its topic recreated or its group's offsets lost. So everything asked when a partition
//! is assigned is asked again.

use std::collections::BTreeMap;
use std::time::Duration;

use write_behind_shared::{NextOffset, Partition};

use crate::apply::claim::claim_again;
use crate::apply::{Connect, Target};
use crate::clock::Clock;
use crate::core::assign::{RecheckVerdict, judge_again};
use crate::core::batch::{LastRecord, RoutePartition};
use crate::kafka::client::BrokerError;
use crate::kafka::locator::Locator;
use crate::kafka::messages::{PollExit, PollMessage};
use crate::kafka::partition_facts::{FactsError, partition_facts};
use crate::kafka::questions::Questions;
use crate::store::StoreError;

/// The time between two rechecks.
const RECHECK_EVERY: Duration = Duration::from_secs(5);
/// A topic counts as deleted when this many rechecks in a row miss it: a broker that has just
/// started may not know it yet.
const MISSED_MAX: u32 = 3;

/// How many rechecks at most are put off for partitions that are asked for over and over.
const PUT_OFF_MAX: u32 = 3;

/// What one recheck leaves for the next.
pub(super) struct RecheckState {
    /// When the last recheck ended, by the locator's clock.
    last: Duration,
    /// How many rechecks in a row missed a topic.
    missed: u32,
    /// Of each partition, the last record in the database when it was last located or rechecked. As
    /// long as the log has that record, what was applied since came from the same log. The newest
    /// record would not do: after a topic was recreated, librdkafka reads on at its position without
    /// a word, so that record may be the new log's already.
    pub(super) anchors: BTreeMap<RoutePartition, LastRecord>,
}

impl RecheckState {
    pub(super) fn new(now: Duration) -> Self {
        Self { last: now, missed: 0, anchors: BTreeMap::new() }
    }

    /// Whether the next recheck must not be put off any longer.
    pub(super) fn overdue(&self, now: Duration) -> bool {
        now.saturating_sub(self.last) > RECHECK_EVERY * PUT_OFF_MAX
    }
}

/// Why a recheck found nothing out, or why to stop.
enum RecheckError {
    /// It was not answered. The next recheck may be.
    Passes(String),
    /// No broker knows this topic now.
    NoTopic(String),
    Refused(PollExit),
}

impl From<BrokerError> for RecheckError {
    fn from(error: BrokerError) -> Self {
        match error {
            BrokerError::NoTopic(topic) => RecheckError::NoTopic(topic),
            other => RecheckError::Passes(other.to_string()),
        }
    }
}

impl<C: Connect, Q: Questions, T: Clock> Locator<C, Q, T> {
    /// Rechecks until there is a reason to stop. Dropping the future is safe: the connection that
    /// it was using is dropped too.
    pub(super) async fn watch(
        &self,
        store: &mut Option<C::Store>,
        recheck: &mut RecheckState,
    ) -> PollExit {
        loop {
            let due = recheck.last + RECHECK_EVERY;
            self.clock.sleep(due.saturating_sub(self.clock.now())).await;
            if let Some(exit) = self.recheck_once(store, recheck).await {
                return exit;
            }
        }
    }

    /// One recheck; returns the reason to stop, if there is one.
    pub(super) async fn recheck_once(
        &self,
        store: &mut Option<C::Store>,
        recheck: &mut RecheckState,
    ) -> Option<PollExit> {
        let rechecked = self.recheck(store, &mut recheck.anchors).await;
        recheck.last = self.clock.now();
        match rechecked {
            Ok(doubts) => {
                recheck.missed = 0;
                let listens = doubts.is_empty()
                    || self.answers.send(PollMessage::Doubted(doubts)).await.is_ok();
                (!listens).then_some(PollExit::Drained { clean: false })
            }
            Err(RecheckError::Refused(exit)) => Some(exit),
            Err(RecheckError::NoTopic(topic)) => {
                recheck.missed += 1;
                (recheck.missed >= MISSED_MAX).then(|| PollExit::Refused(deleted(&topic)))
            }
            // The poll thread and the workers report an outage.
            Err(RecheckError::Passes(error)) => {
                tracing::debug!(%error, "the partitions can't be rechecked");
                None
            }
        }
    }

    /// Refuses a table that is not the one that the offsets speak of. One that is missing stops its
    /// route, which tells by itself.
    async fn recheck_table(store: &mut C::Store, target: &Target) -> Result<(), RecheckError> {
        match claim_again(store, target).await {
            Ok(_) | Err(StoreError::Stop(_)) => Ok(()),
            Err(StoreError::Refused(why)) => Err(RecheckError::Refused(PollExit::Refused(why))),
            Err(error) => Err(passes(error)),
        }
    }

    /// The partitions in which the database no longer stands where it was left, with that offset.
    async fn recheck(
        &self,
        store: &mut Option<C::Store>,
        anchors: &mut BTreeMap<RoutePartition, LastRecord>,
    ) -> Result<Vec<(RoutePartition, NextOffset)>, RecheckError> {
        let owned = self.status.reading();
        // A question to locate drops this future anywhere. Left in `store`, a connection with half
        // a statement on it would be used for the next one.
        let mut in_use = store.take();
        let mut doubts = Vec::new();
        for (route, target) in self.targets.iter().enumerate() {
            let of_route = owned.iter().filter(|(tp, _)| tp.route == route);
            let owned: Vec<(RoutePartition, NextOffset)> = of_route.copied().collect();
            // Also of a topic of which nothing is held: the group takes a deleted topic's
            // partitions away, so nothing else would tell that it is gone.
            self.broker.partitions(&target.scope.topic).await.map_err(RecheckError::from)?;
            let connected = self.connected(&mut in_use).await.map_err(passes)?;
            Self::recheck_table(connected, target).await?;
            if owned.is_empty() {
                continue;
            }
            let partitions: Vec<Partition> = owned.iter().map(|(at, _)| at.partition).collect();
            let of_it = anchors.iter().filter(|(tp, _)| tp.route == route);
            let of_it = of_it.map(|(tp, last)| (tp.partition, *last)).collect();
            let all_facts =
                partition_facts(&self.broker, connected, &target.scope, &partitions, &of_it).await;
            let all_facts = all_facts.map_err(|error| match error {
                FactsError::Broker(error) => RecheckError::from(error),
                FactsError::Store(error) => passes(error),
            })?;
            for ((tp, written), answer) in owned.iter().zip(all_facts) {
                let facts = match answer {
                    Ok(facts) => facts,
                    // The next recheck asks again.
                    Err(error) => {
                        tracing::debug!(partition = %tp.partition, %error, "not rechecked");
                        continue;
                    }
                };
                match judge_again(&facts, self.adopt_offsets, *written) {
                    RecheckVerdict::GoOn => anchors.extend(facts.last.map(|last| (*tp, last))),
                    RecheckVerdict::Doubt => doubts.push((*tp, *written)),
                    RecheckVerdict::Refuse(refusal) => {
                        let exit = PollExit::refused(&target.scope.topic, tp.partition, &refusal);
                        return Err(RecheckError::Refused(exit));
                    }
                }
            }
        }
        *store = in_use;
        Ok(doubts)
    }
}

#[expect(clippy::needless_pass_by_value, reason = "it is handed to map_err")]
fn passes(error: impl ToString) -> RecheckError {
    RecheckError::Passes(error.to_string())
}

fn deleted(topic: &str) -> String {
    format!(
        "topic {topic} does not exist any more: it was deleted while it was read. What had been read \
         of it is in the database. If it is created again, its log is another one: run `write-behind \
         hand-over begin` then"
    )
}
