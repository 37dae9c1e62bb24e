//! The binary under test: `write-behind`, unmodified, built by cargo in the tests' own
//! profile.
//!
//! Cargo names a package's binaries only to that package's own tests, so it is asked: a build of
//! the whole workspace's features, which is what `cargo test --workspace` has just made, so that
//! nothing is compiled twice. `WORKER_BINARY` names another one to test instead.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use tokio::sync::OnceCell;

#[derive(Deserialize)]
struct BuildMessage {
    executable: Option<PathBuf>,
}

/// The folder that the binary is in.
pub async fn folder() -> Result<&'static Path> {
    path().await?.parent().context("the binary is in no folder")
}

/// The path of an example of the producer.
pub async fn example(name: &'static str) -> Result<PathBuf> {
    tokio::task::spawn_blocking(move || build("--example", name)).await?
}

/// The path of the binary; built once in a process.
pub(crate) async fn path() -> Result<&'static PathBuf> {
    static BINARY: OnceCell<PathBuf> = OnceCell::const_new();
    BINARY
        .get_or_try_init(async || match std::env::var_os("WORKER_BINARY") {
            Some(path) => Ok(path.into()),
            None => tokio::task::spawn_blocking(|| build("--bin", "write-behind")).await?,
        })
        .await
}

fn build(kind: &str, name: &str) -> Result<PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command
        .args(["build", "--workspace", kind, name, "--message-format=json"])
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .stdin(Stdio::null())
        .stderr(Stdio::piped());
    if !cfg!(debug_assertions) {
        command.arg("--release");
    }
    let built = command.output().context("cargo")?;
    let complaint = String::from_utf8_lossy(&built.stderr);
    ensure!(built.status.success(), "{name} does not build:\n{complaint}");
    String::from_utf8(built.stdout)?
        .lines()
        .filter_map(|line| serde_json::from_str::<BuildMessage>(line).ok())
        .filter_map(|message| message.executable)
        .find(|path| path.file_stem().is_some_and(|stem| stem == name))
        .with_context(|| format!("cargo has built no `{name}`"))
}
