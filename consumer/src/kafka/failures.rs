//! Why a client's connections fail: each broker's address, and the cause in plain words.
//!
//! librdkafka tells a cause once, in an event beside the question that is waiting, and holds equal
//! ones back for half a minute. So the last cause of each address is kept until Kafka answers.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rdkafka::error::{KafkaError, RDKafkaErrorCode};

/// How many addresses are named.
const NAMED_MAX: usize = 3;

/// The failures of one client's connections since Kafka last answered.
#[derive(Debug, Default)]
pub(crate) struct ConnectionFailures {
    /// Whether there are any, so that a client that reads records locks nothing.
    any: AtomicBool,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    causes: BTreeMap<String, String>,
    all_down: bool,
}

impl ConnectionFailures {
    /// Takes an error as the client tells it.
    pub(super) fn note(&self, error: &KafkaError, reason: &str) {
        let code = error.rdkafka_error_code();
        let mut known = self.lock();
        self.any.store(true, Ordering::Relaxed);
        if code == Some(RDKafkaErrorCode::AllBrokersDown) {
            known.all_down = true;
        } else {
            let (address, cause) = cause(reason);
            known.causes.insert(address, cause);
        }
    }

    /// The causes, with their addresses.
    pub(super) fn causes(&self) -> Option<String> {
        let known = self.lock();
        let named: Vec<String> = known
            .causes
            .iter()
            .take(NAMED_MAX)
            .map(|(address, cause)| match &**address {
                "" => cause.clone(),
                address => format!("{address}: {cause}"),
            })
            .collect();
        (!named.is_empty()).then(|| named.join("; "))
    }

    /// Whether no broker is left that could still answer.
    pub(super) fn all_down(&self) -> bool {
        self.lock().all_down
    }

    /// Kafka answered.
    pub(super) fn clear(&self) {
        if self.any.load(Ordering::Relaxed) && self.any.swap(false, Ordering::Relaxed) {
            *self.lock() = Known::default();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether an error is one of a connection, so that its cause is known here.
pub(super) fn is_of_connection(error: &KafkaError) -> bool {
    use RDKafkaErrorCode::{AllBrokersDown, Authentication, BrokerTransportFailure, Resolve, SSL};
    let code = error.rdkafka_error_code();
    let of_connections = [AllBrokersDown, Authentication, BrokerTransportFailure, Resolve, SSL];
    code.is_some_and(|code| of_connections.contains(&code))
}

/// The address and the cause in a reason such as
/// `ssl://b:9093/bootstrap: Connect to ipv4#10.0.0.1:9093 failed: Connection refused (after 0ms in
/// state CONNECT)`.
fn cause(reason: &str) -> (String, String) {
    let text = reason.split(" (after ").next().unwrap_or(reason);
    let (name, text) = text.split_once(": ").unwrap_or(("", text));
    // A group's coordinator is named by its task; its address comes next.
    let (name, text) = match text.split_once(": ") {
        Some((address, rest)) if !name.contains(':') && has_port(address) => (address, rest),
        _ => (name, text),
    };
    let address = name.split_once("://").map_or(name, |(_, rest)| rest);
    let address = address.split('/').next().unwrap_or(address);
    (address.to_owned(), in_words(text))
}

fn has_port(address: &str) -> bool {
    let port = address.rsplit_once(':').map(|(_, port)| port);
    port.is_some_and(|port| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()))
}

fn in_words(text: &str) -> String {
    let says = |words: &str| text.contains(words);
    let known = if says("Connection refused") {
        "connection refused"
    } else if says("Failed to resolve") {
        "the name does not resolve"
    } else if says("PLAINTEXT broker listener") || says("wrong version number") {
        "it speaks no TLS: is `security.protocol` right?"
    } else if says("SSL listener?") {
        "it closes the connection at once: is it a TLS port (`security.protocol`), or no Kafka?"
    } else if says("might require SASL authentication") {
        "it closes the connection: does it want a login (`security.protocol`, `sasl.mechanism`)?"
    } else if says("certificate could not be verified") || says("certificate verify failed") {
        return format!("its certificate is not accepted ({text}); is `ssl.ca.location` right?");
    } else if says("Connection setup timed out") {
        "it does not take the connection: is there a firewall?"
    } else if says("ApiVersionRequest failed") || says("Invalid response size") {
        // librdkafka takes the first bytes of another protocol for a size, and advises to allow it.
        "it answers nothing that Kafka would: is it a TLS port, or no Kafka?"
    } else {
        return text.to_owned();
    };
    known.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRANSPORT: KafkaError = KafkaError::Global(RDKafkaErrorCode::BrokerTransportFailure);

    #[test]
    fn a_reason_of_the_client_becomes_an_address_and_a_cause() {
        for (reason, address, said) in [
            (
                "127.0.0.1:9999/bootstrap: Connect to ipv4#127.0.0.1:9999 failed: Connection refused \
                 (after 0ms in state CONNECT)",
                "127.0.0.1:9999",
                "connection refused",
            ),
            (
                "kafka.nosuch:9092/bootstrap: Failed to resolve 'kafka.nosuch:9092': Name or service \
                 not known (after 21ms in state CONNECT)",
                "kafka.nosuch:9092",
                "the name does not resolve",
            ),
            (
                "ssl://[::1]:9092/1: SSL handshake failed: Disconnected: connecting to a PLAINTEXT \
                 broker listener? (after 3ms in state SSL_HANDSHAKE, 4 identical error(s) suppressed)",
                "[::1]:9092",
                "it speaks no TLS: is `security.protocol` right?",
            ),
            (
                "b:9093/bootstrap: Disconnected: requesting ApiVersion: might be caused by incorrect \
                 security.protocol configuration (connecting to a SSL listener?) or broker version is \
                 < 0.10 (see api.version.request) (after 1ms in state APIVERSION_QUERY)",
                "b:9093",
                "it closes the connection at once: is it a TLS port (`security.protocol`), or no \
                 Kafka?",
            ),
            (
                "db:5432/bootstrap: Receive failed: Invalid response size 1157627904 (0..100000000): \
                 increase receive.message.max.bytes (after 2ms in state APIVERSION_QUERY)",
                "db:5432",
                "it answers nothing that Kafka would: is it a TLS port, or no Kafka?",
            ),
            (
                "GroupCoordinator: b-2:9092: Disconnected (after 5ms in state UP)",
                "b-2:9092",
                "Disconnected",
            ),
            (
                "sasl_plaintext://b:9092/bootstrap: SASL authentication error: Authentication failed \
                 during authentication due to invalid credentials (after 9ms in state AUTH_REQ)",
                "b:9092",
                "SASL authentication error: Authentication failed during authentication due to invalid \
                 credentials",
            ),
            ("out of memory", "", "out of memory"),
        ] {
            assert_eq!(cause(reason), (address.to_owned(), said.to_owned()), "{reason}");
        }
    }

    #[test]
    fn the_last_cause_of_each_address_is_kept_until_kafka_answers() {
        let failures = ConnectionFailures::default();
        assert_eq!(failures.causes(), None);
        failures.note(&TRANSPORT, "a:1/1: Disconnected (after 1ms in state UP)");
        failures.note(&TRANSPORT, "a:1/1: Connect to ipv4#a failed: Connection refused");
        failures.note(&TRANSPORT, "b:2/2: Failed to resolve 'b:2': unknown");
        let down = KafkaError::Global(RDKafkaErrorCode::AllBrokersDown);
        assert!(!failures.all_down());
        failures.note(&down, "2/2 brokers are down");
        assert!(failures.all_down());
        let both = "a:1: connection refused; b:2: the name does not resolve";
        assert_eq!(failures.causes().as_deref(), Some(both));
        failures.clear();
        assert!(failures.causes().is_none() && !failures.all_down());
    }
}
