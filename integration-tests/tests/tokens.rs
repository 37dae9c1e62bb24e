//! A service that logs in with tokens, before a real broker that takes no expired one and lets no
//! connection live for long without another.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use anyhow::{Result, ensure};
use integration_tests::fold::fold;
use integration_tests::token_kafka::{TokenKafka, token};
use integration_tests::wait::{PATIENCE, Seen, soon, until};
use serde_json::{Value, json};
use write_behind_producer::{AccessToken, BuildError, Kafka, WriteBehind};

const TOPIC: &str = "tokens";
const GROUP: &str = "tokens-writer";
const PARTITIONS: i32 = 2;
/// Shorter than a session of the broker's is long, so that each login needs a new one.
const LIFETIME: Duration = Duration::from_secs(5);

/// Stands for a service's code that asks an identity service.
#[derive(Clone, Default)]
struct Identity {
    /// When the tokens that were given expire.
    given: Arc<Mutex<Vec<SystemTime>>>,
    is_away: Arc<AtomicBool>,
}

impl Identity {
    fn next(&self) -> Result<AccessToken> {
        ensure!(!self.is_away.load(Ordering::Acquire), "the identity service is away");
        let expires_at = SystemTime::now() + LIFETIME;
        self.given.lock().unwrap_or_else(PoisonError::into_inner).push(expires_at);
        let principal = "service".to_owned();
        Ok(AccessToken { token: token(&principal, expires_at)?, principal, expires_at })
    }

    /// Until all tokens that it has given so far are expired.
    async fn all_expire(&self) -> Result<()> {
        let given = self.given.lock().unwrap_or_else(PoisonError::into_inner).clone();
        until("the tokens to expire", PATIENCE, async || {
            let good = given.iter().filter(|expires| SystemTime::now() <= **expires).count();
            Ok(Seen::when(good == 0, || format!("{good} are good")))
        })
        .await
    }
}

fn kafka(
    broker: &TokenKafka,
    tokens: impl Fn() -> Result<AccessToken> + Send + Sync + 'static,
) -> Result<Kafka, BuildError> {
    let bootstrap = broker.bootstrap();
    let properties = [
        ("bootstrap.servers", &*bootstrap),
        ("security.protocol", "sasl_plaintext"),
        ("sasl.mechanisms", "OAUTHBEARER"),
        ("reconnect.backoff.max.ms", "1000"),
    ];
    Kafka::with_tokens(properties, tokens)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_logs_in_with_tokens_gets_new_ones_and_goes_on_for_longer_than_any_lasts()
-> Result<()> {
    let broker = TokenKafka::start().await?;
    let log = broker.create_topic(TOPIC, PARTITIONS).await?;
    let identity = Identity::default();
    let source = identity.clone();
    let kafka = kafka(&broker, move || source.next())?;
    let rows: WriteBehind<i64, Value> =
        kafka.builder(TOPIC).sink_group(GROUP).follow(true).build().await?;
    for round in 0..3 {
        for n in 0..10 {
            rows.put(&n, &json!({ "n": round * 10 + n })).await?;
        }
        soon("the writes", rows.replicated_all()).await??;
        // Stands for the consumer: what it has committed is persisted, which another client asks.
        let ends = log.ends(TOPIC, PARTITIONS).await?;
        log.commit(GROUP, TOPIC, &ends).await?;
        soon("the database", rows.persisted_all()).await??;
        until("the tail to be current", PATIENCE, async || {
            Ok(Seen::when(rows.tail_is_current(), || "it is behind".to_owned()))
        })
        .await?;
        identity.all_expire().await?;
    }
    soon("the end", rows.close(PATIENCE)).await??;
    let folded = fold(log.read_all(TOPIC, PARTITIONS).await?)?;
    ensure!(folded.kept.len() == 30 && folded.missing.is_empty(), "{:?}", folded.missing);
    let last: BTreeMap<String, Value> =
        (0..10).map(|n| (n.to_string(), json!({ "n": 20 + n }))).collect();
    ensure!(folded.rows == last, "{:?}", folded.rows);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn while_no_token_is_to_be_had_writes_are_kept_and_a_handle_that_is_built_says_why_not()
-> Result<()> {
    let broker = TokenKafka::start().await?;
    let log = broker.create_topic(TOPIC, PARTITIONS).await?;
    let identity = Identity::default();
    identity.is_away.store(true, Ordering::Release);
    let source = identity.clone();
    let kafka = kafka(&broker, move || source.next())?;
    let builder = || kafka.builder::<i64, Value>(TOPIC).sink_group(GROUP);
    let early = builder().start_timeout(Duration::from_secs(2)).build().await.map(drop);
    let error = early.err().map(|error| error.to_string()).unwrap_or_default();
    ensure!(error.contains("the identity service is away"), "{error}");

    identity.is_away.store(false, Ordering::Release);
    let rows = builder().start_timeout(PATIENCE).build().await?;
    soon("a write", rows.put(&1, &json!({ "n": 1 })).await?.replicated()).await??;
    identity.is_away.store(true, Ordering::Release);
    identity.all_expire().await?;
    let kept = rows.put(&1, &json!({ "n": 2 })).await?;
    identity.is_away.store(false, Ordering::Release);
    soon("a write that was kept", kept.replicated()).await??;
    let folded = fold(log.read_all(TOPIC, PARTITIONS).await?)?;
    ensure!(folded.rows.get("1") == Some(&json!({ "n": 2 })), "{:?}", folded.rows);
    Ok(())
}
