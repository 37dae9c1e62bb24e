//! What must be known of a topic before a handle is made: its partition count, and what the sink
//! group has committed.

use std::time::{Duration, Instant};

use write_behind_shared::{NextOffset, Partition};

use crate::error::BuildError;
use crate::kafka::group_offsets::GroupOffsets;

/// How long before Kafka is asked again for what it did not answer.
const RETRY_INTERVAL: Duration = Duration::from_millis(100);

/// What is known of a topic before a handle is made.
pub(crate) struct Topic {
    pub(crate) partitions: i32,
    /// What the sink group has committed, of the partitions where it has.
    pub(crate) committed: Vec<(Partition, NextOffset)>,
    /// The cluster's id, if it was asked for.
    pub(crate) cluster: Option<String>,
}

/// Asks about the topic again and again until `timeout` is over, without blocking the runtime.
pub(crate) async fn ask(
    mut group_offsets: GroupOffsets,
    timeout: Duration,
    cluster_too: bool,
) -> Result<(GroupOffsets, Topic), BuildError> {
    let started = Instant::now();
    loop {
        let left = timeout.saturating_sub(started.elapsed());
        let asked = tokio::task::spawn_blocking(move || {
            let answer = ask_once(&group_offsets, left, cluster_too);
            (group_offsets, answer)
        });
        let ended = |error: tokio::task::JoinError| BuildError::NoAnswer(error.to_string());
        let (asked_with, answer) = asked.await.map_err(ended)?;
        group_offsets = asked_with;
        match answer {
            Ok(topic) => return Ok((group_offsets, topic)),
            // A group whose coordinator moves, or is made just now, answers a moment later.
            Err(BuildError::NoAnswer(_)) if started.elapsed() < timeout => {
                tokio::time::sleep(RETRY_INTERVAL).await;
            }
            Err(error) => return Err(error),
        }
    }
}

fn ask_once(
    group_offsets: &GroupOffsets,
    timeout: Duration,
    cluster_too: bool,
) -> Result<Topic, BuildError> {
    let partitions = group_offsets.partitions_within(timeout)?;
    let all: Vec<Partition> = (0..partitions).map(Partition).collect();
    let committed = group_offsets.committed_within(timeout, &all);
    let committed = committed.map_err(|error| BuildError::NoAnswer(error.to_string()))?;
    let cluster = cluster_too.then(|| group_offsets.cluster_id(timeout)).transpose()?;
    Ok(Topic { partitions, committed, cluster })
}
