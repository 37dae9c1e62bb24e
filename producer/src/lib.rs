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
//!  ┌───────────┐ sequence ┌──────────┐   hit    ┌────────────────────────────┐
//!  │ encode,   │ ───────▶ │ pending  │ ◀─────── │ pending → cache → loader   │
//!  │ admission │  enqueue │          │          └────────────────────────────┘
//!  └───────────┘     │    └──────────┘                  ▲          ▲
//!                    ▼       ▲     │ persisted          │          │
//!                  Kafka ────┘     └──────────▶ cached rows (moka) │
//!                    │   acks, committed offsets                   │
//!                    └───────▶ consumer ───────▶ database ─────────┘
//! ```
//!
//! Everything rests on one idea: **the state of a row = the database at some offset, plus the log
//! from there on.** What is pending here is the end of that log.
//!
//! # Example
//!
//! It runs as it stands: [`testing`](#testing) gives a broker and a database inside the process.
//!
#![cfg_attr(feature = "testing", doc = "```")]
#![cfg_attr(not(feature = "testing"), doc = "```ignore")]
//! use std::time::Duration;
//! use write_behind_producer::{Change, WhenFull, WriteBehind, testing};
//!
//! #[derive(serde::Serialize, serde::Deserialize)]
//! struct Score { name: String, points: i64, visits: i64 }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let kafka = testing::Broker::start()?.topic("scores", 4)?;
//! let database = kafka.sink("scores", "score-writer")?;  // stands for the consumer and its tables
//!
//! let scores = WriteBehind::<u64, Score>::builder("scores", kafka.properties())
//!     .sink_group("score-writer")                    // whose committed offsets mean "in the database"
//!     .loader(database.loader())                     // where rows are found that are not cached here
//!     .max_pending(512 << 20, WhenFull::Wait)
//!     .build()
//!     .await?;
//!
//! let write = scores.put(&7, &Score { name: "ada".into(), points: 1, visits: 0 }).await?;
//! scores.add(&7, "points", 10).await?;
//! scores.change(&7, Change::new().set("name", &"Ada")?.add("visits", 1)).await?;
//! assert_eq!(scores.get(&7).await?.map(|score| score.points), Some(11));
//!
//! write.replicated().await?;                         // on all in-sync replicas
//! # scores.replicated_all().await?;
//! database.apply_all()?;                             // what the consumer does by itself
//! scores.persisted_all().await?;                     // all of it is in the database
//! scores.close(Duration::from_secs(10)).await?;
//! # Ok(())
//! # }
//! ```
//!
//! `examples/` holds two services that can be run at once, a leaderboard and a page-view counter, and one
//! before Kafka, Postgres and the consumer, `wallets`.
//!
//! # How durable is a write?
//!
//! | wait for | survives | takes | use it for |
//! |---|---|---|---|
//! | nothing: `put(..).await?` | nothing yet: it leaves within milliseconds, and a crash of this process before that loses it | microseconds | counters, presence, what the next write replaces |
//! | `Receipt::recorded`, with a journal (feature `journal`) | a crash of this process, and of this machine unless that was set otherwise; not the loss of its disk | a write to the disk and its `fdatasync`, shared by all that wait | "saved" while Kafka may be away |
//! | [`Receipt::replicated`] | a crash of this process, of the consumer, of the database, and of brokers while an in-sync replica lives | a round trip to Kafka, and `linger.ms` (5 unless set) | before telling a user "saved" |
//! | [`Receipt::persisted`], [`WriteBehind::put_and_persist`] | the same, and others find it in the database | as far as the database lags | before a query that must see it; rarely |
//!
//! With a journal (`Builder::journal`), what Kafka does not have when the process ends is found in a
//! local directory by the next one, which sends it; `docs/journal.md` says what that survives.
//!
//! Waiting costs no memory per write and can be given up ([`Receipt::replicated_within`],
//! [`Receipt::persisted_within`], `select!`) without unsending. All writes of a handle at once:
//! [`WriteBehind::replicated_all`], [`WriteBehind::persisted_all`], which is also called
//! [`WriteBehind::flush`]. It ends in a typed outcome, and [`DeliveryError::Unknown`] is one:
//! Kafka's answer can be lost though the write is not.
//!
//! # When there is no room
//!
//! What is not in the database yet takes memory, and [`Builder::max_pending`] says how much. While
//! the consumer keeps up, that is never reached. When the database is slow for long, it is, and
//! somebody has to give way:
//!
//! | [`WhenFull`] | a write beyond the limit | reads | choose it when |
//! |---|---|---|---|
//! | `Wait` (unless set) | waits for room, in the order of asking | exact | callers may be slowed down to what the database takes: batch jobs, queue workers |
//! | `Reject` | is told [`WriteError::Overloaded`] | exact | callers have somebody to pass it on to: a 429 over HTTP |
//! | `ForgetRows` | goes on for as long as Kafka takes writes, for hours without the database | of a forgotten row: may be behind, and say so | writes must not stop: telemetry, counters, presence |
//!
//! `ForgetRows` loses nothing: it drops from memory what is replicated, oldest first, and counts it
//! (`forgotten_total`). What Kafka has not answered is never dropped, so with Kafka away as well,
//! writers wait. The `try_` forms of single writes never wait, whatever is set, and
//! [`Builder::write_timeout`] bounds the wait of all others.
//!
//! # What does a read see?
//!
//! A read looks at what is pending, then at the cached rows (moka), then asks the loader, once
//! however many readers wait for that row. What the loader finds never replaces a newer write.
//!
//! - [`WriteBehind::get`] never returns a value older than this process's last accepted write of the
//!   row. Where it cannot promise that, it returns [`ReadError::MayBeBehind`].
//! - [`WriteBehind::read`] returns the row as new as is known, and [`Known::may_be_behind`] beside it:
//!   for a page that rather shows an old score than none.
//! - Increments over a row that is only in the database are added to what the loader finds. A loader
//!   that gives the partition's next offset in the same snapshot ([`Loaded::at`]) makes that exact:
//!   nothing that the database holds already is added again: `PostgresLoader::table`,
//!   `MySqlLoader::table` and `SqliteLoader::table` (features `postgres`, `mysql`, `sqlite`) do. A closure cannot, so that its answer
//!   may count a pending increment twice, and is not cached.
//! - [`WriteBehind::peek`] looks at what is in memory, without waiting and without a load;
//!   [`WriteBehind::contains`] tells whether there is such a row.
//! - [`WriteBehind::get_many`] asks the loader once for all rows that are not known here;
//!   [`WriteBehind::refresh`] and [`WriteBehind::invalidate`] are for rows that others change in the
//!   database. What is kept, and for how long: [`Builder::capacity`], [`Builder::capacity_bytes`],
//!   [`Builder::time_to_live`], [`Builder::time_to_idle`], [`Builder::cache_misses`],
//!   [`Builder::cache_writes`].
//!
//! # A row that depends on what it was
//!
//! | call | tasks of this process that use the handle | several processes |
//! |---|---|---|
//! | [`WriteBehind::add`], [`WriteBehind::change`] | every increment counts once | the same |
//! | [`WriteBehind::modify`], [`WriteBehind::put_if_absent`], [`WriteBehind::get_or_put_with`] | no update is lost: compared when it is written, tried again if it is another | a row must have one writer, or the route a `version` |
//! | `get`, then `put` | the later one wins, what came in between is lost | the same |
//!
//! Several rows change together only in one record, so only as one row: their partitions know
//! nothing of each other. What must be one transaction belongs into one row, or into an outbox that
//! the database fills. Many rows that need not be one: [`WriteBehind::put_many`] and its kin.
//!
//! # Which Rust type for which column?
//!
//! What serde writes must fit the column: `docs/rust-types.md` has a line for each type, with the
//! attribute that it needs (`time`, bytes, enums). Decimals keep their digits with [`exact`].
//!
//! # Several processes, and restarts
//!
//! Alone, a handle knows what it wrote itself. With [`Builder::follow`] it reads the topic too:
//!
//! - Before [`Builder::build`] returns it has read everything from the sink group's committed offset
//!   to the end of the log, so that a restarted service reads what it wrote before, though the
//!   database does not have it yet.
//! - Afterwards the writes of other instances and of any other Kafka client show up here as soon as
//!   they are replicated.
//!
//! [`WriteBehind::tail_is_current`] and [`Known::may_be_behind`] say when it falls behind. It costs
//! the network and memory of every record of the topic that is not in the database yet; what finds
//! no room is dropped, and reads of such a row say so.
//!
//! # Many writes of one row
//!
//! [`Builder::coalesce`] gathers the writes of a row for a while and sends them as one record, by the
//! same fold that the consumer uses: 10,000 increments of a counter become a handful of records.
//! Each write is visible at once, and each [`Receipt`] resolves. It costs the window in latency to
//! `replicated()`, and loosens the order between different rows by as much; that of one row stays.
//!
//! # A write that is urgent
//!
//! [`WriteBehind::with_priority`] makes a clone of the handle whose writes do not wait in a window
//! or for `linger.ms`, and whose partitions the consumer writes ahead of others.
//!
//! # What goes wrong, and where it is told
//!
//! | what | told by | reads | what to do |
//! |---|---|---|---|
//! | a value that cannot be written (NUL, NaN, too large, no object, no such column in the loader's table) | [`WriteError::Refused`] | unchanged | mend the value |
//! | no room | [`WriteError::Overloaded`] | unchanged | wait, or pass it on |
//! | Kafka is away | nothing: writes go on up to the limits; [`Event::Lagging`] | exact | wait |
//! | Kafka refuses the record | [`DeliveryError::Failed`], [`Event::WriteLost`] | as before the write | mend topic or rights |
//! | the answer of Kafka is lost for good | [`DeliveryError::Unknown`] | see the write | read it back later |
//! | the Kafka client gives up | [`Event::ClientFailed`], then [`Event::Recovered`] | exact | nothing: it is replaced, and what was unanswered is sent again under its old ids |
//! | the database refuses the row | [`DeliveryError::DeadLetter`], [`Event::DeadLetter`], if the loader knows of dead letters | no longer see it | mend the row or the table |
//! | records are gone from the log before they were followed | [`Event::LogLost`] | of that partition: may be behind | a longer retention |
//! | the topic got more partitions | [`WriteError::Halted`], [`WriteBehind::halted`] | exact | end every writer, `write-behind hand-over go-on`, start them again |
//!
//! [`WriteBehind::events`] tells what nobody was waiting for.
//!
//! # Ending
//!
//! [`WriteBehind::close`] takes no more writes, waits until all are replicated, and names the rows
//! of those that were not, and the first loss that no call has told of ([`Undelivered`]). What is
//! replicated needs this process no more. A handle that is dropped without it warns, and loses what
//! Kafka does not have, unless a journal has it.
//!
//! # What is promised
//!
//! - Reads never go back: `get` returns a value at least as new as this process's last accepted
//!   write of that row, whatever was evicted and however late the database is; or an error.
//! - What is read, the order of the log, and the order of `write-id`s are one: they are decided
//!   under one lock.
//! - A write that was refused changed nothing. One that failed later brings back what reads saw
//!   before; its [`Receipt`] says so.
//! - An increment counts once in the database, however often Kafka or this crate had to send it: its
//!   `write-id` lets the consumer drop the second. It counts once in what is read here if the loader
//!   gives the partition's offset.
//! - What is pending is bounded and, unless `ForgetRows` was asked for, never dropped; cached rows are
//!   bounded by [`Builder::capacity`], librdkafka's queue by its own settings. A row that is written
//!   again and again takes the room of one.
//!
//! # Limits
//!
//! - Without [`Builder::follow`], reads are up to date with this process's writes only. Another
//!   process's show up after they are in the database and the cached row here is gone: set
//!   [`Builder::time_to_live`]. A row is cached as it was written here; where the table may make
//!   another one of it (rounded numbers, triggers), switch [`Builder::cache_writes`] off; and name
//!   the column of a route with `version` ([`Builder::version`]). And a restart forgets what was pending: until the consumer has
//!   caught up, the loader finds older rows than were read before.
//! - [`WriteBehind::put`] replaces what is read by the whole of `V`, while the record writes exactly
//!   the columns that `V` was serialised with. Leave none out (`skip_serializing_if`); to write
//!   some columns, use [`WriteBehind::update`].
//! - No column may be named twice by `V` (two flattened structs can do that): such a record becomes
//!   a dead letter.
//! - With a loader, increments of a row that was never read are kept one by one until they are in
//!   the database, so that a load can tell which of them it holds; they take the room of as many
//!   writes. Read a hot counter once, and from then on they take the room of one.
//! - A broker that answers nothing though its connection stands holds its partitions up for
//!   librdkafka's `socket.timeout.ms`, a minute unless set: set it lower where that is too long.
//! - What is not in the database is only in the log: the topic's retention must be longer than the
//!   longest outage.
//!
//! # Runtime, and what may be called from where
//!
//! Kafka has threads of its own, so nothing stands still when a runtime is busy or gone.
//!
//! | call | needs | blocks its thread |
//! |---|---|---|
//! | [`Builder::build`] | a tokio runtime, of one thread or many, with time enabled; without one [`BuildError::NoRuntime`] | no |
//! | `put`, `modify` and all that write, receipts, `…_all`, `…_within`, `close`, `events` | any executor, tokio or not, and any thread | no; they wait for room, Kafka or the database as they say |
//! | [`get`](WriteBehind::get) and all that may load | the same; the load is a task on the tokio runtime of its reader, else on that of `build`, which must still run | no |
//! | the `try_` forms, `peek`, `invalidate`, `stats`, `halted`, dropping a handle | nothing: also a `Drop`, a thread of rayon, a log layer | for a lock that is held for microseconds |
//!
//! - On a runtime of one thread (`current_thread`), a load goes on only while something is awaited there.
//! - A pool of `sqlx` belongs to the runtime that it was made on. Where each test has a runtime of its
//!   own, make pool and handle in each.
//! - Code of yours that this crate calls ([`Serialize`](serde::Serialize) of keys and rows, the closure of
//!   [`modify`](WriteBehind::modify), [`Builder::headers`], loaders, what keeps the log) runs under no lock
//!   and may call the handle. Only a loader must not wait for the very row that it is to load.
//! - A panic in such code goes to its caller, and the handle goes on. A crate built with `panic = "abort"`
//!   ends, of course.
//! - After `fork` without `exec` a handle works in the parent alone: threads are not copied.
//!
//! # Testing
//!
//! The feature `testing` gives a service's own tests a broker and a database inside the process
//! (the module `testing`). They start within milliseconds and fail on command; no test needs Kafka:
//!
//! ```toml
//! [dev-dependencies]
//! write-behind-producer = { version = "0.1", features = ["testing"] }
//! ```
//!
//! # Watching it
//!
//! [`Builder::metrics`] lists the metrics; every one carries the label `topic`. Log lines go through
//! `tracing`: one for each decision (built, closed, a client replaced, the database lags), none for
//! each write. A load is the debug span `load`, with the row's key and no value; librdkafka's own
//! lines have the target `librdkafka`.

mod builder;
mod write_behind;
mod owner;
mod reads;
mod writes;
mod kafka;
#[cfg(feature = "journal")]
mod journal;
mod metrics;
mod partitions;
mod load;
mod not_now;
mod event;
mod error;
mod core;

pub mod exact;
#[cfg(feature = "testing")]
pub mod testing;

pub use builder::Builder;
pub use core::priority::Priority;
pub use core::reason::{KafkaCause, Reason};
pub use core::record_headers::RecordHeaders;
pub use core::stats::Stats;
pub use error::{
    BuildError, DeliveryError, Full, Halt, LoadError, ModifyError, PersistError, ReadError,
    Refusal, Undelivered, WriteError,
};
pub use event::{Event, EventStream};
pub use kafka::client::Kafka;
pub use kafka::connection::AccessToken;
#[cfg(feature = "mysql")]
pub use load::mysql::MySqlLoader;
#[cfg(feature = "postgres")]
pub use load::postgres::PostgresLoader;
#[cfg(feature = "sqlite")]
pub use load::sqlite::SqliteLoader;
pub use load::{DeadLetter, Loaded, Loader, LogRange, Source, TableShape};
pub use partitions::admission::WhenFull;
pub use write_behind::WriteBehind;
pub use write_behind::many::ManyWrites;
pub use write_behind::modify::Modified;
pub use write_behind::reads::Known;
#[cfg(feature = "journal")]
pub use write_behind_journal::{Crash, Journal, OpenError as JournalError};
pub use write_behind_shared::change::{Cell, ChangeError, NotNumeric};
pub use write_behind_shared::json::JsonError;
pub use write_behind_shared::kafka::SettingsError;
pub use write_behind_shared::key::{KeyColumn, KeyError, KeyKind};
pub use write_behind_shared::number::NotANumber;
pub use write_behind_shared::{Change, NextOffset, Number, Offset, Partition, WriteId};
pub use writes::batch::ManyError;
pub use writes::receipt::Receipt;
