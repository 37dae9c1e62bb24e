//! The whole pipeline into MariaDB.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use integration_tests::counters::Counters;
use integration_tests::log::Log;
use integration_tests::stack::{self, same_rows};
use integration_tests::wait::{PATIENCE, Seen, until};
use integration_tests::worker::Settings;
use serde_json::Value;
use uuid::Uuid;

use super::Mariadb;
use crate::contract::Lab as _;

/// How far the bookkeeping has come, in records.
async fn applied(lab: &Mariadb) -> i64 {
    let tables = lab.rows("SHOW TABLES LIKE 'write_behind_offsets'").await;
    if tables.is_empty() {
        return 0;
    }
    let sum = "SELECT CAST(coalesce(sum(next_offset), 0) AS text) FROM write_behind_offsets";
    lab.rows(sum).await[0][0].as_deref().unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_killed_in_the_middle_lose_and_double_nothing() -> Result<()> {
    const RECORDS: u64 = 6_000;
    let (lab, kafka) = (Mariadb::new().await, stack::kafka().await?);
    let topic = format!("mysql_{}", &Uuid::new_v4().simple().to_string()[..8]);
    kafka.create_topic(&topic, 2).await?;
    lab.sql("CREATE TABLE counters (id text PRIMARY KEY, n bigint)").await;
    let log = Log::new(&kafka.bootstrap())?;
    let mut counters = Counters::new(500);
    log.append(&topic, 2, &counters.next(RECORDS)).await?;
    let settings = |client: &str, rows_per_second| Settings {
        pipeline: topic.clone(),
        routes: vec![(topic.clone(), "counters".to_owned())],
        bootstrap: kafka.bootstrap(),
        database: lab.url.replace("mysql://", "mariadb://"),
        client: format!("{client}-{topic}"),
        rows_per_second,
        max_rows: 50,
        ..Settings::plain()
    };
    for client in ["first", "second"] {
        let before = applied(&lab).await;
        let worker = settings(client, Some(300)).soon_given_up().start().await?;
        until("the worker to be in the middle", PATIENCE, async || {
            worker.still_runs()?;
            let now = applied(&lab).await;
            Ok(Seen::when(now > before, || format!("{now} of {RECORDS}")))
        })
        .await?;
        worker.kill()?;
        assert!(applied(&lab).await < RECORDS as i64, "the kill came too late");
    }
    let last = settings("last", None).soon_given_up().start().await?;
    until("all to be in the database", PATIENCE, async || {
        last.still_runs()?;
        let now = applied(&lab).await;
        Ok(Seen::when(now == RECORDS as i64, || format!("{now} of {RECORDS}")))
    })
    .await?;
    let rows = lab.rows("SELECT id, CAST(n AS text) FROM counters").await;
    let found: BTreeMap<String, i64> = rows
        .into_iter()
        .map(|row| (row[0].clone().unwrap(), row[1].as_deref().unwrap().parse().unwrap()))
        .collect();
    same_rows(&found, counters.sums())?;
    assert_eq!(lab.rows("SELECT reason FROM write_behind_dead_letters").await.len(), 0);
    verified(&lab, &settings("verify", None)).await
}

/// Rows altered by hand while the worker runs are named by `verify`, and nothing else is.
async fn verified(lab: &Mariadb, settings: &Settings) -> Result<()> {
    let verify = async || {
        let (status, said) = settings.command(&["verify", "--json"]).await?;
        let line = said.lines().find(|line| line.starts_with('{'));
        let report: Value = serde_json::from_str(line.context(said.clone())?)?;
        Ok::<_, anyhow::Error>((status.code(), report))
    };
    let (code, report) = verify().await?;
    ensure!(code == Some(0), "the table is as the log has it: {report:#}");
    let altered = lab.rows("SELECT id FROM counters ORDER BY id LIMIT 2").await;
    let altered: Vec<String> = altered.into_iter().map(|row| row[0].clone().unwrap()).collect();
    lab.sql(&format!(
        "UPDATE counters SET n = n + 1 WHERE id = '{}'; DELETE FROM counters WHERE id = '{}';
         INSERT INTO counters VALUES ('nobody', 1)",
        altered[0], altered[1]
    ))
    .await;
    let (code, report) = verify().await?;
    let differences = report["differences"].as_array().cloned().unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let named: BTreeMap<String, String> =
        differences.iter().map(|one| (text(&one["key"][0]), text(&one["kind"]))).collect();
    let kinds = [(&*altered[0], "different"), (&*altered[1], "missing"), ("nobody", "extra")];
    let expected = kinds.map(|(key, kind)| (key.to_owned(), kind.to_owned()));
    assert_eq!((code, named), (Some(1), expected.into()), "{report:#}");
    Ok(())
}
