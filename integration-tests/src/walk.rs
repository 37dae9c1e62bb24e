//! A page of the documentation, run as it is written.
//!
//! Its shell blocks run one after the other in one shell. What they print must be what the page
//! says; where it is not, the page is wrong.
//!
//! A block ` ```sh ` is run once, one marked ` ```sh until ` again and again until it prints what the
//! ` ```text ` block after it shows. Of that, every line must be printed, in that order; runs of
//! spaces count as one, and `…` stands for anything.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use crate::wait::{PATIENCE, Seen, until};

/// Printed after each block, with the exit code of its last command.
const END: &str = "--- end of the block:";

/// A shell block of a page.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Block {
    /// The line of the page that it begins at.
    pub line: usize,
    /// Whether it is run until it prints what is expected.
    pub until: bool,
    /// The commands.
    pub script: String,
    /// The lines that it must print.
    pub expected: Vec<String>,
}

/// The shell blocks of a page in Markdown.
pub fn blocks(page: &str) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    let mut fence: Option<&str> = None;
    for (number, line) in page.lines().enumerate() {
        match (line.strip_prefix("```"), fence) {
            (Some(info), None) => {
                fence = Some(info);
                if info == "sh" || info == "sh until" {
                    let (line, until) = (number + 1, info == "sh until");
                    blocks.push(Block { line, until, ..Block::default() });
                }
            }
            (Some(_), Some(_)) => fence = None,
            (None, Some("sh" | "sh until")) => {
                if let Some(block) = blocks.last_mut() {
                    block.script.push_str(line);
                    block.script.push('\n');
                }
            }
            (None, Some("text")) if !matches!(line.trim(), "" | "…") => {
                if let Some(block) = blocks.last_mut() {
                    block.expected.push(line.to_owned());
                }
            }
            _ => {}
        }
    }
    blocks
}

/// The first expected line that is not printed where it should be.
pub fn missing<'e>(expected: &'e [String], printed: &str) -> Option<&'e str> {
    let mut lines = printed.lines().map(words);
    expected.iter().map(String::as_str).find(|line| {
        let line = words(line);
        !lines.any(|printed| matches(&line, &printed))
    })
}

fn words(line: &str) -> String {
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn matches(pattern: &str, line: &str) -> bool {
    let mut parts = pattern.split('…');
    let Some(mut rest) = parts.next().and_then(|first| line.strip_prefix(first)) else {
        return false;
    };
    let mut open_ended = false;
    for part in parts {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
        open_ended = part.is_empty();
    }
    rest.is_empty() || open_ended
}

/// A shell that runs a page's blocks.
#[derive(Debug)]
pub struct Shell {
    child: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
}

impl Shell {
    /// Starts a shell in `folder` with these variables, after `prelude`.
    pub async fn start(folder: &Path, variables: &[(&str, String)], prelude: &str) -> Result<Self> {
        let mut child = Command::new("bash")
            .args(["--noprofile", "--norc"])
            .current_dir(folder)
            .envs(variables.iter().map(|(name, value)| (*name, value)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let input = child.stdin.take().context("the shell's input")?;
        let output = BufReader::new(child.stdout.take().context("the shell's output")?).lines();
        let mut shell = Self { child, input, output };
        shell.run(&format!("exec 2>&1\n{prelude}")).await?;
        Ok(shell)
    }

    /// Runs commands, and gives what they print and the exit code of the last.
    pub async fn run(&mut self, script: &str) -> Result<(String, i32)> {
        // Nothing but the shell itself may read what comes next from its input.
        let script = format!("{{ {script}\n}} </dev/null\necho \"{END} $?\"\n");
        self.input.write_all(script.as_bytes()).await?;
        let mut printed = String::new();
        let reading = async {
            while let Some(line) = self.output.next_line().await? {
                if let Some((rest, code)) = line.split_once(END) {
                    printed.push_str(rest);
                    return Ok(code.trim().parse()?);
                }
                printed.push_str(&line);
                printed.push('\n');
            }
            anyhow::bail!("the shell has ended")
        };
        let code = tokio::time::timeout(PATIENCE, reading).await;
        let code = code.with_context(|| format!("{script}\nis still running"))?;
        let code = code.with_context(|| format!("{script}\nprinted:\n{printed}"))?;
        Ok((printed, code))
    }

    /// Walks through a page's blocks; an error says which line of the page is wrong and how.
    pub async fn walk(&mut self, page: &str) -> Result<()> {
        let blocks = blocks(page);
        ensure!(!blocks.is_empty(), "the page has no shell blocks");
        for block in &blocks {
            self.step(block).await.with_context(|| format!("line {} of the page", block.line))?;
        }
        Ok(())
    }

    async fn step(&mut self, block: &Block) -> Result<()> {
        let patience = if block.until { PATIENCE } else { Duration::ZERO };
        until(&format!("the block of line {}", block.line), patience, async || {
            let (printed, code) = self.run(&block.script).await?;
            ensure!(block.until || code == 0, "exit code {code}; it printed:\n{printed}");
            let missing = missing(&block.expected, &printed);
            Ok(missing.map_or(Seen::Done(()), |line| {
                Seen::NotYet(format!("it does not print {line:?}, but:\n{printed}"))
            }))
        })
        .await
    }

    /// Ends the shell.
    pub async fn end(mut self) -> Result<()> {
        drop(self.input);
        self.child.wait().await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "# A page\n```sh\necho one\n```\nprose\n```sh until\necho a  b\n```\n\
        ```text\na …\n…\n```\n```toml\nx = 1\n```\n";

    #[test]
    fn the_blocks_of_a_page_are_found_with_what_they_print() {
        let first = Block { line: 2, script: "echo one\n".to_owned(), ..Block::default() };
        let expected = vec!["a …".to_owned()];
        let second = Block { line: 6, until: true, script: "echo a  b\n".to_owned(), expected };
        assert_eq!(blocks(PAGE), [first, second]);
    }

    #[test]
    fn what_is_expected_must_be_printed_in_its_order_and_dots_stand_for_anything() {
        let expected = |lines: &[&str]| lines.iter().map(|l| (*l).to_owned()).collect::<Vec<_>>();
        let printed = "id   score\n7    12 at 10:04\nend\n";
        assert_eq!(missing(&expected(&["id score", "7 12 at …", "end"]), printed), None);
        assert_eq!(missing(&expected(&["7 … 10:04"]), printed), None);
        assert_eq!(missing(&expected(&["end", "id score"]), printed), Some("id score"));
        assert_eq!(missing(&expected(&["7 12"]), printed), Some("7 12"));
        assert_eq!(missing(&expected(&["…12"]), printed), Some("…12"));
    }

    #[tokio::test]
    async fn a_page_that_is_wrong_is_told_with_its_line() {
        let folder = tempfile::tempdir().unwrap();
        let mut shell = Shell::start(folder.path(), &[], "").await.unwrap();
        shell.walk(PAGE).await.unwrap();
        let wrong = "```sh\nprintf 'no newline'; false\n```\n";
        let error = format!("{:#}", shell.walk(wrong).await.unwrap_err());
        assert!(error.contains("line 1") && error.contains("no newline"), "{error}");
        let error = "```sh\nx=kept\n```\n```sh\necho $x\n```\n```text\nlost\n```\n";
        let error = format!("{:#}", shell.walk(error).await.unwrap_err());
        assert!(error.contains("line 4") && error.contains("kept"), "{error}");
        shell.end().await.unwrap();
    }
}
