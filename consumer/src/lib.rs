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
//!
//! Public is what a program embeds: [`run`], [`config`], [`check`], [`verify`], [`status`],
//! [`dead_letters`], [`hand_over`], [`fleet`] and [`plan`]. The feature `internals` shows the other rooms to this
//! workspace's benchmarks, tests and simulation, and promises nothing.

#![cfg_attr(feature = "internals", allow(missing_docs, missing_debug_implementations))]
#![cfg_attr(not(feature = "internals"), allow(unreachable_pub))]

pub mod run;
pub mod dead_letters;
pub mod hand_over;
pub mod fleet;
pub mod check;
pub mod verify;
#[cfg(feature = "internals")]
#[doc(hidden)]
pub mod kafka;
#[cfg(not(feature = "internals"))]
pub(crate) mod kafka;
pub mod status;
#[cfg(feature = "internals")]
#[doc(hidden)]
pub mod apply;
#[cfg(not(feature = "internals"))]
pub(crate) mod apply;
pub mod config;
#[cfg(feature = "internals")]
#[doc(hidden)]
pub mod store;
#[cfg(not(feature = "internals"))]
pub(crate) mod store;
pub mod version;
#[cfg(feature = "internals")]
#[doc(hidden)]
pub mod clock;
#[cfg(not(feature = "internals"))]
pub(crate) mod clock;
#[cfg(feature = "internals")]
#[doc(hidden)]
pub mod core;
#[cfg(not(feature = "internals"))]
pub(crate) mod core;

pub use crate::core::plan;
