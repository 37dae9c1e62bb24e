//! Common to all Kafka clients of this crate: their log lines, and a consumer's properties.

use std::error::Error;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::client::{ClientContext, OAuthToken};
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaConfRes;
use tracing::{debug, error, info, warn};

use crate::core::reason::{KafkaCause, Reason};
use crate::core::repeats::Repeats;
use crate::error::BuildError;
use crate::kafka::codes::{cause_of, reason_of_error};
use crate::kafka::connection::{Connection, Tokens};
use crate::kafka::offsets::NoAnswer;

/// The context of a client whose errors only go to the log: what matters is whether it answers.
#[derive(Debug, Default)]
pub(crate) struct QuietContext {
    lines: LogLines,
    /// The cause of the last error, unless that only says that no broker is left.
    cause: Mutex<Option<KafkaCause>>,
    tokens: Tokens,
    /// A token was asked for.
    has_token: AtomicBool,
}

/// What a client of librdkafka has logged lately.
#[derive(Debug, Default)]
pub(crate) struct LogLines {
    repeats: Mutex<Repeats>,
    trouble: Mutex<Option<String>>,
}

impl QuietContext {
    /// Of a client of this connection.
    pub(crate) fn of(connection: &Connection) -> Self {
        Self { tokens: connection.tokens.clone(), ..Self::default() }
    }

    /// The last trouble with a broker that the client has logged.
    pub(crate) fn trouble(&self) -> Option<Reason> {
        let text = self.lines.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()?;
        let cause = *self.cause.lock().unwrap_or_else(PoisonError::into_inner);
        Some(Reason::of_kafka(cause.unwrap_or(KafkaCause::Unreachable), text))
    }
}

impl ClientContext for QuietContext {
    // Asked only where librdkafka has no token of its own.
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn generate_oauth_token(&self, _: Option<&str>) -> Result<OAuthToken, Box<dyn Error>> {
        let token = self.tokens.next();
        self.has_token.store(true, Ordering::Release);
        self.lines.tell_login(&token);
        if let Err(error) = &token {
            // Nothing else that the client says of its brokers tells why.
            self.lines.set_trouble(error.to_string());
            *self.cause.lock().unwrap_or_else(PoisonError::into_inner) =
                Some(KafkaCause::NotAuthenticated);
        }
        token
    }

    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.lines.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        debug!(%error, reason, "kafka client that asks or follows");
        let cause = error.rdkafka_error_code().map(cause_of);
        if let Some(cause) = cause.filter(|cause| *cause != KafkaCause::Unreachable) {
            *self.cause.lock().unwrap_or_else(PoisonError::into_inner) = Some(cause);
        }
    }
}

impl ConsumerContext for QuietContext {}

impl From<KafkaError> for NoAnswer {
    fn from(error: KafkaError) -> Self {
        Self(reason_of_error(&error))
    }
}

/// The properties of a consumer that asks about `group`: `defaults`, overridden by those of
/// `settings` that suit a consumer, overridden by what is `fixed`.
pub(crate) fn consumer_config(
    Connection { settings, .. }: &Connection,
    group: &str,
    defaults: &[(&str, &str)],
    fixed: &[(&str, &str)],
) -> ClientConfig {
    let properties = settings.with(defaults, fixed);
    let mut config: ClientConfig = properties.filter(|(name, _)| suits_a_consumer(name)).collect();
    config.set("group.id", group);
    config
}

/// A producer's tuning means nothing to a consumer, which would warn of each. Statistics and debug
/// lines are asked of the client that carries the writes; here they would only be thrown away.
pub(crate) fn suits_a_consumer(property: &str) -> bool {
    let of_producers = ["linger.", "queue.buffering.", "batch.", "compression.", "sticky."];
    let exactly = [
        "retries",
        "message.send.max.retries",
        "retry.backoff.ms",
        "delivery.report.only.error",
        "dr_msg_cb",
        "group.id",
        "statistics.interval.ms",
        "debug",
    ];
    !of_producers.iter().any(|prefix| property.starts_with(prefix)) && !exactly.contains(&property)
}

/// Serves what librdkafka has queued for a consumer that is given no records: log lines, errors,
/// tokens to refresh. Unserved it is kept for ever, and nobody sees it.
pub(crate) fn serve(consumer: &BaseConsumer<QuietContext>) {
    while consumer.poll(Duration::ZERO).is_some() {}
}

/// Serves a consumer until it has asked for the token that it logs in with: the next question would
/// block, and nothing would serve it meanwhile.
pub(crate) fn serve_login(consumer: &BaseConsumer<QuietContext>, timeout: Duration) {
    let (context, start) = (consumer.context(), Instant::now());
    serve(consumer);
    while context.tokens.are_given()
        && !context.has_token.load(Ordering::Acquire)
        && start.elapsed() < timeout
    {
        let _ = consumer.poll(Duration::from_millis(10));
    }
}

/// Why a client cannot be made, without the value of any property: it may be a password.
pub(crate) fn client_refused(error: &KafkaError) -> BuildError {
    BuildError::Client(match error {
        KafkaError::ClientConfig(RDKafkaConfRes::RD_KAFKA_CONF_UNKNOWN, _, property, _) => {
            format!("librdkafka has no property `{property}`; correct its name")
        }
        KafkaError::ClientConfig(_, _, property, _) => {
            format!("librdkafka does not accept the value of `{property}`")
        }
        error => error.to_string(),
    })
}

impl LogLines {
    /// Passes one of librdkafka's own log lines on, unless it says what the last ones said.
    pub(crate) fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        // It is ours, and used for what it is meant for.
        let is_ours = message.contains("enable.gapless.guarantee");
        let level = match level {
            RDKafkaLogLevel::Warning if is_ours => RDKafkaLogLevel::Debug,
            level => level,
        };
        if matches!(level, RDKafkaLogLevel::Debug) {
            debug!(target: "librdkafka", facility, "{message}");
            return;
        }
        if facility == "FAIL" {
            self.set_trouble(message.rsplit("]: ").next().unwrap_or(message).to_owned());
        }
        let mut repeats = self.repeats.lock().unwrap_or_else(PoisonError::into_inner);
        let left_out = repeats.look(message, Instant::now());
        // What keeps the log is a stranger's code, and may write to this very handle.
        drop(repeats);
        let Some(left_out) = left_out else { return };
        match level {
            RDKafkaLogLevel::Emerg
            | RDKafkaLogLevel::Alert
            | RDKafkaLogLevel::Critical
            | RDKafkaLogLevel::Error => {
                error!(target: "librdkafka", facility, left_out, "{message}");
            }
            RDKafkaLogLevel::Warning => {
                warn!(target: "librdkafka", facility, left_out, "{message}");
            }
            RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info | RDKafkaLogLevel::Debug => {
                info!(target: "librdkafka", facility, left_out, "{message}");
            }
        }
    }

    /// Logs that there is no token to log in with, unless that was told just now.
    pub(crate) fn tell_login(&self, token: &Result<OAuthToken, Box<dyn Error>>) {
        if let Err(error) = token
            && self.is_news(&error.to_string())
        {
            warn!(%error, "no token to log in to kafka with; it is asked for again");
        }
    }

    fn set_trouble(&self, trouble: String) {
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = Some(trouble);
    }

    /// Whether an error is news: they repeat as log lines do.
    pub(crate) fn is_news(&self, error: &str) -> bool {
        let mut repeats = self.repeats.lock().unwrap_or_else(PoisonError::into_inner);
        repeats.look(error, Instant::now()).is_some()
    }
}

#[cfg(test)]
#[path = "tests/settings.rs"]
mod tests;
