//! Every `select!` is `biased;`: which branch goes first is written down, not drawn by lot.

use crate::sources::{Source, assert_none, sources};

fn unbiased(sources: &[Source]) -> Vec<String> {
    // Spelled apart, so that this file does not find itself.
    let select = concat!("select", "! {");
    let mut offences = Vec::new();
    for Source { path, text } in sources {
        let mut lines = text.lines().enumerate();
        while let Some((number, line)) = lines.next() {
            let is_code = !line.trim_start().starts_with("//");
            if is_code && line.contains(select) {
                let first = lines.next().map(|(_, line)| line.trim());
                if first != Some("biased;") {
                    let number = number + 1;
                    offences.push(format!("{path}:{number} selects by lot: begin with `biased;`"));
                }
            }
        }
    }
    offences
}

#[test]
fn every_select_says_which_branch_goes_first() {
    assert_none(&unbiased(sources()), "selects without an order");
}

#[test]
fn a_select_without_an_order_is_found() {
    let select = concat!("select", "! {");
    let found = |rest: &str| {
        let text = format!("tokio::{select}\n    {rest}\n}}");
        unbiased(&[Source { path: "a.rs".to_owned(), text }])
    };
    assert!(found("biased;\n    () = stop => {}").is_empty());
    assert_eq!(found("() = stop => {}"), ["a.rs:1 selects by lot: begin with `biased;`"]);
}
