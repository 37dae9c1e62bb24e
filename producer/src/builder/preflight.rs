//! What must be known of a topic before a handle is made: its partition count, and what the sink
//! group has committed.

use std::thread::{Builder, sleep};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use write_behind_shared::{NextOffset, Partition};

use crate::error::BuildError;
use crate::kafka::group_offsets::GroupOffsets;
use crate::kafka::offsets::NoAnswer;

/// How long before Kafka is asked again for what it did not answer.
const RETRY_INTERVAL: Duration = Duration::from_millis(100);
/// For how long Kafka is asked again for a topic that a broker does not know: one that was created a
/// moment ago is not known to all brokers yet.
const TOPIC_SPREADS_WITHIN: Duration = Duration::from_secs(1);

/// What is known of a topic before a handle is made.
pub(crate) struct Topic {
    pub(crate) partitions: i32,
    /// What the sink group has committed, of the partitions where it has.
    pub(crate) committed: Vec<(Partition, NextOffset)>,
    /// The cluster's id, if it was asked for.
    pub(crate) cluster: Option<String>,
    /// How many replicas the partition with the fewest has, if that was told.
    pub(crate) replicas: Option<usize>,
    /// Whether Kafka said so.
    pub(crate) is_online: bool,
}

impl Topic {
    /// What a handle goes by until Kafka answers.
    pub(super) fn taken_for_granted(partitions: i32) -> Self {
        Self { partitions, committed: Vec::new(), cluster: None, replicas: None, is_online: false }
    }
}

/// Asks about the topic again and again until `deadline`, on a thread of its own: a question blocks,
/// and a runtime that ends must not wait for it.
pub(crate) async fn ask(
    group_offsets: GroupOffsets,
    deadline: Instant,
    cluster_too: bool,
) -> Result<(GroupOffsets, Topic), BuildError> {
    let (tell, answer) = oneshot::channel();
    Builder::new().name("write-behind-ask".to_owned()).spawn(move || {
        let start = Instant::now();
        let answer = loop {
            let answer = ask_once(&group_offsets, deadline, cluster_too);
            let until = match &answer {
                // A group whose coordinator moves, or is made just now, answers a moment later.
                Err(BuildError::NoAnswer(_)) => deadline,
                Err(BuildError::NoTopic(_)) => deadline.min(start + TOPIC_SPREADS_WITHIN),
                _ => break answer,
            };
            if Instant::now() >= until || tell.is_closed() {
                break answer;
            }
            sleep(RETRY_INTERVAL);
        };
        // Nobody waits any more when the building was given up.
        let _ = tell.send(answer.map(|topic| (group_offsets, topic)));
    })?;
    answer.await.map_err(|error| BuildError::NoAnswer(error.to_string().into()))?
}

fn ask_once(
    group_offsets: &GroupOffsets,
    deadline: Instant,
    cluster_too: bool,
) -> Result<Topic, BuildError> {
    // Each question has what the ones before it have left.
    let left = || deadline.saturating_duration_since(Instant::now());
    let partitions = group_offsets.partitions_within(left())?;
    let all: Vec<Partition> = (0..partitions).map(Partition).collect();
    let committed = group_offsets.committed_within(left(), &all);
    let committed = committed.map_err(|NoAnswer(reason)| BuildError::NoAnswer(reason))?;
    let cluster = cluster_too.then(|| group_offsets.cluster_id(left())).transpose()?;
    let replicas = group_offsets.replicas_within(left());
    Ok(Topic { partitions, committed, cluster, replicas, is_online: true })
}
