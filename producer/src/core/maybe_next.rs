//! An optional offset in 8 bytes, because there are many pending rows.

use write_behind_shared::NextOffset;

/// A [`NextOffset`], or none. None is less than any.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct MaybeNext(i64);

impl MaybeNext {
    /// Offsets are never negative.
    pub(crate) const NONE: Self = Self(-1);

    pub(crate) fn get(self) -> Option<NextOffset> {
        (self != Self::NONE).then_some(NextOffset(self.0))
    }

    pub(crate) fn is_none(self) -> bool {
        self == Self::NONE
    }
}

impl From<NextOffset> for MaybeNext {
    fn from(next: NextOffset) -> Self {
        Self(next.0)
    }
}

impl From<Option<NextOffset>> for MaybeNext {
    fn from(next: Option<NextOffset>) -> Self {
        next.map_or(Self::NONE, Self::from)
    }
}
