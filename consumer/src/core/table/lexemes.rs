//! Postgres' notation of a `tsvector`: the places of its words, which Postgres silently bounds.

/// The highest place that is kept; a higher one becomes this one.
const PLACE_MAX: u32 = 16_383;
/// How many places of a word are kept.
const PLACES_MAX: usize = 255;

/// Why Postgres would change `text`, to follow the words "the value". What can't be parsed is its own to
/// refuse.
pub(super) fn unfit(text: &str) -> Option<String> {
    let mut letters = text.chars().peekable();
    let mut quoted = false;
    while let Some(letter) = letters.next() {
        match letter {
            '\\' => drop(letters.next()),
            // Two in a word end it and begin it again.
            '\'' => quoted = !quoted,
            ':' if !quoted => {
                let of_places =
                    |letter: &char| letter.is_ascii_alphanumeric() || ",*".contains(*letter);
                let places: String = std::iter::from_fn(|| letters.next_if(of_places)).collect();
                if let Some(why) = bounded(&places) {
                    return Some(why);
                }
            }
            _ => {}
        }
    }
    None
}

fn bounded(places: &str) -> Option<String> {
    let digits =
        |place: &str| place.trim_end_matches(|letter: char| !letter.is_ascii_digit()).len();
    let beyond = |place: &str| {
        let place = &place[..digits(place)];
        !place.is_empty() && place.parse().map_or(true, |place: u32| place > PLACE_MAX)
    };
    if places.split(',').any(beyond) {
        return Some(format!(
            "has a word at a place beyond {PLACE_MAX}, which the column would move"
        ));
    }
    (places.split(',').count() > PLACES_MAX)
        .then(|| format!("has a word at more than the {PLACES_MAX} places that the column keeps"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_that_postgres_would_move_is_found_and_what_only_looks_like_one_is_none() {
        let many = format!("a:{}", (1..=256).map(|n| n.to_string()).collect::<Vec<_>>().join(","));
        let enough =
            format!("a:{}", (1..=255).map(|n| n.to_string()).collect::<Vec<_>>().join(","));
        for (text, fits) in [
            ("b a", true),
            ("a:1,2B b:16383A", true),
            ("a:16384", false),
            ("a:1,20000C", false),
            ("a:99999999999999", false),
            ("'it''s':20000", false),
            ("'a:20000'", true),
            ("'it''s:20000' b", true),
            (r"a\:20000", true),
            (r"'a\':20000' b", true),
            (&many, false),
            (&enough, true),
        ] {
            assert_eq!(unfit(text).is_none(), fits, "{text}");
        }
    }
}
