//! What a point costs the node that sits in a meeting and neither sends nor watches anything.
//!
//! `cargo run --release -p sfu --example idle -- [POINTS] [SECONDS]` seats 239 points on a node in this process, over real
//! sockets, each with its handshake done, and reads how long the node's thread was on a processor meanwhile.

#[path = "../tests/node/client.rs"]
#[allow(dead_code, reason = "the tests use the rest")]
mod client;
#[path = "../tests/node/kit.rs"]
#[allow(dead_code, reason = "the tests use the rest")]
mod kit;

use std::{fs, time::Duration};

use client::Client;
use kit::*;
use sfu::{control::RoomPolicy, driver::client as control};
use tokio::time::{Instant, interval, timeout};

/// A browser asks for consent so often (RFC 7675 §5.1), each point at its own time.
const CONSENT_EVERY: Duration = Duration::from_secs(5);

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let mut arguments = std::env::args().skip(1).map(|word| word.parse::<u32>());
    let mut argument = |default| arguments.next().and_then(Result::ok).unwrap_or(default);
    let (points, seconds) = (argument(239), argument(20));
    let (_node, connector) = start();
    let (control, mut events, welcome) = control::connect_in_process(&connector).await.expect("a node");
    let policy = RoomPolicy {
        points_max: 1_000,
        ..RoomPolicy::default()
    };
    open_room_with(&control, policy).await;
    let mut seated = Vec::new();
    for point in 1..=points {
        let name = format!("point-{point}");
        let mut client = Client::new(welcome.media[0]).await;
        let mut join = join(&name, point, client.offer());
        join.published.clear();
        let answer = answer(&control, join).await;
        client.connect(&answer).await;
        connected(&mut events, &name).await;
        seated.push((client, answer));
    }
    println!("{points} points are in");
    let before = shard_time();
    let begun = Instant::now();
    let end = begun + Duration::from_secs(seconds.into());
    let mut turns = interval(CONSENT_EVERY / points.max(1));
    for (client, answer) in seated.iter().cycle() {
        if timeout(end - Instant::now(), turns.tick()).await.is_err() {
            break;
        }
        client.check(answer).await;
    }
    let (cpu, wall) = (shard_time() - before, begun.elapsed());
    let each = cpu.as_secs_f64() * 1_000.0 / wall.as_secs_f64() / f64::from(points);
    println!("the shard was on a processor for {cpu:?} of {wall:?}: {each:.4} ms a second for each point");
}

/// How long the shard's thread has been on a processor.
fn shard_time() -> Duration {
    let tasks = fs::read_dir("/proc/self/task").expect("Linux").flatten();
    let shard = tasks.map(|task| task.path()).find(|task| {
        let name = fs::read_to_string(task.join("comm")).unwrap_or_default();
        name.trim() == "shard-0"
    });
    let text = fs::read_to_string(shard.expect("a shard").join("schedstat")).expect("kept by the kernel");
    let nanoseconds = text.split(' ').next().and_then(|word| word.parse().ok());
    Duration::from_nanos(nanoseconds.expect("a number"))
}
