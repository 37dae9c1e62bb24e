//! The setup that tests make partitions with, and change where it matters.

use std::time::Instant;

use uuid::Uuid;

use crate::core::bounds::Bounds;
use crate::partitions::Setup;
use crate::partitions::admission::{Limits, WhenFull};
use crate::partitions::cache::{CacheConfig, RowCache};

/// The memory that writes may take.
pub(crate) const PENDING_BYTES: usize = 1 << 20;

/// One partition without a loader.
pub(crate) fn setup() -> Setup {
    Setup {
        partitions: 1,
        loads: false,
        follows: false,
        cache: RowCache::new(CacheConfig::default()),
        limits: Limits::new([Some(PENDING_BYTES), None, None, None]),
        when_full: WhenFull::Wait,
        coalesce: None,
        bounds: Bounds::STANDARD,
        writer: Uuid::from_u128(1),
        journal: None,
        clock: Instant::now,
    }
}
