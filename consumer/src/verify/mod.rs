//! `verify`: folds the log up to the database's offsets, and compares the table with the result.
//!
//! It changes nothing, and the consumer may run meanwhile: all questions to the database see one
//! snapshot.

pub mod fold;
pub mod report;
mod compare;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use write_behind_shared::{NextOffset, Partition};

use crate::apply::Target;
use crate::apply::claim::judged;
use crate::config::{Config, OnWrongPartition, Route};
use crate::core::batch::Span;
use crate::core::dead_letters::DeadLetterState;
use crate::core::table::Table;
use crate::kafka::broker::KafkaBroker;
use crate::kafka::client::reader_config;
use crate::kafka::log_reader::{LogReader, PATIENCE, ReadError};
use crate::kafka::questions::Questions as _;
use crate::store::snapshot::Snapshot;
use crate::store::{AnyStore, Known, Store as _, StoreError, Timeouts, letters};
use crate::verify::fold::{Choice, FoldedPass, Range, SetAside, VerifyFold};
use crate::verify::report::VerifyReport;

/// What is verified, and with how much memory.
#[derive(Clone, Debug)]
pub struct VerifyOptions {
    /// Which rows.
    pub choice: Choice,
    /// How many bytes of rows are held at most, roughly.
    pub memory: usize,
    /// How many differences are named at most; the others are counted.
    pub at_most: usize,
}

/// Why nothing could be verified.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// Kafka or the database gave no answer, or one that leaves nothing to compare.
    #[error("topic {0}: {1}")]
    Topic(String, String),
}

/// The progress of a verification: the offsets of a pass, and those that it has read.
pub trait Progress: Send + Sync {
    /// A pass begins.
    fn begins(&self, offsets: u64);
    /// This many more offsets were read.
    fn read(&self, offsets: u64);
}

/// Verifies one route.
///
/// # Errors
/// Kafka or the database does not answer, or does not know the topic.
pub async fn verify(
    config: &Config,
    route: &Route,
    options: &VerifyOptions,
    progress: Arc<dyn Progress>,
) -> Result<VerifyReport, VerifyError> {
    let topic = route.topic.clone();
    let told = |why: String| VerifyError::Topic(topic.clone(), why);
    let broker = KafkaBroker::new(&config.kafka, &config.name).map_err(|e| told(e.to_string()))?;
    let cluster = broker.cluster_id().await.map_err(|e| told(e.to_string()))?;
    let database = &config.database.target;
    let store = database.connect(&Timeouts::STANDARD).await.map_err(|e| told(e.to_string()))?;
    let target = Target::of(config, route, &cluster, 1);
    let mut verifying = Verifying {
        config,
        target: &target,
        on_wrong_partition: route.on_wrong_partition,
        options,
        broker,
        store,
        progress,
        held: Vec::new(),
        placed_in: None,
    };
    let report = verifying.report().await.map_err(told)?;
    Ok(report)
}

/// One route's verification.
struct Verifying<'a> {
    config: &'a Config,
    target: &'a Target,
    on_wrong_partition: OnWrongPartition,
    options: &'a VerifyOptions,
    broker: KafkaBroker,
    store: AnyStore,
    progress: Arc<dyn Progress>,
    /// The part of each partition that the log still has and the database holds.
    held: Vec<Span>,
    /// How many partitions the topic has, if a record in another than its key's is set aside.
    placed_in: Option<i32>,
}

impl Verifying<'_> {
    async fn report(&mut self) -> Result<VerifyReport, String> {
        let bookkeeping = self.store.bookkeeping().await.map_err(|e| e.to_string())?;
        bookkeeping.usable().map_err(|e| e.to_string())?;
        let table = self.target.describe(&mut self.store).await.map_err(|e| e.to_string())?;
        let claim = judged(&mut self.store, self.target, &table).await;
        self.store.begin_snapshot().await.map_err(|e| e.to_string())?;
        let known = self.store.known(&self.target.scope).await.map_err(|e| e.to_string())?;
        if known.is_empty() {
            return Err(
                "the database knows nothing of it, so there is nothing to verify".to_owned()
            );
        }
        let mut report = VerifyReport {
            topic: self.target.scope.topic.clone(),
            table: self.target.table.clone(),
            next_offsets: known.iter().map(|one| (one.partition.0, one.next.0)).collect(),
            ..VerifyReport::default()
        };
        // What is missing from another table is what a person wants to see.
        report.remarks.extend(claim.err().map(|error| error.to_string()));
        self.spans(&known, &mut report).await?;
        let set_aside = self.set_aside().await.map_err(|e| e.to_string())?;
        let mut ranges = vec![Range::ALL];
        while let Some(range) = ranges.pop() {
            let folded = self.fold(&table, range, &set_aside).await?;
            ranges.extend(&folded.left);
            report.passes += 1;
            self.compare(&table, folded, &mut report).await.map_err(|e| e.to_string())?;
        }
        self.store.end_snapshot().await.map_err(|e| e.to_string())?;
        Ok(report)
    }

    /// Finds the part of each partition to read.
    async fn spans(&mut self, known: &[Known], report: &mut VerifyReport) -> Result<(), String> {
        let partitions: Vec<Partition> = known.iter().map(|one| one.partition).collect();
        let logs = self.broker.logs(&self.target.scope.topic, &partitions).await;
        let logs = logs.map_err(|e| e.to_string())?;
        let sets_aside = self.on_wrong_partition == OnWrongPartition::DeadLetter;
        self.placed_in = sets_aside.then_some(logs.partitions);
        for (known, ends) in known.iter().zip(logs.ends) {
            let Known { partition, next, .. } = *known;
            let (low, high) = ends.map_err(|e| e.to_string())?;
            if next > high {
                return Err(format!(
                    "partition {partition}: the database holds everything below offset {next}, but the \
                     log ends at {high}; run `check`"
                ));
            }
            if low > NextOffset::ZERO {
                report.remarks.push(format!(
                    "partition {partition}: the log begins at {low}. Of rows written before, only what \
                     was set or deleted since can be judged, and extra rows are not looked for"
                ));
            }
            self.held.push(Span { partition, start: low.min(next), end: next });
        }
        Ok(())
    }

    /// The records that were set aside.
    async fn set_aside(&mut self) -> Result<Arc<SetAside>, StoreError> {
        let mut set_aside = SetAside::default();
        let letters = letters::places(&mut self.store, &self.target.scope).await?;
        for (partition, offset, state) in letters {
            let of_state = match state {
                DeadLetterState::Replayed => &mut set_aside.replayed,
                DeadLetterState::Open
                | DeadLetterState::Discarded
                | DeadLetterState::Superseded => &mut set_aside.skipped,
            };
            of_state.insert((partition, offset));
        }
        Ok(Arc::new(set_aside))
    }

    async fn fold(
        &self,
        table: &Table,
        range: Range,
        set_aside: &Arc<SetAside>,
    ) -> Result<FoldedPass, String> {
        let (spans, choice) = (self.held.clone(), Arc::new(self.options.choice.clone()));
        let offsets = |span: &Span| span.start.distance_to(span.end);
        let mut left: u64 = spans.iter().map(offsets).sum();
        self.progress.begins(left);
        // The other half is for the rows in the database's notation.
        let memory = self.options.memory / 2;
        let set_aside = Arc::clone(set_aside);
        let mut fold = VerifyFold::new(table, choice, set_aside, self.whole(), range, memory);
        if let Some(partitions) = self.placed_in {
            fold = fold.without_misplaced(partitions);
        }
        let reader = reader_config(&self.config.kafka, &self.config.name);
        let reader = LogReader::new(reader, PATIENCE);
        let (topic, progress) = (self.target.scope.topic.clone(), Arc::clone(&self.progress));
        let reading = tokio::task::spawn_blocking(move || {
            let read = reader.read::<ReadError>(&topic, &spans, &mut |record, offsets| {
                fold.take(record);
                progress.read(offsets);
                left = left.saturating_sub(offsets);
                Ok(())
            });
            read.map_err(|error| format!("the log can't be read: {error}"))?;
            // A span may end in markers, which are no records.
            progress.read(left);
            Ok::<_, String>(fold.finish())
        });
        reading.await.map_err(|error| error.to_string())?
    }

    /// The partitions whose log is there from its beginning.
    fn whole(&self) -> BTreeSet<Partition> {
        let whole = self.held.iter().filter(|span| span.start == NextOffset::ZERO);
        whole.map(|span| span.partition).collect()
    }

    fn is_whole(&self) -> bool {
        self.held.iter().all(|span| span.start == NextOffset::ZERO)
    }
}

/// Rows of one shape, by the columns that they set.
type ByColumns<T> = BTreeMap<Vec<usize>, Vec<T>>;
