//! The producer over an embedded Kafka (librdkafka's mock cluster), end to end.

mod embedded;
mod durability;
mod limits;
mod reads;
mod failures;
