//! librdkafka's consumer as a [`Reader`]: which partitions it was assigned, from where, and which
//! of them are paused.
//!
//! Each partition is assigned with the offset that the database names, in the `assign` itself.
//! There is no seek: to read on from elsewhere, the partition is assigned again. Offsets to commit
//! go through this file alone.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use rdkafka::config::ClientConfig;
use rdkafka::consumer::{Consumer, RebalanceProtocol};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::message::Message as _;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use write_behind_shared::kafka::KafkaSettings;
use write_behind_shared::{NextOffset, Partition};

use crate::config::Config;
use crate::config::memory::MemoryLimits;
use crate::core::batch::RoutePartition;
use crate::core::pipeline::commit::CommitId;
use crate::kafka::client;
use crate::kafka::failures::is_of_connection;
use crate::kafka::group::{self, GroupEvent, Member, Partitions, fatal};
use crate::kafka::incoming::incoming;
use crate::kafka::reader::{Heard, Reader};
use crate::kafka::statistics::EVERY_MS;
use crate::status::logs::Fetched;

/// A member of the group, and what it reads.
pub(crate) struct Reading {
    member: Member,
    /// The topic of each route.
    topics: Vec<Arc<str>>,
    /// The route of the last record, which is mostly that of the next.
    last_route: usize,
    /// Partitions that librdkafka was given.
    assigned: BTreeSet<RoutePartition>,
    /// Those of them that it was told to pause.
    paused: BTreeSet<RoutePartition>,
}

impl Reading {
    /// Joins the group. Nothing is read yet.
    pub(crate) fn subscribe(config: &Config) -> Result<Self, String> {
        let member = Member::new(&client_config(config))?;
        let topics: Vec<Arc<str>> =
            config.routes.iter().map(|route| Arc::from(&*route.topic)).collect();
        let named: Vec<&str> = topics.iter().map(|topic| &**topic).collect();
        member.subscribe(&named).map_err(|error| error.to_string())?;
        let (assigned, paused) = (BTreeSet::new(), BTreeSet::new());
        Ok(Self { member, topics, last_route: 0, assigned, paused })
    }

    /// Leaves the group and ends the client. See [`Member::close`].
    pub(crate) fn close(self) {
        self.member.close();
    }

    /// Which of our partitions the group speaks of.
    fn tps(&self, partitions: &Partitions) -> Vec<RoutePartition> {
        partitions.iter().filter_map(|named| self.tp(named)).collect()
    }

    fn tp(&self, (topic, partition): &(String, i32)) -> Option<RoutePartition> {
        let route = self.topics.iter().position(|one| **one == **topic)?;
        Some(RoutePartition { route, partition: Partition(*partition) })
    }

    fn list(&self, tps: &[RoutePartition]) -> TopicPartitionList {
        let mut list = TopicPartitionList::with_capacity(tps.len());
        for tp in tps {
            list.add_partition(&self.topics[tp.route], tp.partition.0);
        }
        list
    }

    fn positions(&self, positions: &[(RoutePartition, NextOffset)]) -> TopicPartitionList {
        let mut list = TopicPartitionList::with_capacity(positions.len());
        for (tp, next) in positions {
            let mut element = list.add_partition(&self.topics[tp.route], tp.partition.0);
            #[expect(clippy::expect_used, reason = "only a negative offset is refused")]
            element.set_offset(Offset::Offset(next.0)).expect("an offset is not negative");
        }
        list
    }
}

impl Reader for Reading {
    type Error = KafkaError;

    fn poll(&mut self, wait: Duration, mut hear: impl FnMut(Heard<'_>)) -> bool {
        let Self { member, topics, last_route, .. } = self;
        match member.poll(wait) {
            None => return false,
            Some(Ok(message)) => {
                member.context().failures().clear();
                // A record of a topic that no route reads was never assigned.
                if let Some(route) = route_of(topics, *last_route, message.topic()) {
                    *last_route = route;
                    incoming(&message, |record| hear(Heard::Record(route, record)));
                }
            }
            Some(Err(error)) => {
                let code = error.rdkafka_error_code();
                if let Some(
                    RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::OffsetOutOfRange,
                ) = code
                {
                    hear(Heard::OutOfRange(error.to_string()));
                } else {
                    // The client's event, which came in the same poll, says why and where.
                    let causes = member.context().failures().causes();
                    let causes = causes.filter(|_| is_of_connection(&error));
                    hear(Heard::Failed(causes.unwrap_or_else(|| error.to_string())));
                }
            }
        }
        true
    }

    fn next_event(&mut self) -> Option<GroupEvent<Vec<RoutePartition>>> {
        Some(self.member.context().next()?.map(|partitions| self.tps(&partitions)))
    }

    fn fetched(&mut self) -> Vec<(RoutePartition, Fetched)> {
        let logs = self.member.context().take_logs().into_iter();
        // The statistics go on telling of partitions that were given back.
        let ours = |(named, fetched): ((String, i32), Fetched)| {
            let tp = self.tp(&named).filter(|tp| self.assigned.contains(tp))?;
            Some((tp, fetched))
        };
        logs.filter_map(ours).collect()
    }

    fn fatal(&self) -> Option<String> {
        let (code, reason) = self.member.client().fatal_error()?;
        Some(fatal(code, &reason))
    }

    fn acknowledge(&self) -> KafkaResult<()> {
        group::assign(&self.member, &TopicPartitionList::new())
    }

    fn start(
        &mut self,
        tps: &[(RoutePartition, NextOffset)],
        next_of: impl Fn(RoutePartition) -> Option<NextOffset>,
    ) -> KafkaResult<()> {
        let started: Vec<RoutePartition> = tps.iter().map(|(tp, _)| *tp).collect();
        let again: Vec<RoutePartition> =
            started.iter().copied().filter(|tp| self.assigned.contains(tp)).collect();
        self.assigned.extend(&started);
        self.paused.retain(|tp| !started.contains(tp));
        if let RebalanceProtocol::Cooperative = self.member.rebalance_protocol() {
            // librdkafka refuses to add what is assigned already; taking it out first drops what
            // was fetched from the old offset, which would otherwise be delivered after the new
            // start.
            if !again.is_empty() {
                self.member.incremental_unassign(&self.list(&again))?;
            }
            self.member.incremental_assign(&self.positions(tps))?;
        } else {
            // Without the others, this would drop them: an eager `assign` replaces the whole
            // assignment.
            let position = |tp: &RoutePartition| Some((*tp, next_of(*tp)?));
            let all: Vec<_> = self.assigned.iter().filter_map(position).collect();
            self.member.assign(&self.positions(&all))?;
        }
        // A new assignment neither undoes a pause nor keeps it for certain. A partition left paused
        // would never be read; one left running would overrun the memory.
        let paused: Vec<RoutePartition> = self.paused.iter().copied().collect();
        self.member.resume(&self.list(&started))?;
        self.member.pause(&self.list(&paused))
    }

    fn pause(&mut self, tps: &[RoutePartition]) -> KafkaResult<()> {
        self.paused.extend(tps);
        self.member.pause(&self.list(tps))
    }

    fn resume(&mut self, tps: &[RoutePartition]) -> KafkaResult<()> {
        self.paused.retain(|tp| !tps.contains(tp));
        self.member.resume(&self.list(tps))
    }

    fn release(&mut self, tps: &[RoutePartition]) -> KafkaResult<()> {
        // librdkafka refuses to take back what it was not given: a partition revoked before its
        // position was known was acknowledged, but never started.
        let given: Vec<RoutePartition> =
            tps.iter().copied().filter(|tp| self.assigned.remove(tp)).collect();
        self.paused.retain(|tp| !tps.contains(tp));
        group::unassign(&self.member, &self.list(&given))
    }

    fn commit(
        &mut self,
        id: CommitId,
        offsets: &[(RoutePartition, NextOffset)],
        adopted: &BTreeSet<RoutePartition>,
    ) -> bool {
        let list = self.positions(offsets);
        for (tp, _) in offsets.iter().filter(|(tp, _)| adopted.contains(tp)) {
            let noted = list.find_partition(&self.topics[tp.route], tp.partition.0);
            if let Some(mut element) = noted {
                element.set_metadata(client::ADOPTED);
            }
        }
        self.member.commit(id, list)
    }
}

fn route_of(topics: &[Arc<str>], last: usize, topic: &str) -> Option<usize> {
    if *topics[last] == *topic {
        return Some(last);
    }
    topics.iter().position(|one| **one == *topic)
}

/// The client that polls: it fetches no more ahead than its share of memory.
fn client_config(config: &Config) -> ClientConfig {
    let mut client = client::reader_config(&config.kafka, &config.name);
    client.set("enable.partition.eof", "false");
    client.set("statistics.interval.ms", EVERY_MS);
    fetch_ahead(&mut client, &config.kafka, config.memory);
    client
}

/// Sets how much a client fetches ahead, and how soon it fetches again after that: our own defaults
/// where the settings name none.
pub(crate) fn fetch_ahead(
    client: &mut ClientConfig,
    settings: &KafkaSettings,
    memory: MemoryLimits,
) {
    let sooner = [("fetch.wait.max.ms", 100), ("fetch.queue.backoff.ms", 20)];
    for (property, value) in memory.fetched_ahead().into_iter().chain(sooner) {
        if settings.get(property).is_none() {
            client.set(property, value.to_string());
        }
    }
}
