//! The exam: bugs put back by patches, each of which the simulation or a named test must find.
//!
//! A patch begins with what it takes away, and with lines `find: simulation` or `find: test ARGUMENTS`,
//! where the arguments are those of `cargo test`. Silence of a simulator that passes no exam is worth
//! nothing.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};

/// A bug as a patch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mutant {
    pub path: PathBuf,
    /// What it breaks, in one line.
    pub what: String,
    pub finds: Vec<Find>,
}

/// Who is to find it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Find {
    Simulation,
    Test(Vec<String>),
}

/// How long it took to find a mutant, and what did; `None`: nobody has.
pub type Found = Option<(Duration, String)>;

/// The patches, by name.
///
/// # Errors
/// A file can't be read, or does not say who is to find it.
pub fn mutants() -> anyhow::Result<Vec<Mutant>> {
    let folder = root().join("simulation/mutants");
    let mut paths: Vec<PathBuf> = fs::read_dir(&folder)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<_, _>>()?;
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "patch"));
    paths.sort();
    paths.into_iter().map(|path| parse(&fs::read_to_string(&path)?, path)).collect()
}

fn parse(text: &str, path: PathBuf) -> anyhow::Result<Mutant> {
    let what = text.lines().next().unwrap_or_default().to_owned();
    let find = |line: &str| {
        let how = line.strip_prefix("find: ")?;
        let test = how.strip_prefix("test ");
        let words = |test: &str| test.split_whitespace().map(str::to_owned).collect();
        Some(test.map_or(Find::Simulation, |test| Find::Test(words(test))))
    };
    let finds: Vec<Find> = text.lines().filter_map(find).collect();
    ensure!(!finds.is_empty(), "{} does not say who is to find it", path.display());
    Ok(Mutant { path, what, finds })
}

/// The repository.
#[must_use]
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().map(Path::to_path_buf).unwrap_or_default()
}

/// Runs a command in `tree`.
fn command(tree: &Path, program: &str, arguments: &[&str]) -> anyhow::Result<Output> {
    let output = Command::new(program).args(arguments).current_dir(tree).output();
    output.with_context(|| format!("{program} {}", arguments.join(" ")))
}

fn must(tree: &Path, program: &str, arguments: &[&str]) -> anyhow::Result<Output> {
    let output = command(tree, program, arguments)?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.success(), "{program} {}: {said}", arguments.join(" "));
    Ok(output)
}

/// Whether the patch fits the tree as it is.
///
/// # Errors
/// It does not.
pub fn fits(mutant: &Mutant) -> anyhow::Result<()> {
    let path = mutant.path.to_string_lossy();
    must(&root(), "git", &["apply", "--check", &path]).map(|_| ())
}

/// Makes `tree` a copy of what is committed.
///
/// # Errors
/// Git can't.
pub fn copy(tree: &Path) -> anyhow::Result<()> {
    if tree.exists() {
        must(tree, "git", &["checkout", "--quiet", "--force", "."])?;
        let head = must(&root(), "git", &["rev-parse", "HEAD"])?;
        let head = String::from_utf8_lossy(&head.stdout).trim().to_owned();
        must(tree, "git", &["checkout", "--quiet", "--detach", &head])?;
        return Ok(());
    }
    let tree = tree.to_string_lossy();
    must(&root(), "git", &["worktree", "add", "--quiet", "--detach", &tree, "HEAD"]).map(|_| ())
}

/// Where cargo puts what it builds in `tree`.
fn target_directory(tree: &Path) -> anyhow::Result<PathBuf> {
    let told = must(tree, "cargo", &["metadata", "--no-deps", "--format-version", "1"])?;
    let told = String::from_utf8_lossy(&told.stdout).into_owned();
    let (_, path) = told.split_once(r#""target_directory":""#).context("no target directory")?;
    Ok(PathBuf::from(path.split('"').next().unwrap_or_default()))
}

/// Puts a bug into `tree`, has it looked for, and takes it out.
///
/// # Errors
/// The patch does not fit, or the tree does not build with it.
pub fn examine(mutant: &Mutant, tree: &Path, seconds: u64) -> anyhow::Result<Found> {
    let path = mutant.path.to_string_lossy().into_owned();
    must(tree, "git", &["apply", &path])?;
    let found = look(mutant, tree, seconds);
    must(tree, "git", &["apply", "--reverse", &path])?;
    found
}

fn look(mutant: &Mutant, tree: &Path, seconds: u64) -> anyhow::Result<Found> {
    for find in &mutant.finds {
        let mut arguments = match find {
            Find::Simulation => vec!["build", "--quiet", "--workspace", "--bin", "simulation"],
            Find::Test(_) => vec!["test", "--quiet", "--no-run", "--workspace"],
        };
        if let Find::Test(test) = find {
            arguments.extend(test.iter().map(String::as_str).take_while(|word| *word != "--"));
        }
        must(tree, "cargo", &arguments)?;
        let begun = Instant::now();
        let output = match find {
            Find::Simulation => {
                let binary = target_directory(tree)?.join("debug/simulation");
                let seconds = seconds.to_string();
                let run = ["run", "--seconds", &seconds, "--shrink-seconds", "0"];
                let no_tape = ["--tape", "/dev/null"];
                command(tree, &binary.to_string_lossy(), &[&run[..], &no_tape].concat())?
            }
            Find::Test(test) => {
                let words: Vec<&str> = test.iter().map(String::as_str).collect();
                command(tree, "cargo", &[&["test", "--quiet", "--workspace"], &words[..]].concat())?
            }
        };
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stdout).into_owned();
            let seed = said.lines().find(|line| line.starts_with("seed "));
            let who = match find {
                Find::Simulation => seed.unwrap_or("the simulation ended early").to_owned(),
                Find::Test(test) => test.join(" "),
            };
            return Ok(Some((begun.elapsed(), who)));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_patch_of_the_exam_fits_the_tree() {
        let mutants = mutants().unwrap();
        assert!(!mutants.is_empty());
        for mutant in mutants {
            fits(&mutant).unwrap();
        }
    }

    #[test]
    fn a_patch_says_who_is_to_find_it() {
        let text = "Breaks it.\nfind: simulation\nfind: test --lib -- core::a\n\ndiff --git a b\n";
        let mutant = parse(text, PathBuf::from("a.patch")).unwrap();
        let words = ["--lib", "--", "core::a"].map(str::to_owned).to_vec();
        assert_eq!(mutant.what, "Breaks it.");
        assert_eq!(mutant.finds, [Find::Simulation, Find::Test(words)]);
        assert!(parse("Breaks it.\n", PathBuf::from("b.patch")).is_err());
    }
}
