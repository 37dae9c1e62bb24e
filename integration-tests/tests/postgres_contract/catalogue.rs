//! Tables that Postgres can have and others can't: which are written to, and which are refused with
//! what to do instead.

use serde_json::json;
use write_behind_consumer::apply::claim::claim;
use write_behind_consumer::store::inspect::MissingRight;
use write_behind_consumer::store::{BookkeepingState, Database, Store as _, StoreError, Timeouts};
use write_behind_shared::Change;

use super::{Postgres, bench, set};
use crate::contract::claims::target;
use crate::contract::offsets::COUNTER;
use crate::contract::{Bench, Lab as _};

/// What `describe` says to a person.
async fn told(bench: &mut Bench<Postgres>, table: &str, key: &[&str]) -> String {
    let key: Vec<_> = key.iter().map(|&name| name.to_owned()).collect();
    match bench.store.describe(table, &key).await {
        Err(StoreError::Stop(why)) => why,
        other => panic!("{table} must be refused, not {other:?}"),
    }
}

#[tokio::test]
async fn a_unique_key_that_upserts_cannot_use_is_refused_with_the_reason() {
    let mut bench = bench("id integer PRIMARY KEY").await;
    bench
        .lab
        .sql(
            "CREATE COLLATION loose (provider = icu, locale = 'und-u-ks-level2', \
                 deterministic = false);
             CREATE TABLE u (late bigint PRIMARY KEY DEFERRABLE, part integer, a integer, b text,
                 broken integer, name text);
             CREATE UNIQUE INDEX ON u (part) WHERE part > 0;
             CREATE UNIQUE INDEX ON u (a, lower(b));
             CREATE UNIQUE INDEX broken ON u (broken);
             CREATE UNIQUE INDEX ON u (name COLLATE loose);
             UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'broken'::regclass",
        )
        .await;
    for (key, why) in [
        (&[][..], "is deferrable, so rows can't be upserted by it: add a unique constraint"),
        (&["late"], "is deferrable"),
        (&["part"], "has a condition"),
        (&["a"], "is of expressions"),
        (&["broken"], "is not valid"),
        (&["name"], "its collation makes unequal texts equal; name another unique key"),
        (&["b"], "no unique key of exactly (b)"),
    ] {
        let said = told(&mut bench, "u", key).await;
        assert!(said.contains(why), "{key:?}: {said}");
    }
    // A second, whole index on the same column is what the key means.
    bench.lab.sql("CREATE UNIQUE INDEX ON u (part)").await;
    bench.table = bench.store.describe("u", &["part".to_owned()]).await.unwrap();
    bench.lab.sql("ALTER TABLE u ALTER late SET DEFAULT 1").await;
    bench.table = bench.store.describe("u", &["part".to_owned()]).await.unwrap();
    for _ in 0..2 {
        bench.write(&[("-1", Change::new().add("a", 1))]).await;
    }
    assert_eq!(bench.lab.rows("SELECT a::text FROM u").await, [[Some("2".to_owned())]]);
}

#[tokio::test]
async fn what_would_lose_rows_or_can_not_be_upserted_into_is_refused_with_the_mend() {
    let mut bench = bench("id integer PRIMARY KEY").await;
    bench
        .lab
        .sql(
            "CREATE UNLOGGED TABLE hasty (id integer PRIMARY KEY);
             CREATE TABLE split (id integer PRIMARY KEY) PARTITION BY RANGE (id);
             CREATE UNLOGGED TABLE split_1 PARTITION OF split FOR VALUES FROM (0) TO (9);
             CREATE TABLE parent (id integer PRIMARY KEY);
             CREATE TABLE child () INHERITS (parent);
             CREATE VIEW seen AS SELECT * FROM t;
             CREATE MATERIALIZED VIEW kept AS SELECT * FROM t;
             CREATE EXTENSION file_fdw; CREATE SERVER files FOREIGN DATA WRAPPER file_fdw;
             CREATE FOREIGN TABLE far (id integer) SERVER files OPTIONS (filename '/nowhere')",
        )
        .await;
    for (table, why) in [
        ("hasty", "run ALTER TABLE … SET LOGGED"),
        ("split", "has UNLOGGED partitions"),
        ("parent", "child tables (INHERITS)"),
        ("child", "has no primary key"),
        ("seen", "a view or a foreign table"),
        ("kept", "a view or a foreign table"),
        ("far", "a view or a foreign table"),
    ] {
        let said = told(&mut bench, table, &[]).await;
        assert!(said.starts_with(table) && said.contains(why), "{said}");
    }
    bench.lab.sql("ALTER TABLE child ADD PRIMARY KEY (id)").await;
    bench.table = bench.store.describe("child", &[]).await.unwrap();
    bench.write(&[("1", Change::new())]).await;
    assert_eq!(bench.lab.rows("SELECT id::text FROM parent").await.len(), 1);
}

#[tokio::test]
async fn a_table_whose_rows_are_hidden_from_the_role_is_refused() {
    let mut bench = bench("id integer PRIMARY KEY").await;
    let role = bench.lab.name.clone();
    bench
        .lab
        .sql(&format!(
            "CREATE ROLE {role} LOGIN PASSWORD 'limited'; GRANT ALL ON t TO {role}; \
             ALTER TABLE t ENABLE ROW LEVEL SECURITY"
        ))
        .await;
    assert!(bench.store.describe("t", &[]).await.is_ok(), "a superuser sees every row");
    let (_, host) = bench.lab.url.split_once('@').unwrap();
    let database = Database::parse(&format!("postgres://{role}:limited@{host}")).unwrap();
    bench.store = database.connect(&Timeouts::STANDARD).await.unwrap();
    let said = told(&mut bench, "t", &[]).await;
    assert!(said.contains("BYPASSRLS"), "{said}");
}

#[tokio::test]
async fn names_of_any_letters_are_only_names() {
    let lab = Postgres::new().await;
    lab.sql(
        r#"CREATE SCHEMA "Ünï.""cödé"; CREATE TABLE "Ünï.""cödé"."Tä.b""le" ("Käse ""k""" text,
           "tenant.Id" integer, "n" bigint, "É" text NOT NULL, PRIMARY KEY ("tenant.Id", "Käse ""k"""))"#,
    )
    .await;
    let mut bench = Bench::with(lab, "id integer PRIMARY KEY").await;
    let name = r#""Ünï.""cödé"."Tä.b""le""#;
    bench.table = bench.store.describe(name, &[]).await.unwrap();
    let key = r#"{"Käse \"k\"":"ö\"","tenant.Id":7}"#;
    bench.write(&[(key, set(&json!({"n": 1, "É": "x"})))]).await;
    bench.write(&[(key, Change::new().add("n", 2))]).await;
    let query = format!(r#"SELECT "Käse ""k""", "tenant.Id"::text, n::text, "É" FROM {name}"#);
    let row = ["ö\"", "7", "3", "x"].map(|text| Some(text.to_owned()));
    assert_eq!(bench.lab.rows(&query).await, [row]);
    bench.write(&[(key, Change::delete())]).await;
    assert_eq!(bench.lab.rows(&query).await.len(), 0);
}

#[tokio::test]
async fn triggers_see_each_row_once_and_may_refuse_one() {
    let mut bench = bench("id integer PRIMARY KEY, n bigint, seen bigint DEFAULT 0").await;
    bench
        .lab
        .sql(
            "CREATE TABLE audit (id integer, what text);
             CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                 INSERT INTO audit VALUES (coalesce(new.id, old.id), tg_op); RETURN NULL; END $$;
             CREATE TRIGGER note AFTER INSERT OR UPDATE OR DELETE ON t
                 FOR EACH ROW EXECUTE FUNCTION note();
             CREATE FUNCTION judge() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                 IF new.n = 13 THEN RAISE EXCEPTION 'not that'; END IF; RETURN new; END $$;
             CREATE TRIGGER judge BEFORE INSERT OR UPDATE ON t
                 FOR EACH ROW EXECUTE FUNCTION judge()",
        )
        .await;
    let n = |n: i64| set(&json!({ "n": n }));
    bench.write(&[("1", n(1)), ("2", n(2))]).await;
    bench.write(&[("1", n(5))]).await;
    assert_eq!(bench.refused(&[("1", n(13)), ("3", n(3))]).await, [0]);
    bench.write(&[("2", Change::delete())]).await;
    let audit = bench.lab.rows("SELECT id || what FROM audit ORDER BY 1").await;
    let expected = ["1INSERT", "1UPDATE", "2DELETE", "2INSERT"];
    assert_eq!(audit, expected.map(|text| [Some(text.to_owned())]));
}

#[tokio::test]
async fn each_right_that_is_missing_on_any_table_is_found() {
    let bench = bench("id integer PRIMARY KEY").await;
    let role = format!("few_{}", bench.lab.name);
    bench
        .lab
        .sql(&format!(
            "CREATE ROLE {role} LOGIN PASSWORD 'hush';
             GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {role}"
        ))
        .await;
    let (_, place) = bench.lab.url.rsplit_once('@').unwrap();
    let database = Database::parse(&format!("postgres://{role}:hush@{place}")).unwrap();
    let mut store = database.connect(&Timeouts::STANDARD).await.unwrap();
    assert_eq!(store.missing_rights(&bench.table).await.unwrap(), []);
    let rights = [
        (&*bench.table.sql_name, &["SELECT", "INSERT", "UPDATE", "DELETE"][..]),
        ("write_behind_offsets", &["SELECT", "INSERT", "UPDATE"]),
        ("write_behind_writers", &["SELECT", "INSERT", "UPDATE", "DELETE"]),
        ("write_behind_dead_letters", &["SELECT", "INSERT", "UPDATE", "DELETE"]),
        ("write_behind_last_records", &["SELECT", "INSERT", "UPDATE"]),
        ("write_behind_tables", &["SELECT", "INSERT", "UPDATE", "DELETE"]),
        ("write_behind_schema", &["SELECT"]),
        ("write_behind_dead_letter_copies", &["SELECT", "INSERT", "UPDATE"]),
    ];
    let tables =
        bench.lab.rows("SELECT tablename::text FROM pg_tables WHERE schemaname = 'public'");
    assert_eq!(tables.await.len(), rights.len(), "every table is looked at");
    for (table, rights) in rights {
        for right in rights {
            bench.lab.sql(&format!("REVOKE {right} ON {table} FROM {role}")).await;
            let missing = store.missing_rights(&bench.table).await.unwrap();
            let expected = MissingRight { table: table.to_owned(), right: (*right).to_owned() };
            assert_eq!(missing, [expected]);
            bench.lab.sql(&format!("GRANT {right} ON {table} TO {role}")).await;
        }
    }
}

#[tokio::test]
async fn rights_on_columns_count_and_those_on_sequences_and_schemas_are_asked_for() {
    let mut bench = bench("id integer PRIMARY KEY").await;
    let role = format!("some_{}", bench.lab.name);
    bench
        .lab
        .sql(&format!(
            "CREATE ROLE {role} LOGIN PASSWORD 'hush';
             GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {role};
             CREATE SCHEMA apart; GRANT USAGE ON SCHEMA apart TO {role};
             CREATE TABLE apart.s (id integer PRIMARY KEY, line serial, n integer);
             GRANT DELETE ON apart.s TO {role};
             GRANT SELECT (id, n), INSERT (id, n), UPDATE (id, n) ON apart.s TO {role};"
        ))
        .await;
    bench.table = bench.store.describe("apart.s", &[]).await.unwrap();
    let (_, place) = bench.lab.url.rsplit_once('@').unwrap();
    let database = Database::parse(&format!("postgres://{role}:hush@{place}")).unwrap();
    let mut store = database.connect(&Timeouts::STANDARD).await.unwrap();
    let of_the_route = bench.table.clone().only(&["n".to_owned()]).unwrap();
    let sequence = format!("GRANT USAGE ON SEQUENCE apart.s_line_seq TO {role};");
    let missing = store.missing_grants(&[&of_the_route]).await.unwrap();
    assert_eq!(missing.as_deref(), Some(&*sequence));
    let all = store.missing_grants(&[&bench.table]).await.unwrap().unwrap_or_default();
    assert!(
        all.contains(&format!("GRANT INSERT, SELECT, UPDATE ON \"apart\".\"s\" TO {role}")),
        "{all}"
    );
    bench.lab.sql(&format!("{sequence} REVOKE USAGE ON SCHEMA apart FROM {role}")).await;
    let missing = store.missing_grants(&[&of_the_route]).await.unwrap().unwrap_or_default();
    assert!(missing.contains(&format!("GRANT USAGE ON SCHEMA apart TO {role}")), "{missing}");
}

#[tokio::test]
async fn who_may_not_create_the_bookkeeping_is_told_the_right() {
    let lab = Postgres::new().await;
    let role = format!("no_{}", lab.name);
    lab.sql(&format!("CREATE ROLE {role} LOGIN PASSWORD 'hush'")).await;
    let (_, place) = lab.url.rsplit_once('@').unwrap();
    let database = Database::parse(&format!("postgres://{role}:hush@{place}")).unwrap();
    let mut store = database.connect(&Timeouts::STANDARD).await.unwrap();
    let Err(StoreError::Stop(why)) = store.init().await else { panic!("it must fail") };
    let grant = format!("GRANT CREATE ON SCHEMA public TO {role}");
    assert!(why.contains(&grant) && why.contains("--no-init"), "{why}");
    // The connection goes on after that.
    assert_eq!(store.bookkeeping().await.unwrap(), BookkeepingState::Missing);
}

#[tokio::test]
async fn a_table_is_the_same_under_another_name_and_schema() {
    let mut bench = bench(COUNTER).await;
    claim(&mut bench.store, &target("t")).await.unwrap();
    bench.write(&[("1", Change::new().add("n", 1))]).await;
    bench
        .lab
        .sql("CREATE SCHEMA apart; ALTER TABLE t RENAME TO u; ALTER TABLE u SET SCHEMA apart")
        .await;
    let said = told(&mut bench, "u", &[]).await;
    assert!(said.contains("(there is a apart.u)"), "{said}");
    // Another topic can't have it under its new name.
    let mut other = target("apart.u");
    "other".clone_into(&mut other.scope.topic);
    let refused = claim(&mut bench.store, &other).await;
    assert!(matches!(refused, Err(StoreError::Refused(_))), "{refused:?}");
    bench.table = claim(&mut bench.store, &target("apart.u")).await.unwrap();
    bench.write(&[("1", Change::new().add("n", 1))]).await;
    // A copy under the old name is another table, whatever rows it has.
    bench.lab.sql("CREATE TABLE t (LIKE apart.u INCLUDING ALL); INSERT INTO t TABLE apart.u").await;
    let refused = claim(&mut bench.store, &target("t")).await;
    let says = "written topic t to \"apart\".\"u\" (partition 0 up to offset 2)";
    assert!(matches!(&refused, Err(StoreError::Refused(why)) if why.contains(says)), "{refused:?}");
}

#[tokio::test]
async fn a_dump_restored_with_its_bookkeeping_goes_on() {
    let mut bench = bench(COUNTER).await;
    claim(&mut bench.store, &target("t")).await.unwrap();
    bench.write(&[("1", Change::new().add("n", 1))]).await;
    // As pg_restore makes them: other tables with the same names and rows.
    let copied = ["t", "write_behind_offsets", "write_behind_tables"].map(|table| {
        format!(
            "CREATE TABLE copy (LIKE {table} INCLUDING ALL); INSERT INTO copy TABLE {table}; \
             DROP TABLE {table}; ALTER TABLE copy RENAME TO {table};"
        )
    });
    bench.lab.sql(&copied.concat()).await;
    bench.store = bench.another_store().await;
    bench.table = claim(&mut bench.store, &target("t")).await.unwrap();
    bench.write(&[("1", Change::new().add("n", 1))]).await;
    assert_eq!(bench.table(&["n"]).await, ["2"]);
    // From now on its identity is known again.
    bench.lab.sql(&copied[0]).await;
    let refused = claim(&mut bench.store, &target("t")).await;
    assert!(matches!(refused, Err(StoreError::Refused(_))), "{refused:?}");
}
