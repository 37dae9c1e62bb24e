//! What every store must do, whatever its database: one suite, run for each.
//!
//! A database takes part with a [`Lab`] and one line, `contract!(ItsLab);`. Every test gets an empty
//! database of its own.

#![allow(dead_code, unreachable_pub, missing_docs, reason = "compiled into each store's own test")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "these are tests")]

pub mod offsets;
pub mod claims;
pub mod hand_overs;
pub mod rows;
pub mod inserts;
pub mod order;
pub mod refusals;
pub mod doubts;
pub mod catalogue;
pub mod tables;
pub mod types;
pub mod keys;
pub mod values;
pub mod letters;
pub mod replays;
pub mod versions;
pub mod snapshots;
pub mod model;
pub mod records;
pub mod cuts;
pub mod server;

use std::time::Duration;

use write_behind_consumer::core::batch::{LastRecord, Span, WriterSeen};
use write_behind_consumer::core::bookkeeping_key::BookkeepingKey;
use write_behind_consumer::core::record::{DeadLetter, RawRecord};
use write_behind_consumer::core::table::Table;
use write_behind_consumer::core::table::row::Row;
use write_behind_consumer::core::verdict::OnUncertain;
use write_behind_consumer::store::{
    AnyStore, Database, Outcome, Position, Store, StoreError, Timeouts, Transaction, WriteOptions,
};
use write_behind_shared::{Change, NextOffset, Offset, Partition};

/// An empty database.
pub trait Lab: Sized + Send + Sync {
    /// Makes one.
    fn new() -> impl Future<Output = Self> + Send;
    /// How many logs are cut in two ways.
    const LOGS: u32 = 12;
    /// Its type for a string of bytes.
    const BYTES: &'static str;
    /// Makes a trigger on `t` that sees each row that is proposed as an insert, writes its `id` to the
    /// table `proposed`, and refuses one whose `n` is negative.
    const SEES_PROPOSED: &'static str;
    /// Makes an INSERT into `t` fail, with a code that says nothing certain, where `doc` is `bad`.
    const REFUSE_BAD: &'static str;
    /// The same, whatever `doc` is.
    const REFUSE_ALL: &'static str;
    /// How to connect to it.
    fn database(&self) -> Database;
    /// Runs statements, past the store.
    fn sql(&self, sql: &str) -> impl Future<Output = ()> + Send;
    /// What a query of text columns finds, past the store.
    fn rows(&self, sql: &str) -> impl Future<Output = Vec<Vec<Option<String>>>> + Send;
    /// The statements by which the first version created its bookkeeping tables.
    const FIRST_VERSION: &'static str;
    /// Statements that rebuild the table `t`, and keep its rows.
    const MAINTENANCE: &'static [&'static str];
    /// Begins a transaction past the store that runs `sql`, and holds its locks until dropped.
    fn hold(&self, sql: &str) -> impl Future<Output = Box<dyn std::any::Any + Send>> + Send;
}

/// A table to write to, and a store that does.
pub struct Bench<L> {
    pub lab: L,
    pub store: AnyStore,
    pub table: Table,
    /// Where partition 0 stands.
    pub next: i64,
}

pub const WRITE_OPTIONS: WriteOptions = WriteOptions {
    rows_per_statement: 10_000,
    set_aside_max: usize::MAX,
    refuse_missing_references: true,
    on_uncertain: OnUncertain::Fail,
    in_log_order: true,
    folds_records: false,
};

pub fn scope() -> BookkeepingKey {
    let owned = |text: &str| text.to_owned();
    BookkeepingKey { pipeline: owned("p"), cluster: owned("c"), topic: owned("t") }
}

pub fn span(partition: i32, start: i64, end: i64) -> Span {
    let partition = Partition(partition);
    Span { partition, start: NextOffset(start), end: NextOffset(end) }
}

pub fn at(partition: i32, next: i64) -> Position {
    let partition = Partition(partition);
    Position { partition, next: NextOffset(next), partitions: 2, writers: Vec::new() }
}

/// A transaction that moves `spans` and does nothing else.
pub fn moving<'a>(
    scope: &'a BookkeepingKey,
    spans: &'a [Span],
    table: &'a Table,
) -> Transaction<'a> {
    Transaction::moving(scope, 2, spans, table, WRITE_OPTIONS)
}

pub fn record(offset: i64, key: &str, value: &str) -> RawRecord {
    RawRecord {
        partition: Partition(0),
        offset: Offset(offset),
        key: Some(key.as_bytes().into()),
        value: Some(value.as_bytes().into()),
        headers: vec![
            ("add".to_owned(), Some(b"n".as_slice().into())),
            ("raw".to_owned(), Some([0, 0xff].as_slice().into())),
            ("empty".to_owned(), None),
        ],
    }
}

pub fn letter(offset: i64) -> DeadLetter {
    DeadLetter {
        record: record(offset, "k", "{}"),
        reason: "a NUL \0 in it".to_owned(),
        sqlstate: None,
    }
}

impl<L: Lab> Bench<L> {
    /// Creates a table `t` with these columns and everything that writing to it needs.
    pub async fn with(lab: L, columns: &str) -> Self {
        lab.sql(&format!("CREATE TABLE t ({columns})")).await;
        Self::over(lab).await
    }

    /// Creates everything that writing to the table `t` needs.
    pub async fn over(lab: L) -> Self {
        let mut store = lab.database().connect(&Timeouts::STANDARD).await.unwrap();
        store.init().await.unwrap();
        store.begin_at(&scope(), &[at(0, 0), at(1, 0)]).await.unwrap();
        let table = store.describe("t", &[]).await.unwrap();
        Self { lab, store, table, next: 0 }
    }

    pub async fn another_store(&self) -> AnyStore {
        self.lab.database().connect(&Timeouts::STANDARD).await.unwrap()
    }

    pub fn row(&self, key: &str, change: &Change) -> Row<'static> {
        Row::judge(&self.table, key.as_bytes(), change).unwrap().into_owned()
    }

    /// Notes a change of the schema since the table was described, as a worker does.
    pub async fn described_again(&mut self) {
        let key: Vec<_> = self.table.key.iter().map(|column| column.name.clone()).collect();
        if let Ok(now) = self.store.describe(&self.table.sql_name, &key).await {
            self.table.identity = now.identity;
        }
    }

    /// Runs a transaction over partition 0; if it commits, it moves the offset by one.
    pub async fn run(
        &mut self,
        rows: &[(&str, Change)],
        more: impl FnOnce(&mut Transaction<'_>),
    ) -> Result<Outcome, StoreError> {
        self.described_again().await;
        let mut rows: Vec<Row<'_>> =
            rows.iter().map(|(key, change)| self.row(key, change)).collect();
        rows.sort_by(|a, b| a.key.cmp(&b.key));
        let (scope, spans) = (scope(), [span(0, self.next, self.next + 1)]);
        let mut transaction = Transaction { rows: &rows, ..moving(&scope, &spans, &self.table) };
        more(&mut transaction);
        let outcome = self.store.apply(&transaction).await;
        self.next += i64::from(matches!(outcome, Ok(Outcome::Committed { .. })));
        outcome
    }

    /// Writes rows that must be taken.
    pub async fn write(&mut self, rows: &[(&str, Change)]) {
        let outcome = self.run(rows, |_| {}).await;
        assert!(
            matches!(&outcome, Ok(Outcome::Committed { set_aside, .. }) if set_aside.is_empty()),
            "{outcome:?}"
        );
    }

    /// Whether a record of the row `key` is bad: it does not fit, or the database refuses it.
    pub async fn is_bad(&mut self, key: &str, change: Change) -> bool {
        if Row::judge(&self.table, key.as_bytes(), &change).is_err() {
            return true;
        }
        match self.run(&[(key, change)], |_| {}).await {
            Ok(Outcome::Rejected(places)) => places == [0],
            Ok(Outcome::Committed { .. }) => false,
            other => panic!("{key}: {other:?}"),
        }
    }

    /// Rows that must be refused, by their place in the order of their keys.
    pub async fn refused(&mut self, rows: &[(&str, Change)]) -> Vec<usize> {
        match self.run(rows, |_| {}).await {
            Ok(Outcome::Rejected(places)) => places,
            other => panic!("rows must be refused, not {other:?}"),
        }
    }

    /// The table `t`, its columns as text, sorted by the first.
    pub async fn table(&self, columns: &[&str]) -> Vec<String> {
        let casts: Vec<_> = columns.iter().map(|name| format!("CAST({name} AS text)")).collect();
        let rows = self.lab.rows(&format!("SELECT {} FROM t ORDER BY 1", casts.join(", "))).await;
        let shown = |value: Option<String>| value.unwrap_or_else(|| "NULL".to_owned());
        rows.into_iter()
            .map(|row| row.into_iter().map(shown).collect::<Vec<_>>().join(" "))
            .collect()
    }

    /// Where the bookkeeping says that partition 0 stands.
    pub async fn stands_at(&mut self) -> i64 {
        self.store.positions(&scope(), &[Partition(0)]).await.unwrap()[0].next.0
    }
}

/// Waits for what must happen soon, however busy the machine is.
pub async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_mins(5), what).await.expect("it takes too long")
}

/// Runs the whole contract for one lab.
#[macro_export]
macro_rules! contract {
    ($lab:ty) => {
        $crate::contract!($lab:
            offsets::the_bookkeeping_tables_can_be_created_twice,
            offsets::a_partition_is_unknown_until_it_begins_and_then_begins_once,
            offsets::a_transaction_moves_all_its_offsets_or_none,
            offsets::a_transaction_that_was_committed_already_is_fenced,
            offsets::a_zombie_and_the_new_owner_write_a_span_once,
            offsets::writers_never_go_back,
            offsets::writers_are_forgotten_with_the_offsets_and_only_those_before,
            offsets::an_earlier_consumers_writers_are_the_first_to_be_forgotten,
            offsets::the_last_record_is_noted_with_the_offsets_and_replaces_the_earlier_one,
            offsets::dead_letters_are_stored_with_the_offsets_and_stay_as_they_are,
            offsets::an_answer_that_does_not_come_breaks_the_connection,
            offsets::a_transaction_cut_off_at_any_moment_is_written_whole_or_not_at_all,
            offsets::transactions_that_meet_in_many_rows_all_finish,
            claims::a_table_belongs_to_the_topic_that_claims_it_first,
            claims::offsets_speak_of_one_table_and_another_one_is_refused,
            claims::a_table_that_was_dropped_and_created_again_is_refused,
            claims::nothing_is_written_to_a_table_that_was_replaced_since_it_was_described,
            claims::maintenance_that_keeps_the_rows_stops_nobody,
            claims::a_table_that_the_log_has_emptied_may_be_changed_under_a_route_at_work,
            claims::the_first_versions_tables_are_brought_up_to_date,
            claims::a_later_versions_tables_are_refused,
            claims::the_bookkeeping_tables_are_no_target,
            hand_overs::what_goes_on_takes_offsets_letters_and_the_table_along,
            hand_overs::what_begins_forgets_what_the_offsets_said,
            hand_overs::a_partition_that_is_moved_stands_there_and_the_others_where_they_stood,
            hand_overs::nothing_is_handed_over_once_the_offsets_have_moved,
            rows::values_take_their_columns_types,
            rows::a_partial_update_leaves_the_other_columns_alone,
            rows::an_increment_starts_from_nothing_where_there_is_nothing,
            rows::a_delete_and_what_comes_after_it_start_from_an_empty_row,
            rows::an_existing_row_may_be_updated_without_its_required_columns,
            rows::an_increment_is_checked_as_the_sum_it_makes,
            rows::a_row_that_two_partitions_have_gets_what_each_of_them_adds,
            rows::a_table_of_keys_only_takes_rows_once,
            rows::a_composite_key_is_one_key,
            rows::odd_names_are_only_names,
            rows::a_hundred_shapes_fit_one_transaction,
            rows::rows_beyond_a_statements_size_are_written_too,
            inserts::a_row_that_exists_is_not_proposed_to_a_trigger,
            inserts::a_row_that_exists_is_not_proposed_to_a_check_of_a_column_it_does_not_name,
            inserts::a_row_that_exists_is_not_proposed_to_a_generated_column,
            inserts::a_trigger_that_the_catalogue_did_not_tell_of_refuses_no_update,
            inserts::where_nothing_sees_a_proposed_row_one_statement_writes_it,
            order::a_child_and_its_parent_are_written_by_one_batch_whatever_columns_they_have,
            order::a_row_that_exists_is_moved_to_a_new_parent_of_the_same_batch,
            order::children_and_then_their_parents_are_deleted_by_one_batch,
            order::a_delete_that_reaches_no_other_row_leaves_a_batch_in_one_piece,
            order::records_that_are_taken_apart_keep_the_order_of_the_log,
            order::rows_that_refer_to_each_other_in_a_cycle_are_written_as_the_log_made_it,
            order::batches_end_in_log_order_where_deletes_cascade,
            order::batches_end_in_log_order_where_deletes_set_null,
            order::batches_end_in_log_order_where_parents_cannot_be_deleted,
            order::batches_end_in_log_order_where_deletes_are_restricted,
            order::what_a_delete_reaches_is_read_from_the_catalogue,
            refusals::the_refused_rows_are_found_wherever_they_stand,
            refusals::a_missing_required_column_is_refused_only_where_the_row_is_missing,
            refusals::a_sum_out_of_range_is_refused_and_not_rounded,
            refusals::single_records_are_tried_in_their_order_and_only_the_bad_are_set_aside,
            refusals::nothing_is_set_aside_where_that_is_not_wanted,
            refusals::a_transaction_that_met_an_error_commits_nothing,
            refusals::a_missing_reference_is_given_time_and_then_refused,
            refusals::a_missing_table_is_for_a_person_to_mend,
            doubts::an_uncertain_refusal_is_first_an_error_of_the_whole,
            doubts::rows_refused_for_an_uncertain_reason_are_found_wherever_they_stand,
            doubts::a_record_refused_alone_is_bad_only_beside_one_that_is_written,
            doubts::a_record_that_others_speak_against_is_set_aside_alone,
            doubts::where_no_row_can_be_written_none_is_blamed,
            doubts::a_row_that_stays_as_it_was_proves_nothing,
            doubts::a_transaction_tells_whether_it_wrote_a_row,
            catalogue::a_table_is_described_with_its_key,
            catalogue::a_column_counts_from_nothing_unless_its_default_is_something,
            catalogue::a_unique_key_may_be_named,
            catalogue::rows_go_by_the_key_that_was_named,
            catalogue::what_has_no_usable_key_is_refused_with_advice,
            letters::letters_are_found_by_what_is_known_of_them,
            letters::letters_are_closed_once_counted_and_deleted_when_they_are_old,
            letters::a_letter_is_replayed_once_and_only_while_it_is_open,
            letters::a_copy_is_remembered_and_goes_on_from_there,
            letters::a_letter_is_stored_whatever_it_holds,
            replays::a_letter_is_replayed_with_its_state_or_not_at_all,
            replays::a_letter_is_replayed_once_and_a_refused_one_changes_nothing,
            replays::no_letter_is_replayed_into_a_table_that_was_altered_since_it_was_described,
            replays::a_letter_of_an_older_version_is_superseded_by_the_row,
            versions::an_older_version_is_left_out_however_the_log_is_cut,
            versions::what_is_left_out_for_a_newer_version_is_counted,
            versions::versions_are_numbers_of_a_column_outside_of_the_key,
            snapshots::rows_that_differ_are_found_with_what_differs,
            snapshots::a_frozen_moment_stays_as_it_was_and_holds_nobody_up,
            snapshots::keys_are_read_a_page_at_a_time_and_none_is_left_out,
            tables::every_line_of_the_documented_tables_is_so,
            types::every_line_of_the_documented_types_is_so,
            values::a_value_of_any_kind_is_read_back_equal_or_is_bad,
            keys::two_keys_of_the_log_are_never_one_row,
            keys::a_null_that_the_database_would_fill_is_bad,
            model::any_batches_end_as_the_same_changes_one_by_one,
            model::any_batches_with_refused_rows_end_as_the_good_changes_one_by_one,
            cuts::rows_and_letters_do_not_depend_on_where_batches_end,
            cuts::rows_and_letters_of_a_table_with_checks_do_not_depend_on_where_batches_end,
            cuts::rows_and_letters_of_rows_with_versions_do_not_depend_on_where_batches_end,
            cuts::rows_and_letters_of_a_table_with_unique_keys_do_not_depend_on_where_batches_end,
            cuts::rows_and_letters_of_unique_keys_and_checks_do_not_depend_on_where_batches_end,
            cuts::rows_and_letters_of_unique_keys_and_versions_do_not_depend_on_where_batches_end,
        );
    };
    ($lab:ty: $($module:ident :: $test:ident),* $(,)?) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() {
                let lab = <$lab as contract::Lab>::new().await;
                contract::soon(contract::$module::$test(lab)).await;
            }
        )*
    };
}
