//! A Kafka and a database inside the process, so that a service's tests need neither.
//!
//! [`Broker`] is a broker on a port of this machine (librdkafka's mock cluster: real clients speak
//! the real protocol to it). [`Sink`] stands for the `write-behind` consumer and its database: it
//! folds the log into a table in memory by the consumer's own rules, drops duplicates by their
//! `write-id`, and commits its offsets afterwards, so that `persisted()` and `persisted_all()` resolve.
//! Nothing is applied before the test says so: a database that is late is a test that waits.
//!
//! ```
//! use serde_json::json;
//! use write_behind_producer::{WriteBehind, testing};
//!
//! # #[derive(serde::Serialize, serde::Deserialize)]
//! # struct Score { points: i64 }
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let kafka = testing::Broker::start()?.topic("scores", 4)?;
//! let sink = kafka.sink("scores", "score-writer")?;
//! let scores = WriteBehind::<u64, Score>::builder("scores", kafka.properties())
//!     .sink_group("score-writer")
//!     .loader(sink.loader())
//!     .build()
//!     .await?;
//!
//! scores.put(&7, &Score { points: 1 }).await?;
//! scores.add(&7, "points", 10).await?;
//! assert_eq!(scores.get(&7).await?.map(|score| score.points), Some(11), "visible at once");
//! assert_eq!(sink.row(&7)?, None, "and not in the database yet");
//!
//! scores.replicated_all().await?;
//! sink.apply_all()?;
//! scores.persisted_all().await?;
//! assert_eq!(sink.row(&7)?, Some(json!({"points": 11})));
//! # Ok(())
//! # }
//! ```
//!
//! The methods here are not `async`: they block for some milliseconds, and nothing that they wait
//! for needs the runtime, so they do in a `#[tokio::test]` as in a plain one. Each test should
//! start a broker of its own; that, too, takes milliseconds.
//!
//! # What it is not
//! The broker keeps about 5 MB a partition and nothing on disk, and knows no access rights and no
//! quotas. The sink knows no column types: it sets aside what the consumer's decoder refuses, and
//! an increment of what is no number, not what a real table would refuse besides.

mod sink;
mod log;
mod broker;
mod table;
mod error;

pub use broker::Broker;
pub use error::TestingError;
pub use log::Record;
pub use sink::{Applying, Sink, SinkLoader};
