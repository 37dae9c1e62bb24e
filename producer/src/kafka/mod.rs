//! Everything that talks to Kafka; no other room names its client.

pub(crate) mod client;
pub(crate) mod polling;
pub(crate) mod handles;
pub(crate) mod producer;
mod send_now;
pub(crate) mod connection;
mod codes;
pub(crate) mod producer_client;
pub(crate) mod committed;
pub(crate) mod group_offsets;
pub(crate) mod offsets;
pub(crate) mod dead_letters;
pub(crate) mod settings;
pub(crate) mod topic_config;
pub(crate) mod batch_limit;
pub(crate) mod follow;
