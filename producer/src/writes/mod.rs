//! Writes: encoded, accepted, and waited for.

pub(crate) mod accept;
pub(crate) mod encode;
pub(crate) mod write;
