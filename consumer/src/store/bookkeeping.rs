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
    pipeline text NOT NULL, cluster text NOT NULL, topic text NOT NULL,
    since timestamptz NOT NULL DEFAULT now());
CREATE TABLE IF NOT EXISTS write_behind_dead_letter_copies (
    pipeline text NOT NULL, cluster text NOT NULL, topic text NOT NULL, partition integer NOT NULL,
    next_offset bigint NOT NULL,
    PRIMARY KEY (pipeline, cluster, topic, partition));
DO $$ BEGIN
    IF NOT EXISTS (SELECT FROM pg_attribute WHERE attname = 'last_offset'
        AND attrelid = to_regclass('write_behind_writers')) THEN
        ALTER TABLE write_behind_writers ADD COLUMN last_offset bigint NOT NULL DEFAULT 0;
    END IF;
END $$;
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
    pipeline TEXT NOT NULL, cluster TEXT NOT NULL, topic TEXT NOT NULL,
    since TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP);
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
    since timestamp(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6))
    ENGINE = InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
"#;

/// Finds a row if `last_offset` is missing, because an earlier consumer created the table. For
/// SQLite.
pub(crate) const LACKS_LAST_OFFSET_SQLITE: &str = "SELECT 1 WHERE NOT EXISTS (SELECT 1
    FROM pragma_table_info('write_behind_writers') WHERE name = 'last_offset')";

/// The same, for MySQL and MariaDB.
pub(crate) const LACKS_LAST_OFFSET_MYSQL: &str = "SELECT 1 FROM DUAL WHERE NOT EXISTS (SELECT 1
    FROM information_schema.columns WHERE table_schema = database()
        AND table_name = 'write_behind_writers' AND column_name = 'last_offset')";

/// Adds the column.
pub(crate) const ADD_LAST_OFFSET: &str =
    "ALTER TABLE write_behind_writers ADD COLUMN last_offset bigint NOT NULL DEFAULT 0";

/// The compare-and-set. Parameters: scope, partition, start, end, partitions.
pub(crate) const MOVE_OFFSET: &str = "UPDATE write_behind_offsets
    SET next_offset = $6, partitions = $7, updated_at = CURRENT_TIMESTAMP
    WHERE pipeline = $1 AND cluster = $2 AND topic = $3 AND partition = $4 AND next_offset = $5";

/// The most characters of a letter's reason, which may quote the record.
const REASON_CHARS: usize = 2_000;

/// A letter's headers as JSON: objects with `name` and `value`, in their order, or `base64` where
/// the value is not text.
pub(crate) fn headers(letter: &DeadLetter) -> String {
    let headers = letter.record.headers.iter().map(|(name, value)| {
        let name = without_nul(name);
        let text = value.as_deref().map(std::str::from_utf8);
        match text {
            None => json!({"name": name, "value": Value::Null}),
            Some(Ok(text)) if !text.contains('\0') => json!({"name": name, "value": text}),
            Some(_) => {
                let bytes = value.as_deref().unwrap_or_default();
                json!({"name": name, "base64": STANDARD.encode(bytes)})
            }
        }
    });
    Value::Array(headers.collect()).to_string()
}

/// A letter's reason as a text column can hold it.
pub(crate) fn reason(letter: &DeadLetter) -> String {
    reason_of(&letter.reason)
}

/// A reason as a text column can hold it.
pub(crate) fn reason_of(reason: &str) -> String {
    without_nul(reason).chars().take(REASON_CHARS).collect()
}

/// A sequence as a database integer. No writer counts beyond its range; a record that claims to is
/// stored as the largest integer.
pub(crate) fn sequence(sequence: u64) -> i64 {
    i64::try_from(sequence).unwrap_or(i64::MAX)
}

fn without_nul(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_cut_by_characters_and_holds_no_nul() {
        assert_eq!(reason_of("a \0"), "a \u{fffd}");
        assert_eq!(reason_of(&"ü".repeat(REASON_CHARS + 1)), "ü".repeat(REASON_CHARS));
    }
}
