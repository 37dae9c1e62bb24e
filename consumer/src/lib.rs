//! The sink worker: reads the log, folds it by key, and upserts it into the database, exactly once.
//!
//! ```text
//!  source ──records──▶ pipeline ──Batch──▶ apply ──Transaction──▶ store ──▶ database
//!  (poll thread,       (pure: buffers,     (types rows, retries,   (one fenced
//!   rebalances)         fold, when to       isolates refused        transaction)
//!      ▲                flush, pause)       ones)
//!      └── commit ◀──────── Written ◀──────────┘
//! ```
//!
//! The modules stand in the order of the flow.

pub mod units;
pub mod environment;
pub mod config;
pub mod assign;
pub mod broker;
pub mod table;
pub mod column;
pub mod row;
pub mod batch;
pub mod shape;
pub mod buffer;
pub mod action;
pub mod throttle;
pub mod commit;
pub mod pipeline;
pub mod store;
pub mod reread;
pub mod retry;
mod isolate;
pub mod apply;
mod group;
mod reading;
mod locate;
mod notice;
pub mod source;
mod worker;
pub mod metrics;
pub mod status;
mod http;
pub mod run;
pub mod check;
