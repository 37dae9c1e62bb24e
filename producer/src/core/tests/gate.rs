//! Tests of the gate: what goes alone, what waits, and for how long.

use proptest::prelude::*;

use super::*;

fn at(start: Instant, ms: u64) -> Instant {
    start + Duration::from_millis(ms)
}

#[test]
fn nothing_follows_the_first_write_of_a_client_before_kafka_has_it() {
    let mut gate = SendGate::new();
    let now = Instant::now();
    assert!(!gate.is_open());
    assert!(gate.lets_try(now, false), "alone");
    gate.tried(0);
    assert!(!gate.is_open());
    assert!(gate.delivered(1), "more may follow");
    assert!(gate.is_open());
    assert!(!gate.delivered(2), "it was open");
    gate.client_gone();
    assert!(!gate.is_open(), "brokers do not know the next client");
    assert_eq!(gate.take_news(), None);
}

#[test]
fn a_held_partition_is_tried_again_after_ever_longer_waits_until_kafka_takes_it() {
    let (mut gate, start) = (SendGate::new(), Instant::now());
    gate.delivered(5);
    let reason: Reason = "not authorized".into();
    gate.hold(&reason);
    gate.hold(&"more of the same".into());
    assert_eq!(gate.take_news(), Some(GateNews::OnHold(reason.clone())));
    assert!(!gate.is_open() && gate.is_held());
    let mut now = 0;
    for wait in [250, 500, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000] {
        assert!(!gate.lets_try(at(start, now), false), "the wait begins");
        assert!(!gate.lets_try(at(start, now + wait - 1), false), "not before {wait} ms");
        now += wait;
        assert!(gate.lets_try(at(start, now), false), "after {wait} ms");
        gate.delivered(5);
        gate.tried(5);
        gate.delivered(5);
        assert!(gate.is_held(), "the answers are to writes from before");
        gate.hold(&reason);
    }
    assert_eq!(gate.take_news(), None, "it is told once");
    gate.tried(5);
    assert!(gate.delivered(6));
    assert!(gate.is_open());
    assert_eq!(gate.take_news(), Some(GateNews::Open));
}

#[test]
fn a_few_writes_that_were_refused_together_go_one_by_one_and_those_behind_them_wait_for_that() {
    let mut gate = SendGate::new();
    gate.delivered(0);
    gate.split(0..4);
    for answered in 0..4 {
        assert!(!gate.is_open() && gate.lets_try(Instant::now(), false), "alone");
        gate.tried(answered);
        assert!(!gate.follows_its_part(answered + 1), "not before Kafka has it");
        assert!(gate.delivered(answered + 1), "the next may go");
    }
    assert!(gate.is_open());
}

/// A partition and its client, as far as the gate matters: a broker refuses a batch for one bad
/// write in it, and the client ends with that.
struct Scene {
    gate: SendGate,
    bad: Vec<Sequence>,
    /// All below were answered.
    answered: Sequence,
    /// All below were given to the client.
    sent: Sequence,
    log: Vec<Sequence>,
    failed: Vec<Sequence>,
    refusals: usize,
    round_trips: usize,
}

impl Scene {
    fn new(bad: &[Sequence]) -> Self {
        Self {
            gate: SendGate::new(),
            bad: bad.to_vec(),
            answered: 0,
            sent: 0,
            log: Vec::new(),
            failed: Vec::new(),
            refusals: 0,
            round_trips: 0,
        }
    }

    /// Hands over all of `count` writes, in batches of up to these sizes.
    fn run(&mut self, count: Sequence, sizes: impl IntoIterator<Item = Sequence>) {
        let mut sizes = sizes.into_iter();
        while self.answered < count {
            self.hand_over(count);
            assert!(self.sent > self.answered, "nothing goes on");
            self.answer(sizes.next().unwrap());
        }
    }

    /// Gives the client what the gate lets through, of `count` writes.
    fn hand_over(&mut self, count: Sequence) {
        while self.sent < count {
            let follows = self.gate.is_open() || self.gate.follows_its_part(self.sent);
            if !follows && self.sent > self.answered {
                break;
            }
            if !follows {
                self.gate.tried(self.sent);
            }
            self.sent += 1;
        }
    }

    /// The broker takes a batch of up to `size`, or refuses it.
    fn answer(&mut self, size: Sequence) {
        self.round_trips += 1;
        let batch = self.answered..self.sent.min(self.answered + size);
        let is_bad = |sequence: &Sequence| self.bad.contains(sequence);
        if batch.clone().any(|sequence| is_bad(&sequence)) {
            self.refusals += 1;
            if batch.end - batch.start == 1 {
                self.failed.push(batch.start);
                self.answered += 1;
            } else {
                self.gate.split(batch);
            }
            self.gate.client_gone();
            self.sent = self.answered;
        } else {
            self.log.extend(batch.clone());
            self.answered = batch.end;
            self.gate.delivered(self.answered);
        }
    }
}

/// One by one they would take 10,000 round trips.
#[test]
fn one_bad_write_among_thousands_is_found_in_tens_of_round_trips() {
    let mut scene = Scene::new(&[7_777]);
    scene.run(10_000, std::iter::repeat(Sequence::MAX / 2));
    assert_eq!(scene.failed, [7_777]);
    assert!(scene.round_trips < 60, "{}", scene.round_trips);
}

proptest! {
    #[test]
    fn of_a_refused_batch_the_bad_writes_fail_alone_after_few_refusals_and_the_rest_stay_in_order(
        count in 1_u64..3_000,
        bad in prop::collection::btree_set(0_u64..3_000, 0..4),
        sizes in prop::collection::vec(1_u64..3_000, 1..8),
    ) {
        let bad: Vec<Sequence> = bad.into_iter().filter(|one| *one < count).collect();
        let mut scene = Scene::new(&bad);
        scene.run(count, sizes.into_iter().cycle());
        prop_assert_eq!(&scene.failed, &bad);
        let good: Vec<Sequence> = (0..count).filter(|one| !bad.contains(one)).collect();
        prop_assert_eq!(scene.log, good);
        let halvings = u64::BITS - count.leading_zeros();
        prop_assert!(scene.refusals <= bad.len() * (halvings as usize + 1), "{}", scene.refusals);
        prop_assert!(scene.gate.part_ends.len() <= halvings as usize + FEW as usize);
    }
}

#[test]
fn a_held_partition_is_tried_soon_once_its_handle_is_being_closed() {
    let (mut gate, start) = (SendGate::new(), Instant::now());
    gate.delivered(5);
    let reason: Reason = "not authorized".into();
    for _ in 0..8 {
        gate.hold(&reason);
        gate.tried(5);
    }
    gate.hold(&reason);
    assert!(!gate.lets_try(start, false));
    assert!(!gate.lets_try(at(start, 20_000), false), "the wait is long by now");
    assert!(!gate.lets_try(at(start, 20_000), true));
    assert!(!gate.lets_try(at(start, 20_249), true));
    assert!(gate.lets_try(at(start, 20_250), true));
    gate.tried(5);
    gate.hold(&reason);
    assert!(!gate.lets_try(at(start, 20_250), true), "each time it waits");
    assert!(gate.lets_try(at(start, 20_500), true));
}

#[test]
fn an_attempt_that_was_cut_off_by_the_end_of_the_client_waits_again_before_the_next() {
    let (mut gate, start) = (SendGate::new(), Instant::now());
    gate.delivered(5);
    gate.hold(&"not authorized".into());
    assert!(!gate.lets_try(start, false));
    gate.client_gone();
    assert!(gate.lets_try(at(start, 250), false), "nothing was tried: the wait goes on");
    gate.tried(5);
    gate.client_gone();
    assert!(!gate.lets_try(at(start, 300), false), "the wait begins again");
    assert!(gate.lets_try(at(start, 550), false));
}

#[test]
fn after_a_long_pause_the_first_write_goes_alone_because_brokers_forget_a_client() {
    let (mut gate, start) = (SendGate::new(), Instant::now());
    gate.delivered(1);
    let minute = |minutes: u64| at(start, minutes * 60_000);
    gate.is_idle(minute(0));
    gate.is_idle(minute(4));
    assert!(gate.is_open());
    gate.delivered(2);
    gate.is_idle(minute(6));
    gate.is_idle(minute(10));
    assert!(gate.is_open(), "it wrote in between");
    gate.is_idle(minute(11));
    assert!(!gate.is_open(), "the next one goes alone");
    assert!(gate.delivered(3) && gate.is_open());
    gate.is_idle(minute(20));
    assert!(gate.is_open(), "they know it again");
}
