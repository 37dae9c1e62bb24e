//! Tests of the gate: what goes alone, what waits, and for how long.

use super::*;

fn at(start: Instant, ms: u64) -> Instant {
    start + Duration::from_millis(ms)
}

#[test]
fn nothing_follows_the_first_write_of_a_client_before_kafka_has_it() {
    let mut gate = SendGate::new();
    let now = Instant::now();
    assert!(!gate.is_open());
    assert!(gate.lets_try(now), "alone");
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
    let reason: Arc<str> = "not authorized".into();
    gate.hold(&reason);
    gate.hold(&"more of the same".into());
    assert_eq!(gate.take_news(), Some(GateNews::OnHold(Arc::clone(&reason))));
    assert!(!gate.is_open() && gate.is_held());
    let mut now = 0;
    for wait in [250, 500, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000] {
        assert!(!gate.lets_try(at(start, now)), "the wait begins");
        assert!(!gate.lets_try(at(start, now + wait - 1)), "not before {wait} ms");
        now += wait;
        assert!(gate.lets_try(at(start, now)), "after {wait} ms");
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
fn writes_that_were_refused_together_go_one_by_one_and_those_behind_them_wait_for_that() {
    let mut gate = SendGate::new();
    gate.delivered(0);
    gate.one_by_one_below(4);
    for answered in 0..4 {
        assert!(!gate.is_open() && gate.lets_try(Instant::now()), "alone");
        gate.tried(answered);
        assert!(gate.delivered(answered + 1), "the next may go");
    }
    assert!(gate.is_open());
}
