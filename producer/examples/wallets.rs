//! Wallets: a service before a Postgres of its own, as one would write it, with the `write-behind`
//! consumer beside it.
//!
//! ```sql
//! create table wallets (
//!     id text primary key, owner text not null default '',
//!     cents bigint not null default 0, movements bigint not null default 0);
//! ```
//! ```sh
//! kafka-topics.sh --bootstrap-server localhost:9092 --create --topic wallets --partitions 8
//! write-behind run --config wallets.toml      # name = "wallets-writer", a route from topic to table
//! cargo run -p write-behind-producer --example wallets --features postgres -- \
//!     --kafka localhost:9092 --database postgres://localhost/shop
//! curl -X PUT  -d '{"owner":"ada"}'  -H 'content-type: application/json' localhost:8080/wallets/ada-1
//! curl -X POST -d '{"cents":500}'    -H 'content-type: application/json' localhost:8080/wallets/ada-1/deposits
//! curl -X POST -d '{"cents":300}'    -H 'content-type: application/json' localhost:8080/wallets/ada-1/payments
//! curl localhost:8080/wallets/ada-1
//! curl localhost:8080/owners/ada
//! ```
//!
//! What it shows: a start that waits for what is not there yet, a change that must not be lost
//! between tasks (`modify`), one that commutes (`add`), a read of what was just written, a query
//! over many rows, which is the database's, and an end that leaves nothing behind. Let the load
//! balancer route a wallet to one instance: `modify` compares within one process.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::{get, post, put};
use axum::{Json, Router};
use clap::Parser;
use prometheus::{Registry, TextEncoder};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sqlx::postgres::{PgPool, PgPoolOptions};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;
use tokio::time::timeout;
use tracing::{info, warn};
use write_behind_producer::{
    Builder, Change, DeliveryError, Event, EventStream, ModifyError, PostgresLoader, ReadError,
    Receipt, WhenFull, WriteBehind, WriteError,
};

/// Wallets over HTTP.
#[derive(Debug, Parser)]
struct Args {
    /// A Kafka broker.
    #[arg(long, env = "WALLETS_KAFKA")]
    kafka: String,
    /// The Postgres with the table.
    #[arg(long, env = "WALLETS_DATABASE", hide_env_values = true)]
    database: String,
    /// The topic, and the table of the same name.
    #[arg(long, env = "WALLETS_TOPIC", default_value = "wallets")]
    topic: String,
    /// The consumer's name, which is its group's.
    #[arg(long, env = "WALLETS_PIPELINE", default_value = "wallets-writer")]
    pipeline: String,
    /// Where to listen.
    #[arg(long, env = "WALLETS_LISTEN", default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
}

/// How long a request waits to hear that its write is on all in-sync replicas.
const SAVED_WITHIN: Duration = Duration::from_secs(2);
/// How long a query waits for the writes before it to be in the database.
const FRESH_WITHIN: Duration = Duration::from_secs(5);
/// How long an end may take: once for the requests under way, once for their writes.
const STOP_WITHIN: Duration = Duration::from_secs(10);

/// A row.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Wallet {
    owner: String,
    cents: i64,
    movements: i64,
}

#[derive(Debug, Deserialize)]
struct Opened {
    owner: String,
}

#[derive(Clone, Copy, Debug, Deserialize)]
struct Amount {
    cents: u32,
}

#[derive(Clone)]
struct App {
    wallets: WriteBehind<String, Wallet>,
    sql: PgPool,
    table: String,
    registry: Registry,
}

/// What went wrong, as a client is told.
struct Problem(StatusCode, String);

type Answer = Result<(StatusCode, Json<Value>), Problem>;

#[tokio::main]
async fn main() -> Result<ExitCode> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(false).init();
    let args = Args::parse();
    let mut terminate = signal(SignalKind::terminate())?;
    // Connects when it is asked, so the database may be away at the start.
    let sql = PgPoolOptions::new().connect_lazy(&args.database).context("the database's URL")?;
    let registry = Registry::new();
    let builder = WriteBehind::builder(&args.topic, [("bootstrap.servers", &args.kafka)])
        .sink_group(&args.pipeline)
        .loader(PostgresLoader::table(sql.clone(), &args.topic))
        // After a restart, what the last life wrote and the database does not have yet is read too.
        .follow(true)
        .max_pending(128 << 20, WhenFull::Reject)
        .metrics(&registry);
    let Some(wallets) = until_built(builder, &mut terminate).await? else {
        return Ok(ExitCode::SUCCESS);
    };
    tokio::spawn(tell(wallets.events()));
    let app = App { wallets: wallets.clone(), sql, table: args.topic.clone(), registry };

    let listener = TcpListener::bind(args.listen).await;
    let listener = listener.with_context(|| format!("can't listen on {}", args.listen))?;
    println!("listening on http://{}", listener.local_addr()?);
    serve(listener, app, &mut terminate).await?;
    // From here on nobody writes. What is replicated will be in the database without this process.
    Ok(match wallets.close(STOP_WITHIN).await {
        Ok(()) => {
            println!("stopped; every write is in the log");
            ExitCode::SUCCESS
        }
        Err(undelivered) => {
            eprintln!("stopped; {undelivered}: wallets {}", undelivered.keys.join(", "));
            ExitCode::FAILURE
        }
    })
}

/// The handle, as soon as Kafka, the topic, the table and the consumer's bookkeeping are there; a
/// deployment starts all of them at once. `None`: it was told to end before that.
async fn until_built(
    builder: Builder<String, Wallet>,
    terminate: &mut tokio::signal::unix::Signal,
) -> Result<Option<WriteBehind<String, Wallet>>> {
    let mut told = String::new();
    let building = async {
        loop {
            match builder.clone().build().await {
                Ok(wallets) => return Ok(Some(wallets)),
                // Waiting would not mend it.
                Err(error) if !error.may_pass() => return Err(error.into()),
                Err(error) => {
                    let text = error.to_string();
                    if text != told {
                        warn!(%error, "not yet");
                        told = text;
                    }
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
            }
        }
    };
    tokio::select! {
        biased;
        _ = terminate.recv() => Ok(None),
        built = building => built,
    }
}

/// What the crate logs too; a service may page somebody here.
async fn tell(mut events: EventStream) {
    while let Some(event) = events.next().await {
        match event {
            Event::WriteLost { .. } | Event::DeadLetter { .. } => warn!(?event, "look at this"),
            event => info!(?event),
        }
    }
}

async fn serve(
    listener: TcpListener,
    app: App,
    terminate: &mut tokio::signal::unix::Signal,
) -> Result<()> {
    let router = Router::new()
        .route("/wallets/{id}", put(open).get(wallet))
        .route("/wallets/{id}/deposits", post(deposit))
        .route("/wallets/{id}/payments", post(pay))
        .route("/owners/{owner}", get(owned))
        .route("/metrics", get(metrics))
        .route("/healthz", get(healthz))
        .with_state(app);
    let (stop, stopped) = oneshot::channel::<()>();
    let server = axum::serve(listener, router).with_graceful_shutdown(async {
        // An error would mean that `stop` is gone, which also ends it.
        let _ = stopped.await;
    });
    let server = tokio::spawn(server.into_future());
    tokio::select! {
        biased;
        _ = terminate.recv() => {}
        interrupted = tokio::signal::ctrl_c() => interrupted?,
    }
    let _ = stop.send(());
    if let Ok(served) = timeout(STOP_WITHIN, server).await {
        served??;
    } else {
        warn!("some requests were still under way");
    }
    Ok(())
}

/// Opens a wallet: 409 if there is one.
async fn open(
    State(app): State<App>,
    Path(id): Path<String>,
    Json(opened): Json<Opened>,
) -> Answer {
    let wallet = Wallet { owner: opened.owner, ..Wallet::default() };
    match app.wallets.put_if_absent(&id, &wallet).await? {
        Some(receipt) => Ok((saved(&receipt).await?, Json(json!(wallet)))),
        None => Err(Problem(StatusCode::CONFLICT, format!("there is a wallet {id}"))),
    }
}

/// Adds to a wallet. Increments commute, so nothing is read first.
async fn deposit(
    State(app): State<App>,
    Path(id): Path<String>,
    Json(amount): Json<Amount>,
) -> Answer {
    // An increment would make a row where there is none.
    if !app.wallets.contains(&id).await? {
        return Err(no_wallet(&id));
    }
    let change = Change::new().add("cents", amount.cents).add("movements", 1);
    let receipt = app.wallets.change(&id, change).await?;
    Ok((saved(&receipt).await?, Json(json!({}))))
}

/// Takes from a wallet what is in it, and never more: 402 then.
async fn pay(State(app): State<App>, Path(id): Path<String>, Json(amount): Json<Amount>) -> Answer {
    // It may run again, when another request comes in between, so it only computes.
    let paid = app.wallets.modify(&id, |wallet| match wallet {
        Some(wallet) if wallet.cents >= i64::from(amount.cents) => Some(Wallet {
            cents: wallet.cents - i64::from(amount.cents),
            movements: wallet.movements + 1,
            ..wallet
        }),
        as_it_was => as_it_was,
    });
    let paid = paid.await?;
    match (paid.row, paid.receipt) {
        (Some(wallet), Some(receipt)) => Ok((saved(&receipt).await?, Json(json!(wallet)))),
        (Some(wallet), None) => {
            let text = format!("there are {} cents in the wallet", wallet.cents);
            Err(Problem(StatusCode::PAYMENT_REQUIRED, text))
        }
        (None, _) => Err(no_wallet(&id)),
    }
}

/// 201: on all in-sync replicas, so it will be in the database. 202: accepted and visible, and not
/// known to be replicated yet. Only a write that is certainly lost is an error, for an error invites
/// the client to do it again.
async fn saved(receipt: &Receipt) -> Result<StatusCode, Problem> {
    match receipt.replicated_within(SAVED_WITHIN).await {
        Ok(()) => Ok(StatusCode::CREATED),
        Err(lost @ DeliveryError::Failed(_)) => {
            Err(Problem(StatusCode::SERVICE_UNAVAILABLE, lost.to_string()))
        }
        Err(_) => Ok(StatusCode::ACCEPTED),
    }
}

/// A wallet with everything that was written before.
async fn wallet(State(app): State<App>, Path(id): Path<String>) -> Answer {
    let wallet = app.wallets.get(&id).await?.ok_or_else(|| no_wallet(&id))?;
    Ok((StatusCode::OK, Json(json!(wallet))))
}

/// What somebody owns in all: a question over many rows, so one for the database, which is asked
/// when it has what was written before the question.
async fn owned(State(app): State<App>, Path(owner): Path<String>) -> Answer {
    let fresh = app.wallets.persisted_all_within(FRESH_WITHIN).await.is_ok();
    let sum = format!(
        "select count(*), coalesce(sum(cents), 0)::bigint from {:?} where owner = $1",
        app.table
    );
    let sum = sqlx::query_as(sqlx::AssertSqlSafe(sum)).bind(&owner).fetch_one(&app.sql).await;
    let (wallets, cents): (i64, i64) =
        sum.map_err(|error| Problem(StatusCode::SERVICE_UNAVAILABLE, error.to_string()))?;
    Ok((StatusCode::OK, Json(json!({"wallets": wallets, "cents": cents, "fresh": fresh}))))
}

async fn metrics(State(app): State<App>) -> Result<String, Problem> {
    let text = TextEncoder::new().encode_to_string(&app.registry.gather());
    text.map_err(|error| Problem(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))
}

/// Whether a restart would help: a halted handle must be built again.
async fn healthz(State(app): State<App>) -> Result<&'static str, Problem> {
    match app.wallets.halted() {
        None => Ok("ok\n"),
        Some(halt) => Err(Problem(StatusCode::SERVICE_UNAVAILABLE, halt.to_string())),
    }
}

fn no_wallet(id: &str) -> Problem {
    Problem(StatusCode::NOT_FOUND, format!("there is no wallet {id}"))
}

/// For good, full for now, or not now: three answers.
impl From<WriteError> for Problem {
    fn from(error: WriteError) -> Self {
        let status = match &error {
            WriteError::Refused(_) => StatusCode::BAD_REQUEST,
            WriteError::Overloaded(_) => StatusCode::TOO_MANY_REQUESTS,
            _ => StatusCode::SERVICE_UNAVAILABLE,
        };
        Self(status, error.to_string())
    }
}

impl From<ReadError> for Problem {
    fn from(error: ReadError) -> Self {
        let status = match &error {
            ReadError::Key(_) => StatusCode::BAD_REQUEST,
            error if error.may_pass() => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self(status, error.to_string())
    }
}

impl From<ModifyError> for Problem {
    fn from(error: ModifyError) -> Self {
        match error {
            ModifyError::Read(error) => error.into(),
            ModifyError::Write(error) => error.into(),
            error => Self(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
        }
    }
}

impl axum::response::IntoResponse for Problem {
    fn into_response(self) -> axum::response::Response {
        (self.0, Json(json!({ "error": self.1 }))).into_response()
    }
}
