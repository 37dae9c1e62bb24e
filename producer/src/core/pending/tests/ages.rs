//! How old the rows are that changes are folded over.

use super::races::{Scene, add, found, id, row};
use super::*;
use crate::core::age::KnownSince;
use crate::core::loaded::Reading;

/// Others add to the row too, and this process never stops.
#[test]
fn a_row_that_is_added_to_all_the_time_is_loaded_again_once_its_copy_is_too_old() {
    let mut scene = Scene::new();
    scene.copies.insert(id(), row(10), KnownSince::at(0));
    let first = scene.accept(add(1));
    scene.ack(first, 0);
    for offset in 1..4 {
        scene.copies.now.set(offset as u64);
        let sequence = scene.accept(add(1));
        scene.ack(sequence, offset);
        scene.commit(offset);
    }
    assert_eq!(scene.pending.read(&id()), Some(RowState::Unknown), "the copy is too old");
    scene.pending.load_begins(&id());
    assert_eq!(scene.loaded(&found(113, Some(3))), Ok(Reading::of(Some(row(114)))));
    let sequence = scene.accept(add(1));
    scene.ack(sequence, 4);
    assert_eq!(scene.pending.read(&id()), Some(RowState::Known(Some(row(115)))));
    scene.commit(5);
    assert_eq!(scene.copies.row(), Some(row(115)), "it is as old as that load");
}

#[test]
fn a_copy_that_was_added_to_is_no_younger_for_it_and_one_that_was_written_whole_is() {
    for (delta, after, lives) in [(add(1), row(11), false), (Delta::Put(row(7)), row(7), true)] {
        let mut scene = Scene::new();
        scene.copies.insert(id(), row(10), KnownSince::at(0));
        scene.copies.now.set(1);
        let sequence = scene.accept(delta);
        scene.ack(sequence, 0);
        scene.commit(1);
        assert_eq!(scene.copies.row(), Some(after));
        scene.copies.now.set(2);
        assert_eq!(scene.copies.row().is_some(), lives);
    }
}

#[test]
fn a_read_that_loads_a_row_leaves_what_a_modification_of_it_has_loaded() {
    let mut scene = Scene::new();
    scene.pending.pin(&id(), &scene.copies);
    scene.pending.load_begins(&id());
    scene.loaded(&found(10, Some(0))).unwrap();
    scene.pending.load_begins(&id());
    assert_eq!(scene.pending.pinned(&id()), Some(Some(row(10))), "another read began a load");
    scene.pending.invalidate(&id());
    assert_eq!(scene.pending.pinned(&id()), None, "the database may hold another row");
}

#[test]
fn modifications_that_follow_each_other_keep_no_row_for_longer_than_it_may_live() {
    let mut scene = Scene::new();
    scene.copies.insert(id(), row(10), KnownSince::at(0));
    scene.pending.pin(&id(), &scene.copies);
    assert_eq!(scene.pending.pinned(&id()), Some(Some(row(10))));
    scene.copies.now.set(2);
    scene.pending.pin(&id(), &scene.copies);
    scene.pending.unpin(&id(), &scene.copies);
    assert_eq!(scene.pending.pinned(&id()), None, "it is too old: it must be loaded");
}
