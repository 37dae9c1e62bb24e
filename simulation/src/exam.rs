//! The exam as it is taken: each bug is put by itself into a copy of the tree, and looked for within
//! its time.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use serde_json::json;

use crate::mutants::{Find, Mutant, root};

/// How long what is to end by itself may go on after its time.
const GRACE: Duration = Duration::from_mins(1);
/// How many times as long as it takes of a core the simulation may take where others have that core, too.
const SHARE: u32 = 20;
/// How long a build may take.
const BUILD: Duration = Duration::from_mins(20);

/// Where and for how long bugs are looked for.
#[derive(Clone, Debug)]
pub struct Exam {
    /// A copy of what is committed.
    pub tree: PathBuf,
    /// What is built of it.
    pub target: PathBuf,
    /// How long the simulation looks for a bug whose patch does not say it.
    pub seconds: u64,
    pub is_release: bool,
}

/// What became of a bug.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Who has found it, and after what time.
    Found(String, Duration),
    /// The patch says why nobody can.
    Invisible(String),
    /// Somebody was to find it and has not, within this time.
    Missed(Duration),
    /// It does not fit, or does not build.
    Unfit(String),
}

/// How a command ended.
enum Ended {
    Exited(ExitStatus),
    /// It went on after its time, and was ended.
    Late,
}

impl Exam {
    /// Makes the tree a copy of what is committed.
    ///
    /// # Errors
    /// Git can't.
    pub fn prepare(&self) -> anyhow::Result<()> {
        fs::create_dir_all(&self.target)?;
        let head = self.must(&root(), "git", &["rev-parse", "HEAD"])?;
        if self.tree.exists() {
            self.must(&self.tree, "git", &["checkout", "--quiet", "--force", "."])?;
            self.must(&self.tree, "git", &["checkout", "--quiet", "--detach", head.trim()])?;
            return Ok(());
        }
        let tree = self.tree.to_string_lossy();
        self.must(&root(), "git", &["worktree", "prune"])?;
        let add = ["worktree", "add", "--quiet", "--detach", &tree, head.trim()];
        self.must(&root(), "git", &add).map(drop)
    }

    /// Puts a bug into the tree, has it looked for, and takes it out.
    ///
    /// # Errors
    /// The tree can't be made what it was.
    pub fn examine(&self, mutant: &Mutant) -> anyhow::Result<Verdict> {
        if let [Find::Nobody(why)] = &mutant.finds[..] {
            return Ok(Verdict::Invisible(why.clone()));
        }
        let path = mutant.path.to_string_lossy();
        if let Err(error) = self.must(&self.tree, "git", &["apply", &path]) {
            return Ok(Verdict::Unfit(error.to_string()));
        }
        let verdict = self.look(mutant);
        self.must(&self.tree, "git", &["checkout", "--quiet", "--force", "."])?;
        Ok(verdict.unwrap_or_else(|error| Verdict::Unfit(format!("{error:#}"))))
    }

    fn look(&self, mutant: &Mutant) -> anyhow::Result<Verdict> {
        let begun = Instant::now();
        let mut looked = Duration::ZERO;
        for find in &mutant.finds {
            self.build(find)?;
            let began = Instant::now();
            let found = match find {
                Find::Simulation(seconds) => self.simulate(seconds.unwrap_or(self.seconds))?,
                Find::Test(test) => self.test(test)?,
                Find::Nobody(_) => None,
            };
            looked += began.elapsed();
            if let Some(who) = found {
                return Ok(Verdict::Found(who, began.elapsed()));
            }
        }
        ensure!(begun.elapsed() >= looked, "time went back");
        Ok(Verdict::Missed(looked))
    }

    fn build(&self, find: &Find) -> anyhow::Result<()> {
        let kind: Vec<&str> = match find {
            Find::Test(test) => {
                let which = test.iter().map(String::as_str).take_while(|word| *word != "--");
                ["test", "--quiet", "--no-run"].into_iter().chain(which).collect()
            }
            _ => vec!["build", "--quiet", "--bin", "simulation"],
        };
        let arguments = self.arguments(&kind);
        let (ended, said) = self.run(&self.tree, "cargo", &arguments, BUILD)?;
        let is_built = matches!(ended, Ended::Exited(status) if status.success());
        ensure!(is_built, "it does not build: {}", said.lines().last().unwrap_or_default());
        Ok(())
    }

    fn simulate(&self, seconds: u64) -> anyhow::Result<Option<String>> {
        let profile = if self.is_release { "release" } else { "debug" };
        let binary = self.target.join(profile).join("simulation");
        let for_seconds = seconds.to_string();
        let run =
            ["run", "--seconds", &for_seconds, "--shrink-seconds", "0", "--tape", "/dev/null"];
        // The simulation counts the time of its core, which may be shared.
        let within = Duration::from_secs(seconds) * SHARE + GRACE;
        let (ended, said) = self.run(&self.tree, &binary.to_string_lossy(), &run, within)?;
        let line = |start: &str| said.lines().find(|line| line.contains(start)).map(str::to_owned);
        let told = || line("seed ").or_else(|| line("panicked at")).unwrap_or_default();
        Ok(match ended {
            Ended::Exited(status) if status.success() => None,
            Ended::Exited(_) => Some(format!("simulation: {}", shortened(&told()))),
            Ended::Late => Some("simulation: a history does not end".to_owned()),
        })
    }

    fn test(&self, test: &[String]) -> anyhow::Result<Option<String>> {
        let words: Vec<&str> = test.iter().map(String::as_str).collect();
        let arguments = self.arguments(&[&["test", "--quiet"], &words[..]].concat());
        let within = Duration::from_secs(self.seconds) * SHARE + GRACE;
        let (ended, said) = self.run(&self.tree, "cargo", &arguments, within)?;
        let failed = |line: &&str| line.trim_end().ends_with("stdout ----");
        let first = said.lines().find(failed).map(|line| line.trim_matches(['-', ' ']));
        let first = first.unwrap_or_default().trim_end_matches(" stdout").to_owned();
        Ok(match ended {
            Ended::Exited(status) if status.success() => None,
            Ended::Exited(_) => Some(format!("test {first}")),
            Ended::Late => Some("a test does not end".to_owned()),
        })
    }

    /// The arguments of a cargo command on the workspace, so that nothing is built in two ways; those
    /// behind `--` stay last.
    fn arguments<'a>(&self, command: &[&'a str]) -> Vec<&'a str> {
        let end = command.iter().position(|word| *word == "--").unwrap_or(command.len());
        let release: &[&str] = if self.is_release { &["--release"] } else { &[] };
        [&command[..end], &["--workspace"], release, &["--locked"], &command[end..]].concat()
    }

    /// Runs a command in `tree` until it ends or its time is over; returns what it said.
    fn run(
        &self,
        tree: &Path,
        program: &str,
        arguments: &[&str],
        within: Duration,
    ) -> anyhow::Result<(Ended, String)> {
        let said = self.target.join("said");
        let file = File::create(&said).with_context(|| said.display().to_string())?;
        // Ends the children of cargo, too.
        let limit = format!("{:.3}", within.as_secs_f64().max(0.001));
        let status = Command::new("timeout")
            .args(["--signal=KILL", &limit, program])
            .args(arguments)
            .current_dir(tree)
            .env("CARGO_TARGET_DIR", fs::canonicalize(&self.target)?)
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .status()
            .with_context(|| program.to_owned())?;
        let is_late = matches!(status.code(), None | Some(137));
        let ended = if is_late { Ended::Late } else { Ended::Exited(status) };
        Ok((ended, String::from_utf8_lossy(&fs::read(&said)?).into_owned()))
    }

    fn must(&self, tree: &Path, program: &str, arguments: &[&str]) -> anyhow::Result<String> {
        let (ended, said) = self.run(tree, program, arguments, GRACE)?;
        let is_done = matches!(ended, Ended::Exited(status) if status.success());
        ensure!(is_done, "{program} {}: {said}", arguments.join(" "));
        Ok(said)
    }
}

/// A line, up to what is worth a column.
fn shortened(line: &str) -> String {
    line.chars().take(90).collect()
}

impl Verdict {
    /// Whether it is as the patch says.
    #[must_use]
    pub fn is_expected(&self) -> bool {
        matches!(self, Self::Found(..) | Self::Invisible(_))
    }

    fn words(&self) -> (&'static str, f64, &str) {
        match self {
            Self::Found(who, took) => ("found", took.as_secs_f64(), who),
            Self::Invisible(why) => ("can't be seen", 0.0, why),
            Self::Missed(after) => ("MISSED", after.as_secs_f64(), ""),
            Self::Unfit(why) => ("UNFIT", 0.0, why),
        }
    }
}

/// One line of the table.
#[must_use]
pub fn line(mutant: &Mutant, verdict: &Verdict) -> String {
    let (what, seconds, who) = verdict.words();
    format!("| {} | {what} | {seconds:.1} s | {who} |", mutant.name())
}

/// The table, and how many of the bugs were found.
#[must_use]
pub fn table(verdicts: &[(Mutant, Verdict)]) -> String {
    let mut table = "| Mutant | Verdict | After | By |\n|---|---|---|---|\n".to_owned();
    for (mutant, verdict) in verdicts {
        let _ = writeln!(table, "{}", line(mutant, verdict));
    }
    let count = |is: &dyn Fn(&Verdict) -> bool| verdicts.iter().filter(|(_, it)| is(it)).count();
    let by =
        |it: &Verdict, start: &str| matches!(it, Verdict::Found(who, _) if who.starts_with(start));
    let found = count(&|it| matches!(it, Verdict::Found(..)));
    let simulated = count(&|it| by(it, "simulation"));
    let (invisible, all) = (count(&|it| matches!(it, Verdict::Invisible(_))), verdicts.len());
    let _ = writeln!(
        table,
        "{all} mutants: {found} found, {simulated} of them by the simulation; {invisible} can't be seen; {} missed",
        all - found - invisible
    );
    table
}

/// The same for tools.
#[must_use]
pub fn json(verdicts: &[(Mutant, Verdict)]) -> String {
    let one = |(mutant, verdict): &(Mutant, Verdict)| {
        let (verdict, seconds, who) = verdict.words();
        json!({
            "mutant": mutant.name(), "what": mutant.what,
            "verdict": verdict, "seconds": seconds, "by": who,
        })
    };
    let all: Vec<_> = verdicts.iter().map(one).collect();
    serde_json::to_string_pretty(&all).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mutant(name: &str) -> Mutant {
        Mutant {
            path: format!("{name}.patch").into(),
            what: "Breaks it.".to_owned(),
            finds: vec![],
        }
    }

    #[test]
    fn a_bug_that_is_missed_or_does_not_fit_is_not_as_expected() {
        let second = Duration::from_secs(1);
        let verdicts = [
            (mutant("01"), Verdict::Found("simulation: seed 7: I1".to_owned(), second)),
            (mutant("02"), Verdict::Found("test core::a".to_owned(), second)),
            (mutant("03"), Verdict::Invisible("no clock".to_owned())),
            (mutant("04"), Verdict::Missed(second)),
            (mutant("05"), Verdict::Unfit("a hunk fails".to_owned())),
        ];
        let expected: Vec<bool> = verdicts.iter().map(|(_, it)| it.is_expected()).collect();
        assert_eq!(expected, [true, true, true, false, false]);
        let table = table(&verdicts);
        let last = "5 mutants: 2 found, 1 of them by the simulation; 1 can't be seen; 2 missed";
        assert_eq!(table.lines().last(), Some(last));
        assert!(table.contains("| 04 | MISSED | 1.0 s |  |"), "{table}");
        let read: serde_json::Value = serde_json::from_str(&json(&verdicts)).unwrap();
        assert_eq!(read[2]["by"], "no clock");
    }

    #[test]
    fn what_stands_behind_two_dashes_stays_last() {
        let exam = Exam { tree: "a".into(), target: "b".into(), seconds: 1, is_release: true };
        let arguments = exam.arguments(&["test", "--lib", "--", "core::a"]);
        assert_eq!(&arguments[3..], ["--release", "--locked", "--", "core::a"]);
    }

    #[test]
    fn what_does_not_end_in_its_time_is_ended() {
        let target = std::env::temp_dir().join(format!("exam-{}", std::process::id()));
        fs::create_dir_all(&target).unwrap();
        let exam = Exam { tree: target.clone(), target, seconds: 1, is_release: false };
        let (ended, _) = exam.run(&exam.tree, "sleep", &["600"], Duration::ZERO).unwrap();
        assert!(matches!(ended, Ended::Late));
        fs::remove_dir_all(&exam.target).unwrap();
    }
}
