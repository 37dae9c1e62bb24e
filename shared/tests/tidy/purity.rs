//! Pure folders decide and do nothing else: no I/O, no clock, no thread, no task.
//!
//! Kafka's and the databases' drivers are named only in the folders that ARCHITECTURE.md lists.

use crate::architecture::{Architecture, is_in};
use crate::imports::{Crate, Module};
use crate::reader::ELAPSED;
use crate::sources::{DIVIDED, Source, architecture, assert_none, crates, product_of};

/// What pure code never names, wherever in a path it stands.
const IMPURE: &[&[&str]] = &[
    &["rdkafka"],
    &["sqlx"],
    &["tokio"],
    &["async"],
    &["await"],
    &["SystemTime"],
    &["Instant", "now"],
    &[ELAPSED],
    &["std", "thread"],
    &["thread", "spawn"],
    &["std", "fs"],
    &["std", "net"],
    &["std", "env"],
    &["std", "process"],
];

fn impurities(krate: &Crate, pure: &[String]) -> Vec<String> {
    let is_pure = |module: &&Module| pure.iter().any(|folder| is_in(&module.file, folder));
    let mut offences = Vec::new();
    for module in krate.modules.values().filter(is_pure) {
        let imports = module.scope.imports.iter().map(|import| (&import.path, import.line));
        let mentions = module.scope.mentions.iter().map(|seen| (&seen.path, seen.line));
        for (path, line) in imports.chain(mentions) {
            if IMPURE.iter().any(|names| path.windows(names.len()).any(|part| part == *names)) {
                let (file, name) = (&module.file, path.join("::"));
                offences.push(format!(
                    "{file}:{line} names `{name}`: this folder is pure; let its caller do that and hand in the result"
                ));
            }
        }
    }
    offences
}

/// Files that name a crate outside the folders that may.
fn strays(sources: &[Source], architecture: &Architecture) -> Vec<String> {
    let mut offences = Vec::new();
    for (krate, folders) in &architecture.only_here {
        let names_it = |source: &&Source| source.text.contains(&format!("{krate}::"));
        let may = |source: &&Source| folders.iter().any(|folder| is_in(&source.path, folder));
        for Source { path, .. } in sources.iter().filter(|s| names_it(s) && !may(s)) {
            let folders = folders.join(" or ");
            offences.push(format!("{path} names `{krate}`: move that into {folders}"));
        }
    }
    offences
}

#[test]
fn pure_folders_have_no_clock_no_task_and_no_input_or_output() {
    let pure = &architecture().pure;
    assert!(!pure.is_empty(), "ARCHITECTURE.md lists the pure folders after `- **Pure:**`");
    let offences: Vec<String> = crates().iter().flat_map(|made| impurities(made, pure)).collect();
    assert_none(&offences, "pure folders that are not");
}

#[test]
fn kafka_and_sql_are_named_only_where_the_architecture_allows() {
    let rules = architecture();
    let named: Vec<&str> = rules.only_here.iter().map(|(krate, _)| krate.as_str()).collect();
    assert_eq!(named, ["rdkafka", "sqlx"], "ARCHITECTURE.md says where each may be named");
    let product = DIVIDED.iter().flat_map(|member| product_of(member));
    assert_none(&strays(&product.collect::<Vec<_>>(), rules), "drivers outside their folders");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::imports::made_of;

    fn found_in(code: &str) -> Vec<String> {
        let made = made_of(&[
            ("lib.rs", "mod core; mod rim;"),
            ("core/mod.rs", code),
            ("rim.rs", "use tokio::time; pub async fn rim() { time::sleep(std::fs::now()).await }"),
        ]);
        impurities(&made, &["made/src/core/".to_owned()])
    }

    #[test]
    fn what_pure_code_may_not_name_is_found_in_pure_folders_alone() {
        for code in [
            "use rdkafka::message::Message;",
            "fn f(_: sqlx::PgConnection) {}",
            "use tokio::sync::mpsc;",
            "fn f() { tokio::spawn(task()); }",
            "async fn f() {}",
            "fn f() { run(async move { 1 }) }",
            "fn f() { trace!(\"{}\", later.await); }",
            "use std::time::Instant; fn f() { Instant::now(); }",
            "fn f() { std::time::Instant::now(); }",
            "fn f(then: std::time::Instant) { then.elapsed(); }",
            "use std::time::SystemTime;",
            "use std::thread;",
            "fn f() { std::thread::yield_now(); }",
            "use std::{fmt, fs::File};",
            "use std::net::TcpStream;",
            "fn f() { std::env::var(\"HOME\"); }",
        ] {
            assert_eq!(found_in(code).len(), 1, "{code}: {:?}", found_in(code));
        }
        for code in [
            "use std::time::{Duration, Instant}; fn f(now: Instant) -> Instant { now }",
            "fn f(elapsed: u64) -> u64 { elapsed }",
            "#[cfg(test)] mod tests { use std::fs; }",
            "// tokio::spawn is for others.",
        ] {
            assert_eq!(found_in(code), [""; 0], "{code}");
        }
        assert_eq!(
            found_in("\nuse std::fs;"),
            [
                "made/src/core/mod.rs:2 names `std::fs`: this folder is pure; let its caller do that \
             and hand in the result"
            ]
        );
    }

    #[test]
    fn a_driver_outside_its_folder_is_found() {
        let rules = Architecture::parse("- **Only here: `sqlx`** `made/src/store/`.");
        let source = |path: &str| Source {
            path: format!("made/src/{path}"),
            text: "use sqlx::Row;".to_owned(),
        };
        assert!(strays(&[source("store/mod.rs")], &rules).is_empty());
        assert_eq!(
            strays(&[source("storeroom.rs")], &rules),
            ["made/src/storeroom.rs names `sqlx`: move that into made/src/store/"]
        );
    }
}
