//! A writing process under test: a service that embeds the producer, as a child that can be killed.
//!
//! It is told what to do by lines, and prints a line for every write that it was told is replicated
//! and for every row that it reads. A line is one `write` to the pipe, so that a kill leaves none in
//! half.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Stdio;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::timeout;

use crate::load::{Plan, Row};
use crate::wait::PATIENCE;

/// Where the process stands, and what it writes: its one argument, as JSON.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Service {
    /// The broker.
    pub bootstrap: String,
    /// The database.
    pub database: String,
    /// The pipeline, its topic and its table.
    pub name: String,
    /// Partitions of the topic.
    pub partitions: i32,
    /// What it writes once it is told to.
    pub plan: Plan,
    /// Where it records that first; without a loader then, and without following the log.
    pub journal: Option<PathBuf>,
}

/// What it is told on its standard input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Order {
    /// Begin to write, and do not end.
    Write,
    /// Begin to add 1 to rows that no other write has, and do not end.
    Count,
    /// Wait until Kafka has all that was written.
    Replicate,
    /// Read every row of the plan.
    Read,
}

/// What it says on its standard output.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Said {
    /// The handle is built.
    Ready,
    /// This write is replicated.
    Replicated(String),
    /// The journal has this write, whose row has the same name.
    Recorded(String),
    /// Kafka has all that was written.
    AllReplicated,
    /// A row as it reads it.
    Row(String, Option<Row>),
    /// That were all rows.
    AllRead,
}

/// The running process. It is killed when it is dropped.
#[derive(Debug)]
pub struct Writer {
    child: Child,
    orders: ChildStdin,
    said: Lines<BufReader<ChildStdout>>,
    replicated: Vec<String>,
    recorded: Vec<String>,
}

impl Writer {
    /// Starts `binary`, and waits until its handle is built.
    pub async fn start(binary: &str, service: &Service) -> Result<Self> {
        let mut child = Command::new(binary)
            .arg(serde_json::to_string(service)?)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("the writer's binary")?;
        let orders = child.stdin.take().context("no pipe to the writer")?;
        let said = child.stdout.take().context("no pipe from the writer")?;
        let said = BufReader::new(said).lines();
        let mut writer = Self { child, orders, said, replicated: Vec::new(), recorded: Vec::new() };
        while !matches!(writer.next().await?, Said::Ready) {}
        Ok(writer)
    }

    /// Lets it write until it is killed.
    pub async fn write(&mut self) -> Result<()> {
        self.order(Order::Write).await
    }

    /// Waits until it says that `more` of its writes are replicated.
    pub async fn replicates(&mut self, more: usize) -> Result<()> {
        let enough = self.replicated.len() + more;
        while self.replicated.len() < enough {
            self.next().await?;
        }
        Ok(())
    }

    /// Lets it count until it is killed.
    pub async fn count(&mut self) -> Result<()> {
        self.order(Order::Count).await
    }

    /// Waits until it says that `more` of its writes are recorded.
    pub async fn records(&mut self, more: usize) -> Result<()> {
        let enough = self.recorded.len() + more;
        while self.recorded.len() < enough {
            self.next().await?;
        }
        Ok(())
    }

    /// Waits until Kafka has all that it has written, and what it found in its journal.
    pub async fn replicate(&mut self) -> Result<()> {
        self.order(Order::Replicate).await?;
        while !matches!(self.next().await?, Said::AllReplicated) {}
        Ok(())
    }

    /// Kills it with SIGKILL, and returns the names of the writes that it said are recorded.
    pub async fn kill_and_recorded(mut self) -> Result<Vec<String>> {
        self.child.kill().await?;
        while let Some(line) = self.said.next_line().await? {
            self.note(&line)?;
        }
        Ok(self.recorded)
    }

    /// Every row that it reads.
    pub async fn read(&mut self) -> Result<BTreeMap<String, Row>> {
        self.order(Order::Read).await?;
        let mut rows = BTreeMap::new();
        loop {
            match self.next().await? {
                Said::Row(key, Some(row)) => drop(rows.insert(key, row)),
                Said::AllRead => return Ok(rows),
                Said::Ready
                | Said::Replicated(_)
                | Said::Recorded(_)
                | Said::AllReplicated
                | Said::Row(_, None) => {}
            }
        }
    }

    /// Kills it with SIGKILL, and returns the names of the writes that it said are replicated.
    pub async fn kill(mut self) -> Result<Vec<String>> {
        self.child.kill().await?;
        while let Some(line) = self.said.next_line().await? {
            self.note(&line)?;
        }
        Ok(self.replicated)
    }

    async fn order(&mut self, order: Order) -> Result<()> {
        let line = serde_json::to_string(&order)? + "\n";
        Ok(self.orders.write_all(line.as_bytes()).await?)
    }

    async fn next(&mut self) -> Result<Said> {
        let line =
            timeout(PATIENCE, self.said.next_line()).await.context("the writer is silent")?;
        self.note(&line?.context("the writer has ended by itself")?)
    }

    fn note(&mut self, line: &str) -> Result<Said> {
        let said = serde_json::from_str(line).with_context(|| format!("it said {line:?}"))?;
        match &said {
            Said::Replicated(name) => self.replicated.push(name.clone()),
            Said::Recorded(name) => self.recorded.push(name.clone()),
            _ => {}
        }
        Ok(said)
    }
}
