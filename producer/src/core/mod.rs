//! The pure core: state machines without I/O, clock or tasks. Whatever can go wrong in a rare order
//! of events is decided here, where property tests try such orders by the thousand.

pub(crate) mod pending;
pub(crate) mod entry;
pub(crate) mod cache;
pub(crate) mod age;
pub(crate) mod ledger;
pub(crate) mod write_ids;
pub(crate) mod journaled;
pub(crate) mod journal_entry;
#[cfg_attr(
    not(feature = "journal"),
    expect(dead_code, reason = "no label is read without the feature")
)]
pub(crate) mod journal_label;
#[cfg(feature = "journal")]
pub(crate) mod replayed;
pub(crate) mod unanswered;
pub(crate) mod lost_writes;
pub(crate) mod untold;
pub(crate) mod gate;
pub(crate) mod outbox;
pub(crate) mod window;
pub(crate) mod logged;
pub(crate) mod in_flight;
pub(crate) mod queue;
pub(crate) mod delta;
pub(crate) mod versioned;
pub(crate) mod loaded;
pub(crate) mod maybe_next;
pub(crate) mod commit_queue;
pub(crate) mod leaves;
pub(crate) mod row_filter;
pub(crate) mod rows;
pub(crate) mod forgotten;
pub(crate) mod tail;
pub(crate) mod tail_position;
pub(crate) mod columns;
pub(crate) mod decode;
pub(crate) mod usage;
pub(crate) mod repeats;
pub(crate) mod pace;
pub(crate) mod bounds;
pub(crate) mod topic_config;
pub(crate) mod record_headers;
pub(crate) mod priority;
pub(crate) mod reason;
pub(crate) mod halt;
pub(crate) mod stats;
