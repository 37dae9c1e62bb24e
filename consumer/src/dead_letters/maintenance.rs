//! Background maintenance of dead letters: counts them, copies them to their topic and deletes them
//! after their retention. It uses its own connection, so it never delays a batch.
//!
//! Copies are made from the table, after the transaction that wrote the letters. The table
//! remembers how far they were made, once the brokers have them. So the consumer that reads the
//! partition copies each letter at least once, and what a crash leaves undone, the partition's next
//! owner does.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use write_behind_shared::{NextOffset, Partition};

use crate::apply::{Connect, Target};
use crate::clock::Clock;
use crate::config::Config;
use crate::core::batch::RoutePartition;
use crate::core::bookkeeping_key::BookkeepingKey;
use crate::core::dead_letters::Filter;
use crate::kafka::letter_topic::LetterTopic;
use crate::status::Status;
use crate::store::statement::Statements;
use crate::store::{StoreError, letters};

const LOOK_EVERY: Duration = Duration::from_secs(1);
const COUNT_EVERY: Duration = Duration::from_secs(10);
/// Counting reads all letters: it may take one part in this many of the time.
const COUNTING_SHARE: u32 = 100;
const DELETE_EVERY: Duration = Duration::from_hours(1);
/// How many letters are held and copied at a time.
const PAGE: u32 = 200;

/// Why the care of the dead letters failed.
#[derive(Debug, thiserror::Error)]
enum MaintenanceError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("{0}")]
    Topic(String),
}

impl MaintenanceError {
    /// The workers report a database that is away.
    fn is_told_by_others(&self) -> bool {
        matches!(
            self,
            MaintenanceError::Store(
                StoreError::Unavailable(_) | StoreError::Saturated(_) | StoreError::Conflict(_)
            )
        )
    }
}

/// Looks after the dead letters of one pipeline.
pub(crate) struct Maintenance<C, T> {
    name: String,
    connect: C,
    clock: T,
    targets: Arc<[Target]>,
    topic: Option<LetterTopic>,
    retention: Option<Duration>,
    status: Arc<Status>,
    /// Up to where the letters were copied, for each partition that is read here.
    copied: HashMap<RoutePartition, NextOffset>,
    /// How many records had been set aside when all of them were copied.
    set_aside: u64,
    counted: Option<Duration>,
    /// How long counting took.
    counting: Duration,
    deleted: Option<Duration>,
}

impl<C: Connect<Store: Statements>, T: Clock> Maintenance<C, T> {
    /// Does not wait for a connection.
    ///
    /// # Errors
    /// Kafka's settings are not such that a client can be made.
    pub(crate) fn new(
        config: &Config,
        connect: C,
        clock: T,
        targets: Arc<[Target]>,
        status: Arc<Status>,
    ) -> Result<Self, String> {
        let settings = &config.dead_letters;
        let topic = settings.topic.as_deref();
        let topic = topic.map(|topic| LetterTopic::new(&config.kafka, topic)).transpose();
        let topic = topic.map_err(|error| error.to_string())?;
        Ok(Self {
            name: config.name.clone(),
            connect,
            clock,
            targets,
            topic,
            retention: settings.retention,
            status,
            copied: HashMap::new(),
            set_aside: 0,
            counted: None,
            counting: Duration::ZERO,
            deleted: None,
        })
    }

    /// Runs until it is dropped; whatever fails is tried again. Dropping it is safe at any point.
    pub(crate) async fn run(mut self) {
        let mut store = None;
        let mut failing = false;
        loop {
            match self.run_once(&mut store).await {
                Ok(()) => failing = false,
                Err(error) => {
                    // A connection that met an error is not used again.
                    store = None;
                    if error.is_told_by_others() {
                        tracing::debug!(%error, "dead letters can't be counted, copied or deleted");
                    } else if !std::mem::replace(&mut failing, true) {
                        tracing::warn!(%error, "dead letters can't be counted, copied or deleted; trying again");
                    }
                }
            }
            self.clock.sleep(LOOK_EVERY).await;
        }
    }

    async fn run_once(
        &mut self,
        connection: &mut Option<C::Store>,
    ) -> Result<(), MaintenanceError> {
        let store = if let Some(store) = connection {
            store
        } else {
            connection.insert(self.connect.connect().await?)
        };
        let is_due = |last: Option<Duration>, every| {
            last.is_none_or(|last| self.clock.now().saturating_sub(last) >= every)
        };
        if is_due(self.counted, COUNT_EVERY.max(self.counting * COUNTING_SHARE)) {
            let begun = self.clock.now();
            let tallies = letters::tally(store, &self.name, &Filter::default()).await;
            self.status.stored_letters(&tallies?);
            let now = self.clock.now();
            (self.counted, self.counting) = (Some(now), now.saturating_sub(begun));
        }
        if let Some(retention) = self.retention
            && is_due(self.deleted, DELETE_EVERY)
        {
            let kept_since = SystemTime::now().checked_sub(retention).unwrap_or(UNIX_EPOCH);
            let kept_since = kept_since.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
            let before = i64::try_from(kept_since).unwrap_or(i64::MAX);
            let deleted = letters::delete_old(store, &self.name, before).await?;
            self.status.metrics().letters_deleted(deleted);
            // It deletes a part at a time: there may be more.
            if deleted == 0 {
                self.deleted = Some(self.clock.now());
            }
        }
        self.copy(store).await
    }

    async fn copy(&mut self, store: &mut C::Store) -> Result<(), MaintenanceError> {
        let Some(topic) = &self.topic else { return Ok(()) };
        let set_aside = self.status.metrics().set_aside();
        let tps = self.status.partitions();
        // A partition that comes back must be asked for in the table again: its owner in between
        // has copied letters too.
        self.copied.retain(|tp, _| tps.contains(tp));
        for tp in tps {
            let known = self.copied.get(&tp).copied();
            if known.is_some() && set_aside == self.set_aside {
                continue;
            }
            let scope = &self.targets[tp.route].scope;
            let next = copy_partition(topic, store, scope, tp.partition, known).await;
            let (next, letters) = next?;
            self.status.metrics().letters_copied(letters);
            self.copied.insert(tp, next);
        }
        self.set_aside = set_aside;
        Ok(())
    }
}

/// Copies the partition's letters from `known` on, or from where the table says. Returns up to
/// where they are copied now, and how many were.
async fn copy_partition<S: Statements>(
    topic: &LetterTopic,
    store: &mut S,
    scope: &BookkeepingKey,
    partition: Partition,
    known: Option<NextOffset>,
) -> Result<(NextOffset, usize), MaintenanceError> {
    let mut next = if let Some(known) = known {
        known
    } else {
        letters::copied(store, scope, partition).await?.unwrap_or_default()
    };
    let mut letters = 0;
    loop {
        let filter = Filter {
            cluster: Some(scope.cluster.clone()),
            topic: Some(scope.topic.clone()),
            partition: Some(partition.0),
            from: Some(next.0),
            ..Filter::default()
        };
        let page = letters::find(store, &scope.pipeline, &filter, None, PAGE).await;
        let page = page?;
        let Some(last) = page.last() else { return Ok((next, letters)) };
        next = last.offset().next();
        let too_large =
            topic.copy(&page).await.map_err(|error| MaintenanceError::Topic(error.to_string()))?;
        letters += page.len() - too_large;
        // Only now: noted before the brokers have the page, a crash would lose its copies.
        letters::note_copied(store, scope, partition, next).await?;
    }
}

#[cfg(test)]
#[path = "tests/maintenance.rs"]
mod tests;
