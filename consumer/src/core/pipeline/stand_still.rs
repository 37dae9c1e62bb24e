//! A partition that makes no progress before its end: since when, and whether that is being
//! checked.

use std::time::Duration;

use write_behind_shared::NextOffset;

use crate::core::pipeline::skips::{LookId, SkipLook};

/// What is known of a partition that stands still before its end.
#[derive(Debug, Default)]
pub(super) struct StandStill {
    /// Where it stands, and since when, or when that was last looked into.
    at: Option<(NextOffset, Duration)>,
    asked: Option<(LookId, SkipLook)>,
}

impl StandStill {
    /// The look that is due, which gets this number. `stands`: where the partition stands, and its end
    /// behind that.
    pub(super) fn next_look(
        &mut self,
        now: Duration,
        patience: Duration,
        stands: Option<(NextOffset, NextOffset)>,
        id: LookId,
    ) -> Option<SkipLook> {
        let Some((start, end)) = stands else {
            *self = Self::default();
            return None;
        };
        let since = self.at.filter(|(at, _)| *at == start).map(|(_, since)| since);
        if since.is_some_and(|since| now.saturating_sub(since) < patience) {
            return None;
        }
        self.at = Some((start, now));
        since?;
        let look = SkipLook { start, end, folded: 0 };
        self.asked = Some((id, look));
        Some(look)
    }

    /// The look that this answers, if it is still of interest.
    pub(super) fn answered(&mut self, id: LookId) -> Option<SkipLook> {
        self.asked.take_if(|(asked, _)| *asked == id).map(|(_, look)| look)
    }
}
