//! What this consumer is: its version, and the commit that it was built from.

/// The version.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The commit, or nothing where it is not known, as in a build that is not optimised. A `+` behind it:
/// with changes that are in no commit.
pub const COMMIT: &str = env!("BUILT_FROM_COMMIT");

/// All of it, for people: `0.1.0 (0123456789ab 2026-11-30)`.
pub const TOLD: &str = env!("BUILT_FROM_VERSION");
