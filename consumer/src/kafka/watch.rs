//! The watch over the partitions: every few seconds it asks where the logs end, reports how far
//! behind the partitions are, and has one read again that silently stands still.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use write_behind_shared::{NextOffset, Partition};

use crate::apply::Target;
use crate::clock::Clock;
use crate::core::batch::RoutePartition;
use crate::core::pipeline::action::PartitionProgress;
use crate::core::pipeline::watchdog::{Remedy, Watchdog};
use crate::kafka::messages::{PollExit, PollMessage};
use crate::kafka::questions::Questions;
use crate::status::Status;

/// The time between two looks at the ends of the logs.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Watches the partitions from outside the poll thread.
pub(crate) struct Watch<Q, T> {
    pub(crate) broker: Q,
    pub(crate) clock: T,
    pub(crate) targets: Arc<[Target]>,
    pub(crate) patience: Duration,
    pub(crate) status: Arc<Status>,
    pub(crate) answers: mpsc::Sender<PollMessage>,
}

impl<Q: Questions, T: Clock> Watch<Q, T> {
    /// Watches until nobody listens.
    pub(crate) async fn run(self) {
        let mut watchdog = Watchdog::new(self.patience);
        let mut found = Vec::new();
        loop {
            let partitions = self.status.snapshot().progress.partitions;
            let ends = self.ends(&partitions).await;
            self.status.logs_end(ends.clone());
            let told = PollMessage::Ends(ends.iter().map(|(tp, end)| (*tp, *end)).collect());
            if self.answers.send(told).await.is_err() {
                return;
            }
            let suspects = watchdog.check(self.clock.now(), &partitions, &ends);
            // The probes of the last turn are judged only now. A partition whose records came while
            // its probe ran would otherwise be read again though it moves.
            for (tp, next, found) in found.drain(..) {
                let remedy = watchdog.answered(self.clock.now(), tp, next, found);
                let Some(input) = remedy.map(|remedy| self.order(tp, next, remedy)) else {
                    continue;
                };
                if self.answers.send(input).await.is_err() {
                    return;
                }
            }
            for (tp, next) in suspects {
                let topic = &self.targets[tp.route].scope.topic;
                found.push((tp, next, self.broker.probe(topic, tp.partition, next).await));
            }
            self.clock.sleep(LOOK_EVERY.min(self.patience / 4)).await;
        }
    }

    /// Where the logs end. A topic or partition that does not answer does not hide the others.
    async fn ends(&self, partitions: &[PartitionProgress]) -> BTreeMap<RoutePartition, NextOffset> {
        let mut ends = BTreeMap::new();
        for (route, target) in self.targets.iter().enumerate() {
            let of_route: Vec<RoutePartition> = partitions
                .iter()
                .map(|partition| partition.tp)
                .filter(|tp| tp.route == route)
                .collect();
            if of_route.is_empty() {
                continue;
            }
            let asked: Vec<Partition> = of_route.iter().map(|tp| tp.partition).collect();
            match self.broker.logs(&target.scope.topic, &asked).await {
                Ok(logs) => {
                    if logs.ends.iter().any(Result::is_ok) {
                        self.status.kafka_answered();
                    }
                    let known = of_route.into_iter().zip(logs.ends);
                    ends.extend(known.filter_map(|(tp, end)| Some((tp, end.ok()?.1))));
                }
                Err(error) => tracing::debug!(%error, "the ends of the logs are not known"),
            }
        }
        ends
    }

    fn order(&self, tp: RoutePartition, next: NextOffset, remedy: Remedy) -> PollMessage {
        let (topic, partition) = (&self.targets[tp.route].scope.topic, tp.partition);
        match remedy {
            Remedy::ReadAnew => {
                self.status.metrics().read_anew();
                tracing::warn!(
                    %topic, %partition, %next,
                    "records in the log do not arrive; the partition is read again"
                );
                PollMessage::Doubted(vec![(tp, next)])
            }
            Remedy::GiveUp => PollMessage::End(PollExit::Failed(format!(
                "topic {topic}, partition {partition}: the log has records from offset {next} on, \
                 but Kafka's client does not deliver them, even after the partition was read again; \
                 restart the process: it begins with a new client"
            ))),
        }
    }
}
