//! The producer over an embedded Kafka (librdkafka's mock cluster), end to end.

#![expect(clippy::expect_used, clippy::unwrap_used, reason = "a broken test bed fails the test")]

mod embedded;
#[path = "../../../consumer/tests/world/raw_record.rs"]
mod raw_record;
mod building;
mod away;
mod journal;
mod durability;
mod limits;
mod forget;
mod coalesce;
mod priority;
mod by_hand;
mod reads;
mod modify;
mod many;
mod stats;
mod columns;
mod headers;
mod cached_rows;
mod loads;
mod failures;
mod sharing;
mod windows;
mod refusals;
mod follow;
mod tail;
