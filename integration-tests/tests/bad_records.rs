//! A record that cannot be applied, at the first, middle and last place of a batch: it alone is set
//! aside, with its reason, and the good ones around it are applied.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use integration_tests::log::Raw;
use integration_tests::stack::{Pipeline, SetAside, same_rows};
use integration_tests::wait::{PATIENCE, Seen, until};
use integration_tests::worker::Worker;
use serde_json::{Value, json};
use sqlx::AssertSqlSafe;

const COLUMNS: &str = "id bigint primary key, n bigint check (n < 1000), name varchar(20)";
const BATCH: usize = 31;

/// A bad record and how it is told apart.
struct Bad {
    record: Raw,
    /// What its reason must say.
    says: &'static str,
    /// The database's code, where only the database can know.
    sqlstate: Option<&'static str>,
}

fn bad(record: Raw, says: &'static str) -> Bad {
    Bad { record, says, sqlstate: None }
}

fn kinds() -> Vec<Bad> {
    let keyless = Raw { key: None, ..Raw::put("", "{}") };
    let empty = Raw::put("99", "");
    let refused = |value, says, sqlstate| Bad {
        record: Raw::put("99", value),
        says,
        sqlstate: Some(sqlstate),
    };
    vec![
        bad(Raw::put("99", r#"{"n":"many"}"#), r#"column "n""#),
        bad(Raw::put("99", r#"{"n":9223372036854775808}"#), r#"column "n""#),
        bad(Raw::put("99", r#"{"name":"a\u0000b"}"#), r#"column "name""#),
        bad(Raw::put("99", r#"{"colour":"red"}"#), r#"no column "colour""#),
        bad(Raw::put("099", r#"{"n":1}"#), "not the canonical text"),
        bad(Raw::put("ninety-nine", r#"{"n":1}"#), "not the canonical text"),
        bad(Raw::put("99", r#"{"id":98,"n":1}"#), r#"key column "id""#),
        bad(Raw::put("99", r#"{"n":"#), "not a JSON object"),
        bad(Raw::put("99", "null"), "not a JSON object"),
        bad(Raw::put("99", r#"{"n":1,"n":2}"#), "named twice"),
        bad(Raw::put("99", r#"{"n":1}"#).adding("m"), "not in the value"),
        bad(empty, "not a JSON object"),
        bad(keyless, "no key"),
        refused(r#"{"n":1000}"#, "check constraint", "23514"),
        bad(Raw::put("99", r#"{"name":"longer than twenty characters"}"#), "20 characters"),
    ]
}

/// A batch of good records with the bad one at `place`, and the rows that the good ones make.
fn batch(bad: &Raw, place: usize) -> (Vec<Raw>, BTreeMap<String, Value>) {
    let mut records = Vec::new();
    let mut rows = BTreeMap::new();
    for at in 0..BATCH {
        if at == place {
            records.push(bad.clone());
            continue;
        }
        let (key, name) = (at.to_string(), format!("name {at}"));
        records.push(Raw::put(&key, &json!({ "n": at, "name": name }).to_string()));
        rows.insert(key, json!({ "id": at, "n": at, "name": name }));
    }
    (records, rows)
}

/// One worker for all kinds, a topic and a table for each, the records written before it starts.
async fn only_the_bad_one_is_set_aside(place: usize) -> Result<()> {
    let mut pipelines: Vec<(Pipeline, Bad, BTreeMap<String, Value>)> = Vec::new();
    for bad in kinds() {
        let mut pipeline = Pipeline::new("bad", 1, COLUMNS).await?;
        if let Some((first, ..)) = pipelines.first() {
            pipeline.group.clone_from(&first.group);
        }
        let (records, rows) = batch(&bad.record, place);
        pipeline.append(&records).await?;
        pipelines.push((pipeline, bad, rows));
    }
    let mut settings = pipelines[0].0.settings("worker");
    // Long enough that what is in the log already becomes one batch of each topic.
    settings.max_age = "3s";
    settings.routes = pipelines.iter().flat_map(|(p, ..)| p.settings("worker").routes).collect();
    let worker = settings.start().await?;
    for (pipeline, bad, rows) in &pipelines {
        pipeline.drained(&[&worker], PATIENCE).await?;
        let letters = pipeline.dead_letters().await?;
        let value = bad.record.value.as_deref().map(String::from_utf8_lossy);
        let [SetAside { offset, reason, sqlstate, .. }] = &letters[..] else {
            anyhow::bail!("{value:?}: one dead letter was to be, not {letters:?}");
        };
        ensure!(*offset == place as i64, "{value:?} is at {place}, set aside was {offset}");
        ensure!(reason.contains(bad.says), "{value:?}: {reason:?} is to say {:?}", bad.says);
        ensure!(sqlstate.as_deref() == bad.sqlstate, "{value:?}: sqlstate {sqlstate:?}");
        same_rows(&pipeline.rows("id").await?, rows)?;
        pipeline.committed(&[&worker]).await?;
    }
    let batches = worker.metric("write_behind_consumer_batches_total").await?;
    assert_eq!(batches, Some(pipelines.len() as f64), "the places were not those of a batch");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn at_the_first_place_only_the_bad_record_is_set_aside() -> Result<()> {
    only_the_bad_one_is_set_aside(0).await
}

#[tokio::test(flavor = "multi_thread")]
async fn in_the_middle_only_the_bad_record_is_set_aside() -> Result<()> {
    only_the_bad_one_is_set_aside(BATCH / 2).await
}

#[tokio::test(flavor = "multi_thread")]
async fn at_the_last_place_only_the_bad_record_is_set_aside() -> Result<()> {
    only_the_bad_one_is_set_aside(BATCH - 1).await
}

/// The fold of a row's records is refused as a whole; which of them is to blame only applying them
/// one by one can tell.
#[tokio::test(flavor = "multi_thread")]
async fn of_a_row_that_is_refused_only_the_record_to_blame_is_set_aside() -> Result<()> {
    let pipeline = Pipeline::new("bad", 1, COLUMNS).await?;
    let add = |amount: i64| Raw::put("5", &json!({ "n": amount }).to_string()).adding("n");
    let other = |key: i64| Raw::put(&key.to_string(), r#"{"n":1}"#);
    let records = [other(4), add(400), add(700), other(6), add(300), add(299)];
    let places = pipeline.append(&records).await?;
    let worker = pipeline.settings("worker").start().await?;
    pipeline.drained(&[&worker], PATIENCE).await?;

    let letters = pipeline.dead_letters().await?;
    let refused: Vec<i64> = letters.iter().map(|letter| letter.offset).collect();
    assert_eq!(refused, [places[2].1], "{letters:?}");
    let row = |id: i64, n: i64| (id.to_string(), json!({ "id": id, "n": n, "name": null }));
    same_rows(&pipeline.rows("id").await?, &[row(4, 1), row(5, 999), row(6, 1)].into())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_letter_holds_the_record_as_it_stood_in_the_log() -> Result<()> {
    let pipeline = Pipeline::new("bad", 1, COLUMNS).await?;
    let mut record = Raw::put("07", "{\"n\":1}");
    record.headers.push(("trace".to_owned(), b"abc".to_vec()));
    pipeline.append(&[record]).await?;
    let worker = pipeline.settings("worker").start().await?;
    pipeline.drained(&[&worker], PATIENCE).await?;
    let text = "select record_key, record_value, headers::text, state
        from write_behind_dead_letters where topic = $1";
    let (key, value, headers, state): (Vec<u8>, Vec<u8>, String, String) =
        sqlx::query_as(text).bind(&pipeline.name).fetch_one(&pipeline.sql).await?;
    assert_eq!((key, value), (b"07".to_vec(), b"{\"n\":1}".to_vec()));
    assert!(headers.contains("trace"), "{headers}");
    assert_eq!(state, "open");
    Ok(())
}

/// The two kinds that stop a route: one that the database refuses, and one that is no JSON.
#[tokio::test(flavor = "multi_thread")]
async fn a_route_that_sets_nothing_aside_stops_at_a_bad_record_and_the_others_go_on() -> Result<()>
{
    let columns = "id bigint primary key, n bigint constraint small check (n < 1000)";
    let stops = Pipeline::new("stop", 1, columns).await?;
    let mut other = Pipeline::new("other", 1, columns).await?;
    other.group.clone_from(&stops.group);
    let record = |key: i64, n: i64| Raw::put(&key.to_string(), &json!({ "n": n }).to_string());
    let row = |key: i64, n: i64| (key.to_string(), json!({ "id": key, "n": n }));
    let mut settings = stops.settings("worker").with("WRITE_BEHIND_ROUTE_0_ON_BAD_RECORD", "stop");
    settings.routes.extend(other.settings("worker").routes);
    let worker = settings.start().await?;

    let places = stops.append(&[record(1, 1), record(2, 987_654_321), record(3, 3)]).await?;
    let at = places[1].1;
    let told = stopped_at(&worker, &stops, at).await?;
    for says in ["on_bad_record", "dead-letter", "23514"] {
        ensure!(told.contains(says), "{says:?} is not in {told}");
    }
    // The log says it first, and the poll thread's next report what `/readyz` answers.
    let unready = until("the reason in /readyz", PATIENCE, async || {
        let answer = worker.answer("/readyz").await?;
        let says = answer.contains(&format!("offset {at}"));
        Ok(if says { Seen::Done(answer) } else { Seen::NotYet(answer) })
    });
    let unready = unready.await?;
    ensure!(!worker.log().contains("987654321") && !unready.contains("987654321"), "no value");
    other.append(&[record(1, 1)]).await?;
    other.drained(&[&worker], PATIENCE).await?;
    ensure!(stops.applied().await?.get(&0).is_none_or(|next| *next <= at), "it is not passed");
    assert_eq!(stops.dead_letters().await?, []);

    let mend = format!("alter table {} drop constraint small", stops.name);
    sqlx::raw_sql(sqlx::AssertSqlSafe(mend)).execute(&stops.sql).await?;
    stops.drained(&[&worker], PATIENCE).await?;
    let mut rows: BTreeMap<_, _> = [row(1, 1), row(2, 987_654_321), row(3, 3)].into();
    same_rows(&stops.rows("id").await?, &rows)?;

    let places = stops.append(&[record(4, 4), Raw::put("5", "sesame"), record(6, 6)]).await?;
    stopped_at(&worker, &stops, places[1].1).await?;
    ensure!(!worker.log().contains("sesame"), "no value");
    worker.still_runs()?;
    ensure!(worker.terminate().await?.success(), "a stopped route does not hold up a drain");
    let worker = stops.settings("last").start().await?;
    stops.drained(&[&worker], PATIENCE).await?;
    let letters = stops.dead_letters().await?;
    let set_aside: Vec<i64> = letters.iter().map(|letter| letter.offset).collect();
    assert_eq!(set_aside, [places[1].1]);
    rows.extend([row(4, 4), row(6, 6)]);
    same_rows(&stops.rows("id").await?, &rows)
}

/// Waits until the route is said to have stopped at this record; the line of the log.
async fn stopped_at(worker: &Worker, pipeline: &Pipeline, offset: i64) -> Result<String> {
    let offset = format!("offset {offset}:");
    until("the route to stop", PATIENCE, async || {
        worker.still_runs()?;
        let log = worker.log();
        let is_it =
            |line: &&str| line.contains("the route has stopped") && line.contains(&pipeline.name);
        let line = log.lines().filter(is_it).find(|line| line.contains(&offset));
        Ok(line.map_or(Seen::NotYet(log.clone()), |line| Seen::Done(line.to_owned())))
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_trigger_says_of_a_record_is_not_in_the_log() -> Result<()> {
    let pipeline = Pipeline::new("talkative", 1, COLUMNS).await?;
    let name = &pipeline.name;
    let trigger = format!(
        "create function say_{name}() returns trigger language plpgsql as $$ begin
           raise warning 'wrote %', new.name; raise info 'wrote %', new.name; return null; end $$;
         create trigger says after insert on {name} for each row execute function say_{name}()"
    );
    sqlx::raw_sql(AssertSqlSafe(trigger)).execute(&pipeline.sql).await?;
    let worker = pipeline.settings("worker").start().await?;
    pipeline.append(&[Raw::put("1", r#"{"name":"sesame"}"#)]).await?;
    pipeline.drained(&[&worker], PATIENCE).await?;
    let log = worker.log();
    ensure!(!log.contains("sesame") && log.contains("partitions assigned"), "{log}");
    Ok(())
}
