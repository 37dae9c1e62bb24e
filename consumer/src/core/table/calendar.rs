//! Dates and times in ISO 8601, as the databases write them themselves.
//!
//! Databases read much more: words for the moment, days without a century, a zone that the column
//! then drops. What is read here means one thing whenever it is applied, and nothing of it is lost.
//! Whether the calendar has the day is left to the database.

/// What a column's dates or times consist of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Calendar {
    /// `2013-01-31`. Postgres' dates may end in ` BC`, or be `infinity`.
    Date(Eras),
    /// `10:00:00.5`, up to `24:00:00`.
    Time,
    /// `10:00:00+05:30`.
    ZonedTime,
    /// `2013-01-31 10:00:00`, with a space or a `T`; or a date alone.
    Timestamp(Eras),
    /// `2013-01-31 10:00:00+00`.
    Instant,
    /// `-838:59:59`.
    Duration,
}

/// The days that a column's calendar has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Eras {
    /// Those of the years 0 to 9999.
    Common,
    /// Also those before Christ, of later years, and `infinity` and `-infinity`.
    All,
}

impl Calendar {
    /// Whether `text` is such a date or time.
    #[must_use]
    pub fn reads(self, text: &str) -> bool {
        self.rest(text).is_some_and(str::is_empty)
    }

    /// What it is called, with an example.
    pub(crate) fn what(self) -> &'static str {
        match self {
            Self::Date(_) => "a date like 2013-01-31",
            Self::Time => "a time without a date or a zone, like 10:00:00",
            Self::ZonedTime => "a time with its offset from UTC, like 10:00:00+05:30",
            Self::Timestamp(_) => "a date and time without a zone, like 2013-01-31 10:00:00",
            Self::Instant => {
                "a date and time with its offset from UTC, like 2013-01-31 10:00:00+00"
            }
            Self::Duration => "a time like 10:00:00",
        }
    }

    /// What follows the date or time that `text` begins with.
    fn rest(self, text: &str) -> Option<&str> {
        match self {
            Self::Date(eras) => eras.date(text, |rest| Some(rest)),
            Self::Time => clock(text, 24),
            Self::ZonedTime => zone(clock(text, 24)?),
            Self::Timestamp(eras) => eras.date(text, |rest| match rest.strip_prefix([' ', 'T']) {
                Some(rest) if !rest.starts_with('B') => clock(rest, 23),
                _ => Some(rest),
            }),
            Self::Instant => {
                Eras::All.date(text, |rest| zone(clock(rest.strip_prefix([' ', 'T'])?, 23)?))
            }
            Self::Duration => {
                let text = text.strip_prefix('-').unwrap_or(text);
                let hours = text.bytes().take_while(u8::is_ascii_digit).count();
                if (2..=3).contains(&hours) { minutes(&text[hours..]) } else { None }
            }
        }
    }
}

impl Eras {
    /// What follows a date, then a time that `time` reads, then the era.
    fn date(self, text: &str, time: impl Fn(&str) -> Option<&str>) -> Option<&str> {
        if self == Self::All && matches!(text, "infinity" | "-infinity") {
            return Some("");
        }
        let year = text.bytes().take_while(u8::is_ascii_digit).count();
        if year != 4 && !(self == Self::All && (5..=7).contains(&year)) {
            return None;
        }
        let rest = two_digits(text[year..].strip_prefix('-')?, 1..=12)?;
        let rest = two_digits(rest.strip_prefix('-')?, 1..=31)?;
        let rest = time(rest)?;
        Some(rest.strip_prefix(" BC").filter(|_| self == Self::All).unwrap_or(rest))
    }
}

/// What follows hours and minutes, and perhaps seconds. The hour after the last is a whole one.
fn clock(text: &str, hours_max: u32) -> Option<&str> {
    if hours_max == 24 && text.starts_with("24:00") {
        let rest = &text[5..];
        return Some(rest.strip_prefix(":00").unwrap_or(rest));
    }
    minutes(two_digits(text, 0..=23)?)
}

/// What follows minutes, and perhaps seconds. No database keeps a leap second.
fn minutes(text: &str) -> Option<&str> {
    let rest = two_digits(text.strip_prefix(':')?, 0..=59)?;
    let Some(seconds) = rest.strip_prefix(':') else { return Some(rest) };
    let rest = two_digits(seconds, 0..=59)?;
    let Some(fraction) = rest.strip_prefix('.') else { return Some(rest) };
    let digits = fraction.bytes().take_while(u8::is_ascii_digit).count();
    (digits > 0).then(|| &fraction[digits..])
}

/// What follows an offset from UTC.
fn zone(text: &str) -> Option<&str> {
    if let Some(rest) = text.strip_prefix(['Z', 'z']) {
        return Some(rest);
    }
    let mut rest = two_digits(text.strip_prefix(['+', '-'])?, 0..=23)?;
    for _ in 0..2 {
        let Some(more) = rest.strip_prefix(':') else { break };
        rest = two_digits(more, 0..=59)?;
    }
    Some(rest)
}

fn two_digits(text: &str, range: std::ops::RangeInclusive<u32>) -> Option<&str> {
    let digits = text.get(..2).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))?;
    range.contains(&digits.parse().ok()?).then(|| &text[2..])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each with texts that it reads and texts that it does not.
    const CASES: &[(Calendar, &[&str], &[&str])] = &[
        (
            Calendar::Date(Eras::All),
            &["2013-01-31", "0044-03-15 BC", "10000-01-01", "infinity", "-infinity"],
            &[
                "now",
                "today",
                "Tomorrow",
                "yesterday",
                "epoch",
                "2013-1-31",
                "13-01-31",
                "20130131",
                "31 January 2013",
                "2013-01-31 10:00",
                "2013-13-01",
                "2013-01-32",
                "",
                "2013-01-31 ",
                " 2013-01-31",
                "2013-01-31 AD",
                "-2013-01-31",
                "２013-01-31",
            ],
        ),
        (
            Calendar::Date(Eras::Common),
            &["2013-01-31", "0000-01-01"],
            &["10000-01-01", "infinity", "2013-01-31 BC", "today"],
        ),
        (
            Calendar::Time,
            &["10:00", "10:00:00", "10:00:00.123456789", "24:00:00", "24:00"],
            &[
                "now",
                "allballs",
                "10",
                "1000",
                "10:60",
                "24:00:01",
                "24:01",
                "10:00:60",
                "10:00 PM",
                "10:00:00Z",
                "10:00+02",
                "2013-01-31 10:00",
                "10:00:00.",
                "é0:00",
            ],
        ),
        (
            Calendar::ZonedTime,
            &["10:00:00+05:30", "10:00Z", "10:00:00.5-00:45:30", "24:00:00+00"],
            &["10:00", "10:00 MSK", "10:00 Europe/Berlin", "now", "10:00+24", "10:00+5"],
        ),
        (
            Calendar::Timestamp(Eras::All),
            &[
                "2013-01-31 10:00:00.5",
                "2013-01-31T10:00",
                "2013-01-31",
                "infinity",
                "0044-03-15 10:00:00 BC",
                "0044-03-15 BC",
            ],
            &[
                "2013-01-31 10:00:00Z",
                "2013-01-31T10:00:00+02:00",
                "tomorrow 10:00",
                "now",
                "2013-01-31 24:00:00",
                "2013-01-31 23:59:60",
                "2013-01-31 ",
                "2013-01-31T",
                "2013-01-31 10:00 Europe/Berlin",
            ],
        ),
        (
            Calendar::Timestamp(Eras::Common),
            &["2013-01-31 10:00:00", "2013-01-31"],
            &["2013-01-31 10:00:00+00:00", "20130131100000", "13-1-31", "-infinity"],
        ),
        (
            Calendar::Instant,
            &["2013-01-31 10:00:00+00", "2013-01-31T10:00:00Z", "0044-03-15 10:00:00+00 BC"],
            &["2013-01-31 10:00:00", "2013-01-31", "now", "2013-01-31 10:00:00 CET"],
        ),
        (
            Calendar::Duration,
            &["10:00:00", "-838:59:59", "838:59:59.5", "11:12"],
            &["1112", "1:12", "1 10:00:00", "2013-01-31 10:11:12", "now", "0838:00:00", "--10:00"],
        ),
    ];

    #[test]
    fn a_date_or_time_is_what_means_the_same_whenever_it_is_applied() {
        for (calendar, read, others) in CASES {
            for text in *read {
                assert!(calendar.reads(text), "{calendar:?} reads {text:?}");
            }
            for text in *others {
                assert!(!calendar.reads(text), "{calendar:?} does not read {text:?}");
            }
        }
    }
}
