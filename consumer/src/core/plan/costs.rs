//! What things cost, as they were measured, each beside the command that measured it.
//!
//! All were taken on one machine with two cores that it shared with other work. Faster machines make
//! a plan better than it says.

/// Measured costs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Costs {
    /// CPU seconds of a service for a write, librdkafka's included.
    pub put: f64,
    /// CPU seconds of a consumer's poll thread for a record of a row that it holds already. One
    /// thread does that, so a consumer reads at most the reciprocal.
    pub record: f64,
    /// CPU seconds of a consumer for a row: read, judged and written.
    pub row: f64,
    /// Rows a second over one connection, where nothing else limits the database.
    pub connection_rows: f64,
    /// Bytes of a consumer for a row in a buffer, beside its key and value.
    pub buffered_row: f64,
    /// Bytes of a service for a pending row, beside its key and value.
    pub pending_row: f64,
}

impl Costs {
    /// As measured.
    pub const MEASURED: Self = Self {
        // cargo run --release -p bench -- put: 0.39 M/s until replicated, both cores busy.
        put: 5.2e-6,
        // cargo run --release -p bench -- fold: 1.65 M/s on one thread.
        record: 0.61e-6,
        // cargo run --release -p bench -- apply: 176,000 rows/s, beside a database on the same cores.
        row: 5.7e-6,
        // The same run.
        connection_rows: 176_000.0,
        // cargo test -p write-behind-consumer --lib plan: the buffer counts it itself.
        buffered_row: 120.0,
        // cargo run --release -p bench --bin memory.
        pending_row: 680.0,
    };
}
