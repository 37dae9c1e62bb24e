//! Tests of pending.rs.
