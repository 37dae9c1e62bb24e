//! Default settings of batches and memory. `plan` uses the same values.

use std::time::Duration;

/// `batch.max_rows`.
pub(crate) const MAX_ROWS: usize = 10_000;
/// `batch.max_bytes`.
pub(crate) const MAX_BYTES: usize = 8 << 20;
/// `batch.max_age`.
pub(crate) const MAX_AGE: Duration = Duration::from_millis(200);
/// `batch.target_time`.
pub(crate) const TARGET_TIME: Duration = Duration::from_secs(1);
/// `memory.buffers`.
pub(crate) const BUFFERS: usize = 256 << 20;
