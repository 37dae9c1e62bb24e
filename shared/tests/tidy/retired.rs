//! Names that were replaced do not come back: `retired.txt` lists them, each with the one to use.
//!
//! They are looked for in code, and in comments and documents between backquotes: many of them are
//! also words of plain English.

use proc_macro2::{TokenStream, TokenTree};

use crate::architecture::quoted;
use crate::sources::{Source, assert_none, documents, has_extension, sources};

/// A name, where it may not be used, and the one that took its place.
struct Retired<'a> {
    /// A folder, or nothing for the whole repository.
    place: &'a str,
    old: &'a str,
    new: &'a str,
}

/// Reads lines `old → new` below headings `[place]`.
fn parse(list: &str) -> Vec<Retired<'_>> {
    let mut place = "";
    let mut retired = Vec::new();
    for line in list.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        if let Some(heading) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            place = if heading == "everywhere" { "" } else { heading };
        } else if let Some((old, new)) = line.split_once(" → ") {
            retired.push(Retired { place, old, new });
        } else {
            panic!("retired.txt: {line}");
        }
    }
    retired
}

fn returned(source: &Source, retired: &[Retired<'_>]) -> Vec<String> {
    let Source { path, text } = source;
    let is_rust = has_extension(path, "rs");
    let mut names = Vec::new();
    if is_rust {
        let tokens = text.parse().unwrap_or_else(|error| panic!("{path}: {error}"));
        collect(tokens, &mut names);
    }
    for (number, line) in text.lines().enumerate() {
        let prose = if is_rust { line.split_once("//") } else { Some(("", line)) };
        for quotation in prose.into_iter().flat_map(|(_, prose)| quoted(prose)) {
            let words = quotation.split(|c: char| !c.is_alphanumeric() && c != '_');
            names.extend(words.map(|word| (word.to_owned(), number + 1)));
        }
    }
    let mut offences = Vec::new();
    for Retired { place, old, new } in retired {
        let is_banned_here = path.starts_with(place) || !is_rust;
        for (_, line) in names.iter().filter(|(name, _)| is_banned_here && name == old) {
            offences.push(format!("{path}:{line} says `{old}`, a retired name: say `{new}`"));
        }
    }
    offences
}

/// The identifiers of some code, and their lines.
fn collect(tokens: TokenStream, names: &mut Vec<(String, usize)>) {
    for token in tokens {
        match token {
            TokenTree::Ident(ident) => names.push((ident.to_string(), ident.span().start().line)),
            TokenTree::Group(group) => collect(group.stream(), names),
            TokenTree::Punct(_) | TokenTree::Literal(_) => {}
        }
    }
}

#[test]
fn no_retired_name_comes_back() {
    let retired = parse(include_str!("retired.txt"));
    let code = sources().iter().filter(|source| !source.is_tidy()).cloned();
    // The changelog tells of names as they were.
    let documents = documents().into_iter().filter(|document| document.path != "CHANGELOG.md");
    let offences: Vec<String> =
        code.chain(documents).flat_map(|source| returned(&source, &retired)).collect();
    assert_none(&offences, "retired names");
}

#[test]
fn a_retired_name_is_found_in_code_and_between_backquotes() {
    let retired = parse("# both\n[everywhere]\nHanding → Outbox\n[producer]\nsaw → seen_at\n");
    let found = |path: &str, text: &str| {
        returned(&Source { path: path.to_owned(), text: text.to_owned() }, &retired)
    };
    assert_eq!(
        found("producer/src/a.rs", "\nfn f(saw: u8) {}"),
        ["producer/src/a.rs:2 says `saw`, a retired name: say `seen_at`"]
    );
    for (path, text, times) in [
        ("consumer/src/a.rs", "fn f(saw: u8) {}", 0),
        ("consumer/src/a.rs", "fn f(_: crate::Handing<u8>) {}", 1),
        ("consumer/src/a.rs", "fn f() { m!(Handing { a }) }", 1),
        ("consumer/src/a.rs", "/// The [`Handing::new`].\nstruct S;", 1),
        ("consumer/src/a.rs", "// Handing over is English.\nstruct HandingOver;", 0),
        ("docs/a.md", "What `Handing` saw.", 1),
        ("docs/a.md", "What the `saw` says.", 1),
    ] {
        assert_eq!(found(path, text).len(), times, "{text}");
    }
}
