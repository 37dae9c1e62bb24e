//! A service whose right to write is taken away for a while, by a real authorizer: what it accepts
//! meanwhile is kept, and goes into the log in order once it has the right again.

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

#[derive(Serialize, Deserialize)]
struct Row {
    n: u32,
}

type Handle = WriteBehind<String, Row>;

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
    let properties = [
        ("bootstrap.servers", format!("localhost:{}", kafka.port())),
        ("security.protocol", "sasl_ssl".to_owned()),
        ("ssl.ca.location", authority.display().to_string()),
        ("sasl.mechanism", "SCRAM-SHA-512".to_owned()),
        ("sasl.username", USER.to_owned()),
        ("sasl.password", PASSWORD.to_owned()),
        ("broker.address.family", "v4".to_owned()),
    ];
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
