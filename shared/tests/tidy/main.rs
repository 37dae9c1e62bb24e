//! Holds the tree to ARCHITECTURE.md and to the rules of CONTRIBUTING.md.
//!
//! Each test names every offence it finds, one per line: the files, the name, and what to do about
//! it. What a check must find is written beside it, as a small crate made of strings that breaks
//! the rule.

mod sources;
mod reader;
mod imports;
mod architecture;

mod rooms;
mod circles;
mod purity;
mod names;
mod retired;
mod words;
mod selects;
mod text;
mod invariants;
mod documents;
