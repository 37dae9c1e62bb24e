//! The properties under `[kafka]`, judged by librdkafka before there is a client.
//!
//! A client's own error would quote the value, which may be a password under a misspelt name.

use std::path::Path;

use rdkafka::config::ClientConfig;
use rdkafka::consumer::BaseConsumer;
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaConfRes;
use write_behind_shared::kafka::KafkaSettings;

use crate::config::ConfigError;
use crate::config::error::refuse;
use crate::core::nearest::did_you_mean;
use crate::kafka::client::{Quiet, client_config};

/// What people set most, for a name that is nearly one of them.
const COMMON: [&str; 33] = [
    "bootstrap.servers",
    "client.id",
    "client.rack",
    "security.protocol",
    "sasl.mechanism",
    "sasl.mechanisms",
    "sasl.username",
    "sasl.password",
    "sasl.oauthbearer.config",
    "sasl.oauthbearer.method",
    "sasl.oauthbearer.client.id",
    "sasl.oauthbearer.client.secret",
    "sasl.oauthbearer.token.endpoint.url",
    "ssl.ca.location",
    "ssl.ca.pem",
    "ssl.certificate.location",
    "ssl.certificate.pem",
    "ssl.key.location",
    "ssl.key.pem",
    "ssl.key.password",
    "ssl.keystore.location",
    "ssl.keystore.password",
    "ssl.endpoint.identification.algorithm",
    "enable.ssl.certificate.verification",
    "session.timeout.ms",
    "heartbeat.interval.ms",
    "max.poll.interval.ms",
    "group.instance.id",
    "group.protocol",
    "partition.assignment.strategy",
    "fetch.max.bytes",
    "fetch.wait.max.ms",
    "broker.address.family",
];

/// Where the brokers are.
const BROKERS: [&str; 2] = ["bootstrap.servers", "metadata.broker.list"];

/// Properties of the Java client that librdkafka has under another name.
const OF_JAVA: [(&str, &str); 5] = [
    ("sasl.jaas.config", "set `sasl.username` and `sasl.password`"),
    ("ssl.truststore.location", "set `ssl.ca.location` to a file in PEM"),
    ("ssl.truststore.password", "remove it: `ssl.ca.location` is a file in PEM, which has none"),
    ("ssl.truststore.type", "remove it: `ssl.ca.location` is a file in PEM"),
    ("max.poll.records", "remove it: `batch.max_rows` and `memory.buffers` limit what is held"),
];

/// Checks that librdkafka takes all of `settings`.
///
/// # Errors
/// [`ConfigError`], with the property's name and never with its value.
pub fn check(settings: &KafkaSettings) -> Result<(), ConfigError> {
    for (name, value) in settings.iter() {
        let refused = |why: String| Err(refuse(format!("kafka.{name}"), why));
        if let Some((_, instead)) = OF_JAVA.iter().find(|(of_java, _)| *of_java == name) {
            return refused(format!("is a property of the Java client; {instead}"));
        }
        match ClientConfig::new().set(name, value).create_native_config() {
            Err(KafkaError::ClientConfig(RDKafkaConfRes::RD_KAFKA_CONF_UNKNOWN, ..)) => {
                let meant = did_you_mean(name, COMMON);
                return refused(format!("librdkafka has no such property{meant}"));
            }
            Err(KafkaError::ClientConfig(_, why, ..)) => {
                return refused(unfit(name, &why).to_owned());
            }
            Err(_) => return refused("its value has a NUL in it".to_owned()),
            Ok(_) => {}
        }
        let is_file = name.ends_with(".location") && value != "probe";
        if is_file && let Err(error) = Path::new(value).metadata() {
            return refused(format!("{value:?} can't be read: {error}"));
        }
    }
    Ok(())
}

/// Checks that a client can be made of them. Only a client tells what does not fit together, such as
/// a login without a password; without brokers it connects to nothing.
///
/// # Errors
/// [`ConfigError`], without a value.
pub fn fit_together(settings: &KafkaSettings) -> Result<(), ConfigError> {
    let is = |name: &str, value: &str| {
        settings.get(name).is_some_and(|is| is.trim().eq_ignore_ascii_case(value))
    };
    if ["sasl.mechanism", "sasl.mechanisms"].iter().any(|name| is(name, "OAUTHBEARER"))
        && !is("sasl.oauthbearer.method", "oidc")
    {
        let why = "OAUTHBEARER needs tokens, which write-behind gets from an identity service: set \
                   `sasl.oauthbearer.method` to \"oidc\"";
        return Err(refuse("kafka.sasl.mechanism", why));
    }
    let mut config = client_config(settings, "of-nobody");
    for broker in BROKERS {
        config.remove(broker);
    }
    match config.create_with_context::<_, BaseConsumer<Quiet>>(Quiet::default()) {
        Err(KafkaError::ClientCreation(why)) => {
            Err(refuse("kafka", format!("librdkafka can't make a client of it: {why}")))
        }
        _ => Ok(()),
    }
}

/// What librdkafka says, without the value that it quotes.
fn unfit(name: &str, why: &str) -> &'static str {
    if why.contains("not supported in this build") && name.starts_with("sasl.oauthbearer.") {
        return "this write-behind was built without it: it needs the feature `oidc`";
    }
    if why.contains("not supported in this build") {
        return "this write-behind was built without it: it needs OpenSSL";
    }
    if why.contains("outside allowed range") {
        return "its value is outside of the range that librdkafka allows";
    }
    "its value is none that librdkafka takes"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn properties_that_do_not_fit_together_are_refused_before_there_is_a_client() {
        let login = |more: &[(&'static str, &str)]| {
            let least = [
                ("bootstrap.servers", "b:1"),
                ("security.protocol", "sasl_plaintext"),
                ("sasl.mechanism", "PLAIN"),
            ];
            let all = least.iter().chain(more).map(|(name, value)| (*name, *value));
            let settings = KafkaSettings::new(all, &[]).unwrap();
            check(&settings).unwrap();
            fit_together(&settings).map_err(|error| error.to_string())
        };
        let told = "`kafka`: librdkafka can't make a client of it: sasl.username and sasl.password must be set";
        assert_eq!(login(&[]).unwrap_err(), told);
        assert_eq!(login(&[("sasl.username", "ada"), ("sasl.password", "hush")]), Ok(()));
        // Nobody would ever give it a token.
        let unsecured = ("enable.sasl.oauthbearer.unsecure.jwt", "true");
        let refused = login(&[("sasl.mechanism", "OAUTHBEARER"), unsecured]).unwrap_err();
        assert!(refused.contains("set `sasl.oauthbearer.method` to \"oidc\""), "{refused}");
    }

    fn refusal(name: &str, value: &str) -> Option<String> {
        let settings = KafkaSettings::new([("bootstrap.servers", "b:1"), (name, value)], &[]);
        check(&settings.unwrap()).err().map(|error| error.to_string())
    }

    #[test]
    fn a_property_that_librdkafka_does_not_take_is_refused_by_name_and_without_its_value() {
        for (name, value, told) in [
            (
                "sasl.passwrd",
                "hush",
                "librdkafka has no such property; did you mean `sasl.password`?",
            ),
            ("sasl.pasword", "hush", "did you mean `sasl.password`?"),
            ("session.timeout", "hush", "librdkafka has no such property"),
            ("sasl.jaas.config", "hush", "is a property of the Java client; set `sasl.username`"),
            ("security.protocol", "hush", "its value is none that librdkafka takes"),
            ("session.timeout.ms", "hush", "its value is none that librdkafka takes"),
            ("session.timeout.ms", "0", "outside of the range"),
            (
                "ssl.ca.location",
                "/nowhere/ca.pem",
                "\"/nowhere/ca.pem\" can't be read: No such file",
            ),
            ("client.id", "hush\0", "has a NUL"),
        ] {
            let refused = refusal(name, value).unwrap_or_else(|| panic!("{name} is taken"));
            assert!(refused.starts_with(&format!("`kafka.{name}`: ")), "{refused}");
            assert!(refused.contains(told) && !refused.contains("hush"), "{refused}");
        }
        for (name, value) in [("client.id", "x"), ("linger.ms", "5"), ("ssl.ca.location", "probe")]
        {
            assert_eq!(refusal(name, value), None, "{name}");
        }
    }

    #[test]
    fn every_property_that_is_suggested_exists() {
        for name in COMMON {
            let unknown = RDKafkaConfRes::RD_KAFKA_CONF_UNKNOWN;
            let set = ClientConfig::new().set(name, "x").create_native_config();
            let exists = !matches!(set, Err(KafkaError::ClientConfig(why, ..)) if why == unknown);
            assert!(exists, "{name}");
        }
    }
}
