//! The whole consumer in one process: from a plain Kafka client's records to rows, through crashes,
//! rebalances and outages.

#![expect(clippy::unwrap_used, reason = "a test that can't go on has failed")]

mod world;
#[path = "end_to_end/adopted.rs"]
mod adopted;
#[path = "end_to_end/connections.rs"]
mod connections;
#[path = "end_to_end/health.rs"]
mod health;
#[path = "end_to_end/mirror.rs"]
mod mirror;
#[path = "end_to_end/page.rs"]
mod page;
#[path = "end_to_end/records.rs"]
mod records;
#[path = "end_to_end/traces.rs"]
mod traces;

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use world::{PARTITIONS, Running, TOPIC, World, wait_for, wait_until};
use write_behind_consumer::check::{self, CheckReport, Grade};
use write_behind_consumer::run::{Drained, RunError, RunOptions};

/// `count` increments of `visits` over 50 rows, and a value each.
fn send_visits(world: &World, count: i64) {
    for n in 0..count {
        let value = format!(r#"{{"name":"n{n}","visits":1}}"#);
        world.send(&(n % 50).to_string(), Some(&value), Some("visits"));
    }
    world.flush();
}

fn visits(world: &World) -> i64 {
    world.number("SELECT coalesce(sum(visits), 0) FROM scores")
}

#[test]
fn records_of_a_plain_client_become_rows_and_kafka_is_told() {
    let world = World::new();
    world.send("1", Some(r#"{"name":"Ada","points":3}"#), None);
    world.send("1", Some(r#"{"points":4}"#), None);
    world.send("2", Some(r#"{"name":"Bob","visits":2}"#), Some("visits"));
    world.send("2", Some(r#"{"visits":5}"#), Some("visits"));
    world.send("3", Some(r#"{"name":"gone"}"#), None);
    world.send("3", None, None);
    world.flush();
    let consumer = world.start();
    let rows = || world.query("SELECT id, name, visits, points FROM scores ORDER BY id");
    let wanted = [["1", "Ada", "NULL", "4"], ["2", "Bob", "7", "NULL"]];
    wait_for("the rows are there", rows, |rows| rows == &wanted);
    assert_eq!(consumer.drain(), Ok(Drained { clean: true }));
    assert_eq!(rows(), wanted);
    assert_eq!(world.committed(), world.positions());
    assert_eq!(world.positions().into_iter().flatten().sum::<i64>(), 6);
}

#[test]
fn increments_are_exact_through_kills_at_any_moment() {
    let world = World::new();
    let mut sent = 0;
    for _ in 0..6 {
        send_visits(&world, 10_000);
        sent += 10_000;
        let before = if world.is_initialised() { visits(&world) } else { 0 };
        // Batches close at once, so that there are many moments to be killed in.
        let consumer = Running::start(world.config("", "max_rows = 10"), RunOptions::default());
        wait_for(
            "something is written",
            || if world.is_initialised() { visits(&world) } else { 0 },
            |visits| *visits > before,
        );
        consumer.kill();
    }
    let consumer = world.start();
    wait_for("everything is written", || visits(&world), |visits| *visits >= sent);
    consumer.drain().unwrap();
    assert_eq!(visits(&world), sent);
    assert_eq!(world.committed(), world.positions());
}

#[test]
fn a_partition_without_a_leader_does_not_hold_up_the_others() {
    let world = World::new();
    world.cluster.partition_leader(TOPIC, 1, None).unwrap();
    for partition in [0, 2, 3] {
        world.send_to(partition, Some(&partition.to_string()), Some("{}"), None);
    }
    world.flush();
    let consumer = world.start();
    let rows = || world.number("SELECT count(*) FROM scores");
    wait_for("the others are written", rows, |rows| *rows == 3);
    let why = || consumer.status.unreadiness().unwrap_or_default();
    wait_for("it says why", why, |why| why.contains("partition 1 of scores has no leader"));
    world.cluster.partition_leader(TOPIC, 1, Some(1)).unwrap();
    world.send_to(1, Some("1"), Some("{}"), None);
    world.flush();
    wait_for("it is written too", rows, |rows| *rows == 4);
    consumer.drain().unwrap();
}

/// Two consumers share the partitions, one is killed, one is added, under load.
fn partitions_move(protocol: &str) {
    let world = World::new();
    let start = || {
        let config = world.config(protocol, "");
        Running::start(config, RunOptions::default())
    };
    let held = |consumer: &Running| {
        consumer.status.snapshot().progress.partitions.iter().filter(|part| part.reading).count()
    };
    let first = start();
    wait_for("the first has all", || held(&first), |held| *held == PARTITIONS as usize);
    send_visits(&world, 10_000);
    let second = start();
    let mut sent = 10_000;
    wait_for(
        "they share",
        || {
            send_visits(&world, 100);
            sent += 100;
            (held(&first), held(&second))
        },
        |held| *held == (2, 2),
    );
    first.kill();
    wait_for(
        "the second has all",
        || {
            send_visits(&world, 100);
            sent += 100;
            held(&second)
        },
        |held| *held == PARTITIONS as usize,
    );
    wait_for("everything is written", || visits(&world), |visits| *visits >= sent);
    second.drain().unwrap();
    assert_eq!(visits(&world), sent);
    assert_eq!(world.committed(), world.positions());
}

#[test]
fn partitions_move_between_two_consumers_eagerly_and_nothing_counts_twice() {
    partitions_move(r#""partition.assignment.strategy" = "range""#);
}

#[test]
fn partitions_move_between_two_consumers_cooperatively_and_nothing_counts_twice() {
    partitions_move(r#""partition.assignment.strategy" = "cooperative-sticky""#);
}

#[test]
fn a_database_beyond_the_end_of_the_log_is_refused() {
    let world = World::new();
    send_visits(&world, 100);
    let consumer = world.start();
    wait_for("it is written", || world.is_initialised() && visits(&world) == 100, |done| *done);
    consumer.drain().unwrap();
    world.execute("UPDATE write_behind_offsets SET next_offset = next_offset + 1000");
    let refused = world.start().ended();
    let Err(RunError::Refused(why)) = refused else { panic!("not refused: {refused:?}") };
    assert!(why.contains("the log ends at"), "{why}");
}

#[test]
fn a_changed_number_of_partitions_is_refused() {
    let world = World::new();
    let consumer = world.start();
    wait_for("it is ready", || consumer.status.unreadiness(), Option::is_none);
    consumer.drain().unwrap();
    world.execute("UPDATE write_behind_offsets SET partitions = 3");
    let refused = world.start().ended();
    let Err(RunError::Refused(why)) = refused else { panic!("not refused: {refused:?}") };
    assert!(why.contains("3 partitions and has 4"), "{why}");
}

#[test]
fn a_database_restored_to_an_earlier_state_is_rewound_to() {
    let world = World::new();
    send_visits(&world, 100);
    let consumer = world.start();
    wait_for("it is written", || world.is_initialised() && visits(&world) == 100, |done| *done);
    // The state of the beginning, under a running consumer.
    world.execute("BEGIN IMMEDIATE; DELETE FROM scores; UPDATE write_behind_offsets SET next_offset = 0; COMMIT");
    send_visits(&world, 100);
    wait_for("all is applied again", || visits(&world), |visits| *visits >= 200);
    consumer.drain().unwrap();
    assert_eq!(visits(&world), 200);
}

#[test]
fn a_missing_topic_is_told_at_the_start() {
    let world = World::new();
    let mut config = world.config("", "");
    config.routes[0].topic = "missing".to_owned();
    let failed = Running::start(config, RunOptions::default()).ended();
    let Err(RunError::Failed(why)) = failed else { panic!("not failed: {failed:?}") };
    assert!(why.contains("\"missing\" does not exist"), "{why}");
}

#[test]
fn a_locked_database_keeps_the_consumer_in_its_group_and_memory_bounded() {
    let world = World::new();
    let config = world.config(
        r#""max.poll.interval.ms" = 6000"#,
        "max_bytes = \"64KiB\"\n[memory]\nbuffers = \"2MiB\"",
    );
    let consumer = Running::start(config, RunOptions::default());
    wait_for("it is ready", || consumer.status.unreadiness(), Option::is_none);
    let mut lock = world.block_on(world.connect());
    world.block_on(async { sqlx::raw_sql("BEGIN IMMEDIATE").execute(&mut lock).await.unwrap() });
    send_visits(&world, 50_000);
    let locked = Instant::now();
    let mut most = 0;
    wait_until("longer than the poll interval and the session", || {
        let progress = consumer.status.snapshot().progress;
        most = most.max(progress.open_bytes + progress.in_flight_bytes);
        assert_eq!(progress.partitions.len(), PARTITIONS as usize, "it is still in its group");
        locked.elapsed() > Duration::from_secs(9)
    });
    assert!(most <= (2 << 20) + 4096, "{most} bytes were held");
    assert!(consumer.status.sickness().is_none());
    world.block_on(async { sqlx::raw_sql("ROLLBACK").execute(&mut lock).await.unwrap() });
    wait_for("everything is written", || visits(&world), |visits| *visits >= 50_000);
    consumer.drain().unwrap();
    assert_eq!(visits(&world), 50_000);
    assert_eq!(world.number("SELECT count(*) FROM write_behind_dead_letters"), 0);
}

#[test]
fn a_database_away_at_the_assignment_holds_up_neither_the_group_nor_the_session() {
    let world = World::new();
    // An earlier life has made the table known as this pipeline's.
    let earlier = Running::start(world.config("", ""), RunOptions::default());
    wait_for("it is ready", || earlier.status.unreadiness(), Option::is_none);
    earlier.drain().unwrap();
    let mut lock = world.block_on(world.connect());
    world.block_on(async { sqlx::raw_sql("BEGIN IMMEDIATE").execute(&mut lock).await.unwrap() });
    send_visits(&world, 1_000);
    let start = || {
        let options = RunOptions { init: false, ..RunOptions::default() };
        Running::start(world.config("", ""), options)
    };
    let held = |consumer: &Running| consumer.status.snapshot().progress.partitions.len();
    let first = start();
    wait_for("the first has all", || held(&first), |held| *held == PARTITIONS as usize);
    // The first one must let go of half, though it still waits for the database.
    let second = start();
    wait_for("they share", || (held(&first), held(&second)), |held| *held == (2, 2));
    let shared = Instant::now();
    wait_until("longer than the session", || {
        assert_eq!((held(&first), held(&second)), (2, 2), "both are still in the group");
        shared.elapsed() > Duration::from_secs(7)
    });
    let blames = |why: &Option<String>| {
        why.as_ref().is_some_and(|why| why.contains("locked") || why.contains("located"))
    };
    wait_for("it says why", || first.status.unreadiness(), blames);
    world.block_on(async { sqlx::raw_sql("ROLLBACK").execute(&mut lock).await.unwrap() });
    wait_for("everything is written", || visits(&world), |visits| *visits >= 1_000);
    first.drain().unwrap();
    second.drain().unwrap();
    assert_eq!(visits(&world), 1_000);
    // The last commit of one may have fallen into the rebalance that the other's leaving began; who
    // comes next catches up on it.
    let third = start();
    wait_for("Kafka is told", || world.committed(), |told| *told == world.positions());
    third.drain().unwrap();
}

/// What the consumer answers at `path`, with its status line.
fn get(port: u16, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    Some(answer)
}

#[test]
fn metrics_and_health_are_served_and_say_what_happened() {
    let world = World::new();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut config = world.config("", "");
    config.http = Some(([127, 0, 0, 1], port).into());
    send_visits(&world, 1_000);
    world.send("1", Some("no object"), None);
    world.flush();
    let consumer = Running::start(config, RunOptions::default());
    wait_until("it listens", || get(port, "/healthz").is_some());
    wait_for("it is ready", || get(port, "/readyz").unwrap(), |a| a.starts_with("HTTP/1.1 200"));
    wait_for(
        "everything is counted",
        || get(port, "/metrics").unwrap(),
        |metrics| {
            let has = |name: &str, value: &str| {
                let line = format!("write_behind_consumer_{name}{{pipeline=\"scores\"}} {value}\n");
                metrics.contains(&line)
            };
            has("records_total", "1001")
                && has("dead_letters_total", "1")
                && has("partitions", "4")
                && has("buffered_rows", "0")
                && metrics.contains("write_behind_consumer_lag_records{partition=\"0\"")
        },
    );
    consumer.drain().unwrap();
}

#[test]
fn a_command_whose_output_nobody_reads_ends_quietly() {
    let world = World::new();
    let mut check = Command::new(env!("CARGO_BIN_EXE_write-behind"))
        .arg("check")
        .env("WRITE_BEHIND_NAME", "scores")
        .env("WRITE_BEHIND_KAFKA_BOOTSTRAP_SERVERS", world.cluster.bootstrap_servers())
        .env("WRITE_BEHIND_DATABASE_URL", format!("sqlite://{}", world.file().display()))
        .env("WRITE_BEHIND_ROUTE_0_TOPIC", TOPIC)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(check.stdout.take());
    let ended = check.wait_with_output().unwrap();
    assert_eq!(ended.status.code(), Some(141), "as SIGPIPE ends other tools");
    assert_eq!(String::from_utf8_lossy(&ended.stderr), "");
}

#[test]
fn the_check_finds_what_run_would_refuse_and_changes_nothing() {
    let world = World::new();
    let config = world.config("", "");
    let found = || {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(check::check(&config, false))
    };
    let report = found();
    assert_eq!(report.grade(), Grade::Warning, "{report:?}");
    assert!(!world.is_initialised(), "it changed the database");
    send_visits(&world, 100);
    let consumer = world.start();
    wait_for("it is written", || world.is_initialised() && visits(&world) == 100, |done| *done);
    consumer.drain().unwrap();
    let lines = |report: &CheckReport| {
        let line = |finding: &check::Finding| format!("{} {}", finding.what, finding.found);
        report.findings.iter().map(line).collect::<Vec<_>>().join("\n")
    };
    let report = found();
    assert!(lines(&report).contains("partition 0 would go on at"), "{report:?}");
    world.execute("UPDATE write_behind_offsets SET next_offset = next_offset + 1000");
    let report = found();
    assert_eq!(report.grade(), Grade::Refused, "{report:?}");
    world.execute("DROP TABLE scores");
    assert!(lines(&found()).contains("table scores"), "{:?}", found());
    assert!(found().findings.iter().any(|finding| finding.grade == Grade::Failed));
}
