//! What each call allocates, beside a table. Seconds differ from machine to machine; these counts do
//! not, so that a change which costs an allocation is seen here, by the name of the call.

#![expect(clippy::unwrap_used, reason = "a broken test bed fails the test")]

use std::alloc::System;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use write_behind_producer::testing::Broker;
use write_behind_producer::{WhenFull, WriteBehind};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Calls of one kind that are counted together.
const CALLS: u64 = 400;
/// Each kind is counted this often, and the least counts: other threads of the process allocate too.
const ROUNDS: u64 = 5;
/// How much more than the table says passes.
const MORE: f64 = 1.05;

/// The calls, in the order in which they are made: allocations of one, and bytes that it asks for. New
/// rows ask for a chunk of 256 rows' room now and then.
const TABLE: [(&str, f64, f64); 8] = [
    ("put of a pending row", 1.0, 56.0),
    ("put of a new row", 2.0, 213.0),
    ("add to a pending row", 5.0, 205.0),
    ("add to a new row", 6.0, 362.0),
    ("delete of a pending row", 0.0, 0.0),
    ("get of a pending row", 1.0, 6.0),
    ("peek at a pending row", 1.0, 6.0),
    ("get of a cached row", 1.0, 6.0),
];

type Players = WriteBehind<u64, Player>;

#[derive(Debug, Deserialize, Serialize)]
struct Player {
    name: String,
    score: u64,
    level: u32,
}

fn player(score: u64) -> Player {
    Player { name: "player".to_owned(), score, level: 7 }
}

async fn players(broker: &Broker) -> Players {
    let find = |id: u64| async move { Ok::<_, std::io::Error>(Some(player(id))) };
    let builder = Players::builder("players", broker.properties()).sink_group("player-writer");
    builder.max_pending(1 << 30, WhenFull::Reject).loader(find).build().await.unwrap()
}

/// The least that `CALLS` calls take in one of the rounds, for one call: allocations and bytes. Each
/// call is told its number.
async fn least(mut call: impl AsyncFnMut(u64)) -> (f64, f64) {
    let mut least = (f64::MAX, f64::MAX);
    for round in 0..ROUNDS {
        let region = Region::new(ALLOCATOR);
        for n in round * CALLS..(round + 1) * CALLS {
            call(n).await;
        }
        let change = region.change();
        let asked = change.allocations + change.reallocations;
        let grown = change.bytes_allocated as f64 / CALLS as f64;
        least = (least.0.min(asked as f64 / CALLS as f64), least.1.min(grown));
    }
    least
}

#[tokio::test]
async fn no_call_allocates_more_than_the_table_says() {
    const ROWS: u64 = ROUNDS * CALLS;
    let broker = Broker::start().unwrap().topic("players", 1).unwrap();
    let scores = players(&broker).await;
    // Rows that are pending: nothing commits, so they stay.
    for id in 0..3 * ROWS {
        scores.put(&id, &player(id)).await.unwrap();
    }
    scores.replicated_all().await.unwrap();
    for id in 10 * ROWS..11 * ROWS {
        scores.get(&id).await.unwrap();
    }
    // No answers while it is counted.
    broker.brokers_down().unwrap();
    let row = player(1);
    let measured = [
        least(async |n| drop(scores.put(&n, &row).await.unwrap())).await,
        least(async |n| drop(scores.put(&(4 * ROWS + n), &row).await.unwrap())).await,
        least(async |n| drop(scores.add(&(ROWS + n), "score", 1).await.unwrap())).await,
        least(async |n| drop(scores.add(&(5 * ROWS + n), "score", 1).await.unwrap())).await,
        least(async |n| drop(scores.delete(&(2 * ROWS + n)).await.unwrap())).await,
        least(async |n| drop(scores.get(&n).await.unwrap().unwrap())).await,
        least(async |n| drop(scores.peek(&n).unwrap().unwrap())).await,
        least(async |n| drop(scores.get(&(10 * ROWS + n)).await.unwrap().unwrap())).await,
    ];
    let mut grown = Vec::new();
    println!("{:<26} allocations     bytes   (in the table)", "a call");
    for ((call, allocations, bytes), measured) in TABLE.into_iter().zip(measured) {
        println!(
            "{call:<26} {:>11.2} {:>9.0}   ({allocations:.2}, {bytes:.0})",
            measured.0, measured.1
        );
        // A few of other threads are no more of a call's own.
        if measured.0 > allocations * MORE + 0.01 || measured.1 > bytes * MORE + 1.0 {
            grown.push(call);
        }
    }
    broker.brokers_up().unwrap();
    let closed = scores.close(Duration::from_secs(20)).await;
    assert!(closed.is_ok(), "{closed:?}");
    assert!(grown.is_empty(), "these allocate over 5 % more than the table says: {grown:?}");
}
