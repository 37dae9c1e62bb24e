//! A real browser: Chromium without a window, told what to do through chromedriver.

use std::fs::File;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result};
use fantoccini::wd::WebDriverCompatibleCommand;
use fantoccini::{Client, ClientBuilder};
use http::Method;
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::{Value, json};
use tempfile::TempDir;
use url::{ParseError, Url};

use crate::containers::free_port;
use crate::wait::{PATIENCE, Seen, until};

/// A browser with an empty profile. Dropping it ends it.
#[derive(Debug)]
pub struct Browser {
    /// What it is told.
    pub client: Client,
    driver: Child,
    _folder: TempDir,
}

/// One of the logs that chromedriver keeps; asking for it empties it.
#[derive(Debug)]
struct LogOf(&'static str);

impl WebDriverCompatibleCommand for LogOf {
    fn endpoint(&self, base: &Url, session: Option<&str>) -> Result<Url, ParseError> {
        base.join(&format!("session/{}/se/log", session.unwrap_or_default()))
    }

    fn method_and_body(&self, _: &Url) -> (Method, Option<String>) {
        (Method::POST, Some(json!({"type": self.0}).to_string()))
    }
}

/// A command of the browser's own protocol, for what WebDriver has no word for.
#[derive(Debug)]
struct Devtools(&'static str, Value);

impl WebDriverCompatibleCommand for Devtools {
    fn endpoint(&self, base: &Url, session: Option<&str>) -> Result<Url, ParseError> {
        base.join(&format!("session/{}/goog/cdp/execute", session.unwrap_or_default()))
    }

    fn method_and_body(&self, _: &Url) -> (Method, Option<String>) {
        (Method::POST, Some(json!({"cmd": self.0, "params": self.1}).to_string()))
    }
}

impl Browser {
    /// Starts chromedriver, and by it a browser.
    pub async fn start() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let port = free_port()?;
        let log = File::create(folder.path().join("chromedriver.log"))?;
        let driver = Command::new("chromedriver")
            .arg(format!("--port={port}"))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .process_group(0)
            .spawn()
            .context("chromedriver; on Debian: apt-get install chromium chromium-driver")?;
        let mut capabilities = serde_json::Map::new();
        capabilities.insert("goog:chromeOptions".to_owned(), options(folder.path()));
        let logs = json!({"browser": "ALL", "performance": "ALL"});
        capabilities.insert("goog:loggingPrefs".to_owned(), logs);
        let url = format!("http://127.0.0.1:{port}");
        let client = until("a browser", PATIENCE, async || {
            let mut builder = ClientBuilder::new(HttpConnector::new());
            builder.capabilities(capabilities.clone());
            let connected = builder.connect(&url).await;
            Ok(connected.map_or_else(|error| Seen::NotYet(error.to_string()), Seen::Done))
        })
        .await?;
        Ok(Self { client, driver, _folder: folder })
    }

    /// Gives the page this room, in pixels. A window itself is never as narrow as a telephone.
    pub async fn resize(&self, width: u32, height: u32) -> Result<()> {
        let size =
            json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": false});
        self.client.issue_cmd(Devtools("Emulation.setDeviceMetricsOverride", size)).await?;
        Ok(())
    }

    /// Looks at the page as people do who like it dark.
    pub async fn darken(&self) -> Result<()> {
        let dark = json!({"features": [{"name": "prefers-color-scheme", "value": "dark"}]});
        self.client.issue_cmd(Devtools("Emulation.setEmulatedMedia", dark)).await?;
        Ok(())
    }

    /// What the page has complained of on the console since it was asked last.
    pub async fn complaints(&self) -> Result<Vec<String>> {
        let entries = self.log("browser").await?;
        let grave = entries
            .iter()
            .filter(|entry| entry["level"] == "SEVERE" || entry["level"] == "WARNING");
        Ok(grave.map(|entry| entry["message"].to_string()).collect())
    }

    /// The URLs that the browser has asked for since it was asked last.
    pub async fn requests(&self) -> Result<Vec<String>> {
        let entries = self.log("performance").await?;
        let url = |entry: &Value| {
            let event: Value = serde_json::from_str(entry["message"].as_str()?).ok()?;
            let message = &event["message"];
            if message["method"] != "Network.requestWillBeSent" {
                return None;
            }
            Some(message["params"]["request"]["url"].as_str()?.to_owned())
        };
        Ok(entries.iter().filter_map(url).collect())
    }

    /// What `script` returns, run in the page as the body of a function.
    pub async fn evaluate(&self, script: &str) -> Result<Value> {
        Ok(self.client.execute(script, Vec::new()).await?)
    }

    /// Waits until `script` returns something true.
    pub async fn waits_for(&self, what: &str, script: &str) -> Result<()> {
        until(what, PATIENCE, async || {
            let value = self.evaluate(script).await?;
            if value == json!(true) {
                return Ok(Seen::Done(()));
            }
            let text = self.evaluate("return document.body.innerText").await?;
            Ok(Seen::NotYet(format!("{value}; the page says {text}")))
        })
        .await
    }

    async fn log(&self, name: &'static str) -> Result<Vec<Value>> {
        let entries = self.client.issue_cmd(LogOf(name)).await?;
        entries.as_array().cloned().context("a log is a list")
    }
}

fn options(folder: &Path) -> Value {
    let profile = format!("--user-data-dir={}", folder.join("profile").display());
    json!({"args": [
        "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
        "--disable-background-networking", "--disable-component-update", "--disable-sync",
        "--disable-dev-shm-usage", profile,
    ]})
}

impl Drop for Browser {
    fn drop(&mut self) {
        // The browser is of the driver's process group, and would outlive it. Either may have ended
        // already.
        let script = format!("kill -KILL -{}", self.driver.id());
        let _ = Command::new("sh").args(["-c", &script]).stderr(Stdio::null()).status();
        let _ = self.driver.wait();
    }
}
