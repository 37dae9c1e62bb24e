//! Three brokers under load: one killed, one frozen, all away. Every write ends in the log where it
//! belongs, or its caller was told.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use integration_tests::audit::{Audited, audit};
use integration_tests::cluster::{BROKERS, Cluster, cluster};
use integration_tests::figures::report;
use integration_tests::fold::fold;
use integration_tests::handle::Handle;
use integration_tests::load::{Load, Operation, Plan, Row};
use integration_tests::log::Log;
use integration_tests::random::seed;
use integration_tests::stack::same_rows;
use integration_tests::wait::{PATIENCE, Seen, throughout, until};
use serde_json::Value;
use uuid::Uuid;
use write_behind_producer::{
    DeliveryError, Known, LoadError, Loaded, Loader, NextOffset, WhenFull,
};

const PARTITIONS: i32 = 6;
const LIMIT: usize = 4 << 20;
const TASKS: u64 = 4;
/// Writes that must get through before a fault, during it where that is possible, and after it.
const SOME: u64 = 5_000;
/// An hour without brokers, compressed.
const AWAY: Duration = Duration::from_secs(20);

/// One service under load, on a topic of its own.
struct Service {
    topic: String,
    partitions: i32,
    bootstrap: String,
    handle: Handle,
    /// Another service, which follows what this one writes.
    follower: Handle,
    plan: Plan,
    load: Load,
    /// How many writes were accepted, and how many looks have found that and all callers waiting.
    idle: Cell<(u64, u32)>,
}

impl Service {
    async fn start(
        cluster: &Cluster,
        about: &str,
        when_full: WhenFull,
        partitions: i32,
    ) -> Result<Self> {
        let random = Uuid::new_v4().simple().to_string();
        let topic = format!("{about}_{}", &random[..8]);
        cluster.create_topic(&topic, partitions).await?;
        let bootstrap = cluster.bootstrap();
        let builder = || Handle::builder(&bootstrap, &topic);
        let handle = Handle::new(builder().max_pending(LIMIT, when_full)).await?;
        let follower = Handle::new(builder().loader(NoDatabase).follow(true)).await?;
        let seed = seed(about)?;
        let (name, tasks) = (about.to_owned(), 0..TASKS);
        let plan = Plan { name, seed, tasks, keys: 200, per_second: 1_500, alone: true };
        let load = Load::start(&plan, &handle.cache);
        let idle = Cell::default();
        Ok(Self { topic, partitions, bootstrap, handle, follower, plan, load, idle })
    }

    /// Waits until many more writes are answered, and each that was accepted before this call.
    async fn writes_get_through(&self) -> Result<()> {
        let (begun, before) = (Instant::now(), self.handle.answered()?);
        until("writes to get through", PATIENCE, async || {
            let more = self.handle.answered()?.saturating_sub(before);
            // Read first: what is younger than this was accepted after the beginning.
            let here = begun.elapsed().as_secs_f64();
            let oldest = self.handle.metric("replicated_lag_seconds")?;
            let all = more >= SOME && oldest < here;
            Ok(Seen::when(all, || format!("{more} in {here} s, the oldest {oldest} s old")))
        })
        .await
    }

    /// Seen often enough that the metrics, too, are of that time: a caller may be inside a write
    /// without waiting.
    fn all_callers_wait(&self) -> Seen<()> {
        let (accepted, waiting) = (self.load.accepted(), self.load.waiting());
        let (before, looks) = self.idle.get();
        let looks = if waiting == TASKS && before == accepted { looks + 1 } else { 0 };
        self.idle.set((accepted, looks));
        Seen::when(looks > 10, || format!("{waiting} wait, {accepted} accepted"))
    }

    fn is_within_its_limit(&self) -> Result<()> {
        let pending = self.handle.metric("pending_bytes")?;
        ensure!(pending <= LIMIT as f64, "{pending} bytes are pending");
        Ok(())
    }

    /// Ends the load and compares all that its callers were told, and all that the follower reads,
    /// with the log.
    async fn ends(self) -> Result<Audited> {
        let Self { topic, partitions, bootstrap, handle, follower, plan, load, .. } = self;
        let told = load.told(PATIENCE).await?;
        let log = fold(Log::new(&bootstrap)?.read_all(&topic, partitions).await?)?;
        let audited = audit(&told, &log, partitions)?;
        until("the follower to read what the log says", PATIENCE, async || {
            let same = same_rows(&reads(&follower, &plan).await?, &log.rows);
            Ok(same.map_or_else(|error| Seen::NotYet(error.to_string()), Seen::Done))
        })
        .await?;
        handle.cache.close(PATIENCE).await?;
        follower.cache.close(PATIENCE).await?;
        report(&format!("{topic}: {audited:?}"));
        Ok(audited)
    }
}

/// Nothing is applied here, so there is nothing to load.
struct NoDatabase;

impl Loader<String> for NoDatabase {
    async fn load(&self, _key: &String) -> Result<Loaded, LoadError> {
        Ok(Loaded::missing().at(NextOffset::ZERO))
    }
}

/// Every row that the plan may write, as the handle reads it.
async fn reads(handle: &Handle, plan: &Plan) -> Result<BTreeMap<String, Value>> {
    let mut rows = BTreeMap::new();
    for key in plan.keys() {
        if let Known { row: Some(row), .. } = handle.cache.read(&key).await? {
            rows.insert(key, serde_json::to_value(row)?);
        }
    }
    Ok(rows)
}

/// What happens to a broker.
#[derive(Clone, Copy, Debug)]
enum Fault {
    Killed,
    Frozen,
}

/// One broker is away, and back again, while writes go on.
async fn one_away(about: &str, fault: Fault) -> Result<()> {
    let mut cluster = cluster().await?;
    let service = Service::start(&cluster, about, WhenFull::Wait, PARTITIONS).await?;
    service.writes_get_through().await?;
    let leader = cluster.leader_of(&service.topic, 0).await?;
    match fault {
        Fault::Killed => cluster.kill(leader).await?,
        Fault::Frozen => cluster.pause(leader).await?,
    }
    cluster.led_by_others(&service.topic, leader).await?;
    service.writes_get_through().await?;
    cluster.restore(leader).await?;
    cluster.in_sync(&service.topic).await?;
    service.writes_get_through().await?;
    service.is_within_its_limit()?;
    let audited = service.ends().await?;
    assert_eq!((audited.failed, audited.unknown, audited.refused), (0, 0, 0));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_killed_under_load_loses_and_doubles_nothing() -> Result<()> {
    one_away("killed", Fault::Killed).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_frozen_under_load_loses_and_doubles_nothing() -> Result<()> {
    one_away("frozen", Fault::Frozen).await
}

/// Brokers refuse every batch for a while, and then every one that is large.
#[tokio::test(flavor = "multi_thread")]
async fn what_brokers_refuse_for_a_while_or_for_its_size_is_sent_again_and_nothing_is_lost()
-> Result<()> {
    let cluster = cluster().await?;
    let service = Service::start(&cluster, "passing", WhenFull::Wait, PARTITIONS).await?;
    service.writes_get_through().await?;
    // Every record is older than that.
    let too_old = [("message.timestamp.before.max.ms", "0")];
    cluster.configure_topic(&service.topic, &too_old).await?;
    until("partitions to be held", PATIENCE, async || {
        let held = service.handle.metric("held_partitions")?;
        Ok(Seen::when(held > 0.0, || "none is".to_owned()))
    })
    .await?;
    // What gathers meanwhile makes batches of more than a topic takes by then.
    until("all callers to wait", PATIENCE, async || Ok(service.all_callers_wait())).await?;
    let small = [("max.message.bytes", "20000")];
    cluster.configure_topic(&service.topic, &small).await?;
    service.writes_get_through().await?;
    let audited = service.ends().await?;
    assert_eq!((audited.failed, audited.unknown, audited.refused), (0, 0, 0));
    Ok(())
}

/// The leader that is left appends what it must not acknowledge; then it dies with it.
#[tokio::test(flavor = "multi_thread")]
async fn what_only_one_broker_has_is_not_acknowledged_and_is_sent_again() -> Result<()> {
    let mut cluster = cluster().await?;
    // One partition, so that every write goes to the broker that is left.
    let service = Service::start(&cluster, "alone", WhenFull::Wait, 1).await?;
    service.writes_get_through().await?;
    let left = cluster.leader_of(&service.topic, 0).await?;
    for other in (0..BROKERS).filter(|broker| *broker != left) {
        cluster.pause(other).await?;
    }
    until("all callers to wait", PATIENCE, async || Ok(service.all_callers_wait())).await?;
    let answered = service.handle.answered()?;
    // Long enough for requests to time out and be sent again.
    throughout(AWAY, async || {
        let more = service.handle.answered()?.saturating_sub(answered);
        ensure!(more == 0, "{more} writes were acknowledged by one broker alone");
        Ok(())
    })
    .await?;
    cluster.kill(left).await?;
    for other in (0..BROKERS).filter(|broker| *broker != left) {
        cluster.restore(other).await?;
    }
    cluster.led_by_others(&service.topic, left).await?;
    service.writes_get_through().await?;
    cluster.restore_all().await?;
    service.writes_get_through().await?;
    let audited = service.ends().await?;
    assert_eq!((audited.failed, audited.unknown, audited.refused), (0, 0, 0));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn with_all_brokers_away_callers_wait_or_are_told_and_nothing_accepted_is_lost() -> Result<()>
{
    let mut cluster = cluster().await?;
    let waiting = Service::start(&cluster, "waiting", WhenFull::Wait, PARTITIONS).await?;
    let rejecting = Service::start(&cluster, "rejecting", WhenFull::Reject, PARTITIONS).await?;
    waiting.writes_get_through().await?;
    rejecting.writes_get_through().await?;
    cluster.kill_all().await?;

    until("all callers to wait", PATIENCE, async || Ok(waiting.all_callers_wait())).await?;
    until("callers to be refused", PATIENCE, async || {
        Ok(Seen::when(rejecting.load.refused() > 0, || "none was".to_owned()))
    })
    .await?;
    let (accepted, refused) = (waiting.load.accepted(), rejecting.load.refused());
    throughout(AWAY, async || {
        waiting.is_within_its_limit()?;
        rejecting.is_within_its_limit()?;
        ensure!(waiting.load.accepted() == accepted, "a write was accepted without room");
        Ok(())
    })
    .await?;
    ensure!(rejecting.load.refused() > refused, "callers were refused once and never again");

    cluster.restore_all().await?;
    waiting.writes_get_through().await?;
    rejecting.writes_get_through().await?;
    let (waiting, rejecting) = (waiting.ends().await?, rejecting.ends().await?);
    assert_eq!((waiting.failed, waiting.unknown, waiting.refused), (0, 0, 0));
    assert_eq!((rejecting.failed, rejecting.unknown), (0, 0));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn closing_while_all_brokers_are_away_names_the_rows_that_were_not_delivered() -> Result<()> {
    let mut cluster = cluster().await?;
    let service = Service::start(&cluster, "closed", WhenFull::Wait, PARTITIONS).await?;
    let Service { topic, bootstrap, handle, load, .. } = service;
    load.told(PATIENCE).await?;
    cluster.pause_all().await?;

    let keys: Vec<String> = (0..50).map(|key| format!("own-0-undelivered-{key:02}")).collect();
    let mut writes = Vec::new();
    for key in keys.iter().chain(&keys) {
        let row = Row { n: 1, by: format!("closed:0:{key}:{}", writes.len()) };
        writes.push((Operation::Put, handle.cache.put(key, &row).await?));
    }
    let undelivered = handle.cache.close(Duration::from_secs(2)).await.unwrap_err();
    assert_eq!((undelivered.writes, &undelivered.keys), (writes.len(), &keys));
    for (_, write) in writes {
        let told = write.replicated().await;
        // Closed: no client was given it.
        let is_told = matches!(told, Err(DeliveryError::Unknown(_) | DeliveryError::Closed));
        ensure!(is_told, "told {told:?}");
    }

    // What was not delivered may have been sent, and may be in the log once.
    cluster.restore_all().await?;
    cluster.in_sync(&topic).await?;
    let folded = fold(Log::new(&bootstrap)?.read_all(&topic, PARTITIONS).await?)?;
    let late = folded.kept.iter().filter(|placed| {
        placed.raw.key_text().is_ok_and(|key| keys.iter().any(|named| named == key))
    });
    let late = late.count();
    ensure!(late <= 100, "{late} of 100 writes are in the log");
    report(&format!("{late} of 100 writes that were not delivered are in the log after all"));
    Ok(())
}
