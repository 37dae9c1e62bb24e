//! The permits that writes hold until they are accepted.

use tokio::sync::SemaphorePermit;

use crate::core::usage::{Full, Usage};
use crate::error::WriteError;
use crate::partitions::admission::Limits;

/// Permits, in the order of [`Full::ALL`].
#[derive(Debug, Default)]
pub(crate) struct Permits<'l>([Option<SemaphorePermit<'l>>; Full::ALL.len()]);

impl<'l> Permits<'l> {
    /// Takes `needed` of a limit, unless it has that already.
    pub(crate) fn take_now(
        &mut self,
        limits: &'l Limits,
        which: Full,
        needed: Usage,
    ) -> Result<(), WriteError> {
        let Some(limit) = limits.of(which) else { return Ok(()) };
        let permit = &mut self.0[which as usize];
        if permit.as_ref().is_none_or(|held| held.num_permits() < needed[which]) {
            // One that was for a smaller write goes back first.
            *permit = None;
            *permit = Some(limit.try_take(needed[which]).ok_or(WriteError::Overloaded(which))?);
        }
        Ok(())
    }

    /// Like `take_now`, but waits for room. Takes nothing if the handle is closed meanwhile.
    ///
    /// While it waits it has no permit that is taken after this one. A write that grew between two
    /// tries would have them, and wait for writes that wait for what it has.
    pub(crate) async fn take(&mut self, limits: &'l Limits, which: Full, needed: Usage) {
        if let Some(limit) = limits.of(which) {
            for later in Full::TAKEN.into_iter().skip_while(|taken| *taken != which) {
                self.0[later as usize] = None;
            }
            self.0[which as usize] = limit.take(needed[which]).await;
        }
    }

    /// Uses the permits up: what they stood for comes back as the partition's writes go.
    pub(crate) fn use_up(&mut self) -> Usage {
        Usage(self.0.each_mut().map(|permit| permit.take().map_or(0, use_up)))
    }

    /// Uses so much of the permits up.
    pub(crate) fn use_some(&mut self, some: Usage) -> Usage {
        let mut used = Usage::default();
        for (place, permit) in self.0.iter_mut().enumerate() {
            let part = permit.as_mut().and_then(|permit| permit.split(some.0[place]));
            used.0[place] = part.map_or(0, use_up);
        }
        used
    }
}

fn use_up(permit: SemaphorePermit<'_>) -> usize {
    let amount = permit.num_permits();
    permit.forget();
    amount
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;

    #[test]
    fn a_write_that_waits_for_a_limit_has_nothing_of_those_that_are_taken_after_it() {
        for (place, waits_for) in Full::TAKEN.into_iter().enumerate() {
            let limits = Limits::new([Some(10); Full::ALL.len()]);
            let (small, large) = (Usage([6; 4]), Usage([7; 4]));
            let mut permits = Permits::default();
            for which in Full::TAKEN {
                permits.take_now(&limits, which, small).unwrap();
            }
            // Another write has the rest of this limit.
            let mut other = Permits::default();
            other.take_now(&limits, waits_for, Usage([4; 4])).unwrap();
            let mut waits = pin!(permits.take(&limits, waits_for, large));
            let mut context = Context::from_waker(Waker::noop());
            assert_eq!(waits.as_mut().poll(&mut context), Poll::Pending, "{waits_for:?}");
            for later in &Full::TAKEN[place + 1..] {
                let mut third = Permits::default();
                assert!(third.take_now(&limits, *later, Usage([10; 4])).is_ok(), "{later:?}");
            }
        }
    }
}
