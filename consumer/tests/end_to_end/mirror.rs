//! `check` is the mirror of `run`: what `run` refuses, fails at or sets aside, and what can be seen before
//! it starts, `check` tells in the same words.

use write_behind_consumer::check::{self, Grade};
use write_behind_consumer::config::Config;
use write_behind_consumer::run::{RunError, RunOptions};

use super::world::{Running, World, wait_for};
use super::{send_visits, visits};

/// What is wrong, before either looks.
type Wrong = fn(&World, &mut Config);

/// A world in which a consumer has written some records.
fn written() -> World {
    let world = World::new();
    send_visits(&world, 20);
    let is_written = || world.is_initialised() && visits(&world) == 20;
    world.start_and_drain_when("it is written", is_written);
    world
}

/// Whether `check` tells this with this grade.
fn is_told(config: &Config, grade: Grade, says: &str) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let report = runtime.block_on(check::check(config, false));
    let told = report.findings.iter().any(|one| one.grade == grade && one.found.contains(says));
    assert!(told, "check does not tell {says:?} as {grade:?}: {report:?}");
}

#[test]
fn what_run_refuses_or_fails_at_check_tells_in_the_same_words() {
    let cases: [(Grade, &str, Wrong); 11] = [
        (Grade::Failed, "does not exist", |_, config| {
            "nosuch".clone_into(&mut config.routes[0].topic);
        }),
        (Grade::Failed, "there is no table", |world, _| world.execute("DROP TABLE scores")),
        (Grade::Failed, "primary key", |world, _| {
            world.execute("DROP TABLE scores; CREATE TABLE scores (id INTEGER, name TEXT)");
        }),
        (Grade::Refused, "is written by the pipeline \"scores\"", |_, config| {
            "other".clone_into(&mut config.name);
        }),
        (Grade::Refused, "is empty, although", |world, _| {
            world.execute("DROP TABLE scores; CREATE TABLE scores (id INTEGER PRIMARY KEY)");
        }),
        (Grade::Refused, "the log ends at", |world, _| {
            world.execute("UPDATE write_behind_offsets SET next_offset = next_offset + 1000");
        }),
        (Grade::Refused, "had 3 partitions and has 4", |world, _| {
            world.execute("UPDATE write_behind_offsets SET partitions = 3");
        }),
        (Grade::Refused, "knows nothing of this partition", |world, _| {
            world.execute("DELETE FROM write_behind_offsets");
        }),
        (Grade::Refused, "a newer one has written here", |world, _| {
            world.execute("UPDATE write_behind_schema SET version = version + 1");
        }),
        (Grade::Failed, "can't listen on `http.listen`", |_, config| {
            let other = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            config.http = Some(other.local_addr().unwrap());
            // As long as the test runs.
            std::mem::forget(other);
        }),
        (Grade::Failed, "`max.in.flight` must be set <= 5", |world, config| {
            let letters = "[dead_letters]\ntopic = \"letters\"";
            *config = world.config("\"max.in.flight\" = 10", letters);
        }),
    ];
    for (grade, says, wrong) in cases {
        let world = written();
        let mut config = world.config("", "");
        wrong(&world, &mut config);
        is_told(&config, grade, says);
        let ended = Running::start(config, RunOptions::default()).ended();
        let why = match (grade, ended) {
            (Grade::Refused, Err(RunError::Refused(why)))
            | (Grade::Failed, Err(RunError::Failed(why))) => why,
            (_, ended) => panic!("run does not end for {says:?} as check tells it: {ended:?}"),
        };
        assert!(why.contains(says), "run does not tell {says:?}: {why}");
    }
}

#[test]
fn what_run_sets_aside_check_tells_in_the_same_words() {
    for (key, value, reason) in [
        (Some("1"), r#"{"nosuch":1}"#, "there is no column \"nosuch\""),
        (Some("01"), "{}", "canonical text"),
        (None, "{}", "the record has no key"),
        (Some("1"), r#"{"visits":"many"}"#, "column \"visits\""),
    ] {
        let world = World::new();
        let config = world.config("", "");
        world.send_to(0, key, Some(value), None);
        world.flush();
        is_told(&config, Grade::Warning, reason);
        is_told(&config, Grade::Warning, "1 would be set aside, the first at 0:0");
        let consumer = world.start();
        let letters = || {
            let tables = "SELECT name FROM sqlite_master WHERE name = 'write_behind_dead_letters'";
            let reasons = "SELECT reason FROM write_behind_dead_letters";
            if world.query(tables).is_empty() { Vec::new() } else { world.query(reasons) }
        };
        let letters = wait_for("it is set aside", letters, |letters| !letters.is_empty());
        consumer.drain().unwrap();
        assert!(letters[0][0].contains(reason), "{letters:?}");
    }
}
