//! The locator's task: it locates partitions until nobody listens, and rechecks in between.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use write_behind_shared::{NextOffset, Partition};

use crate::apply::Connect;
use crate::apply::claim::claim;
use crate::clock::Clock;
use crate::core::assign::{PartitionFacts, Verdict, judge};
use crate::core::batch::{Epoch, LastRecord, RoutePartition};
use crate::core::bookkeeping_key::BookkeepingKey;
use crate::core::pipeline::action::Located;
use crate::kafka::locator::Locator;
use crate::kafka::messages::{PollExit, PollMessage};
use crate::kafka::partition_facts::{FactsAnswer, FactsError, partition_facts};
use crate::kafka::questions::Questions;
use crate::kafka::recheck::RecheckState;
use crate::status::outage::{Reporter, Subject};
use crate::store::{Position, Store, StoreError};

const BACKOFF_MIN: Duration = Duration::from_millis(100);
const BACKOFF_MAX: Duration = Duration::from_secs(5);

/// The answers about the partitions that were asked for.
#[derive(Default)]
struct LocateAnswer {
    located: Vec<Located>,
    /// The last record of each partition in the database. The log was seen to have it.
    anchors: BTreeMap<RoutePartition, LastRecord>,
    /// The partitions that could not be located yet, and why.
    later: BTreeMap<RoutePartition, String>,
    /// Why a safety check refuses to go on.
    refused: Option<PollExit>,
}

impl<C: Connect, Q: Questions, T: Clock> Locator<C, Q, T> {
    /// Answers until nobody listens, or a safety check refuses to go on.
    pub async fn run(self) {
        let mut store = None;
        let mut backoff = BACKOFF_MIN;
        let mut told = BTreeMap::new();
        let mut recheck = RecheckState::new(self.clock.now());
        let mut unclaimed = self.unclaimed.clone();
        loop {
            let wanted = match self.next(&mut store, &mut recheck).await {
                Ok(wanted) => wanted,
                Err(exit) => {
                    // If nobody listens, the poll thread has ended already.
                    let _ = self.answers.send(PollMessage::End(exit)).await;
                    return;
                }
            };
            let LocateAnswer { located, later, refused, .. } =
                self.locate(&mut store, &wanted, &mut recheck, &mut unclaimed).await;
            self.wanted.answered(located.iter().map(|answer| (answer.tp, answer.epoch)));
            if !located.is_empty()
                && self.answers.send(PollMessage::Located(located)).await.is_err()
            {
                return;
            }
            if let Some(exit) = refused {
                // If nobody listens, the poll thread has ended already.
                let _ = self.answers.send(PollMessage::End(exit)).await;
                return;
            }
            self.tell(&told, &later);
            self.status.not_located(&later);
            told = later;
            if told.is_empty() {
                backoff = BACKOFF_MIN;
            } else {
                tokio::select! {
                    biased;
                    () = self.wanted.asked() => {}
                    () = self.clock.sleep(backoff) => {}
                }
                backoff = (backoff * 2).min(BACKOFF_MAX);
            }
        }
    }

    /// The next questions; or the exit that a recheck asks for.
    async fn next(
        &self,
        store: &mut Option<C::Store>,
        recheck: &mut RecheckState,
    ) -> Result<BTreeMap<RoutePartition, Epoch>, PollExit> {
        // Without this, a partition that is asked for in vain over and over would starve the
        // rechecks, and a restored database would go unnoticed.
        if recheck.overdue(self.clock.now())
            && let Some(exit) = self.recheck_once(store, recheck).await
        {
            return Err(exit);
        }
        tokio::select! {
            biased;
            wanted = self.wanted.next() => Ok(wanted),
            exit = self.watch(store, recheck) => Err(exit),
        }
    }

    /// Logs why partitions are not located, once for each reason.
    fn tell(
        &self,
        before: &BTreeMap<RoutePartition, String>,
        now: &BTreeMap<RoutePartition, String>,
    ) {
        for (route, target) in self.targets.iter().enumerate() {
            let mut new =
                now.iter().filter(|(tp, error)| tp.route == route && before.get(tp) != Some(error));
            if let Some((tp, error)) = new.next() {
                let (topic, partition) = (&target.scope.topic, tp.partition);
                let others = new.count();
                tracing::warn!(%topic, %partition, others, %error, "not located yet");
            }
        }
    }

    async fn locate(
        &self,
        store: &mut Option<C::Store>,
        wanted: &BTreeMap<RoutePartition, Epoch>,
        recheck: &mut RecheckState,
        unclaimed: &mut BTreeSet<usize>,
    ) -> LocateAnswer {
        let mut answer = LocateAnswer::default();
        for route in 0..self.targets.len() {
            let of_route = wanted.iter().filter(|(tp, _)| tp.route == route);
            let asked: Vec<(RoutePartition, Epoch)> =
                of_route.map(|(tp, epoch)| (*tp, *epoch)).collect();
            if asked.is_empty() {
                continue;
            }
            let located = match self.claimed(store, route, &asked, unclaimed, &mut answer).await {
                Ok(true) => self.locate_in(store, route, &asked, &mut answer).await,
                Ok(false) => continue,
                Err(error) => Err(error.into()),
            };
            let error = match located {
                Ok(()) => continue,
                Err(FactsError::Broker(error)) => error.to_string(),
                Err(FactsError::Store(error)) => {
                    self.status.failed(Reporter::Locator, Subject::Database, &error);
                    // After an error the connection is in an unknown state: it may still be inside
                    // a transaction, and show what another consumer has written over since.
                    *store = None;
                    let error = error.to_string();
                    answer.later.extend(wanted.keys().map(|tp| (*tp, error.clone())));
                    break;
                }
            };
            answer.later.extend(asked.iter().map(|(tp, _)| (*tp, error.clone())));
        }
        recheck.anchors.append(&mut answer.anchors);
        answer.later.retain(|tp, _| !answer.located.iter().any(|one| one.tp == *tp));
        answer
    }

    /// Whether the route's table is its own, or has become so now.
    async fn claimed(
        &self,
        store: &mut Option<C::Store>,
        route: usize,
        asked: &[(RoutePartition, Epoch)],
        unclaimed: &mut BTreeSet<usize>,
        answer: &mut LocateAnswer,
    ) -> Result<bool, StoreError> {
        if !unclaimed.contains(&route) {
            return Ok(true);
        }
        match claim(self.connected(store).await?, &self.targets[route]).await {
            Ok(table) => {
                unclaimed.remove(&route);
                self.targets[route].warn(&table);
                return Ok(true);
            }
            Err(StoreError::Refused(why)) => answer.refused = Some(PollExit::Refused(why)),
            Err(StoreError::Stop(why)) => {
                // After an error the connection is in an unknown state.
                *store = None;
                let why = format!("{why}; the route waits until that is mended, the others go on");
                answer.later.extend(asked.iter().map(|(tp, _)| (*tp, why.clone())));
            }
            Err(passing) => return Err(passing),
        }
        Ok(false)
    }

    /// Locates the partitions of one route.
    async fn locate_in(
        &self,
        store: &mut Option<C::Store>,
        route: usize,
        asked: &[(RoutePartition, Epoch)],
        answer: &mut LocateAnswer,
    ) -> Result<(), FactsError> {
        let scope = &self.targets[route].scope;
        let partitions: Vec<Partition> = asked.iter().map(|(tp, _)| tp.partition).collect();
        let store = self.connected(store).await?;
        // Before the facts. The writers that are read in between belong to an offset that is the
        // same before and after: those of a later one would make duplicates of its records, and were
        // the database then restored to the earlier offset, nothing would fence their loss.
        let known = store.positions(scope, &partitions).await?;
        let all_facts =
            partition_facts(&self.broker, store, scope, &partitions, &BTreeMap::new()).await?;
        self.status.answered(Reporter::Locator);
        let end = |((tp, _), facts): (&(RoutePartition, Epoch), &FactsAnswer)| {
            Some((*tp, facts.as_ref().ok()?.high))
        };
        self.status.logs_end(&asked.iter().zip(&all_facts).filter_map(end).collect());
        let (mut begun, mut located, mut adopted) = (Vec::new(), Vec::new(), 0);
        for ((tp, epoch), facts) in asked.iter().zip(all_facts) {
            let facts = match facts {
                Ok(facts) => facts,
                Err(error) => {
                    answer.later.insert(*tp, error.to_string());
                    continue;
                }
            };
            let position = known.iter().find(|known| known.partition == tp.partition);
            if position.map(|position| position.next) != facts.database {
                answer.later.insert(*tp, "its last owner has just written it".to_owned());
                continue;
            }
            let next = match judge(&facts, self.adopt_offsets) {
                Verdict::Continue(next) => {
                    tell_difference(scope, *tp, next, facts.committed);
                    next
                }
                Verdict::Begin(next) => {
                    tell_beginning(scope, *tp, next, &facts);
                    let (partition, partitions) = (tp.partition, facts.partitions_now);
                    begun.push(Position { partition, next, partitions, writers: Vec::new() });
                    next
                }
                Verdict::Refuse(refusal) => {
                    answer.refused = Some(PollExit::refused(&scope.topic, tp.partition, &refusal));
                    return Ok(());
                }
            };
            answer.anchors.extend(facts.last.map(|last| (*tp, last)));
            let writers = position.map_or(Vec::new(), |position| position.writers.clone());
            adopted += usize::from(facts.database.is_none() && facts.committed.is_some());
            // The flag counts as used, also where there was nothing to adopt: one that stays would
            // adopt an emptied database later. So the group commits once more, with a note.
            let committed = facts.committed.filter(|_| facts.was_adopted || !self.adopt_offsets);
            let was_adopted = facts.was_adopted || self.adopt_offsets;
            located.push(Located { tp: *tp, epoch: *epoch, next, committed, was_adopted, writers });
        }
        // Before anything is read: otherwise the first batch would find no row to compare with, and
        // a crash in between would leave no trace that the log was begun.
        if !begun.is_empty() {
            store.begin_at(scope, &begun).await?;
        }
        if self.adopt_offsets && adopted == 0 && !located.is_empty() {
            tracing::warn!(
                topic = %scope.topic, partitions = located.len(),
                "--adopt-offsets has nothing to adopt here; it is meant for one start: remove it"
            );
        }
        answer.located.append(&mut located);
        Ok(())
    }
}

/// Logs where Kafka's committed offset is not the database's. It is advisory.
fn tell_difference(
    scope: &BookkeepingKey,
    tp: RoutePartition,
    next: NextOffset,
    committed: Option<NextOffset>,
) {
    let (topic, partition) = (&scope.topic, tp.partition);
    match committed {
        Some(committed) if committed > next => tracing::warn!(
            %topic, %partition, database = %next, kafka = %committed,
            "the database stands before the group's committed offset: it was restored, or the offset \
             was moved by hand; the database counts, and the records from there are applied again"
        ),
        Some(committed) if committed < next => tracing::info!(
            %topic, %partition, database = %next, kafka = %committed,
            "the group's committed offset is behind the database, which counts"
        ),
        None => tracing::info!(
            %topic, %partition, database = %next,
            "the group has no committed offset here; the database counts"
        ),
        Some(_) => {}
    }
}

fn tell_beginning(
    scope: &BookkeepingKey,
    tp: RoutePartition,
    next: NextOffset,
    facts: &PartitionFacts,
) {
    let (topic, partition) = (&scope.topic, tp.partition);
    if facts.committed.is_some() {
        tracing::warn!(%topic, %partition, %next, "the group's committed offset is adopted");
    } else if next > NextOffset::ZERO {
        tracing::warn!(
            %topic, %partition, %next,
            "the log's beginning is gone already: the table will lack what was written before"
        );
    }
}
