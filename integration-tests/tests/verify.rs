//! Rows altered by hand while the consumer runs: `verify` names exactly those, and nothing else.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use integration_tests::log::Raw;
use integration_tests::random::{Random, seed};
use integration_tests::stack::Pipeline;
use integration_tests::wait::PATIENCE;
use integration_tests::worker::Settings;
use serde_json::{Value, json};
use sqlx::AssertSqlSafe;

const COLUMNS: &str = "id bigint primary key, n bigint, price numeric(9, 2), weight double precision, \
    about jsonb, at timestamptz, note text not null default 'by the database'";
const KEYS: usize = 3_000;

/// Every key is set, counted up a few times, and every seventh deleted; some are bad.
fn records() -> Vec<Raw> {
    let mut records = Vec::new();
    for key in 0..KEYS {
        let name = key.to_string();
        let row = json!({
            "n": key, "price": format!("{key}.5"), "weight": 0.1, "about": {"b": 1, "a": [key]},
            "at": "2013-01-01T10:00:00+02:00",
        });
        records.push(Raw::put(&name, &row.to_string()));
        records.push(Raw::put(&name, r#"{"n":1,"weight":0.2}"#).adding("n,weight"));
        if key % 100 == 50 {
            records.push(Raw::put(&name, r#"{"n":"many"}"#));
        }
        if key % 7 == 3 {
            records.push(Raw::tombstone(&name));
        }
    }
    records
}

/// What `verify` says, and with which exit code.
async fn verified(settings: &Settings, more: &[&str]) -> Result<(Option<i32>, Value)> {
    let arguments: Vec<&str> = ["verify", "--json"].iter().chain(more).copied().collect();
    let (status, said) = settings.command(&arguments).await?;
    let line = said.lines().find(|line| line.starts_with('{'));
    let report = serde_json::from_str(line.with_context(|| format!("no JSON: {said}"))?)?;
    Ok((status.code(), report))
}

/// The kind and key of each difference.
fn named(report: &Value) -> BTreeSet<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let differences = report["differences"].as_array().cloned().unwrap_or_default();
    differences.iter().map(|one| (text(&one["kind"]), text(&one["key"][0]))).collect()
}

fn expected(kinds: &[(&str, &str)]) -> BTreeSet<(String, String)> {
    kinds.iter().map(|(kind, key)| ((*kind).to_owned(), (*key).to_owned())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn exactly_the_rows_that_were_altered_are_named_while_the_consumer_runs() -> Result<()> {
    let pipeline = Pipeline::new("verify", 3, COLUMNS).await?;
    pipeline.append(&records()).await?;
    let worker = pipeline.settings("worker").start().await?;
    pipeline.drained(&[&worker], PATIENCE).await?;
    let settings = pipeline.settings("verify");
    let (code, report) = verified(&settings, &[]).await?;
    ensure!(code == Some(0), "the table is as the log has it: {report:#}");
    assert_eq!(report["rows"], KEYS);

    let name = &pipeline.name;
    let altered = format!(
        "delete from {name} where id = 5; insert into {name} (id) values (10), (999999); \
         update {name} set n = n + 1 where id = 11; update {name} set price = 0 where id = 12; \
         update {name} set about = '{{\"a\": [13]}}' where id = 13; \
         update {name} set at = at + interval '1 second' where id = 14; \
         update {name} set weight = null where id = 15; \
         update {name} set note = 'nobody wrote it to the log' where id = 16"
    );
    sqlx::raw_sql(AssertSqlSafe(altered)).execute(&pipeline.sql).await?;
    let wrong = expected(&[
        ("missing", "5"),
        ("extra", "10"),
        ("extra", "999999"),
        ("different", "11"),
        ("different", "12"),
        ("different", "13"),
        ("different", "14"),
        ("different", "15"),
    ]);
    // Records of other rows go on while it is verified.
    pipeline.append(&[Raw::put("20", r#"{"n":1}"#).adding("n")]).await?;
    let (code, report) = verified(&settings, &[]).await?;
    ensure!(code == Some(1), "{report:#}");
    assert_eq!(named(&report), wrong);
    let counts = (&report["missing"], &report["extra"], &report["different"]);
    assert_eq!(counts, (&json!(1), &json!(2), &json!(5)));
    let differs = report["differences"].as_array().context("differences")?;
    let counted = differs.iter().find(|one| one["key"][0] == "11").context("row 11")?;
    let column = json!([{ "column": "n", "expected": "12", "found": "13" }]);
    assert_eq!(counted["columns"], column);
    assert_eq!(counted["offsets"].as_array().map(Vec::len), Some(2), "{counted}");

    // With memory for a part of the rows only, they are found in passes.
    let (_, in_passes) = verified(&settings, &["--memory", "1"]).await?;
    ensure!(in_passes["passes"].as_u64() > Some(1), "{in_passes:#}");
    assert_eq!(named(&in_passes), wrong);

    let (code, some) = verified(&settings, &["--key", "11", "--key", "17", "--key", "5"]).await?;
    assert_eq!((code, named(&some)), (Some(1), expected(&[("missing", "5"), ("different", "11")])));
    assert_eq!(some["rows"], 3);
    let (code, fine) = verified(&settings, &["--key", "17"]).await?;
    assert_eq!((code, named(&fine)), (Some(0), BTreeSet::new()));
    let (_, sample) = verified(&settings, &["--sample", "100"]).await?;
    assert_eq!(sample["rows"], 100);
    worker.still_runs()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_of_a_route_with_versions_is_verified_by_the_rule_that_leaves_older_ones_out()
-> Result<()> {
    let columns = "id bigint primary key, v numeric(9, 2), at timestamptz, n bigint, a bigint";
    let pipeline = Pipeline::new("verify_v", 2, columns).await?;
    let mut random = Random::from_seed(seed("records with versions")?);
    let records = (0..6_000).map(|n| {
        let key = random.below(300).to_string();
        if random.below(20) == 0 {
            return Raw::tombstone(&key);
        }
        // Few versions, so that they are often equal, in more than one spelling.
        let version = random.below(9);
        let version = if n % 2 == 0 { format!("{version}.50") } else { format!("\"{version}.5\"") };
        match random.below(3) {
            0 => Raw::put(&key, &format!(r#"{{"v":{version},"n":1}}"#)).adding("n"),
            1 => Raw::put(&key, &format!(r#"{{"v":{version},"a":{n}}}"#)),
            _ => Raw::put(&key, &format!(r#"{{"v":{version},"n":{n},"a":{n}}}"#)),
        }
    });
    pipeline.append(&records.collect::<Vec<_>>()).await?;
    let versioned =
        |client: &str| pipeline.settings(client).with("WRITE_BEHIND_ROUTE_0_VERSION", "v");
    let mut settings = versioned("worker");
    settings.max_rows = 200;
    let worker = settings.start().await?;
    pipeline.drained(&[&worker], PATIENCE).await?;
    let older = worker.metric("write_behind_consumer_older_revisions_total").await?;
    ensure!(older > Some(100.0), "{older:?} were left out");
    let settings = versioned("verify");
    let (code, report) = verified(&settings, &[]).await?;
    ensure!(code == Some(0) && report["remarks"] == json!([]), "{report:#}");

    let altered: i64 = sqlx::query_scalar(AssertSqlSafe(format!(
        "update {0} set a = coalesce(a, 0) + 1 where id = (select min(id) from {0} where a is not null)
         returning id",
        pipeline.name
    )))
    .fetch_one(&pipeline.sql)
    .await?;
    let (_, report) = verified(&settings, &[]).await?;
    assert_eq!(named(&report), expected(&[("different", &altered.to_string())]));
    // Without the rule the same table is not what the log says.
    let (code, report) = verified(&pipeline.settings("heedless"), &[]).await?;
    ensure!(code == Some(1) && report["different"].as_u64() > Some(1), "{report:#}");
    worker.still_runs()
}
