//! Writes: encoded, accepted, and waited for.

pub(crate) mod accept;
pub(crate) mod permits;
pub(crate) mod batch;
pub(crate) mod encode;
pub(crate) mod entry;
pub(crate) mod table_check;
pub(crate) mod receipt;

#[cfg(test)]
#[path = "tests/deliveries.rs"]
mod deliveries;
