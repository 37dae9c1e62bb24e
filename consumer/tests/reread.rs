//! Reading again from a real client's point of view: librdkafka against its mock cluster.

#![allow(clippy::unwrap_used, reason = "these are tests")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseProducer, BaseRecord, DefaultProducerContext, Producer as _};
use write_behind_consumer::apply::log::{Log as _, RereadError, RereadPart};
use write_behind_consumer::config::memory::MemoryLimits;
use write_behind_consumer::core::batch::{Span, WantedKeys};
use write_behind_consumer::core::record::RawRecord;
use write_behind_consumer::kafka::reread::{KafkaLog, RereadLimits};
use write_behind_shared::kafka::KafkaSettings;
use write_behind_shared::{NextOffset, Offset, Partition};

const LIMITS: RereadLimits = RereadLimits {
    bytes: 64 << 20,
    memory: MemoryLimits(64 << 20),
    silence: Duration::from_secs(20),
};

struct Kafka {
    _cluster: MockCluster<'static, DefaultProducerContext>,
    servers: String,
}

impl Kafka {
    /// A topic of two partitions of 100 records each: keys `0` to `9` in turn, values the offset.
    fn new() -> Self {
        let cluster = MockCluster::new(1).unwrap();
        cluster.create_topic("t", 2, 1).unwrap();
        let servers = cluster.bootstrap_servers();
        let producer: BaseProducer =
            ClientConfig::new().set("bootstrap.servers", &servers).create().unwrap();
        for number in 0..200 {
            let (partition, offset) = (number % 2, number / 2);
            let (key, value) = ((offset % 10).to_string(), offset.to_string());
            let headers = OwnedHeaders::new()
                .insert(Header { key: "add", value: Some("n") })
                .insert(Header { key: "empty", value: None::<&[u8]> });
            let record = BaseRecord::to("t").partition(partition).key(&key).headers(headers);
            let sent = match offset {
                55 => producer.send(record),
                _ => producer.send(record.payload(&value)),
            };
            sent.map_err(|(error, _)| error).unwrap();
        }
        producer.flush(Duration::from_secs(20)).unwrap();
        Self { _cluster: cluster, servers }
    }

    fn log(&self, limits: RereadLimits) -> KafkaLog {
        let settings = KafkaSettings::new([("bootstrap.servers", &*self.servers)], &[]).unwrap();
        KafkaLog::new(&settings, "p", limits)
    }
}

#[tokio::test]
async fn a_log_that_ends_before_the_span_is_unavailable_and_not_read_short() {
    let kafka = Kafka::new();
    let wanted = WantedKeys::from([(Partition(0), Box::from(*b"3"))]);
    let read = read(&kafka.log(LIMITS), &[span(0, 50, 101)], &wanted).await;
    assert!(matches!(read, Err(RereadError::Unavailable(_))), "{read:?}");
}

async fn read(
    log: &KafkaLog,
    spans: &[Span],
    wanted: &WantedKeys,
) -> Result<Vec<RawRecord>, RereadError> {
    let RereadPart { records, rest } = part(log, spans, wanted).await?;
    assert_eq!(rest, [], "memory holds all of them");
    Ok(records)
}

async fn part(
    log: &KafkaLog,
    spans: &[Span],
    wanted: &WantedKeys,
) -> Result<RereadPart, RereadError> {
    log.records("t".into(), spans.to_vec(), Arc::new(wanted.clone())).await
}

fn span(partition: i32, start: i64, end: i64) -> Span {
    let partition = Partition(partition);
    Span { partition, start: NextOffset(start), end: NextOffset(end) }
}

fn wanted(keys: &[(i32, &str)]) -> WantedKeys {
    keys.iter().map(|(partition, key)| (Partition(*partition), key.as_bytes().into())).collect()
}

fn offsets(records: &[RawRecord]) -> BTreeMap<i32, Vec<i64>> {
    let mut offsets: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for record in records {
        offsets.entry(record.partition.0).or_default().push(record.offset.0);
    }
    offsets
}

#[tokio::test]
async fn the_wanted_records_of_the_spans_are_read_in_log_order_and_whole() {
    let kafka = Kafka::new();
    let spans = [span(0, 5, 60), span(1, 15, 16)];
    let wanted = wanted(&[(0, "5"), (1, "5"), (1, "6")]);
    let records = read(&kafka.log(LIMITS), &spans, &wanted).await.unwrap();
    let expected = BTreeMap::from([(0, vec![5, 15, 25, 35, 45, 55]), (1, vec![15])]);
    assert_eq!(offsets(&records), expected);
    let headers =
        vec![("add".to_owned(), Some(b"n".as_slice().into())), ("empty".to_owned(), None)];
    assert_eq!(
        records[1],
        RawRecord {
            partition: Partition(0),
            offset: Offset(15),
            key: Some(b"5".as_slice().into()),
            value: Some(b"15".as_slice().into()),
            headers,
        }
    );
    assert_eq!(records[5].value, None, "a tombstone");
}

#[tokio::test]
async fn a_span_that_ends_where_the_log_does_is_read_to_its_end() {
    let kafka = Kafka::new();
    let spans = [span(0, 95, 100), span(1, 95, 100)];
    let (log, wanted) = (kafka.log(LIMITS), wanted(&[(0, "9"), (1, "9")]));
    for _ in 0..2 {
        let records = read(&log, &spans, &wanted).await.unwrap();
        assert_eq!(offsets(&records), BTreeMap::from([(0, vec![99]), (1, vec![99])]));
    }
}

#[tokio::test]
async fn records_that_are_no_longer_in_the_log_are_told_and_not_skipped() {
    let kafka = Kafka::new();
    let read = read(&kafka.log(LIMITS), &[span(0, 500, 600)], &wanted(&[(0, "1")])).await;
    assert!(matches!(&read, Err(RereadError::Stop(why)) if why.contains("retention")), "{read:?}");
}

#[tokio::test]
async fn more_records_than_the_memory_allows_come_in_parts_and_none_is_left_out() {
    let kafka = Kafka::new();
    let wanted = wanted(&[(0, "1"), (1, "2")]);
    for (bytes, parts) in [(10, 20), (2_000, 0)] {
        let log = kafka.log(RereadLimits { bytes, ..LIMITS });
        let (mut rest, mut read, mut count) = (vec![span(0, 0, 100), span(1, 0, 100)], vec![], 0);
        while !rest.is_empty() {
            let next = part(&log, &rest, &wanted).await.unwrap();
            assert!(!next.records.is_empty() || next.rest.is_empty());
            read.extend(next.records);
            rest = next.rest;
            count += 1;
        }
        let every_tenth = |first: i64| (0..10).map(|at| first + 10 * at).collect::<Vec<_>>();
        assert_eq!(offsets(&read), BTreeMap::from([(0, every_tenth(1)), (1, every_tenth(2))]));
        assert!(count > 1 && (parts == 0 || count == parts || count == parts + 1), "{count} parts");
    }
}

#[tokio::test]
async fn a_broker_that_is_silent_is_unavailable() {
    let settings = KafkaSettings::new([("bootstrap.servers", "127.0.0.1:1")], &[]).unwrap();
    let limits = RereadLimits { silence: Duration::from_millis(300), ..LIMITS };
    let log = KafkaLog::new(&settings, "p", limits);
    let read = read(&log, &[span(0, 0, 1)], &wanted(&[(0, "1")])).await;
    assert!(matches!(read, Err(RereadError::Unavailable(_))), "{read:?}");
}
