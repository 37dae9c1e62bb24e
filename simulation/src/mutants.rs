//! The exam: bugs put back by patches, each of which the simulation or a named test must find.
//!
//! A patch begins with what it takes away. Then come lines that say who is to find it, tried one after
//! the other: `find: simulation`, or `find: simulation SECONDS` if it takes longer than others;
//! `find: test ARGUMENTS`, which are those of `cargo test`; or `find: nobody REASON`. Silence of a
//! simulator that passes no exam is worth nothing.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::ensure;

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
    /// The simulation, within this many seconds if the patch says how many.
    Simulation(Option<u64>),
    /// A test, by the arguments of `cargo test`.
    Test(Vec<String>),
    /// Nobody can, for this reason.
    Nobody(String),
}

impl Mutant {
    /// Its number and name.
    #[must_use]
    pub fn name(&self) -> String {
        self.path.file_stem().unwrap_or_default().to_string_lossy().into_owned()
    }
}

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
        let (who, how) = line.strip_prefix("find: ")?.split_once(' ').unwrap_or((&line[6..], ""));
        match who {
            "simulation" => Some(Find::Simulation(how.parse().ok())),
            "test" => Some(Find::Test(how.split_whitespace().map(str::to_owned).collect())),
            "nobody" => Some(Find::Nobody(how.to_owned())),
            _ => None,
        }
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

/// Whether the patch fits the tree as it is.
///
/// # Errors
/// It does not.
pub fn fits(mutant: &Mutant) -> anyhow::Result<()> {
    let mut git = Command::new("git");
    let output = git.args(["apply", "--check"]).arg(&mutant.path).current_dir(root()).output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{} does not fit: {said}", mutant.name());
    Ok(())
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
        let mutant = parse(text, PathBuf::from("01-a.patch")).unwrap();
        let words = ["--lib", "--", "core::a"].map(str::to_owned).to_vec();
        assert_eq!((mutant.name().as_str(), mutant.what.as_str()), ("01-a", "Breaks it."));
        assert_eq!(mutant.finds, [Find::Simulation(None), Find::Test(words)]);
        let finds = |text: &str| parse(text, PathBuf::new()).unwrap().finds;
        assert_eq!(finds("It.\nfind: simulation 600\n"), [Find::Simulation(Some(600))]);
        assert_eq!(finds("It.\nfind: nobody no clock\n"), [Find::Nobody("no clock".to_owned())]);
        assert!(parse("Breaks it.\n", PathBuf::from("b.patch")).is_err());
    }
}
