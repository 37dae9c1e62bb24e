//! A database that knows nothing of a group's offsets: refused, or told once to take them for its own.

use rdkafka::consumer::{CommitMode, Consumer as _};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use write_behind_consumer::run::{RunError, RunOptions};

use super::world::{Running, TOPIC, World, wait_for};
use super::{send_visits, visits};

/// Starts a consumer that is told to adopt the group's offsets.
fn adopting(world: &World) -> Running {
    let options = RunOptions { adopt_offsets: true, ..RunOptions::default() };
    Running::start(world.config("", ""), options)
}

#[test]
fn a_group_that_has_committed_and_a_database_that_knows_nothing_are_refused() {
    let world = World::new();
    send_visits(&world, 100);
    let consumer = world.start();
    wait_for("it is written", || world.is_initialised() && visits(&world) == 100, |done| *done);
    consumer.drain().unwrap();
    world.execute("DELETE FROM write_behind_offsets");
    let refused = world.start().ended();
    let Err(RunError::Refused(why)) = refused else { panic!("not refused: {refused:?}") };
    assert!(why.contains("--adopt-offsets"), "{why}");
    assert_eq!(visits(&world), 100, "nothing was applied twice");
    let consumer = adopting(&world);
    send_visits(&world, 50);
    wait_for("it goes on", || visits(&world), |visits| *visits >= 150);
    consumer.drain().unwrap();
    assert_eq!(visits(&world), 150);
}

#[test]
fn a_flag_that_adopts_offsets_and_stays_adopts_no_emptied_database() {
    let world = World::new();
    let client = world.client();
    let mut of_another_program = TopicPartitionList::new();
    of_another_program.add_partition_offset(TOPIC, 0, Offset::Offset(0)).unwrap();
    client.commit(&of_another_program, CommitMode::Sync).unwrap();
    let empty = "DELETE FROM write_behind_offsets";
    let consumer = adopting(&world);
    // No record comes, so nothing but the note itself is committed.
    let is_noted = || world.committed().iter().all(Option::is_some);
    wait_for("it has adopted, and every partition's offset is noted", is_noted, |noted| *noted);
    consumer.drain().unwrap();
    world.execute(empty);
    let refused = adopting(&world).ended();
    let Err(RunError::Refused(why)) = refused else { panic!("not refused: {refused:?}") };
    assert!(why.contains("once already") && why.contains("hand-over adopt"), "{why}");
    // What it commits later does not hide that it has adopted, nor does a start without the flag.
    world.execute(
        "INSERT INTO write_behind_offsets (pipeline, cluster, topic, \"partition\", \
                   next_offset, partitions) SELECT pipeline, cluster, topic, column1, 0, 4 \
                   FROM write_behind_tables, (VALUES (0), (1), (2), (3))",
    );
    send_visits(&world, 100);
    let consumer = world.start();
    wait_for("it goes on", || visits(&world), |visits| *visits >= 100);
    consumer.drain().unwrap();
    assert_eq!(world.committed(), world.positions());
    world.execute(empty);
    let refused = adopting(&world).ended();
    assert!(matches!(refused, Err(RunError::Refused(_))), "{refused:?}");
}

#[test]
fn a_flag_that_stands_there_from_the_first_start_adopts_no_emptied_database_either() {
    let world = World::new();
    send_visits(&world, 100);
    let consumer = adopting(&world);
    wait_for("it is written", || world.is_initialised() && visits(&world) == 100, |done| *done);
    consumer.drain().unwrap();
    world.execute("DELETE FROM write_behind_offsets");
    let refused = adopting(&world).ended();
    let Err(RunError::Refused(why)) = refused else { panic!("not refused: {refused:?}") };
    assert!(why.contains("once already"), "{why}");
}
