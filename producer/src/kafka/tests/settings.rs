//! What is passed on to a consumer, what it says is heard, and what is never said.

use std::io::Write;
use std::sync::{Arc, Mutex};

use write_behind_shared::kafka::KafkaSettings;

use super::*;
use crate::kafka::group_offsets::GroupOffsets;

/// A log in memory.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_broker_that_cannot_be_reached_is_one_line_in_the_log_and_named_in_the_error() {
    let properties = [("bootstrap.servers", "127.0.0.1:1"), ("reconnect.backoff.max.ms", "100")];
    let settings = KafkaSettings::new(properties, &[]).unwrap();
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt().with_writer(move || writer.clone()).finish();
    tracing::subscriber::with_default(subscriber, || {
        let offsets = GroupOffsets::new(&settings.clone().into(), "sink", "scores").unwrap();
        let ask = || offsets.partitions_within(Duration::from_millis(500)).unwrap_err().to_string();
        // The client may not have tried to connect before the first question times out.
        let errors: Vec<String> = std::iter::repeat_with(ask).take(8).collect();
        let is_named = |error: &String| error.contains("127.0.0.1:1") && error.contains("refused");
        let named = errors.iter().skip_while(|error| !is_named(error));
        assert!(named.clone().count() > 0 && named.clone().all(is_named), "{errors:?}");
    });
    let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    assert_eq!(log.matches("Connection refused").count(), 1, "{log}");
}

#[test]
fn a_consumer_gets_neither_a_producers_tuning_nor_statistics_and_debug_lines() {
    let given = [
        ("bootstrap.servers", "x:1"),
        ("linger.ms", "5"),
        ("statistics.interval.ms", "1000"),
        ("debug", "all"),
        ("sasl.username", "scores"),
    ];
    let settings = KafkaSettings::new(given, &[]).unwrap();
    let config = consumer_config(&settings.into(), "sink", &[], &[]);
    for stripped in ["linger.ms", "statistics.interval.ms", "debug"] {
        assert_eq!(config.get(stripped), None, "{stripped}");
    }
    assert_eq!(config.get("sasl.username"), Some("scores"));
    assert_eq!(config.get("group.id"), Some("sink"));
}

#[test]
fn a_refused_property_is_named_without_its_value() {
    for (property, value) in [("sasl.passwrd", "open sesame"), ("linger.ms", "open sesame")] {
        let properties = [("bootstrap.servers", "x:1"), (property, value)];
        let error = crate::Kafka::new(properties).unwrap_err().to_string();
        assert!(error.contains(property) && !error.contains(value), "{error}");
    }
}
