//! Decision table: what an error code of a database means for the batch.
//!
//! A code decides by itself only where it is certain: a value or a constraint is the row's, a lost
//! connection passes, a missing table is for a person. Every other code is uncertain: the batch is
//! taken apart, and what the database does with the parts decides (`core/verdict.rs`).

/// What to do about an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// The row is refused, and will be again.
    Data,
    /// The row refers to a missing one, which may still arrive.
    MissingReference,
    /// Two rows of one statement are one row to the database: write them one by one.
    Twice,
    /// The row, the schema or the server may be at fault: find out.
    Uncertain,
    /// A lock of another session did not come in time: retry.
    Locked,
    /// Another transaction was in the way: retry.
    Conflict,
    /// It will pass: reconnect and retry.
    Unavailable,
    /// The statement was too much for it.
    Saturated,
    /// A person must act.
    Stop,
}

/// An error, as a database tells it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Told<'e> {
    /// Its code: SQLSTATE, MySQL's number, SQLite's extended result code.
    pub code: &'e str,
    /// Its message.
    pub message: &'e str,
    /// Postgres: the function in the server's source that raised it.
    pub routine: &'e str,
    /// Postgres: whether it names a constraint.
    pub names_constraint: bool,
}

/// SQLSTATEs by prefix; the longest that matches decides. One that is not listed is uncertain.
const POSTGRES: &[(&str, Class)] = &[
    // Conflicts with other transactions, and locks that did not come in time.
    ("40", Class::Conflict),
    ("40003", Class::Unavailable),
    ("55P03", Class::Locked),
    // A statement that took too long, or one too large for the server's memory or disk.
    ("57014", Class::Saturated),
    // A transaction that took longer than `transaction_timeout` (Postgres 17).
    ("25P04", Class::Saturated),
    ("53", Class::Saturated),
    // Connections: too many, broken, ended by an administrator or a restart.
    ("53300", Class::Unavailable),
    ("08", Class::Unavailable),
    ("57P", Class::Unavailable),
    ("58", Class::Unavailable),
    ("25P03", Class::Unavailable),
    // A standby, after a failover: a new connection may reach the primary.
    ("25006", Class::Unavailable),
    // Values that don't fit, and constraints.
    ("22", Class::Data),
    ("23", Class::Data),
    ("23503", Class::MissingReference),
    // ON DELETE RESTRICT, as Postgres 18 tells it.
    ("23001", Class::MissingReference),
    // A sequence that is used up: every further row would be refused.
    ("2200H", Class::Stop),
    ("44000", Class::Data),
    // An index row, or a value's nesting, beyond the server's limits.
    ("54000", Class::Data),
    ("54001", Class::Data),
    // Too many columns in a statement, or arguments: the table's shape, not a row's.
    ("54011", Class::Stop),
    ("54023", Class::Stop),
    // A trigger that raises an exception.
    ("P0001", Class::Data),
    ("21000", Class::Twice),
    // The schema, rights, credentials.
    ("0A000", Class::Stop),
    ("28", Class::Stop),
    ("3D000", Class::Stop),
    ("3F000", Class::Stop),
    ("42", Class::Stop),
    // Our statements are constant: what can't be parsed is a value (tsvector, ltree, jsonpath), or
    // a statement that a trigger puts together.
    ("42601", Class::Uncertain),
    ("42602", Class::Uncertain),
    ("42622", Class::Uncertain),
    // A published table without replica identity, a sequence or view that is not ready.
    ("55000", Class::Stop),
    // A trigger function without RETURN.
    ("2F005", Class::Stop),
    // Pages that can't be read: a retry reads the same.
    ("XX001", Class::Stop),
    ("XX002", Class::Stop),
    // A statement after one that failed: a bug of ours (INV-12). The batch is retried, and the log
    // tells it as every failed attempt.
    ("25P02", Class::Unavailable),
    // A prepared statement that a connection pooler in between has lost.
    ("26000", Class::Unavailable),
];

/// The function that raises what a PL/pgSQL function RAISEs, with any code.
const RAISED: &str = "exec_stmt_raise";
/// The function that finds no partition for a row.
const NO_PARTITION: &str = "ExecFindPartition";
/// Functions that read a name out of a value before Postgres 16; since then they are `regclassin`,
/// `regtypein` and so on.
const READ_A_NAME: &[&str] = &[
    "RangeVarGetRelidExtended",
    "parseTypeString",
    "typenameType",
    "get_role_oid",
    "get_ts_config_oid",
    "get_ts_dict_oid",
    "get_collation_oid",
];
/// The function that judges a row by the policies of row-level security.
const JUDGES_A_ROW: &str = "ExecWithCheckOptions";

/// MySQL's and MariaDB's error numbers. One that is not listed is uncertain.
const MYSQL: &[(Class, &[u16])] = &[
    // Conflicts with other transactions, and locks that did not come in time.
    (Class::Conflict, &[1020, 1213, 1412, 1637, 1689, 3101]),
    (Class::Locked, &[1205, 3572]),
    // Connections: too many, broken, ended by an administrator, a shutdown or a limit.
    (Class::Unavailable, &[1040, 1053, 1135, 1152, 1158, 1159, 1160, 1161, 1203, 1226, 1927]),
    (Class::Unavailable, &[2006, 2013]),
    // A cluster's node that takes no statements yet.
    (Class::Unavailable, &[1047]),
    // The storage: files, pages, COMMIT, the binary log.
    (Class::Unavailable, &[1023, 1026, 1030, 1180, 1598]),
    // A server that takes no writes: after a failover, a new connection may reach one that does.
    (Class::Unavailable, &[1290, 1792, 1836, 3100]),
    // Prepared statements: their tables were altered, or there are too many.
    (Class::Unavailable, &[1243, 1461, 1615]),
    // A savepoint that is gone with its transaction.
    (Class::Unavailable, &[1305]),
    // A statement that took too long or was ended, or one too large for the server's memory,
    // messages, locks or disk.
    (Class::Saturated, &[1317, 1969, 3024, 1021, 1037, 1038, 1041, 1114, 1153, 1206]),
    // Values that don't fit.
    (Class::Data, &[1048, 1264, 1265, 1292, 1364, 1365, 1366, 1367, 1406, 1411, 1416, 1525, 1690]),
    (Class::Data, &[3140, 3141, 3157]),
    // A row beyond the size of a page or of the undo log.
    (Class::Data, &[1118, 1713]),
    // Constraints: unique keys, CHECK in MySQL and in MariaDB.
    (Class::Data, &[1022, 1062, 1586, 1761, 1762, 3819, 4025]),
    // A trigger that signals an error.
    (Class::Data, &[1643, 1644]),
    (Class::MissingReference, &[1216, 1217, 1451, 1452]),
    // The schema, rights, credentials.
    (Class::Stop, &[1044, 1045, 1046, 1049, 1054, 1064, 1109, 1130, 1142, 1143, 1146, 1227, 1251]),
    (Class::Stop, &[1036, 1356, 1370, 1442, 1449, 1698, 1820, 1862, 3118, 4151]),
    // A sequence, or the numbers of an AUTO_INCREMENT column, that are used up.
    (Class::Stop, &[167, 1467, 4084]),
    // No partition for a row.
    (Class::Stop, &[1526, 1748, 1863]),
    // Settings: the engine, collations, variables, the binary log.
    (Class::Stop, &[1193, 1231, 1235, 1267, 1271, 1286, 1665, 1785]),
];

/// SQLite's primary result codes. One that is not listed will pass.
const SQLITE: &[(u32, Class)] = &[
    (18, Class::Data),     // SQLITE_TOOBIG
    (19, Class::Data),     // SQLITE_CONSTRAINT
    (20, Class::Data),     // SQLITE_MISMATCH
    (1, Class::Uncertain), // SQLITE_ERROR: see below
    (5, Class::Locked),    // SQLITE_BUSY
    (6, Class::Locked),    // SQLITE_LOCKED
    (3, Class::Stop),      // SQLITE_PERM
    (8, Class::Stop),      // SQLITE_READONLY
    (11, Class::Stop),     // SQLITE_CORRUPT
    (14, Class::Stop),     // SQLITE_CANTOPEN
    (23, Class::Stop),     // SQLITE_AUTH
    (26, Class::Stop),     // SQLITE_NOTADB
];
/// `SQLITE_CONSTRAINT_FOREIGNKEY`.
const SQLITE_FOREIGN_KEY: u32 = 787;
const SQLITE_FOREIGN_KEY_MESSAGE: &str = "FOREIGN KEY constraint failed";
/// `SQLITE_ERROR`, which is the code of malformed JSON as of a missing table.
const SQLITE_ERROR: u32 = 1;
/// SQLite's message about `abs` of the smallest integer, by which a sum out of range fails: see the
/// text of its statements.
const SQLITE_OVERFLOW: &str = "integer overflow";
/// How SQLite's messages about a missing table, column or function begin, and about a statement
/// that can't be parsed.
const SQLITE_SCHEMA: &[&str] = &["no such ", "near \"", "table ", "unknown "];

/// Codes of a value that another row has, where a unique key or an exclusion constraint keeps rows
/// apart. No two databases have the same one.
const TAKEN: &[&str] = &["23505", "23P01", "1022", "1062", "1586", "1555", "2067", "2579"];

/// Whether a row was refused for what another row of the table has. Which of the two is refused
/// depends on their order.
#[must_use]
pub fn is_taken(code: &str) -> bool {
    TAKEN.contains(&code)
}

/// The class of a Postgres error.
#[must_use]
pub fn postgres(told: Told<'_>) -> Class {
    // The table was altered under a prepared statement; a new connection prepares it again.
    if told.code == "0A000" && told.message.contains("cached plan") {
        return Class::Unavailable;
    }
    // A row without a partition fails with the code of a CHECK, but the operator forgot a
    // partition. As bad data, every row of that day would be set aside.
    if told.code == "23514" && told.routine == NO_PARTITION && !told.names_constraint {
        return Class::Stop;
    }
    let matching = POSTGRES.iter().filter(|(prefix, _)| told.code.starts_with(prefix));
    let longest = matching.max_by_key(|(prefix, _)| prefix.len());
    let class = longest.map_or(Class::Uncertain, |(_, class)| *class);
    let reads_a_name = READ_A_NAME.contains(&told.routine)
        || told.routine.starts_with("reg") && told.routine.ends_with("in");
    let is_of_values = class == Class::Stop && (reads_a_name || told.routine == JUDGES_A_ROW);
    // A trigger may raise any code, whatever the server means by it.
    let is_raised = told.routine == RAISED
        && matches!(class, Class::Stop | Class::Unavailable | Class::Saturated | Class::Twice);
    if is_of_values || is_raised { Class::Uncertain } else { class }
}

/// The class of a MySQL or MariaDB error.
#[must_use]
pub fn mysql(told: Told<'_>) -> Class {
    let number = told.code.parse::<u16>();
    let listed =
        MYSQL.iter().find(|(_, numbers)| number.as_ref().is_ok_and(|n| numbers.contains(n)));
    listed.map_or(Class::Uncertain, |(class, _)| *class)
}

/// The class of an SQLite error.
#[must_use]
pub fn sqlite(told: Told<'_>) -> Class {
    let Ok(code) = told.code.parse::<u32>() else { return Class::Unavailable };
    // ON DELETE RESTRICT is told as an error of a trigger.
    if code == SQLITE_FOREIGN_KEY || told.message == SQLITE_FOREIGN_KEY_MESSAGE {
        return Class::MissingReference;
    }
    if code & 0xff == SQLITE_ERROR {
        if told.message == SQLITE_OVERFLOW {
            return Class::Data;
        }
        if SQLITE_SCHEMA.iter().any(|begin| told.message.starts_with(begin)) {
            return Class::Stop;
        }
    }
    let listed = SQLITE.iter().find(|(primary, _)| *primary == code & 0xff);
    listed.map_or(Class::Unavailable, |(_, class)| *class)
}

#[cfg(test)]
#[path = "tests/codes.rs"]
mod tests;
