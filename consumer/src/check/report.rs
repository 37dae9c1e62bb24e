//! The preflight's findings, and the grade of the whole.

use serde::Serialize;

/// How good or bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Grade {
    /// As it should be.
    Ok,
    /// `run` would work, but a person should know.
    Warning,
    /// `run` would not work.
    Failed,
    /// `run` would refuse: the data would not be safe.
    Refused,
}

/// One line of the preflight.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How good or bad it is.
    pub grade: Grade,
    /// What was inspected.
    pub what: String,
    /// What was found, and what to do.
    pub found: String,
}

/// Everything found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct CheckReport {
    /// Line by line.
    pub findings: Vec<Finding>,
}

impl CheckReport {
    /// The worst of all.
    pub fn grade(&self) -> Grade {
        let has = |grade| self.findings.iter().any(|finding| finding.grade == grade);
        let worst = [Grade::Refused, Grade::Failed, Grade::Warning].into_iter().find(|g| has(*g));
        worst.unwrap_or(Grade::Ok)
    }

    /// The last line for a person: what `run` would do.
    pub fn verdict(&self) -> String {
        let count = |grade| self.findings.iter().filter(|finding| finding.grade == grade).count();
        let warnings = match count(Grade::Warning) {
            0 => String::new(),
            warnings => format!("; mind {}", counted(warnings, "warning")),
        };
        match self.grade() {
            Grade::Ok | Grade::Warning => format!("run would start{warnings}"),
            Grade::Failed => {
                format!(
                    "run would not do all of its work: {} FAILED{warnings}",
                    count(Grade::Failed)
                )
            }
            Grade::Refused => {
                format!("run would refuse to start: {} REFUSED{warnings}", count(Grade::Refused))
            }
        }
    }

    pub(super) fn add(&mut self, grade: Grade, what: impl Into<String>, found: impl Into<String>) {
        self.findings.push(Finding { grade, what: what.into(), found: found.into() });
    }
}

/// A count and the name of what is counted, in the plural except for one.
pub(super) fn counted(count: usize, name: &str) -> String {
    format!("{count} {name}{}", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_says_whether_run_would_start() {
        use Grade::{Failed, Ok, Refused, Warning};
        for (grades, told) in [
            (&[Ok][..], "run would start"),
            (&[Ok, Warning], "run would start; mind 1 warning"),
            (&[Failed, Failed, Ok], "run would not do all of its work: 2 FAILED"),
            (
                &[Refused, Failed, Warning, Warning],
                "run would refuse to start: 1 REFUSED; mind 2 warnings",
            ),
        ] {
            let mut report = CheckReport::default();
            for grade in grades {
                report.add(*grade, "what", "found");
            }
            assert_eq!(report.verdict(), told);
        }
    }

    #[test]
    fn a_report_is_graded_by_the_worst_that_was_found() {
        let grade = |grades: &[Grade]| {
            let mut report = CheckReport::default();
            for grade in grades {
                report.add(*grade, "what", "found");
            }
            report.grade()
        };
        assert_eq!(grade(&[]), Grade::Ok);
        assert_eq!(grade(&[Grade::Ok, Grade::Warning, Grade::Ok]), Grade::Warning);
        assert_eq!(grade(&[Grade::Failed, Grade::Warning]), Grade::Failed);
        assert_eq!(grade(&[Grade::Refused, Grade::Failed, Grade::Warning]), Grade::Refused);
    }
}
