//! A write-behind cache: writes are visible at once, replicated by Kafka within milliseconds, and
//! in the database later, exactly once.
//!
//! A service that writes faster than its database puts [`WriteBehind`] in between. A write changes
//! what reads see, is enqueued to Kafka under its row's key, and returns. The `write-behind`
//! consumer folds the log into rows and applies them in large transactions; as it commits its
//! offsets, what is pending here shrinks.
//!
//! ```text
//!  put, update, add, delete                                   get
//!        │                                                     │
//!        ▼          one lock per partition                     ▼
//!  ┌───────────┐  ticket  ┌──────────┐   hit    ┌────────────────────────────┐
//!  │ encode,   │ ───────▶ │ pending  │ ◀─────── │ pending → clean → loader   │
//!  │ admission │  enqueue │ (a lane) │          └────────────────────────────┘
//!  └───────────┘     │    └──────────┘                  ▲          ▲
//!                    ▼       ▲     │ persisted          │          │
//!                  Kafka ────┘     └──────────▶ clean copies (moka)│
//!                    │   acks, committed offsets                   │
//!                    └───────▶ consumer ───────▶ database ─────────┘
//! ```
//!
//! # Example
//!
//! ```no_run
//! use std::time::Duration;
//! use write_behind_producer::{Change, WhenFull, WriteBehind};
//!
//! #[derive(serde::Serialize, serde::Deserialize)]
//! struct Score { name: String, points: i64, visits: i64 }
//!
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let scores = WriteBehind::<u64, Score>::builder("scores", [("bootstrap.servers", "kafka:9092")])
//!     .sink_group("scores")                          // whose committed offsets mean "in the database"
//!     .max_pending(512 << 20, WhenFull::Wait)
//!     .loader(|id: u64| async move { find(id).await })   // read-through
//!     .build()
//!     .await?;
//!
//! let write = scores.put(&7, &Score { name: "ada".into(), points: 1, visits: 0 }).await?;
//! scores.add(&7, "points", 10).await?;
//! scores.change(&7, Change::new().set("name", &"Ada")?.add("visits", 1)).await?;
//! assert_eq!(scores.get(&7).await?.map(|score| score.points), Some(11));
//!
//! write.replicated().await?;                         // on all in-sync replicas
//! scores.flush().await?;                             // all of it is in the database
//! scores.close(Duration::from_secs(10)).await?;
//! # Ok(())
//! # }
//! # async fn find(_: u64) -> Result<Option<Score>, std::io::Error> { Ok(None) }
//! ```
//!
//! # How durable is a write?
//!
//! | wait for | survives | takes | use it for |
//! |---|---|---|---|
//! | nothing: `put(..).await?` | nothing yet; sent within milliseconds | microseconds | counters, presence, what the next write replaces |
//! | [`Write::replicated`] | a crash of this process, of the consumer, of the database, and of brokers while an in-sync replica lives | milliseconds | before telling a user "saved" |
//! | [`Write::persisted`] | the same, and others find it in the database | as far as the database lags | before a query that must see it |
//!
//! Waiting costs no memory per write, can be cancelled without unsending, and ends in a typed
//! outcome: [`DeliveryError::Unknown`] is one, for Kafka's answers can be lost.
//!
//! # What is promised
//!
//! - Reads never go back: `get` returns a value at least as new as this process's last accepted
//!   write of that row, whatever was evicted and however late the database is.
//! - What is read, the order of the log, and the order of `write-id`s are one: they are decided
//!   under one lock.
//! - A write that was refused changed nothing. One that failed later brings back what reads saw
//!   before; its [`Write`] says so.
//! - An increment counts once, in the database and in what is read here, if the loader gives the
//!   partition's offset ([`Loaded::at`]).
//! - What is pending is bounded by [`Builder::max_pending`] and never evicted; clean copies are
//!   bounded in number by [`Builder::capacity`], librdkafka's queue by its own settings. A row that
//!   is written again and again takes the room of one.
//!
//! # Limits
//!
//! - Reads are up to date with this process's writes. Another process's show up after they are in
//!   the database and the clean copy here is gone: set [`Builder::time_to_live`].
//! - A restart forgets what was pending: until the consumer has caught up, the loader finds older
//!   rows than were read before.
//! - [`WriteBehind::put`] replaces what is read by the whole of `V`, while the record writes exactly
//!   the columns that `V` was serialised with. Leave none out (`skip_serializing_if`); to write
//!   some columns, use [`WriteBehind::update`].
//! - No column may be named twice by `V` (two flattened structs can do that): such a record becomes
//!   a dead letter.
//! - If a client error is fatal or the topic's partition count changes, [`WriteBehind::halted`] says
//!   so and writes are refused: build a new handle.
//!
//! # Metrics
//!
//! See [`Builder::metrics`]; every metric carries the label `topic`.

mod write_behind;
mod builder;
mod encode;
mod accept;
mod admission;
mod ledger;
mod delta;
mod queue;
mod settled;
mod found;
mod entry;
mod due;
mod pending;
mod clean;
mod forgotten;
mod tailed;
mod refused;
mod handing;
mod lane;
mod lanes;
mod publish;
mod client;
mod persisted;
mod dead_letters;
mod read;
mod load;
mod write;
mod event;
mod metrics;
mod error;

pub use admission::WhenFull;
pub use builder::Builder;
pub use client::Kafka;
pub use error::{
    BuildError, DeliveryError, Full, Halt, LoadError, PutThroughError, ReadError, Refusal,
    Undelivered, WriteError,
};
pub use event::{Event, EventStream};
#[cfg(feature = "postgres")]
pub use load::PostgresLoader;
#[cfg(feature = "sqlite")]
pub use load::SqliteLoader;
pub use load::{DeadLetter, Loaded, Loader, LogRange, Source};
pub use write::Write;
pub use write_behind::{Read, WriteBehind};
pub use write_behind_shared::{Change, NextOffset, Number, Offset, Partition, WriteId};
