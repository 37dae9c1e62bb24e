//! `init --table` on a real Postgres: the configuration that it prints works as it stands, and so does
//! the record.

use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use integration_tests::binary;
use integration_tests::containers::free_port;
use integration_tests::log::Raw;
use integration_tests::postgres::Postgres;
use integration_tests::stack::Pipeline;
use integration_tests::wait::{PATIENCE, Seen, until};
use tokio::process::{Child, Command};

/// Columns of many types, none of which the printed record may leave unset.
const COLUMNS: &str = "tenant varchar(2), day date, primary key (tenant, day), n bigint not null, \
    share numeric(2, 2) not null, price numeric(8, 2) not null, big numeric(3, -2) not null, \
    ratio real not null, ok boolean not null, note text not null, short char(1) not null, \
    run uuid not null, at timestamptz not null, then_at timestamp not null, \
    hour time not null, zoned timetz not null, doc jsonb not null, raw bytea not null, \
    tags text[] not null, days date[] not null, period interval";

/// The two words in quotes of the line that makes the record.
fn record(draft: &str) -> Option<(&str, &str)> {
    let line = draft.lines().find_map(|line| line.split_once(r"printf '%s\t%s\n' '"))?.1;
    let (key, rest) = line.split_once("' '")?;
    Some((key, rest.split_once("' | kcat")?.0))
}

fn command(binary: &std::path::Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(binary);
    command.args(arguments).env("PASSWORD", "write-behind").kill_on_drop(true);
    command
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_printed_for_a_table_runs_and_its_record_becomes_a_row() -> Result<()> {
    let pipeline = Pipeline::new("draft", 3, COLUMNS).await?;
    let binary = binary::folder().await?.join("write-behind");
    let (table, url) =
        (format!("public.{}", pipeline.name), Postgres::url_by_way_of(pipeline.postgres.port()));
    let kafka = pipeline.kafka.bootstrap();
    let init = ["init", "--table", &table, "--database", &url, "--kafka", &kafka];
    let printed = command(&binary, &init).output().await?;
    ensure!(printed.status.success(), "{printed:?}");
    let draft = String::from_utf8(printed.stdout)?;
    ensure!(!draft.contains("write-behind@"), "the password: {draft}");
    ensure!(draft.contains("# It leaves out: period\n"), "{draft}");

    let folder = tempfile::tempdir()?;
    let file = folder.path().join("draft.toml");
    std::fs::write(&file, &draft)?;
    let file = file.to_str().context("a path")?;
    let checked = command(&binary, &["--config", file, "check"]).output().await?;
    ensure!(checked.status.success(), "{checked:?}");
    let listen = format!("127.0.0.1:{}", free_port()?);
    let mut run = command(&binary, &["--config", file, "run"]);
    let run: Child = run.env("WRITE_BEHIND_HTTP_LISTEN", listen).stderr(Stdio::null()).spawn()?;
    let (key, value) = record(&draft).context("a record")?;
    pipeline.append(&[Raw::put(key, value)]).await?;
    until("the record's row", PATIENCE, async || {
        let rows = pipeline.number("count(*)").await?;
        let letters: Vec<String> =
            sqlx::query_scalar("select reason from write_behind_dead_letters where topic = $1")
                .bind(&pipeline.name)
                .fetch_all(&pipeline.sql)
                .await
                .unwrap_or_default();
        ensure!(letters.is_empty(), "{letters:?}: {key} {value}");
        Ok(Seen::when(rows == 1, || format!("{rows} rows")))
    })
    .await?;
    drop(run);
    Ok(())
}
