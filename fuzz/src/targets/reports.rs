//! The report that another process answers: any JSON is taken or refused, and what is taken comes back.

use write_behind_consumer::status::report::StatusReport;

use crate::outcome::told;
use crate::targets::Target;

pub const TARGET: Target = Target {
    name: "reports",
    what: "the status that another process answers is read or refused, and what is read is written the same",
    run,
    words: &[
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        "null",
        "0",
        "-1",
        "1e400",
        "true",
        "\"process\":",
        "\"schema\":1",
        "\"kafka-and-database\"",
        "\"troubles\":[]",
        "\"routes\":[]",
    ],
    examples: &[
        r#"{"schema":1,"source":"process","pipeline":"p","time_ms":1,"process":null,"troubles":[],"routes":[]}"#,
    ],
};

fn run(input: &[u8]) -> u64 {
    match serde_json::from_slice::<StatusReport>(input) {
        Ok(report) => {
            let text = serde_json::to_string(&report).expect("a report is JSON");
            let again: StatusReport = serde_json::from_str(&text).expect("what is written is read");
            assert_eq!(serde_json::to_string(&again).ok().as_ref(), Some(&text));
            told("", &[report.routes.len(), report.troubles.len()])
        }
        Err(why) => told(why, &[]),
    }
}
