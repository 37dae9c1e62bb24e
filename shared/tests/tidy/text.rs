//! What holds for the text of every Rust file: a first line, a length, nothing left unfinished.

use crate::sources::{Source, assert_none, sources};

const LINES_MAX: usize = 400;

#[test]
fn every_file_says_first_what_it_is() {
    let mute = sources().iter().filter(|source| !source.text.starts_with("//!"));
    let offences: Vec<String> = mute.map(|source| source.path.clone()).collect();
    assert_none(&offences, "these files do not begin with `//!`");
}

#[test]
fn no_file_is_longer_than_a_reader_can_hold() {
    let lengths = sources().iter().map(|source| (source.text.lines().count(), &source.path));
    let offences: Vec<String> = lengths
        .filter(|(lines, _)| *lines > LINES_MAX)
        .map(|(lines, path)| format!("{path}: {lines} lines, at most {LINES_MAX}"))
        .collect();
    assert_none(&offences, "split these files by what they are about");
}

#[test]
fn nothing_is_left_unfinished_or_switched_off() {
    // Spelled apart, so that this file does not find itself.
    let forbidden = [
        concat!("to", "do!("),
        concat!("unimplemented", "!("),
        concat!("TO", "DO"),
        concat!("FIX", "ME"),
        concat!("db", "g!("),
        concat!("#[ig", "nore"),
        concat!("#[should_", "panic"),
        concat!("thread::sl", "eep("),
    ];
    let mut offences = Vec::new();
    for Source { path, text } in sources() {
        for (number, line) in text.lines().enumerate() {
            for word in forbidden.iter().filter(|word| line.contains(**word)) {
                offences.push(format!("{path}:{}: {word}", number + 1));
            }
        }
    }
    assert_none(&offences, "unfinished work, ignored tests or sleeps");
}
