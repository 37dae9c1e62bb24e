//! `/fleet`: what all members say, for the page.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};
use tokio::sync::Mutex;

use crate::config::Config;
use crate::fleet::Fleet;
use crate::fleet::report::FleetReport;

/// How long an answer is good: however many pages ask, the members are asked this often at most.
const GOOD_FOR: Duration = Duration::from_secs(2);

struct Asked {
    fleet: Fleet,
    last: Mutex<Option<(Instant, FleetReport)>>,
}

/// What the page of a consumer with this configuration answers about the members.
pub(crate) fn router(config: &Config) -> Router {
    let asked = Asked { fleet: Fleet::of(config), last: Mutex::new(None) };
    Router::new().route("/fleet", get(fleet)).with_state(Arc::new(asked))
}

async fn fleet(State(asked): State<Arc<Asked>>) -> Json<FleetReport> {
    // Those who ask meanwhile wait for the same answer.
    let mut last = asked.last.lock().await;
    if let Some((at, report)) = &*last
        && at.elapsed() < GOOD_FOR
    {
        return Json(report.clone());
    }
    let report = asked.fleet.report().await;
    *last = Some((Instant::now(), report.clone()));
    Json(report)
}
