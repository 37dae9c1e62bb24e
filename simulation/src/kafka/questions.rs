//! What Kafka answers when it is asked, and the log read a second time.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use write_behind_consumer::apply::log::{Log, RereadError, RereadPart};
use write_behind_consumer::core::batch::{RoutePartition, Span, WantedKeys};
use write_behind_consumer::core::pipeline::watchdog::ProbeResult;
use write_behind_consumer::core::span_read::{ReadFailure, ReadStep, SpanRead};
use write_behind_consumer::kafka::client::BrokerError;
use write_behind_consumer::kafka::questions::{GroupOffset, Logs, Questions};
use write_behind_shared::{NextOffset, Offset, Partition};

use crate::gate::{Ask, Gate, Grant};
use crate::kafka::log::Topics;
use crate::plan::Fault;
use crate::state::{Handle, State};

/// How long a question waits for its answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// The questions of one process.
#[derive(Clone)]
pub struct Asker {
    pub state: Handle,
    pub process: u64,
}

impl Asker {
    async fn ask<T>(
        &self,
        what: &'static str,
        answer: impl FnOnce(&mut State) -> T,
    ) -> Result<T, BrokerError> {
        let gate = Gate::new(&self.state, self.process, Ask::Kafka(what), ANSWER_WITHIN);
        match gate.await {
            Grant::Go | Grant::GoSlowly => Ok(answer(&mut self.state.lock())),
            _ => Err(BrokerError::Unreachable(format!("no answer to {what}"))),
        }
    }
}

fn tp(topic: &str, partition: Partition) -> RoutePartition {
    RoutePartition { route: Topics::route(topic), partition }
}

impl Questions for Asker {
    async fn cluster_id(&self) -> Result<String, BrokerError> {
        self.ask("cluster id", |_| "cluster".to_owned()).await
    }

    async fn partitions(&self, topic: &str) -> Result<i32, BrokerError> {
        let route = Topics::route(topic);
        self.ask("partitions", |state| state.topics.0[route].len() as i32).await
    }

    async fn committed(
        &self,
        topic: &str,
        partitions: &[Partition],
    ) -> Result<BTreeMap<Partition, GroupOffset>, BrokerError> {
        let answer = |state: &mut State| {
            let of = |partition: &Partition| {
                let next = *state.group.committed.get(&tp(topic, *partition))?;
                Some((*partition, GroupOffset { next, was_adopted: false }))
            };
            partitions.iter().filter_map(of).collect()
        };
        self.ask("committed offsets", answer).await
    }

    async fn logs(&self, topic: &str, partitions: &[Partition]) -> Result<Logs, BrokerError> {
        let answer = |state: &mut State| {
            let of = |partition: &Partition| {
                let log = state.topics.log(tp(topic, *partition));
                Ok((NextOffset(log.low), NextOffset(log.high())))
            };
            let ends = partitions.iter().map(of).collect();
            Logs { partitions: state.topics.0[Topics::route(topic)].len() as i32, ends }
        };
        self.ask("ends of logs", answer).await
    }

    async fn timestamps(
        &self,
        topic: &str,
        wanted: &BTreeMap<Partition, Offset>,
    ) -> Result<BTreeMap<Partition, Option<i64>>, BrokerError> {
        let answer = |state: &mut State| {
            let of = |(partition, offset): (&Partition, &Offset)| {
                let record = state.topics.log(tp(topic, *partition)).at(offset.0);
                (*partition, record.map(|record| record.timestamp))
            };
            wanted.iter().map(of).collect()
        };
        self.ask("timestamps", answer).await
    }

    async fn probe(&self, topic: &str, partition: Partition, next: NextOffset) -> ProbeResult {
        let answer = |state: &mut State| {
            let log = state.topics.log(tp(topic, partition));
            match log.next_from(next.0) {
                Some(_) => ProbeResult::Record,
                None => ProbeResult::NothingBelow(NextOffset(log.high())),
            }
        };
        self.ask("a probe", answer).await.unwrap_or(ProbeResult::NoAnswer)
    }
}

impl Log for Asker {
    async fn records(
        &self,
        topic: Arc<str>,
        spans: Vec<Span>,
        wanted: Arc<WantedKeys>,
    ) -> Result<RereadPart, RereadError> {
        let gate = Gate::new(&self.state, self.process, Ask::Reread, ANSWER_WITHIN);
        match gate.await {
            Grant::Go | Grant::GoSlowly => {}
            _ => return Err(RereadError::Unavailable("no record came".to_owned())),
        }
        let mut state = self.state.lock();
        state.reach("records were read a second time");
        let part = read_again(&mut state, &topic, &spans, &wanted);
        state.history.tell_of(self.process, || match &part {
            Ok(part) => format!("reads {} records again", part.records.len()),
            Err(error) => format!("can't read again: {error}"),
        });
        part
    }
}

/// Reads spans by the machine that production reads them by. A replica that lags may say that the
/// log is over before it is.
fn read_again(
    state: &mut State,
    topic: &str,
    spans: &[Span],
    wanted: &WantedKeys,
) -> Result<RereadPart, RereadError> {
    let mut read = SpanRead::new(spans, ANSWER_WITHIN);
    let (mut records, mut rest) = (Vec::new(), spans.to_vec());
    loop {
        match read.step() {
            ReadStep::Finished => {
                rest.clear();
                break;
            }
            ReadStep::Failed(ReadFailure::Gone) => {
                return Err(RereadError::Stop("its records are gone".to_owned()));
            }
            ReadStep::Failed(why) => return Err(RereadError::Unavailable(why.to_string())),
            ReadStep::AskEnds(partition) => {
                let log = state.topics.log(tp(topic, partition));
                let (low, high) = (NextOffset(log.low), NextOffset(log.high()));
                read.ends(low, high);
            }
            ReadStep::Poll => {
                let left = read.unread().len();
                let span = read.unread()[state.choices.below(left)];
                let weight = state.plan.weight(Fault::Question);
                if state.fault(weight) {
                    state.reach("a lagging replica said that the log is over");
                    read.end_of_log(span.partition, Some(span.start));
                    continue;
                }
                let log = state.topics.log(tp(topic, span.partition));
                if log.low > span.start.0 {
                    read.out_of_range();
                    continue;
                }
                let Some((at, record)) = log.next_from(span.start.0) else {
                    let high = NextOffset(log.high());
                    read.end_of_log(span.partition, Some(high));
                    continue;
                };
                let raw = record.copied(span.partition, at);
                if read.record(span.partition, Offset(at)).is_none() || at >= span.end.0 {
                    continue;
                }
                let key = raw.key.clone().map(|key| (span.partition, key));
                let is_wanted = key.is_some_and(|key| wanted.contains(&key));
                if is_wanted && records.len() >= state.plan.reread_max {
                    state.reach("a second reading came in parts");
                    rest.retain(|span| span.start < span.end);
                    break;
                }
                records.extend(is_wanted.then_some(raw));
                for span in rest.iter_mut().filter(|one| one.partition == span.partition) {
                    span.start = NextOffset(at + 1);
                }
            }
        }
    }
    records.sort_by_key(|record| (record.partition, record.offset));
    Ok(RereadPart { records, rest })
}
