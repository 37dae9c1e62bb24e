//! Random bytes for every decoder and parser of what others write, on a stable compiler.
//!
//! Each target takes any bytes, and says what must hold of them. The loop changes the bytes of a corpus
//! and keeps what leads to an outcome that was not seen before. The corpora are small, lie in `corpus/`,
//! and are replayed by a plain test.

#![allow(missing_docs, missing_debug_implementations, reason = "nobody depends on this crate")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::missing_panics_doc)]

pub mod corpus;
pub mod looped;
pub mod mutation;
pub mod targets;
pub mod outcome;
