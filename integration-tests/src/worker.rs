//! A worker under test: the unmodified binary as a child process, with signals, log and exit code.

use std::fs::File;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::binary;
use crate::containers::{cpu_of, free_port};
use crate::wait::{PATIENCE, Seen, until};

const LOG_LINES_SHOWN: usize = 60;

/// What goes into a worker's configuration file. The defaults suit a test on a busy machine.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The pipeline, which is also the group.
    pub pipeline: String,
    /// Which topic goes to which table.
    pub routes: Vec<(String, String)>,
    /// The broker.
    pub bootstrap: String,
    /// The database.
    pub database: String,
    /// How the broker knows this worker.
    pub client: String,
    /// Further librdkafka properties.
    pub kafka: Vec<(&'static str, String)>,
    /// Transactions in parallel.
    pub connections: u32,
    /// Rows a second at most.
    pub rows_per_second: Option<u32>,
    /// Rows in a batch at most.
    pub max_rows: u32,
    /// When a batch is closed at the latest.
    pub max_age: &'static str,
    /// Bytes of a partition's batch at most.
    pub max_bytes: &'static str,
    /// What all buffers may hold.
    pub buffers: &'static str,
    /// How long what is held may take when a partition is let go; less than Kafka's session.
    pub drain_time: &'static str,
    /// How long a partition may stand still before the end of its log.
    pub patience: &'static str,
    /// Environment variables.
    pub environment: Vec<(&'static str, String)>,
}

/// A running worker. Dropping it kills it and shows the end of its log, which `cargo test` prints
/// when the test has failed.
#[derive(Debug)]
pub struct Worker {
    client: String,
    child: Mutex<Child>,
    pid: u32,
    http: u16,
    folder: TempDir,
}

impl Settings {
    /// Sets a librdkafka property.
    #[must_use]
    pub fn kafka(mut self, property: &'static str, value: &str) -> Self {
        self.kafka.retain(|(name, _)| *name != property);
        self.kafka.push((property, value.to_owned()));
        self
    }

    /// Sets an environment variable.
    #[must_use]
    pub fn with(mut self, variable: &'static str, value: &str) -> Self {
        self.environment.retain(|(name, _)| *name != variable);
        self.environment.push((variable, value.to_owned()));
        self
    }

    /// Those of a worker that is told only what it must be.
    pub fn plain() -> Self {
        Self {
            pipeline: String::new(),
            routes: Vec::new(),
            bootstrap: String::new(),
            database: String::new(),
            client: String::new(),
            kafka: Vec::new(),
            connections: 2,
            rows_per_second: None,
            max_rows: 10_000,
            max_age: "50ms",
            max_bytes: "8MiB",
            buffers: "256MiB",
            drain_time: "2s",
            patience: "1m",
            environment: Vec::new(),
        }
    }

    /// A worker that falls silent is given up after three seconds, as short as a busy machine bears.
    #[must_use]
    pub fn soon_given_up(mut self) -> Self {
        self.drain_time = "1s";
        self.kafka("session.timeout.ms", "3000")
            .kafka("heartbeat.interval.ms", "500")
            .kafka("max.poll.interval.ms", "4000")
    }

    /// The same with the protocol of KIP-848, where the broker decides how soon.
    #[must_use]
    pub fn with_new_protocol(mut self) -> Self {
        self.drain_time = "1s";
        self.kafka("group.protocol", "consumer").kafka("max.poll.interval.ms", "4000")
    }

    fn to_toml(&self, http: u16) -> String {
        let Self { pipeline, bootstrap, database, client, connections, .. } = self;
        let Self { max_rows, max_bytes, max_age, buffers, drain_time, patience, .. } = self;
        let properties = self.kafka.iter();
        let kafka: Vec<String> =
            properties.map(|(property, value)| format!("{property:?} = {value:?}")).collect();
        let kafka = kafka.join("\n");
        let route = |(topic, table): &(String, String)| {
            format!("[[route]]\ntopic = {topic:?}\ntable = {table:?}\n")
        };
        let routes: String = self.routes.iter().map(route).collect();
        let ceiling = self.rows_per_second.map(|rows| format!("rows_per_second = {rows}"));
        let ceiling = ceiling.unwrap_or_default();
        format!(
            r#"name = "{pipeline}"
[kafka]
"bootstrap.servers" = "{bootstrap}"
"client.id" = "{client}"
"reconnect.backoff.max.ms" = "1000"
{kafka}
[database]
url = "{database}"
connections = {connections}
{ceiling}
[batch]
max_rows = {max_rows}
max_bytes = "{max_bytes}"
max_age = "{max_age}"
drain_time = "{drain_time}"
{routes}
[memory]
buffers = "{buffers}"
[watchdog]
patience = "{patience}"
[http]
listen = "127.0.0.1:{http}"
"#
        )
    }

    /// Runs `write-behind run` with these settings.
    pub async fn start(&self) -> Result<Worker> {
        self.begin(&["run"]).await
    }

    /// Runs another command of `write-behind`, and does not wait for its end.
    pub async fn begin(&self, arguments: &[&str]) -> Result<Worker> {
        let folder = tempfile::tempdir()?;
        let http = free_port()?;
        let child = self.spawn(&folder, http, arguments).await?;
        let pid = child.id();
        Ok(Worker { client: self.client.clone(), child: Mutex::new(child), pid, http, folder })
    }

    /// Runs `write-behind check` with these settings; see [`Settings::command`].
    pub async fn check(&self) -> Result<(ExitStatus, String)> {
        self.command(&["check"]).await
    }

    /// Runs a command of `write-behind` with these settings to its end; gives its exit code and all it
    /// said.
    pub async fn command(&self, arguments: &[&str]) -> Result<(ExitStatus, String)> {
        let folder = tempfile::tempdir()?;
        let mut child = self.spawn(&folder, free_port()?, arguments).await?;
        let status = until(&format!("{arguments:?} to end"), PATIENCE, async || {
            let ended = child.try_wait()?;
            Ok(ended.map_or_else(|| Seen::NotYet("it runs".to_owned()), Seen::Done))
        })
        .await?;
        Ok((status, std::fs::read_to_string(folder.path().join("log"))?))
    }

    async fn spawn(&self, folder: &TempDir, http: u16, arguments: &[&str]) -> Result<Child> {
        let configuration = folder.path().join("write-behind.toml");
        std::fs::write(&configuration, self.to_toml(http))?;
        let log = File::create(folder.path().join("log"))?;
        Command::new(binary::path().await?)
            .args(arguments)
            .arg("--config")
            .arg(&configuration)
            .env("WRITE_BEHIND_LOG", "info,write_behind_consumer=debug")
            .env("NO_COLOR", "1")
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("the worker's binary")
    }
}

impl Worker {
    /// How the broker knows it.
    pub fn client(&self) -> &str {
        &self.client
    }

    /// Kills it with SIGKILL, and returns when it is gone.
    pub fn kill(&self) -> Result<()> {
        let mut child = self.child();
        child.kill()?;
        child.wait()?;
        Ok(())
    }

    /// Freezes it with SIGSTOP.
    pub fn freeze(&self) -> Result<()> {
        self.signal("STOP")
    }

    /// Lets it go on with SIGCONT.
    pub fn thaw(&self) -> Result<()> {
        self.signal("CONT")
    }

    /// Asks it to end with SIGTERM, and returns how it did.
    pub async fn terminate(&self) -> Result<ExitStatus> {
        self.signal("TERM")?;
        self.exit().await
    }

    /// Waits for its end.
    pub async fn exit(&self) -> Result<ExitStatus> {
        until(&format!("worker {} to end", self.client), PATIENCE, async || {
            let ended = self.child().try_wait()?;
            Ok(ended.map_or_else(|| Seen::NotYet("it runs".to_owned()), Seen::Done))
        })
        .await
    }

    /// An error that shows the log, when it has ended by itself.
    pub fn still_runs(&self) -> Result<()> {
        if let Some(status) = self.child().try_wait()? {
            bail!("worker {} has ended by itself with {status}:\n{}", self.client, self.log_tail());
        }
        Ok(())
    }

    /// Where it listens.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.http)
    }

    /// Runs another command of `write-behind` with its configuration; gives how it ended and what
    /// it printed.
    pub async fn command(&self, arguments: &[&str]) -> Result<(ExitStatus, String)> {
        let mut command = Command::new(binary::path().await?);
        command.args(arguments).arg("--config").arg(self.folder.path().join("write-behind.toml"));
        command.stdin(Stdio::null()).stderr(Stdio::inherit());
        let ended = tokio::task::spawn_blocking(move || command.output()).await??;
        Ok((ended.status, String::from_utf8(ended.stdout)?))
    }

    /// The memory it occupies, in bytes.
    pub fn resident(&self) -> Result<u64> {
        resident(self.pid)
    }

    /// The most memory it has occupied since it started, in bytes.
    pub fn peak(&self) -> Result<u64> {
        of_status(self.pid, "VmHWM:")
    }

    /// The CPU time that it has taken so far.
    pub fn cpu(&self) -> Result<Duration> {
        Ok(cpu_of(&std::fs::read_to_string(format!("/proc/{}/stat", self.pid))?, false))
    }

    /// What it has logged so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// The sum of a metric over its labels; `None` when it is not exported.
    pub async fn metric(&self, name: &str) -> Result<Option<f64>> {
        let page = self.get("/metrics").await?;
        let mut sum = None;
        for line in page.lines() {
            let Some(rest) = line.strip_prefix(name) else { continue };
            if rest.starts_with([' ', '{']) {
                let value: f64 = rest.rsplit(' ').next().unwrap_or_default().parse()?;
                sum = Some(sum.unwrap_or(0.0) + value);
            }
        }
        Ok(sum)
    }

    /// What its HTTP endpoint answers, without the head.
    pub async fn get(&self, path: &str) -> Result<String> {
        let answer = self.answer(path).await?;
        let (head, body) = answer.split_once("\r\n\r\n").context("no HTTP answer")?;
        ensure!(head.starts_with("HTTP/1.1 200"), "{path}: {head}");
        Ok(body.to_owned())
    }

    /// What its HTTP endpoint answers, whatever that is, with the head.
    pub async fn answer(&self, path: &str) -> Result<String> {
        let request = format!("GET {path} HTTP/1.1\r\nHost: worker\r\nConnection: close\r\n\r\n");
        self.talk(request.as_bytes()).await
    }

    /// What its HTTP endpoint answers to these bytes, until it closes the connection.
    pub async fn talk(&self, request: &[u8]) -> Result<String> {
        let asked = async {
            let mut stream = TcpStream::connect(("127.0.0.1", self.http)).await?;
            stream.write_all(request).await?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await?;
            Ok(answer)
        };
        tokio::time::timeout(Duration::from_secs(10), asked).await.context("the HTTP endpoint")?
    }

    /// Sends it a signal, by its name without SIG.
    ///
    /// `kill` as a command may be missing on a small machine; every shell has its own.
    pub fn signal(&self, name: &str) -> Result<()> {
        let script = format!("kill -{name} {}", self.pid);
        let status = Command::new("sh").args(["-c", &script]).status()?;
        ensure!(status.success(), "{script}: {status}");
        Ok(())
    }

    fn child(&self) -> MutexGuard<'_, Child> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn log_tail(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(LOG_LINES_SHOWN)..].join("\n")
    }
}

/// The memory that a process occupies, in bytes.
pub fn resident(pid: u32) -> Result<u64> {
    of_status(pid, "VmRSS:")
}

fn of_status(pid: u32, name: &'static str) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let kilobytes = line.and_then(|rest| rest.split_whitespace().next());
    Ok(kilobytes.context(name)?.parse::<u64>()? * 1024)
}

impl Drop for Worker {
    fn drop(&mut self) {
        // It may have been killed already.
        let _ = self.kill();
        eprintln!("--- the end of the log of worker {}\n{}\n---", self.client, self.log_tail());
    }
}
