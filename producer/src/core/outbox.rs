//! The outbox of one partition: which writes may be given to the Kafka client by now.
//!
//! Usually a write is given to the client as it is accepted. It waits for the polling thread where
//! the client's queue is full, where the client is being replaced, and where writes of one row are
//! gathered for a while; and behind one that waits, all wait, so that the order stays.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::core::ledger::Sequence;

/// One partition's writes that wait to be sent.
#[derive(Debug)]
pub(crate) struct Outbox {
    /// How long writes of one row are gathered.
    window: Option<Duration>,
    /// Points in time: every write from the sequence on was accepted at or after the instant.
    opened: VecDeque<(Sequence, Instant)>,
    /// Writes below do not wait for their window.
    at_once_below: Sequence,
    /// How many writes went with an earlier one.
    pub(crate) coalesced: u64,
}

/// A window is measured in this many parts; it may last longer by one.
const PARTS: u32 = 8;

impl Outbox {
    pub(crate) fn new(window: Option<Duration>) -> Self {
        Self { window, opened: VecDeque::new(), at_once_below: 0, coalesced: 0 }
    }

    /// Whether writes of one row are gathered.
    pub(crate) fn coalesces(&self) -> bool {
        self.window.is_some()
    }

    /// The write waits from `now` on.
    pub(crate) fn waits(&mut self, sequence: Sequence, now: impl FnOnce() -> Instant) {
        let Some(window) = self.window else { return };
        let now = now();
        let goes_with_last = |(_, at): &(Sequence, Instant)| now - *at < window / PARTS;
        if !self.opened.back().is_some_and(goes_with_last) {
            self.opened.push_back((sequence, now));
        }
    }

    /// The write does not wait for its window, nor do those before it: the order stays.
    pub(crate) fn hurries(&mut self, sequence: Sequence) {
        self.at_once_below = self.at_once_below.max(sequence + 1);
    }

    /// Writes below may be given to the client; all, if `at_once`.
    pub(crate) fn due_below(&mut self, next: Sequence, now: Instant, at_once: bool) -> Sequence {
        let Some(window) = self.window.filter(|_| !at_once) else { return next };
        let is_over = |(_, at): &(Sequence, Instant)| now - *at >= window + window / PARTS;
        while self.opened.front().is_some_and(is_over) {
            self.opened.pop_front();
        }
        let due_below = self.opened.front().map_or(next, |(sequence, _)| *sequence);
        due_below.max(self.at_once_below)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_is_due_when_its_window_is_over_and_those_before_it_are() {
        let window = Duration::from_millis(80);
        let mut outbox = Outbox::new(Some(window));
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        for (sequence, ms) in [(0, 0), (1, 5), (2, 30), (3, 60)] {
            outbox.waits(sequence, || at(ms));
        }
        assert_eq!(outbox.due_below(4, at(79), false), 0, "not before its window is over");
        assert_eq!(outbox.due_below(4, at(90), false), 2);
        assert_eq!(outbox.due_below(4, at(120), false), 3);
        assert_eq!(outbox.due_below(4, at(150), false), 4);
    }

    #[test]
    fn a_write_that_hurries_is_due_at_once_with_those_before_it_and_none_behind_it() {
        let now = Instant::now();
        let mut outbox = Outbox::new(Some(Duration::from_secs(1)));
        (0..5).for_each(|sequence| outbox.waits(sequence, || now));
        outbox.hurries(2);
        outbox.hurries(1);
        assert_eq!(outbox.due_below(5, now, false), 3);
        assert_eq!(outbox.due_below(5, now + Duration::from_secs(2), false), 5);
    }

    #[test]
    fn without_a_window_and_at_the_end_all_are_due_at_once() {
        let now = Instant::now();
        assert_eq!(Outbox::new(None).due_below(7, now, false), 7);
        let mut outbox = Outbox::new(Some(Duration::from_secs(1)));
        outbox.waits(0, || now);
        assert_eq!(outbox.due_below(7, now, false), 0);
        assert_eq!(outbox.due_below(7, now, true), 7);
    }
}
