//! What becomes of rows.

use serde_json::{Value, json};

use super::*;

pub(super) fn set(value: &Value) -> Change {
    Change::of(value).unwrap()
}

pub async fn values_take_their_columns_types<L: Lab>(lab: L) {
    let columns = format!(
        "id integer PRIMARY KEY, small smallint, flag boolean, exact numeric(30, 10), \
         ratio double precision, note text, day date, uid uuid, doc jsonb, raw {}",
        L::BYTES
    );
    let mut bench = Bench::with(lab, &columns).await;
    let full = json!({
        "small": "-7", "flag": true, "exact": "12.5", "ratio": 0.25, "note": "né\"\\,{}",
        "day": "2013-01-31", "uid": "0011aabb-2233-4455-8677-8899aabbccdd", "doc": [1],
        "raw": "AP8="
    });
    let empty = json!({
        "small": null, "flag": false, "exact": null, "ratio": null, "note": null, "day": null,
        "uid": null, "doc": null, "raw": null
    });
    bench.write(&[("1", set(&full)), ("2", set(&empty))]).await;
    let shown = ["id", "small", "flag", "ratio", "note", "day", "uid", "doc"];
    let truth = bench.lab.rows("SELECT CAST(flag AS text) FROM t ORDER BY id").await;
    let [yes, no] = [0, 1].map(|row| truth[row][0].clone().unwrap());
    assert!(["true", "1"].contains(&&*yes) && ["false", "0"].contains(&&*no), "{truth:?}");
    assert_eq!(
        bench.table(&shown).await,
        [
            format!(
                "1 -7 {yes} 0.25 né\"\\,{{}} 2013-01-31 0011aabb-2233-4455-8677-8899aabbccdd [1]"
            ),
            format!("2 NULL {no} NULL NULL NULL NULL NULL"),
        ]
    );
    let bytes = bench.lab.rows("SELECT CAST(length(raw) AS text) FROM t WHERE exact = 12.5").await;
    assert_eq!(bytes, [[Some("2".to_owned())]]);
}

pub async fn a_partial_update_leaves_the_other_columns_alone(lab: impl Lab) {
    let mut bench = Bench::with(lab, "id integer PRIMARY KEY, a integer DEFAULT 9, b text").await;
    bench.write(&[("1", set(&json!({"a": 1, "b": "x"}))), ("2", set(&json!({"b": "y"})))]).await;
    bench.write(&[("1", set(&json!({"b": null}))), ("2", set(&json!({"a": 2})))]).await;
    bench.write(&[("3", Change::new()), ("1", Change::new())]).await;
    assert_eq!(bench.table(&["id", "a", "b"]).await, ["1 1 NULL", "2 2 y", "3 9 NULL"]);
}

pub async fn an_increment_starts_from_nothing_where_there_is_nothing(lab: impl Lab) {
    let columns = "id integer PRIMARY KEY, n bigint DEFAULT 0, x numeric(20, 2)";
    let mut bench = Bench::with(lab, columns).await;
    bench.lab.sql("INSERT INTO t (id, n) VALUES (2, NULL)").await;
    bench.lab.sql("INSERT INTO t (id) VALUES (3)").await;
    let add = |n: i64| Change::new().add("n", n).add("x", n);
    bench.write(&[("1", add(5)), ("2", add(6)), ("3", add(-7))]).await;
    bench.write(&[("1", add(-10)), ("3", add(i64::from(u32::MAX)))]).await;
    assert_eq!(bench.table(&["id", "n"]).await, ["1 -5", "2 6", "3 4294967288"]);
    let exact = "SELECT CAST(count(*) AS text) FROM t WHERE (id, x) IN ((1, -5), (2, 6))";
    assert_eq!(bench.lab.rows(exact).await, [[Some("2".to_owned())]]);
}

pub async fn a_delete_and_what_comes_after_it_start_from_an_empty_row(lab: impl Lab) {
    let columns = "id integer PRIMARY KEY, n bigint, b text DEFAULT 'd'";
    let mut bench = Bench::with(lab, columns).await;
    let start = set(&json!({"n": 1, "b": "x"}));
    bench.write(&["1", "2", "3", "4"].map(|key| (key, start.clone()))).await;
    let again = |after: Change| {
        let mut change = Change::delete();
        change.fold(after);
        change
    };
    bench
        .write(&[
            ("1", Change::delete()),
            ("2", again(Change::new().add("n", 7))),
            ("3", again(Change::new())),
            ("5", Change::delete()),
        ])
        .await;
    assert_eq!(bench.table(&["id", "n", "b"]).await, ["2 7 d", "3 NULL d", "4 1 x"]);
}

pub async fn an_existing_row_may_be_updated_without_its_required_columns(lab: impl Lab) {
    let columns = "id integer PRIMARY KEY, name text NOT NULL, n bigint NOT NULL, b text";
    let mut bench = Bench::with(lab, columns).await;
    let start = set(&json!({"name": "x", "n": 1}));
    bench.write(&["1", "2", "3"].map(|key| (key, start.clone()))).await;
    bench
        .write(&[
            ("1", set(&json!({"b": "only"}))),
            ("2", Change::new().add("n", 5)),
            ("3", Change::new()),
            ("4", set(&json!({"name": "new", "n": 4}))),
        ])
        .await;
    assert_eq!(
        bench.table(&["id", "name", "n", "b"]).await,
        ["1 x 1 only", "2 x 6 NULL", "3 x 1 NULL", "4 new 4 NULL"]
    );
}

pub async fn an_increment_is_checked_as_the_sum_it_makes(lab: impl Lab) {
    let columns = "id integer PRIMARY KEY, stock bigint CHECK (stock >= 0)";
    let mut bench = Bench::with(lab, columns).await;
    bench.write(&[("1", set(&json!({"stock": 5}))), ("2", set(&json!({"stock": 1})))]).await;
    let take = |n: i64| Change::new().add("stock", -n);
    bench.write(&[("1", take(3)), ("3", Change::new().add("stock", 8))]).await;
    assert_eq!(bench.table(&["id", "stock"]).await, ["1 2", "2 1", "3 8"]);
    assert_eq!(bench.refused(&[("1", take(1)), ("2", take(2)), ("4", take(1))]).await, [1, 2]);
}

pub async fn a_row_that_two_partitions_have_gets_what_each_of_them_adds(lab: impl Lab) {
    let mut bench = Bench::with(lab, "id integer PRIMARY KEY, n bigint").await;
    let add = |n: i64| Change::new().add("n", n);
    let rows = [("1", add(1)), ("1", add(2)), ("1", add(4)), ("2", add(1))];
    for checked in [false, true] {
        if checked {
            // From here on rows that exist are updated before any is inserted.
            bench.lab.sql("DROP TABLE t").await;
            bench.lab.sql("CREATE TABLE t (id integer PRIMARY KEY, n bigint CHECK (n > 0))").await;
        }
        bench.write(&rows).await;
        bench.write(&rows).await;
        assert_eq!(bench.table(&["id", "n"]).await, ["1 14", "2 2"], "checked: {checked}");
    }
}

pub async fn a_table_of_keys_only_takes_rows_once(lab: impl Lab) {
    let mut bench = Bench::with(lab, "a text, b integer, PRIMARY KEY (a, b)").await;
    let keys = [r#"{"a":"x","b":1}"#, r#"{"a":"x","b":2}"#];
    bench.write(&keys.map(|key| (key, Change::new()))).await;
    bench.write(&keys.map(|key| (key, Change::new()))).await;
    bench.write(&[(keys[0], Change::delete())]).await;
    assert_eq!(bench.table(&["a", "b"]).await, ["x 2"]);
}

pub async fn a_composite_key_is_one_key(lab: impl Lab) {
    let columns = "tenant text, flag boolean, day date, id bigint, n bigint, \
                   PRIMARY KEY (tenant, id, flag, day)";
    let mut bench = Bench::with(lab, columns).await;
    let key = |tenant: &str, id: i64| {
        format!(r#"{{"day":"2013-01-31","flag":true,"id":{id},"tenant":"{tenant}"}}"#)
    };
    let keys = [key("a", 1), key("a", 2), key("b", 1), key("b\\\"", -1)];
    for _ in 0..2 {
        let rows: Vec<_> = keys.iter().map(|key| (&**key, Change::new().add("n", 1))).collect();
        bench.write(&rows).await;
    }
    bench.write(&[(&keys[0], Change::delete())]).await;
    assert_eq!(bench.table(&["tenant", "id", "n"]).await, ["a 2 2", "b 1 2", "b\" -1 2"]);
}

pub async fn odd_names_are_only_names<L: Lab>(lab: L) {
    lab.sql(
        r#"CREATE TABLE "Odd ""Table""; --" ("Id" text PRIMARY KEY, "select" bigint,
           "a""b" text NOT NULL, "$1" text, "t" text, "g" bigint)"#,
    )
    .await;
    let mut bench = Bench::with(lab, "id integer PRIMARY KEY").await;
    let name = r#""Odd ""Table""; --""#;
    bench.table = bench.store.describe(name, &[]).await.unwrap();
    let key = "x'; DROP TABLE t; --\u{1f600}";
    let full = set(&json!({"select": 1, "a\"b": "'", "$1": "$1", "t": "t"}));
    bench.write(&[(key, full)]).await;
    bench.write(&[(key, Change::new().add("select", 1).add("g", 2).set("t", "u").unwrap())]).await;
    let query = format!(
        r#"SELECT "Id", CAST("select" AS text), "a""b", "$1", "t", CAST("g" AS text) FROM {name}"#
    );
    let row = [key, "2", "'", "$1", "u", "2"].map(|text| Some(text.to_owned()));
    assert_eq!(bench.lab.rows(&query).await, [row]);
    bench.write(&[(key, Change::delete())]).await;
    assert_eq!(bench.lab.rows(&query).await.len(), 0);
}

pub async fn a_hundred_shapes_fit_one_transaction(lab: impl Lab) {
    let columns: Vec<_> = (0..7).map(|at| format!("c{at} bigint")).collect();
    let columns = format!("id integer PRIMARY KEY, {}", columns.join(", "));
    let mut bench = Bench::with(lab, &columns).await;
    let keys: Vec<_> = (0..128_u32).map(|key| key.to_string()).collect();
    let change = |bits: u32| {
        let columns = (0..7).filter(|at| bits >> at & 1 == 1);
        columns.fold(Change::new(), |change, at| match (bits + at) % 2 {
            0 => change.add(&format!("c{at}"), bits),
            _ => change.set(&format!("c{at}"), &bits).unwrap(),
        })
    };
    let rows: Vec<_> = keys.iter().zip(0..).map(|(key, bits)| (&**key, change(bits))).collect();
    bench.write(&rows).await;
    let sums: Vec<_> = (0..7).map(|at| format!("coalesce(c{at}, 0)")).collect();
    let wrong = format!(
        "SELECT CAST(id AS text) FROM t WHERE {} <> id * ({})",
        sums.join(" + "),
        (0..7).map(|at| format!("(id / {} % 2)", 1 << at)).collect::<Vec<_>>().join(" + ")
    );
    assert_eq!(bench.lab.rows(&wrong).await, Vec::<Vec<Option<String>>>::new());
}

pub async fn rows_beyond_a_statements_size_are_written_too(lab: impl Lab) {
    let mut bench = Bench::with(lab, "id integer PRIMARY KEY, n bigint").await;
    let keys: Vec<_> = (0..25).map(|key: u32| key.to_string()).collect();
    let all = |change: Change| keys.iter().map(|key| (&**key, change.clone())).collect::<Vec<_>>();
    for change in [Change::new().add("n", 1), Change::new().add("n", 1), Change::delete()] {
        let outcome = bench
            .run(&all(change.clone()), |transaction| {
                transaction.options = WriteOptions { rows_per_statement: 4, ..WRITE_OPTIONS };
            })
            .await;
        assert!(matches!(outcome, Ok(Outcome::Committed { .. })), "{outcome:?}");
        let expected = if change.resets() { 0 } else { 25 };
        assert_eq!(bench.table(&["n"]).await.len(), expected);
    }
}
