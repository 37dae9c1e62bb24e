//! The consumer's fold beside a `BaseConsumer` that throws away what it polls.
//!
//! Both read the same topic from a real broker with one thread; the fold hands its buffers on at
//! ten thousand rows, as the pipeline would. Without a record's headers nobody knows whether it is
//! an increment or a duplicate, and librdkafka takes its time to say that there are none; so the
//! fold is also measured beside a loop that asks for them and throws them away too.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use integration_tests::kafka::Kafka;
use integration_tests::log::{Log, Raw};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{BorrowedMessage, Headers, Message};
use rdkafka::{ClientConfig, Offset as KafkaOffset, TopicPartitionList};
use write_behind_consumer::core::pipeline::buffer::Buffer;
use write_behind_consumer::core::pipeline::memory::PartitionMemory;
use write_behind_consumer::core::record::Incoming;
use write_behind_shared::{NextOffset, Offset, Partition};

use crate::rounds::{Duel, Lap};

const PARTITIONS: i32 = 8;
const RECORDS: u64 = 1_000_000;
const KEYS: u64 = 10_000;
const ROWS_MAX: usize = 10_000;
/// A log that is silent for so long is not at its end but gone.
const SILENCE: Duration = Duration::from_secs(30);

/// Runs `rounds` of both loops.
pub(crate) async fn run(rounds: u32, kafka: Option<String>) -> Result<()> {
    println!("fold: {RECORDS} records of {KEYS} keys in {PARTITIONS} partitions, one thread");
    let container = if kafka.is_none() { Some(Kafka::start().await?) } else { None };
    let bootstrap = kafka.or_else(|| container.as_ref().map(Kafka::bootstrap)).unwrap_or_default();
    let topic = format!("bench_fold_{}", std::process::id());
    create(&bootstrap, &topic).await?;
    let log = Log::new(&bootstrap)?;
    for first in (0..RECORDS).step_by(100_000) {
        let records: Vec<Raw> = (first..first + 100_000).map(record).collect();
        log.append(&topic, PARTITIONS, &records).await?;
    }
    let mut duel = Duel::new("fold", 0.8);
    let mut with_headers = Duel::new("fold, beside a loop that asks for headers", 0.8);
    for _ in 0..rounds {
        let ours = ours(&bootstrap, &topic)?;
        duel.round(raw(&bootstrap, &topic, false)?, ours);
        with_headers.round(raw(&bootstrap, &topic, true)?, ours);
    }
    duel.report()?;
    with_headers.report()
}

async fn create(bootstrap: &str, topic: &str) -> Result<()> {
    use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
    let admin: AdminClient<_> = ClientConfig::new().set("bootstrap.servers", bootstrap).create()?;
    let topic = NewTopic::new(topic, PARTITIONS, TopicReplication::Fixed(1));
    for result in admin.create_topics([&topic], &AdminOptions::new()).await? {
        result.map_err(|(topic, code)| anyhow::anyhow!("topic {topic}: {code}"))?;
    }
    Ok(())
}

fn record(n: u64) -> Raw {
    let (player, at) = (n % KEYS, 1_700_000_000 + n);
    let value = format!(r#"{{"name":"player {player}","score":{n},"level":7,"updated_at":{at}}}"#);
    Raw::put(&player.to_string(), &value)
}

fn raw(bootstrap: &str, topic: &str, asks_for_headers: bool) -> Result<Lap> {
    let mut bytes = 0;
    let took = read_all(bootstrap, topic, |message| {
        bytes += message.payload_len() + message.key_len();
        if asks_for_headers {
            bytes += message.headers().map_or(0, Headers::count);
        }
    })?;
    std::hint::black_box(bytes);
    Ok(Lap { items: RECORDS, took })
}

fn ours(bootstrap: &str, topic: &str) -> Result<Lap> {
    let mut parts: BTreeMap<i32, (PartitionMemory, Option<Buffer>)> = BTreeMap::new();
    let mut rows = 0;
    let took = read_all(bootstrap, topic, |message| {
        let partition = Partition(message.partition());
        let (memory, open) = parts.entry(partition.0).or_default();
        let start = NextOffset(message.offset());
        let buffer = open.get_or_insert_with(|| Buffer::new(partition, start, Duration::ZERO));
        let headers: Vec<(&str, Option<&[u8]>)> = message.headers().map_or(Vec::new(), |headers| {
            headers.iter().map(|header| (header.key, header.value)).collect()
        });
        let record = Incoming {
            partition,
            offset: Offset(message.offset()),
            timestamp: message.timestamp().to_millis(),
            key: message.key(),
            value: message.payload(),
            headers: &headers,
        };
        #[expect(clippy::expect_used, reason = "every record is well formed")]
        buffer.fold(&record, memory).expect("a record of the bench is folded");
        if buffer.rows() >= ROWS_MAX {
            rows += open.take().map_or(0, |buffer| buffer.rows());
        }
    })?;
    rows += parts.values().filter_map(|(_, open)| open.as_ref()).map(Buffer::rows).sum::<usize>();
    if rows < KEYS as usize {
        bail!("{rows} rows came out of {KEYS} keys");
    }
    Ok(Lap { items: RECORDS, took })
}

/// Reads the topic from its beginning, and says how long that took from the first record on: joining
/// and connecting are not the loop's.
fn read_all(
    bootstrap: &str,
    topic: &str,
    mut take: impl FnMut(&BorrowedMessage<'_>),
) -> Result<Duration> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        .set("group.id", "bench")
        .set("enable.auto.commit", "false")
        .set("check.crcs", "true")
        // As the consumer sets them.
        .set("queued.max.messages.kbytes", "16384")
        .set("fetch.queue.backoff.ms", "20")
        .create()?;
    let mut assignment = TopicPartitionList::new();
    for partition in 0..PARTITIONS {
        assignment.add_partition_offset(topic, partition, KafkaOffset::Beginning)?;
    }
    consumer.assign(&assignment)?;
    let (mut read, mut began, mut last) = (0, None, Instant::now());
    while read < RECORDS {
        match consumer.poll(Duration::from_millis(100)) {
            Some(message) => {
                let message = message?;
                began.get_or_insert_with(Instant::now);
                take(&message);
                read += 1;
                if read % 1_000 == 0 {
                    last = Instant::now();
                }
            }
            None if last.elapsed() > SILENCE => bail!("the log ended after {read} records"),
            None => {}
        }
    }
    Ok(began.map_or(Duration::ZERO, |began| began.elapsed()))
}
