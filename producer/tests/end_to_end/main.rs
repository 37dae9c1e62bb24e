//! The producer over an embedded Kafka (librdkafka's mock cluster), end to end.

#![expect(clippy::expect_used, reason = "a broken test bed fails the test")]

mod embedded;
mod durability;
mod limits;
mod reads;
mod failures;
mod refusals;
