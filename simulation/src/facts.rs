//! Holds `facts.md` to the tests that it names.

use crate::mutants::root;

#[test]
fn every_belief_is_shown_by_a_test_that_is_there_or_only_believed() {
    let facts = std::fs::read_to_string(root().join("simulation/facts.md")).unwrap();
    let lines = facts.lines().filter(|line| line.starts_with("| ") && !line.contains("Shown by"));
    let mut shown = 0;
    for line in lines {
        let quoted: Vec<&str> = line.split('`').skip(1).step_by(2).collect();
        let Some([path, test]) = quoted.last_chunk::<2>().filter(|_| line.contains(": `")) else {
            let is_told = line.contains("only believed") || line.contains("not modelled");
            assert!(is_told, "neither shown nor only believed: {line}");
            continue;
        };
        let code = std::fs::read_to_string(root().join(path)).unwrap_or_default();
        let is_there = ["(", "<"].iter().any(|end| code.contains(&format!("fn {test}{end}")));
        assert!(is_there, "{path} has no test {test}");
        shown += 1;
    }
    assert!(shown > 15, "only {shown} beliefs are shown");
}
