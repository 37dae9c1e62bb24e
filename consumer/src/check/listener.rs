//! The preflight's look at `http.listen`: whether `run` could listen there.

use crate::check::report::{CheckReport, Grade};
use crate::config::Config;
use crate::status::ask::{ask, url_of};
use crate::status::http;

/// Tells only of an address that `run` could not have. One that a consumer of this pipeline has is free
/// once that one ends: people look at a pipeline while it runs.
pub(super) async fn check(config: &Config, report: &mut CheckReport) {
    let Some(address) = config.http else { return };
    let Err(why) = http::listen(address).await else { return };
    let grade = match ask(&url_of(address)).await {
        Ok(there) if there.pipeline == config.name => Grade::Warning,
        _ => Grade::Failed,
    };
    report.add(grade, "http", why);
}
