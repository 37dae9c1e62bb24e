//! The commit that the binary is built from, and the commit's date, where they are known.
//!
//! The same sources give the same stamp on every machine and at every time, so the date is the
//! commit's and not the build's. Nothing here is needed to build: without Git the commit is read from
//! its files and has no date, and a package of crates.io brings its commit along. Only optimised builds
//! are stamped, since the others would be compiled again after each commit.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Set by who builds from sources without Git's files, as an image's build does.
const COMMIT: &str = "WRITE_BEHIND_BUILD_COMMIT";
/// The date, in seconds since 1970, as all reproducible builds take it.
const EPOCH: &str = "SOURCE_DATE_EPOCH";
/// How many characters of a commit are told.
const COMMIT_CHARS: usize = 12;
/// What is built into the binary, from this folder.
const SOURCES: [&str; 4] = ["src", "../shared/src", "../librdkafka/src", "../Cargo.lock"];

fn main() {
    let folder = PathBuf::from(variable("CARGO_MANIFEST_DIR").unwrap_or_default());
    let version = variable("CARGO_PKG_VERSION").unwrap_or_default();
    println!("cargo::rerun-if-env-changed={COMMIT}");
    println!("cargo::rerun-if-env-changed={EPOCH}");
    println!("cargo::rerun-if-changed=build.rs");
    let (given, epoch) = (variable(COMMIT), variable(EPOCH));
    let is_stamped = given.is_some() || variable("PROFILE").as_deref() == Some("release");
    let mut built_from = BuiltFrom { commit: given.map(|commit| cut(&commit)), date: None };
    if built_from.commit.is_none() && is_stamped {
        built_from = BuiltFrom::of(&folder);
        let read = SOURCES.map(|source| folder.join(source));
        for path in read.into_iter().chain(files_of_git(&folder)).filter(|path| path.exists()) {
            println!("cargo::rerun-if-changed={}", path.display());
        }
    }
    if let Some(seconds) = epoch.filter(|_| is_stamped).and_then(|epoch| epoch.parse().ok()) {
        built_from.date = Some(date(seconds));
    }
    // Tests see these variables too, and the consumer refuses those of its own prefix that it does not know.
    println!("cargo::rustc-env=BUILT_FROM_COMMIT={}", built_from.commit.as_deref().unwrap_or(""));
    println!("cargo::rustc-env=BUILT_FROM_VERSION={}", built_from.told(&version));
}

/// What the binary is built from.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct BuiltFrom {
    /// The commit; `+` behind it: with changes that are in none.
    commit: Option<String>,
    date: Option<String>,
}

impl BuiltFrom {
    pub(crate) fn of(folder: &Path) -> Self {
        if let Some(packaged) = packaged(folder) {
            return Self { commit: Some(packaged), date: None };
        }
        let Some(commit) = head(&folder.join("../.git")) else { return Self::default() };
        let changes = git(folder, &["status", "--porcelain", "--untracked-files=no"]);
        let plus = if changes.is_some_and(|changes| !changes.is_empty()) { "+" } else { "" };
        let date = git(folder, &["log", "-1", "--format=%cd", "--date=format-local:%Y-%m-%d"]);
        Self { commit: Some(cut(&commit) + plus), date: date.filter(|date| !date.is_empty()) }
    }

    pub(crate) fn told(&self, version: &str) -> String {
        match (&self.commit, &self.date) {
            (Some(commit), Some(date)) => format!("{version} ({commit} {date})"),
            (Some(commit), None) => format!("{version} ({commit})"),
            (None, _) => version.to_owned(),
        }
    }
}

fn variable(name: &str) -> Option<String> {
    // An empty one, as an image's build leaves it, is none.
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

fn cut(commit: &str) -> String {
    commit.chars().take(COMMIT_CHARS).collect()
}

/// The commit that cargo noted when it packaged the crate.
fn packaged(folder: &Path) -> Option<String> {
    let noted = fs::read_to_string(folder.join(".cargo_vcs_info.json")).ok()?;
    let commit = noted.split("\"sha1\"").nth(1)?.split('"').nth(1)?;
    let plus = if noted.contains("\"dirty\": true") { "+" } else { "" };
    is_commit(commit).then(|| cut(commit) + plus)
}

/// The commit that is checked out, from Git's own files.
pub(crate) fn head(git: &Path) -> Option<String> {
    let (own, common) = folders(git)?;
    let head = fs::read_to_string(own.join("HEAD")).ok()?;
    let Some(name) = head.trim().strip_prefix("ref: ") else {
        return Some(head.trim().to_owned()).filter(|commit| is_commit(commit));
    };
    let alone = fs::read_to_string(common.join(name)).ok();
    let packed = || {
        let packed = fs::read_to_string(common.join("packed-refs")).ok()?;
        let line = packed.lines().find(|line| line.ends_with(&format!(" {name}")))?;
        Some(line.split(' ').next()?.to_owned())
    };
    alone.or_else(packed).map(|commit| commit.trim().to_owned()).filter(|one| is_commit(one))
}

/// Git's folder of this work tree, and the one that all work trees share.
fn folders(git: &Path) -> Option<(PathBuf, PathBuf)> {
    if git.is_dir() {
        return Some((git.to_owned(), git.to_owned()));
    }
    let link = fs::read_to_string(git).ok()?;
    let own = git.parent()?.join(link.trim().strip_prefix("gitdir: ")?);
    let common = fs::read_to_string(own.join("commondir")).ok();
    let common = common.map_or_else(|| own.clone(), |common| own.join(common.trim()));
    Some((own, common))
}

/// Git's files that say which commit is checked out.
fn files_of_git(folder: &Path) -> Vec<PathBuf> {
    let Some((own, common)) = folders(&folder.join("../.git")) else { return Vec::new() };
    vec![own.join("HEAD"), own.join("logs/HEAD"), common.join("packed-refs")]
}

fn is_commit(text: &str) -> bool {
    text.len() >= 40 && text.chars().all(|c| c.is_ascii_hexdigit())
}

/// What Git answers; `None`: it is not there, or refuses.
fn git(folder: &Path, arguments: &[&str]) -> Option<String> {
    let mut git = Command::new("git");
    git.current_dir(folder).env("TZ", "UTC").env("GIT_OPTIONAL_LOCKS", "0").args(arguments);
    let answer = git.output().ok().filter(|answer| answer.status.success())?;
    Some(String::from_utf8_lossy(&answer.stdout).trim().to_owned())
}

/// The day of a time in seconds since 1970, by the civil calendar.
pub(crate) fn date(seconds: i64) -> String {
    // Years that begin in March, in eras of 400 of them.
    let days = seconds.div_euclid(86_400) + 719_468;
    let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = era * 400 + year_of_era + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}
