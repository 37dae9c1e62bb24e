//! The example `wallets` as somebody runs it: a process of its own, Kafka, Postgres, and the consumer
//! beside it. Its requests do what they say, many at once lose nothing, and a new life of it goes on
//! where the last one was killed.

use std::path::Path;
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use integration_tests::binary;
use integration_tests::postgres::Postgres;
use integration_tests::stack::Pipeline;
use integration_tests::wait::{PATIENCE, soon};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, ChildStdout, Command};
use tokio::task::JoinSet;

const COLUMNS: &str = "id text primary key, owner text not null default '',
    cents bigint not null default 0, movements bigint not null default 0";
/// Requests at once on one wallet.
const AT_ONCE: i64 = 20;

/// A running `wallets`. Dropped, it is killed.
struct Wallets {
    child: Child,
    stdout: BufReader<ChildStdout>,
    address: String,
}

impl Wallets {
    async fn start(binary: &Path, pipeline: &Pipeline) -> Result<Self> {
        let mut child = Command::new(binary)
            .args(["--kafka", &pipeline.kafka.bootstrap()])
            .args(["--database", &Postgres::url_by_way_of(pipeline.postgres.port())])
            .args(["--topic", &pipeline.name, "--pipeline", &pipeline.group])
            .args(["--listen", "127.0.0.1:0"])
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("wallets")?;
        let mut stdout = BufReader::new(child.stdout.take().context("no pipe from wallets")?);
        let mut line = String::new();
        soon("wallets to listen", stdout.read_line(&mut line)).await??;
        let address = line.trim().strip_prefix("listening on http://").context(line.clone())?;
        Ok(Self { child, address: address.to_owned(), stdout })
    }

    /// How it ended after SIGTERM, and what it printed.
    async fn terminate(mut self) -> Result<(bool, String)> {
        let pid = self.child.id().context("it runs")?.to_string();
        let killed = Command::new("sh").args(["-c", &format!("kill -TERM {pid}")]).status().await?;
        ensure!(killed.success(), "kill: {killed}");
        let mut printed = String::new();
        soon("the end", self.stdout.read_to_string(&mut printed)).await??;
        let ended = soon("the end", self.child.wait()).await??;
        Ok((ended.success(), printed))
    }
}

/// A request and its answer.
async fn ask(address: &str, method: &str, path: &str, body: Value) -> Result<(u16, Value)> {
    let mut stream = TcpStream::connect(address).await?;
    let body = body.to_string();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    soon("an answer", stream.read_to_string(&mut answer)).await??;
    let (head, body) = answer.split_once("\r\n\r\n").context("no HTTP answer")?;
    let status = head.split(' ').nth(1).context("no status")?.parse()?;
    Ok((status, serde_json::from_str(body).unwrap_or_else(|_| json!(body))))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_with_postgres_and_the_consumer_loses_nothing_over_a_kill_and_says_what_is_so()
-> Result<()> {
    let pipeline = Pipeline::new("wallets", 4, COLUMNS).await?;
    // The service waits for the bookkeeping that the consumer makes.
    let (binary, settings) = (binary::example("wallets").await?, pipeline.settings("worker"));
    let (service, worker) = tokio::join!(Wallets::start(&binary, &pipeline), settings.start());
    let (service, worker) = (service?, worker?);
    let at = service.address.clone();
    let wallet = |cents: i64, movements: i64| json!({ "owner": "ada", "cents": cents, "movements": movements });

    ensure!(ask(&at, "GET", "/wallets/a", json!(null)).await?.0 == 404);
    ensure!(ask(&at, "POST", "/wallets/a/deposits", json!({"cents": 1})).await?.0 == 404);
    ensure!(ask(&at, "PUT", "/wallets/a", json!({"owner": "ada"})).await? == (201, wallet(0, 0)));
    ensure!(ask(&at, "PUT", "/wallets/a", json!({"owner": "bob"})).await?.0 == 409);
    ensure!(ask(&at, "PUT", "/wallets/b", json!({"owner": "a\0b"})).await?.0 == 400, "no text");
    ensure!(ask(&at, "POST", "/wallets/a/deposits", json!({"cents": 100})).await?.0 == 201);
    ensure!(ask(&at, "GET", "/wallets/a", json!(null)).await? == (200, wallet(100, 1)));
    let paid = ask(&at, "POST", "/wallets/a/payments", json!({"cents": 30})).await?;
    ensure!(paid == (201, wallet(70, 2)), "{paid:?}");
    ensure!(ask(&at, "POST", "/wallets/a/payments", json!({"cents": 71})).await?.0 == 402);

    // Twenty want 10 each, and there are 70.
    let mut payments = JoinSet::new();
    for _ in 0..AT_ONCE {
        let at = at.clone();
        payments.spawn(async move {
            ask(&at, "POST", "/wallets/a/payments", json!({"cents": 10})).await
        });
    }
    let mut paid = 0;
    while let Some(payment) = payments.join_next().await {
        paid += i64::from(payment??.0 == 201);
    }
    ensure!(paid == 7, "{paid} were paid");
    ensure!(ask(&at, "GET", "/wallets/a", json!(null)).await? == (200, wallet(0, 9)));
    let owned = ask(&at, "GET", "/owners/ada", json!(null)).await?;
    ensure!(owned == (200, json!({"wallets": 1, "cents": 0, "fresh": true})), "{owned:?}");

    // What is told as saved outlives the process, though the database has not seen it.
    worker.freeze()?;
    ensure!(ask(&at, "POST", "/wallets/a/deposits", json!({"cents": 5})).await?.0 == 201);
    drop(service);
    let service = Wallets::start(&binary, &pipeline).await?;
    let at = service.address.clone();
    ensure!(ask(&at, "GET", "/wallets/a", json!(null)).await? == (200, wallet(5, 10)));
    worker.thaw()?;
    let (ended_well, printed) = service.terminate().await?;
    ensure!(ended_well && printed.contains("every write is in the log"), "{printed}");
    pipeline.drained(&[&worker], PATIENCE).await?;
    let rows = pipeline.rows("id").await?;
    let expected = json!({"id": "a", "owner": "ada", "cents": 5, "movements": 10});
    ensure!(rows.len() == 1 && rows["a"] == expected, "{rows:?}");
    ensure!(pipeline.dead_letters().await?.is_empty());
    Ok(())
}
