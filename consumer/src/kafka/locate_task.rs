//! The locator's task: asks for positions until nobody listens, and rechecks in between.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use write_behind_shared::{NextOffset, Partition};

use crate::apply::claim::claim;
use crate::core::assign::{Standing, Verdict, judge};
use crate::core::batch::{Epoch, LastRecord, Place};
use crate::core::pipeline::action::Located;
use crate::core::scope::Scope;
use crate::kafka::locator::Locator;
use crate::kafka::orders::{Exit, Input};
use crate::kafka::recheck::Looks;
use crate::kafka::stand::{Unknown, stand};
use crate::store::{AnyStore, Position, Store, StoreError};

const BACKOFF_MIN: Duration = Duration::from_millis(100);
const BACKOFF_MAX: Duration = Duration::from_secs(5);

/// What is known of the partitions that were asked for.
#[derive(Default)]
struct Answer {
    located: Vec<Located>,
    /// The last record in the database of each of these, which the log was seen to have.
    anchors: BTreeMap<Place, LastRecord>,
    /// Those that are asked for again later, and why.
    later: BTreeMap<Place, String>,
    /// What a safety check says of one of them.
    refused: Option<Exit>,
}

impl Locator {
    /// Answers until nobody listens, or a safety check refuses.
    pub(crate) async fn run(self) {
        let mut store = None;
        let mut backoff = BACKOFF_MIN;
        let mut told = BTreeMap::new();
        let mut looks = Looks::new();
        let mut unclaimed = self.unclaimed.clone();
        loop {
            let wanted = match self.next(&mut store, &mut looks).await {
                Ok(wanted) => wanted,
                Err(exit) => {
                    // Whoever does not listen has ended already.
                    let _ = self.answers.send(Input::End(exit)).await;
                    return;
                }
            };
            let Answer { located, later, refused, .. } =
                self.locate(&mut store, &wanted, &mut looks, &mut unclaimed).await;
            self.wanted.answered(&located);
            if !located.is_empty() && self.answers.send(Input::Located(located)).await.is_err() {
                return;
            }
            if let Some(exit) = refused {
                // Whoever does not listen has ended already.
                let _ = self.answers.send(Input::End(exit)).await;
                return;
            }
            self.tell(&told, &later);
            self.status.not_located(&later);
            told = later;
            if told.is_empty() {
                backoff = BACKOFF_MIN;
            } else {
                self.wanted.asked_or_after(backoff).await;
                backoff = (backoff * 2).min(BACKOFF_MAX);
            }
        }
    }

    /// What is asked for next; or the end, if looking again finds a reason for it.
    async fn next(
        &self,
        store: &mut Option<AnyStore>,
        looks: &mut Looks,
    ) -> Result<BTreeMap<Place, Epoch>, Exit> {
        // Partitions that are asked for in vain must not keep the others from being looked at.
        if looks.overdue()
            && let Some(exit) = self.look_once(store, looks).await
        {
            return Err(exit);
        }
        tokio::select! {
            biased;
            wanted = self.wanted.next() => Ok(wanted),
            exit = self.watch(store, looks) => Err(exit),
        }
    }

    /// What is asked for again and again is told once.
    fn tell(&self, before: &BTreeMap<Place, String>, now: &BTreeMap<Place, String>) {
        for (route, target) in self.targets.iter().enumerate() {
            let mut new = now
                .iter()
                .filter(|(place, error)| place.route == route && before.get(place) != Some(error));
            if let Some((place, error)) = new.next() {
                let (topic, partition) = (&target.scope.topic, place.partition);
                let others = new.count();
                tracing::warn!(%topic, %partition, others, %error, "not located yet");
            }
        }
    }

    async fn locate(
        &self,
        store: &mut Option<AnyStore>,
        wanted: &BTreeMap<Place, Epoch>,
        looks: &mut Looks,
        unclaimed: &mut BTreeSet<usize>,
    ) -> Answer {
        let mut answer = Answer::default();
        for route in 0..self.targets.len() {
            let of_route = wanted.iter().filter(|(place, _)| place.route == route);
            let asked: Vec<(Place, Epoch)> =
                of_route.map(|(place, epoch)| (*place, *epoch)).collect();
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
                Err(Unknown::Broker(error)) => error.to_string(),
                Err(Unknown::Store(error)) => {
                    self.status.database_failed(&error);
                    // After an error the connection is in an unknown state.
                    *store = None;
                    let error = error.to_string();
                    answer.later.extend(wanted.keys().map(|place| (*place, error.clone())));
                    break;
                }
            };
            answer.later.extend(asked.iter().map(|(place, _)| (*place, error.clone())));
        }
        looks.anchors.append(&mut answer.anchors);
        answer.later.retain(|place, _| !answer.located.iter().any(|one| one.place == *place));
        answer
    }

    /// Whether the route's table is its own.
    async fn claimed(
        &self,
        store: &mut Option<AnyStore>,
        route: usize,
        asked: &[(Place, Epoch)],
        unclaimed: &mut BTreeSet<usize>,
        answer: &mut Answer,
    ) -> Result<bool, StoreError> {
        if !unclaimed.contains(&route) {
            return Ok(true);
        }
        match claim(self.connected(store).await?, &self.targets[route]).await {
            Ok(None) => {
                unclaimed.remove(&route);
                return Ok(true);
            }
            Ok(Some(why)) => answer.refused = Some(Exit::Refused(why)),
            Err(StoreError::Stop(why)) => {
                // After an error the connection is in an unknown state.
                *store = None;
                let why = format!("{why}; the route waits until that is mended, the others go on");
                answer.later.extend(asked.iter().map(|(place, _)| (*place, why.clone())));
            }
            Err(passing) => return Err(passing),
        }
        Ok(false)
    }

    /// Locates the partitions of one route.
    async fn locate_in(
        &self,
        store: &mut Option<AnyStore>,
        route: usize,
        asked: &[(Place, Epoch)],
        answer: &mut Answer,
    ) -> Result<(), Unknown> {
        let scope = &self.targets[route].scope;
        let partitions: Vec<Partition> = asked.iter().map(|(place, _)| place.partition).collect();
        let store = self.connected(store).await?;
        let standings = stand(&self.broker, store, scope, &partitions, &BTreeMap::new()).await?;
        let known = store.positions(scope, &partitions).await?;
        self.status.database_answered();
        let (mut begun, mut located) = (Vec::new(), Vec::new());
        for ((place, epoch), stood) in asked.iter().zip(standings) {
            let standing = match stood {
                Ok(standing) => standing,
                Err(error) => {
                    answer.later.insert(*place, error.to_string());
                    continue;
                }
            };
            let next = match judge(&standing, self.adopt_offsets) {
                Verdict::Continue(next) => {
                    tell_difference(scope, *place, next, standing.committed);
                    next
                }
                Verdict::Begin(next) => {
                    tell_beginning(scope, *place, next, &standing);
                    let (partition, partitions) = (place.partition, standing.partitions_now);
                    begun.push(Position { partition, next, partitions, writers: Vec::new() });
                    next
                }
                Verdict::Refuse(refusal) => {
                    answer.refused = Some(Exit::refused(&scope.topic, place.partition, &refusal));
                    return Ok(());
                }
            };
            answer.anchors.extend(standing.last.map(|last| (*place, last)));
            let position = known.iter().find(|known| known.partition == place.partition);
            let writers = position.map_or(Vec::new(), |position| position.writers.clone());
            let committed = standing.committed;
            located.push(Located { place: *place, epoch: *epoch, next, committed, writers });
        }
        if !begun.is_empty() {
            store.begin_at(scope, &begun).await?;
        }
        answer.located.append(&mut located);
        Ok(())
    }
}

/// Kafka's committed offset is advisory; where it is not the database's, a person may want to know.
fn tell_difference(scope: &Scope, place: Place, next: NextOffset, committed: Option<NextOffset>) {
    let (topic, partition) = (&scope.topic, place.partition);
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

fn tell_beginning(scope: &Scope, place: Place, next: NextOffset, standing: &Standing) {
    let (topic, partition) = (&scope.topic, place.partition);
    if standing.committed.is_some() {
        tracing::warn!(%topic, %partition, %next, "the group's committed offset is adopted");
    } else if next > NextOffset::ZERO {
        tracing::warn!(
            %topic, %partition, %next,
            "the log's beginning is gone already: the table will lack what was written before"
        );
    }
}
