//! Who imports what within a crate: every name traced to the file that declares it.
//!
//! A module that passes a name on (`pub use`) neither imports nor declares it, so that a `mod.rs`
//! that shows what is in its folder makes no circle with the folder's files.

use std::collections::BTreeMap;

use crate::reader::{self, Path, Scope};
use crate::sources::Source;

/// A file that names something that another one declares.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Arrow {
    pub(crate) from: String,
    pub(crate) to: String,
    pub(crate) name: String,
    /// Where `from` names it.
    pub(crate) line: usize,
}

pub(crate) struct Module {
    pub(crate) file: String,
    pub(crate) scope: Scope,
}

/// The modules of a crate, each under its path. The library's begins with `crate`, the binary's
/// with `main`.
pub(crate) struct Crate {
    pub(crate) modules: BTreeMap<Path, Module>,
    /// What the binary calls the library.
    library: String,
}

/// What a path leads to.
enum Target {
    Module(Path),
    Declared { file: String, name: String },
}

impl Crate {
    /// The crate in the folder `member`, of which `sources` are all files.
    pub(crate) fn new(member: &str, sources: &[Source]) -> Self {
        let library = format!("write_behind_{member}");
        let mut made = Self { modules: BTreeMap::new(), library };
        for (root, file) in [("crate", "lib.rs"), ("main", "main.rs")] {
            let file = format!("{member}/src/{file}");
            made.add(sources, &[root.to_owned()], &file);
        }
        made
    }

    /// Adds a file as the module `path`, and its children.
    fn add(&mut self, sources: &[Source], path: &[String], file: &str) {
        let Some(source) = sources.iter().find(|source| source.path == file) else { return };
        let (folder, name) = file.rsplit_once('/').unwrap_or_default();
        let stem = name.trim_end_matches(".rs");
        let below = match stem {
            "lib" | "main" | "mod" => folder.to_owned(),
            stem => format!("{folder}/{stem}"),
        };
        for scope in reader::read(file, &source.text) {
            let path = [path, &scope.inside].concat();
            let folder =
                scope.inside.iter().fold(below.clone(), |folder, name| format!("{folder}/{name}"));
            for child in &scope.children {
                let path = join(&path, child);
                self.add(sources, &path, &format!("{folder}/{child}.rs"));
                self.add(sources, &path, &format!("{folder}/{child}/mod.rs"));
            }
            self.modules.insert(path, Module { file: file.to_owned(), scope });
        }
    }

    /// Every name that one file takes from another, once.
    pub(crate) fn arrows(&self) -> Vec<Arrow> {
        let mut arrows = Vec::new();
        for (at, module) in &self.modules {
            let imports = module.scope.imports.iter();
            let imports = imports.filter(|import| !self.is_shown(at, import));
            let imports = imports.map(|import| (&import.path, import.line));
            let mentions = module.scope.mentions.iter().map(|seen| (&seen.path, seen.line));
            for (path, line) in imports.chain(mentions) {
                // A module alone is no import: what is taken from it is a path of its own.
                let Some(Target::Declared { file, name }) = self.find(at, path, 0) else {
                    continue;
                };
                if file != module.file {
                    arrows.push(Arrow { from: module.file.clone(), to: file, name, line });
                }
            }
        }
        arrows.sort();
        arrows.dedup_by(|a, b| (&a.from, &a.to, &a.name) == (&b.from, &b.to, &b.name));
        arrows
    }

    /// Whether an import only passes on what stands below the module.
    fn is_shown(&self, at: &[String], import: &reader::Import) -> bool {
        let below = |file: &str| {
            self.modules.iter().any(|(path, module)| module.file == file && path.starts_with(at))
        };
        import.is_passed_on
            && match self.find(at, &import.path, 0) {
                Some(Target::Declared { file, .. }) => below(&file),
                Some(Target::Module(_)) | None => true,
            }
    }

    /// What a path means in the module `at`.
    fn find(&self, at: &[String], path: &[String], depth: usize) -> Option<Target> {
        let (first, rest) = path.split_first()?;
        match first.as_str() {
            "crate" => self.walk(&at[..1], rest, depth),
            "self" => self.walk(at, rest, depth),
            "super" => self.walk_up(at, rest, depth),
            first if first == self.library => self.walk(&["crate".to_owned()], rest, depth),
            _ => self.walk(at, path, depth),
        }
    }

    fn walk_up(&self, at: &[String], rest: &[String], depth: usize) -> Option<Target> {
        let (_, above) = at.split_last().filter(|(_, above)| !above.is_empty())?;
        match rest.split_first() {
            Some((first, rest)) if first == "super" => self.walk_up(above, rest, depth),
            _ => self.walk(above, rest, depth),
        }
    }

    /// What a path means that begins with a name in the module `at`.
    fn walk(&self, at: &[String], path: &[String], depth: usize) -> Option<Target> {
        // Names that are imported from each other in a ring lead nowhere.
        if depth > 16 {
            return None;
        }
        let module = self.modules.get(at)?;
        let Some((first, rest)) = path.split_first() else {
            return Some(Target::Module(at.to_vec()));
        };
        let child = join(at, first);
        if !rest.is_empty() && self.modules.contains_key(&child) {
            return self.walk(&child, rest, depth);
        }
        if module.scope.declared.iter().any(|declared| declared.name == *first) {
            let (file, name) = (module.file.clone(), first.clone());
            return Some(Target::Declared { file, name });
        }
        let imports = || module.scope.imports.iter();
        for import in imports().filter(|import| import.alias == *first) {
            // `use serde;` means the crate, not itself.
            if import.path != *path {
                let path = [&import.path, rest].concat();
                if let Some(target) = self.find(at, &path, depth + 1) {
                    return Some(target);
                }
            }
        }
        if self.modules.contains_key(&child) {
            return self.walk(&child, rest, depth);
        }
        imports().filter(|import| import.alias == "*").find_map(|import| {
            match self.find(at, &import.path, depth + 1)? {
                Target::Module(module) if module != at => self.walk(&module, path, depth + 1),
                Target::Module(_) | Target::Declared { .. } => None,
            }
        })
    }
}

fn join(path: &[String], name: &str) -> Path {
    let name = name.to_owned();
    path.iter().cloned().chain([name]).collect()
}

/// A crate made of strings, for the tests of the checks: its files lie in `made/src/`.
#[cfg(test)]
pub(crate) fn made_of(files: &[(&str, &str)]) -> Crate {
    let source = |(path, text): &(&str, &str)| Source {
        path: format!("made/src/{path}"),
        text: (*text).to_owned(),
    };
    Crate::new("made", &files.iter().map(source).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `room/inner.rs` imports, as `file: name`, when it holds the given code.
    fn imported_by(code: &str) -> Vec<String> {
        let made = made_of(&[
            ("lib.rs", "mod room; mod other; mod base; pub use other::Deep; pub struct Root;"),
            ("room/mod.rs", "mod inner; mod beside; pub(crate) use beside::Beside; struct Top;"),
            ("room/beside.rs", "pub(crate) struct Beside; pub(crate) fn help() {}"),
            ("other/mod.rs", "mod deep; pub use deep::{Deep, Deep as Renamed}; pub fn act() {}"),
            (
                "other/deep.rs",
                "pub struct Deep; pub enum Kind { A } pub mod nest { pub struct In; }",
            ),
            ("base.rs", "pub struct Base; pub(crate) use crate::other::*;"),
            ("room/inner.rs", code),
        ]);
        let arrows = made.arrows();
        let from = arrows.iter().filter(|arrow| arrow.from == "made/src/room/inner.rs");
        from.map(|arrow| format!("{}: {}", &arrow.to["made/src/".len()..], arrow.name)).collect()
    }

    #[test]
    fn an_import_is_traced_to_the_file_that_declares_the_name() {
        for (code, expected) in [
            ("use crate::base::Base;", &["base.rs: Base"][..]),
            ("use crate::base::Base as Other;", &["base.rs: Base"]),
            ("use crate::{base::{Base}, Root};", &["base.rs: Base", "lib.rs: Root"]),
            ("use crate::{room::{beside::{self, help}}};", &["room/beside.rs: help"]),
            ("use super::Top;", &["room/mod.rs: Top"]),
            ("use super::beside::help;", &["room/beside.rs: help"]),
            ("use super::super::base::Base;", &["base.rs: Base"]),
            ("use self::own::X; mod own { pub struct X; }", &[]),
            // Names that a module passes on belong to the file that declares them.
            ("use super::Beside;", &["room/beside.rs: Beside"]),
            ("use crate::Deep;", &["other/deep.rs: Deep"]),
            ("use crate::other::Renamed;", &["other/deep.rs: Deep"]),
            ("use crate::base::{Deep, act};", &["other/deep.rs: Deep", "other/mod.rs: act"]),
            ("use crate::other::deep::Kind::*;", &["other/deep.rs: Kind"]),
            ("use crate::other::deep::nest::In;", &["other/deep.rs: In"]),
            // A module alone is no import; what is taken from it is.
            ("use crate::other;", &[]),
            ("use crate::other; fn f() { other::act(); }", &["other/mod.rs: act"]),
            ("use crate::other as o; fn f(_: o::Deep) {}", &["other/deep.rs: Deep"]),
            ("use crate::other::*; fn f() { act(); }", &["other/mod.rs: act"]),
            // Paths in code, wherever they stand.
            ("fn f() -> Vec<crate::base::Base> { vec![] }", &["base.rs: Base"]),
            ("impl super::Top {}", &["room/mod.rs: Top"]),
            ("fn f() { print!(\"{}\", crate::other::act()); }", &["other/mod.rs: act"]),
            (
                "fn f() { m!(a: super::Top, b = [super::beside::help]); }",
                &["room/beside.rs: help", "room/mod.rs: Top"],
            ),
            ("fn f() { use crate::base::Base; }", &["base.rs: Base"]),
            ("mod own { use super::super::Top; }", &["room/mod.rs: Top"]),
            (
                "fn f(k: crate::other::deep::Kind) { matches!(k, crate::other::deep::Kind::A); }",
                &["other/deep.rs: Kind"],
            ),
            // What is for tests, for readers or for another crate is no import.
            ("#[cfg(test)] mod tests { use crate::base::Base; }", &[]),
            ("#[cfg(test)] use crate::base::Base;", &[]),
            ("struct S; impl S { #[cfg(test)] fn f(_: crate::base::Base) {} }", &[]),
            ("/// [`crate::base::Base`]\nstruct S;", &[]),
            ("pub(in crate::room) struct S;", &[]),
            ("use std::fmt::{self, Display}; use serde::Serialize;", &[]),
            ("struct Base; fn f(_: Base) {}", &[]),
        ] {
            assert_eq!(imported_by(code), expected, "{code}");
        }
    }

    #[test]
    fn a_module_that_shows_what_is_below_it_imports_it_only_where_it_uses_it() {
        let shown = ("lib.rs", "mod a; pub use a::A;");
        let used = ("lib.rs", "mod a; pub use a::A; fn f(_: A) {}");
        let beside = ("lib.rs", "mod a; mod b;");
        assert!(made_of(&[shown, ("a.rs", "pub struct A;")]).arrows().is_empty());
        assert_eq!(made_of(&[used, ("a.rs", "pub struct A;")]).arrows().len(), 1);
        let passed = [beside, ("a.rs", "pub struct A;"), ("b.rs", "pub use crate::a::A;")];
        assert_eq!(made_of(&passed).arrows().len(), 1, "what stands elsewhere is imported");
    }

    #[test]
    fn the_binary_imports_from_the_library_by_its_name() {
        let made = made_of(&[
            ("lib.rs", "pub mod run;"),
            ("run.rs", "pub fn run() {}"),
            ("main.rs", "mod command; use write_behind_made::run::run; use command::Line;"),
            ("command.rs", "pub struct Line; use crate::Cli;"),
        ]);
        let to: Vec<String> = made.arrows().into_iter().map(|arrow| arrow.to).collect();
        assert_eq!(to, ["made/src/command.rs", "made/src/run.rs"]);
    }
}
