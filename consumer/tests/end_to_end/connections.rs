//! A Kafka that can't be reached is named with its address and the cause, soon.

use std::io::Read as _;
use std::net::TcpListener;
use std::process::Command;

use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use write_behind_consumer::check::{self, Grade};
use write_behind_consumer::config::Config;
use write_behind_consumer::run::RunOptions;

use super::world::{Running, TOPIC, World, wait_for};

/// A configuration for the broker at `address`.
fn config(address: &str, kafka: &str) -> Config {
    let text = format!(
        r#"
        name = "scores"
        [kafka]
        "bootstrap.servers" = "{address}"
        {kafka}
        [database]
        url = "sqlite://nosuch/world.db"
        [[route]]
        topic = "scores"
        [http]
        listen = "off"
        "#,
    );
    Config::read(&text, &std::collections::BTreeMap::new()).unwrap()
}

/// What the check says of Kafka.
fn told(config: &Config) -> String {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let report = runtime.block_on(check::check(config, false));
    let of_kafka = |finding: &&check::Finding| finding.what == "kafka";
    let finding = report.findings.iter().find(of_kafka).unwrap();
    assert_eq!(finding.grade, Grade::Failed, "{report:?}");
    finding.found.clone()
}

#[test]
fn the_check_says_where_and_why_kafka_is_not_reached() {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let ending = TcpListener::bind("127.0.0.1:0").unwrap();
    let ending_at = ending.local_addr().unwrap();
    std::thread::spawn(move || {
        for mut taken in ending.incoming().flatten() {
            // As a TLS server ends a connection whose first bytes are no handshake.
            taken.read_exact(&mut [0; 8]).ok();
        }
    });
    let world = World::new();
    let plain = world.cluster.bootstrap_servers();
    let login = r#""security.protocol" = "sasl_plaintext"
        "sasl.mechanisms" = "PLAIN"
        "sasl.username" = "ada"
        "sasl.password" = "hush""#;
    let silent = silent.local_addr().unwrap();
    std::thread::scope(|scope| {
        for (address, kafka, says) in [
            (closed.to_string(), "", "connection refused"),
            ("nosuch.invalid:9092".to_owned(), "", "the name does not resolve"),
            (silent.to_string(), "", "takes the connection and answers nothing"),
            (ending_at.to_string(), "", "is it a TLS port"),
            (plain, login, "SASL"),
        ] {
            scope.spawn(move || {
                let found = told(&config(&address, kafka));
                assert!(found.contains(&address) && found.contains(says), "{found}");
                assert!(!found.contains("hush"), "{found}");
            });
        }
    });
}

#[test]
fn a_consumer_that_waits_for_kafka_says_where_and_why() {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let consumer = Running::start(config(&closed.to_string(), ""), RunOptions::default());
    let why = || consumer.status.unreadiness().unwrap_or_default();
    let says = format!("{closed}: connection refused");
    wait_for("it says why", why, |why| why.contains(&says));
    consumer.drain().unwrap();
}

#[test]
fn where_kafka_is_away_status_shows_what_the_database_knows() {
    let world = World::new();
    world.send("1", Some("{}"), None);
    world.flush();
    let written = || world.is_initialised() && world.number("SELECT count(*) FROM scores") == 1;
    world.start_and_drain_when("it is written", written);
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let status = |database: &str| {
        let output = Command::new(env!("CARGO_BIN_EXE_write-behind"))
            .args(["status", "--direct"])
            .env("WRITE_BEHIND_NAME", "scores")
            .env("WRITE_BEHIND_KAFKA_BOOTSTRAP_SERVERS", closed.to_string())
            .env("WRITE_BEHIND_DATABASE_URL", format!("sqlite://{database}"))
            .env("WRITE_BEHIND_ROUTE_0_TOPIC", TOPIC)
            .output()
            .unwrap();
        let said = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(said).unwrap())
    };
    let (code, said) = status(&world.file().display().to_string());
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("kafka: ") && said.contains("connection refused"), "{said}");
    let of_database = |line: &str| line.split_whitespace().nth(4).map(str::to_owned);
    let rows: Vec<_> = said.lines().filter(|line| line.contains("unknown")).collect();
    let known = rows.iter().filter_map(|line| of_database(line)).filter(|next| next == "1");
    assert_eq!(known.count(), 1, "{said}");
    let (code, said) = status("/nosuch/world.db");
    assert_eq!(code, Some(1), "of neither anything is known: {said}");
}

#[test]
fn a_group_whose_coordinator_is_still_being_made_is_waited_for() {
    let world = World::new();
    let early = RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_COORDINATOR;
    world.cluster.request_errors(RDKafkaApiKey::OffsetFetch, &[early; 12]);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let report = runtime.block_on(check::check(&world.config("", ""), false));
    let would = |finding: &check::Finding| finding.found.contains("would begin at offset 0");
    assert!(report.findings.iter().any(would), "{report:?}");
}
