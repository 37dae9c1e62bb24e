//! The columns by which two rows of a table can be in each other's way, as the catalogue tells them.

use write_behind_consumer::store::Store as _;

use super::bench;
use crate::contract::Lab as _;

#[tokio::test]
async fn the_columns_of_unique_keys_are_known_and_where_they_do_not_decide_alone_none_are() {
    let mut bench = bench("id integer PRIMARY KEY").await;
    let function = "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN new; END'; \
                    CREATE EXTENSION btree_gist";
    bench.lab.sql(function).await;
    let known: &[(&str, &str, Option<&[&str]>)] = &[
        ("n integer", "", Some(&[])),
        ("mail text UNIQUE", "", Some(&["mail"])),
        ("a integer, b integer DEFAULT 5, UNIQUE (a, b)", "", Some(&["a", "b"])),
        ("a integer DEFAULT 5 UNIQUE", "", None),
        (
            "mail text, live boolean",
            "CREATE UNIQUE INDEX ON u (mail) WHERE live",
            Some(&["live", "mail"]),
        ),
        ("mail text", "CREATE UNIQUE INDEX ON u (lower(mail))", None),
        ("a integer, b integer GENERATED ALWAYS AS (a) STORED UNIQUE", "", None),
        ("mail text, UNIQUE NULLS NOT DISTINCT (mail)", "", None),
        ("a integer, r int4range, EXCLUDE USING gist (a WITH =, r WITH &&)", "", Some(&["a", "r"])),
        (
            "mail text UNIQUE",
            "CREATE TRIGGER x BEFORE INSERT ON u FOR EACH ROW EXECUTE FUNCTION f()",
            None,
        ),
    ];
    for (columns, then, expected) in known {
        let create = format!("CREATE TABLE u (id integer PRIMARY KEY, {columns}); {then}");
        bench.lab.sql(&create).await;
        let table = bench.store.describe("u", &[]).await.unwrap();
        let contested = table.contested.map(|mut names| {
            names.sort();
            names
        });
        let expected = expected.map(|names| names.iter().map(|&name| name.to_owned()).collect());
        assert_eq!(contested, expected, "{create}");
        bench.lab.sql("DROP TABLE u").await;
    }
    let parts = "CREATE TABLE u (id integer PRIMARY KEY, mail text) PARTITION BY HASH (id); \
                 CREATE TABLE p PARTITION OF u FOR VALUES WITH (MODULUS 1, REMAINDER 0); \
                 CREATE UNIQUE INDEX ON p (mail)";
    bench.lab.sql(parts).await;
    let table = bench.store.describe("u", &[]).await.unwrap();
    assert_eq!(table.contested, Some(vec!["mail".to_owned()]), "a partition's own key");
}
