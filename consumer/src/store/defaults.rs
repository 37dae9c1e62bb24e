//! Whether the default of a column is known to do nothing but give a value.
//!
//! Pure. An insert that turns out to be an update has evaluated the defaults of the columns that it
//! does not name: a number of a sequence is then gone, and a function may have done anything.

/// The words that stand for the moment or the user, which can't fail and leave no trace.
const PLAIN_WORDS: [&str; 16] = [
    "null",
    "true",
    "false",
    "now()",
    "current_timestamp",
    "current_date",
    "current_time",
    "localtimestamp",
    "localtime",
    "transaction_timestamp()",
    "statement_timestamp()",
    "curdate()",
    "curtime()",
    "current_user",
    "session_user",
    "current_role",
];

/// Whether `default`, an expression in SQL, is a constant or the moment. Anything else may act.
pub(super) fn is_plain(default: &str) -> bool {
    let text = default.trim();
    if let Some(inner) = text.strip_prefix('(').and_then(|text| text.strip_suffix(')')) {
        return is_plain(inner);
    }
    // A cast or a time zone after a constant: `'x'::text`, `now() AT TIME ZONE 'utc'::text`.
    if let Some((value, suffix)) = text.rsplit_once("::") {
        let of_a_type = |c: char| c.is_alphanumeric() || " _().,[]\"".contains(c);
        return suffix.chars().all(of_a_type) && is_plain(value);
    }
    if let Some((value, zone)) = text.split_once(" AT TIME ZONE ") {
        return is_plain(value) && is_text(zone);
    }
    let lower = text.to_ascii_lowercase();
    // `current_timestamp(6)`, and MariaDB's `current_timestamp()`.
    let (name, rest) = lower.split_once('(').unwrap_or((&lower, ""));
    let digits = rest.strip_suffix(')').unwrap_or(rest);
    let of_digits = digits.chars().all(|c| c.is_ascii_digit());
    PLAIN_WORDS.contains(&&*lower)
        || of_digits && PLAIN_WORDS.contains(&name)
        || of_digits && PLAIN_WORDS.contains(&&*format!("{name}()"))
        || text.parse::<f64>().is_ok()
        || is_text(text)
}

/// Whether it is one literal in single quotes, perhaps with a letter before it (`x'ff'`).
fn is_text(text: &str) -> bool {
    let text = text.strip_prefix(|c: char| c.is_ascii_alphabetic()).unwrap_or(text);
    let inner = text.strip_prefix('\'').and_then(|text| text.strip_suffix('\''));
    inner.is_some_and(|inner| !inner.replace("''", "").contains('\''))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constants_and_the_moment_are_plain_and_everything_else_may_act() {
        for plain in [
            "0",
            "-1.50",
            "(1)",
            "'x'",
            "'it''s'",
            "''",
            "x'ff'",
            "b'0'",
            "NULL",
            "true",
            "'{}'::text[]",
            "'0'::numeric(6,2)",
            "'x'::character varying",
            "NULL::\"Odd type\"",
            "now()",
            "CURRENT_TIMESTAMP",
            "CURRENT_TIMESTAMP(3)",
            "current_timestamp()",
            "current_timestamp(6)",
            "(now() AT TIME ZONE 'utc'::text)",
            "('now'::text)::date",
        ] {
            assert!(is_plain(plain), "{plain}");
        }
        for acts in [
            "nextval('t_no_seq'::regclass)",
            "nextval('a''b'::regclass)",
            "nextval(`game`.`s`)",
            "random()",
            "clock_timestamp()",
            "gen_random_uuid()",
            "uuid()",
            "(uuid())",
            "next_number()",
            "'a' || next_letter()",
            "'a' || f('b')",
            "('x'::text || now())",
            "1 + f()",
            "f()::text",
            "now() - f()",
            "(f()) + (1)",
            "",
        ] {
            assert!(!is_plain(acts), "{acts}");
        }
    }
}
