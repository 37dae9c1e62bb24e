//! A worker frozen for so long that another has its partitions, then thawed: it changes nothing.

use anyhow::Result;
use integration_tests::counters::{COLUMNS, Counters};
use integration_tests::postgres::Postgres;
use integration_tests::postgres_wire::{Point, PostgresWire};
use integration_tests::stack::Pipeline;
use integration_tests::wait::PATIENCE;
use integration_tests::wire::Hold;
use integration_tests::worker::Worker;

/// A pipeline with one worker behind a proxy, and increments that it has applied.
struct Scene {
    pipeline: Pipeline,
    wire: PostgresWire,
    counters: Counters,
    zombie: Worker,
}

impl Scene {
    async fn set() -> Result<Self> {
        let pipeline = Pipeline::new("zombie", 2, COLUMNS).await?;
        let wire = PostgresWire::in_front_of(pipeline.postgres.port()).await?;
        let mut settings = pipeline.settings("zombie").soon_given_up();
        settings.database = Postgres::url_by_way_of(wire.port());
        settings.connections = 1;
        let zombie = settings.start().await?;
        let mut counters = Counters::new(50);
        counters.append(&pipeline, 500).await?;
        counters.are_exact(&pipeline, &[&zombie]).await?;
        Ok(Self { pipeline, wire, counters, zombie })
    }

    /// Freezes the worker at `point` of its next transaction.
    async fn freeze_at(&mut self, point: Point) -> Result<Hold> {
        let mut hold = self.wire.hold(point);
        self.counters.append(&self.pipeline, 500).await?;
        hold.reached(PATIENCE).await?;
        self.zombie.freeze()?;
        Ok(hold)
    }

    /// Another worker takes over and applies everything while the zombie stands still.
    async fn take_over(&mut self) -> Result<Worker> {
        let owner = self.pipeline.settings("owner").soon_given_up().start().await?;
        // The group is the owner's alone: the zombie's session is over.
        self.pipeline.settled(&[&owner]).await?;
        self.counters.append(&self.pipeline, 500).await?;
        self.counters.are_exact(&self.pipeline, &[&owner]).await?;
        Ok(owner)
    }

    /// The zombie wakes, finds its way back into the group, and nothing was counted twice.
    async fn wake(mut self, owner: Worker) -> Result<Worker> {
        self.zombie.thaw()?;
        let both = [&owner, &self.zombie];
        self.pipeline.settled(&both).await?;
        self.counters.append(&self.pipeline, 500).await?;
        self.counters.are_exact(&self.pipeline, &both).await?;
        Ok(self.zombie)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_zombie_that_was_idle_changes_nothing() -> Result<()> {
    let mut scene = Scene::set().await?;
    scene.zombie.freeze()?;
    let owner = scene.take_over().await?;
    scene.wake(owner).await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_zombie_that_was_about_to_begin_writes_nothing() -> Result<()> {
    let mut scene = Scene::set().await?;
    let hold = scene.freeze_at(Point::Begin).await?;
    let owner = scene.take_over().await?;
    // Now its BEGIN goes through, on a connection that is as good as ever.
    hold.release();
    let zombie = scene.wake(owner).await?;
    let fenced = zombie.metric("write_behind_consumer_fenced_total").await?;
    assert!(fenced >= Some(1.0), "the zombie never tried, so nothing was shown: {fenced:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_zombie_inside_its_transaction_neither_blocks_the_owner_nor_writes() -> Result<()> {
    let mut scene = Scene::set().await?;
    let hold = scene.freeze_at(Point::Insert(scene.pipeline.name.clone())).await?;
    // The insert arrives, so the database holds the zombie's locks and waits for its next word.
    hold.release();
    let owner = scene.take_over().await?;
    scene.wake(owner).await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_zombie_that_has_committed_unknowingly_does_not_write_again() -> Result<()> {
    let mut scene = Scene::set().await?;
    let hold = scene.freeze_at(Point::CommitAnswer(scene.pipeline.name.clone())).await?;
    let owner = scene.take_over().await?;
    hold.release();
    scene.wake(owner).await.map(drop)
}
