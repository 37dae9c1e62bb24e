//! Tests of ledger.rs.
