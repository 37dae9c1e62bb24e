//! What one Rust file says: its modules, what they declare and import, and the paths in their code.
//!
//! Code under `#[cfg(test)]` is left out. Paths inside a macro's arguments are found as well.

use proc_macro2::{Spacing, Span, TokenStream, TokenTree};
use syn::visit::{self, Visit};
use syn::{Attribute, Ident, Item, UseTree, Visibility};

/// A path, as its names one after the other.
pub(crate) type Path = Vec<String>;

/// The one method that is mentioned as a path is: it reads the clock.
pub(crate) const ELAPSED: &str = ".elapsed";

/// A module: the file's own, or one that is written out in the file.
#[derive(Default)]
pub(crate) struct Scope {
    /// The modules between the file's own and this one.
    pub(crate) inside: Path,
    /// Modules with a file of their own.
    pub(crate) children: Vec<String>,
    pub(crate) declared: Vec<Declared>,
    pub(crate) imports: Vec<Import>,
    /// The paths in code; the keywords `async` and `await` count as paths of one name.
    pub(crate) mentions: Vec<Mention>,
}

pub(crate) struct Declared {
    pub(crate) name: String,
    pub(crate) line: usize,
    /// A struct, enum, union, trait or type alias that other files may see.
    pub(crate) is_shared_type: bool,
}

/// One name of a `use`.
pub(crate) struct Import {
    pub(crate) path: Path,
    /// What the name is called in this module; `*` for all names there are.
    pub(crate) alias: String,
    pub(crate) line: usize,
    /// `pub use`: passed on to other modules.
    pub(crate) is_passed_on: bool,
}

pub(crate) struct Mention {
    pub(crate) path: Path,
    pub(crate) line: usize,
}

/// The modules of a file, its own first.
pub(crate) fn read(path: &str, text: &str) -> Vec<Scope> {
    let file = syn::parse_file(text).unwrap_or_else(|error| panic!("{path}: {error}"));
    let mut reader = Reader { scopes: vec![Scope::default()], current: 0 };
    reader.visit_file(&file);
    reader.scopes
}

struct Reader {
    scopes: Vec<Scope>,
    current: usize,
}

impl Reader {
    fn scope(&mut self) -> &mut Scope {
        &mut self.scopes[self.current]
    }

    fn mention(&mut self, path: Path, span: Span) {
        let line = span.start().line;
        self.scope().mentions.push(Mention { path, line });
    }

    fn declare(&mut self, item: &Item) {
        let (ident, vis, is_type) = match item {
            Item::Struct(item) => (&item.ident, &item.vis, true),
            Item::Enum(item) => (&item.ident, &item.vis, true),
            Item::Union(item) => (&item.ident, &item.vis, true),
            Item::Trait(item) => (&item.ident, &item.vis, true),
            Item::Type(item) => (&item.ident, &item.vis, true),
            Item::Fn(item) => (&item.sig.ident, &item.vis, false),
            Item::Const(item) => (&item.ident, &item.vis, false),
            Item::Static(item) => (&item.ident, &item.vis, false),
            Item::Macro(item) => match &item.ident {
                Some(ident) => (ident, &Visibility::Inherited, false),
                None => return,
            },
            _ => return,
        };
        let is_shared_type = is_type && !matches!(vis, Visibility::Inherited);
        let declared = Declared { name: name(ident), line: line(ident), is_shared_type };
        self.scope().declared.push(declared);
    }

    fn import(&mut self, tree: &UseTree, before: &[String], is_passed_on: bool) {
        let mut path = before.to_vec();
        let (ident, alias) = match tree {
            UseTree::Path(tree) => {
                path.push(name(&tree.ident));
                return self.import(&tree.tree, &path, is_passed_on);
            }
            UseTree::Group(group) => {
                return group.items.iter().for_each(|tree| self.import(tree, &path, is_passed_on));
            }
            UseTree::Glob(glob) => {
                let line = glob.star_token.spans[0].start().line;
                let import = Import { path, alias: "*".to_owned(), line, is_passed_on };
                return self.scope().imports.push(import);
            }
            UseTree::Name(tree) => (&tree.ident, None),
            UseTree::Rename(tree) => (&tree.ident, Some(name(&tree.rename))),
        };
        // `a::{self}` imports `a`.
        if ident != "self" || path.is_empty() {
            path.push(name(ident));
        }
        let alias = alias.unwrap_or_else(|| path.last().cloned().unwrap_or_default());
        self.scope().imports.push(Import { path, alias, line: line(ident), is_passed_on });
    }

    /// The paths in what a macro is given.
    fn tokens(&mut self, tokens: TokenStream) {
        let mut path = Path::new();
        let mut colons = 0;
        let mut span = None;
        for token in tokens {
            match token {
                TokenTree::Ident(ident) => {
                    if colons != 2 {
                        self.end_of_path(&mut path, span);
                        span = Some(ident.span());
                    }
                    path.push(name(&ident));
                    colons = 0;
                    continue;
                }
                TokenTree::Punct(p) if p.as_char() == ':' && !path.is_empty() => {
                    let goes_on = colons == 1 || p.spacing() == Spacing::Joint;
                    colons = if goes_on { colons + 1 } else { 0 };
                    if goes_on {
                        continue;
                    }
                }
                TokenTree::Group(group) => self.tokens(group.stream()),
                TokenTree::Punct(_) | TokenTree::Literal(_) => {}
            }
            colons = 0;
            self.end_of_path(&mut path, span);
        }
        self.end_of_path(&mut path, span);
    }

    fn end_of_path(&mut self, path: &mut Path, span: Option<Span>) {
        if let Some(span) = span.filter(|_| !path.is_empty()) {
            self.mention(std::mem::take(path), span);
        }
    }
}

impl<'ast> Visit<'ast> for Reader {
    fn visit_item(&mut self, item: &'ast Item) {
        if is_for_tests(attributes(item)) {
            return;
        }
        match item {
            Item::Use(item) => {
                let is_passed_on = !matches!(item.vis, Visibility::Inherited);
                self.import(&item.tree, &[], is_passed_on);
            }
            Item::Mod(item) => match &item.content {
                None => self.scope().children.push(name(&item.ident)),
                Some((_, items)) => {
                    let outer = self.current;
                    let mut inside = self.scope().inside.clone();
                    inside.push(name(&item.ident));
                    self.current = self.scopes.len();
                    self.scopes.push(Scope { inside, ..Scope::default() });
                    for item in items {
                        self.visit_item(item);
                    }
                    self.current = outer;
                }
            },
            item => {
                self.declare(item);
                visit::visit_item(self, item);
            }
        }
    }

    fn visit_block(&mut self, block: &'ast syn::Block) {
        // What a function declares for itself is no name of the module.
        let declared = self.scope().declared.len();
        visit::visit_block(self, block);
        self.scope().declared.truncate(declared);
    }

    fn visit_impl_item(&mut self, item: &'ast syn::ImplItem) {
        let attributes = match item {
            syn::ImplItem::Fn(item) => &item.attrs,
            syn::ImplItem::Const(item) => &item.attrs,
            _ => return visit::visit_impl_item(self, item),
        };
        if !is_for_tests(attributes) {
            visit::visit_impl_item(self, item);
        }
    }

    fn visit_field(&mut self, field: &'ast syn::Field) {
        if !is_for_tests(&field.attrs) {
            visit::visit_field(self, field);
        }
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        if let Some(first) = path.segments.first() {
            let names = path.segments.iter().map(|segment| name(&segment.ident)).collect();
            self.mention(names, first.ident.span());
        }
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, called: &'ast syn::Macro) {
        visit::visit_macro(self, called);
        self.tokens(called.tokens.clone());
    }

    fn visit_signature(&mut self, signature: &'ast syn::Signature) {
        if let Some(token) = &signature.asyncness {
            self.mention(vec!["async".to_owned()], token.span);
        }
        visit::visit_signature(self, signature);
    }

    fn visit_expr_method_call(&mut self, call: &'ast syn::ExprMethodCall) {
        if call.method == ELAPSED[1..] {
            self.mention(vec![ELAPSED.to_owned()], call.method.span());
        }
        visit::visit_expr_method_call(self, call);
    }

    fn visit_expr_async(&mut self, expr: &'ast syn::ExprAsync) {
        self.mention(vec!["async".to_owned()], expr.async_token.span);
        visit::visit_expr_async(self, expr);
    }

    fn visit_expr_await(&mut self, expr: &'ast syn::ExprAwait) {
        self.mention(vec!["await".to_owned()], expr.await_token.span);
        visit::visit_expr_await(self, expr);
    }

    // `pub(in crate::room)` and `#[derive(…)]` import nothing.
    fn visit_visibility(&mut self, _: &'ast Visibility) {}
    fn visit_attribute(&mut self, _: &'ast Attribute) {}
}

fn name(ident: &Ident) -> String {
    ident.to_string()
}

fn line(ident: &Ident) -> usize {
    ident.span().start().line
}

/// Whether this is `#[cfg(test)]`, alone or as one of several conditions that must all hold.
fn is_for_tests(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let syn::Meta::List(list) = &attribute.meta else { return false };
        let condition = list.tokens.to_string().replace(' ', "");
        list.path.is_ident("cfg") && (condition == "test" || condition.starts_with("all(test,"))
    })
}

fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Macro(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => &[],
    }
}
