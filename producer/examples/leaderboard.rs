//! A leaderboard over HTTP: read-your-writes, "saved" only of what is replicated, a clean end.
//!
//! Without arguments it needs nothing: a broker and a table inside the process stand for Kafka and
//! the database.
//!
//! ```sh
//! cargo run -p write-behind-producer --example leaderboard --features testing
//! curl -d '{"name":"ada","points":10}' -H 'content-type: application/json' localhost:8080/players/7/games
//! curl localhost:8080/players/7
//! curl localhost:8080/top/10
//! ```
//!
//! With `--kafka HOST:PORT` the writes go there, into the topic `players`, which must exist. In
//! production the `write-behind` consumer and a database stand where `Sink` stands here.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap};
use std::io::IsTerminal;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use clap::Parser;
use prometheus::{Registry, TextEncoder};
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;
use tokio::time::timeout;
use tracing::{info, warn};
use tracing_subscriber::EnvFilter;
use write_behind_producer::testing::{Broker, Sink};
use write_behind_producer::{Change, DeliveryError, ReadError, WhenFull, WriteBehind, WriteError};

/// A leaderboard over HTTP.
#[derive(Debug, Parser)]
struct Args {
    /// A Kafka broker; without one, a broker inside this process.
    #[arg(long, env = "KAFKA")]
    kafka: Option<String>,
    /// Where to listen.
    #[arg(long, env = "LISTEN", default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// Seconds that a stop may take: once for the requests under way, once for their writes.
    #[arg(long, default_value_t = 10)]
    stop_within: u64,
}

/// The topic, and in production the table.
const TOPIC: &str = "players";
/// The consumer's group: what it has committed is in the database.
const GROUP: &str = "players-writer";
/// How long a request waits to hear that its write is replicated.
const SAVED_WITHIN: Duration = Duration::from_secs(2);

/// A row.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Player {
    name: String,
    points: i64,
    games: i64,
}

/// What is posted.
#[derive(Debug, Deserialize)]
struct Game {
    name: String,
    points: i64,
}

#[derive(Clone)]
struct App {
    players: WriteBehind<u64, Player>,
    board: Arc<Mutex<Board>>,
    registry: Registry,
    stopping: Arc<AtomicBool>,
}

type Answer<T> = Result<T, (StatusCode, String)>;

#[tokio::main]
async fn main() -> Result<ExitCode> {
    log_to_stderr();
    let args = Args::parse();
    let stop_within = Duration::from_secs(args.stop_within);
    // What stands for Kafka, the consumer and the database.
    let (kafka, database) = if let Some(servers) = args.kafka {
        let kafka = vec![("bootstrap.servers".to_owned(), servers)];
        let database = Sink::elsewhere(&kafka, TOPIC, GROUP)?;
        (kafka, database)
    } else {
        let kafka = Broker::start()?.topic(TOPIC, 8)?;
        (kafka.properties(), kafka.sink(TOPIC, GROUP)?)
    };
    database.apply_all()?;
    let _applying = database.apply_every(Duration::from_millis(200))?;

    let registry = Registry::new();
    let players = WriteBehind::<u64, Player>::builder(TOPIC, kafka)
        .sink_group(GROUP)
        .loader(database.loader())
        .max_pending(64 << 20, WhenFull::Reject)
        .metrics(&registry)
        .build()
        .await?;
    let app = App {
        players: players.clone(),
        board: Arc::new(Mutex::new(Board::of(&database)?)),
        registry,
        stopping: Arc::default(),
    };

    let listener = TcpListener::bind(args.listen).await.context("can't listen")?;
    println!("listening on http://{}", listener.local_addr()?);
    serve(listener, app, stop_within).await?;
    // From here on nobody writes. What is replicated will be in the database.
    Ok(match players.close(stop_within).await {
        Ok(()) => {
            println!("stopped; every write is in the log");
            ExitCode::SUCCESS
        }
        Err(undelivered) => {
            eprintln!("stopped; {undelivered}: players {}", undelivered.keys.join(", "));
            ExitCode::FAILURE
        }
    })
}

/// Serves until it is told to stop and the requests under way are answered.
async fn serve(listener: TcpListener, app: App, stop_within: Duration) -> Result<()> {
    let stopping = Arc::clone(&app.stopping);
    let router = Router::new()
        .route("/players/{id}/games", post(play))
        .route("/players/{id}", get(player))
        .route("/top/{count}", get(top))
        .route("/metrics", get(metrics))
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .with_state(app);
    let (stop, stopped) = oneshot::channel::<()>();
    let server = axum::serve(listener, router).with_graceful_shutdown(async {
        // An error would mean that `stop` is gone, which also ends it.
        let _ = stopped.await;
    });
    let server = tokio::spawn(server.into_future());

    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        biased;
        _ = terminate.recv() => {}
        interrupted = tokio::signal::ctrl_c() => interrupted?,
    }
    info!("stopping");
    stopping.store(true, Ordering::Release);
    let _ = stop.send(());
    if let Ok(served) = timeout(stop_within, server).await {
        return Ok(served??);
    }
    warn!("some requests were still under way");
    Ok(())
}

/// A game was played. 201: the result is on all in-sync replicas and will be in the database. 202:
/// it is accepted and visible here, and not known to be replicated yet. An error: it does not count.
///
/// Posting it again would count it twice, so once it is accepted only a write that is certainly
/// lost is answered with an error, which invites the client to do just that.
async fn play(
    State(app): State<App>,
    Path(id): Path<u64>,
    Json(game): Json<Game>,
) -> Answer<(StatusCode, Json<Option<Player>>)> {
    let change = Change::new().set("name", &game.name).map_err(bad_request)?;
    let change = change.add("points", game.points).add("games", 1);
    let write = app.players.change(&id, change).await.map_err(|error| not_written(&error))?;
    let status = match timeout(SAVED_WITHIN, write.replicated()).await {
        Ok(Ok(())) => StatusCode::CREATED,
        Ok(Err(lost @ DeliveryError::Failed(_))) => {
            return Err((StatusCode::SERVICE_UNAVAILABLE, lost.to_string()));
        }
        // It may count yet.
        Ok(Err(_)) | Err(_) => StatusCode::ACCEPTED,
    };
    // It sees the game, for `get` is never older than an accepted write; and where it fails, the
    // game counts all the same.
    Ok((status, Json(read(&app, id).await.ok())))
}

async fn player(State(app): State<App>, Path(id): Path<u64>) -> Answer<Json<Player>> {
    read(&app, id).await.map(Json)
}

async fn read(app: &App, id: u64) -> Answer<Player> {
    let player = app.players.get(&id).await.map_err(|error| not_read(&error))?;
    let player = player.ok_or((StatusCode::NOT_FOUND, format!("no player {id}")))?;
    app.board().seen(id, &player);
    Ok(player)
}

async fn top(State(app): State<App>, Path(count): Path<usize>) -> Json<Vec<Standing>> {
    Json(app.board().top(count))
}

async fn metrics(State(app): State<App>) -> Answer<String> {
    TextEncoder::new().encode_to_string(&app.registry.gather()).map_err(bad_request)
}

/// Whether a restart would help: a halted handle must be built again.
async fn healthz(State(app): State<App>) -> Answer<&'static str> {
    match app.players.halted() {
        None => Ok("ok\n"),
        Some(halt) => Err((StatusCode::SERVICE_UNAVAILABLE, format!("{halt}\n"))),
    }
}

/// Whether to send requests here.
async fn readyz(State(app): State<App>) -> Answer<&'static str> {
    if app.stopping.load(Ordering::Acquire) {
        return Err((StatusCode::SERVICE_UNAVAILABLE, "stopping\n".to_owned()));
    }
    healthz(State(app)).await
}

fn bad_request(error: impl std::fmt::Display) -> (StatusCode, String) {
    (StatusCode::BAD_REQUEST, error.to_string())
}

/// Refused for good, full for now, or no longer writing: three answers.
fn not_written(error: &WriteError) -> (StatusCode, String) {
    let status = match error {
        WriteError::Refused(_) => StatusCode::BAD_REQUEST,
        WriteError::Overloaded(_) => StatusCode::TOO_MANY_REQUESTS,
        _ => StatusCode::SERVICE_UNAVAILABLE,
    };
    (status, error.to_string())
}

fn not_read(error: &ReadError) -> (StatusCode, String) {
    let status = match error {
        ReadError::Key(_) => StatusCode::BAD_REQUEST,
        ReadError::Load(_) | ReadError::MayBeBehind => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    };
    (status, error.to_string())
}

/// The players by points: what the database held at the start, and what this process has seen
/// since. That is all there is while one process writes. With several, each knows its own part:
/// ask the database then (`ORDER BY points DESC LIMIT n`), which is as old as its last batch.
#[derive(Debug, Default)]
struct Board {
    ranks: BTreeSet<(Reverse<i64>, u64)>,
    players: HashMap<u64, Player>,
}

#[derive(Debug, Serialize)]
struct Standing {
    rank: usize,
    id: u64,
    #[serde(flatten)]
    player: Player,
}

impl Board {
    fn of(database: &Sink) -> Result<Self> {
        let mut board = Self::default();
        for (id, player) in database.rows() {
            board.seen(id.parse()?, &serde_json::from_value(player)?);
        }
        Ok(board)
    }

    /// Two requests may come here in the other order than their writes: more games are newer.
    fn seen(&mut self, id: u64, player: &Player) {
        if let Some(known) = self.players.get(&id) {
            if known.games >= player.games {
                return;
            }
            self.ranks.remove(&(Reverse(known.points), id));
        }
        self.ranks.insert((Reverse(player.points), id));
        self.players.insert(id, player.clone());
    }

    fn top(&self, count: usize) -> Vec<Standing> {
        let ids = self.ranks.iter().map(|(_, id)| *id);
        let players = ids.filter_map(|id| Some((id, self.players.get(&id)?.clone())));
        let ranked = (1..).zip(players).take(count);
        ranked.map(|(rank, (id, player))| Standing { rank, id, player }).collect()
    }
}

impl App {
    fn board(&self) -> std::sync::MutexGuard<'_, Board> {
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Without librdkafka's own lines, unless `RUST_LOG` asks for them: at the end it complains that
/// the embedded broker is gone.
fn log_to_stderr() {
    let filter = EnvFilter::try_from_default_env();
    let filter = filter.unwrap_or_else(|_| EnvFilter::new("info,librdkafka=off"));
    let colours = std::io::stderr().is_terminal();
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(colours)
        .init();
}
