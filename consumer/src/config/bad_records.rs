//! `[bad_records]`: how many bad records are set aside before a route stops.

use serde::Deserialize;

use crate::config::error::{ConfigError, refuse};
use crate::config::units::HumanDuration;
use crate::core::flood::FloodLimits;

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct BadRecordsFile {
    max_ratio: Option<f64>,
    max_per_second: Option<u32>,
    window: Option<HumanDuration>,
}

impl BadRecordsFile {
    pub(super) fn check(self) -> Result<FloodLimits, ConfigError> {
        let standard = FloodLimits::STANDARD;
        let limits = FloodLimits {
            max_ratio: self.max_ratio.unwrap_or(standard.max_ratio),
            max_per_second: self.max_per_second.unwrap_or(standard.max_per_second),
            window: self.window.map_or(standard.window, |window| window.0),
        };
        if !(0.0..=1.0).contains(&limits.max_ratio) {
            let why = "must be from 0 to 1; 0.5 is one half of all records";
            return Err(refuse("bad_records.max_ratio", why));
        }
        if limits.max_per_second == 0 {
            let why = "is 0, so the first bad record would stop its route; raise it, or set the \
                       route's `on_bad_record` to \"stop\"";
            return Err(refuse("bad_records.max_per_second", why));
        }
        if limits.window.as_secs() == 0 {
            let why = "is less than a second; set it to a time such as \"10s\"";
            return Err(refuse("bad_records.window", why));
        }
        Ok(limits)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::{Config, LEAST};

    fn read(section: &str, variable: &str) -> Result<FloodLimits, String> {
        let variables = match variable.split_once('=') {
            Some((name, value)) => [(name.to_owned(), value.to_owned())].into(),
            None => [].into(),
        };
        let config = Config::read(&format!("{LEAST}{section}"), &variables);
        config.map(|config| config.bad_records).map_err(|error| error.to_string())
    }

    #[test]
    fn the_limits_are_read_from_the_file_and_from_the_environment() {
        assert_eq!(read("", "").unwrap(), FloodLimits::STANDARD);
        let section = "[bad_records]\nmax_ratio = 0.1\nmax_per_second = 5\nwindow = \"1m\"\n";
        let limits = read(section, "WRITE_BEHIND_BAD_RECORDS_MAX_PER_SECOND=7").unwrap();
        let window = Duration::from_mins(1);
        assert_eq!(limits, FloodLimits { max_ratio: 0.1, max_per_second: 7, window });
    }

    #[test]
    fn limits_that_mean_nothing_are_refused() {
        let refused = |line: &str| read(&format!("[bad_records]\n{line}\n"), "").unwrap_err();
        assert!(refused("max_ratio = 50.0").starts_with("`bad_records.max_ratio`: must be"));
        assert!(refused("max_per_second = 0").starts_with("`bad_records.max_per_second`: is 0"));
        assert!(refused("window = \"10ms\"").starts_with("`bad_records.window`: is less"));
    }
}
