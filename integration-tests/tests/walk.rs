//! The newcomer's walk: `docs/walk.md`, run as it is written, with the unmodified binary, a real
//! Kafka and a real Postgres.

use anyhow::Result;
use integration_tests::binary;
use integration_tests::containers::free_port;
use integration_tests::kafka::Kafka;
use integration_tests::postgres::Postgres;
use integration_tests::walk::Shell;

const PAGE: &str = include_str!("../../docs/walk.md");

/// `docker compose -f FILE exec -T SERVICE COMMAND` reaches the tests' containers.
const PRELUDE: &str = r#"docker() {
    local container
    case "$6" in
        kafka) container=$KAFKA_CONTAINER ;;
        postgres) container=$POSTGRES_CONTAINER ;;
        *) echo "no container for: $*" >&2; return 1 ;;
    esac
    shift 6
    command docker exec -i "$container" "$@"
}"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_newcomers_walk_prints_what_its_page_says() -> Result<()> {
    let (kafka, postgres) = tokio::try_join!(Kafka::start(), Postgres::start())?;
    let folder = tempfile::tempdir()?;
    let binaries = binary::folder().await?;
    let path = std::env::var("PATH").unwrap_or_default();
    let variables = [
        ("PATH", format!("{}:{path}", binaries.display())),
        ("KAFKA_CONTAINER", kafka.container().to_owned()),
        ("POSTGRES_CONTAINER", postgres.container().to_owned()),
        // The page's configuration names the ports of the compose file.
        ("WRITE_BEHIND_KAFKA_BOOTSTRAP_SERVERS", kafka.bootstrap()),
        ("WRITE_BEHIND_DATABASE_URL", Postgres::url_by_way_of(postgres.port())),
        ("WRITE_BEHIND_HTTP_LISTEN", format!("127.0.0.1:{}", free_port()?)),
        ("POSTGRES_PASSWORD", "write-behind".to_owned()),
        ("NO_COLOR", "1".to_owned()),
    ];
    let mut shell = Shell::start(folder.path(), &variables, PRELUDE).await?;
    let walked = shell.walk(PAGE).await;
    // What the page left running in the background must not outlive it.
    shell.run("kill $(jobs -p) 2>/dev/null; true").await?;
    shell.end().await?;
    walked
}
