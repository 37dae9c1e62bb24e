//! What a service's log holds of a handle: one line for each decision, spans, and no row.

#![expect(clippy::unwrap_used, reason = "a broken test bed fails the test")]

use std::cell::Cell;
use std::io::Write;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use serde::{Deserialize, Serialize};
use tracing::Subscriber;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::format::FmtSpan;
use tracing_subscriber::layer::{Context, SubscriberExt as _};
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

/// The log of every thread: those of the handle and of librdkafka log too.
fn log_of_all_threads() -> &'static Log {
    static LOG: OnceLock<Log> = OnceLock::new();
    LOG.get_or_init(|| {
        let log = Log::default();
        let subscriber = subscriber(LevelFilter::TRACE, &log).with(WritesToo);
        tracing::subscriber::set_global_default(subscriber).unwrap();
        log
    })
}

/// A log that is kept by this crate itself: each line is a write to the handle.
struct WritesToo;

static WRITTEN_TO: OnceLock<WriteBehind<u64, Account>> = OnceLock::new();

impl<S: Subscriber> Layer<S> for WritesToo {
    fn on_event(&self, _: &tracing::Event<'_>, _: Context<'_, S>) {
        thread_local!(static WRITES: Cell<bool> = const { Cell::new(false) });
        let Some(handle) = WRITTEN_TO.get() else { return };
        // What a write logs is not written.
        if WRITES.replace(true) {
            return;
        }
        // Whether it is taken does not matter here, only that it comes back.
        let _ = handle.try_put(&7, &Account { iban: "a line".to_owned() });
        let _ = handle.peek(&7);
        let _ = (handle.stats(), handle.halted(), handle.invalidate(&8));
        WRITES.set(false);
    }
}

/// A handle whose writes are held, lost, and given up at its end, all of which is logged.
fn live_badly() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let kafka = Broker::start().unwrap().topic("accounts", 1).unwrap();
        let accounts = WriteBehind::<u64, Account>::builder("accounts", kafka.properties());
        let accounts = accounts.sink_group("sink").build().await.unwrap();
        let accounts = WRITTEN_TO.get_or_init(|| accounts);
        let write = async || accounts.put(&1, &Account { iban: "a row".to_owned() }).await.unwrap();
        for (error, times, is_lost) in [
            (RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED, 3, false),
            (RDKafkaRespErr::RD_KAFKA_RESP_ERR_INVALID_RECORD, 1_000, true),
        ] {
            let errors = vec![error; times];
            kafka.cluster().unwrap().request_errors(RDKafkaApiKey::Produce, &errors);
            assert_eq!(write().await.replicated().await.is_err(), is_lost, "{error:?}");
            kafka.cluster().unwrap().clear_request_errors(RDKafkaApiKey::Produce);
        }
        kafka.brokers_down().unwrap();
        write().await;
        accounts.close(Duration::from_millis(100)).await.unwrap_err();
    });
}

#[test]
fn a_log_that_writes_to_the_handle_which_it_is_told_of_never_waits_for_itself() {
    let log = log_of_all_threads();
    let (done, is_done) = std::sync::mpsc::channel();
    // On a thread of its own: a lock that waits for itself would hold up this one for ever.
    std::thread::spawn(move || {
        live_badly();
        done.send(()).unwrap();
    });
    is_done.recv_timeout(Duration::from_mins(1)).expect("it comes to its end");
    let log = log.text();
    for line in ["does not take", "writes are lost", "closed"] {
        assert!(log.contains(line), "no line says {line:?}:\n{log}");
    }
}

#[test]
fn no_row_and_no_password_is_ever_logged() {
    let log = log_of_all_threads();
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
