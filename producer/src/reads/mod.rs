//! Reads: first what is pending, then the cache, then one load for all who wait.

pub(crate) mod reader;
pub(crate) mod single_flight;

#[cfg(test)]
#[path = "tests/limits.rs"]
mod limits;

#[cfg(test)]
#[path = "tests/schedules.rs"]
mod schedules;
