//! A hand-over: an operator says which table the offsets speak of from now on, or where its log
//! begins. It is planned from what Kafka and the database say, shown, and then done whole or not at
//! all.

mod waiting;

use std::collections::BTreeMap;

use write_behind_shared::Partition;

use crate::apply::Target;
use crate::config::{Config, Route};
use crate::core::assign::PartitionFacts;
use crate::core::bookkeeping_key::BookkeepingKey;
use crate::core::claim::Claim;
use crate::core::dead_letters::{DeadLetterState, Filter};
pub use crate::core::hand_over::HandOverMode;
use crate::core::hand_over::{HandOver, HandOverFacts, Stand, plan};
use crate::core::table::Table;
use crate::core::torn_keys::RecordPlace;
use crate::kafka::broker::KafkaBroker;
use crate::kafka::client::BrokerError;
use crate::kafka::partition_facts::{FactsError, facts_with};
use crate::kafka::questions::Questions as _;
use crate::store::{AnyStore, Known, Store as _, StoreError, Timeouts, hand_over, letters};

/// What the operator decided.
#[derive(Clone, Debug)]
pub struct HandOverOptions {
    /// From where the records are written.
    pub mode: HandOverMode,
    /// The pipeline whose table it was; `None`: the configuration's own.
    pub from_pipeline: Option<String>,
    /// The topic from which the table was written; `None`: the route's own.
    pub from_topic: Option<String>,
    /// Whether a log may be read from its beginning onto rows that are there.
    pub keep_rows: bool,
    /// The first record of the keys whose records wait in two partitions, if their order may be lost.
    pub accept_disorder: Option<RecordPlace>,
    /// How many records the table may lack that the log has lost before they were written.
    pub accept_loss: u64,
}

/// Why nothing was handed over.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HandOverError {
    /// It would not be safe.
    #[error("{0}")]
    Refused(String),
    /// Kafka or the database has no answer.
    #[error("{0}")]
    Failed(String),
}

/// A hand-over that was planned, and not done yet.
#[derive(Debug)]
pub struct PlannedHandOver {
    store: AnyStore,
    table: Table,
    plan: HandOver,
}

impl PlannedHandOver {
    /// Plans the hand-over of a route. Changes nothing.
    ///
    /// # Errors
    /// [`HandOverError`].
    pub async fn plan(
        config: &Config,
        route: &Route,
        options: &HandOverOptions,
    ) -> Result<Self, HandOverError> {
        let broker = KafkaBroker::new(&config.kafka, &config.name)
            .map_err(|error| HandOverError::Failed(error.to_string()))?;
        let cluster = broker.cluster_id().await?;
        let partitions = broker.partitions(&route.topic).await?;
        let target = Target::of(config, route, &cluster, partitions);
        let mut store = config.database.target.connect(&Timeouts::STANDARD).await?;
        store.bookkeeping().await?.usable()?;
        let table = target.describe(&mut store).await?;
        let plan =
            Planning { config, options, target, broker, store: &mut store }.plan(&table).await?;
        Ok(Self { store, table, plan })
    }

    /// What it means, line by line.
    #[must_use]
    pub fn lines(&self) -> &[String] {
        &self.plan.lines
    }

    /// Does it.
    ///
    /// # Errors
    /// [`HandOverError`]. Nothing was done, unless the answer to COMMIT was lost: doing it again is
    /// safe.
    pub async fn perform(mut self) -> Result<(), HandOverError> {
        Ok(hand_over::hand_over(&mut self.store, &self.table, &self.plan).await?)
    }
}

struct Planning<'a> {
    config: &'a Config,
    options: &'a HandOverOptions,
    target: Target,
    broker: KafkaBroker,
    store: &'a mut AnyStore,
}

impl Planning<'_> {
    async fn plan(&mut self, table: &Table) -> Result<HandOver, HandOverError> {
        let to = self.target.scope.clone();
        let options = self.options;
        let claims = self.store.claims(table, &to).await?;
        let from = self.from(&claims);
        let mut members = Vec::new();
        for BookkeepingKey { pipeline: group, topic, .. } in [&to, &from] {
            members.push((group.clone(), self.broker.members(group, topic).await?));
        }
        let before = self.store.known(&from).await?;
        let next = self.store.known(&to).await?;
        let judged_by = if options.mode == HandOverMode::GoOn { &before } else { &next };
        let partitions = self.facts(judged_by).await?;
        let torn_keys = match options.mode {
            HandOverMode::GoOn if grew(&before, &partitions) => {
                waiting::torn_keys(self.config, &to.topic, &partitions)
                    .await
                    .map_err(HandOverError::Failed)?
            }
            _ => None,
        };
        let facts = HandOverFacts {
            mode: options.mode,
            from: &from,
            to: &to,
            table: &table.sql_name,
            claims: &claims,
            is_empty: self.store.is_empty(table).await?,
            keep_rows: options.keep_rows,
            members: &members,
            before: &self.with_ends(&from.topic, &before).await?,
            next: &next.iter().map(|known| (known.partition, known.next)).collect::<Vec<_>>(),
            partitions: &partitions,
            open_letters: self.open_letters(&to).await?,
            torn_keys,
            accept_disorder: options.accept_disorder,
            accept_loss: options.accept_loss,
        };
        plan(&facts).map_err(HandOverError::Refused)
    }

    /// Whose table it was. A claim tells of which cluster, which may have been another one.
    fn from(&self, claims: &[Claim]) -> BookkeepingKey {
        let (to, options) = (&self.target.scope, self.options);
        let pipeline = options.from_pipeline.as_ref().unwrap_or(&to.pipeline);
        let topic = options.from_topic.as_ref().unwrap_or(&to.topic);
        let is_it = |scope: &&BookkeepingKey| scope.pipeline == *pipeline && scope.topic == *topic;
        let claimed = claims.iter().map(|claim| &claim.scope).find(is_it);
        claimed.cloned().unwrap_or_else(|| BookkeepingKey {
            pipeline: pipeline.clone(),
            topic: topic.clone(),
            ..to.clone()
        })
    }

    /// The facts of each partition, where the database knows `known` and the number of partitions
    /// is as it should be.
    async fn facts(
        &self,
        known: &[Known],
    ) -> Result<Vec<(Partition, PartitionFacts)>, HandOverError> {
        let count = self.target.partitions;
        let known = known.iter().map(|known| Known { partitions: count, ..*known }).collect();
        let partitions: Vec<Partition> = (0..count).map(Partition).collect();
        let known = async { Ok(known) };
        let scope = &self.target.scope;
        let facts = facts_with(&self.broker, known, scope, &partitions, &BTreeMap::new()).await;
        let facts = facts.map_err(|error| match error {
            FactsError::Store(error) => HandOverError::from(error),
            FactsError::Broker(error) => error.into(),
        })?;
        partitions.into_iter().zip(facts).map(|(at, facts)| Ok((at, facts?))).collect()
    }

    /// The database's offsets in a topic, with the end of each log. `None` if the topic is gone.
    async fn with_ends(&self, topic: &str, known: &[Known]) -> Result<Vec<Stand>, HandOverError> {
        let partitions: Vec<Partition> = known.iter().map(|known| known.partition).collect();
        let ends = match self.broker.logs(topic, &partitions).await {
            Ok(logs) => logs.ends,
            Err(BrokerError::NoTopic(_)) => Vec::new(),
            Err(error) => return Err(error.into()),
        };
        let mut ends = ends.into_iter();
        let mut with_ends = Vec::with_capacity(known.len());
        for Known { partition, next, .. } in known {
            let end = ends.next().transpose()?.map(|(_, high)| high);
            with_ends.push((*partition, *next, end));
        }
        Ok(with_ends)
    }

    async fn open_letters(&mut self, scope: &BookkeepingKey) -> Result<u64, HandOverError> {
        let filter = Filter {
            cluster: Some(scope.cluster.clone()),
            topic: Some(scope.topic.clone()),
            state: Some(DeadLetterState::Open),
            ..Filter::default()
        };
        let tallies = letters::tally(self.store, &scope.pipeline, &filter).await?;
        Ok(tallies.iter().map(|tally| tally.letters).sum())
    }
}

/// Whether the topic has another number of partitions than when the database was written to.
fn grew(before: &[Known], partitions: &[(Partition, PartitionFacts)]) -> bool {
    before.iter().any(|known| known.partitions as usize != partitions.len())
}

impl From<StoreError> for HandOverError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Refused(why) => HandOverError::Refused(why),
            other => HandOverError::Failed(other.to_string()),
        }
    }
}

impl From<BrokerError> for HandOverError {
    fn from(error: BrokerError) -> Self {
        HandOverError::Failed(error.to_string())
    }
}
