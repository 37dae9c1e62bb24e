//! Reads: first what is pending, then the cache, then one load for all who wait.

pub(crate) mod reader;
pub(crate) mod single_flight;
pub(crate) mod modify;

#[cfg(test)]
#[path = "tests/limits.rs"]
mod limits;

#[cfg(test)]
#[path = "tests/schedules.rs"]
mod schedules;

#[cfg(test)]
#[path = "tests/modifies.rs"]
mod modifies;
