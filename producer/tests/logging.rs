//! What a service's log holds of a handle: one line for each decision, spans, and no row.

#![expect(clippy::unwrap_used, reason = "a broken test bed fails the test")]

use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tracing::Subscriber;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::format::FmtSpan;
use write_behind_producer::WriteBehind;
use write_behind_producer::testing::Broker;

#[derive(Debug, Serialize, Deserialize)]
struct Account {
    iban: String,
}

/// A log in memory.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn subscriber(level: LevelFilter, log: &Log) -> impl Subscriber + Send + Sync + 'static {
    let log = log.clone();
    tracing_subscriber::fmt()
        .with_max_level(level)
        .with_span_events(FmtSpan::NEW)
        .with_ansi(false)
        .with_writer(move || log.clone())
        .finish()
}

/// Builds, writes, loads and closes.
fn live() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let kafka = Broker::start().unwrap().topic("accounts", 2).unwrap();
        let sink = kafka.sink("accounts", "sink").unwrap();
        let mut properties = kafka.properties();
        properties.push(("sasl.password".to_owned(), "open sesame".to_owned()));
        let accounts = WriteBehind::<u64, Account>::builder("accounts", properties)
            .sink_group("sink")
            .loader(sink.loader())
            .build()
            .await
            .unwrap();
        for id in 0..100 {
            let account = Account { iban: "GB33BUKB20201555555555".to_owned() };
            accounts.put(&id, &account).await.unwrap();
        }
        accounts.get(&100).await.unwrap();
        accounts.replicated_all().await.unwrap();
        accounts.close(Duration::from_secs(20)).await.unwrap();
    });
}

#[test]
fn no_row_and_no_password_is_ever_logged() {
    let log = Log::default();
    // For every thread: those of the handle and of librdkafka log too.
    tracing::subscriber::set_global_default(subscriber(LevelFilter::TRACE, &log)).unwrap();
    live();
    let log = log.text();
    assert!(!log.contains("GB33BUKB") && !log.contains("sesame"), "{log}");
    assert!(log.contains("load{key=100}"), "a load is a span:\n{log}");
}

#[test]
fn at_level_info_a_handle_logs_its_building_and_its_closing_and_not_its_writes() {
    let log = Log::default();
    tracing::subscriber::with_default(subscriber(LevelFilter::INFO, &log), live);
    let log = log.text();
    let lines: Vec<&str> = log.lines().filter(|line| !line.contains("librdkafka")).collect();
    assert_eq!(
        lines.len(),
        5,
        "two spans begin, and one line stands in each, and a warning:\n{log}"
    );
    assert!(lines[1].contains("WARN") && lines[1].contains("never committed"), "{log}");
    assert!(
        lines[2].contains(r#"build{topic="accounts" sink_group="sink" partitions=2}"#),
        "{log}"
    );
    assert!(lines[2].contains("built"), "{log}");
    assert!(lines[4].contains("closed") && lines[4].contains("undelivered=0"), "{log}");
}

#[test]
fn a_handle_that_is_dropped_with_unanswered_writes_warns_and_one_that_is_closed_does_not() {
    let log = Log::default();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let dropped = |closes: bool| {
        runtime.block_on(async {
            let kafka = Broker::start().unwrap().topic("accounts", 1).unwrap();
            let accounts = WriteBehind::<u64, Account>::builder("accounts", kafka.properties());
            let accounts = accounts.sink_group("sink").build().await.unwrap();
            if closes {
                accounts.put(&7, &Account { iban: String::new() }).await.unwrap();
                accounts.close(Duration::from_secs(20)).await.unwrap();
            } else {
                kafka.brokers_down().unwrap();
                accounts.put(&7, &Account { iban: String::new() }).await.unwrap();
            }
        });
    };
    tracing::subscriber::with_default(subscriber(LevelFilter::WARN, &log), || dropped(true));
    assert!(!log.text().contains("dropped without close"), "{}", log.text());
    tracing::subscriber::with_default(subscriber(LevelFilter::WARN, &log), || dropped(false));
    let text = log.text();
    assert!(text.contains("dropped without close") && text.contains("undelivered=1"), "{text}");
}
