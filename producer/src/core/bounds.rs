//! Bounds: how large the tables of the core may grow, and how much is done under one lock.
//!
//! They are given at construction, so that a test can reach a bound with a handful of writes.

/// Bounds that no setting changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bounds {
    /// Runs of consecutive offsets in a ledger. Beyond (many writers' records interleaved)
    /// neighbours are merged: the watermark then moves in larger steps, never too early.
    pub(crate) runs: usize,
    /// Ranges of lost writes that a ledger remembers; the oldest are forgotten, and are then
    /// unknown.
    pub(crate) losses: usize,
    /// Slots of a partition's forgotten rows: a power of two.
    pub(crate) forgotten_slots: usize,
    /// Other writers that a partition remembers; beyond, all are forgotten, and the next record of
    /// each is its first.
    pub(crate) writers: usize,
    /// A tail is behind when it has missed the log's end this often in a row.
    pub(crate) missed_ends: u32,
    /// Records handed over under one lock.
    pub(crate) records_at_once: usize,
    /// Rows released under one lock: a commit may release a hundred thousand, and writes and reads
    /// of the partition wait meanwhile.
    pub(crate) rows_at_once: usize,
    /// Delivery reports told under one lock.
    pub(crate) reports_at_once: usize,
}

impl Bounds {
    /// Those of production. Slots take 128 KiB a partition, once something is forgotten there.
    pub(crate) const STANDARD: Self = Self {
        runs: 16_384,
        losses: 1_024,
        forgotten_slots: 1 << 14,
        writers: 10_000,
        missed_ends: 4,
        records_at_once: 64,
        rows_at_once: 64,
        reports_at_once: 256,
    };
}
