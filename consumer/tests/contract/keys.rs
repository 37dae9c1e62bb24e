//! Keys: whatever texts the log has for keys, each is a row of its own or bad, and what the database
//! would put in the place of a NULL.

use proptest::strategy::{Strategy as _, ValueTree as _};
use proptest::test_runner::TestRunner;
use write_behind_consumer::store::snapshot::Snapshot as _;

use super::*;

/// The scheme of the database's URL.
fn scheme(lab: &impl Lab) -> String {
    let database = format!("{:?}", lab.database());
    database.split(':').next().unwrap_or_default().to_owned()
}

/// Types that a key may be of, for each database: those that it has.
fn key_types(lab: &impl Lab) -> (&'static str, &'static [&'static str]) {
    match &*scheme(lab) {
        "postgres" => (
            "CREATE DOMAIN code AS varchar(2); CREATE DOMAIN id AS integer; \
             CREATE DOMAIN label AS text; CREATE DOMAIN tag AS label",
            &[
                "smallint",
                "integer",
                "bigint",
                "boolean",
                "text",
                "varchar",
                "varchar(2)",
                "varchar(3) COLLATE \"C\"",
                "uuid",
                "date",
                "code",
                "id",
                "label",
                "tag",
            ],
        ),
        "mysql" => (
            "",
            &[
                "tinyint",
                "smallint",
                "mediumint unsigned",
                "int",
                "int(5) zerofill",
                "bigint",
                "bigint unsigned",
                "boolean",
                "varchar(2)",
                "varchar(64)",
                "uuid",
                "date",
            ],
        ),
        _ => (
            "",
            &[
                "integer",
                "int",
                "smallint",
                "boolean",
                "text",
                "varchar(2)",
                "char(2)",
                "clob",
                "uuid",
                "date",
                "",
            ],
        ),
    }
}

/// Texts that some database holds for equal, or changes.
const TEXTS: &[&str] = &[
    "US",
    "US ",
    "US  ",
    " US",
    "us",
    "Us",
    "Ús",
    "U\u{301}s",
    "ÚS",
    "ß",
    "ss",
    "é",
    "e\u{301}",
    "É",
    "ﬁ",
    "fi",
    "",
    " ",
    "  ",
    "\t",
    "\n",
    "a\n",
    "a",
    "A",
    "a ",
    "\\",
    "'",
    "\"",
    "\u{200b}",
    "\u{feff}a",
    "0",
    "-0",
    "1",
    "01",
    "1.0",
    "+1",
    " 1",
    "1 ",
    "1e0",
    "10",
    "1e1",
    "0x1",
    "127",
    "128",
    "-1",
    "007",
    "9223372036854775807",
    "9223372036854775808",
    "9007199254740993",
    "9007199254740992",
    "true",
    "t",
    "TRUE",
    "false",
    "f",
    "yes",
    "2013-01-31",
    "2013-1-31",
    "20130131",
    "2013-01-31 ",
    "2013-01-31 10:00",
    "2013-02-30",
    "today",
    "infinity",
    "0000-00-00",
    "0000-01-01",
    "0001-01-01",
    "9999-12-31",
    "10000-01-01",
    "0011aabb-2233-4455-8677-8899aabbccdd",
    "0011AABB-2233-4455-8677-8899AABBCCDD",
    "{0011aabb-2233-4455-8677-8899aabbccdd}",
    "0011aabb2233445586778899aabbccdd",
    "0011aabb22334455-8677-8899aabbccdd",
    "ffffffff-ffff-ffff-ffff-ffffffffffff",
];

/// Short texts of few letters, so that many are nearly equal.
fn random_texts() -> Vec<String> {
    let mut runner = TestRunner::deterministic();
    let text = "[aAéE\u{301} 019.+-]{0,4}";
    (0..30).map(|_| text.new_tree(&mut runner).unwrap().current()).collect()
}

pub async fn two_keys_of_the_log_are_never_one_row(lab: impl Lab) {
    let (set_up, types) = key_types(&lab);
    lab.sql(set_up).await;
    let mut bench = Bench::with(lab, "id integer PRIMARY KEY").await;
    let texts: std::collections::BTreeSet<String> =
        TEXTS.iter().map(|text| (*text).to_owned()).chain(random_texts()).collect();
    for (place, of) in types.iter().enumerate() {
        let table = format!("k{place}");
        bench.lab.sql(&format!("CREATE TABLE {table} (k {of} PRIMARY KEY, n integer)")).await;
        bench.table = bench.store.describe(&table, &[]).await.unwrap();
        let mut keys: Vec<&str> = Vec::new();
        // The longest first: one that was cut off must not be found to be there already.
        for text in texts.iter().rev() {
            if !bench.is_bad(text, Change::new().add("n", 1)).await {
                keys.push(text);
            }
        }
        keys.reverse();
        assert!(keys.len() > 1, "{of} has keys");
        assert_eq!(rows(&mut bench).await, keys, "each row of {of} has a key of the log");
        let numbered = keys.iter().zip(0..);
        let numbered =
            numbered.map(|(key, n): (_, i32)| (*key, Change::new().set("n", &n).unwrap()));
        bench.write(&numbered.collect::<Vec<_>>()).await;
        let query = format!("SELECT CAST(count(DISTINCT n) AS text) FROM {table}");
        let count = Some(keys.len().to_string());
        assert_eq!(bench.lab.rows(&query).await, [[count]], "each row of {of} is updated alone");
        let deleted = keys.iter().step_by(2).map(|key| (*key, Change::delete()));
        bench.write(&deleted.collect::<Vec<_>>()).await;
        let left: Vec<&str> = keys.into_iter().skip(1).step_by(2).collect();
        assert_eq!(rows(&mut bench).await, left, "each row of {of} is deleted alone");
    }
}

/// The keys that the table has, sorted by their bytes.
async fn rows<L: Lab>(bench: &mut Bench<L>) -> Vec<String> {
    let mut found = bench.store.keys(&bench.table, None, 1_000).await.unwrap().concat();
    found.sort();
    found
}

pub async fn a_null_that_the_database_would_fill_is_bad(lab: impl Lab) {
    let columns = match &*scheme(&lab) {
        "mysql" => {
            "k integer NOT NULL UNIQUE, filled integer AUTO_INCREMENT PRIMARY KEY, \
             at timestamp NOT NULL DEFAULT '2001-01-01', plain timestamp NULL"
        }
        "sqlite" => {
            "k integer NOT NULL UNIQUE, filled INTEGER PRIMARY KEY, at text NOT NULL DEFAULT '', \
             plain text"
        }
        _ => {
            "k integer NOT NULL UNIQUE, filled serial PRIMARY KEY, \
             at timestamptz NOT NULL DEFAULT now(), plain timestamptz DEFAULT now()"
        }
    };
    let mut bench = Bench::with(lab, columns).await;
    bench.table = bench.store.describe("t", &["k".to_owned()]).await.unwrap();
    let null = |column| Change::new().set(column, &()).unwrap();
    assert!(bench.is_bad("1", null("filled")).await);
    assert!(bench.is_bad("1", null("at")).await);
    bench.write(&[("1", null("plain"))]).await;
    assert_eq!(bench.table(&["k", "plain"]).await, ["1 NULL"]);
    assert!(bench.is_bad("1", null("filled")).await, "nor in a row that is there");
    assert!(bench.is_bad("1", null("at")).await);
}
