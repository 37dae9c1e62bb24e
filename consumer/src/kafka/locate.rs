//! Where partitions stand: takes those that the pipeline asks for, asks the database and Kafka, and
//! answers with positions that were judged safe to go on from.
//!
//! While the database or Kafka is away it asks again and again. What is asked for last counts: a
//! partition asked for anew meanwhile is answered once, for the last time it was asked.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, mpsc};
use write_behind_shared::{NextOffset, Partition};

use crate::apply::Target;
use crate::kafka::assign::{Standing, Verdict, judge};
use crate::kafka::broker::{Broker, BrokerError};
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

/// Why there is no answer.
pub(super) enum NoAnswer {
    /// It will pass.
    Later(String),
    /// There is no such topic now.
    NoTopic(String),
    End(Exit),
}

/// Finds out where partitions stand.
pub(crate) struct Locator {
    pub(crate) targets: Arc<[Target]>,
    pub(crate) database: Database,
    pub(crate) broker: Arc<Broker>,
    pub(crate) adopt_offsets: bool,
    pub(crate) wanted: Arc<Wanted>,
    pub(crate) status: Arc<Status>,
    pub(crate) answers: mpsc::Sender<Input>,
}

impl Locator {
    /// Answers until nobody listens.
    pub(crate) async fn run(self) {
        let mut store = None;
        let mut backoff = BACKOFF_MIN;
        loop {
            let wanted = tokio::select! {
                biased;
                wanted = self.wanted.next() => wanted,
                exit = self.watch(&mut store) => {
                    // Whoever listened may be gone, and then it has ended already.
                    let _ = self.answers.send(Input::End(exit)).await;
                    return;
                }
            };
            let input = match self.locate(&mut store, &wanted).await {
                Ok(found) => {
                    backoff = BACKOFF_MIN;
                    self.wanted.answered(&found);
                    Input::Located(found)
                }
                Err(NoAnswer::End(exit)) => Input::End(exit),
                Err(NoAnswer::Later(error) | NoAnswer::NoTopic(error)) => {
                    if backoff == BACKOFF_MIN {
                        tracing::warn!(%error, "partitions can't be located yet");
                    }
                    // After an error the connection is in an unknown state.
                    store = None;
                    tokio::time::sleep(backoff).await;
                    backoff = (backoff * 2).min(BACKOFF_MAX);
                    continue;
                }
            };
            let ends = matches!(input, Input::End(_));
            if self.answers.send(input).await.is_err() || ends {
                return;
            }
        }
    }

    async fn locate(
        &self,
        store: &mut Option<AnyStore>,
        wanted: &BTreeMap<Place, Epoch>,
    ) -> Result<Vec<Located>, NoAnswer> {
        let mut found = Vec::with_capacity(wanted.len());
        for (route, target) in self.targets.iter().enumerate() {
            let asked: Vec<(Place, Epoch)> = wanted
                .iter()
                .filter(|(place, _)| place.route == route)
                .map(|(place, epoch)| (*place, *epoch))
                .collect();
            if !asked.is_empty() {
                self.locate_in(store, &target.scope, &asked, &mut found).await?;
            }
        }
        Ok(found)
    }

    async fn locate_in(
        &self,
        store: &mut Option<AnyStore>,
        scope: &Scope,
        asked: &[(Place, Epoch)],
        found: &mut Vec<Located>,
    ) -> Result<(), NoAnswer> {
        let partitions: Vec<Partition> = asked.iter().map(|(place, _)| place.partition).collect();
        let standings = self.standings(store, scope, &partitions).await?;
        let store = self.connected(store).await?;
        let known = store.positions(scope, &partitions).await.map_err(|error| self.away(error))?;
        let mut begun = Vec::new();
        for ((place, epoch), standing) in asked.iter().zip(standings) {
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
                    let exit = Exit::refused(&scope.topic, place.partition, &refusal);
                    return Err(NoAnswer::End(exit));
                }
            };
            let position = known.iter().find(|known| known.partition == place.partition);
            let writers = position.map_or(Vec::new(), |position| position.writers.clone());
            let committed = standing.committed;
            found.push(Located { place: *place, epoch: *epoch, next, committed, writers });
        }
        if begun.is_empty() {
            return Ok(());
        }
        store.begin_at(scope, &begun).await.map_err(|error| self.away(error))
    }

    /// Where these partitions stand.
    pub(super) async fn standings(
        &self,
        store: &mut Option<AnyStore>,
        scope: &Scope,
        partitions: &[Partition],
    ) -> Result<Vec<Standing>, NoAnswer> {
        let store = self.connected(store).await?;
        let standings = stand(&self.broker, store, scope, partitions).await;
        let standings = standings.map_err(|error| match error {
            Unknown::Store(error) => self.away(error),
            Unknown::Broker(BrokerError::NoTopic(topic)) => NoAnswer::NoTopic(topic),
            Unknown::Broker(error) => NoAnswer::Later(error.to_string()),
        })?;
        self.status.database_answered();
        Ok(standings)
    }

    async fn connected<'s>(
        &self,
        store: &'s mut Option<AnyStore>,
    ) -> Result<&'s mut AnyStore, NoAnswer> {
        let connected = match store.take() {
            Some(store) => store,
            None => self.database.connect(&Timeouts::STANDARD).await.map_err(|e| self.away(e))?,
        };
        Ok(store.insert(connected))
    }

    fn away(&self, error: StoreError) -> NoAnswer {
        match error {
            StoreError::Stop(why) => NoAnswer::End(Exit::Failed(why)),
            passing => {
                self.status.database_failed(&passing);
                NoAnswer::Later(passing.to_string())
            }
        }
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
