//! A year of real flights through the whole pipeline: the table is what the file adds up to.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::Result;
use integration_tests::figures::report;
use integration_tests::flights::{self, Aircraft, Flight};
use integration_tests::stack::{Pipeline, same_rows};
use integration_tests::wait::PATIENCE;
use serde_json::{Value, json};
use write_behind_producer::WriteBehind;
use write_behind_shared::Change;

const COLUMNS: &str = "tailnum text primary key, flights bigint not null default 0,
    miles bigint not null default 0, minutes bigint, last_airport text, last_departure text";

fn change(flight: &Flight) -> Result<Change> {
    let change = Change::new()
        .add("flights", 1)
        .add("miles", flight.distance)
        .set("last_airport", &flight.dest)?
        .set("last_departure", &flight.time_hour)?;
    Ok(match flight.minutes() {
        Some(minutes) => change.add("minutes", minutes),
        None => change,
    })
}

fn row((tailnum, aircraft): (String, Aircraft)) -> (String, Value) {
    let Aircraft { flights, miles, minutes, last_airport, last_departure } = aircraft;
    let row = json!({
        "tailnum": tailnum, "flights": flights, "miles": miles, "minutes": minutes,
        "last_airport": last_airport, "last_departure": last_departure,
    });
    (tailnum, row)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_flights_of_a_year_add_up() -> Result<()> {
    let (flights, _) = flights::read()?;
    let pipeline = Pipeline::new("flights", 6, COLUMNS).await?;
    let worker = pipeline.settings("worker").start().await?;
    let kafka = [("bootstrap.servers", pipeline.kafka.bootstrap())];
    let cache: WriteBehind<String, Value> =
        WriteBehind::builder(&pipeline.name, kafka).sink_group(&pipeline.group).build().await?;

    let began = Instant::now();
    for flight in &flights {
        cache.change(&flight.tailnum, change(flight)?).await?;
    }
    let wrote = began.elapsed();
    cache.persisted_all().await?;
    pipeline.drained(&[&worker], PATIENCE).await?;
    report(&format!(
        "{} flights written in {wrote:.1?}, in the database after {:.1?}",
        flights.len(),
        began.elapsed()
    ));

    let expected: BTreeMap<String, Value> =
        flights::totals(&flights).into_iter().map(row).collect();
    same_rows(&pipeline.rows("tailnum").await?, &expected)?;
    assert_eq!(pipeline.dead_letters().await?, []);
    cache.close(Duration::from_secs(10)).await?;
    pipeline.committed(&[&worker]).await
}
