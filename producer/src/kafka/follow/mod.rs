//! Following the log: what anybody writes to the topic shows up here.
//!
//! A client that never joins the sink group reads every partition from the group's committed offset
//! on. A handle is built when it has read what was in the log by then, so that a restarted service
//! reads what it wrote before, though the database may not have it yet; from then on it reads what
//! others write as soon as it is replicated.
//!
//! A tail that does not keep up is never taken for one that does: another thread asks where the log
//! ends, and what was not read two seconds later makes [`Tail::may_be_behind`] true.

pub(crate) mod client;
pub(crate) mod run;
mod start;
pub(crate) mod source;

use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::Builder;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use tracing::debug;

use crate::core::decode::Decoder;
use crate::error::BuildError;
use crate::kafka::follow::run::{Follower, TailReader};
use crate::kafka::follow::source::TailSource;
use crate::partitions::tail::Tail;

/// Stops following when it is dropped.
#[derive(Debug)]
pub(crate) struct Following {
    #[expect(dead_code, reason = "dropping them is the signal")]
    signals: [Sender<()>; 2],
}

/// Resolves when all that was in the log at the start is read.
pub(crate) type CaughtUp = oneshot::Receiver<Result<(), BuildError>>;

/// How often it is asked where the log ends. What is not read four asks later is behind.
const ENDS_INTERVAL: Duration = Duration::from_millis(500);

/// Reads on threads of its own, until the [`Following`] is dropped; the source goes with them.
/// [`CaughtUp`] resolves when what is in the log now is read.
pub(crate) fn follow_on_threads(
    source: impl TailSource + 'static,
    follower: Follower,
) -> Result<(Arc<Tail>, Following, CaughtUp), BuildError> {
    let (stop_reading, reading_stopped) = channel();
    let (stop_asking, asking_stopped) = channel::<()>();
    let (told, caught_up) = oneshot::channel();
    let partitions = source.partition_count();
    let version = follower.version.clone();
    let decoder = Decoder { columns: follower.columns, version, partitions };
    let tail = Arc::new(Tail::new(partitions));
    let reading = Arc::new((source, Arc::clone(&tail)));
    let asking = Arc::clone(&reading);
    Builder::new().name("write-behind-follow".to_owned()).spawn(move || {
        let (source, tail) = &*reading;
        let _ended = Ended(tail);
        let reader = TailReader::new((source, tail), follower, decoder, Instant::now());
        reader.run(told, &reading_stopped);
    })?;
    Builder::new().name("write-behind-log-end".to_owned()).spawn(move || {
        let (source, tail) = &*asking;
        while asking_stopped.recv_timeout(ENDS_INTERVAL) == Err(RecvTimeoutError::Timeout) {
            match source.ends() {
                Ok(ends) => tail.put_ends(ends),
                Err(error) => {
                    debug!(%error, topic = source.topic(), "nobody says where the log ends");
                }
            }
        }
    })?;
    Ok((tail, Following { signals: [stop_reading, stop_asking] }, caught_up))
}

/// Says that nothing is read any more, however the thread ends.
struct Ended<'t>(&'t Tail);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.0.end();
    }
}

#[cfg(test)]
mod tests {
    use std::thread::park_timeout;

    use prometheus::Registry;
    use rdkafka::mocking::MockCluster;
    use write_behind_shared::NextOffset;
    use write_behind_shared::kafka::KafkaSettings;

    use super::*;
    use crate::core::columns::Columns;
    use crate::kafka::follow::client::TailClient;
    use crate::metrics::Metrics;
    use crate::partitions::setup::setup;
    use crate::partitions::{Partitions, Setup};

    fn follow(bootstrap: &str) -> (Arc<Tail>, Following, CaughtUp) {
        let settings = KafkaSettings::new([("bootstrap.servers", bootstrap)], &[]).unwrap();
        let client = TailClient::new(&settings.into(), "sink", "scores", 1).unwrap();
        let partitions = Partitions::new(Setup { follows: true, ..setup() });
        let follower = Follower {
            partitions: Arc::new(partitions),
            metrics: Arc::new(Metrics::new(&Registry::new(), "scores").unwrap().0),
            columns: Columns::of::<()>(),
            version: None,
            start_timeout: Duration::from_mins(1),
        };
        follow_on_threads(client, follower).unwrap()
    }

    /// The client holds it, and the threads hold the client.
    fn until_nobody_else_has(tail: &Arc<Tail>) {
        let start = Instant::now();
        while Arc::strong_count(tail) > 1 {
            assert!(start.elapsed() < Duration::from_secs(20), "its threads have not ended");
            park_timeout(Duration::from_millis(5));
        }
    }

    #[test]
    fn a_tail_that_nobody_wants_ends_its_threads_and_vouches_for_nothing() {
        let cluster = MockCluster::new(1).unwrap();
        cluster.create_topic("scores", 1, 1).unwrap();
        let (tail, following, caught_up) = follow(&cluster.bootstrap_servers());
        caught_up.blocking_recv().unwrap().unwrap();
        assert!(tail.is_current());
        drop(following);
        until_nobody_else_has(&tail);
        assert!(!tail.is_current());
    }

    /// It showed within seconds, by the end of the process, on a machine whose cores were all busy.
    #[test]
    fn a_log_that_is_read_again_and_again_does_not_end_the_process() {
        let partitions = 16;
        let cluster = MockCluster::new(1).unwrap();
        cluster.create_topic("scores", partitions, 1).unwrap();
        let servers = cluster.bootstrap_servers();
        let settings = KafkaSettings::new([("bootstrap.servers", servers)], &[]).unwrap();
        let client = TailClient::new(&settings.into(), "sink", "scores", partitions).unwrap();
        for _ in 0..500 {
            client.assign(&vec![NextOffset::ZERO; partitions as usize]).unwrap();
        }
    }

    #[test]
    fn a_tail_that_is_given_up_while_kafka_is_silent_ends_too() {
        let (tail, following, caught_up) = follow("127.0.0.1:1");
        assert!(!tail.is_current());
        drop((following, caught_up));
        until_nobody_else_has(&tail);
    }
}
