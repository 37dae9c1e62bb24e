//! What people do on the live page, in a real browser and by keyboard: dead letters replayed and discarded
//! with the token, an hour of history, all members of the pipeline.

use anyhow::{Context as _, Result, ensure};
use fantoccini::key::Key;
use integration_tests::browser::Browser;
use integration_tests::containers::free_port;
use integration_tests::log::Raw;
use integration_tests::wait::{PATIENCE, Seen, until};
use sqlx::AssertSqlSafe;

use super::page::{IS_GOOD, shot};
use super::{Scene, answers, is_ok};

const TOKEN: &str = "0123456789abcdef-hush";
/// What of the page's text is hard to read, by the contrast that WCAG asks for.
const FAINT: &str = r#"
    const parts = (color) => color.match(/[\d.]+/g).map(Number);
    const light = (color) => parts(color).slice(0, 3).map((one) => one / 255)
        .map((one) => (one <= 0.04045 ? one / 12.92 : ((one + 0.055) / 1.055) ** 2.4))
        .reduce((sum, one, at) => sum + one * [0.2126, 0.7152, 0.0722][at], 0);
    const ground = (node) => {
        for (let one = node; one; one = one.parentElement) {
            const color = getComputedStyle(one).backgroundColor;
            if ((parts(color)[3] ?? 1) === 1) return color;
        }
        return "rgb(255, 255, 255)";
    };
    const faint = [];
    for (const node of document.body.querySelectorAll("*")) {
        const text = [...node.childNodes].some((child) => child.nodeType === 3 && child.textContent.trim());
        if (!text || !node.checkVisibility() || node.disabled) continue;
        const [one, two] = [light(getComputedStyle(node).color), light(ground(node))].sort();
        const ratio = (Math.max(one, two) + 0.05) / (Math.min(one, two) + 0.05);
        if (ratio < 4.5) faint.push(`${node.tagName} ${node.className} ${node.textContent.trim().slice(0, 30)}: ${ratio.toFixed(1)}`);
    }
    return faint;
"#;
/// What a screen reader could not tell: a control, a chart, a region or a column without a name.
const NAMELESS: &str = r#"
    const name = (node) => node.getAttribute("aria-label")
        || document.getElementById(node.getAttribute("aria-labelledby") ?? "")?.textContent || node.textContent.trim();
    return [...document.querySelectorAll("button, a, input, svg[role], [role=region], [role=group], dialog, section")]
        .filter((node) => node.checkVisibility() && !name(node)).map((node) => node.outerHTML.slice(0, 80))
        .concat([...document.querySelectorAll("th:not([scope])")].map((node) => node.outerHTML));
"#;

async fn nobody_is_left_out(browser: &Browser, when: &str) -> Result<()> {
    for (what, script) in [("faint", FAINT), ("nameless", NAMELESS)] {
        let found = browser.evaluate(script).await?;
        ensure!(found.as_array().is_some_and(Vec::is_empty), "{what}, {when}: {found}");
    }
    Ok(())
}

/// Puts the focus on the control that `find` returns, and presses a key there.
async fn press(browser: &Browser, find: &str, key: &str) -> Result<()> {
    browser
        .waits_for(find, &format!("const found = {find}; found?.focus(); return !!found"))
        .await?;
    Ok(browser.client.active_element().await?.send_keys(key).await?)
}

/// The button with this name, as a screen reader tells it.
fn button(name: &str) -> String {
    format!(
        "[...document.querySelectorAll('button')].find((one) => one.checkVisibility() && \
         (one.getAttribute('aria-label') ?? one.textContent) === {name:?})"
    )
}

async fn says(browser: &Browser, text: &str) -> Result<()> {
    let told =
        format!("return document.getElementById('letter-list').textContent.includes({text:?})");
    browser.waits_for(text, &told).await
}

#[tokio::test(flavor = "multi_thread")]
async fn letters_are_replayed_and_discarded_by_keyboard_with_the_token_alone() -> Result<()> {
    let scene = Scene::new("actions").await?;
    let acting = [("WRITE_BEHIND_HTTP_ACTIONS", "true"), ("WRITE_BEHIND_HTTP_TOKEN", TOKEN)];
    let settings = acting.iter().fold(scene.settings(), |all, (name, value)| all.with(name, value));
    let worker = scene.start(&settings).await?;
    let bad = |n: usize| Raw::put(&format!("key-{n}"), &format!(r#"{{"extra":{n}}}"#));
    scene.pipeline.append(&(0..3).map(bad).collect::<Vec<_>>()).await?;
    let browser = Browser::start().await?;
    browser.resize(1200, 900).await?;
    browser.client.goto(&worker.url()).await?;

    let enter = Key::Enter.to_string();
    press(&browser, &button("Show"), &enter).await?;
    let dialog = "document.querySelector('dialog input')";
    press(&browser, dialog, &format!("hush{enter}")).await?;
    says(&browser, "The token is wrong").await?;
    press(&browser, &button("Show"), &enter).await?;
    nobody_is_left_out(&browser, "while the token is asked for").await?;
    press(&browser, dialog, &Key::Escape.to_string()).await?;
    browser.waits_for("Escape to close it", "return !document.querySelector('dialog')").await?;
    press(&browser, &button("Show"), &enter).await?;
    press(&browser, dialog, &format!("{TOKEN}{enter}")).await?;
    let rows = "document.querySelectorAll('#letter-list tbody tr').length";
    browser.waits_for("the letters", &format!("return {rows} === 3")).await?;
    says(&browser, "extra").await?;
    nobody_is_left_out(&browser, "with letters").await?;
    shot(&browser, "dead-letters").await?;

    let place = "document.querySelector('#letter-list tbody th').textContent";
    let place = browser.evaluate(&format!("return {place}")).await?;
    let discard = format!("Discard the record at {}", place.as_str().context("a place")?);
    press(&browser, &button(&discard), &enter).await?;
    press(&browser, &button("Cancel"), &enter).await?;
    press(&browser, &button(&discard), &enter).await?;
    press(&browser, "document.querySelector('dialog .yes')", &enter).await?;
    says(&browser, "1 discarded").await?;
    let table = &scene.pipeline.name;
    let add = format!("ALTER TABLE public.{table} ADD COLUMN extra bigint");
    sqlx::query(AssertSqlSafe(add)).execute(&scene.pipeline.sql).await?;
    press(&browser, &button("Replay the 2 records shown"), &enter).await?;
    press(&browser, "document.querySelector('dialog .yes')", &enter).await?;
    let written = format!("(SELECT count(*) FROM public.{table} WHERE extra IS NOT NULL)");
    until("the letters to be applied", PATIENCE, async || {
        let rows = scene.pipeline.number(&written).await?;
        Ok(Seen::when(rows == 2, || format!("{rows} rows")))
    })
    .await?;
    let gone = "return document.getElementById('letters').hidden";
    browser.waits_for("nothing to wait for a person", gone).await?;
    let complaints = browser.complaints().await?;
    // The browser itself tells of the wrong token.
    let others = complaints.iter().filter(|one| !one.contains("401"));
    ensure!(others.count() == 0, "the console: {complaints:?}");
    let log = worker.log();
    ensure!(log.contains("dead letters were discarded from the page"), "{log}");
    ensure!(!log.contains(TOKEN), "the log has the token");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_shows_all_members_and_an_hour_to_anybody() -> Result<()> {
    let scene = Scene::new("members").await?;
    let other = scene.settings().start().await?;
    let port = free_port()?;
    let url = format!("http://127.0.0.1:{port}");
    let members = format!("{},{url}", other.url());
    let settings = scene
        .settings()
        .with("WRITE_BEHIND_HTTP_LISTEN", &format!("127.0.0.1:{port}"))
        .with("WRITE_BEHIND_HTTP_MEMBERS", &members);
    let mut settings = settings;
    settings.client = format!("second-{}", scene.pipeline.name);
    let second = settings.start().await?;
    answers(&other, "/readyz", "ok", is_ok).await?;
    scene.append(100).await?;
    scene.pipeline.drained(&[&other, &second], PATIENCE).await?;

    let browser = Browser::start().await?;
    browser.resize(1200, 900).await?;
    until("a page", PATIENCE, async || {
        let gone = browser.client.goto(&url).await;
        Ok(gone.map_or_else(|error| Seen::NotYet(error.to_string()), Seen::Done))
    })
    .await?;
    browser.waits_for("it is well", IS_GOOD).await?;
    let both =
        "const rows = [...document.getElementById('members').rows].map((row) => row.textContent);
        return rows.length === 2 && rows.every((row) => row.includes('running, ready'))
            && document.getElementById('unread').textContent === ''";
    browser.waits_for("both members", both).await?;
    press(&browser, &button("1 hour"), &Key::Enter.to_string()).await?;
    let hour = "const points = document.querySelector('#chart-lag path').getAttribute('d').split('M').length;
        return document.querySelector('.times').textContent.includes('1 hour ago') && points > 1
            && document.querySelector('#ranges [aria-pressed=true]').textContent === '1 hour'";
    browser.waits_for("the hour", hour).await?;
    nobody_is_left_out(&browser, "in the light").await?;
    browser.darken().await?;
    nobody_is_left_out(&browser, "in the dark").await?;
    browser.resize(360, 740).await?;
    let fits = "return document.documentElement.scrollWidth <= window.innerWidth";
    browser.waits_for("a narrow window to have room", fits).await?;

    // The command tells the same, also of a member that is gone.
    let fleet = settings.clone();
    let (ended, told) = fleet.command(&["status", "--fleet"]).await?;
    ensure!(ended.success(), "{told}");
    let lines = told.lines().filter(|line| line.contains("running") && line.contains("yes"));
    ensure!(lines.count() == 2, "{told}");
    other.kill()?;
    let (ended, told) = fleet.command(&["status", "--fleet", "--json"]).await?;
    let report = told.lines().find(|line| line.starts_with('{')).context("a report")?;
    let report: serde_json::Value = serde_json::from_str(report)?;
    let silent = report["members"].as_array().context("members")?.iter();
    let silent: Vec<_> = silent.filter(|member| !member["error"].is_null()).collect();
    ensure!(ended.success() && silent.len() == 1, "{report}");
    ensure!(silent[0]["url"] == other.url(), "{report}");
    let unread = "return document.getElementById('members').textContent.includes('no answer')";
    browser.waits_for("the member that is gone", unread).await
}

#[tokio::test(flavor = "multi_thread")]
async fn members_are_found_by_the_host_that_kafka_names() -> Result<()> {
    let scene = Scene::new("hosts").await?;
    let port = free_port()?;
    let settings = scene.settings().with("WRITE_BEHIND_HTTP_LISTEN", &format!("0.0.0.0:{port}"));
    let worker = scene.start(&settings).await?;
    let (ended, told) = settings.command(&["status", "--fleet"]).await?;
    ensure!(ended.success(), "{told}");
    ensure!(told.contains("1 member in the group"), "{told}");
    let line = told.lines().find(|line| line.starts_with("http://")).context("a member")?;
    let is_it = line.contains(&format!(":{port} ")) && line.contains("running");
    ensure!(is_it, "{told}");
    worker.terminate().await.map(drop)
}
