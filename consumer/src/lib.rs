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

pub mod config;
pub mod kafka;
pub mod pipeline;
pub mod batch;
pub mod apply;
pub mod store;
pub mod status;
pub mod dead_letters;
pub mod run;
pub mod check;
pub mod verify;
