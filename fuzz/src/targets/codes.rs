//! F8, errors of databases: each code has a class, and one that is not known is uncertain.

use write_behind_consumer::store::codes::{Told, is_taken, mysql, postgres, sqlite};

use crate::outcome::told;
use crate::targets::Target;

pub const TARGET: Target = Target {
    name: "codes",
    what: "every code, message and routine has a class in each database, and always the same one",
    run,
    words: &[
        "23505",
        "23503",
        "40001",
        "0A000",
        "42601",
        "XX000",
        "1062",
        "1205",
        "2006",
        "787",
        "5",
        "cached plan",
        "FOREIGN KEY constraint failed",
        "exec_stmt_raise",
        "regclassin",
        "\n",
    ],
    examples: &[
        "23505\nduplicate\n_bt_check_unique",
        "1062",
        "787",
        "\n\n",
        "42601\nx\nexec_stmt_raise",
    ],
};

fn run(input: &[u8]) -> u64 {
    let text = String::from_utf8_lossy(input);
    let mut lines = text.split('\n');
    let mut next = || lines.next().unwrap_or_default();
    let (code, message, routine) = (next(), next(), next());
    let error = Told { code, message, routine, names_constraint: input.len().is_multiple_of(2) };
    let classes = [postgres(error), mysql(error), sqlite(error)];
    assert_eq!([postgres(error), mysql(error), sqlite(error)], classes);
    told(format!("{classes:?}{}", is_taken(code)), &[])
}
