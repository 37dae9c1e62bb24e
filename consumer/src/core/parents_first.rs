//! An order of rows in which each comes after the rows of the same table that it refers to.
//!
//! Pure. Within a statement foreign keys are checked at its end, or row by row in the rows' order;
//! between statements, rows that are still to come are missing. Rows in a cycle have no such order:
//! they keep the one they came in.

use std::collections::{BTreeSet, HashMap};

use crate::core::table::Table;
use crate::core::table::row::{Row, RowCell};

/// Rows by statement: groups of rows that write the same columns.
pub(crate) type Groups<'a, S> = Vec<(S, Vec<&'a Row<'a>>)>;

/// The same rows in as few groups of the same shapes as it takes to have parents first.
pub(crate) fn parents_first<'a, S: Clone>(
    table: &Table,
    groups: &[(S, Vec<&'a Row<'a>>)],
) -> Groups<'a, S> {
    let rows: Vec<(usize, &Row<'_>)> = groups
        .iter()
        .enumerate()
        .flat_map(|(group, (_, rows))| rows.iter().map(move |row| (group, *row)))
        .collect();
    let mut references = References::of(table, &rows);
    let mut ready = vec![BTreeSet::new(); groups.len()];
    for at in references.ready() {
        ready[rows[at].0].insert(at);
    }
    let mut ordered: Groups<'a, S> = Vec::with_capacity(groups.len());
    while let Some(group) = ready.iter().position(|ready| !ready.is_empty()) {
        let mut alike = Vec::new();
        while let Some(at) = ready[group].pop_first() {
            alike.push(rows[at].1);
            references.written(at, |child| {
                ready[rows[child].0].insert(child);
            });
        }
        ordered.push((groups[group].0.clone(), alike));
    }
    for (group, (shape, _)) in groups.iter().enumerate() {
        let in_cycle = rows
            .iter()
            .zip(&references.parents)
            .filter(|((of, _), left)| **left > 0 && *of == group);
        let left: Vec<_> = in_cycle.map(|((_, row), _)| *row).collect();
        if !left.is_empty() {
            ordered.push((shape.clone(), left));
        }
    }
    ordered
}

/// Takes `part` of `rows`, by their places, in two. Rows that refer to each other stay together as
/// long as there are others: none is refused because another one of the part is bad. So rows change
/// their order, which only a batch's folded rows may: single records go by [`in_halves`].
pub(crate) fn in_two(table: &Table, rows: &[&Row<'_>], part: &[usize]) -> (Vec<usize>, Vec<usize>) {
    if table.own_references.is_empty() {
        return in_halves(part);
    }
    let of_part: Vec<(usize, &Row<'_>)> = part.iter().map(|place| (0, rows[*place])).collect();
    let components = References::of(table, &of_part).components();
    let (mut first, mut second) = (Vec::new(), Vec::new());
    for component in components {
        let half = if first.len() + component.len() <= part.len().div_ceil(2) || first.is_empty() {
            &mut first
        } else {
            &mut second
        };
        half.extend(component.into_iter().map(|at| part[at]));
    }
    if second.is_empty() {
        return in_halves(part);
    }
    first.sort_unstable();
    second.sort_unstable();
    (first, second)
}

/// Whether some rows of `part` refer to each other in a circle.
pub(crate) fn has_cycle(table: &Table, rows: &[&Row<'_>], part: &[usize]) -> bool {
    if table.own_references.is_empty() {
        return false;
    }
    let of_part: Vec<(usize, &Row<'_>)> = part.iter().map(|place| (0, rows[*place])).collect();
    let mut references = References::of(table, &of_part);
    let mut ready: Vec<usize> = references.ready().collect();
    while let Some(at) = ready.pop() {
        references.written(at, |child| ready.push(child));
    }
    references.parents.iter().any(|parents| *parents > 0)
}

/// Takes `part` in two, in its order.
pub(crate) fn in_halves(part: &[usize]) -> (Vec<usize>, Vec<usize>) {
    let (first, second) = part.split_at(part.len() / 2);
    (first.to_vec(), second.to_vec())
}

/// Which of some rows refer to which, by their places.
struct References {
    /// The rows that refer to each row.
    children: Vec<Vec<usize>>,
    /// How many rows each row refers to that are not written yet.
    parents: Vec<usize>,
}

impl References {
    fn of(table: &Table, rows: &[(usize, &Row<'_>)]) -> Self {
        let mut found =
            Self { children: vec![Vec::new(); rows.len()], parents: vec![0; rows.len()] };
        for reference in &table.own_references {
            let places = rows.iter().enumerate();
            let offered: HashMap<Vec<&str>, usize> = places
                .clone()
                .filter_map(|(at, (_, row))| Some((texts(table, row, &reference.referenced)?, at)))
                .collect();
            for (at, (_, row)) in places {
                let wanted = texts(table, row, &reference.columns);
                let parent = wanted.and_then(|wanted| offered.get(&wanted));
                if let Some(parent) = parent.filter(|parent| **parent != at) {
                    found.children[*parent].push(at);
                    found.parents[at] += 1;
                }
            }
        }
        found
    }

    /// The rows that refer to none that is still to be written.
    fn ready(&self) -> impl Iterator<Item = usize> {
        let parents = self.parents.iter().enumerate();
        parents.filter(|(_, parents)| **parents == 0).map(|(at, _)| at)
    }

    /// Notes that the row at `at` is written, and names each row that waited for it alone.
    fn written(&mut self, at: usize, mut ready: impl FnMut(usize)) {
        for child in &self.children[at] {
            self.parents[*child] -= 1;
            if self.parents[*child] == 0 {
                ready(*child);
            }
        }
    }

    /// The rows by component: no row of one refers to a row of another.
    fn components(&self) -> Vec<Vec<usize>> {
        let mut relatives = self.children.clone();
        for (parent, children) in self.children.iter().enumerate() {
            for child in children {
                relatives[*child].push(parent);
            }
        }
        let (mut components, mut seen) = (Vec::new(), vec![false; relatives.len()]);
        for at in 0..relatives.len() {
            let (mut component, mut next) = (Vec::new(), vec![at]);
            while let Some(at) = next.pop() {
                if !std::mem::replace(&mut seen[at], true) {
                    component.push(at);
                    next.extend(&relatives[at]);
                }
            }
            if !component.is_empty() {
                components.push(component);
            }
        }
        components
    }
}

/// The texts that a row has in these columns; `None`, if it does not name one or sets it to NULL.
fn texts<'r>(table: &Table, row: &'r Row<'_>, columns: &[String]) -> Option<Vec<&'r str>> {
    let text = |name: &String| {
        if let Some(at) = table.key.iter().position(|key| key.name == *name) {
            return row.key.get(at).map(|text| &**text);
        }
        let place = table.column(name)?;
        let (_, cell) = row.write.as_ref()?.iter().find(|(at, _)| *at == place)?;
        match cell {
            RowCell::Set(text) => text.as_deref(),
            RowCell::Add(_) => None,
        }
    };
    columns.iter().map(text).collect()
}

#[cfg(test)]
#[path = "tests/parents_first.rs"]
mod tests;
