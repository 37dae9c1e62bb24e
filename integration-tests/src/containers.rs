//! What every container here shares: fixed ports, one retry, removal at our end, a runtime.
//!
//! Ports are fixed before the start: Docker hands out new ones when a container is stopped and
//! started, while a broker goes on advertising the old one.

use std::net::TcpListener;
use std::sync::OnceLock;
use std::time::Duration;

use anyhow::{Context, Result};
use testcontainers::core::ExecCommand;
use testcontainers::core::client::docker_client_instance;
use testcontainers::runners::AsyncRunner;
use testcontainers::{ContainerAsync, ContainerRequest, GenericImage};
use tokio::runtime::Runtime;

use crate::reaper::remove_at_our_end;
use crate::wait::{PATIENCE, Seen, until};

/// How long one call to the engine may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// A started container of any image.
pub(crate) type Container = ContainerAsync<GenericImage>;

/// A port that was free a moment ago.
pub fn free_port() -> Result<u16> {
    let listener = TcpListener::bind("127.0.0.1:0").context("a free port")?;
    Ok(listener.local_addr()?.port())
}

/// Starts what `request` makes of fresh ports, and tries again with others when a port was taken
/// in between.
pub(crate) async fn start<const PORTS: usize>(
    request: impl Fn([u16; PORTS]) -> ContainerRequest<GenericImage>,
) -> Result<(Container, [u16; PORTS])> {
    let mut tries = 0;
    loop {
        tries += 1;
        let mut ports = [0; PORTS];
        for port in &mut ports {
            *port = free_port()?;
        }
        match start_once(request(ports)).await {
            Ok(container) => return Ok((container, ports)),
            Err(error) if tries < 3 && port_was_taken(&error) => {}
            Err(error) => return Err(error),
        }
    }
}

/// Starts what is requested.
pub(crate) async fn start_once(request: ContainerRequest<GenericImage>) -> Result<Container> {
    let network = request.network().clone();
    let container = request.start().await.context("a container did not start")?;
    remove_at_our_end("container", container.id());
    if let Some(network) = network {
        remove_at_our_end("network", &network);
    }
    Ok(container)
}

/// Kills it without a word: `stop` would ask first, and a broker that is asked hands over to others
/// within milliseconds.
pub(crate) async fn kill(container: &Container) -> Result<()> {
    let engine = docker_client_instance().await?;
    let kill = async || engine.kill_container(container.id(), None).await;
    done("the container to be killed", "is not running", kill).await
}

/// Starts it where it was killed, with its data.
pub(crate) async fn restart(container: &Container) -> Result<()> {
    // To start what runs is no error.
    done("the container to start again", "already started", async || container.start().await).await
}

/// The CPU time of all processes in it so far, as far as they or their ended children are there.
pub(crate) async fn cpu(container: &Container) -> Result<Duration> {
    let all = ExecCommand::new(["sh", "-c", "cat /proc/[0-9]*/stat"]);
    let mut run = container.exec(all).await?;
    let lines = String::from_utf8(run.stdout_to_vec().await?)?;
    Ok(lines.lines().map(|line| cpu_of(line, line.starts_with("1 "))).sum())
}

/// The CPU time that a line of `/proc/…/stat` names: the process's own, and with `children` that of
/// its ended children. The kernel counts in hundredths of a second.
pub(crate) fn cpu_of(stat: &str, children: bool) -> Duration {
    let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields).split_whitespace();
    let times = fields.skip(11).take(if children { 4 } else { 2 });
    Duration::from_millis(times.filter_map(|field| field.parse::<u64>().ok()).sum::<u64>() * 10)
}

/// Freezes every process in it.
pub(crate) async fn pause(container: &Container) -> Result<()> {
    // A busy container is not always frozen at the first try: "unable to freeze".
    done("the container to be frozen", "already paused", async || container.pause().await).await
}

/// Lets every process in it go on.
pub(crate) async fn unpause(container: &Container) -> Result<()> {
    done("the container to go on", "not paused", async || container.unpause().await).await
}

/// Calls the engine until it has done something. A busy one sometimes never answers a call, and may
/// have carried it out all the same; it refuses the next one then, and says `already`.
async fn done<E: Into<anyhow::Error>>(
    what: &str,
    already: &str,
    mut call: impl AsyncFnMut() -> Result<(), E>,
) -> Result<()> {
    until(what, PATIENCE, async || {
        let answer = tokio::time::timeout(ANSWER_WITHIN, call()).await;
        let refusal = match answer {
            Ok(Ok(())) => return Ok(Seen::Done(())),
            Ok(Err(error)) => format!("{:#}", error.into()),
            Err(_) => "the engine does not answer".to_owned(),
        };
        Ok(Seen::when(refusal.contains(already), || refusal.clone()))
    })
    .await
}

/// Whether somebody took a port between its choice and the start.
pub(crate) fn port_was_taken(error: &anyhow::Error) -> bool {
    format!("{error:#}").contains("port")
}

/// Starts what is to outlive a test in a runtime that does, too.
pub(crate) async fn in_background<T, F>(start: impl FnOnce() -> F + Send + 'static) -> Result<T>
where
    T: Send + 'static,
    F: Future<Output = Result<T>>,
{
    background().spawn_blocking(|| background().block_on(start())).await?
}

fn background() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("stack")
            .enable_all()
            .build();
        runtime.unwrap_or_else(|error| panic!("no runtime for the containers: {error}"))
    })
}
