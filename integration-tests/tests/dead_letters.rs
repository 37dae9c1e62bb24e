//! Dead letters as an operator works with them, by the unmodified binary on real Kafka and Postgres:
//! listed, shown, discarded, copied to a topic, deleted when they are old, and replayed once each, never
//! over a newer write, while the consumer runs and wherever the replay is killed.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use integration_tests::log::Raw;
use integration_tests::postgres::Postgres;
use integration_tests::postgres_wire::{Point, PostgresWire};
use integration_tests::stack::{Pipeline, same_rows};
use integration_tests::wait::{PATIENCE, Seen, until};
use integration_tests::worker::{Settings, Worker};
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use serde_json::{Value, json};
use sqlx::AssertSqlSafe;

const COLUMNS: &str = "id bigint primary key, n bigint, name varchar(20),
    constraint small check (n < 1000)";

async fn lift_the_constraint(pipeline: &Pipeline) -> Result<()> {
    let text = format!("alter table {} drop constraint small", pipeline.name);
    sqlx::raw_sql(AssertSqlSafe(text)).execute(&pipeline.sql).await?;
    Ok(())
}

fn put(key: i64, value: &Value) -> Raw {
    Raw::put(&key.to_string(), &value.to_string())
}

fn add(key: i64, amount: i64) -> Raw {
    put(key, &json!({ "n": amount })).adding("n")
}

fn row(id: i64, n: i64, name: Option<&str>) -> (String, Value) {
    (id.to_string(), json!({ "id": id, "n": n, "name": name }))
}

/// How a command ended.
#[derive(Debug)]
struct Ended {
    code: Option<i32>,
    output: String,
}

async fn run(settings: &Settings, arguments: &[&str]) -> Result<Ended> {
    let (status, output) = settings.command(arguments).await?;
    Ok(Ended { code: status.code(), output })
}

/// Runs `dead-letters` with these arguments.
async fn command(settings: &Settings, arguments: &[&str]) -> Result<Ended> {
    run(settings, &[&["dead-letters"], arguments].concat()).await
}

/// Takes the log's beginning away, as retention does.
async fn forget_before(pipeline: &Pipeline, offset: i64) -> Result<()> {
    let mut places = TopicPartitionList::new();
    places.add_partition_offset(&pipeline.name, 0, Offset::Offset(offset))?;
    let admin: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", pipeline.kafka.bootstrap()).create()?;
    let deleted = admin.delete_records(&places, &AdminOptions::new()).await?;
    deleted
        .elements()
        .iter()
        .try_for_each(rdkafka::topic_partition_list::TopicPartitionListElem::error)?;
    Ok(())
}

/// The same, and what it prints line by line as JSON.
async fn lines(settings: &Settings, arguments: &[&str]) -> Result<Vec<Value>> {
    let arguments = [arguments, &["--json"]].concat();
    let ended = command(settings, &arguments).await?;
    let objects = ended.output.lines().filter(|line| line.starts_with('{'));
    let lines = objects.map(|line| Ok(serde_json::from_str(line)?));
    lines.collect::<Result<_>>().with_context(|| format!("{ended:?}"))
}

/// What became of each letter, by its offset.
fn outcomes(lines: &[Value]) -> BTreeMap<i64, String> {
    let text = |line: &Value| line["outcome"].as_str().unwrap_or_default().to_owned();
    lines.iter().map(|line| (line["offset"].as_i64().unwrap_or(-1), text(line))).collect()
}

/// A pipeline of one partition whose worker has set aside some of these records.
async fn with(records: &[Raw]) -> Result<(Pipeline, Worker, Vec<i64>)> {
    let pipeline = Pipeline::new("letters", 1, COLUMNS).await?;
    let places = pipeline.append(records).await?;
    let worker = pipeline.settings("worker").start().await?;
    pipeline.drained(&[&worker], PATIENCE).await?;
    Ok((pipeline, worker, places.into_iter().map(|(_, offset)| offset).collect()))
}

#[tokio::test(flavor = "multi_thread")]
async fn letters_are_listed_by_filters_and_shown_with_all_that_is_known() -> Result<()> {
    let mut bytes = Raw::put("7", "");
    bytes.value = Some(vec![0xff, 0x1b]);
    bytes.headers.push(("trace".to_owned(), b"abc".to_vec()));
    let refused = put(8, &json!({ "n": 1000 }));
    let (pipeline, _worker, at) = with(&[bytes, refused, put(9, &json!({ "n": 1 }))]).await?;
    let settings = pipeline.settings("operator");

    let list = lines(&settings, &["list"]).await?;
    let offsets =
        |list: &[Value]| list.iter().filter_map(|l| l["offset"].as_i64()).collect::<Vec<_>>();
    assert_eq!(offsets(&list), at[..2]);
    assert_eq!(list[1]["value"], r#"{"n":1000}"#, "{list:?}");
    for (filter, expected) in [
        (&["list", "--sqlstate", "23"][..], &at[1..2]),
        (&["list", "--reason", "SMALL"], &at[1..2]),
        (&["list", "--key", "7"], &at[..1]),
        (&["list", "--from", "1", "--to", "1"], &at[1..2]),
        (&["list", "--since", "1h", "--limit", "1"], &at[..1]),
        (&["list", "--until", "1h"], &[]),
        (&["list", "--state", "replayed"], &[]),
        (&["list", "--topic", "another"], &[]),
        (&["list", "--partition", "1"], &[]),
    ] {
        assert_eq!(offsets(&lines(&settings, filter).await?), expected, "{filter:?}");
    }
    let table = command(&settings, &["list"]).await?.output;
    ensure!(table.contains("0:1") && table.contains(": 2 open"), "{table}");
    let shown = command(&settings, &["show", "0:0"]).await?.output;
    ensure!(shown.contains("base64 /xs=") && shown.contains("trace: abc"), "{shown}");
    ensure!(!shown.contains('\u{1b}'), "a record commands the terminal: {shown:?}");
    let missing = command(&settings, &["show", "0:99"]).await?;
    ensure!(missing.code == Some(1) && missing.output.contains("no dead letter"), "{missing:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_never_overwrites_a_newer_write_and_tells_what_it_left_out() -> Result<()> {
    let (pipeline, worker, at) = with(&[
        put(1, &json!({ "n": 1000, "name": "whole" })),
        put(2, &json!({ "n": 2000, "name": "older" })),
        put(3, &json!({ "n": 3000 })),
        put(4, &json!({ "n": 4000 })),
        put(5, &json!({ "colour": "red" })),
        Raw::put("6", "no object"),
    ])
    .await?;
    let newer = put(2, &json!({ "name": "newer" }));
    pipeline.append(&[newer, put(3, &json!({ "n": 3 })), Raw::tombstone("4")]).await?;
    pipeline.drained(&[&worker], PATIENCE).await?;
    let settings = pipeline.settings("operator");
    let before = [row(2, 0, Some("newer")), row(3, 3, None)];
    let mut before: BTreeMap<_, _> = before.into();
    before.get_mut("2").context("row 2")?["n"] = Value::Null;
    same_rows(&pipeline.rows("id").await?, &before)?;

    let refused = lines(&settings, &["replay", "--yes", "--key", "1"]).await?;
    assert_eq!(outcomes(&refused), [(at[0], "left open".to_owned())].into());
    lift_the_constraint(&pipeline).await?;
    let unasked = command(&settings, &["replay"]).await?;
    ensure!(unasked.code == Some(2) && unasked.output.contains("--yes"), "{unasked:?}");

    let expected: BTreeMap<i64, String> = [
        (at[0], "replayed"),
        (at[1], "replayed"),
        (at[2], "superseded"),
        (at[3], "superseded"),
        (at[4], "left open"),
        (at[5], "left open"),
    ]
    .map(|(offset, outcome)| (offset, outcome.to_owned()))
    .into();
    let foreseen = lines(&settings, &["replay", "--dry-run"]).await?;
    assert_eq!(outcomes(&foreseen), expected, "{foreseen:?}");
    same_rows(&pipeline.rows("id").await?, &before)?;
    let replayed = lines(&settings, &["replay", "--yes"]).await?;
    assert_eq!(outcomes(&replayed), expected, "{replayed:?}");
    assert_eq!(replayed[1]["left_out"], json!(["name"]));
    let rows = [row(1, 1000, Some("whole")), row(2, 2000, Some("newer")), row(3, 3, None)];
    same_rows(&pipeline.rows("id").await?, &rows.into())?;

    let again = lines(&settings, &["replay", "--yes"]).await?;
    assert_eq!(outcomes(&again).into_keys().collect::<Vec<_>>(), at[4..6], "{again:?}");
    let discarded = command(&settings, &["discard", "--yes", "--reason", "colour"]).await?;
    ensure!(discarded.output.contains("1 discarded"), "{discarded:?}");
    let list = lines(&settings, &["list", "--state", "all"]).await?;
    let states: Vec<_> = list.iter().filter_map(|line| line["state"].as_str()).collect();
    let open = "open";
    assert_eq!(states, ["replayed", "replayed", "superseded", "superseded", "discarded", open]);
    worker.still_runs()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_letter_with_a_version_is_replayed_only_where_the_row_has_no_newer_one() -> Result<()> {
    let columns = "id bigint primary key, v bigint, n bigint, name varchar(20),
        constraint small check (n < 1000)";
    let pipeline = Pipeline::new("letters_v", 1, columns).await?;
    let versioned = |client| pipeline.settings(client).with("WRITE_BEHIND_ROUTE_0_VERSION", "v");
    let worker = versioned("worker").start().await?;
    let bad = |key| put(key, &json!({ "v": 5, "n": 2000 }));
    let places = pipeline.append(&[bad(1), bad(2), bad(3), bad(4)]).await?;
    pipeline.drained(&[&worker], PATIENCE).await?;
    // Newer, older and as old; of the fourth row there is nothing else.
    let later = |key, v| put(key, &json!({ "v": v, "n": 1, "name": "later" }));
    pipeline.append(&[later(1, 6), later(2, 4), later(3, 5)]).await?;
    pipeline.drained(&[&worker], PATIENCE).await?;
    lift_the_constraint(&pipeline).await?;

    let replayed = lines(&versioned("operator"), &["replay", "--yes"]).await?;
    let fates = ["superseded", "replayed", "superseded", "replayed"];
    let fates = places.iter().zip(fates).map(|((_, offset), fate)| (*offset, fate.to_owned()));
    assert_eq!(outcomes(&replayed), fates.collect(), "{replayed:?}");
    let row = |id: i64, v: i64, n: i64, name: Option<&str>| {
        (id.to_string(), json!({ "id": id, "v": v, "n": n, "name": name }))
    };
    let expected = [
        row(1, 6, 1, Some("later")),
        row(2, 5, 2000, Some("later")),
        row(3, 5, 1, Some("later")),
        row(4, 5, 2000, None),
    ];
    same_rows(&pipeline.rows("id").await?, &expected.into())?;
    worker.still_runs()
}

/// Increments beside a consumer that adds without pause, by several operators at once.
#[tokio::test(flavor = "multi_thread")]
async fn increments_replay_once_though_several_replay_at_once_and_the_consumer_writes() -> Result<()>
{
    let mut records = Vec::new();
    for round in 0..20 {
        records.extend([add(1, 1), put(2, &json!({ "n": 5000 + round })), add(1, 10_000)]);
    }
    let (pipeline, worker, _) = with(&records).await?;
    assert_eq!(pipeline.dead_letters().await?.len(), 40);
    lift_the_constraint(&pipeline).await?;
    let settings = pipeline.settings("operator");
    let traffic = async {
        for _ in 0..30 {
            pipeline.append(&[add(1, 1), put(3, &json!({ "n": 3 }))]).await?;
        }
        anyhow::Ok(())
    };
    let replay = || lines(&settings, &["replay", "--yes"]);
    let (first, second, third, traffic) = tokio::join!(replay(), replay(), replay(), traffic);
    traffic?;
    let mut replayed = 0;
    for line in [first?, second?, third?].concat() {
        replayed += usize::from(line["outcome"] == "replayed");
        ensure!(line["outcome"] != "left open", "{line}");
    }
    assert_eq!(replayed, 40, "each is replayed by one of them");
    pipeline.drained(&[&worker], PATIENCE).await?;
    let rows = [row(1, 20 + 200_000 + 30, None), row(2, 5019, None), row(3, 3, None)];
    same_rows(&pipeline.rows("id").await?, &rows.into())
}

/// Where the replay is killed.
async fn killed_at(point: fn(&Pipeline) -> Point, committed: bool) -> Result<()> {
    let (pipeline, worker, at) = with(&[add(1, 1), add(1, 2000)]).await?;
    lift_the_constraint(&pipeline).await?;
    let wire = PostgresWire::in_front_of(pipeline.postgres.port()).await?;
    let mut through = pipeline.settings("killed");
    through.database = Postgres::url_by_way_of(wire.port());
    let mut hold = wire.hold(point(&pipeline));
    let arguments = ["dead-letters", "replay", "--yes"];
    let replay = through.begin(&arguments).await?;
    hold.reached(PATIENCE).await?;
    replay.kill()?;
    drop(hold);

    let settings = pipeline.settings("operator");
    let state = async || -> Result<String> {
        let list = lines(&settings, &["list", "--state", "all"]).await?;
        Ok(list[0]["state"].as_str().unwrap_or_default().to_owned())
    };
    assert_eq!(state().await?, if committed { "replayed" } else { "open" }, "the kill was late");
    let again = lines(&settings, &["replay", "--yes"]).await?;
    let expected = if committed { Vec::new() } else { vec![(at[1], "replayed".to_owned())] };
    assert_eq!(outcomes(&again), expected.into_iter().collect());
    assert_eq!(state().await?, "replayed");
    pipeline.append(&[add(1, 4)]).await?;
    pipeline.drained(&[&worker], PATIENCE).await?;
    same_rows(&pipeline.rows("id").await?, &[row(1, 2005, None)].into())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_killed_inside_its_transaction_is_not_done_and_then_done_once() -> Result<()> {
    killed_at(|pipeline| Point::Insert(pipeline.name.clone()), false).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_killed_when_it_is_committed_is_not_done_again() -> Result<()> {
    killed_at(|pipeline| Point::CommitAnswer(pipeline.name.clone()), true).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_is_refused_when_the_log_has_lost_what_came_after_unless_it_is_forced()
-> Result<()> {
    let (pipeline, _worker, at) = with(&[
        put(1, &json!({ "n": 1000 })),
        put(1, &json!({ "name": "later" })),
        put(1, &json!({ "name": "last" })),
    ])
    .await?;
    lift_the_constraint(&pipeline).await?;
    forget_before(&pipeline, at[2]).await?;
    let settings = pipeline.settings("operator");
    let refused = command(&settings, &["replay", "--yes"]).await?;
    assert_eq!(refused.code, Some(3), "{refused:?}");
    ensure!(refused.output.contains("--force"), "{refused:?}");
    let forced = lines(&settings, &["replay", "--yes", "--force"]).await?;
    assert_eq!(outcomes(&forced), [(at[0], "replayed".to_owned())].into(), "{forced:?}");
    same_rows(&pipeline.rows("id").await?, &[row(1, 1000, Some("last"))].into())
}

#[tokio::test(flavor = "multi_thread")]
async fn letters_are_copied_to_their_topic_counted_and_deleted_when_they_are_old() -> Result<()> {
    let pipeline = Pipeline::new("letters", 1, COLUMNS).await?;
    let copies = format!("{}_dead", pipeline.name);
    let mut bad = Raw::put("1", "no object");
    bad.headers.push(("trace".to_owned(), b"abc".to_vec()));
    pipeline.append(&[bad, put(2, &json!({ "n": 2000 }))]).await?;
    let settings = pipeline
        .settings("worker")
        .with("WRITE_BEHIND_DEAD_LETTERS_TOPIC", &copies)
        .with("WRITE_BEHIND_DEAD_LETTERS_RETENTION", "90d");
    let checked = run(&settings, &["check"]).await?;
    ensure!(checked.code == Some(1) && checked.output.contains(&copies), "{checked:?}");

    // The topic is missing: that holds nothing up, and what was set aside is copied later.
    let worker = settings.start().await?;
    pipeline.drained(&[&worker], PATIENCE).await?;
    pipeline.kafka.create_topic(&copies, 1).await?;
    let copied = async |wanted: usize| {
        until("the copies", PATIENCE, async || {
            worker.still_runs()?;
            let read = pipeline.log.read_all(&copies, 1).await?;
            let all = read.len() >= wanted;
            Ok(if all { Seen::Done(read) } else { Seen::NotYet(format!("{read:?}")) })
        })
        .await
    };
    let first = copied(2).await?;
    assert_eq!(first[0].raw.key.as_deref(), Some(&b"1"[..]));
    assert_eq!(first[0].raw.value.as_deref(), Some(&b"no object"[..]));
    let headers: BTreeMap<_, _> = first[0].raw.headers.iter().cloned().collect();
    assert_eq!(headers["trace"], b"abc");
    assert_eq!(headers["write-behind-topic"], pipeline.name.as_bytes());
    assert_eq!(
        (&*headers["write-behind-partition"], &*headers["write-behind-offset"]),
        (&b"0"[..], &b"0"[..])
    );
    ensure!(headers["write-behind-reason"].starts_with(b"the value is not a JSON object"));
    worker.terminate().await?;

    // The next consumer knows what was copied, deletes what is old and was dealt with, and counts.
    let discarded = command(&settings, &["discard", "--yes", "--key", "1"]).await?;
    ensure!(discarded.output.contains("1 discarded"), "{discarded:?}");
    let old = "update write_behind_dead_letters set failed_at = now() - interval '91 days'
        where topic = $1";
    sqlx::query(old).bind(&pipeline.name).execute(&pipeline.sql).await?;
    pipeline.append(&[put(3, &json!({ "n": 3000 }))]).await?;
    let worker = settings.start().await?;
    pipeline.drained(&[&worker], PATIENCE).await?;
    let read = until("the copies", PATIENCE, async || {
        worker.still_runs()?;
        let read = pipeline.log.read_all(&copies, 1).await?;
        let last = read.iter().any(|copy| copy.raw.key.as_deref() == Some(b"3"));
        Ok(if last { Seen::Done(read) } else { Seen::NotYet(format!("{read:?}")) })
    })
    .await?;
    assert_eq!(read.len(), 3, "what was copied is not copied again: {read:?}");
    until("the old letter to be deleted", PATIENCE, async || {
        let left: Vec<i64> = pipeline.dead_letters().await?.iter().map(|l| l.offset).collect();
        Ok(Seen::when(left == [1, 2], || format!("{left:?}")))
    })
    .await?;
    until("the letters to be counted", PATIENCE, async || {
        let open = worker.metric("write_behind_consumer_stored_dead_letters").await?;
        Ok(Seen::when(open == Some(2.0), || format!("{open:?}")))
    })
    .await
}
