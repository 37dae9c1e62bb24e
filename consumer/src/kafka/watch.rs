//! The ends of the logs, every now and then: takes where the partitions stand, tells how far behind
//! they are, and has one read anew that silently stands still.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use write_behind_shared::kafka::KafkaSettings;
use write_behind_shared::{NextOffset, Partition};

use crate::apply::Target;
use crate::core::batch::Place;
use crate::core::pipeline::action::PartProgress;
use crate::core::pipeline::watchdog::{Found, Remedy, Watchdog};
use crate::kafka::broker::Broker;
use crate::kafka::client::BrokerError;
use crate::kafka::orders::{Exit, Input};
use crate::kafka::probe::probe;
use crate::kafka::stand::ask;
use crate::status::Status;

/// How often the ends of the logs are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Watches the partitions from outside of the poll thread.
pub(crate) struct Watch {
    pub(crate) broker: Arc<Broker>,
    pub(crate) targets: Arc<[Target]>,
    pub(crate) settings: KafkaSettings,
    pub(crate) patience: Duration,
    pub(crate) status: Arc<Status>,
    pub(crate) answers: mpsc::Sender<Input>,
}

impl Watch {
    /// Looks until nobody listens.
    pub(crate) async fn run(self) {
        let started = Instant::now();
        let mut watchdog = Watchdog::new(self.patience);
        let mut found = Vec::new();
        loop {
            let parts = self.status.snapshot().progress.parts;
            let ends = self.ends(&parts).await;
            self.status.logs_end(ends.clone());
            let told = Input::Ends(ends.iter().map(|(place, end)| (*place, *end)).collect());
            if self.answers.send(told).await.is_err() {
                return;
            }
            let suspects = watchdog.look(started.elapsed(), &parts, &ends);
            // Answers of the last turn, now that it is known who has moved on meanwhile.
            for (place, next, found) in found.drain(..) {
                let remedy = watchdog.answered(started.elapsed(), place, next, found);
                let Some(input) = remedy.map(|remedy| self.order(place, next, remedy)) else {
                    continue;
                };
                if self.answers.send(input).await.is_err() {
                    return;
                }
            }
            for (place, next) in suspects {
                found.push((place, next, self.ask_another(place, next).await));
            }
            tokio::time::sleep(LOOK_EVERY.min(self.patience / 4)).await;
        }
    }

    /// Where the logs end. What one topic or partition does not tell does not hide the others.
    async fn ends(&self, parts: &[PartProgress]) -> BTreeMap<Place, NextOffset> {
        let mut ends = BTreeMap::new();
        for (route, target) in self.targets.iter().enumerate() {
            let of_route: Vec<Place> =
                parts.iter().map(|part| part.place).filter(|place| place.route == route).collect();
            if of_route.is_empty() {
                continue;
            }
            let asked: Vec<Partition> = of_route.iter().map(|place| place.partition).collect();
            let topic = target.scope.topic.clone();
            match ask(&self.broker, move |broker| broker.logs(&topic, &asked)).await {
                Ok(logs) => {
                    if logs.ends.iter().any(Result::is_ok) {
                        self.status.kafka_answered();
                    }
                    let known = of_route.into_iter().zip(logs.ends);
                    ends.extend(known.filter_map(|(place, end)| Some((place, end.ok()?.1))));
                }
                Err(error) => tracing::debug!(%error, "the ends of the logs are not known"),
            }
        }
        ends
    }

    async fn ask_another(&self, place: Place, next: NextOffset) -> Found {
        let scope = &self.targets[place.route].scope;
        let (topic, group) = (scope.topic.clone(), scope.pipeline.clone());
        let settings = self.settings.clone();
        let asked = ask(&self.broker, move |_| {
            probe(&settings, &group, &topic, place.partition, next)
                .map_err(|error| BrokerError::Unreachable(error.to_string()))
        });
        asked.await.unwrap_or_else(|error| {
            tracing::debug!(%error, "another client has no answer either");
            Found::NoAnswer
        })
    }

    fn order(&self, place: Place, next: NextOffset, remedy: Remedy) -> Input {
        let (topic, partition) = (&self.targets[place.route].scope.topic, place.partition);
        match remedy {
            Remedy::ReadAnew => {
                self.status.metrics().read_anew();
                tracing::warn!(
                    %topic, %partition, %next,
                    "records in the log do not arrive; the partition is read anew"
                );
                Input::Doubted(vec![(place, next)])
            }
            Remedy::GiveUp => Input::End(Exit::Failed(format!(
                "topic {topic}, partition {partition}: the log has records from offset {next} on, \
                 but Kafka's client does not deliver them, also after the partition was read anew; \
                 start the process again, and it begins with a new client"
            ))),
        }
    }
}
