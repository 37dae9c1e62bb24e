//! Dead letters as an operator and the running consumer deal with them: replay, administration and
//! upkeep.

pub mod replay;
pub mod desk;
pub(crate) mod upkeep;
