//! The care of dead letters, over an SQLite file and with a clock that only the test moves.

use std::fs::File;
use std::sync::atomic::{AtomicU64, Ordering};

use prometheus::Registry;
use tempfile::TempDir;

use super::*;
use crate::config::LEAST;
use crate::config::environment::Variables;
use crate::status::metrics::Metrics;
use crate::store::statement::Statement;
use crate::store::{AnyStore, Database, Store as _, Timeouts};

/// A clock that stands still until it is set.
#[derive(Clone, Default)]
struct StandingClock(Arc<AtomicU64>);

impl Clock for StandingClock {
    fn now(&self) -> Duration {
        Duration::from_secs(self.0.load(Ordering::Relaxed))
    }

    async fn sleep(&self, _: Duration) {
        std::future::pending::<()>().await;
    }
}

struct Letters {
    _directory: TempDir,
    store: AnyStore,
    connection: Option<AnyStore>,
    maintenance: Maintenance<(Database, Timeouts), StandingClock>,
    clock: StandingClock,
    status: Arc<Status>,
    stored: u32,
}

impl Letters {
    async fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("scores.db");
        File::create(&file).unwrap();
        let text = LEAST.replace("scores.db", &file.display().to_string());
        let config = format!("{text}\n[dead_letters]\nretention = \"1d\"\n");
        let config = Config::read(&config, &Variables::new()).unwrap();
        let metrics = Metrics::new(&Registry::new(), "scores").unwrap();
        let status = Arc::new(Status::new(metrics, &config));
        let (clock, connect) = (StandingClock::default(), config.database.target.clone());
        let mut store = connect.connect(&Timeouts::STANDARD).await.unwrap();
        store.init().await.unwrap();
        let maintenance = Maintenance::new(
            &config,
            (connect, Timeouts::STANDARD),
            clock.clone(),
            Arc::from([]),
            Arc::clone(&status),
        );
        let maintenance = maintenance.unwrap();
        let (connection, stored) = (None, 0);
        Self { _directory: directory, store, connection, maintenance, clock, status, stored }
    }

    /// Stores a letter of long ago.
    async fn store(&mut self, state: &str) {
        let insert = format!(
            "INSERT INTO write_behind_dead_letters
                (pipeline, cluster, topic, partition, record_offset, reason, failed_at, state)
            VALUES ('scores', 'c', 'scores', 0, {}, '', '2020-02-02 00:00:00', '{state}')",
            self.stored
        );
        let insert = Statement::new(self.store.dialect(), &[]).add(&insert, []);
        self.store.perform(insert).await.unwrap();
        self.stored += 1;
    }

    /// What is told `seconds` after the start: open letters, and letters that were deleted.
    async fn told_at(&mut self, seconds: u64) -> (Option<u64>, u64) {
        self.clock.0.store(seconds, Ordering::Relaxed);
        self.maintenance.run_once(&mut self.connection).await.unwrap();
        let all = letters::tally(&mut self.store, "scores", &Filter::default()).await.unwrap();
        let left: u64 = all.iter().map(|tally| tally.letters).sum();
        (self.status.report().routes[0].open_dead_letters, u64::from(self.stored) - left)
    }
}

#[tokio::test]
async fn letters_are_counted_every_ten_seconds_and_old_ones_deleted_every_hour() {
    let mut letters = Letters::new().await;
    letters.store("open").await;
    letters.store("discarded").await;
    assert_eq!(letters.told_at(0).await, (Some(1), 1), "the open one is kept however old");
    assert_eq!(letters.told_at(1).await, (Some(1), 1), "no more is old");
    letters.store("open").await;
    letters.store("replayed").await;
    assert_eq!(letters.told_at(9).await, (Some(1), 1));
    assert_eq!(letters.told_at(10).await, (Some(2), 1));
    assert_eq!(letters.told_at(3_600).await, (Some(2), 1));
    assert_eq!(letters.told_at(3_601).await, (Some(2), 2));
}
