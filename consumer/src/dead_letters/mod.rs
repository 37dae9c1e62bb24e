//! Dead letters as an operator and the running consumer deal with them: replay, administration and
//! maintenance.

pub mod fate;
pub mod replay;
pub mod admin;
pub(crate) mod maintenance;
pub(crate) mod actions;

pub use crate::core::dead_letters::{DeadLetterState, Filter, StoredDeadLetter, Tally};
pub use crate::store::StoreError;
