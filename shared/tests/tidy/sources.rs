//! The files that the checks read: the Rust of every crate, and the documents.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use crate::architecture::Architecture;
use crate::imports::Crate;

/// Where Rust lives in this repository.
pub(crate) const MEMBERS: &[&str] = &[
    "shared",
    "librdkafka",
    "journal",
    "producer",
    "consumer",
    "demo",
    "integration-tests",
    "simulation",
    "fuzz",
    "bench",
];

/// The crates that are divided into rooms.
pub(crate) const DIVIDED: &[&str] = &["shared", "journal", "producer", "consumer"];

/// A text, and its path from the root of the repository, with slashes.
#[derive(Clone)]
pub(crate) struct Source {
    pub(crate) path: String,
    pub(crate) text: String,
}

impl Source {
    /// Product code: in a `src`, and not a file of tests.
    pub(crate) fn is_product(&self) -> bool {
        self.path.contains("/src/")
            && !self.path.ends_with("_tests.rs")
            && !self.path.ends_with("/tests.rs")
            && !self.path.contains("/tests/")
    }

    /// Whether this is part of the test that is running, which spells what it forbids.
    pub(crate) fn is_tidy(&self) -> bool {
        self.path.starts_with("shared/tests/tidy/")
    }
}

/// A path of the repository on this machine.
pub(crate) fn at(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

pub(crate) fn read(path: &str) -> String {
    fs::read_to_string(at(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Every Rust file of the members, product and test, in the order of their paths.
pub(crate) fn sources() -> &'static [Source] {
    static SOURCES: LazyLock<Vec<Source>> = LazyLock::new(|| {
        let mut paths = Vec::new();
        for member in MEMBERS {
            collect(member, "rs", &mut paths);
        }
        paths.sort();
        paths.into_iter().map(|path| Source { text: read(&path), path }).collect()
    });
    &SOURCES
}

/// The product code of one crate.
pub(crate) fn product_of(member: &str) -> Vec<Source> {
    let place = format!("{member}/src/");
    let product = sources().iter().filter(|s| s.is_product() && s.path.starts_with(&place));
    product.cloned().collect()
}

/// The crates that are divided into rooms, with who imports what in them.
pub(crate) fn crates() -> &'static [Crate] {
    static CRATES: LazyLock<Vec<Crate>> = LazyLock::new(|| {
        DIVIDED.iter().map(|member| Crate::new(member, &product_of(member))).collect()
    });
    &CRATES
}

pub(crate) fn architecture() -> &'static Architecture {
    static ARCHITECTURE: LazyLock<Architecture> =
        LazyLock::new(|| Architecture::parse(&read("ARCHITECTURE.md")));
    &ARCHITECTURE
}

/// What people read: the pages of the root and of `docs`.
pub(crate) fn documents() -> Vec<Source> {
    let mut paths = Vec::new();
    collect("docs", "md", &mut paths);
    let root = fs::read_dir(at("")).unwrap_or_else(|error| panic!("the root: {error}"));
    let names = root.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
    paths.extend(names.filter(|name| has_extension(name, "md")));
    paths.into_iter().map(|path| Source { text: read(&path), path }).collect()
}

/// Every folder below these crates' `src` that holds product code, with a slash at its end.
pub(crate) fn folders() -> Vec<String> {
    let mut folders: Vec<String> = DIVIDED
        .iter()
        .flat_map(|member| product_of(member))
        .filter_map(|source| Some(format!("{}/", source.path.rsplit_once('/')?.0)))
        .collect();
    folders.sort();
    folders.dedup();
    folders
}

fn collect(folder: &str, extension: &str, paths: &mut Vec<String>) {
    let Ok(entries) = fs::read_dir(at(folder)) else { return };
    for entry in entries.flatten() {
        let path = format!("{folder}/{}", entry.file_name().to_string_lossy());
        if entry.path().is_dir() {
            collect(&path, extension, paths);
        } else if has_extension(&path, extension) {
            paths.push(path);
        }
    }
}

pub(crate) fn has_extension(path: &str, extension: &str) -> bool {
    Path::new(path).extension().is_some_and(|found| found == extension)
}

pub(crate) fn assert_none(offences: &[String], rule: &str) {
    assert!(offences.is_empty(), "{rule}:\n  {}", offences.join("\n  "));
}
