//! Random choices that a run can be repeated with, from its seed.

use anyhow::{Context, Result};
use uuid::Uuid;

use crate::figures::report;

/// A small generator.
#[derive(Clone, Debug)]
pub struct Random(u64);

/// The seed of this run: from `SEED`, else a new one. It is printed either way.
pub fn seed(what: &str) -> Result<u64> {
    let seed = match std::env::var("SEED") {
        Ok(seed) => seed.parse().context("SEED")?,
        Err(_) => Uuid::new_v4().as_u64_pair().0,
    };
    report(&format!("{what} from SEED={seed}"));
    Ok(seed)
}

impl Random {
    /// The choices that follow from `seed`.
    pub fn from_seed(seed: u64) -> Self {
        Self(seed)
    }

    /// `splitmix64`.
    #[expect(clippy::should_implement_trait, reason = "it never ends, so it is no iterator")]
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// One of `0..bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}
