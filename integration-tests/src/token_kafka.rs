//! A broker that lets in only who has a token that is still good, and a maker of such tokens.
//!
//! The tokens are unsecured ones (RFC 7515, without a signature), which Kafka's own login module takes
//! unless it is told otherwise: no identity service is needed, and all else is as with signed ones.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Result;
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::json;
use testcontainers::ImageExt;
use testcontainers::core::IntoContainerPort;

use crate::containers::{self, Container};
use crate::kafka;
use crate::log::Log;

/// How long a connection may be used before its client must show a token again.
pub const SESSION: Duration = Duration::from_secs(3);

/// A broker with a listener for SASL/OAUTHBEARER, and one for the tests themselves.
#[derive(Debug)]
pub struct TokenKafka {
    _container: Container,
    direct: u16,
    tokens: u16,
}

impl TokenKafka {
    /// Starts it.
    pub async fn start() -> Result<Self> {
        let request = |[direct, tokens]: [u16; 2]| {
            let advertised = format!(
                "DIRECT://127.0.0.1:{direct},TOKENS://127.0.0.1:{tokens},INSIDE://localhost:9093"
            );
            kafka::single()
                .with_mapped_port(direct, 9092.tcp())
                .with_mapped_port(tokens, 9095.tcp())
                .with_env_var(
                    "KAFKA_LISTENERS",
                    "DIRECT://:9092,INSIDE://:9093,CONTROLLER://:9094,TOKENS://:9095",
                )
                .with_env_var("KAFKA_ADVERTISED_LISTENERS", advertised)
                .with_env_var(
                    "KAFKA_LISTENER_SECURITY_PROTOCOL_MAP",
                    "DIRECT:PLAINTEXT,INSIDE:PLAINTEXT,CONTROLLER:PLAINTEXT,TOKENS:SASL_PLAINTEXT",
                )
                .with_env_var("KAFKA_SASL_ENABLED_MECHANISMS", "OAUTHBEARER")
                .with_env_var(
                    "KAFKA_LISTENER_NAME_TOKENS_OAUTHBEARER_SASL_JAAS_CONFIG",
                    "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required \
                     unsecuredLoginStringClaim_sub=\"broker\";",
                )
                .with_env_var(
                    "KAFKA_LISTENER_NAME_TOKENS_OAUTHBEARER_CONNECTIONS_MAX_REAUTH_MS",
                    SESSION.as_millis().to_string(),
                )
        };
        let (container, [direct, tokens]) = containers::start(request).await?;
        kafka::answers(&format!("127.0.0.1:{direct}")).await?;
        Ok(Self { _container: container, direct, tokens })
    }

    /// Where clients with tokens connect.
    pub fn bootstrap(&self) -> String {
        format!("127.0.0.1:{}", self.tokens)
    }

    /// A topic, and the tests' own client.
    pub async fn create_topic(&self, name: &str, partitions: i32) -> Result<Log> {
        let direct = format!("127.0.0.1:{}", self.direct);
        kafka::create_topic(&direct, name, partitions, 1).await?;
        Log::new(&direct)
    }
}

/// A token of `principal` that is good until `expires_at`.
pub fn token(principal: &str, expires_at: SystemTime) -> Result<String> {
    let seconds = expires_at.duration_since(UNIX_EPOCH)?.as_secs_f64();
    let part = |part: serde_json::Value| BASE64_URL_SAFE_NO_PAD.encode(part.to_string());
    let claims = json!({ "sub": principal, "exp": seconds });
    Ok(format!("{}.{}.", part(json!({ "alg": "none" })), part(claims)))
}
