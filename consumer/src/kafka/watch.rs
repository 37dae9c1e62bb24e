//! The partition monitor: every few seconds it asks for the ends of the logs, reports the lag, and
//! restarts reading of a partition that has silently stalled.

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
use crate::kafka::client::BrokerError;
use crate::kafka::messages::{PollExit, PollMessage};
use crate::kafka::questions::Questions;
use crate::status::Status;
use crate::status::outage::{Reporter, Subject};

/// The time between two queries of the ends of the logs.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// The same after a look that nobody answered.
const LOOK_AGAIN: Duration = Duration::from_millis(200);
/// How long a look may take.
const LOOK_WITHIN: Duration = Duration::from_millis(2_300);
/// How many checks may fail in a row before an operator is warned. With the times above, silence
/// from Kafka is reported within ten seconds.
const IN_VAIN_MAX: u32 = 2;

/// Watches the partitions from outside the poll thread.
pub struct Watch<Q, T> {
    pub broker: Q,
    pub clock: T,
    pub targets: Arc<[Target]>,
    pub patience: Duration,
    /// `bootstrap.servers`.
    pub servers: String,
    pub status: Arc<Status>,
    pub answers: mpsc::Sender<PollMessage>,
}

impl<Q: Questions, T: Clock> Watch<Q, T> {
    /// Watches until nobody listens.
    pub async fn run(self) {
        let mut watchdog = Watchdog::new(self.patience);
        let mut found = Vec::new();
        let (mut answered, mut in_vain) = (self.clock.now(), 0);
        loop {
            let partitions = self.status.snapshot().progress.partitions;
            let ends = tokio::select! {
                biased;
                ends = self.ends(&partitions) => ends,
                () = self.clock.sleep(LOOK_WITHIN) => Err(None),
            };
            if ends.is_ok() {
                (answered, in_vain) = (self.clock.now(), 0);
                self.status.answered(Reporter::Watch);
            } else {
                in_vain += 1;
            }
            if let Err(why) = &ends
                && in_vain >= IN_VAIN_MAX
            {
                let silent = self.clock.now().saturating_sub(answered).as_secs();
                let silence = || format!("{} has not answered for {silent} s", self.servers);
                let why = why.clone().unwrap_or_else(silence);
                self.status.failed(Reporter::Watch, Subject::Kafka, &why);
            }
            let ends = ends.unwrap_or_default();
            self.status.logs_end(&ends);
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
            let every = if in_vain == 0 { LOOK_EVERY } else { LOOK_AGAIN };
            self.clock.sleep(every.min(self.patience / 4)).await;
        }
    }

    /// Where the logs end. A topic or partition that does not answer does not hide the others.
    ///
    /// # Errors
    /// Nobody answers, and why if that is known.
    async fn ends(
        &self,
        partitions: &[PartitionProgress],
    ) -> Result<BTreeMap<RoutePartition, NextOffset>, Option<String>> {
        let (mut ends, mut unreachable) = (BTreeMap::new(), None);
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
                    for (tp, end) in of_route.into_iter().zip(logs.ends) {
                        match end {
                            Ok((_, end)) => drop(ends.insert(tp, end)),
                            Err(error) => note(&mut unreachable, &error),
                        }
                    }
                }
                Err(error) => note(&mut unreachable, &error),
            }
        }
        if ends.is_empty() && unreachable.is_some() { Err(unreachable) } else { Ok(ends) }
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
            Remedy::GiveUp => PollMessage::End(PollExit::undelivered(topic, partition, next)),
        }
    }
}

/// Notes the first error by which no broker is reached. One without a leader, or a topic that is gone,
/// is told where partitions are located.
fn note(unreachable: &mut Option<String>, error: &BrokerError) {
    tracing::debug!(%error, "the ends of the logs are not known");
    if let BrokerError::Unreachable(why) = error {
        unreachable.get_or_insert_with(|| why.clone());
    }
}
