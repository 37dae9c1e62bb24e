//! What is known of a topic before a handle is made: asks Kafka for the partition count and for what
//! the sink group has committed.

use std::time::{Duration, Instant};

use write_behind_shared::{NextOffset, Partition};

use crate::error::BuildError;
use crate::persisted::Watcher;

/// How long before Kafka is asked again for what it did not answer.
const RETRY_INTERVAL: Duration = Duration::from_millis(100);

/// How many partitions the topic has, and what the group has committed of them. Asks again until
/// `timeout` is over, without blocking the runtime.
pub(crate) async fn ask(
    mut watcher: Watcher,
    timeout: Duration,
) -> Result<(Watcher, i32, Vec<(Partition, NextOffset)>), BuildError> {
    let started = Instant::now();
    loop {
        let left = timeout.saturating_sub(started.elapsed());
        let asked = tokio::task::spawn_blocking(move || {
            let answer = ask_once(&watcher, left);
            (watcher, answer)
        });
        let ended = |error: tokio::task::JoinError| BuildError::NoAnswer(error.to_string());
        let (asked_with, answer) = asked.await.map_err(ended)?;
        watcher = asked_with;
        match answer {
            Ok((partitions, committed)) => return Ok((watcher, partitions, committed)),
            // A group whose coordinator moves, or is made just now, answers a moment later.
            Err(BuildError::NoAnswer(_)) if started.elapsed() < timeout => {
                tokio::time::sleep(RETRY_INTERVAL).await;
            }
            Err(error) => return Err(error),
        }
    }
}

fn ask_once(
    watcher: &Watcher,
    timeout: Duration,
) -> Result<(i32, Vec<(Partition, NextOffset)>), BuildError> {
    let partitions = watcher.partitions(timeout)?;
    let all: Vec<Partition> = (0..partitions).map(Partition).collect();
    let committed = watcher.committed(&all, timeout);
    let committed = committed.map_err(|error| BuildError::NoAnswer(error.to_string()))?;
    Ok((partitions, committed))
}
