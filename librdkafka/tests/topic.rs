//! Records on their way through a topic that was found once: they arrive, or nothing is left.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::client::ClientContext;
use rdkafka::message::{DeliveryResult, Headers as _, Message as _};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseProducer, DefaultProducerContext, ProducerContext};
use rdkafka::types::RDKafkaErrorCode;
use write_behind_librdkafka::{Record, Topic};

/// Keeps what the reports say: the key, whether there is a value, and the headers.
#[derive(Clone, Default)]
struct Reports(Arc<Mutex<Vec<String>>>);

impl ClientContext for Reports {}

impl ProducerContext for Reports {
    type DeliveryOpaque = Arc<&'static str>;

    fn delivery(&self, result: &DeliveryResult<'_>, opaque: Self::DeliveryOpaque) {
        let Ok(message) = result else { return };
        let key = message.key().map(String::from_utf8_lossy);
        let headers = message.headers().map_or(0, |headers| headers.count());
        let value = message.payload().map(<[u8]>::len);
        self.0.lock().unwrap().push(format!("{key:?} {value:?} {headers} {opaque}"));
    }
}

#[test]
fn records_arrive_with_all_they_have_and_one_that_is_refused_leaves_nothing() {
    let cluster: MockCluster<'_, DefaultProducerContext> = MockCluster::new(1).unwrap();
    cluster.create_topic("scores", 1, 1).unwrap();
    let reports = Reports::default();
    let producer: BaseProducer<Reports> = ClientConfig::new()
        .set("bootstrap.servers", cluster.bootstrap_servers())
        .create_with_context(reports.clone())
        .unwrap();
    let producer = Arc::new(producer);
    let topic = Topic::new(Arc::clone(&producer), "scores").unwrap();
    let headers = [("write-id", &[1_u8; 24][..]), ("add", b"n")];
    let record = Record { partition: 0, key: b"7", value: Some(b"{}".as_slice()), headers };
    topic.send(record, Arc::new("a row")).unwrap();
    topic.send(Record { value: None, ..record }, Arc::new("a tombstone")).unwrap();
    topic.send(Record { value: Some(b""), ..record }, Arc::new("empty")).unwrap();
    let (kept, large) = (Arc::new("large"), vec![b' '; 2_000_000]);
    let refused = topic.send(Record { value: Some(&large), ..record }, Arc::clone(&kept));
    assert_eq!(refused, Err(RDKafkaErrorCode::MessageSizeTooLarge));
    assert_eq!(Arc::strong_count(&kept), 1, "what came with it is dropped");
    assert!(Topic::new(Arc::clone(&producer), "a\0b").is_err());
    let start = Instant::now();
    while reports.0.lock().unwrap().len() < 3 {
        assert!(start.elapsed() < Duration::from_secs(30), "no reports");
        producer.poll(Duration::from_millis(10));
    }
    let expected = [
        r#"Some("7") Some(2) 2 a row"#,
        r#"Some("7") None 2 a tombstone"#,
        r#"Some("7") Some(0) 2 empty"#,
    ];
    assert_eq!(*reports.0.lock().unwrap(), expected);
    // The topic goes last: it keeps its client.
    drop(producer);
    drop(topic);
}
