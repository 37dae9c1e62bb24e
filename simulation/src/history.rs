//! The history of a run as a person reads it: one line a step, a column an actor.

use std::fmt::Write as _;
use std::time::Duration;

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Happened {
    pub step: u64,
    pub at: Duration,
    pub actor: String,
    pub what: String,
}

/// What happened, if anybody wants to know.
#[derive(Clone, Debug, Default)]
pub struct History {
    pub is_told: bool,
    pub step: u64,
    pub now: Duration,
    pub lines: Vec<Happened>,
}

impl History {
    /// Notes what `actor` did. The text is made only if it is read.
    pub fn tell(&mut self, actor: &str, what: impl FnOnce() -> String) {
        if self.is_told {
            let (step, at) = (self.step, self.now);
            self.lines.push(Happened { step, at, actor: actor.to_owned(), what: what() });
        }
    }

    /// The same of a process.
    pub fn tell_of(&mut self, process: u64, what: impl FnOnce() -> String) {
        if self.is_told {
            self.tell(&format!("process {process}"), what);
        }
    }
}

/// How wide a column is.
const WIDE: usize = 46;

/// The columns of the page, each as wide as its longest line, but for the last.
#[must_use]
pub fn page(lines: &[Happened]) -> String {
    let mut actors: Vec<&str> = Vec::new();
    for line in lines {
        if !actors.contains(&&*line.actor) {
            actors.push(&line.actor);
        }
    }
    actors.sort_unstable();
    let mut page = String::from("    step  virtual s  ");
    for actor in &actors {
        let _ = write!(page, "{actor:<WIDE$}");
    }
    page.push('\n');
    let mut before = Duration::MAX;
    for line in lines {
        let time = line.at.as_secs_f64();
        let time = if line.at == before { String::new() } else { format!("{time:.3}") };
        before = line.at;
        let column = actors.iter().position(|actor| *actor == line.actor).unwrap_or(0);
        let indent = " ".repeat(WIDE * column);
        let _ = writeln!(page, "{:>8}  {time:>9}  {indent}{}", line.step, line.what);
    }
    page
}

/// One JSON object a line, for tools.
#[must_use]
pub fn json_lines(lines: &[Happened]) -> String {
    let escaped = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"");
    let mut all = String::new();
    for line in lines {
        let _ = writeln!(
            all,
            r#"{{"step":{},"seconds":{:.3},"actor":"{}","what":"{}"}}"#,
            line.step,
            line.at.as_secs_f64(),
            escaped(&line.actor),
            escaped(&line.what)
        );
    }
    all
}
