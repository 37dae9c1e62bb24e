//! The bookkeeping tables: their definitions, and the form of their values.
//!
//! These tables are a contract: other programs read them, and a newer consumer must understand an
//! older one's rows.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::core::record::DeadLetter;

/// The tables, for Postgres.
pub(crate) const CREATE_POSTGRES: &str = "
CREATE TABLE IF NOT EXISTS write_behind_offsets (
    pipeline text NOT NULL, cluster text NOT NULL, topic text NOT NULL, partition integer NOT NULL,
    next_offset bigint NOT NULL, partitions integer NOT NULL,
    updated_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (pipeline, cluster, topic, partition));
CREATE TABLE IF NOT EXISTS write_behind_writers (
    pipeline text NOT NULL, cluster text NOT NULL, topic text NOT NULL, partition integer NOT NULL,
    writer text NOT NULL, last_sequence bigint NOT NULL, last_offset bigint NOT NULL DEFAULT 0,
    updated_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (pipeline, cluster, topic, partition, writer));
CREATE TABLE IF NOT EXISTS write_behind_dead_letters (
    pipeline text NOT NULL, cluster text NOT NULL, topic text NOT NULL, partition integer NOT NULL,
    record_offset bigint NOT NULL, record_key bytea, record_value bytea,
    headers jsonb NOT NULL DEFAULT '[]', reason text NOT NULL, sqlstate text,
    failed_at timestamptz NOT NULL DEFAULT now(),
    state text NOT NULL DEFAULT 'open'
        CHECK (state IN ('open', 'replayed', 'discarded', 'superseded')),
    PRIMARY KEY (pipeline, cluster, topic, partition, record_offset));
CREATE TABLE IF NOT EXISTS write_behind_last_records (
    pipeline text NOT NULL, cluster text NOT NULL, topic text NOT NULL, partition integer NOT NULL,
    record_offset bigint NOT NULL, record_timestamp bigint NOT NULL,
    PRIMARY KEY (pipeline, cluster, topic, partition));
CREATE TABLE IF NOT EXISTS write_behind_tables (
    table_name text NOT NULL PRIMARY KEY,
    pipeline text NOT NULL, cluster text NOT NULL, topic text NOT NULL, identity text,
    since timestamptz NOT NULL DEFAULT now());
CREATE TABLE IF NOT EXISTS write_behind_schema (version integer NOT NULL PRIMARY KEY);
CREATE TABLE IF NOT EXISTS write_behind_dead_letter_copies (
    pipeline text NOT NULL, cluster text NOT NULL, topic text NOT NULL, partition integer NOT NULL,
    next_offset bigint NOT NULL,
    PRIMARY KEY (pipeline, cluster, topic, partition));
DO $$ BEGIN
    IF NOT EXISTS (SELECT FROM pg_attribute WHERE attname = 'last_offset'
        AND attrelid = to_regclass('write_behind_writers')) THEN
        ALTER TABLE write_behind_writers ADD COLUMN last_offset bigint NOT NULL DEFAULT 0;
    END IF;
    IF NOT EXISTS (SELECT FROM pg_attribute WHERE attname = 'identity'
        AND attrelid = to_regclass('write_behind_tables')) THEN
        ALTER TABLE write_behind_tables ADD COLUMN identity text;
    END IF;
END $$;
INSERT INTO write_behind_schema (version) VALUES (2) ON CONFLICT DO NOTHING;
";

/// The tables, for SQLite.
pub(crate) const CREATE_SQLITE: &str = "
CREATE TABLE IF NOT EXISTS write_behind_offsets (
    pipeline TEXT NOT NULL, cluster TEXT NOT NULL, topic TEXT NOT NULL, partition INTEGER NOT NULL,
    next_offset INTEGER NOT NULL, partitions INTEGER NOT NULL,
    updated_at TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP,
    PRIMARY KEY (pipeline, cluster, topic, partition));
CREATE TABLE IF NOT EXISTS write_behind_writers (
    pipeline TEXT NOT NULL, cluster TEXT NOT NULL, topic TEXT NOT NULL, partition INTEGER NOT NULL,
    writer TEXT NOT NULL, last_sequence INTEGER NOT NULL, last_offset INTEGER NOT NULL DEFAULT 0,
    updated_at TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP,
    PRIMARY KEY (pipeline, cluster, topic, partition, writer));
CREATE TABLE IF NOT EXISTS write_behind_dead_letters (
    pipeline TEXT NOT NULL, cluster TEXT NOT NULL, topic TEXT NOT NULL, partition INTEGER NOT NULL,
    record_offset INTEGER NOT NULL, record_key BLOB, record_value BLOB,
    headers TEXT NOT NULL DEFAULT '[]', reason TEXT NOT NULL, sqlstate TEXT,
    failed_at TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP,
    state TEXT NOT NULL DEFAULT 'open'
        CHECK (state IN ('open', 'replayed', 'discarded', 'superseded')),
    PRIMARY KEY (pipeline, cluster, topic, partition, record_offset));
CREATE TABLE IF NOT EXISTS write_behind_last_records (
    pipeline TEXT NOT NULL, cluster TEXT NOT NULL, topic TEXT NOT NULL, partition INTEGER NOT NULL,
    record_offset INTEGER NOT NULL, record_timestamp INTEGER NOT NULL,
    PRIMARY KEY (pipeline, cluster, topic, partition));
CREATE TABLE IF NOT EXISTS write_behind_tables (
    table_name TEXT NOT NULL PRIMARY KEY,
    pipeline TEXT NOT NULL, cluster TEXT NOT NULL, topic TEXT NOT NULL, identity TEXT,
    since TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP);
CREATE TABLE IF NOT EXISTS write_behind_schema (version INTEGER NOT NULL PRIMARY KEY);
CREATE TABLE IF NOT EXISTS write_behind_dead_letter_copies (
    pipeline TEXT NOT NULL, cluster TEXT NOT NULL, topic TEXT NOT NULL, partition INTEGER NOT NULL,
    next_offset INTEGER NOT NULL,
    PRIMARY KEY (pipeline, cluster, topic, partition));
";

/// The tables, for MySQL and MariaDB. Text keys compare by code point, and are as long as an index
/// can hold.
pub(crate) const CREATE_MYSQL: &str = r#"
CREATE TABLE IF NOT EXISTS write_behind_offsets (
    pipeline varchar(255) NOT NULL, cluster varchar(120) NOT NULL, topic varchar(249) NOT NULL,
    "partition" integer NOT NULL, next_offset bigint NOT NULL, partitions integer NOT NULL,
    updated_at timestamp(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6),
    PRIMARY KEY (pipeline, cluster, topic, "partition"))
    ENGINE = InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
CREATE TABLE IF NOT EXISTS write_behind_writers (
    pipeline varchar(255) NOT NULL, cluster varchar(120) NOT NULL, topic varchar(249) NOT NULL,
    "partition" integer NOT NULL, writer varchar(36) NOT NULL, last_sequence bigint NOT NULL,
    last_offset bigint NOT NULL DEFAULT 0,
    updated_at timestamp(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6),
    PRIMARY KEY (pipeline, cluster, topic, "partition", writer))
    ENGINE = InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
CREATE TABLE IF NOT EXISTS write_behind_dead_letters (
    pipeline varchar(255) NOT NULL, cluster varchar(120) NOT NULL, topic varchar(249) NOT NULL,
    "partition" integer NOT NULL, record_offset bigint NOT NULL, record_key longblob,
    record_value longblob, headers json NOT NULL DEFAULT (json_array()), reason text NOT NULL,
    "sqlstate" varchar(10), failed_at timestamp(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6),
    state varchar(20) NOT NULL DEFAULT 'open'
        CHECK (state IN ('open', 'replayed', 'discarded', 'superseded')),
    PRIMARY KEY (pipeline, cluster, topic, "partition", record_offset))
    ENGINE = InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
CREATE TABLE IF NOT EXISTS write_behind_dead_letter_copies (
    pipeline varchar(255) NOT NULL, cluster varchar(120) NOT NULL, topic varchar(249) NOT NULL,
    "partition" integer NOT NULL, next_offset bigint NOT NULL,
    PRIMARY KEY (pipeline, cluster, topic, "partition"))
    ENGINE = InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
CREATE TABLE IF NOT EXISTS write_behind_last_records (
    pipeline varchar(255) NOT NULL, cluster varchar(120) NOT NULL, topic varchar(249) NOT NULL,
    "partition" integer NOT NULL, record_offset bigint NOT NULL, record_timestamp bigint NOT NULL,
    PRIMARY KEY (pipeline, cluster, topic, "partition"))
    ENGINE = InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
CREATE TABLE IF NOT EXISTS write_behind_tables (
    table_name varchar(300) NOT NULL PRIMARY KEY,
    pipeline varchar(255) NOT NULL, cluster varchar(120) NOT NULL, topic varchar(249) NOT NULL,
    identity varchar(255), since timestamp(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6))
    ENGINE = InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
CREATE TABLE IF NOT EXISTS write_behind_schema (version integer NOT NULL PRIMARY KEY)
    ENGINE = InnoDB;
"#;

/// Steps from an earlier consumer's tables to these: what finds a row if the step is still to be
/// made, and the step. For SQLite.
pub(crate) const STEPS_SQLITE: &[(&str, &str)] = &[
    (
        "SELECT 1 WHERE NOT EXISTS (SELECT 1
            FROM pragma_table_info('write_behind_writers') WHERE name = 'last_offset')",
        ADD_LAST_OFFSET,
    ),
    (
        "SELECT 1 WHERE NOT EXISTS (SELECT 1
            FROM pragma_table_info('write_behind_tables') WHERE name = 'identity')",
        "ALTER TABLE write_behind_tables ADD COLUMN identity TEXT",
    ),
    (LACKS_VERSION, ADD_VERSION),
];

/// The same, for MySQL and MariaDB.
pub(crate) const STEPS_MYSQL: &[(&str, &str)] = &[
    (
        "SELECT 1 FROM DUAL WHERE NOT EXISTS (SELECT 1
            FROM information_schema.columns WHERE table_schema = database()
                AND table_name = 'write_behind_writers' AND column_name = 'last_offset')",
        ADD_LAST_OFFSET,
    ),
    (
        "SELECT 1 FROM DUAL WHERE NOT EXISTS (SELECT 1
            FROM information_schema.columns WHERE table_schema = database()
                AND table_name = 'write_behind_tables' AND column_name = 'identity')",
        "ALTER TABLE write_behind_tables ADD COLUMN identity varchar(255)",
    ),
    (LACKS_VERSION, ADD_VERSION),
];

const ADD_LAST_OFFSET: &str =
    "ALTER TABLE write_behind_writers ADD COLUMN last_offset bigint NOT NULL DEFAULT 0";

const LACKS_VERSION: &str = "SELECT 1 FROM (SELECT max(version) AS version FROM \
     write_behind_schema) AS s WHERE s.version IS NULL";

/// The last step: who finds this version finds all that comes before.
const ADD_VERSION: &str = "INSERT INTO write_behind_schema (version) VALUES (2)";

/// The most characters of a letter's reason, which may quote the record.
const REASON_CHARS: usize = 2_000;

/// How a letter's texts are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spelling {
    /// In their own characters.
    AsTheyAre,
    /// In ASCII, which every encoding of a database has: another character is written as `\u{e9}`.
    Ascii,
}

impl Spelling {
    /// A text as a text column can hold it.
    fn of(self, text: &str) -> String {
        let text = text.replace('\0', "\u{fffd}");
        let escaped =
            |c: char| if c.is_ascii() { c.to_string() } else { format!("\\u{{{:x}}}", c as u32) };
        match self {
            Spelling::AsTheyAre => text,
            Spelling::Ascii => text.chars().map(escaped).collect(),
        }
    }

    /// Whether a column can hold the text as it is.
    fn holds(self, text: &str) -> bool {
        !text.contains('\0') && (self == Spelling::AsTheyAre || text.is_ascii())
    }
}

/// A letter's headers as JSON: objects with `name` and `value`, in their order, or `base64` where
/// the value is not a text that the column can hold.
pub(crate) fn headers(letter: &DeadLetter, spelling: Spelling) -> String {
    let headers = letter.record.headers.iter().map(|(name, value)| {
        let name = spelling.of(name);
        let text = value.as_deref().map(std::str::from_utf8);
        match text {
            None => json!({"name": name, "value": Value::Null}),
            Some(Ok(text)) if spelling.holds(text) => json!({"name": name, "value": text}),
            Some(_) => {
                let bytes = value.as_deref().unwrap_or_default();
                json!({"name": name, "base64": STANDARD.encode(bytes)})
            }
        }
    });
    Value::Array(headers.collect()).to_string()
}

/// A letter's reason as a text column can hold it.
pub(crate) fn reason(reason: &str, spelling: Spelling) -> String {
    let cut: String = reason.chars().take(REASON_CHARS).collect();
    spelling.of(&cut)
}

/// A sequence as a database integer. No writer counts beyond its range; a record that claims to is
/// stored as the largest integer.
pub(crate) fn sequence(sequence: u64) -> i64 {
    i64::try_from(sequence).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use write_behind_shared::{Offset, Partition};

    use super::*;
    use crate::core::record::RawRecord;

    #[test]
    fn a_reason_is_cut_by_characters_and_holds_no_nul() {
        let cut = |text: &str| reason(text, Spelling::AsTheyAre);
        assert_eq!(cut("a \0"), "a \u{fffd}");
        assert_eq!(cut(&"ü".repeat(REASON_CHARS + 1)), "ü".repeat(REASON_CHARS));
    }

    #[test]
    fn in_ascii_a_letter_keeps_its_headers_values_byte_for_byte() {
        assert_eq!(reason("né \0 😀", Spelling::Ascii), r"n\u{e9} \u{fffd} \u{1f600}");
        let header = |name: &str, value: &str| (name.to_owned(), Some(value.as_bytes().into()));
        let record = RawRecord {
            partition: Partition(0),
            offset: Offset(0),
            key: None,
            value: None,
            headers: vec![header("é", "é"), header("a", "b")],
        };
        let letter = DeadLetter { record, reason: String::new(), sqlstate: None };
        let expected = r#"[{"base64":"w6k=","name":"\\u{e9}"},{"name":"a","value":"b"}]"#;
        assert_eq!(headers(&letter, Spelling::Ascii), expected);
    }
}
