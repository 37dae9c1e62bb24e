//! The page's actions on dead letters, for holders of the token: show, replay, discard. Absent
//! without `http.actions`.
//!
//! The token stands in the header `authorization`. No browser sends that on its own, and none lets a page
//! of another origin send it without asking here first, which is never answered: so nobody's visit to
//! a foreign page acts here.

use std::sync::Arc;

use axum::extract::{DefaultBodyLimit, Query, Request, State};
use axum::http::header::AUTHORIZATION;
use axum::http::{HeaderValue, StatusCode};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use tokio::runtime::Handle;
use tokio::sync::Mutex;

use crate::config::Config;
use crate::config::http::Token;
use crate::core::dead_letters::{DeadLetterState, Filter, StoredDeadLetter};
use crate::dead_letters::admin::{Admin, AdminError};
use crate::dead_letters::replay::ReplayOptions;
use crate::store::StoreError;

/// How many letters are shown, or dealt with, by one request.
const LETTERS_MAX: u64 = 100;
/// How many characters of a key, a value or a reason are shown.
const CHARS_MAX: usize = 500;
/// Bytes of a request's body.
const BODY_BYTES_MAX: usize = 4 << 10;

/// Who does what the page asks, one request at a time.
struct PageActions {
    config: Config,
    token: Token,
    alone: Mutex<()>,
}

/// Which open letters: all of a topic, or the one at a place.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Which {
    topic: String,
    place: Option<(i32, i64)>,
}

/// Open letters, the first ones in log order.
#[derive(Serialize)]
struct Listed {
    /// How many there are.
    open: u64,
    letters: Vec<Shown>,
}

/// A letter, as far as a page has room for it.
#[derive(Serialize)]
struct Shown {
    place: (i32, i64),
    set_aside_ms: i64,
    key: Option<String>,
    value: Option<String>,
    reason: String,
    sqlstate: Option<String>,
}

/// What became of a letter.
#[derive(Serialize)]
struct Replayed {
    place: (i32, i64),
    outcome: &'static str,
    why: Option<String>,
}

#[derive(Serialize)]
struct Discarded {
    discarded: u64,
}

type Failure = (StatusCode, String);

/// What the page of a consumer with this configuration answers about dead letters.
pub(crate) fn router(config: &Config) -> Router {
    let Some(token) = config.page.actions.clone() else { return Router::new() };
    let actions = Arc::new(PageActions { config: config.clone(), token, alone: Mutex::new(()) });
    Router::new()
        .route("/dead-letters", get(list))
        .route("/dead-letters/replay", post(replay))
        .route("/dead-letters/discard", post(discard))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(from_fn_with_state(Arc::clone(&actions), with_token))
        .with_state(actions)
}

async fn with_token(
    State(actions): State<Arc<PageActions>>,
    request: Request,
    next: Next,
) -> Response {
    let given = request.headers().get(AUTHORIZATION).map(HeaderValue::as_bytes);
    let token = given.and_then(|given| given.strip_prefix(b"Bearer "));
    if token.is_some_and(|token| actions.token.is(token)) {
        return next.run(request).await;
    }
    (StatusCode::UNAUTHORIZED, "the token is wrong: it is `http.token`\n").into_response()
}

async fn list(
    State(actions): State<Arc<PageActions>>,
    Query(which): Query<OfTopic>,
) -> Result<Json<Listed>, Failure> {
    let filter = filter(which.topic, None);
    let listed = actions.perform(async move |admin| {
        let tallies = admin.tally(&filter).await?;
        let mut letters = Vec::new();
        admin.list(&filter, LETTERS_MAX, |letter| letters.push(Shown::of(&letter))).await?;
        Ok(Listed { open: tallies.iter().map(|tally| tally.letters).sum(), letters })
    });
    listed.await.map(Json)
}

/// The topic in a request's query.
#[derive(Deserialize)]
struct OfTopic {
    topic: String,
}

async fn replay(
    State(actions): State<Arc<PageActions>>,
    Json(which): Json<Which>,
) -> Result<Json<Vec<Replayed>>, Failure> {
    let topic = which.topic.clone();
    let filter = filter(which.topic, which.place);
    let replayed = actions.perform(async move |admin| {
        let mut told = Vec::new();
        let tell = |letter: &StoredDeadLetter, fate: &crate::dead_letters::fate::Fate| {
            let (outcome, why) = fate.told();
            told.push(Replayed { place: place_of(letter), outcome, why });
        };
        admin.replay(&filter, LETTERS_MAX, ReplayOptions::default(), tell).await?;
        Ok(told)
    });
    let told = replayed.await?;
    tracing::info!(%topic, letters = told.len(), "dead letters were replayed from the page");
    Ok(Json(told))
}

async fn discard(
    State(actions): State<Arc<PageActions>>,
    Json(which): Json<Which>,
) -> Result<Json<Discarded>, Failure> {
    let topic = which.topic.clone();
    let filter = filter(which.topic, which.place);
    let discarded =
        actions.perform(async move |admin| Ok(admin.discard(&filter, LETTERS_MAX).await?));
    let letters = discarded.await?;
    tracing::info!(%topic, letters, "dead letters were discarded from the page");
    Ok(Json(Discarded { discarded: letters }))
}

impl PageActions {
    /// Does the work on a thread of its own, to its end: a browser that goes away leaves nothing half
    /// done.
    async fn perform<T: Send + 'static>(
        self: Arc<Self>,
        work: impl AsyncFnOnce(&mut Admin<'_>) -> Result<T, AdminError> + Send + 'static,
    ) -> Result<T, Failure> {
        let runtime = Handle::current();
        let perform = move || {
            runtime.block_on(async move {
                let _alone = self.alone.lock().await;
                let mut admin = Admin::open(&self.config).await?;
                work(&mut admin).await
            })
        };
        let done = tokio::task::spawn_blocking(perform).await;
        let done = done.map_err(|error| (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))?;
        done.map_err(|error: AdminError| (code_of(&error), error.to_string()))
    }
}

fn code_of(error: &AdminError) -> StatusCode {
    match error {
        refused if refused.is_refusal() => StatusCode::CONFLICT,
        AdminError::Store(StoreError::Unavailable(_)) | AdminError::Broker(_) => {
            StatusCode::SERVICE_UNAVAILABLE
        }
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

fn filter(topic: String, place: Option<(i32, i64)>) -> Filter {
    Filter {
        topic: Some(topic),
        partition: place.map(|(partition, _)| partition),
        from: place.map(|(_, offset)| offset),
        to: place.map(|(_, offset)| offset),
        state: Some(DeadLetterState::Open),
        ..Filter::default()
    }
}

fn place_of(letter: &StoredDeadLetter) -> (i32, i64) {
    (letter.partition().0, letter.offset().0)
}

impl Shown {
    fn of(letter: &StoredDeadLetter) -> Self {
        let known = &letter.dead_letter;
        Self {
            place: place_of(letter),
            set_aside_ms: letter.failed_at * 1_000,
            key: known.record.key.as_deref().map(cut),
            value: known.record.value.as_deref().map(cut),
            reason: cut(known.reason.as_bytes()),
            sqlstate: known.sqlstate.clone(),
        }
    }
}

/// The beginning of a text.
fn cut(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    match text.char_indices().nth(CHARS_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.into_owned(),
    }
}
