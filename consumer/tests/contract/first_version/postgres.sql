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
