//! What must be able to happen in a history, though rarely: a simulator in which it never does has gone
//! blind.

/// Each as it is counted where it happens.
pub const RARE: [&str; 42] = [
    "a COMMIT was applied and its answer was lost",
    "a commit of a former owner was refused",
    "a commit was answered late",
    "a commit was not made because the one before has no answer",
    "a commit was refused",
    "a commit was taken, and answered as failed",
    "a compare-and-set moved nothing",
    "a deadlock had a victim",
    "a lagging replica said that the log is over",
    "a lock did not come in time",
    "a log was replaced by another one",
    "a partition was paused",
    "a process died inside a transaction",
    "a process ended because its client is beyond repair",
    "a process has drained",
    "a process refused to go on",
    "a process went on after the group had given it up",
    "a record was delivered after a pause",
    "a record was set aside",
    "a record was written twice",
    "a row referred to a missing one",
    "a second reading came in parts",
    "a transaction was committed after its client was gone",
    "a transaction went back to a savepoint",
    "a worker waited for a row's lock",
    "a worker waited for an offset's lock",
    "a writer's sequence has a gap",
    "all came to rest",
    "an abandoned transaction kept its locks",
    "an answer did not come",
    "every connection ended",
    "records were read a second time",
    "skipped offsets were looked at",
    "the client delivered a record again",
    "the client passed over a record",
    "the client stopped delivering a partition",
    "the client told of an error that passes",
    "the database refused a row",
    "the database went back",
    "the group gave up a member that lives",
    "the log lost its first records",
    "the server ended an idle transaction",
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::Path;

    use super::*;

    /// The texts that follow `start` in the files of a folder.
    fn counted(folder: &Path, starts: &[&str], found: &mut BTreeSet<String>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                counted(&path, starts, found);
            } else if !path.ends_with("rare.rs") {
                let code = fs::read_to_string(&path).unwrap();
                let texts = starts.iter().flat_map(|start| code.split(start).skip(1));
                found.extend(texts.filter_map(|text| Some(text.split_once('"')?.0.to_owned())));
            }
        }
    }

    #[test]
    fn whatever_is_counted_is_looked_for() {
        let mut found = BTreeSet::new();
        let starts = ["reach(\"", "reached = Some(\""];
        counted(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &starts, &mut found);
        let known: BTreeSet<String> = RARE.iter().map(|what| (*what).to_owned()).collect();
        assert_eq!(found, known);
    }
}
