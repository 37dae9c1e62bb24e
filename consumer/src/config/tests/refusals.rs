//! How a configuration is refused, and what is taken because it can mean one thing only.

use super::*;
use crate::config::tests::{WHOLE, refusal, variables};

#[test]
fn a_refusal_names_the_file_and_the_line_of_the_setting() {
    let two = format!("{LEAST}[[route]]\ntopic = \"b\"\n");
    let refused = |text: &str| {
        Config::read_file("scores.toml", text, &Variables::new()).unwrap_err().to_string()
    };
    let with = |more: &str| refused(&format!("{two}{more}\n"));
    for (refused, told) in [
        (
            with("tabel = 1"),
            "scores.toml:9: `route[1].tabel`: is no setting; did you mean `table`?",
        ),
        (with("[batch]\nmax_rows = 0"), "scores.toml:10: `batch.max_rows`: is 0"),
        (
            with("[batch]\nmaxRows = 1"),
            "scores.toml:10: `batch.maxRows`: is no setting; did you mean `max_rows`?",
        ),
        (with("[batch]\nmax_age = 200"), "scores.toml:10: `batch.max_age`: 200 is no time"),
        (
            with("[batch]\nmax_rows = \"9\""),
            "scores.toml:10: `batch.max_rows`: must be a whole number",
        ),
        (with("priority = 1"), "scores.toml:9: `route[1].priority`: "),
        (with("table = \"scores\""), "scores.toml:9: `route[1].table`: names a table that another"),
        (
            with("version = \"${X}\""),
            "scores.toml:9: `route[1].version` names the environment variable",
        ),
        (with("table = \"a.b.c\""), "scores.toml:9: `route[1].table`: \"a.b.c\" is no table name"),
        (
            refused(&two.replace("\"b\"", "\"dots.in.name\"")),
            "scores.toml:7: `route[1].table`: is not given, and the topic's name is no table's; set",
        ),
        (with("version = \"${X\""), "scores.toml:9: `route[1].version`: has a ${ without its }"),
        (
            refused(&two.replace("\"b\"", "\"b \"")),
            "scores.toml:8: `route[1].topic`: begins or ends with a blank",
        ),
        (refused(&two.replace("topic = \"b\"", "")), "scores.toml:7: `route[1].topic`: is missing"),
        (
            refused(&two.replace("[[route]]\ntopic = \"b\"", "[x]")),
            "scores.toml:7: `x`: is no setting",
        ),
        (
            refused(&LEAST.replace("[[route]]", "[route]")),
            "scores.toml:5: `route`: is one section; write [[route]]",
        ),
        (
            refused(&LEAST.replace("name = \"scores\"", "")),
            "scores.toml: `name`: is missing; it names",
        ),
        (
            refused(
                &LEAST.replace(
                    "\"bootstrap.servers\"",
                    "\"group.id\" = \"g\", \"bootstrap.servers\"",
                ),
            ),
            "scores.toml:3: the Kafka property `group.id` can't be set",
        ),
    ] {
        assert!(refused.starts_with(told), "{refused}\n{told}");
    }
}

#[test]
fn what_is_no_toml_or_in_no_file_is_told_by_the_place_that_it_has() {
    let refused = |text: &str| {
        Config::read_file("scores.toml", text, &Variables::new()).unwrap_err().to_string()
    };
    for (refused, told) in [
        (refused("name = \"x"), "scores.toml:1:"),
        (
            refused("name: scores\nkafka:\n"),
            "scores.toml: the configuration can't be read: it looks like YAML",
        ),
        (
            refused("{ \"name\": 1 }"),
            "scores.toml: the configuration can't be read: it looks like JSON",
        ),
    ] {
        assert!(refused.starts_with(told), "{refused}\n{told}");
    }
    let variable = variables(&[("WRITE_BEHIND_BATCH_MAX_ROWS", "0")]);
    let refused = Config::read_file("scores.toml", LEAST, &variable).unwrap_err().to_string();
    assert!(refused.starts_with("`batch.max_rows`: is 0"), "it stands in no file: {refused}");
}

#[test]
fn no_configuration_at_all_is_told_with_the_ways_to_give_one() {
    let refused = refusal("", &[("PATH", "/bin"), ("WRITE_BEHIND_LOG", "info")]);
    assert!(refused.starts_with("no configuration: give --config FILE"), "{refused}");
    assert!(refusal("", &[("WRITE_BEHIND_NAME", "x")]).contains("`kafka`: is missing"));
}

#[test]
fn what_can_mean_one_thing_only_is_taken() {
    let http = |listen: &str| {
        let config = Config::read(LEAST, &variables(&[("WRITE_BEHIND_HTTP_LISTEN", listen)]));
        config.map(|config| config.http.map(|address| address.to_string()))
    };
    for (listen, address) in [
        (":9464", Some("0.0.0.0:9464")),
        ("*:9464", Some("0.0.0.0:9464")),
        ("localhost:9464", Some("127.0.0.1:9464")),
        ("[::1]:9464", Some("[::1]:9464")),
        ("OFF", None),
        (" off ", None),
    ] {
        assert_eq!(http(listen).unwrap().as_deref(), address, "{listen}");
    }
    for listen in ["9464", "localhost", "somewhere:9464", ":x", ":99999", ""] {
        assert!(http(listen).is_err(), "{listen}");
    }
    let text = format!("{LEAST}key = \"id\"\ncolumns = \"a, b\"\n");
    let route = Config::read(&text, &Variables::new()).unwrap().routes.remove(0);
    assert_eq!(
        (route.key, route.columns.unwrap()),
        (vec!["id".to_owned()], vec!["a".to_owned(), "b".to_owned()])
    );
}

#[test]
fn no_refusal_quotes_a_value_that_may_be_a_password() {
    let url = "url = \"postgres://app:hush@db/app\"";
    let texts = [
        (
            "database = { url = \"sqlite://scores.db\" }",
            "[database]\n url = postgres://app:hush@db\n",
            "line 5, column 8: ",
        ),
        (
            "database = { url = \"sqlite://scores.db\" }",
            "[database]\nurl = \"postgres://app:hush@db\n",
            "line 5, column",
        ),
        (
            "database = { url = \"sqlite://scores.db\" }",
            "database = \"app:hush\"",
            "`database`: must be a section of its own, not a text",
        ),
        (
            "database = { url = \"sqlite://scores.db\" }",
            "database = { url = 4857 }",
            "`database.url`: must be a text in quotes, not this number",
        ),
        (
            "database = { url = \"sqlite://scores.db\" }",
            &format!("[database]\n{url}\n{url}"),
            "line 6, column 1: duplicate key",
        ),
        (
            "\"localhost:9092\"",
            "\"b:1\", \"sasl.password\" = [\"hush\"]",
            "`kafka.sasl.password`: is of the type array",
        ),
        (
            "topic = \"scores\"",
            "topic = \"scores\"\non_bad_record = \"hush\"",
            "on_bad_record`: has an unknown value, expected `dead-letter` or `stop`",
        ),
        ("topic = \"scores\"", "topic = 4857", "`route[0].topic`: must be a text in quotes"),
    ];
    for (part, instead, expected) in texts {
        let refused = refusal(&LEAST.replace(part, instead), &[]);
        assert!(refused.contains(expected), "{refused}");
        assert!(!refused.contains("hush") && !refused.contains("4857"), "{refused}");
    }
    for (variable, expected) in [
        ("WRITE_BEHIND_BATCH_MAX_ROWS", "is not a number"),
        ("WRITE_BEHIND_BAD_RECORDS_MAX_RATIO", "is not a number such as 0.5"),
        ("WRITE_BEHIND_ROUTE_0_RENAME", "is no list of pairs"),
        ("WRITE_BEHIND_HTTP_PORT", "port"),
    ] {
        let refused = refusal(LEAST, &[(variable, "hush")]);
        assert!(refused.contains(variable) && refused.contains(expected), "{refused}");
        assert!(!refused.contains("hush"), "{refused}");
    }
}

#[test]
fn an_unknown_key_is_refused_by_its_name_wherever_it_stands() {
    assert!(refusal(&LEAST.replace("name =", "nam = 1\nname ="), &[]).contains("nam"));
    assert!(refusal(&format!("{LEAST}tabel = \"x\""), &[]).contains("tabel"));
    assert!(refusal(LEAST, &[("WRITE_BEHIND_BATCH_ROWS", "1")]).contains("rows"));
    assert!(refusal(LEAST, &[("WRITE_BEHIND_ROUTE_0_TABEL", "x")]).contains("tabel"));
}

#[test]
fn an_unknown_variable_is_named() {
    for variable in ["BATHC_MAX_ROWS", "BATCH_ROWS", "ROUTE_0_TABEL", "FLEET"] {
        let variable = format!("WRITE_BEHIND_{variable}");
        let refused = refusal(LEAST, &[(&variable, "1")]);
        assert!(refused.starts_with(&format!("`{variable}`: ")), "{refused}");
    }
    let of_the_command = [("WRITE_BEHIND_LOG", "info"), ("WRITE_BEHIND_NO_INIT", "true")];
    assert!(Config::read(LEAST, &variables(&of_the_command)).is_ok());
}

#[test]
fn a_missing_variable_is_named_with_its_setting() {
    assert_eq!(
        refusal(WHOLE, &[]),
        "`database.url` names the environment variable `PASSWORD`, which is not set"
    );
}
