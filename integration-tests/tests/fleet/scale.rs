//! A fleet that grows, shrinks and has a slow member: the result is exact.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use integration_tests::counters::{COLUMNS, Counters};
use integration_tests::postgres::Postgres;
use integration_tests::postgres_wire::{Point, PostgresWire};
use integration_tests::stack::Pipeline;
use integration_tests::wait::{PATIENCE, Seen, until};
use integration_tests::wire::Door;
use tokio::task::JoinHandle;

use super::{Load, end};

const WORKERS: usize = 6;

/// Lets the traffic through for a moment, again and again.
fn slow_wire(wire: Arc<PostgresWire>) -> JoinHandle<()> {
    tokio::spawn(async move {
        loop {
            wire.set(Door::BlackHole);
            tokio::time::sleep(Duration::from_millis(200)).await;
            wire.set(Door::Open);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fleet_grows_from_one_to_six_and_shrinks_again_exactly() -> Result<()> {
    let pipeline = Arc::new(Pipeline::new("scale", 12, COLUMNS).await?);
    let wire = Arc::new(PostgresWire::in_front_of(pipeline.postgres.port()).await?);
    let slowing = slow_wire(Arc::clone(&wire));
    let load = Load::start(&pipeline);
    let mut fleet = Vec::new();
    for number in 0..WORKERS {
        let mut settings = pipeline.settings(&format!("worker{number}")).soon_given_up();
        if number == 1 {
            // One member is far away from its database.
            settings.database = Postgres::url_by_way_of(wire.port());
        }
        fleet.push(settings.start().await?);
        pipeline.shared_out(&fleet.iter().collect::<Vec<_>>()).await?;
    }
    while fleet.len() > 1 {
        let leaving = fleet.remove(0);
        // Every other one has no time to say goodbye.
        if fleet.len() % 2 == 0 {
            leaving.kill()?;
        } else {
            end(&leaving).await?;
        }
        pipeline.shared_out(&fleet.iter().collect::<Vec<_>>()).await?;
    }
    let counters = load.stop().await?;
    counters.are_exact(&pipeline, &[&fleet[0]]).await?;
    slowing.abort();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoke_waits_for_a_stuck_database_no_longer_than_its_deadline() -> Result<()> {
    let pipeline = Pipeline::new("revoke", 2, COLUMNS).await?;
    let wire = PostgresWire::in_front_of(pipeline.postgres.port()).await?;
    let mut settings = pipeline.settings("stuck").soon_given_up();
    settings.database = Postgres::url_by_way_of(wire.port());
    settings.connections = 1;
    let stuck = settings.start().await?;
    let mut counters = Counters::new(50);
    counters.append(&pipeline, 500).await?;
    counters.are_exact(&pipeline, &[&stuck]).await?;
    // The only connection gets no further than before its BEGIN, so both partitions hold records.
    let mut hold = wire.hold(Point::Begin);
    counters.append(&pipeline, 500).await?;
    hold.reached(PATIENCE).await?;
    let next = pipeline.settings("next").soon_given_up().start().await?;
    pipeline.shared_out(&[&stuck, &next]).await?;
    let ends = pipeline.log.ends(&pipeline.name, 2).await?;
    until("the next owner to write its partition", PATIENCE, async || {
        let applied = pipeline.applied().await?;
        let done = ends.iter().any(|(partition, end)| applied.get(partition) == Some(end));
        Ok(Seen::when(done, || format!("{applied:?} of {ends:?}")))
    })
    .await?;
    hold.release();
    counters.are_exact(&pipeline, &[&stuck, &next]).await
}
