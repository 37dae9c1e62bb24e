//! The live page, served by the unmodified binary, in a real browser.

use anyhow::{Result, ensure};
use integration_tests::browser::Browser;
use integration_tests::log::Raw;
use integration_tests::wait::{PATIENCE, Seen, until};
use integration_tests::wire::Door;
use sqlx::AssertSqlSafe;

use super::{Scene, answers, is_ok};

/// Names a folder, if pictures of the page are wanted.
const PICTURES: &str = "PAGE_SCREENSHOTS";
/// Points that each line of a chart has at least; drawn as in the page's script.
const CHARTS_HAVE_POINTS: &str = r#"
    const points = (id) => [...document.querySelectorAll(`#${id} path`)]
        .reduce((sum, path) => sum + path.getAttribute("d").split(/[ML]/).length - 1, 0);
    return points("chart-rate") >= 4 && points("chart-lag") >= 2 && points("chart-latency") >= 1;
"#;
pub(super) const IS_GOOD: &str =
    r#"return document.getElementById("state").classList.contains("good")"#;
/// What the page says of a lag, by its numbers at the seconds.
const TREND: &str = r"
    const of = (...lags) => trend(lags.map(([second, lag_records]) => ({ time_ms: second * 1000, lag_records })), 60000);
    return [
        of([0, 6000], [30, 3000]), of([0, 3000], [60, 9000]), of([0, 9000], [30, null], [60, 8950]),
        of([0, 100], [60, 0]), of([50, 100], [53, 900]), of([0, 50]), of(),
        trend([{ time_ms: 0, lag_records: 9 }, { time_ms: 90000, lag_records: 900 }], 120000),
    ];
";
const HAS_NO_HORIZONTAL_SCROLL: &str =
    "return document.documentElement.scrollWidth <= window.innerWidth";

#[tokio::test(flavor = "multi_thread")]
async fn the_page_shows_numbers_charts_and_troubles_in_any_window() -> Result<()> {
    let scene = Scene::new("page").await?;
    let worker = scene.start(&scene.settings()).await?;
    answers(&worker, "/readyz", "ok", is_ok).await?;
    let browser = Browser::start().await?;
    browser.resize(1200, 900).await?;
    browser.client.goto(&worker.url()).await?;

    browser.waits_for("it is well", IS_GOOD).await?;
    browser
        .waits_for(
            "both partitions",
            "return document.getElementById('partitions').rows.length === 2",
        )
        .await?;
    let written =
        "return Number(document.getElementById('partitions').rows[0].cells[8].textContent)";
    let before = browser.evaluate(written).await?.as_f64();
    scene.append(1_000).await?;
    scene.pipeline.drained(&[&worker], PATIENCE).await?;
    let moved = format!("{} > {}", written, before.unwrap_or_default());
    browser.waits_for("the numbers to move", &moved).await?;
    browser.waits_for("charts", CHARTS_HAVE_POINTS).await?;
    shows_a_minute_of_work(&scene, &browser).await?;

    // A reload shows the past minutes at once: they come from the process.
    browser.client.refresh().await?;
    browser.waits_for("charts after a reload", CHARTS_HAVE_POINTS).await?;

    browser.resize(360, 740).await?;
    browser.waits_for("a narrow window", "return window.innerWidth === 360").await?;
    let fits = browser.evaluate(HAS_NO_HORIZONTAL_SCROLL).await?;
    ensure!(fits == true, "the page scrolls sideways in a narrow window");
    shot(&browser, "narrow").await?;
    browser.darken().await?;
    shot(&browser, "dark").await?;
    browser.resize(1200, 900).await?;

    lists_its_letters(&scene, &browser).await?;

    scene.wire.set(Door::Refusing);
    scene.append(50).await?;
    let told = "return !document.getElementById('troubles').hidden
        && document.getElementById('trouble-list').textContent.includes('the database')
        && document.getElementById('routes').textContent.includes('postgres://')";
    browser.waits_for("the error of a stopped database", told).await?;
    shot(&browser, "database-down").await?;
    scene.wire.set(Door::Open);
    let over =
        format!("return document.getElementById('troubles').hidden && (() => {{ {IS_GOOD} }})()");
    browser.waits_for("the error to go away", &over).await?;

    shows_a_stopped_route(&scene, &browser).await?;

    let complaints = browser.complaints().await?;
    ensure!(complaints.is_empty(), "the console: {complaints:?}");
    let others: Vec<String> = browser
        .requests()
        .await?
        .into_iter()
        .filter(|url| !url.starts_with(&worker.url()))
        .collect();
    let others: Vec<&String> = others.iter().filter(|url| url.starts_with("http")).collect();
    ensure!(others.is_empty(), "the page asks others: {others:?}");

    worker.kill()?;
    let gone = "return document.getElementById('state').textContent.includes('does not answer')";
    browser.waits_for("the end of the worker", gone).await?;
    Ok(())
}

/// A record that can't be applied is named by its topic, with the command to look at it.
async fn lists_its_letters(scene: &Scene, browser: &Browser) -> Result<()> {
    let hidden = browser.evaluate("return document.getElementById('letters').hidden").await?;
    ensure!(hidden == true, "no record waits for a person yet");
    scene.pipeline.append(&[Raw::put("key-1", r#"{"nosuch":1}"#)]).await?;
    let listed = format!(
        "const letters = [...document.getElementById('letter-list').children];
         return !document.getElementById('letters').hidden && letters.length === 1
            && letters[0].textContent.includes({:?}) && letters[0].textContent.includes('1')
            && document.getElementById('open-letters').textContent === '1'",
        format!("write-behind dead-letters list --topic {}", scene.pipeline.name)
    );
    browser.waits_for("the record that waits for a person", &listed).await
}

/// Charts with something in them take a minute, so only pictures wait for it.
async fn shows_a_minute_of_work(scene: &Scene, browser: &Browser) -> Result<()> {
    if std::env::var_os(PICTURES).is_none() {
        return Ok(());
    }
    until("a minute of work", PATIENCE, async || {
        scene.append(20).await?;
        let points = browser.evaluate("return RANGES[0].points.length").await?;
        Ok(Seen::when(points.as_u64() >= Some(60), || points.to_string()))
    })
    .await?;
    shot(browser, "well").await
}

/// A table that is gone stops its route until it is there again.
async fn shows_a_stopped_route(scene: &Scene, browser: &Browser) -> Result<()> {
    let table = &scene.pipeline.name;
    let rename = async |from: &str, to: &str| {
        let rename = format!("ALTER TABLE public.{from} RENAME TO {to}");
        sqlx::query(AssertSqlSafe(rename)).execute(&scene.pipeline.sql).await.map(drop)
    };
    let elsewhere = format!("{table}_away");
    rename(table, &elsewhere).await?;
    scene.append(50).await?;
    let told = "const row = document.getElementById('routes').rows[0];
        return row.cells[3].textContent === 'stopped' && row.cells[3].className === 'bad'
            && row.cells[4].textContent.includes('public.') && document.title.startsWith('✕')
            && document.getElementById('icon').getAttribute('href') === '/icon-bad.svg'";
    browser.waits_for("a stopped route", told).await?;
    shot(browser, "stopped-route").await?;
    rename(&elsewhere, table).await?;
    let runs = format!(
        "return document.getElementById('routes').rows[0].cells[3].textContent === 'running' \
         && (() => {{ {IS_GOOD} }})()"
    );
    browser.waits_for("the route to run again", &runs).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_says_when_a_lag_will_be_gone_or_how_fast_it_grows() -> Result<()> {
    let scene = Scene::new("trend").await?;
    let worker = scene.start(&scene.settings()).await?;
    let browser = Browser::start().await?;
    browser.client.goto(&worker.url()).await?;
    browser.waits_for("it is well", IS_GOOD).await?;
    let told = browser.evaluate(TREND).await?;
    let expected = [", all in about 30 s", ", 100 more a second", "", "", "", "", "", ""];
    ensure!(told == serde_json::json!(expected), "{told}");

    scene.wire.set(Door::Refusing);
    let grows = "return document.getElementById('lag-trend').textContent.includes('more a second')";
    until("the lag to be seen to grow", PATIENCE, async || {
        scene.append(20).await?;
        let seen = browser.evaluate(grows).await?;
        Ok(Seen::when(seen == true, || seen.to_string()))
    })
    .await?;
    scene.wire.set(Door::Open);
    let gone = "return document.getElementById('lag-trend').textContent === ''";
    browser.waits_for("the lag to be gone", gone).await
}

/// Where `PAGE_SCREENSHOTS` names a folder, what the page looks like.
pub(super) async fn shot(browser: &Browser, name: &str) -> Result<()> {
    if let Some(folder) = std::env::var_os(PICTURES) {
        let png = browser.client.screenshot().await?;
        std::fs::write(std::path::Path::new(&folder).join(format!("{name}.png")), png)?;
    }
    Ok(())
}
