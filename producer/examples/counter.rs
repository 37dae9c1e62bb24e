//! Counting page views: increments that count exactly once, and the proof at the end.
//!
//! ```sh
//! cargo run -p write-behind-producer --example counter --features testing -- --visitors 4 --seconds 5
//! cargo run -p write-behind-producer --example counter --features testing    # until Ctrl-C
//! curl -X POST localhost:8080/views/home
//! curl localhost:8080/views/home
//! ```
//!
//! A view is one `add`: nothing is read first, nothing is locked, and two services may count the
//! same page. Once a second it prints how many views came and how far the database is; when it is
//! stopped it waits for the database and compares every page with a tally kept beside.

use std::collections::HashMap;
use std::io::IsTerminal;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::post;
use axum::{Json, Router};
use clap::Parser;
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tracing_subscriber::EnvFilter;
use write_behind_producer::testing::{Broker, Sink};
use write_behind_producer::{WriteBehind, WriteError};

/// Counts page views.
#[derive(Debug, Parser)]
struct Args {
    /// A Kafka broker with an empty topic `pages`; without one, a broker inside this process.
    #[arg(long, env = "COUNTER_KAFKA")]
    kafka: Option<String>,
    /// Where to listen.
    #[arg(long, env = "COUNTER_LISTEN", default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// Visitors inside this process, each viewing page after page.
    #[arg(long, default_value_t = 0)]
    visitors: u64,
    /// Views that a visitor makes in a second, at most.
    #[arg(long, default_value_t = 1_000)]
    pace: u32,
    /// How many seconds to run; without it, until Ctrl-C.
    #[arg(long)]
    seconds: Option<u64>,
}

const TOPIC: &str = "pages";
const GROUP: &str = "pages-writer";
const STOP_WITHIN: Duration = Duration::from_secs(30);
/// The pages that the visitors inside choose from.
const PAGES: u64 = 100;

/// A row.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Page {
    views: u64,
}

#[derive(Clone)]
struct App {
    pages: WriteBehind<String, Page>,
    /// What the database must hold in the end.
    tally: Arc<Mutex<HashMap<String, u64>>>,
}

#[tokio::main]
async fn main() -> Result<ExitCode> {
    log_to_stderr();
    let args = Args::parse();
    let (kafka, database) = if let Some(servers) = args.kafka {
        let kafka = vec![("bootstrap.servers".to_owned(), servers)];
        let database = Sink::elsewhere(&kafka, TOPIC, GROUP)?;
        (kafka, database)
    } else {
        let kafka = Broker::start()?.topic(TOPIC, 8)?;
        (kafka.properties(), kafka.sink(TOPIC, GROUP)?)
    };
    let _applying = database.apply_every(Duration::from_millis(50))?;
    let pages = WriteBehind::<String, Page>::builder(TOPIC, kafka)
        .sink_group(GROUP)
        .loader(database.loader())
        // The views of a page within this time travel as one record.
        .coalesce(Duration::from_millis(20))
        .build()
        .await?;
    let app = App { pages, tally: Arc::default() };

    let listener = TcpListener::bind(args.listen).await.context("can't listen")?;
    println!("listening on http://{}", listener.local_addr()?);
    let router = Router::new().route("/views/{page}", post(view).get(views));
    let (stop_serving, stopped) = oneshot::channel::<()>();
    let server = axum::serve(listener, router.with_state(app.clone()));
    let server = server.with_graceful_shutdown(async {
        // An error would mean that `stop_serving` is gone, which also ends it.
        let _ = stopped.await;
    });
    let server = tokio::spawn(server.into_future());
    let mut tasks = JoinSet::new();
    for visitor in 0..args.visitors {
        tasks.spawn(visit(app.clone(), visitor, args.pace));
    }
    tasks.spawn(print_rates(app.clone(), database.clone()));
    tokio::select! {
        biased;
        reason = stop(args.seconds) => reason?,
        Some(ended) = tasks.join_next() => ended??,
    }
    // Nothing counts any more before the counts are compared.
    tasks.shutdown().await;
    let _ = stop_serving.send(());
    timeout(STOP_WITHIN, server).await.context("requests are still under way")???;
    let exact = settle(&app, &database).await?;
    Ok(if exact { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Waits until it is time to stop.
async fn stop(seconds: Option<u64>) -> Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let over = async {
        match seconds {
            Some(seconds) => tokio::time::sleep(Duration::from_secs(seconds)).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        biased;
        () = over => Ok(()),
        _ = terminate.recv() => Ok(()),
        interrupted = tokio::signal::ctrl_c() => Ok(interrupted?),
    }
}

impl App {
    /// One view. The tally counts what was accepted and nothing else, and nothing is awaited
    /// between the two, so that a task that is ended here has done both or neither.
    fn view(&self, page: &str) -> Result<(), WriteError> {
        self.pages.try_add(page, "views", 1)?;
        *self.tally().entry(page.to_owned()).or_default() += 1;
        Ok(())
    }

    fn tally(&self) -> MutexGuard<'_, HashMap<String, u64>> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn view(State(app): State<App>, Path(page): Path<String>) -> (StatusCode, String) {
    match app.view(&page) {
        Ok(()) => (StatusCode::ACCEPTED, String::new()),
        Err(error @ WriteError::Overloaded(_)) => {
            (StatusCode::TOO_MANY_REQUESTS, error.to_string())
        }
        Err(error) => (StatusCode::BAD_REQUEST, error.to_string()),
    }
}

/// The views of a page: those in the database and those that are not there yet.
async fn views(
    State(app): State<App>,
    Path(page): Path<String>,
) -> Result<Json<Page>, (StatusCode, String)> {
    match app.pages.get(&page).await {
        Ok(found) => Ok(Json(found.unwrap_or(Page { views: 0 }))),
        Err(error) => Err((StatusCode::SERVICE_UNAVAILABLE, error.to_string())),
    }
}

/// Views page after page, in an order of its own. When there is no room, the view is not counted
/// and not tallied.
async fn visit(app: App, visitor: u64, pace: u32) -> Result<()> {
    let mut tick = tokio::time::interval(Duration::from_millis(10));
    let views_per_tick = u64::from(pace / 100).max(1);
    for round in 0_u64.. {
        tick.tick().await;
        for view in 0..views_per_tick {
            // Some pages are viewed far more often than others.
            let place = (round * views_per_tick + view) * 31 + visitor * 17;
            let page = (place % PAGES).min(place / 7 % PAGES);
            match app.view(&format!("page-{page}")) {
                Ok(()) | Err(WriteError::Overloaded(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
    Ok(())
}

async fn print_rates(app: App, database: Sink) -> Result<()> {
    let mut tick = tokio::time::interval(Duration::from_secs(1));
    tick.tick().await;
    let mut before = 0;
    loop {
        tick.tick().await;
        let views: u64 = app.tally().values().sum();
        let stored = total(&stored(&database)?);
        println!("{} views/s, {} to go to the database", views - before, views - stored.min(views));
        before = views;
    }
}

/// Waits for the database, and compares it with the tally.
async fn settle(app: &App, database: &Sink) -> Result<bool> {
    app.pages.persisted_all_within(STOP_WITHIN).await.context("the database is late")?;
    app.pages.close(STOP_WITHIN).await?;
    let (tally, stored) = (app.tally().clone(), stored(database)?);
    let exact = tally == stored;
    let verdict = if exact { "every page is exact" } else { "THE COUNTS DIFFER" };
    println!(
        "{} views of {} pages, in {} records; the database has {} of {}: {verdict}",
        total(&tally),
        tally.len(),
        database.applied(),
        total(&stored),
        stored.len()
    );
    Ok(exact)
}

fn stored(database: &Sink) -> Result<HashMap<String, u64>> {
    let views = |(page, row)| Ok((page, serde_json::from_value::<Page>(row)?.views));
    database.rows().into_iter().map(views).collect()
}

fn total(views_by_page: &HashMap<String, u64>) -> u64 {
    views_by_page.values().sum()
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
