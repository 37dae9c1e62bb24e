//! docs/safety.md: what its first table tells of, each line brought about by a test.

/// A line, and how the name of its test begins.
const LINES: [(&str, &str); 14] = [
    ("The topic was recreated", "a_recreated_topic_is_refused_whether_its_log_is_shorter"),
    ("The topic was deleted", "a_topic_that_is_deleted_while_it_is_read_stops_the_worker"),
    ("Partitions were added", "added_partitions_stop_a_worker_and_are_refused_at_the_next"),
    ("The topic is compacted", "a_compacted_topic_is_refused"),
    ("Retention has passed the offset", "a_log_that_lost_what_the_database_lacks_is_refused"),
    ("The log ends before what the database holds", "a_recreated_topic_is_refused_whether"),
    ("The database was restored", "a_restored_database_is_caught_up_from_the_log"),
    ("An empty or another database", "a_database_that_does_not_know_the_group_is_refused"),
    ("Another pipeline writes the table", "a_table_that_another_pipeline_writes_is_refused"),
    ("The route's table is another one", "another_table_than_the_offsets_speak_of_is_refused"),
    ("The bookkeeping tables are a later version's", "a_later_versions_tables_are_refused"),
    ("Offsets have no record", "what_retention_removes_that_was_no_record_is_no_loss"),
    (
        "Kafka's offsets were moved or deleted by hand",
        "offsets_that_were_moved_or_deleted_in_kafka",
    ),
    ("The key's type is more than its text", "a_key_that_is_more_than_its_text_and_a_missing"),
];

#[test]
fn every_line_of_the_page_has_its_test() {
    let page = include_str!("../../docs/safety.md");
    let (first_table, _) = page.split_once("\n## ").unwrap_or((page, ""));
    let lines =
        first_table.lines().filter_map(|line| line.strip_prefix("| **")?.split("**").next());
    assert_eq!(lines.collect::<Vec<_>>(), LINES.map(|(line, _)| line));
    let tests = [
        include_str!("safety.rs"),
        include_str!("hand_over.rs"),
        include_str!("changed_logs.rs"),
        include_str!("../../consumer/tests/contract/claims.rs"),
    ];
    for (line, test) in LINES {
        let begins = format!("fn {test}");
        assert!(tests.iter().any(|file| file.contains(&begins)), "{line}: {test} is gone");
    }
}
