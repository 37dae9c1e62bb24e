//! `--log`: what to log, as a filter.

use tracing_subscriber::EnvFilter;
use write_behind_consumer::run::QUIET_LOG;

const LEVELS: [&str; 6] = ["error", "warn", "info", "debug", "trace", "off"];
const LEVEL_DEFAULT: &str = "info";

/// The filter that `wanted` says; empty, as templates leave a variable: the default.
///
/// # Errors
/// What to write instead.
pub(crate) fn filter(wanted: &str) -> Result<EnvFilter, String> {
    let wanted = if wanted.trim().is_empty() { LEVEL_DEFAULT } else { wanted };
    let parts = || wanted.split(',').map(str::trim).filter(|part| !part.is_empty());
    for part in parts() {
        // To the filter a bare word that is no level is a target, and all else would be silent.
        let level = part.rsplit_once('=').map_or(part, |(_, level)| level);
        if !LEVELS.iter().any(|known| known.eq_ignore_ascii_case(level)) {
            return Err(refusal(part, level));
        }
    }
    let parts: Vec<&str> = parts().collect();
    let filter = EnvFilter::try_new(format!("{QUIET_LOG},{}", parts.join(",")));
    filter.map_err(|_| {
        format!("--log {wanted:?} is no filter; write it like \"info,librdkafka=debug\"")
    })
}

fn refusal(part: &str, level: &str) -> String {
    let meant = match &*level.to_ascii_lowercase() {
        "warning" => "; did you mean warn?",
        "err" | "fatal" | "critical" => "; did you mean error?",
        "information" | "notice" => "; did you mean info?",
        "verbose" | "all" => "; did you mean debug?",
        "none" => "; did you mean off?",
        _ => "",
    };
    let form = if part.contains('=') { "" } else { "; or a filter such as info,librdkafka=debug" };
    format!("--log {part:?} is no level, which is one of {}{meant}{form}", LEVELS.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_that_is_no_level_is_refused_with_the_levels_and_nothing_is_the_default() {
        for (wanted, shown) in [
            ("info", "info"),
            ("", "info"),
            ("  ", "info"),
            ("WARN", "warn"),
            ("Info", "info"),
            ("off", "off"),
            (" warn , librdkafka=debug,", "librdkafka=debug"),
            ("write_behind_consumer::run=TRACE", "trace"),
        ] {
            let filter =
                filter(wanted).unwrap_or_else(|why| panic!("{wanted:?}: {why}")).to_string();
            assert!(filter.contains(shown), "{wanted:?}: {filter}");
        }
        for (wanted, told) in [
            ("warning", "did you mean warn?"),
            ("chatty", "one of error, warn, info, debug, trace"),
            ("librdkafka", "a filter such as info,librdkafka=debug"),
            ("info,chatty", "--log \"chatty\""),
            ("librdkafka=loud", "--log \"librdkafka=loud\""),
            ("fatal", "did you mean error?"),
            ("a=b=c,info", "\"a=b=c\""),
            ("[x=info", "no filter"),
        ] {
            let refused = filter(wanted).map(|filter| filter.to_string()).unwrap_err();
            assert!(refused.contains(told), "{wanted:?}: {refused}");
        }
    }
}
