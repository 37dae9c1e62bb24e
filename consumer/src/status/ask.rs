//! The client of `/status` and `/healthz`: asks a running consumer for its report, or whether it is alive.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::HOST;
use hyper::{Request, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::status::report::{SCHEMA, StatusReport};

/// How long connecting and the whole answer may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// A report has a few hundred bytes for each partition.
const ANSWER_BYTES_MAX: usize = 32 << 20;

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// It is no URL of a consumer.
    #[error("{0:?} is no URL of a consumer; write it like http://127.0.0.1:9464")]
    Url(String),
    /// Nobody answers there.
    #[error("no consumer answers at {0}: {1}")]
    NoAnswer(String, String),
    /// The consumer of another pipeline answers there.
    #[error("what answers at {0} is pipeline {1:?}, not {2:?}")]
    Other(String, String, String),
    /// Another program or another version answers there.
    #[error("what answers at {0} is no consumer of this version: {1}")]
    Strange(String, String),
}

/// The URL of a listener; one on every address is reached on the loopback.
#[must_use]
pub fn url_of(listens: SocketAddr) -> String {
    let ip = match listens.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    format!("http://{}", SocketAddr::new(ip, listens.port()))
}

/// The report of the consumer that listens at `url`.
///
/// # Errors
/// [`AskError`]; after five seconds without a whole answer, [`AskError::NoAnswer`].
pub async fn ask(url: &str) -> Result<StatusReport, AskError> {
    let (status, body) = get(url, "/status").await?;
    let strange = |why: String| AskError::Strange(url.to_owned(), why);
    if status != StatusCode::OK {
        return Err(strange(format!("/status: {status}")));
    }
    let report: StatusReport =
        serde_json::from_slice(&body).map_err(|error| strange(error.to_string()))?;
    if report.schema != SCHEMA {
        return Err(strange(format!("its report has schema {}, not {SCHEMA}", report.schema)));
    }
    Ok(report)
}

/// The report of the consumer at `url`, which must be of the pipeline `wanted`, if one is named.
///
/// # Errors
/// As for [`ask`]; also if it is of another pipeline.
pub async fn ask_of(url: &str, wanted: Option<&str>) -> Result<StatusReport, AskError> {
    let report = ask(url).await?;
    match wanted.filter(|wanted| *wanted != report.pipeline) {
        Some(wanted) => {
            Err(AskError::Other(url.to_owned(), report.pipeline.clone(), wanted.to_owned()))
        }
        None => Ok(report),
    }
}

/// What the consumer that listens at `url` says of its health: `None` if it is alive, else why it
/// should be replaced.
///
/// # Errors
/// As for [`ask`].
pub async fn sickness(url: &str) -> Result<Option<String>, AskError> {
    let (status, body) = get(url, "/healthz").await?;
    Ok((status != StatusCode::OK).then(|| String::from_utf8_lossy(&body).trim().to_owned()))
}

async fn get(url: &str, path: &str) -> Result<(StatusCode, Bytes), AskError> {
    let uri: Uri = url.parse().map_err(|_| AskError::Url(url.to_owned()))?;
    let (Some("http"), Some(host)) = (uri.scheme_str(), uri.host()) else {
        return Err(AskError::Url(url.to_owned()));
    };
    let asked = get_from(host, uri.port_u16().unwrap_or(80), path);
    let answer = tokio::time::timeout(ANSWER_WITHIN, asked).await;
    let answer = answer.unwrap_or_else(|_| Err("no answer in time".into()));
    answer.map_err(|error| AskError::NoAnswer(url.to_owned(), error.to_string()))
}

type AskFailure = Box<dyn std::error::Error + Send + Sync>;

async fn get_from(host: &str, port: u16, path: &str) -> Result<(StatusCode, Bytes), AskFailure> {
    // An IPv6 address stands in brackets in a URL.
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let stream = TcpStream::connect((bare, port)).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // It ends with the sender.
    tokio::spawn(connection);
    let request = Request::get(path).header(HOST, format!("{host}:{port}"));
    let answer = sender.send_request(request.body(Empty::<Bytes>::new())?).await?;
    let status = answer.status();
    let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect().await?;
    Ok((status, body.to_bytes()))
}
