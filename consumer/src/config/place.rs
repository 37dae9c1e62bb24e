//! Where a setting stands in its file.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// The line of `setting`, such as `route[1].topic`, in the TOML `text`; else that of the section that
/// should have it.
pub(super) fn line_of(text: &str, setting: &str) -> Option<usize> {
    let whole = DeTable::parse(text).ok()?;
    let mut setting = setting;
    loop {
        if let Some(start) = in_table(whole.get_ref(), setting) {
            return Some(line_at(text, start));
        }
        let end = setting.rfind(['.', '['])?;
        setting = &setting[..end];
    }
}

/// The line, from 1 on, of a place in bytes.
pub(super) fn line_at(text: &str, start: usize) -> usize {
    text.as_bytes().iter().take(start).filter(|byte| **byte == b'\n').count() + 1
}

fn in_table(table: &DeTable<'_>, path: &str) -> Option<usize> {
    table.iter().find_map(|(key, value)| {
        // A property of Kafka is one key with dots in it, or tables within tables.
        let rest = path.strip_prefix(&**key.get_ref())?;
        if rest.is_empty() { Some(key.span().start) } else { in_value(value, rest) }
    })
}

/// `rest`: what stands behind the name of `value` in the path: `.key`, or `[place]` and more.
fn in_value(value: &Spanned<DeValue<'_>>, rest: &str) -> Option<usize> {
    if let Some(rest) = rest.strip_prefix('.') {
        return in_table(value.get_ref().as_table()?, rest);
    }
    let (place, rest) = rest.strip_prefix('[')?.split_once(']')?;
    let item = value.get_ref().as_array()?.get(place.parse::<usize>().ok()?)?;
    if rest.is_empty() { Some(item.span().start) } else { in_value(item, rest) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "name = 'x'\n\n[kafka]\n'sasl.password' = 's'\nssl.ca.location = 'f'\n\
                        [batch]\nmax_rows = 1\n[[route]]\ntopic = 'a'\n\n[[route]]\n# b\ntopic = 'b'\n\
                        key = ['k',\n 'l']\n";

    #[test]
    fn a_setting_is_found_in_its_line_and_a_missing_one_in_its_section() {
        for (setting, line) in [
            ("name", Some(1)),
            ("kafka", Some(3)),
            ("kafka.sasl.password", Some(4)),
            ("kafka.ssl.ca.location", Some(5)),
            ("kafka.client.id", Some(3)),
            ("batch.max_rows", Some(7)),
            ("batch.max_bytes", Some(6)),
            ("route[0].topic", Some(9)),
            ("route[1].topic", Some(13)),
            ("route[1].key[1]", Some(15)),
            ("route[1].table", Some(11)),
            ("route[7].topic", Some(8)),
            ("database.url", None),
            ("", None),
        ] {
            assert_eq!(line_of(TEXT, setting), line, "{setting}");
        }
        assert_eq!(line_of("[", "name"), None, "it is no TOML");
    }
}
