//! The unmodified binary before a broker and a database that take nothing unencrypted and nobody
//! without proof and rights: it works with what `docs/security.md` names, refuses whom it cannot be
//! sure of, and keeps its secrets.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use integration_tests::certificates::Certificates;
use integration_tests::log::{Log, Raw};
use integration_tests::postgres::Postgres;
use integration_tests::secure::{SecureKafka, USER, secure_postgres};
use integration_tests::wait::{PATIENCE, Seen, until};
use integration_tests::worker::{Settings, Worker};
use sqlx::AssertSqlSafe;
use sqlx::postgres::PgPool;
use tempfile::TempDir;

const TOPIC: &str = "scores";
const GROUP: &str = "guarded";
const SASL_PASSWORD: &str = "swordfish-of-the-broker";
const DATABASE_PASSWORD: &str = "swordfish-of-the-database";

/// Both servers, and the files that a client of theirs has.
struct Guarded {
    kafka: SecureKafka,
    postgres: Postgres,
    log: Log,
    sql: PgPool,
    files: TempDir,
}

impl Guarded {
    async fn start() -> Result<Self> {
        let certificates = Certificates::new()?;
        let (kafka, postgres) =
            tokio::try_join!(SecureKafka::start(&certificates), secure_postgres(&certificates))?;
        let log = kafka.create_topic(TOPIC, 2).await?;
        let sql = postgres.connect().await?;
        let files = tempfile::tempdir()?;
        std::fs::write(files.path().join("authority.pem"), &certificates.authority)?;
        let stranger = Certificates::new()?.authority;
        std::fs::write(files.path().join("stranger.pem"), stranger)?;
        Ok(Self { kafka, postgres, log, sql, files })
    }

    fn file(&self, name: &str) -> String {
        self.files.path().join(name).display().to_string()
    }

    /// Writes a secret to a file of its own.
    fn secret(&self, name: &str, text: &str) -> Result<String> {
        let path: PathBuf = self.files.path().join(name);
        std::fs::write(&path, format!("{text}\n"))?;
        Ok(path.display().to_string())
    }

    fn url(&self, host: &str, authority: &str) -> String {
        format!(
            "postgres://writer:{DATABASE_PASSWORD}@{host}:{}/postgres\
             ?sslmode=verify-full&sslrootcert={}",
            self.postgres.port(),
            self.file(authority)
        )
    }

    /// What the documentation says, with the secrets in files.
    fn settings(&self) -> Result<Settings> {
        let kafka = [
            ("security.protocol", "sasl_ssl".to_owned()),
            ("ssl.ca.location", self.file("authority.pem")),
            ("sasl.mechanism", "SCRAM-SHA-512".to_owned()),
            ("sasl.username", USER.to_owned()),
            ("broker.address.family", "v4".to_owned()),
        ];
        let password = self.secret("password", SASL_PASSWORD)?;
        let url = self.secret("url", &self.url("localhost", "authority.pem"))?;
        Ok(Settings {
            pipeline: GROUP.to_owned(),
            routes: vec![(TOPIC.to_owned(), "public.scores".to_owned())],
            bootstrap: format!("localhost:{}", self.kafka.port()),
            // The variable wins.
            database: "postgres://nobody@127.0.0.1:1/nowhere".to_owned(),
            client: "guarded".to_owned(),
            kafka: kafka.to_vec(),
            environment: vec![
                ("WRITE_BEHIND_DATABASE_URL_FILE", url),
                ("WRITE_BEHIND_KAFKA_SASL_PASSWORD_FILE", password),
                ("WRITE_BEHIND_NO_INIT", "true".to_owned()),
            ],
            ..Settings::plain()
        })
    }

    /// The table, and a role with the rights that the documentation names.
    async fn grant(&self) -> Result<()> {
        self.kafka.let_in(SASL_PASSWORD, TOPIC, GROUP).await?;
        let table = "create table scores (id text primary key, n bigint)";
        sqlx::raw_sql(table).execute(&self.sql).await?;
        let admin = Settings {
            database: Postgres::url_by_way_of(self.postgres.port()),
            environment: Vec::new(),
            ..self.settings()?
        };
        let (status, said) = admin.command(&["init"]).await?;
        ensure!(status.success(), "init ended with {status}: {said}");
        let documented = include_str!("../../docs/security.md");
        let role = documented.split("```sql").nth(1).and_then(|rest| rest.split("```").next());
        let role = role.context("no role in docs/security.md")?;
        let role = role.replace("choose-one", DATABASE_PASSWORD);
        sqlx::raw_sql(AssertSqlSafe(role)).execute(&self.sql).await?;
        Ok(())
    }

    async fn append(&self, id: &str) -> Result<()> {
        let record = Raw::put(id, r#"{"n":1}"#).adding("n");
        self.log.append(TOPIC, 2, &[record]).await.map(drop)
    }

    async fn has(&self, rows: i64, worker: &Worker) -> Result<()> {
        until("the rows to be in the database", PATIENCE, async || {
            worker.still_runs()?;
            let found: i64 =
                sqlx::query_scalar("select count(*) from scores").fetch_one(&self.sql).await?;
            Ok(Seen::when(found == rows, || format!("{found} rows")))
        })
        .await
    }
}

/// Which part of `check` fails, and what it says.
async fn refused(settings: &Settings, part: &str, why: &str) -> Result<()> {
    let (status, said) = settings.check().await?;
    ensure!(status.code() == Some(1), "`check` ended with {status}: {said}");
    let line = said.lines().find(|line| line.contains(part) && line.to_lowercase().contains(why));
    ensure!(line.is_some(), "no line of `check` says {why:?} of the {part}: {said}");
    keeps_its_secrets(&said)
}

fn keeps_its_secrets(said: &str) -> Result<()> {
    let line = said.lines().find(|line| line.contains("swordfish"));
    ensure!(line.is_none(), "a secret is told: {line:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn with_encryption_proof_and_few_rights_it_works_and_without_any_of_them_it_says_so()
-> Result<()> {
    let guarded = Guarded::start().await?;
    guarded.grant().await?;
    let good = guarded.settings()?;
    let (status, said) = good.check().await?;
    ensure!(status.success(), "`check` ended with {status}: {said}");
    let worker = good.start().await?;
    guarded.append("one").await?;
    guarded.has(1, &worker).await?;
    // What lets the connections be read is not even tried by the servers.
    refused_by_both(&guarded, &good).await?;
    secrets_stay_secret(&guarded, &good).await?;
    guarded.append("two").await?;
    guarded.has(2, &worker).await?;
    keeps_its_secrets(&worker.log())
}

/// An authority that did not sign, a host that is not named, a wrong password, no encryption.
async fn refused_by_both(guarded: &Guarded, good: &Settings) -> Result<()> {
    let stranger = good.clone().kafka("ssl.ca.location", &guarded.file("stranger.pem"));
    refused(&stranger, "kafka", "certificate verify failed").await?;
    let bootstrap = format!("127.0.0.1:{}", guarded.kafka.port());
    let misnamed = Settings { bootstrap, ..good.clone() };
    refused(&misnamed, "kafka", "certificate verify failed").await?;
    let unproven = guarded.secret("wrong", "swordfish-that-is-wrong")?;
    let unproven = good.clone().with("WRITE_BEHIND_KAFKA_SASL_PASSWORD_FILE", &unproven);
    refused(&unproven, "kafka", "authentication failed").await?;
    let elsewhere = |name: &str, url: &str| {
        anyhow::Ok(good.clone().with("WRITE_BEHIND_DATABASE_URL_FILE", &guarded.secret(name, url)?))
    };
    let stranger = elsewhere("stranger", &guarded.url("localhost", "stranger.pem"))?;
    refused(&stranger, "database", "certificate verify failed").await?;
    let misnamed = elsewhere("misnamed", &guarded.url("127.0.0.1", "authority.pem"))?;
    refused(&misnamed, "database", "certificate verify failed").await?;
    let unproven = guarded.url("localhost", "authority.pem").replace("-of-the-database", "");
    refused(&elsewhere("unproven", &unproven)?, "database", "password authentication failed")
        .await?;
    let open = guarded.url("localhost", "authority.pem").replace("verify-full", "disable");
    refused(&elsewhere("open", &open)?, "database", "no encryption").await
}

/// A worker that tells all it can of its failures tells none of its secrets.
async fn secrets_stay_secret(guarded: &Guarded, good: &Settings) -> Result<()> {
    let wrong = guarded.secret("wrong-too", "swordfish-that-is-wrong")?;
    let lone = |name: &'static str, value: &str| {
        let settings = good.clone().with("WRITE_BEHIND_LOG", "trace").with(name, value);
        settings.kafka("debug", "all")
    };
    let dead = Settings { bootstrap: "127.0.0.1:1".to_owned(), ..good.clone() };
    let dead = dead.with("WRITE_BEHIND_LOG", "trace").kafka("debug", "all");
    let bad_url = guarded.url("127.0.0.1", "authority.pem");
    let bad_url = guarded.secret("bad-url", &bad_url)?;
    for (settings, sign) in [
        (lone("WRITE_BEHIND_KAFKA_SASL_PASSWORD_FILE", &wrong), "kafka does not answer"),
        (lone("WRITE_BEHIND_DATABASE_URL_FILE", &bad_url), "certificate verify failed"),
        (dead, "kafka does not answer"),
    ] {
        let worker = settings.start().await?;
        until(&format!("{sign:?} in the log"), PATIENCE, async || {
            let seen = worker.log().to_lowercase().contains(sign);
            Ok(Seen::when(seen, || "it does not say so".to_owned()))
        })
        .await?;
        for path in ["/metrics", "/healthz", "/readyz", "/status", "/"] {
            keeps_its_secrets(&worker.answer(path).await?)?;
        }
        keeps_its_secrets(&worker.log())?;
    }
    Ok(())
}
