//! The subcommands: each takes its arguments and the configuration, gives the exit code.

pub(crate) mod check;
pub(crate) mod dead_letters;
pub(crate) mod verify;
pub(crate) mod status;

/// It was done.
pub(crate) const DONE: u8 = 0;
/// It failed.
pub(crate) const FAILED: u8 = 1;
/// Wrong usage or configuration.
pub(crate) const USAGE: u8 = 2;
/// A safety check refuses it.
pub(crate) const REFUSED: u8 = 3;
