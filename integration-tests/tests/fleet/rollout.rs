//! A rolling update, as the chart does it: two workers with fixed names, replaced one after the other under
//! load, each once the last one is ready. The result is exact; what it does to the lag is printed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use anyhow::Result;
use integration_tests::counters::COLUMNS;
use integration_tests::stack::Pipeline;
use integration_tests::wait::{PATIENCE, Seen, until};
use integration_tests::worker::Worker;

use super::{Load, end};

/// Records in the log that are not in the database.
async fn behind(pipeline: &Pipeline) -> Result<i64> {
    let applied = pipeline.applied().await?;
    let ends: BTreeMap<i32, i64> = pipeline.log.ends(&pipeline.name, pipeline.partitions).await?;
    let of = |(partition, end): (&i32, &i64)| end - applied.get(partition).copied().unwrap_or(0);
    Ok(ends.iter().map(of).sum())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rolling_update_under_load_is_exact_and_moves_no_other_members_partitions() -> Result<()>
{
    let pipeline = Arc::new(Pipeline::new("rollout", 6, COLUMNS).await?);
    let start = async |place: usize| {
        let name = format!("place-{place}");
        pipeline.settings(&name).kafka("group.instance.id", &name).start().await
    };
    let mut workers = [start(0).await?, start(1).await?];
    pipeline.shared_out(&workers.each_ref()).await?;
    let load = Load::start(&pipeline);
    for place in 0..2 {
        let other: &Worker = &workers[1 - place];
        let assignments = other.log().matches("partitions assigned").count();
        let begun = Instant::now();
        end(&workers[place]).await?;
        workers[place] = start(place).await?;
        let mut most = 0;
        until(&format!("place {place} to be ready again"), PATIENCE, async || {
            most = most.max(behind(&pipeline).await?);
            let ready = workers[place].answer("/readyz").await.unwrap_or_default();
            Ok(Seen::when(ready.starts_with("HTTP/1.1 200"), || ready))
        })
        .await?;
        eprintln!(
            "place {place}: replaced in {:.1?}, {most} records behind at most",
            begun.elapsed()
        );
        let other: &Worker = &workers[1 - place];
        anyhow::ensure!(other.log().matches("partitions assigned").count() == assignments);
    }
    load.stop().await?.are_exact(&pipeline, &workers.each_ref()).await
}
