//! librdkafka's consumer as a [`Reader`]: which partitions it was assigned, and from where.
//!
//! Each partition is read from a queue of its own, and all else that the client tells from a common
//! one. A bell rings when one of them has something, since only one could be waited at.
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
use rdkafka::message::{BorrowedMessage, Message as _};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use write_behind_shared::kafka::KafkaSettings;
use write_behind_shared::{NextOffset, Partition};

use crate::config::Config;
use crate::core::batch::RoutePartition;
use crate::core::memory::MemoryLimits;
use crate::core::pipeline::commit::CommitId;
use crate::kafka::bell::Bell;
use crate::kafka::client;
use crate::kafka::failures::is_of_connection;
use crate::kafka::group::{self, GroupEvent, Member, Partitions, fatal};
use crate::kafka::incoming::incoming;
use crate::kafka::own_queues::OwnQueues;
use crate::kafka::reader::{Heard, Reader};
use crate::kafka::statistics::EVERY_MS;
use crate::status::logs::Fetched;

/// How many records are polled before the client's other news have their turn.
const NEWS_EVERY: u32 = 250;
/// How many of these are dealt with then. There are few, but for each line of a log at debug level.
const NEWS_MAX: usize = 64;

/// A member of the group, and what it reads.
pub(crate) struct Reading {
    /// What was fetched of each partition that librdkafka was given. Before `member`: the client can't
    /// end while a queue of it is held.
    queues: OwnQueues,
    member: Member,
    /// Rings when there is something to poll.
    bell: Arc<Bell>,
    /// How many records may be polled before the client's other news.
    until_news: u32,
    /// The topic of each route.
    topics: Vec<Arc<str>>,
}

impl Reading {
    /// Joins the group. Nothing is read yet. `partitions`: how many there are, over all topics.
    pub(crate) fn subscribe(
        config: &Config,
        partitions: usize,
        bell: Arc<Bell>,
    ) -> Result<Self, String> {
        let member = Member::new(&client_config(config, partitions), &bell)?;
        let topics: Vec<Arc<str>> =
            config.routes.iter().map(|route| Arc::from(&*route.topic)).collect();
        let named: Vec<&str> = topics.iter().map(|topic| &**topic).collect();
        member.subscribe(&named).map_err(|error| error.to_string())?;
        Ok(Self { queues: OwnQueues::default(), member, bell, until_news: 0, topics })
    }

    /// Leaves the group and ends the client. See [`Member::close`].
    pub(crate) fn close(self) {
        let Self { queues, member, .. } = self;
        drop(queues);
        member.close();
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
        if self.poll_now(&mut hear) {
            return true;
        }
        if wait.is_zero() {
            return false;
        }
        self.bell.wait(wait);
        self.poll_now(&mut hear)
    }

    fn next_event(&mut self) -> Option<GroupEvent<Vec<RoutePartition>>> {
        Some(self.member.context().next()?.map(|partitions| self.tps(&partitions)))
    }

    fn fetched(&mut self) -> Vec<(RoutePartition, Fetched)> {
        let logs = self.member.context().take_logs().into_iter();
        // The statistics go on telling of partitions that were given back.
        let ours = |(named, fetched): ((String, i32), Fetched)| {
            let tp = self.tp(&named).filter(|tp| self.queues.has(*tp))?;
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
        let again: Vec<RoutePartition> =
            tps.iter().map(|(tp, _)| *tp).filter(|tp| self.queues.has(*tp)).collect();
        // Before the assignment. Otherwise its first records could come by way of the client's common
        // queue, after later ones of the partition's own.
        for (tp, _) in tps {
            self.queues.forget(*tp);
            let topic = &self.topics[tp.route];
            let queue = self.member.queue(topic, tp.partition.0, &self.bell);
            let queue = queue.ok_or(KafkaError::Subscription(topic.to_string()))?;
            self.queues.open(*tp, queue);
        }
        if let RebalanceProtocol::Cooperative = self.member.rebalance_protocol() {
            // librdkafka refuses to add what is assigned already; taking it out first drops what
            // was fetched from the old offset, which would otherwise be delivered after the new
            // start.
            if !again.is_empty() {
                self.member.incremental_unassign(&self.list(&again))?;
                group::settle(&self.member)?;
            }
            self.member.incremental_assign(&self.positions(tps))?;
        } else {
            // Without the others, this would drop them: an eager `assign` replaces the whole
            // assignment.
            let position = |tp| Some((tp, next_of(tp)?));
            let all: Vec<_> = self.queues.all().filter_map(position).collect();
            self.member.assign(&self.positions(&all))?;
        }
        group::settle(&self.member)
    }

    fn pause(&mut self, tps: &[RoutePartition]) -> KafkaResult<()> {
        self.queues.pause(tps, true);
        Ok(())
    }

    fn resume(&mut self, tps: &[RoutePartition]) -> KafkaResult<()> {
        self.queues.pause(tps, false);
        Ok(())
    }

    fn release(&mut self, tps: &[RoutePartition]) -> KafkaResult<()> {
        // librdkafka refuses to take back what it was not given: a partition revoked before its
        // position was known was acknowledged, but never started.
        let given: Vec<RoutePartition> =
            tps.iter().copied().filter(|tp| self.queues.has(*tp)).collect();
        group::unassign(&self.member, &self.list(&given))?;
        for tp in given {
            self.queues.close(tp);
        }
        Ok(())
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

impl Reading {
    /// Passes one record or error to `hear`, if there is one.
    fn poll_now(&mut self, hear: &mut impl FnMut(Heard<'_>)) -> bool {
        let Self { queues, member, until_news, topics, .. } = self;
        let member = &*member;
        let mut take = |route: Option<usize>, polled: KafkaResult<BorrowedMessage<'_>>| match polled
        {
            Ok(message) => {
                member.context().failures().clear();
                let of_topic = || topics.iter().position(|one| **one == *message.topic());
                // A record of a topic that no route reads was never assigned.
                if let Some(route) = route.or_else(of_topic) {
                    incoming(&message, |record| hear(Heard::Record(route, record)));
                }
            }
            Err(error) => hear(failed(member, &error)),
        };
        if let Some(left) = until_news.checked_sub(1)
            && queues.poll(|tp, polled| take(Some(tp.route), polled))
        {
            *until_news = left;
            return true;
        }
        // The group's decisions, the client's errors and statistics come by way of its common queue,
        // which also has to be polled to stay in the group.
        *until_news = NEWS_EVERY;
        for _ in 0..NEWS_MAX {
            // `None` may also mean that an event was dealt with, and others are waiting.
            if let Some(polled) = member.poll(Duration::ZERO) {
                take(None, polled);
                return true;
            }
        }
        queues.poll(|tp, polled| take(Some(tp.route), polled))
    }
}

/// What to say of an error.
fn failed<'a>(member: &Member, error: &KafkaError) -> Heard<'a> {
    let code = error.rdkafka_error_code();
    if let Some(RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::OffsetOutOfRange) = code {
        return Heard::OutOfRange(error.to_string());
    }
    // The client's event, which came in the same poll, says why and where.
    let causes = member.context().failures().causes();
    let causes = causes.filter(|_| is_of_connection(error));
    Heard::Failed(causes.unwrap_or_else(|| error.to_string()))
}

/// The client that polls: it fetches no more ahead than its share of memory.
fn client_config(config: &Config, partitions: usize) -> ClientConfig {
    let mut client = client::reader_config(&config.kafka, &config.name);
    client.set("enable.partition.eof", "false");
    client.set("statistics.interval.ms", EVERY_MS);
    fetch_ahead(&mut client, &config.kafka, config.memory, partitions);
    client
}

/// Sets how much a client with this number of queues fetches ahead, and how soon it fetches again
/// after that: our own defaults where the settings name none.
pub(crate) fn fetch_ahead(
    client: &mut ClientConfig,
    settings: &KafkaSettings,
    memory: MemoryLimits,
    queues: usize,
) {
    let sooner = [("fetch.wait.max.ms", 100), ("fetch.queue.backoff.ms", 20)];
    for (property, value) in memory.fetched_ahead(queues).into_iter().chain(sooner) {
        if settings.get(property).is_none() {
            client.set(property, value.to_string());
        }
    }
}
