//! Checks skipped offsets: a second client reads what the first one passed over.
//!
//! It asks the partitions' leaders and knows nothing of the group's client. What it finds is judged
//! by [`SkipLook`]; an unanswered question is reported as unanswered, never as an empty span.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use rdkafka::error::KafkaError;
use tokio::sync::mpsc;
use write_behind_shared::Partition;

use crate::clock::Clock;
use crate::config::Config;
use crate::core::batch::Span;
use crate::core::pipeline::skips::{LookId, SkipFacts, SkipLook};
use crate::core::record::Incoming;
use crate::kafka::client::{ANSWER_WITHIN, reader_config};
use crate::kafka::log_reader::LogReader;
use crate::kafka::messages::PollMessage;
use crate::kafka::partition_queue::PartitionQueue;
use crate::kafka::questions::Questions;
use crate::kafka::settings::{compaction, topic_configurations};

/// How long it is known whether a topic is compacted. Brokers compact later than that after a change.
const KNOWN_FOR: Duration = Duration::from_secs(10);

/// The looks that are asked for.
pub type SkipQueue = PartitionQueue<(LookId, SkipLook)>;

/// What a look found, or why nothing is known.
type Found = Result<SkipFacts, String>;

/// Looks at skipped offsets.
pub(crate) struct SkipLooks<Q, T> {
    broker: Q,
    clock: T,
    config: Config,
    reader: Arc<LogReader>,
    wanted: Arc<SkipQueue>,
    answers: mpsc::Sender<PollMessage>,
}

impl<Q: Questions, T: Clock> SkipLooks<Q, T> {
    /// Looks at what `wanted` names, with a client that connects at the first look.
    pub(crate) fn new(
        config: &Config,
        broker: Q,
        clock: T,
        wanted: Arc<SkipQueue>,
        answers: mpsc::Sender<PollMessage>,
    ) -> Self {
        let mut client = reader_config(&config.kafka, &config.name);
        // Otherwise it might read from the follower that the first client reads from.
        client.remove("client.rack");
        client.set("queued.max.messages.kbytes", "1024");
        let reader = Arc::new(LogReader::new(client, ANSWER_WITHIN));
        Self { broker, clock, config: config.clone(), reader, wanted, answers }
    }

    /// Looks until nobody listens.
    pub(crate) async fn run(self) {
        let mut compacted: Option<(Duration, Vec<bool>)> = None;
        loop {
            let wanted = self.wanted.next().await;
            let now = self.clock.now();
            let known = match compacted.take() {
                Some((since, known)) if now.saturating_sub(since) < KNOWN_FOR => (since, known),
                _ => (now, self.compacted().await),
            };
            for (route, is_compacted) in known.1.iter().enumerate() {
                let looks: Vec<_> = wanted.iter().filter(|(tp, _)| tp.route == route).collect();
                let spans = looks.iter().map(|(tp, (_, look))| span(tp.partition, look)).collect();
                let found = self.look(route, spans, *is_compacted).await;
                for (tp, (id, _)) in &looks {
                    let nothing = || Err("nobody looked".to_owned());
                    let found = found.get(&tp.partition).cloned().unwrap_or_else(nothing);
                    let answer = PollMessage::LookedAtSkip(**tp, *id, found);
                    if self.answers.send(answer).await.is_err() {
                        return;
                    }
                }
                self.wanted.answered(looks.into_iter().map(|(tp, look)| (*tp, *look)));
            }
            compacted = Some(known);
        }
    }

    async fn look(
        &self,
        route: usize,
        spans: Vec<Span>,
        is_compacted: bool,
    ) -> BTreeMap<Partition, Found> {
        if spans.is_empty() {
            return BTreeMap::new();
        }
        let topic = self.config.routes[route].topic.clone();
        let partitions: Vec<Partition> = spans.iter().map(|span| span.partition).collect();
        let all = |why: String| partitions.iter().map(|at| (*at, Err(why.clone()))).collect();
        let logs = match self.broker.logs(&topic, &partitions).await {
            Ok(logs) => logs.ends,
            Err(error) => return all(error.to_string()),
        };
        let (mut begin, mut found) = (BTreeMap::new(), BTreeMap::new());
        for (partition, log) in partitions.iter().zip(logs) {
            match log {
                Ok((low, _)) => drop(begin.insert(*partition, low)),
                Err(error) => drop(found.insert(*partition, Err(error.to_string()))),
            }
        }
        // A span that begins below its log can't be read, and there is no need to.
        let readable =
            |span: &Span| begin.get(&span.partition).is_some_and(|low| *low <= span.start);
        let (spans, gone): (Vec<Span>, Vec<Span>) = spans.into_iter().partition(readable);
        let gone: Vec<Partition> = gone.iter().map(|span| span.partition).collect();
        let reader = Arc::clone(&self.reader);
        let counted = tokio::task::spawn_blocking(move || count(&reader, &topic, &spans)).await;
        let counted = counted.map_err(|error| error.to_string());
        let counted = match counted.and_then(|counted| counted.map_err(|error| error.to_string())) {
            Ok(counted) => counted,
            Err(why) => return all(why),
        };
        // A partition whose leader is away holds up itself alone.
        found.extend(begin.into_iter().map(|(partition, low)| {
            let facts = |records: u64| SkipFacts { low, records, is_compacted };
            // A span below its log is not read: what it had is not to be known any more.
            let nothing = gone.contains(&partition).then_some(0);
            let unfinished = || "its leader did not send all of it in time".to_owned();
            let records = counted.get(&partition).copied().or(nothing);
            (partition, records.map(facts).ok_or_else(unfinished))
        }));
        found
    }

    /// Whether each route's topic is compacted, as far as known.
    async fn compacted(&self) -> Vec<bool> {
        let topics: Vec<&str> = self.config.routes.iter().map(|route| &*route.topic).collect();
        let configurations =
            topic_configurations(&self.config.kafka, &self.config.name, &topics).await;
        let is_compacted =
            |known: &Result<_, _>| known.as_ref().ok().and_then(compaction).is_some();
        configurations.iter().map(is_compacted).collect()
    }
}

fn span(partition: Partition, look: &SkipLook) -> Span {
    Span { partition, start: look.start, end: look.end }
}

/// How many records each span has, of those that could be read to their ends. Blocks.
fn count(
    reader: &LogReader,
    topic: &str,
    spans: &[Span],
) -> Result<BTreeMap<Partition, u64>, KafkaError> {
    let mut counted: BTreeMap<_, _> = spans.iter().map(|span| (span.partition, 0)).collect();
    if !spans.is_empty() {
        let mut take = |record: &Incoming<'_>| *counted.entry(record.partition).or_default() += 1;
        let unfinished = reader.read_best_effort(topic, spans, &mut take)?;
        counted.retain(|partition, _| !unfinished.contains(partition));
    }
    Ok(counted)
}
