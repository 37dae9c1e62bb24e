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
//! With `--kafka HOST:PORT` the writes go there, into the topic `players`, which must exist; and with
//! `--database URL` (feature `postgres`) rows come from the table `players`, which the `write-behind`
//! consumer `players-writer` writes. So it is in production, and in docker/compose.yaml.

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
#[cfg(feature = "postgres")]
use write_behind_producer::PostgresLoader;
use write_behind_producer::testing::{Applying, Broker, Sink};
use write_behind_producer::{
    Builder, Change, DeliveryError, ReadError, WhenFull, WriteBehind, WriteError,
};

/// A leaderboard over HTTP.
#[derive(Debug, Parser)]
struct Args {
    /// A Kafka broker; without one, a broker inside this process.
    #[arg(long, env = "LEADERBOARD_KAFKA")]
    kafka: Option<String>,
    /// The Postgres with the table; without one, a table inside this process.
    #[cfg(feature = "postgres")]
    #[arg(long, env = "LEADERBOARD_DATABASE", hide_env_values = true, requires = "kafka")]
    database: Option<String>,
    /// Where to listen.
    #[arg(long, env = "LEADERBOARD_LISTEN", default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// Games a second that are played without anybody, for something to look at.
    #[arg(long, default_value_t = 0)]
    play: u64,
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
    let (kafka, database) = Database::of(&args).await?;
    let registry = Registry::new();
    let builder = WriteBehind::<u64, Player>::builder(TOPIC, kafka)
        .sink_group(GROUP)
        .max_pending(64 << 20, WhenFull::Reject)
        .metrics(&registry);
    let players = database.loads(builder).build().await?;
    let app = App {
        players: players.clone(),
        board: Arc::new(Mutex::new(database.board().await?)),
        registry,
        stopping: Arc::default(),
    };
    if args.play > 0 {
        tokio::spawn(play_by_itself(app.clone(), args.play));
    }

    let listener = TcpListener::bind(args.listen).await;
    let listener = listener.with_context(|| format!("can't listen on {}", args.listen))?;
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

/// Where rows come from that are not known here.
enum Database {
    /// What stands for the consumer and its table, and what lets it apply the log.
    Inside(Sink, #[expect(dead_code, reason = "it applies until it is dropped")] Applying),
    #[cfg(feature = "postgres")]
    Postgres(sqlx::PgPool),
}

impl Database {
    /// The properties of Kafka, and the database, as the arguments say.
    async fn of(args: &Args) -> Result<(Vec<(String, String)>, Self)> {
        let Some(servers) = &args.kafka else {
            let kafka = Broker::start()?.topic(TOPIC, 8)?;
            return Ok((kafka.properties(), Self::inside(kafka.sink(TOPIC, GROUP)?)?));
        };
        let kafka = vec![("bootstrap.servers".to_owned(), servers.clone())];
        #[cfg(feature = "postgres")]
        if let Some(url) = &args.database {
            let pool = sqlx::PgPool::connect(url).await.context("the database")?;
            return Ok((kafka, Self::Postgres(pool)));
        }
        let sink = Sink::elsewhere(&kafka, TOPIC, GROUP)?;
        Ok((kafka, Self::inside(sink)?))
    }

    fn inside(sink: Sink) -> Result<Self> {
        sink.apply_all()?;
        let applying = sink.apply_every(Duration::from_millis(200))?;
        Ok(Self::Inside(sink, applying))
    }

    fn loads(&self, builder: Builder<u64, Player>) -> Builder<u64, Player> {
        match self {
            Self::Inside(sink, _) => builder.loader(sink.loader()),
            #[cfg(feature = "postgres")]
            Self::Postgres(pool) => builder.loader(PostgresLoader::table(pool.clone(), TOPIC)),
        }
    }

    /// The players that it holds; of a large table, those with the most points.
    async fn board(&self) -> Result<Board> {
        let mut board = Board::default();
        match self {
            Self::Inside(sink, _) => {
                for (id, player) in sink.rows() {
                    board.seen(id.parse()?, &serde_json::from_value(player)?);
                }
            }
            #[cfg(feature = "postgres")]
            Self::Postgres(pool) => {
                let best = "SELECT id, coalesce(name, ''), points, games FROM players \
                            ORDER BY points DESC LIMIT 10000";
                let rows: Vec<(i64, String, i64, i64)> =
                    sqlx::query_as(best).fetch_all(pool).await?;
                for (id, name, points, games) in rows {
                    board.seen(id.try_into()?, &Player { name, points, games });
                }
            }
        }
        Ok(board)
    }
}

/// Plays this many games a second, half of them by a hundred players, so that there is something to fold.
async fn play_by_itself(app: App, games: u64) {
    let mut turn = tokio::time::interval(Duration::from_secs(1) / games.min(1000) as u32);
    let at_once = games.div_ceil(1000);
    let mut played: u64 = 0;
    loop {
        turn.tick().await;
        for _ in 0..at_once {
            played += 1;
            let many = if played.is_multiple_of(2) { 100 } else { 100_000 };
            let id = played.wrapping_mul(0x9E37_79B9_7F4A_7C15) % many;
            let named = Change::new().set("name", &format!("player {id}"));
            let Ok(named) = named else { return };
            // The metrics count what finds no room, and at the end nothing is taken any more.
            let _ = app.players.change(&id, named.add("points", 1).add("games", 1)).await;
            let _ = read(&app, id).await;
        }
    }
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
