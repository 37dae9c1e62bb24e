//! What documents say of the tree is so: the metrics, the paths; and none names a machine.

use std::collections::BTreeSet;

use crate::architecture::quoted;
use crate::sources::{MEMBERS, Source, assert_none, at, documents, read, sources};

#[test]
fn the_page_of_metrics_lists_every_one_and_no_other() {
    let mut registered = BTreeSet::new();
    for (path, prefix) in [
        ("producer/src/metrics.rs", "write_behind_producer_"),
        ("consumer/src/status/metrics.rs", "write_behind_consumer_"),
    ] {
        let source = read(path);
        let source = source.split("#[cfg(test)]").next().unwrap_or_default();
        for kind in ["counter(", "gauge(", "latency(", "seconds(", "with("] {
            // A registration names its metric first thing: `kind("name", …`.
            let calls = source.split(kind).skip(1).map(str::trim_start);
            let names = calls.filter_map(|rest| rest.strip_prefix('"')?.split('"').next());
            registered.extend(names.map(|name| format!("{prefix}{name}")));
        }
    }
    let listed: BTreeSet<String> = read("docs/metrics.md")
        .lines()
        .filter_map(|line| line.strip_prefix("| `write_behind_")?.split('`').next())
        .map(|name| format!("write_behind_{name}"))
        .collect();
    assert!(!registered.is_empty(), "metrics are registered where this test looks");
    let missing =
        registered.difference(&listed).map(|name| format!("not in docs/metrics.md: {name}"));
    let gone = listed.difference(&registered).map(|name| format!("not registered: {name}"));
    assert_none(&missing.chain(gone).collect::<Vec<_>>(), "the metrics of docs/metrics.md differ");
}

#[test]
fn every_path_that_a_document_names_is_there() {
    let is_path = |word: &String| MEMBERS.iter().any(|m| word.starts_with(&format!("{m}/")));
    let mut offences = Vec::new();
    for Source { path, text } in documents() {
        for line in text.lines() {
            let missing = quoted(line).filter(is_path).filter(|word| !at(word).exists());
            offences.extend(missing.map(|word| format!("{path}: {word}")));
        }
    }
    assert_none(&offences, "paths that are not in the tree");
}

#[test]
fn no_document_or_source_names_a_machine() {
    let words = [concat!("/wo", "rk/"), concat!("/ro", "ot/"), concat!("arti", "factory")];
    let mut offences = Vec::new();
    for Source { path, text } in sources().iter().cloned().chain(documents()) {
        for word in words.iter().filter(|word| text.contains(**word)) {
            offences.push(format!("{path}: {word}"));
        }
    }
    assert_none(&offences, "places of one machine");
}
