//! Topics and groups as any other Kafka client sees them: raw records in and out, offsets, members.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, Headers as _, Message, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord, Producer};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use write_behind_shared::partition::partition_of;

use crate::wait::{PATIENCE, Seen, until};

const SOON: Duration = Duration::from_secs(20);

/// A record as it stands in the log, or will be written there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Raw {
    /// The key.
    pub key: Option<Vec<u8>>,
    /// The value; `None` is a tombstone.
    pub value: Option<Vec<u8>>,
    /// The headers.
    pub headers: Vec<(String, Vec<u8>)>,
}

/// A record and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed {
    /// The partition.
    pub partition: i32,
    /// The offset.
    pub offset: i64,
    /// The record.
    pub raw: Raw,
}

/// A member of a group, as the broker names it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Member {
    /// The client's own name.
    pub client: String,
    /// The broker's name for it: a new one each time it joins.
    pub id: String,
    /// Whether it was given partitions.
    pub assigned: bool,
}

/// A group as the broker describes it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Group {
    /// `Stable` when no rebalance is going on.
    pub state: String,
    /// Its members, by client.
    pub members: Vec<Member>,
}

/// A plain client of one broker. Cheap to clone; its calls do not block the runtime.
#[derive(Clone)]
pub struct Log {
    producer: FutureProducer,
    reader: Arc<BaseConsumer>,
    bootstrap: String,
}

impl Raw {
    /// A record of `key` with a value.
    pub fn put(key: &str, value: &str) -> Self {
        Self { key: Some(key.into()), value: Some(value.into()), headers: Vec::new() }
    }

    /// A record that deletes `key`.
    pub fn tombstone(key: &str) -> Self {
        Self { key: Some(key.into()), ..Self::default() }
    }

    /// Names the columns of the value that are increments.
    #[must_use]
    pub fn adding(mut self, columns: &str) -> Self {
        self.headers.push(("add".to_owned(), columns.into()));
        self
    }
}

impl Log {
    /// A client of the broker at `bootstrap`.
    pub fn new(bootstrap: &str) -> Result<Self> {
        let producer = ClientConfig::new()
            .set("bootstrap.servers", bootstrap)
            .set("enable.idempotence", "true")
            .set("linger.ms", "5")
            .create()?;
        let reader = ClientConfig::new()
            .set("bootstrap.servers", bootstrap)
            .set("group.id", "the-tests-themselves")
            .set("enable.auto.commit", "false")
            .create()?;
        Ok(Self { producer, reader: Arc::new(reader), bootstrap: bootstrap.to_owned() })
    }

    /// Writes the records in their order, each to the partition of its key, and returns the offset
    /// of each once all are acknowledged.
    pub async fn append(
        &self,
        topic: &str,
        partitions: i32,
        records: &[Raw],
    ) -> Result<Vec<(i32, i64)>> {
        let mut deliveries = Vec::with_capacity(records.len());
        let mut places = Vec::with_capacity(records.len());
        for raw in records {
            let partition = partition_of(raw.key.as_deref().unwrap_or_default(), partitions);
            let headers = raw.headers.iter().fold(OwnedHeaders::new(), |headers, (key, value)| {
                headers.insert(Header { key, value: Some(value) })
            });
            let mut record: FutureRecord<'_, [u8], [u8]> =
                FutureRecord::to(topic).partition(partition.0).headers(headers);
            record.key = raw.key.as_deref();
            record.payload = raw.value.as_deref();
            let sent = self.producer.send_result(record);
            deliveries.push(sent.map_err(|(error, _)| error).context("a raw record")?);
            if deliveries.len() == 10_000 {
                places.append(&mut delivered(deliveries).await?);
                deliveries = Vec::new();
            }
        }
        places.append(&mut delivered(deliveries).await?);
        Ok(places)
    }

    /// Where each partition of the topic ends.
    pub async fn ends(&self, topic: &str, partitions: i32) -> Result<BTreeMap<i32, i64>> {
        until(&format!("the ends of {topic}"), PATIENCE, async || {
            let topic = topic.to_owned();
            let asked = self.blocking(move |log| {
                let client = log.producer.client();
                let end = |partition| {
                    let (_, end) = client.fetch_watermarks(&topic, partition, SOON)?;
                    anyhow::Ok((partition, end))
                };
                (0..partitions).map(end).collect::<Result<_>>()
            });
            // A new leader does not know it at once.
            Ok(asked.await.map_or_else(|error| Seen::NotYet(format!("{error:#}")), Seen::Done))
        })
        .await
    }

    /// What the group has committed in each partition; -1 where nothing.
    pub async fn committed(
        &self,
        group: &str,
        topic: &str,
        partitions: i32,
    ) -> Result<BTreeMap<i32, i64>> {
        let (group, topic) = (group.to_owned(), topic.to_owned());
        self.blocking(move |log| {
            let asking: BaseConsumer = ClientConfig::new()
                .set("bootstrap.servers", &log.bootstrap)
                .set("group.id", group)
                .create()?;
            let mut list = TopicPartitionList::new();
            list.add_partition_range(&topic, 0, partitions - 1);
            let committed = asking.committed_offsets(list, SOON)?;
            let offset = |offset| if let Offset::Offset(offset) = offset { offset } else { -1 };
            let elements = committed.elements();
            Ok(elements.iter().map(|at| (at.partition(), offset(at.offset()))).collect())
        })
        .await
    }

    /// Commits these offsets for a group that has no members.
    pub async fn commit(&self, group: &str, topic: &str, next: &BTreeMap<i32, i64>) -> Result<()> {
        let (group, topic, next) = (group.to_owned(), topic.to_owned(), next.clone());
        self.blocking(move |log| {
            let committing: BaseConsumer = ClientConfig::new()
                .set("bootstrap.servers", &log.bootstrap)
                .set("group.id", group)
                .create()?;
            let mut list = TopicPartitionList::new();
            for (partition, next) in next {
                list.add_partition_offset(&topic, partition, Offset::Offset(next))?;
            }
            Ok(committing.commit(&list, CommitMode::Sync)?)
        })
        .await
    }

    /// The group as the broker describes it.
    pub async fn group(&self, name: &str) -> Result<Group> {
        let name = name.to_owned();
        self.blocking(move |log| {
            let list = match log.reader.client().fetch_group_list(Some(&name), SOON) {
                Ok(list) => list,
                // A young broker that is still to become the group's coordinator.
                Err(KafkaError::GroupListFetch(
                    code @ (RDKafkaErrorCode::CoordinatorLoadInProgress
                    | RDKafkaErrorCode::CoordinatorNotAvailable
                    | RDKafkaErrorCode::NotCoordinator),
                )) => return Ok(Group { state: code.to_string(), members: Vec::new() }),
                Err(error) => return Err(error.into()),
            };
            let Some(group) = list.groups().first() else { return Ok(Group::default()) };
            let mut members: Vec<Member> = group
                .members()
                .iter()
                .map(|member| Member {
                    client: member.client_id().to_owned(),
                    id: member.id().to_owned(),
                    assigned: member.assignment().is_some_and(names_partitions),
                })
                .collect();
            members.sort();
            Ok(Group { state: group.state().to_owned(), members })
        })
        .await
    }

    /// Every record of the topic, partition by partition.
    pub async fn read_all(&self, topic: &str, partitions: i32) -> Result<Vec<Placed>> {
        let ends = self.ends(topic, partitions).await?;
        let topic = topic.to_owned();
        self.blocking(move |log| {
            let reader: BaseConsumer = ClientConfig::new()
                .set("bootstrap.servers", &log.bootstrap)
                .set("group.id", "the-tests-themselves")
                .set("enable.auto.commit", "false")
                .create()?;
            let mut list = TopicPartitionList::new();
            for partition in 0..partitions {
                list.add_partition_offset(&topic, partition, Offset::Beginning)?;
            }
            reader.assign(&list)?;
            let mut records = Vec::new();
            let wanted: i64 = ends.values().sum();
            while (records.len() as i64) < wanted {
                let message = reader.poll(SOON).context("the log has ended early")??;
                records.push(placed(&message));
            }
            Ok(records)
        })
        .await
    }

    /// librdkafka's requests block, so they are made away from the runtime.
    async fn blocking<T: Send + 'static>(
        &self,
        ask: impl FnOnce(&Log) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let log = self.clone();
        tokio::task::spawn_blocking(move || ask(&log)).await?
    }
}

impl std::fmt::Debug for Log {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Log").field("bootstrap", &self.bootstrap).finish_non_exhaustive()
    }
}

async fn delivered(deliveries: Vec<rdkafka::producer::DeliveryFuture>) -> Result<Vec<(i32, i64)>> {
    let mut places = Vec::with_capacity(deliveries.len());
    for delivery in deliveries {
        let delivery = delivery.await?.map_err(|(error, _)| error)?;
        ensure!(delivery.offset >= 0, "a record was acknowledged without an offset");
        places.push((delivery.partition, delivery.offset));
    }
    Ok(places)
}

fn placed(message: &rdkafka::message::BorrowedMessage<'_>) -> Placed {
    let header = |header: Header<'_, &[u8]>| {
        (header.key.to_owned(), header.value.unwrap_or_default().to_vec())
    };
    let headers = message.headers().map(|headers| headers.iter().map(header).collect());
    Placed {
        partition: message.partition(),
        offset: message.offset(),
        raw: Raw {
            key: message.key().map(<[u8]>::to_vec),
            value: message.payload().map(<[u8]>::to_vec),
            headers: headers.unwrap_or_default(),
        },
    }
}

/// An assignment begins with a version (2 bytes) and the number of topics (4 bytes).
fn names_partitions(assignment: &[u8]) -> bool {
    assignment.get(2..6).is_some_and(|topics| topics != [0; 4])
}
