//! What becomes of single records, from the log to the table: bad ones, ones beyond a limit, and ones
//! of an older version.

use prometheus::Registry;
use write_behind_consumer::check::{self, Grade};
use write_behind_consumer::config::{OnBadRecord, OnWrongPartition};
use write_behind_consumer::run::RunOptions;
use write_behind_shared::metrics::render;
use write_behind_shared::partition::partition_of;

use super::visits;
use super::world::raw_record::RawRecord;
use super::world::{PARTITIONS, Running, TOPIC, World, wait_for, wait_until};

#[test]
fn a_bad_record_stands_aside_and_the_others_are_applied() {
    let world = World::new();
    world.send_to(0, Some("7"), Some(r#"{"points":1"#), None);
    world.send_to(0, None, Some("{}"), None);
    world.send_to(0, Some("7"), Some(r#"{"points":2}"#), None);
    world.send_to(0, Some("7"), Some(r#"{"points":"many"}"#), None);
    world.send_to(0, Some("7"), Some(r#"{"visits":2}"#), None);
    world.flush();
    let consumer = world.start();
    let rows = || world.query("SELECT points, visits FROM scores");
    wait_for("the good ones are there", rows, |rows| rows == &[["2", "2"]]);
    consumer.drain().unwrap();
    let letters = "SELECT record_offset FROM write_behind_dead_letters ORDER BY record_offset";
    assert_eq!(world.query(letters), [["0"], ["1"], ["3"]]);
}

/// A key that belongs to this partition.
fn key_of(partition: i32) -> String {
    let belongs = |key: &String| partition_of(key.as_bytes(), PARTITIONS).0 == partition;
    (0..100).map(|key| key.to_string()).find(belongs).unwrap()
}

#[test]
fn a_record_in_another_partition_than_its_keys_is_applied_and_told_or_set_aside() {
    for (policy, rows, letters) in
        [(OnWrongPartition::Tell, 3, 0), (OnWrongPartition::DeadLetter, 2, 1)]
    {
        let world = World::new();
        let (right, wrong) = (key_of(2), key_of(1));
        world.send_to(2, Some(&right), Some("{}"), None);
        world.send_to(2, Some(&wrong), Some("{}"), None);
        world.send_to(0, Some(&key_of(0)), Some("{}"), None);
        world.flush();
        let mut config = world.config("", "");
        config.routes[0].on_wrong_partition = policy;
        let registry = Registry::new();
        let options = RunOptions { registry: registry.clone(), ..RunOptions::default() };
        let consumer = Running::start(config.clone(), options);
        let count = || {
            let letters = "SELECT count(*) FROM write_behind_dead_letters";
            let letters = if world.is_initialised() { world.number(letters) } else { 0 };
            (world.number("SELECT count(*) FROM scores"), letters)
        };
        wait_for("all is applied or set aside", count, |found| *found == (rows, letters));
        let counted = "misplaced_records_total{pipeline=\"scores\"} 1\n";
        wait_until("it is counted", || render(&registry).unwrap().contains(counted));
        consumer.drain().unwrap();
        let reasons = world.query("SELECT reason FROM write_behind_dead_letters");
        assert!(reasons.iter().all(|reason| reason[0].contains("partition 1")), "{reasons:?}");
        let report = world.block_on(check::check(&config, false));
        let told = |finding: &check::Finding| {
            finding.grade == Grade::Warning && finding.found.contains("partition 2 belongs to 1")
        };
        assert!(report.findings.iter().any(told), "{report:?}");
    }
}

#[test]
fn a_record_beyond_a_limit_is_bad_and_says_which() {
    let world = World::new();
    let deep = format!(r#"{{"name":{}{}}}"#, "[".repeat(9_999), "]".repeat(9_999));
    let wide: Vec<_> = (0..2_001).map(|column| format!(r#""c{column}":1"#)).collect();
    let (wide, names) = (format!("{{{}}}", wide.join(",")), "c,".repeat(33_000));
    for (key, value, add) in [
        ("7", &*deep, None),
        ("7", &*wide, None),
        (&*"7".repeat(8_193), "{}", None),
        ("7", "{}", Some(&*names)),
        ("7", r#"{"name":"good"}"#, None),
    ] {
        world.send_to(0, Some(key), Some(value), add);
    }
    world.flush();
    let consumer = world.start();
    let rows = || world.query("SELECT id, name FROM scores");
    wait_for("the good one is there", rows, |rows| rows == &[["7", "good"]]);
    consumer.drain().unwrap();
    let reasons = "SELECT reason FROM write_behind_dead_letters ORDER BY record_offset";
    let said = ["64 levels", "2000 columns", "8192 bytes", "65536 bytes"];
    let reasons = world.query(reasons);
    assert_eq!(reasons.len(), said.len(), "{reasons:?}");
    for (reason, said) in reasons.iter().zip(said) {
        assert!(reason[0].contains(said), "{reason:?} should say {said}");
    }
}

#[test]
fn an_older_version_overwrites_nothing() {
    let world = World::new();
    for value in [
        r#"{"points":2,"name":"b"}"#,
        r#"{"points":1,"name":"a"}"#,
        r#"{"points":5,"name":"e"}"#,
        r#"{"points":4,"visits":9}"#,
        r#"{"points":6,"visits":1}"#,
    ] {
        world.send_to(0, Some("1"), Some(value), None);
    }
    world.flush();
    let mut config = world.config("", "");
    config.routes[0].version = Some("points".to_owned());
    let consumer = Running::start(config, RunOptions::default());
    let rows = || world.query("SELECT id, name, visits, points FROM scores");
    wait_for("the newest is there", rows, |rows| rows == &[["1", "e", "1", "6"]]);
    world.send_to(0, Some("1"), Some(r#"{"points":3,"name":"c"}"#), None);
    world.send_to(0, Some("2"), Some(r#"{"points":1}"#), None);
    world.flush();
    let count = || world.number("SELECT count(*) FROM scores");
    wait_for("the next are there", count, |count| *count == 2);
    consumer.drain().unwrap();
    assert_eq!(rows()[0], ["1", "e", "1", "6"]);
}

#[test]
fn a_header_whose_name_is_no_text_makes_a_bad_record_like_any_other() {
    let world = World::new();
    let send = |header: &[u8]| {
        let record = RawRecord { key: b"7", value: br#"{"visits":1}"#, header };
        record.send(&world.cluster.bootstrap_servers(), TOPIC, 0);
    };
    for header in [&b"before"[..], b"\xffx", "größe".as_bytes(), b"gr\xf6\xdfe", b"after"] {
        send(header);
    }
    world.send_to(0, Some("7"), Some(r#"{"points":2}"#), None);
    world.flush();
    let consumer = world.start();
    let rows = || world.query("SELECT points, visits FROM scores");
    wait_for("the good ones are there", rows, |rows| rows == &[["2", "1"]]);
    consumer.drain().unwrap();
    let letters = "SELECT record_offset, reason FROM write_behind_dead_letters ORDER BY 1";
    let why = "the name of a header is not UTF-8";
    assert_eq!(world.query(letters), [["1", why], ["3", why]]);
}

#[test]
fn a_route_that_sets_nothing_aside_stops_at_a_bad_record_and_the_process_does_not() {
    let world = World::new();
    for bad in ["no object", r#"{"points":"many"}"#] {
        world.send_to(0, Some("7"), Some(r#"{"visits":1}"#), Some("visits"));
        world.send_to(0, Some("7"), Some(bad), None);
        world.flush();
        let mut config = world.config("", "");
        config.routes[0].on_bad_record = OnBadRecord::Stop;
        let consumer = Running::start(config, RunOptions::default());
        let says = ["partition 0, offset", "on_bad_record", "dead-letter"];
        let unready = wait_for(
            "the route has stopped",
            || consumer.status.unreadiness().unwrap_or_default(),
            |unready| says.iter().all(|says| unready.contains(says)),
        );
        assert!(!unready.contains("no object") && !unready.contains("many\""), "{unready}");
        assert_eq!(world.number("SELECT count(*) FROM write_behind_dead_letters"), 0);
        consumer.drain().unwrap();
        world.start_and_drain_when("the bad one stands aside", || {
            world.number("SELECT count(*) FROM write_behind_dead_letters") == 1
        });
        world.execute("DELETE FROM write_behind_dead_letters");
    }
    assert_eq!(visits(&world), 2);
}
