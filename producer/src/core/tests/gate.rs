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
    let reason: Arc<str> = "not authorized".into();
    gate.hold(&reason);
    gate.hold(&"more of the same".into());
    assert_eq!(gate.take_news(), Some(GateNews::OnHold(Arc::clone(&reason))));
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
fn writes_that_were_refused_together_go_one_by_one_and_those_behind_them_wait_for_that() {
    let mut gate = SendGate::new();
    gate.delivered(0);
    gate.one_by_one_below(4);
    for answered in 0..4 {
        assert!(!gate.is_open() && gate.lets_try(Instant::now(), false), "alone");
        gate.tried(answered);
        assert!(gate.delivered(answered + 1), "the next may go");
    }
    assert!(gate.is_open());
}

#[test]
fn a_held_partition_is_tried_soon_once_its_handle_is_being_closed() {
    let (mut gate, start) = (SendGate::new(), Instant::now());
    gate.delivered(5);
    let reason: Arc<str> = "not authorized".into();
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
