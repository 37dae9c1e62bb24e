//! A service whose right to write is taken away for a while, by a real authorizer: what it accepts
//! meanwhile is kept, and goes into the log in order once it has the right again.

use std::path::Path;
use std::time::Duration;

use anyhow::{Result, ensure};
use integration_tests::certificates::Certificates;
use integration_tests::fold::fold;
use integration_tests::secure::{SecureKafka, USER};
use integration_tests::wait::soon;
use serde::{Deserialize, Serialize};
use serde_json::json;
use write_behind_producer::{Event, WriteBehind};

const TOPIC: &str = "rights";
const GROUP: &str = "rights-writer";
const PASSWORD: &str = "swordfish";
const PARTITIONS: i32 = 2;
const KEYS: u32 = 10;
const SOON: Duration = Duration::from_secs(5);

#[derive(Serialize, Deserialize)]
struct Row {
    n: u32,
}

type Handle = WriteBehind<String, Row>;

/// A client of [`USER`].
fn properties(kafka: &SecureKafka, authority: &Path) -> [(&'static str, String); 7] {
    [
        ("bootstrap.servers", format!("localhost:{}", kafka.port())),
        ("security.protocol", "sasl_ssl".to_owned()),
        ("ssl.ca.location", authority.display().to_string()),
        ("sasl.mechanism", "SCRAM-SHA-512".to_owned()),
        ("sasl.username", USER.to_owned()),
        ("sasl.password", PASSWORD.to_owned()),
        ("broker.address.family", "v4".to_owned()),
    ]
}

async fn write(handle: &Handle, numbers: std::ops::Range<u32>) -> Result<()> {
    for n in numbers {
        handle.put(&format!("key-{}", n % KEYS), &Row { n }).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_right_to_write_that_is_taken_away_for_a_while_costs_no_write_and_no_order() -> Result<()>
{
    let certificates = Certificates::new()?;
    let kafka = SecureKafka::start(&certificates).await?;
    let log = kafka.create_topic(TOPIC, PARTITIONS).await?;
    kafka.let_in(PASSWORD, TOPIC, GROUP).await?;
    kafka.may_write(TOPIC, true).await?;
    let files = tempfile::tempdir()?;
    let authority = files.path().join("authority.pem");
    std::fs::write(&authority, &certificates.authority)?;
    let properties = properties(&kafka, &authority);
    let handle = Handle::builder(TOPIC, properties).sink_group(GROUP).build().await?;
    let mut events = handle.events();
    write(&handle, 0..500).await?;
    soon("the first writes", handle.replicated_all()).await??;

    kafka.may_write(TOPIC, false).await?;
    write(&handle, 500..1_000).await?;
    let held = soon("a partition to be held", events.next()).await?;
    ensure!(matches!(held, Some(Event::WritesHeld { .. })), "{held:?}");
    write(&handle, 1_000..1_500).await?;

    kafka.may_write(TOPIC, true).await?;
    write(&handle, 1_500..2_000).await?;
    soon("all writes", handle.replicated_all()).await??;
    let folded = fold(log.read_all(TOPIC, PARTITIONS).await?)?;
    assert!(folded.missing.is_empty(), "{:?}", folded.missing);
    assert_eq!(folded.kept.len(), 2_000, "each write once");
    for key in 0..KEYS {
        let last = json!({"n": 2_000 - KEYS + key});
        assert_eq!(folded.rows.get(&format!("key-{key}")), Some(&last));
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_producer_needs_no_more_than_the_documented_rights_and_read_only_to_follow() -> Result<()>
{
    let certificates = Certificates::new()?;
    let kafka = SecureKafka::start(&certificates).await?;
    let log = kafka.create_topic(TOPIC, PARTITIONS).await?;
    kafka.let_in_to_write(PASSWORD, TOPIC, GROUP).await?;
    let files = tempfile::tempdir()?;
    let authority = files.path().join("authority.pem");
    std::fs::write(&authority, &certificates.authority)?;
    let builder = || Handle::builder(TOPIC, properties(&kafka, &authority)).sink_group(GROUP);
    let handle = builder().build().await?;
    write(&handle, 0..100).await?;
    soon("the writes", handle.replicated_all()).await??;
    let ends = log.ends(TOPIC, PARTITIONS).await?;
    log.commit(GROUP, TOPIC, &ends).await?;
    soon("the database", handle.persisted_all()).await??;
    // To follow is to read what the database does not have.
    write(&handle, 100..200).await?;
    soon("more writes", handle.replicated_all()).await??;
    let follows = builder().follow(true).start_timeout(SOON).build().await.map(drop);
    ensure!(follows.is_err(), "it follows what it may not read");
    Ok(())
}
