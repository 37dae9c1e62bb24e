//! Holds the tree to ARCHITECTURE.md and to the rules of CONTRIBUTING.md.
//!
//! Each test names every offence it finds, so that one run shows all that is to be mended.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Where Rust lives in this repository.
const MEMBERS: &[&str] = &["shared", "producer", "consumer", "demo", "integration-tests", "bench"];
const LINES_MAX: usize = 400;

struct Source {
    /// Relative to the root, with slashes.
    path: String,
    text: String,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn architecture() -> String {
    fs::read_to_string(root().join("ARCHITECTURE.md"))
        .unwrap_or_else(|error| panic!("ARCHITECTURE.md: {error}"))
}

/// Every Rust file of the members, whether product or test.
fn sources() -> Vec<Source> {
    let mut files = Vec::new();
    for member in MEMBERS {
        collect(&root().join(member), &mut files);
    }
    let mut sources: Vec<Source> = files
        .into_iter()
        .map(|file| Source {
            path: file.strip_prefix(root()).unwrap_or(&file).display().to_string(),
            text: fs::read_to_string(&file)
                .unwrap_or_else(|error| panic!("{}: {error}", file.display())),
        })
        .collect();
    sources.sort_by(|a, b| a.path.cmp(&b.path));
    sources
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for path in entries.map_while(|entry| Some(entry.ok()?.path())) {
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

/// Product code: in a `src`, and not the tests of a file.
fn is_product(source: &Source) -> bool {
    source.path.contains("/src/")
        && !source.path.ends_with("_tests.rs")
        && !source.path.contains("/tests/")
}

fn assert_none(offences: &[String], rule: &str) {
    assert!(offences.is_empty(), "{rule}:\n  {}", offences.join("\n  "));
}

#[test]
fn every_file_says_first_what_it_is_for() {
    let offences: Vec<String> = sources()
        .into_iter()
        .filter(|source| !source.text.starts_with("//!"))
        .map(|source| source.path)
        .collect();
    assert_none(&offences, "these files do not begin with `//!`");
}

#[test]
fn no_file_is_longer_than_a_reader_can_hold() {
    let offences: Vec<String> = sources()
        .iter()
        .map(|source| (source.text.lines().count(), &source.path))
        .filter(|(lines, _)| *lines > LINES_MAX)
        .map(|(lines, path)| format!("{path}: {lines} lines, at most {LINES_MAX}"))
        .collect();
    assert_none(&offences, "these files are to be split by what they are about");
}

#[test]
fn nothing_is_left_unfinished_or_switched_off() {
    // Spelled apart, so that this file does not find itself.
    let forbidden = [
        concat!("to", "do!("),
        concat!("unimplemented", "!("),
        concat!("TO", "DO"),
        concat!("FIX", "ME"),
        concat!("db", "g!("),
        concat!("#[ig", "nore"),
        concat!("#[should_", "panic"),
        concat!("thread::sl", "eep("),
    ];
    let mut offences = Vec::new();
    for source in sources() {
        for (number, line) in source.text.lines().enumerate() {
            for word in forbidden.iter().filter(|word| line.contains(**word)) {
                offences.push(format!("{}:{}: {word}", source.path, number + 1));
            }
        }
    }
    assert_none(&offences, "unfinished work, ignored tests or sleeps");
}

#[test]
fn the_table_of_files_in_the_architecture_is_the_tree() {
    let text = architecture();
    let listed: BTreeSet<String> = text
        .lines()
        .filter_map(|line| line.strip_prefix("| `"))
        .filter_map(|rest| rest.split('`').next())
        .filter(|path| Path::new(path).extension().is_some_and(|extension| extension == "rs"))
        .map(str::to_owned)
        .collect();
    let present: BTreeSet<String> =
        sources().into_iter().filter(is_product).map(|source| source.path).collect();
    let missing = present.difference(&listed).map(|path| format!("not listed: {path}"));
    let gone = listed.difference(&present).map(|path| format!("listed but not there: {path}"));
    assert_none(&missing.chain(gone).collect::<Vec<_>>(), "ARCHITECTURE.md and the tree differ");
}

#[test]
fn every_invariant_is_kept_by_code_and_every_cited_one_exists() {
    let cited_in = |text: &str| -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        for rest in text.split("INV-").skip(1) {
            let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
            if !digits.is_empty() {
                found.insert(format!("INV-{digits}"));
            }
        }
        found
    };
    let defined: BTreeSet<String> = architecture()
        .lines()
        .filter_map(|line| line.strip_prefix("- **INV-"))
        .map(|rest| format!("INV-{}", rest.split('*').next().unwrap_or_default().trim()))
        .collect();
    assert!(!defined.is_empty(), "ARCHITECTURE.md numbers its invariants as `- **INV-1**`");
    let cited: BTreeSet<String> = sources()
        .iter()
        .filter(|source| source.path != "shared/tests/tidy.rs")
        .flat_map(|source| cited_in(&source.text))
        .collect();
    let unknown = cited.difference(&defined).map(|inv| format!("{inv} is cited, not defined"));
    let unkept = defined.difference(&cited).map(|inv| format!("{inv} is defined, not cited"));
    assert_none(&unknown.chain(unkept).collect::<Vec<_>>(), "invariants and code differ");
}

/// The product files that may name a crate, as ARCHITECTURE.md lists them.
fn allowed(crate_name: &str) -> BTreeSet<String> {
    let text = architecture();
    let line = text
        .lines()
        .find(|line| line.starts_with(&format!("- **Only here: `{crate_name}`**")))
        .unwrap_or_else(|| panic!("ARCHITECTURE.md says where `{crate_name}` may be used"));
    let named = line.split('`').skip(3).step_by(2);
    named.map(str::to_owned).collect()
}

#[test]
fn kafka_and_sql_are_named_only_where_the_architecture_allows() {
    let mut offences = Vec::new();
    for crate_name in ["rdkafka", "sqlx"] {
        let allowed = allowed(crate_name);
        let in_halves = |path: &str| {
            ["producer/src/", "consumer/src/", "shared/src/"].iter().any(|at| path.starts_with(at))
        };
        for source in sources().iter().filter(|s| is_product(s) && in_halves(&s.path)) {
            let uses = source.text.contains(&format!("{crate_name}::"));
            let may = allowed.iter().any(|place| source.path.starts_with(place.as_str()));
            if uses && !may {
                offences.push(format!("{} uses {crate_name}", source.path));
            }
        }
    }
    assert_none(&offences, "arrows that ARCHITECTURE.md does not draw");
}

#[test]
fn the_pure_parts_have_no_clock_no_task_and_no_input_or_output() {
    let text = architecture();
    let line = text
        .lines()
        .find(|line| line.starts_with("- **Pure:**"))
        .expect("ARCHITECTURE.md lists the pure parts as `- **Pure:**`");
    let pure: Vec<&str> = line.split('`').skip(1).step_by(2).collect();
    let impure = [
        "async ",
        ".await",
        "tokio::",
        "Instant::now",
        "SystemTime::now",
        "std::fs",
        "std::net",
        "rdkafka::",
        "sqlx::",
    ];
    let mut offences = Vec::new();
    for path in &pure {
        let source = fs::read_to_string(root().join(path));
        let source = source.unwrap_or_else(|_| panic!("{path} is listed as pure and not there"));
        let product = source.split("#[cfg(test)]").next().unwrap_or_default();
        for (number, line) in product.lines().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            for word in impure.iter().filter(|word| code.contains(**word)) {
                offences.push(format!("{path}:{}: {word}", number + 1));
            }
        }
    }
    assert_none(&offences, "pure parts that are not");
}

#[test]
fn the_page_of_metrics_lists_every_one_and_no_other() {
    let mut registered = BTreeSet::new();
    for (path, prefix) in [
        ("producer/src/metrics.rs", "write_behind_producer_"),
        ("consumer/src/status/metrics.rs", "write_behind_consumer_"),
    ] {
        let source = fs::read_to_string(root().join(path));
        let source = source.unwrap_or_else(|error| panic!("{path}: {error}"));
        let source = source.split("#[cfg(test)]").next().unwrap_or_default();
        for kind in ["counter(", "gauge(", "latency(", "seconds(", "with("] {
            // A registration names its metric first thing: `kind("name", …`.
            let calls = source.split(kind).skip(1).map(str::trim_start);
            let names = calls.filter_map(|rest| rest.strip_prefix('"')?.split('"').next());
            registered.extend(names.map(|name| format!("{prefix}{name}")));
        }
    }
    let page = fs::read_to_string(root().join("docs/metrics.md"));
    let page = page.unwrap_or_else(|error| panic!("docs/metrics.md: {error}"));
    let listed: BTreeSet<String> = page
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

/// What people read: the pages of the root and of `docs`, by their paths.
fn documents() -> Vec<(String, String)> {
    let mut documents = Vec::new();
    for folder in ["", "docs/"] {
        let entries = fs::read_dir(root().join(folder));
        for entry in entries.unwrap_or_else(|error| panic!("{folder}: {error}")).flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if Path::new(&name).extension().is_some_and(|extension| extension == "md") {
                let text = fs::read_to_string(entry.path());
                let text = text.unwrap_or_else(|error| panic!("{folder}{name}: {error}"));
                documents.push((format!("{folder}{name}"), text));
            }
        }
    }
    documents
}

#[test]
fn every_path_that_a_document_names_is_there() {
    let mut offences = Vec::new();
    for (document, text) in documents() {
        for line in text.lines() {
            // What stands between single backquotes, and looks like a path of this repository.
            let quoted = line.split('`').skip(1).step_by(2);
            let is_path = |word: &&str| MEMBERS.iter().any(|m| word.starts_with(&format!("{m}/")));
            let missing = quoted.filter(is_path).filter(|word| !root().join(word).exists());
            offences.extend(missing.map(|word| format!("{document}: {word}")));
        }
    }
    assert_none(&offences, "paths that are not in the tree");
}

#[test]
fn no_document_or_source_names_a_machine() {
    let words = [concat!("/wo", "rk/"), concat!("/ro", "ot/"), concat!("arti", "factory")];
    let mut texts: Vec<(String, String)> =
        sources().into_iter().map(|source| (source.path, source.text)).collect();
    texts.extend(documents());
    let mut offences = Vec::new();
    for (path, text) in texts {
        for word in words.iter().filter(|word| text.contains(**word)) {
            offences.push(format!("{path}: {word}"));
        }
    }
    assert_none(&offences, "places of one machine");
}
