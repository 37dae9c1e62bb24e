//! The consumer, run inside the demo's process: the same code as the `write-behind` binary.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use write_behind_consumer::config::Config;
use write_behind_consumer::run::{Consumer, Drained, RunError, RunOptions};
use write_behind_consumer::status::Status;

use crate::report::Consumed;
use crate::stack::Stack;

/// A running consumer.
pub(crate) struct Worker {
    task: JoinHandle<Result<Drained, RunError>>,
    stop: oneshot::Sender<()>,
    status: Arc<Status>,
    registry: prometheus::Registry,
    partitions: usize,
}

/// How often an outcome is looked for.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// The configuration of the pipeline `name`.
pub(crate) fn configure(stack: &Stack, name: &str, rows_per_second: u32) -> Result<Config> {
    let config = format!(
        "name = {name:?}\n\
         [kafka]\n\"bootstrap.servers\" = {:?}\n\
         [database]\nurl = {:?}\nrows_per_second = {rows_per_second}\n\
         [[route]]\ntopic = {name:?}\n\
         [http]\nlisten = \"off\"\n",
        stack.bootstrap, stack.database
    );
    Config::read(&config, &BTreeMap::new()).context("the consumer's settings")
}

impl Worker {
    /// Starts it.
    pub(crate) fn start(config: Config, stack: &Stack) -> Result<Self> {
        let options = RunOptions::default();
        let registry = options.registry.clone();
        let consumer = Consumer::new(config, options)?;
        let status = consumer.status();
        let (stop, stopped) = oneshot::channel::<()>();
        let task = tokio::spawn(consumer.run(async {
            // Also when the sender is dropped: then nobody is left to run for.
            let _ = stopped.await;
        }));
        let partitions = usize::try_from(stack.partitions)?;
        Ok(Self { task, stop, status, registry, partitions })
    }

    /// Its numbers.
    pub(crate) fn status(&self) -> Arc<Status> {
        Arc::clone(&self.status)
    }

    /// Waits until it has what an earlier run left in the log.
    pub(crate) async fn caught_up(&mut self) -> Result<()> {
        while !self.has_caught_up() {
            let look_again = async {
                tokio::time::sleep(LOOK_EVERY).await;
                Ok(())
            };
            self.meanwhile(look_again).await?;
        }
        Ok(())
    }

    /// Whether it reads every partition, and the database has all that is in them.
    fn has_caught_up(&self) -> bool {
        let snapshot = self.status.snapshot();
        let reading =
            snapshot.progress.partitions.iter().filter(|partition| partition.reading).count();
        reading == self.partitions && snapshot.lag == Some(0) && self.status.unreadiness().is_none()
    }

    /// Waits for `work`, unless the consumer ends before: then there is nothing to wait for.
    pub(crate) async fn meanwhile<T>(
        &mut self,
        work: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        tokio::select! {
            biased;
            done = work => done,
            ended = &mut self.task => match ended? {
                Ok(_) => bail!("the consumer ended early"),
                Err(error) => Err(error).context("the consumer stopped"),
            },
        }
    }

    /// Lets it write what it holds, and ends it. `until_drained`: how long the whole replay took.
    pub(crate) async fn drain(mut self, until_drained: Duration) -> Result<Consumed> {
        // It can only have ended already, which awaiting it will tell.
        let _ = self.stop.send(());
        let drained = (&mut self.task).await?.context("the consumer stopped")?;
        if !drained.clean {
            bail!("the consumer could not write all it had read");
        }
        let counts = self.status.snapshot().counts;
        let dead_letters = counter(&self.registry, "write_behind_consumer_dead_letters_total");
        Ok(Consumed { rows: counts.rows, batches: counts.batches, dead_letters, until_drained })
    }
}

fn counter(registry: &prometheus::Registry, name: &str) -> u64 {
    let families = registry.gather();
    let family = families.iter().find(|family| family.name() == name);
    family
        .and_then(|family| family.get_metric().first())
        .map_or(0, |m| m.get_counter().get_value() as u64)
}
