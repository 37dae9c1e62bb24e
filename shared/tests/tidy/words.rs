//! Phrases that readers stumble over, in product code and in documents.

use crate::sources::{Source, assert_none, documents, sources};

/// A phrase, and what to write in its place.
const STUMBLES: &[(&str, &str)] = &[
    ("anew", "again"),
    ("whoever", "the one who does it, by name"),
    ("is to be", "must be, or who does it"),
    ("are to be", "must be, or who does it"),
    ("so many", "how many"),
    ("let be", "left alone"),
];

/// Messages that hold such a phrase in good English, and stay as operators and tests know them.
const KEPT: &[&str] = &["so many records are bad that none is set aside any more"];

fn stumbles(sources: &[Source]) -> Vec<String> {
    let mut offences = Vec::new();
    for Source { path, text } in sources {
        for (number, line) in text.lines().enumerate() {
            let lower = KEPT.iter().fold(line.to_lowercase(), |line, kept| line.replace(kept, ""));
            let number = number + 1;
            for (phrase, better) in STUMBLES.iter().filter(|(phrase, _)| has(&lower, phrase)) {
                offences.push(format!("{path}:{number} says `{phrase}`: say {better}"));
            }
            if is_opening(&lower) {
                offences
                    .push(format!("{path}:{number} tells what is taken and given: say what it is"));
            }
        }
    }
    offences
}

/// Whether a line says a phrase, and not as a part of longer words.
fn has(line: &str, phrase: &str) -> bool {
    line.match_indices(phrase).any(|(start, _)| {
        let is_word = |c: char| c.is_alphanumeric() || c == '_';
        let end = start + phrase.len();
        !line[..start].ends_with(is_word) && !line[end..].starts_with(is_word)
    })
}

/// Whether a line opens with what something takes, or says what it is for by "takes …, gives …".
fn is_opening(line: &str) -> bool {
    let words = line.trim_start_matches(['/', '!', ' ']);
    words.starts_with("takes ") && words.contains("gives ")
        || line.starts_with("//!") && line.contains(": takes ")
}

#[test]
fn no_text_makes_its_reader_stumble() {
    let mut texts: Vec<Source> = sources().iter().filter(|s| s.is_product()).cloned().collect();
    texts.extend(documents());
    assert_none(&stumbles(&texts), "phrases to put plainly");
}

#[test]
fn a_phrase_is_found_in_any_case_and_not_within_a_word() {
    let found = |line: &str| stumbles(&[Source { path: "a.rs".into(), text: line.into() }]);
    assert_eq!(
        found("// It is To Be read."),
        ["a.rs:1 says `is to be`: say must be, or who does it"]
    );
    assert_eq!(found("//! The fold: takes records, gives rows.").len(), 1);
    assert_eq!(found("/// Takes records, gives rows.").len(), 1);
    assert!(found("// Janews and this to begin with; it takes time.").is_empty());
}
