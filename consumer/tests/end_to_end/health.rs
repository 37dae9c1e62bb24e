//! Whether a consumer is ready is about its work: what Kafka does not let it read is told, and lasts as
//! long as it is so.

use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};

use super::world::{PARTITIONS, TOPIC, World, wait_for};
use super::{send_visits, visits};

#[test]
fn what_may_be_described_and_not_read_is_told_until_it_is_read() {
    let world = World::new();
    let consumer = world.start();
    wait_for("it is ready", || consumer.status.unreadiness(), Option::is_none);
    let refused = RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED;
    world.cluster.request_errors(RDKafkaApiKey::Fetch, &vec![refused; 100_000]);
    send_visits(&world, 100);
    let why = || consumer.status.unreadiness().unwrap_or_default();
    // The ends of the logs are asked for all the while, and answered.
    let says = wait_for("it stands still", why, |why| why.contains("has stood still"));
    assert!(says.contains("kafka: ") && says.contains("uthorization"), "{says}");
    assert!(says.contains("may this user read the topic?"), "{says}");
    world.cluster.clear_request_errors(RDKafkaApiKey::Fetch);
    wait_for("it is read", || visits(&world), |visits| *visits == 100);
    wait_for("it is ready again", || consumer.status.unreadiness(), Option::is_none);
    consumer.drain().unwrap();
}

#[test]
fn a_kafka_that_hangs_is_told_and_the_lag_stays_what_it_was() {
    let world = World::new();
    send_visits(&world, 100);
    let consumer = world.start();
    wait_for("it is written", || world.is_initialised() && visits(&world) == 100, |done| *done);
    let lag = || consumer.status.snapshot().lag;
    wait_for("the lag is known", lag, |lag| *lag == Some(0));
    world.cluster.broker_round_trip_time(1, Duration::from_mins(2)).unwrap();
    let why = || consumer.status.unreadiness().unwrap_or_default();
    wait_for("it says so", why, |why| why.contains("has not answered for"));
    assert_eq!(lag(), Some(0));
    consumer.kill();
}

#[test]
fn the_ends_of_the_logs_are_known_as_soon_as_partitions_are_read() {
    let world = World::new();
    for partition in 0..4 {
        world.send_to(partition, Some("7"), Some("{}"), None);
    }
    world.flush();
    let consumer = world.start();
    let read = wait_for(
        "all is read",
        || consumer.status.report().routes.remove(0).partitions,
        |partitions| {
            partitions.len() == 4 && partitions.iter().all(|one| one.read_offset.is_some())
        },
    );
    let ends: Vec<_> = read.iter().map(|one| one.log_end).collect();
    assert_eq!(ends, [Some(1); 4], "{TOPIC}: {read:?}");
    consumer.drain().unwrap();
}

#[test]
fn a_consumer_that_waits_for_a_member_of_its_group_says_so() {
    let world = World::new();
    let old: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", world.cluster.bootstrap_servers())
        .set("group.id", "scores")
        .set("session.timeout.ms", "6000")
        .create()
        .unwrap();
    old.subscribe(&[TOPIC]).unwrap();
    let has_all = |held: &usize| *held == PARTITIONS as usize;
    let held = || {
        old.poll(Duration::from_millis(50));
        old.assignment().unwrap().count()
    };
    wait_for("it holds the partitions", held, has_all);
    // From here on it answers nothing, as a process that was killed.
    let consumer = world.start();
    let why = || consumer.status.unreadiness().unwrap_or_default();
    wait_for("it says what it waits for", why, |why| why.contains("a member that did not leave"));
    wait_for("it is ready", || consumer.status.unreadiness(), Option::is_none);
    consumer.drain().unwrap();
}
