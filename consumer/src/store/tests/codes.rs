//! Every code of each database, and the class that the policy gives it.

use super::*;

fn told(code: &str) -> Told<'_> {
    Told { code, ..Told::default() }
}

/// What the policy says of each code, by class.
type Policy<'p> = &'p [(Class, &'p [&'p str])];

fn hold(policy: Policy<'_>, class_of: fn(Told<'_>) -> Class) {
    for (class, codes) in policy {
        for code in *codes {
            assert_eq!(class_of(told(code)), *class, "{code}");
        }
    }
}

#[test]
fn every_postgres_code_has_the_class_the_policy_gives_it() {
    hold(
        &[
            (Class::Conflict, &["40000", "40001", "40P01"]),
            (Class::Locked, &["55P03"]),
            (
                Class::Unavailable,
                &[
                    "40003", "53300", "57P01", "57P02", "57P03", "58000", "58030", "08000",
                    "08006", "08007", "25P02", "25P03", "25006", "26000",
                ],
            ),
            (Class::Saturated, &["57014", "25P04", "53100", "53200", "53400"]),
            (
                Class::Data,
                &[
                    "22001", "22003", "22008", "22012", "22021", "22P02", "22P05", "23502",
                    "23505", "23514", "23P01", "44000", "54000", "54001", "P0001",
                ],
            ),
            (Class::MissingReference, &["23503", "23001"]),
            (Class::Twice, &["21000"]),
            (
                Class::Stop,
                &[
                    "42P01", "42703", "42501", "42P10", "428C9", "28P01", "3D000", "3F000",
                    "0A000", "54011", "54023", "55000", "2F005", "XX001", "XX002", "2200H",
                ],
            ),
            (
                Class::Uncertain,
                &[
                    "", "2", "20000", "27000", "38000", "39P01", "42601", "42602", "42622",
                    "55006", "99999", "F0000", "HV000", "P0000", "P0002", "P0003", "P0004",
                    "XX000",
                ],
            ),
        ],
        postgres,
    );
}

#[test]
fn what_a_trigger_raises_is_no_word_of_the_server_s() {
    for (code, class) in [
        ("42501", Class::Uncertain),
        ("42P01", Class::Uncertain),
        ("08006", Class::Uncertain),
        ("57014", Class::Uncertain),
        ("21000", Class::Uncertain),
        ("55000", Class::Uncertain),
        ("P0001", Class::Data),
        ("23514", Class::Data),
        ("23503", Class::MissingReference),
        ("40001", Class::Conflict),
    ] {
        assert_eq!(postgres(Told { routine: RAISED, ..told(code) }), class, "{code}");
    }
}

#[test]
fn a_row_without_a_partition_is_for_a_person_and_one_that_a_check_refuses_is_bad() {
    let (without, checked) = (told("23514"), Told { names_constraint: true, ..told("23514") });
    assert_eq!(postgres(Told { routine: NO_PARTITION, ..without }), Class::Stop);
    assert_eq!(postgres(Told { routine: "ExecConstraints", ..checked }), Class::Data);
    // A row outside of the bounds of a partition that the route names itself.
    assert_eq!(postgres(Told { routine: "ExecPartitionCheckEmitError", ..without }), Class::Data);
}

#[test]
fn a_name_or_a_policy_that_a_value_fails_is_no_broken_schema() {
    for (code, routine) in
        [("42P01", "regclassin"), ("42P01", "RangeVarGetRelidExtended"), ("42501", JUDGES_A_ROW)]
    {
        assert_eq!(postgres(Told { routine, ..told(code) }), Class::Uncertain, "{code}");
        assert_eq!(postgres(Told { routine: "aclcheck_error", ..told(code) }), Class::Stop);
    }
}

#[test]
fn a_plan_made_stale_by_ddl_is_prepared_again() {
    let message = "cached plan must not change result type";
    assert_eq!(postgres(Told { message, ..told("0A000") }), Class::Unavailable);
}

#[test]
fn every_mysql_number_has_the_class_the_policy_gives_it() {
    hold(
        &[
            (Class::Conflict, &["1020", "1213", "1412", "3101"]),
            (Class::Locked, &["1205", "3572"]),
            (
                Class::Unavailable,
                &["1030", "1040", "1047", "1180", "1290", "1305", "1836", "1927", "2006", "2013"],
            ),
            (Class::Saturated, &["1114", "1153", "1206", "1317", "1969", "3024"]),
            (
                Class::Data,
                &[
                    "1048", "1062", "1264", "1292", "1364", "1366", "1406", "1643", "1644", "1690",
                    "3819", "4025",
                ],
            ),
            (Class::MissingReference, &["1451", "1452"]),
            (
                Class::Stop,
                &[
                    "1036", "1044", "1045", "1049", "1054", "1142", "1146", "1526", "1665", "1748",
                    "167", "1467", "4084",
                ],
            ),
            (
                Class::Uncertain,
                &["", "x", "0", "1105", "1172", "1242", "3143", "9999", "30001", "99999"],
            ),
        ],
        mysql,
    );
}

#[test]
fn a_mysql_number_is_listed_once() {
    let numbers: Vec<u16> = MYSQL.iter().flat_map(|(_, numbers)| *numbers).copied().collect();
    let once: std::collections::BTreeSet<_> = numbers.iter().collect();
    assert_eq!(once.len(), numbers.len());
}

#[test]
fn every_sqlite_code_has_the_class_the_policy_gives_it() {
    hold(
        &[
            (Class::Locked, &["5", "517", "6", "262"]),
            (Class::Unavailable, &["", "7", "10", "13", "17", "999"]),
            (Class::Data, &["275", "1299", "1555", "2067", "3091", "18", "20"]),
            (Class::MissingReference, &["787"]),
            (Class::Stop, &["3", "8", "11", "14", "26"]),
            (Class::Uncertain, &["1"]),
        ],
        sqlite,
    );
}

#[test]
fn sqlite_s_one_code_for_many_errors_is_told_apart_by_its_message() {
    for (message, class) in [
        ("integer overflow", Class::Data),
        ("no such table: main.audit", Class::Stop),
        ("no such column: x", Class::Stop),
        ("no such function: f", Class::Stop),
        ("table t has no column named x", Class::Stop),
        ("near \"SELEC\": syntax error", Class::Stop),
        ("malformed JSON", Class::Uncertain),
        ("bad JSON path: '$x'", Class::Uncertain),
    ] {
        assert_eq!(sqlite(Told { message, ..told("1") }), class, "{message}");
    }
    let of_a_trigger = |message| sqlite(Told { message, ..told("1811") });
    assert_eq!(of_a_trigger("FOREIGN KEY constraint failed"), Class::MissingReference);
    assert_eq!(of_a_trigger("not that"), Class::Data);
}
