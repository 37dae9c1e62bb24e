//! The alerts and the dashboard of `deploy/`, on what a real Prometheus scrapes from a real consumer
//! and a real producer.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use integration_tests::handle::Handle;
use integration_tests::load::{COLUMNS, Row};
use integration_tests::postgres::Postgres;
use integration_tests::postgres_wire::PostgresWire;
use integration_tests::prometheus::{Prometheus, serve};
use integration_tests::stack::Pipeline;
use integration_tests::wait::{PATIENCE, Seen, until};
use integration_tests::wire::Door;
use serde_json::Value;

const DASHBOARD: &str = include_str!("../../../deploy/grafana/dashboard.json");
const RULES: &str = include_str!("../../../deploy/prometheus/rules.yml");

/// The queries of the dashboard with everything chosen.
fn queries() -> Result<Vec<String>> {
    let dashboard: Value = serde_json::from_str(DASHBOARD)?;
    let panels = dashboard["panels"].as_array().context("panels")?;
    let targets = panels.iter().filter_map(|panel| panel["targets"].as_array()).flatten();
    let chosen = |query: &str| {
        query.replace("$pipeline", ".*").replace("$topic", ".*").replace("$__rate_interval", "10s")
    };
    Ok(targets.filter_map(|target| Some(chosen(target["expr"].as_str()?))).collect())
}

/// Our metrics that a text names.
fn named(text: &str) -> BTreeSet<&str> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let is_metric = |word: &&str| {
        ["write_behind_consumer_", "write_behind_producer_", "process_"]
            .iter()
            .any(|prefix| word.starts_with(prefix))
    };
    words.filter(is_metric).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_metric_of_the_rules_and_every_query_of_the_dashboard_gives_data() -> Result<()> {
    let pipeline = Pipeline::new("monitoring", 2, COLUMNS).await?;
    let wire = PostgresWire::in_front_of(pipeline.postgres.port()).await?;
    let mut settings = pipeline.settings("worker");
    settings.database = Postgres::url_by_way_of(wire.port());
    let worker = settings.start().await?;
    let handle = Handle::new(Handle::builder(&pipeline.kafka.bootstrap(), &pipeline.name)).await?;
    let cache = handle.cache.clone();
    let services = serve(move || handle.page()).await?;
    let consumer = worker.url().trim_start_matches("http://").to_owned();
    let targets = [("write-behind", consumer), ("write-behind-producer", services)];
    let rules = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/prometheus/rules.yml"));
    let prometheus = Prometheus::start(&targets, rules).await?;

    let queries = queries()?;
    ensure!(queries.len() > 30, "{queries:?}");
    for query in &queries {
        until(&format!("data of {query}"), PATIENCE, async || {
            // A rate needs something that moves.
            cache.put(&"ada".to_owned(), &Row::default()).await?.persisted().await?;
            cache.get(&"ada".to_owned()).await?;
            let found = prometheus.query(query).await?;
            let has_data = found.as_array().is_some_and(|series| !series.is_empty());
            Ok(Seen::when(has_data, || found.to_string()))
        })
        .await?;
    }
    let there = prometheus.metrics().await?;
    let there: BTreeSet<&str> =
        there.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let missing: Vec<&str> = named(RULES).difference(&there).copied().collect();
    ensure!(missing.is_empty(), "no such metrics: {missing:?}");

    // Under load all is well; without the database it is not, and Prometheus is about to say so.
    let states = async || {
        let rules = prometheus.rules().await?;
        let bad: Vec<&Value> = rules.iter().filter(|rule| rule["health"] != "ok").collect();
        let active = rules.iter().filter(|rule| rule["state"] != "inactive");
        let active = active.map(|rule| rule["name"].as_str().unwrap_or_default().to_owned());
        Ok::<_, anyhow::Error>((bad.is_empty(), active.collect::<Vec<String>>()))
    };
    until("all rules to be judged, and none to fire", PATIENCE, async || {
        let (judged, active) = states().await?;
        Ok(Seen::when(judged && active.is_empty(), || format!("{judged} {active:?}")))
    })
    .await?;
    wire.set(Door::Refusing);
    until("the alerts of a database that is away", PATIENCE, async || {
        let _ = cache.put(&"ada".to_owned(), &Row::default()).await?;
        let (_, active) = states().await?;
        let both = ["WriteBehindNotReady", "WriteBehindRouteFailing"].map(str::to_owned);
        Ok(Seen::when(both.iter().all(|name| active.contains(name)), || format!("{active:?}")))
    })
    .await?;
    wire.set(Door::Open);
    Ok(())
}
