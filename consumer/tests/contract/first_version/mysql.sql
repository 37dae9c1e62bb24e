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
