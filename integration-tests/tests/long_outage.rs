//! An hour without a database, compressed: a million distinct rows are written while nothing is
//! applied, with little room. Memory stays at the limit, and nothing that was accepted is lost.
//!
//! `OUTAGE_KEYS` sets another number of rows.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use integration_tests::figures::report;
use integration_tests::handle::Handle;
use integration_tests::load::{COLUMNS, Cache, Row};
use integration_tests::loader::SnapshotLoader;
use integration_tests::stack::Pipeline;
use integration_tests::wait::{PATIENCE, Seen, soon, throughout, until};
use integration_tests::worker::{Worker, resident};
use tokio::sync::{Mutex, MutexGuard};
use tokio::task::JoinSet;
use write_behind_producer::{Known, ReadError, WhenFull, WriteError};

const PARTITIONS: i32 = 6;
const CALLERS: u64 = 4;
/// What may be pending; a write takes about 400 bytes of it.
const LIMIT: usize = 8 << 20;
/// What the process may grow by: the limit, librdkafka's queue of 16 MiB, and what the allocator and
/// the client take for themselves. A million rows are half a gigabyte.
const GROWTH_MAX: u64 = 96 << 20;

fn keys() -> Result<u64> {
    std::env::var("OUTAGE_KEYS").map_or(Ok(1_000_000), |keys| keys.parse().context("OUTAGE_KEYS"))
}

fn id(number: u64) -> String {
    format!("row-{number}")
}

fn row(number: u64) -> Row {
    Row { n: number as i64, by: format!("caller {}", number % CALLERS) }
}

/// A handle whose database has gone away before the first write.
struct Outage {
    pipeline: Pipeline,
    handle: Handle,
    began_with: u64,
    /// The process's memory is looked at, so nothing else may run in it.
    _alone: MutexGuard<'static, ()>,
}

impl Outage {
    async fn begins(about: &str, when_full: WhenFull) -> Result<Self> {
        static ALONE: Mutex<()> = Mutex::const_new(());
        let alone = ALONE.lock().await;
        let pipeline = Pipeline::new(about, PARTITIONS, COLUMNS).await?;
        // It makes the bookkeeping tables.
        let worker = pipeline.settings("first").soon_given_up().start().await?;
        pipeline.settled(&[&worker]).await?;
        worker.kill()?;
        let (sql, name) = (pipeline.sql.clone(), pipeline.name.clone());
        let builder = Handle::builder(&pipeline.kafka.bootstrap(), &name)
            .loader(SnapshotLoader { sql, name, partitions: PARTITIONS })
            .capacity(1_000)
            .max_pending(LIMIT, when_full);
        let handle = Handle::new(builder).await?;
        let began_with = resident(std::process::id())?;
        Ok(Self { pipeline, handle, began_with, _alone: alone })
    }

    fn is_within_its_limits(&self) -> Result<()> {
        let pending = self.handle.metric("pending_bytes")?;
        ensure!(pending <= LIMIT as f64, "{pending} bytes are pending");
        let grown = self.grown()?;
        ensure!(grown <= GROWTH_MAX, "the process has grown by {} MiB", grown >> 20);
        Ok(())
    }

    fn grown(&self) -> Result<u64> {
        Ok(resident(std::process::id())?.saturating_sub(self.began_with))
    }

    /// The database is back: waits until it has the whole log.
    async fn ends(&self, rows: u64) -> Result<Worker> {
        let worker = self.pipeline.settings("second").soon_given_up().start().await?;
        let patience = PATIENCE + Duration::from_millis(rows);
        self.pipeline.drained(&[&worker], patience).await?;
        Ok(worker)
    }

    /// Every row of these numbers is in the table as it was written, and no other.
    async fn database_has(&self, rows: u64) -> Result<()> {
        let count = self.pipeline.number("count(*)").await?;
        ensure!(count == rows as i64, "{count} rows are in the database instead of {rows}");
        let wrong = "count(*) filter (where id <> 'row-' || n or by <> 'caller ' || n % 4)";
        assert_eq!(self.pipeline.number(wrong).await?, 0, "rows that nobody wrote so");
        Ok(())
    }
}

/// Callers that write so many rows between them, each row once.
fn callers(cache: &Cache, rows: u64, accepted: &Arc<AtomicU64>) -> JoinSet<Result<()>> {
    let mut callers = JoinSet::new();
    for caller in 0..CALLERS {
        let (cache, accepted) = (cache.clone(), Arc::clone(accepted));
        callers.spawn(async move {
            for number in (caller..rows).step_by(CALLERS as usize) {
                cache.put(&id(number), &row(number)).await?;
                accepted.fetch_add(1, Ordering::AcqRel);
            }
            Ok(())
        });
    }
    callers
}

async fn all(mut callers: JoinSet<Result<()>>) -> Result<()> {
    while let Some(caller) = callers.join_next().await {
        caller??;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn with_forget_writes_keep_flowing_and_reads_say_that_they_may_be_behind() -> Result<()> {
    let rows = keys()?;
    let outage = Outage::begins("forget", WhenFull::ForgetRows).await?;
    let cache = &outage.handle.cache;
    let (accepted, began) = (Arc::new(AtomicU64::new(0)), Instant::now());
    let writing = callers(cache, rows, &accepted);
    until("every row to be accepted", PATIENCE + Duration::from_millis(rows), async || {
        outage.is_within_its_limits()?;
        let accepted = accepted.load(Ordering::Acquire);
        Ok(Seen::when(accepted == rows, || format!("{accepted} of {rows}")))
    })
    .await?;
    all(writing).await?;
    let (took, grown) = (began.elapsed(), outage.grown()? >> 20);
    cache.put(&id(rows), &row(rows)).await?;
    soon("Kafka to have all", cache.replicated_all()).await??;
    outage.is_within_its_limits()?;
    report(&format!("forget: {rows} rows accepted in {took:.1?}, the process grew by {grown} MiB"));

    until("rows to be forgotten and counted", PATIENCE, async || {
        let forgotten = outage.handle.metric("forgotten_total")?;
        let pending = outage.handle.metric("pending_rows")?;
        let all = forgotten + pending > rows as f64;
        Ok(Seen::when(all, || format!("{forgotten} are forgotten and {pending} pending")))
    })
    .await?;
    // The oldest row was forgotten, the newest one was not.
    let read = cache.read(&id(0)).await?;
    assert_eq!(read, Known { row: None, may_be_behind: true });
    let get = cache.get(&id(0)).await;
    ensure!(matches!(get, Err(ReadError::MayBeBehind)), "{get:?}");
    assert_eq!(cache.get(&id(rows)).await?, Some(row(rows)));

    let worker = outage.ends(rows).await?;
    outage.database_has(rows + 1).await?;
    outage.pipeline.committed(&[&worker]).await?;
    soon("the handle to know", cache.persisted_all()).await??;
    let read = cache.read(&id(0)).await?;
    assert_eq!(read, Known { row: Some(row(0)), may_be_behind: false });
    Ok(cache.close(PATIENCE).await?)
}

#[tokio::test(flavor = "multi_thread")]
async fn with_wait_callers_wait_and_all_get_in_when_the_database_is_back() -> Result<()> {
    let rows = keys()? / 5;
    let outage = Outage::begins("wait", WhenFull::Wait).await?;
    let cache = &outage.handle.cache;
    let accepted = Arc::new(AtomicU64::new(0));
    let writing = callers(cache, rows, &accepted);
    let mut before = None;
    until("all callers to wait", PATIENCE, async || {
        outage.is_within_its_limits()?;
        let now = Some((accepted.load(Ordering::Acquire), outage.handle.metric("in_flight")?));
        let same = std::mem::replace(&mut before, now) == now;
        let still =
            same && now.is_some_and(|(accepted, unanswered)| accepted > 0 && unanswered == 0.0);
        Ok(Seen::when(still, || format!("{now:?} accepted and unanswered")))
    })
    .await?;
    let let_in = accepted.load(Ordering::Acquire);
    // A caller that has no more patience leaves nothing behind.
    let (key, row) = ("given up".to_owned(), row(0));
    let given_up = tokio::time::timeout(Duration::from_millis(200), cache.put(&key, &row)).await;
    ensure!(given_up.is_err(), "it was let in: {given_up:?}");
    throughout(Duration::from_secs(10), async || {
        outage.is_within_its_limits()?;
        let now = accepted.load(Ordering::Acquire);
        ensure!(now == let_in, "{now} were let in, {let_in} before");
        Ok(())
    })
    .await?;
    report(&format!("wait: {let_in} rows had room, {CALLERS} callers waited"));

    let _worker = outage.ends(0).await?;
    soon("all callers to get in", all(writing)).await??;
    soon("the handle to know", cache.persisted_all()).await??;
    outage.database_has(rows).await?;
    Ok(cache.close(PATIENCE).await?)
}

#[tokio::test(flavor = "multi_thread")]
async fn with_reject_callers_are_told_and_what_was_accepted_is_all_there_is() -> Result<()> {
    let rows = keys()?;
    let outage = Outage::begins("reject", WhenFull::Reject).await?;
    let cache = &outage.handle.cache;
    let mut accepted = BTreeSet::new();
    for number in 0..rows {
        match cache.put(&id(number), &row(number)).await {
            Ok(_) => drop(accepted.insert(id(number))),
            Err(WriteError::Overloaded(_)) => {}
            Err(error) => return Err(error.into()),
        }
        if number.is_multiple_of(10_000) {
            outage.is_within_its_limits()?;
        }
    }
    let refused = rows - accepted.len() as u64;
    ensure!(refused > rows / 2, "only {refused} of {rows} were refused");
    until("the refused to be counted", PATIENCE, async || {
        let counted = outage.handle.metric("overloaded_total")? as u64;
        Ok(Seen::when(counted == refused, || format!("{counted} of {refused}")))
    })
    .await?;
    report(&format!("reject: {} rows had room, {refused} were refused", accepted.len()));

    let _worker = outage.ends(0).await?;
    soon("the handle to know", cache.persisted_all()).await??;
    outage.database_has(accepted.len() as u64).await?;
    let there: BTreeSet<String> = outage.pipeline.rows("id").await?.into_keys().collect();
    ensure!(there == accepted, "the rows in the database are not those that were accepted");
    // There is room again.
    let write = cache.put(&id(rows), &row(rows)).await?;
    write.persisted_within(PATIENCE).await?;
    Ok(cache.close(PATIENCE).await?)
}
