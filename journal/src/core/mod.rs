//! The bytes of a journal, and every decision about them. Pure: no I/O, no clock, no thread.

pub(crate) mod tail;
pub(crate) mod recovery;
pub(crate) mod salvage;
pub(crate) mod segment;
pub(crate) mod batch;
pub(crate) mod head;
pub(crate) mod bytes;
