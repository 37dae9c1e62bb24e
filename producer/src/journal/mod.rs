//! The journal of a handle: its directory is opened, what an earlier life left in it is read, and
//! its threads record what is new.

pub(crate) mod opening;
pub(crate) mod directory;
