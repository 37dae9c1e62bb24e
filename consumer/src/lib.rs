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
//! The modules are rooms, listed top-down: each imports only what stands below it, and `core` is pure.

pub mod run;
pub mod dead_letters;
pub mod check;
pub mod verify;
pub mod kafka;
pub mod status;
pub mod apply;
pub mod config;
pub mod store;
pub mod core;
