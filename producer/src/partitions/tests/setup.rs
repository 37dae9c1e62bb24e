//! What tests make partitions with, and change where it matters.

use std::sync::atomic::AtomicUsize;
use std::time::Instant;

use uuid::Uuid;

use crate::core::bounds::Bounds;
use crate::partitions::Setup;
use crate::partitions::admission::{Limit, Limits, WhenFull};
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
        limits: Limits {
            bytes: Limit::new(PENDING_BYTES),
            rows: None,
            in_flight: None,
            in_flight_bytes: None,
            waiting: AtomicUsize::new(0),
        },
        when_full: WhenFull::Wait,
        coalesce: None,
        bounds: Bounds::STANDARD,
        writer: Uuid::from_u128(1),
        clock: Instant::now,
    }
}
