//! Where partitions stand: takes those that the pipeline asks for, asks the database and Kafka, and
//! answers with positions that were judged safe to go on from.
//!
//! While the database or Kafka is away it asks again and again, partition by partition: one without a
//! leader, or of a topic that is gone, does not hold up the others. What is asked for last counts: a
//! partition asked for anew meanwhile is answered once, for the last time it was asked; one that was
//! given back is forgotten.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, mpsc};
use write_behind_shared::{NextOffset, Partition};

use crate::apply::Target;
use crate::apply::claim::claim;
use crate::batch::LastRecord;
use crate::kafka::assign::{Standing, Verdict, judge};
use crate::kafka::broker::Broker;
use crate::kafka::look::Looks;
use crate::kafka::orders::{Exit, Input};
use crate::kafka::stand::{Unknown, stand};
use crate::pipeline::action::{Epoch, Located, Place};
use crate::status::Status;
use crate::store::{AnyStore, Database, Position, Scope, Store, StoreError, Timeouts};

const BACKOFF_MIN: Duration = Duration::from_millis(100);
const BACKOFF_MAX: Duration = Duration::from_secs(5);

/// Partitions whose positions are asked for; one entry a partition, so it is bounded.
#[derive(Debug, Default)]
pub(crate) struct Wanted {
    places: Mutex<BTreeMap<Place, Epoch>>,
    asked: Notify,
}

impl Wanted {
    /// Asks for these. Never waits.
    pub(crate) fn ask(&self, places: Vec<(Place, Epoch)>) {
        self.lock().extend(places);
        self.asked.notify_one();
    }

    /// Forgets these: they were given back.
    pub(crate) fn forget(&self, places: &[Place]) {
        self.lock().retain(|place, _| !places.contains(place));
    }

    /// Waits so long, or until something is asked for.
    async fn asked_or_after(&self, time: Duration) {
        // Either way it is time to ask.
        let _ = tokio::time::timeout(time, self.asked.notified()).await;
    }

    async fn next(&self) -> BTreeMap<Place, Epoch> {
        loop {
            let wanted = self.lock().clone();
            if !wanted.is_empty() {
                return wanted;
            }
            self.asked.notified().await;
        }
    }

    /// Forgets what was answered, unless it was asked for again.
    fn answered(&self, answers: &[Located]) {
        let mut wanted = self.lock();
        for answer in answers {
            if wanted.get(&answer.place) == Some(&answer.epoch) {
                wanted.remove(&answer.place);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Place, Epoch>> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

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

/// Finds out where partitions stand.
pub(crate) struct Locator {
    pub(crate) targets: Arc<[Target]>,
    pub(crate) database: Database,
    pub(crate) broker: Arc<Broker>,
    pub(crate) adopt_offsets: bool,
    pub(crate) wanted: Arc<Wanted>,
    /// The routes whose tables were of no use at the start. Nothing of them is read before they are.
    pub(crate) unclaimed: BTreeSet<usize>,
    pub(crate) status: Arc<Status>,
    pub(crate) answers: mpsc::Sender<Input>,
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

    /// The connection, made anew where there is none.
    pub(super) async fn connected<'s>(
        &self,
        store: &'s mut Option<AnyStore>,
    ) -> Result<&'s mut AnyStore, StoreError> {
        let connected = match store.take() {
            Some(store) => store,
            None => self.database.connect(&Timeouts::STANDARD).await?,
        };
        Ok(store.insert(connected))
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

#[cfg(test)]
mod tests {
    use super::*;

    fn place(partition: i32) -> Place {
        Place { route: 0, partition: Partition(partition) }
    }

    #[tokio::test]
    async fn what_was_given_back_or_asked_for_anew_is_not_asked_for_as_before() {
        let wanted = Wanted::default();
        wanted.ask(vec![(place(0), 1), (place(1), 2), (place(2), 3)]);
        wanted.forget(&[place(1)]);
        assert_eq!(wanted.next().await, BTreeMap::from([(place(0), 1), (place(2), 3)]));
        // An answer to the question before does not count as one to the last.
        wanted.ask(vec![(place(2), 4)]);
        let answer = |partition, epoch| Located {
            place: place(partition),
            epoch,
            next: NextOffset(5),
            committed: None,
            writers: Vec::new(),
        };
        wanted.answered(&[answer(0, 1), answer(2, 3)]);
        assert_eq!(wanted.next().await, BTreeMap::from([(place(2), 4)]));
    }
}
