//! The name that somebody meant: the nearest of those that exist.

/// The one of `names` that is nearest to `name`, if it is near enough to be meant.
pub fn nearest<'n>(name: &str, names: impl IntoIterator<Item = &'n str>) -> Option<&'n str> {
    let meant = plain(name);
    let distances = names.into_iter().map(|other| (distance(&meant, &plain(other)), other));
    let (distance, nearest) = distances.min_by_key(|(distance, _)| *distance)?;
    (distance <= (meant.len() / 3).min(3)).then_some(nearest)
}

/// `; did you mean …?`, or nothing.
pub fn did_you_mean<'n>(name: &str, names: impl IntoIterator<Item = &'n str>) -> String {
    nearest(name, names).map_or(String::new(), |meant| format!("; did you mean `{meant}`?"))
}

/// `maxRows`, `max-rows` and `max_rows` are one name.
fn plain(name: &str) -> Vec<char> {
    name.to_lowercase().chars().filter(|c| c.is_alphanumeric()).collect()
}

/// How many characters must be added, dropped, replaced or exchanged with their neighbour.
fn distance(from: &[char], to: &[char]) -> usize {
    let mut before: Vec<usize> = Vec::new();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (at, a) in from.iter().enumerate() {
        let mut next = vec![at + 1];
        for (place, b) in to.iter().enumerate() {
            let replaced = row[place] + usize::from(a != b);
            let mut least = replaced.min(row[place + 1] + 1).min(next[place] + 1);
            if at > 0 && place > 0 && *a == to[place - 1] && from[at - 1] == *b {
                least = least.min(before[place - 1] + 1);
            }
            next.push(least);
        }
        before = std::mem::replace(&mut row, next);
    }
    row[to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_that_was_meant_is_found_and_none_where_none_is_near() {
        let names = ["max_rows", "max_bytes", "max_age", "table", "topic"];
        for (name, meant) in [
            ("max-rows", Some("max_rows")),
            ("maxRows", Some("max_rows")),
            ("MAX_ROWS", Some("max_rows")),
            ("max_row", Some("max_rows")),
            ("tabel", Some("table")),
            ("tpic", Some("topic")),
            ("schema", None),
            ("x", None),
            ("", None),
        ] {
            assert_eq!(nearest(name, names), meant, "{name:?}");
        }
        assert_eq!(did_you_mean("tabel", names), "; did you mean `table`?");
        assert_eq!(did_you_mean("schema", names), "");
        assert_eq!(nearest("a", []), None);
    }
}
