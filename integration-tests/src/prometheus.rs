//! A real Prometheus, as the distribution has it: scrapes targets of this machine, and is asked.

use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use url::form_urlencoded::byte_serialize;

use crate::containers::free_port;
use crate::wait::{PATIENCE, Seen, until};

/// A Prometheus with an empty store. Dropping it ends it.
#[derive(Debug)]
pub struct Prometheus {
    child: Child,
    port: u16,
    _folder: TempDir,
}

impl Prometheus {
    /// Starts one that scrapes these targets, pairs of a job and an address, and judges `rules` each
    /// second.
    pub async fn start(targets: &[(&str, String)], rules: &Path) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let job = |(job, address): &(&str, String)| {
            format!("  - job_name: {job}\n    static_configs: [{{targets: [\"{address}\"]}}]\n")
        };
        let jobs: String = targets.iter().map(job).collect();
        let text = format!(
            "global: {{scrape_interval: 1s, evaluation_interval: 1s}}\nrule_files: [{:?}]\n\
             scrape_configs:\n{jobs}",
            rules.display()
        );
        let configuration = folder.path().join("prometheus.yml");
        std::fs::write(&configuration, text)?;
        let port = free_port()?;
        let log = File::create(folder.path().join("log"))?;
        let child = Command::new("prometheus")
            .arg(format!("--config.file={}", configuration.display()))
            .arg(format!("--storage.tsdb.path={}", folder.path().join("data").display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("prometheus; docker/test provides it")?;
        let prometheus = Self { child, port, _folder: folder };
        until("Prometheus to have scraped all targets", PATIENCE, async || {
            let asked = prometheus.query("sum(up)").await;
            let up = asked.ok().and_then(|found| found[0]["value"][1].as_str()?.parse().ok());
            Ok(Seen::when(up == Some(targets.len()), || format!("{up:?}")))
        })
        .await?;
        Ok(prometheus)
    }

    /// The series that an expression gives now.
    pub async fn query(&self, expression: &str) -> Result<Value> {
        let expression: String = byte_serialize(expression.as_bytes()).collect();
        Ok(self.ask(&format!("/api/v1/query?query={expression}")).await?["result"].take())
    }

    /// The names of all metrics.
    pub async fn metrics(&self) -> Result<Value> {
        self.ask("/api/v1/label/__name__/values").await
    }

    /// The rules and how each stands.
    pub async fn rules(&self) -> Result<Vec<Value>> {
        let groups = self.ask("/api/v1/rules").await?;
        let groups = groups["groups"].as_array().context("groups")?;
        let rules = groups.iter().filter_map(|group| group["rules"].as_array());
        Ok(rules.flatten().cloned().collect())
    }

    async fn ask(&self, path: &str) -> Result<Value> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).await?;
        // This version answers in one piece.
        stream.write_all(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        let (_, body) = answer.split_once("\r\n\r\n").context("no HTTP answer")?;
        let mut body: Value = serde_json::from_str(body)?;
        ensure!(body["status"] == "success", "{path}: {body}");
        Ok(body["data"].take())
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Serves what `metrics` gives at any path, until the test ends; gives the address.
pub async fn serve(metrics: impl Fn() -> Result<String> + Send + Sync + 'static) -> Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?.to_string();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            // One request a connection: what a client sends beyond its first bytes says nothing new.
            let mut request = [0; 4096];
            if stream.read(&mut request).await.is_ok()
                && let Ok(text) = metrics()
            {
                let head = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nConnection: close\r\n";
                let _ = stream.write_all(format!("{head}\r\n{text}").as_bytes()).await;
            }
        }
    });
    Ok(address)
}
