//! `[traces]`: where spans of traced records are sent, and of how many records.

use axum::http::Uri;
use serde::Deserialize;

use crate::config::error::{ConfigError, refuse};

/// Settings for the spans of traced records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceSettings {
    /// Where spans are sent: the URL of a collector that takes OTLP over HTTP.
    pub endpoint: String,
    /// How many traced records of a partition are followed at a time.
    pub max_records: usize,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct TracesFile {
    endpoint: Option<String>,
    max_records: usize,
}

impl Default for TracesFile {
    fn default() -> Self {
        Self { endpoint: None, max_records: 32 }
    }
}

/// Where OTLP over HTTP takes spans, below a collector's URL.
const PATH: &str = "/v1/traces";

impl TracesFile {
    pub(super) fn check(self) -> Result<Option<TraceSettings>, ConfigError> {
        if self.max_records == 0 {
            let why = "is 0; set it to 1 or more, or remove `traces.endpoint`";
            return Err(refuse("traces.max_records", why));
        }
        let Some(endpoint) = self.endpoint else { return Ok(None) };
        let refused = |why: &str| Err(refuse("traces.endpoint", why));
        if !cfg!(feature = "otlp") {
            return refused(
                "is set, and this build sends no spans: build it with `--features otlp`, or remove \
                 the setting",
            );
        }
        let endpoint = endpoint.trim().trim_end_matches('/');
        let uri: Option<Uri> = endpoint.parse().ok();
        match uri.as_ref().map(|uri| (uri.scheme_str(), uri.host())) {
            Some((Some("http"), Some(_))) => {}
            Some((Some("https"), Some(_))) => {
                return refused(
                    "begins with https://, and spans are sent without encryption: run a collector \
                     beside this process that passes them on, and write http://127.0.0.1:4318",
                );
            }
            _ => {
                return refused("is no URL of a collector; write it like http://127.0.0.1:4318");
            }
        }
        let path = if endpoint.ends_with(PATH) { "" } else { PATH };
        let endpoint = format!("{endpoint}{path}");
        Ok(Some(TraceSettings { endpoint, max_records: self.max_records }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, LEAST};

    fn read(variables: &[(&str, &str)]) -> Result<Option<TraceSettings>, String> {
        let owned = |(name, value): &(&str, &str)| {
            (format!("WRITE_BEHIND_TRACES_{name}"), (*value).to_owned())
        };
        let config = Config::read(LEAST, &variables.iter().map(owned).collect());
        config.map(|config| config.traces).map_err(|error| error.to_string())
    }

    #[test]
    fn spans_are_sent_nowhere_unless_a_collector_is_named() {
        assert_eq!(read(&[]), Ok(None));
        assert_eq!(read(&[("MAX_RECORDS", "5")]), Ok(None));
    }

    #[test]
    #[cfg(feature = "otlp")]
    fn a_collector_is_named_with_or_without_the_path_of_spans() {
        let settings = |max_records| {
            Some(TraceSettings { endpoint: "http://c:4318/v1/traces".to_owned(), max_records })
        };
        for endpoint in ["http://c:4318", " http://c:4318/ ", "http://c:4318/v1/traces"] {
            assert_eq!(read(&[("ENDPOINT", endpoint)]), Ok(settings(32)), "{endpoint}");
        }
        let both = [("ENDPOINT", "http://c:4318"), ("MAX_RECORDS", "5")];
        assert_eq!(read(&both), Ok(settings(5)));
    }

    #[test]
    fn what_takes_no_spans_is_refused_with_the_mend() {
        let refusal = |name, value| read(&[(name, value)]).unwrap_err();
        let endpoint = |value| refusal("ENDPOINT", value);
        if cfg!(feature = "otlp") {
            assert!(endpoint("https://c:4318").contains("run a collector beside this process"));
            for value in ["c:4318", "", "grpc://c:4317", "http://"] {
                assert!(endpoint(value).contains("write it like http://"), "{value}");
            }
        } else {
            assert!(endpoint("http://c:4318").contains("--features otlp"));
        }
        assert!(refusal("MAX_RECORDS", "0").starts_with("`traces.max_records`: is 0"));
        assert!(refusal("MAX_RECORDS", "many").contains("is not a number"));
    }
}
