//! How Kafka is reached: librdkafka's properties, and tokens to log in with.

use std::error::Error;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use rdkafka::client::OAuthToken;
use write_behind_shared::kafka::KafkaSettings;

/// A token for `SASL/OAUTHBEARER`, as a service gives it.
#[derive(Clone, PartialEq, Eq)]
pub struct AccessToken {
    /// What the broker is sent.
    pub token: String,
    /// The principal that it is for.
    pub principal: String,
    /// When it expires. A new one is asked for when four fifths of the time until then are over.
    pub expires_at: SystemTime,
}

/// What all clients of this crate are made with.
#[derive(Clone, Debug)]
pub(crate) struct Connection {
    pub(crate) settings: KafkaSettings,
    pub(crate) tokens: Tokens,
}

/// Where tokens come from.
#[derive(Clone, Default)]
pub(crate) struct Tokens(Option<Arc<TokenSource>>);

type TokenSource = dyn Fn() -> Result<AccessToken, Box<dyn Error + Send + Sync>> + Send + Sync;

impl Tokens {
    /// From a service's own code.
    pub(crate) fn of<E>(tokens: impl Fn() -> Result<AccessToken, E> + Send + Sync + 'static) -> Self
    where
        E: Into<Box<dyn Error + Send + Sync>>,
    {
        Self(Some(Arc::new(move || tokens().map_err(Into::into))))
    }

    /// Whether there is such code.
    pub(crate) fn are_given(&self) -> bool {
        self.0.is_some()
    }

    /// A token for librdkafka, which asks for one if `sasl.mechanisms` is `OAUTHBEARER` and it makes
    /// none itself.
    pub(crate) fn next(&self) -> Result<OAuthToken, Box<dyn Error>> {
        let Some(tokens) = &self.0 else {
            return Err("a login by OAUTHBEARER needs tokens: use `Kafka::with_tokens`".into());
        };
        let AccessToken { token, principal, expires_at } =
            tokens().map_err(|error| error as Box<dyn Error>)?;
        let lifetime = expires_at.duration_since(UNIX_EPOCH)?.as_millis();
        let lifetime_ms = i64::try_from(lifetime)?;
        Ok(OAuthToken { token, principal_name: principal, lifetime_ms })
    }
}

impl From<KafkaSettings> for Connection {
    fn from(settings: KafkaSettings) -> Self {
        Self { settings, tokens: Tokens::default() }
    }
}

impl std::fmt::Debug for AccessToken {
    /// Without the token.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AccessToken")
            .field("principal", &self.principal)
            .field("expires_at", &self.expires_at)
            .finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Tokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tokens").field("given", &self.are_given()).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_token_is_handed_on_with_its_end_and_never_shown() {
        let token = AccessToken {
            token: "secret".to_owned(),
            principal: "scores".to_owned(),
            expires_at: UNIX_EPOCH + Duration::from_millis(1_234),
        };
        assert!(!format!("{token:?}").contains("secret"));
        let tokens = Tokens::of(move || Ok::<_, std::io::Error>(token.clone()));
        let next = tokens.next().unwrap();
        assert_eq!((&*next.token, &*next.principal_name), ("secret", "scores"));
        assert_eq!(next.lifetime_ms, 1_234);
    }

    #[test]
    fn without_a_source_the_error_says_what_to_do_and_a_source_s_own_error_is_told() {
        let none = Tokens::default().next().map(drop).unwrap_err().to_string();
        assert!(none.contains("Kafka::with_tokens"), "{none}");
        let failing = Tokens::of(|| Err::<AccessToken, _>("the identity service is away"));
        let told = failing.next().map(drop).unwrap_err().to_string();
        assert_eq!(told, "the identity service is away");
    }
}
