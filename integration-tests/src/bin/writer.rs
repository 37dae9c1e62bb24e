//! A service that embeds the producer, for tests to kill.
//!
//! Its place is its one argument. It reads orders as lines, and prints what is replicated and what
//! it reads.

use anyhow::{Context, Result};
use integration_tests::handle::Handle;
use integration_tests::load::{Cache, Load, Operation, Plan};
use integration_tests::loader::SnapshotLoader;
use integration_tests::writer::{Order, Said, Service};
use sqlx::postgres::PgPool;
use tokio::runtime::Runtime;

fn main() -> Result<()> {
    let argument = std::env::args().nth(1).context("what to do is missing")?;
    let Service { bootstrap, database, name, partitions, plan } = serde_json::from_str(&argument)?;
    let runtime = Runtime::new()?;
    let sql = runtime.block_on(PgPool::connect(&database))?;
    let loader = SnapshotLoader { sql, name: name.clone(), partitions };
    let builder = Handle::builder(&bootstrap, &name).loader(loader).follow(true);
    let Handle { cache, .. } = runtime.block_on(Handle::new(builder))?;
    say(&Said::Ready)?;
    for order in std::io::stdin().lines() {
        match serde_json::from_str(&order?)? {
            Order::Write => {
                let writing = write(cache.clone(), plan.clone());
                runtime.spawn(async { writing.await.inspect_err(|error| eprintln!("{error:#}")) });
            }
            Order::Read => runtime.block_on(read(&cache, &plan))?,
        }
    }
    // The test that gave the orders is gone.
    Ok(())
}

async fn write(cache: Cache, plan: Plan) -> Result<()> {
    let mut load = Load::start(&plan, &cache);
    while let Some(made) = load.next().await {
        made.answer?.replicated().await?;
        // A delete leaves no name in the log that could be looked for.
        if made.operation != Operation::Delete {
            say(&Said::Replicated(made.name))?;
        }
    }
    Ok(())
}

async fn read(cache: &Cache, plan: &Plan) -> Result<()> {
    for key in plan.keys() {
        let row = cache.get(&key).await?;
        say(&Said::Row(key, row))?;
    }
    say(&Said::AllRead)
}

/// One line, in one piece: standard output keeps a line together and sends it at its end.
fn say(said: &Said) -> Result<()> {
    println!("{}", serde_json::to_string(said)?);
    Ok(())
}
