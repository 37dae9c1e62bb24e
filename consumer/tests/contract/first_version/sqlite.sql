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
