//! The way of a read: what is pending, then the cached rows, then one load for all who wait.

pub(crate) mod reader;
pub(crate) mod single_flight;

#[cfg(test)]
#[path = "tests/schedules.rs"]
mod schedules;
