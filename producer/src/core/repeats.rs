//! Log lines that repeat: a client that reaches no broker says so again and again.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// What was logged lately.
#[derive(Debug, Default)]
pub(crate) struct Repeats {
    /// By what a line says: when one was logged, and how many were left out since.
    lines: BTreeMap<Box<str>, (Instant, u64)>,
}

/// How long one line stands for all that say the same.
const STANDS_FOR: Duration = Duration::from_mins(1);
/// Lines that are told apart; beyond, all are forgotten.
const LINES_MAX: usize = 64;

impl Repeats {
    /// Whether a line says something new by `now`, and how many were left out since that said the
    /// same.
    pub(crate) fn look(&mut self, line: &str, now: Instant) -> Option<u64> {
        // librdkafka ends a line with times and counts, which differ each time.
        let says = line.split(" (after ").next().unwrap_or(line);
        if let Some((logged, left_out)) = self.lines.get_mut(says) {
            if now.saturating_duration_since(*logged) < STANDS_FOR {
                *left_out += 1;
                return None;
            }
            *logged = now;
            return Some(std::mem::take(left_out));
        }
        if self.lines.len() >= LINES_MAX {
            self.lines.clear();
        }
        self.lines.insert(says.into(), (now, 0));
        Some(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_repeats_is_logged_once_a_minute_with_how_many_it_stands_for() {
        let (mut repeats, start) = (Repeats::default(), Instant::now());
        let refused =
            |n: u64| format!("Connect to 127.0.0.1:9 failed (after {n}ms in state CONNECT)");
        let mut logged = Vec::new();
        for second in 0..130 {
            let now = start + Duration::from_secs(second);
            logged.extend(repeats.look(&refused(second), now).map(|left_out| (second, left_out)));
        }
        assert_eq!(logged, [(0, 0), (60, 59), (120, 59)]);
        assert_eq!(repeats.look("another line", start), Some(0));
        for n in 0..1_000 {
            assert_eq!(repeats.look(&n.to_string(), start), Some(0));
        }
        assert!(repeats.lines.len() <= LINES_MAX);
    }
}
