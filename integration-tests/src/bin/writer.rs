//! A service that embeds the producer, for tests to kill.
//!
//! Its place is its one argument. It reads orders as lines, and prints what is replicated and what
//! it reads.

use std::time::Duration;

use anyhow::{Context, Result};
use integration_tests::handle::Handle;
use integration_tests::load::{Cache, Load, Operation, Plan};
use integration_tests::loader::SnapshotLoader;
use integration_tests::writer::{Order, Said, Service};
use sqlx::postgres::PgPool;
use tokio::runtime::Runtime;
use write_behind_producer::{Crash, Journal};

const STARTS_WITHIN: Duration = Duration::from_millis(500);

fn main() -> Result<()> {
    let argument = std::env::args().nth(1).context("what to do is missing")?;
    let service: Service = serde_json::from_str(&argument)?;
    let runtime = Runtime::new()?;
    let cache = runtime.block_on(cache(&service))?;
    let plan = service.plan;
    say(&Said::Ready)?;
    for order in std::io::stdin().lines() {
        match serde_json::from_str(&order?)? {
            Order::Write => {
                let writing = write(cache.clone(), plan.clone());
                runtime.spawn(async { writing.await.inspect_err(|error| eprintln!("{error:#}")) });
            }
            Order::Count => {
                for task in plan.tasks.clone() {
                    let counting = count(cache.clone(), format!("{}-{task}", plan.name));
                    runtime.spawn(async {
                        counting.await.inspect_err(|error| eprintln!("{error:#}"))
                    });
                }
            }
            Order::Replicate => {
                runtime.block_on(cache.replicated_all())?;
                say(&Said::AllReplicated)?;
            }
            Order::Read => runtime.block_on(read(&cache, &plan))?,
        }
    }
    // The test that gave the orders is gone.
    Ok(())
}

async fn cache(service: &Service) -> Result<Cache> {
    let Service { bootstrap, database, name, partitions, .. } = service;
    let builder = Handle::builder(bootstrap, name);
    let builder = if let Some(directory) = &service.journal {
        // Without Kafka it must start too.
        let journal = Journal::at(directory).max_bytes(64 << 20).survives(Crash::Process);
        builder.journal(journal).start_timeout(STARTS_WITHIN)
    } else {
        let sql = PgPool::connect(database).await?;
        let loader = SnapshotLoader { sql, name: name.clone(), partitions: *partitions };
        builder.loader(loader).follow(true)
    };
    loop {
        match builder.clone().build().await {
            // The first life needs Kafka, and a dead one may not have let go of the journal yet.
            Err(error) if error.may_pass() && service.journal.is_some() => {
                eprintln!("{error}, once more");
            }
            built => return Ok(built?),
        }
    }
}

async fn count(cache: Cache, name: String) -> Result<()> {
    for n in 0_u64.. {
        let name = format!("{name}-{n}");
        cache.add(&name, "n", 1).await?.recorded().await?;
        say(&Said::Recorded(name))?;
    }
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
