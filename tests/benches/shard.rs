//! What a forwarded packet costs a whole node: sockets, keys and all, over loopback. Benchmarks report; a person judges.
//!
//! One camera, so many receivers asleep in epoll, frames of so many full packets. `cargo bench --bench shard -- 100 60 5 8`:
//! receivers, frames a second, packets of each, seconds (14 at most: nobody reports here). The cost is CPU time of the shard's thread alone; the receivers live in
//! the same process on another.

#[path = "../../sfu/tests/node/client.rs"]
#[allow(dead_code, reason = "the tests of the node use more of it")]
mod client;
#[path = "shard/fan.rs"]
mod fan;

use std::{collections::BTreeMap, fs, time::Duration};

use fan::{Fan, Mix};

fn main() {
    let figures: Vec<u32> = std::env::args()
        .filter_map(|figure| figure.parse().ok())
        .collect();
    let mixes = match figures[..] {
        [receivers, frames, packets, seconds] => vec![(receivers, frames, packets as u16, seconds)],
        _ => [(60, 5), (30, 20), (300, 1)]
            .map(|(frames, packets)| (100, frames, packets, 5))
            .to_vec(),
    };
    println!("receivers  frames/s  packets  CPU us/packet  datagrams  runs  system calls");
    for (receivers, frames, packets, seconds) in mixes {
        let mix = Mix {
            frames,
            packets,
            seconds,
        };
        run(receivers, mix);
    }
}

#[tokio::main(flavor = "current_thread")]
async fn run(receivers: u32, mix: Mix) {
    let mut fan = Fan::open(receivers).await;
    let before = look(&fan).await;
    fan.play(mix).await;
    let after = look(&fan).await;
    let told = |name: &str| after.1.get(name).unwrap_or(&0) - before.1.get(name).unwrap_or(&0);
    let nanos = (after.0 - before.0).as_nanos() as u64;
    let forwarded = told("out_video");
    println!(
        "{receivers:>9} {:>9} {:>8} {:>14.3} {:>10} {:>5} {:>13}",
        mix.frames,
        mix.packets,
        nanos as f64 / 1_000.0 / forwarded as f64,
        forwarded,
        told("runs"),
        told("system_calls")
    );
    fan.close().await;
}

/// What it cost and sent so far.
async fn look(fan: &Fan) -> (Duration, BTreeMap<String, u64>) {
    let sent = fan.sent().await;
    (cost(), sent)
}

/// CPU time of the shard's thread so far.
fn cost() -> Duration {
    let threads = fs::read_dir("/proc/self/task").expect("Linux");
    let all = threads.flatten().filter_map(|thread| {
        let name = fs::read_to_string(thread.path().join("comm")).ok()?;
        let stat = fs::read_to_string(thread.path().join("schedstat")).ok()?;
        let nanos = stat.split_whitespace().next()?.parse().ok()?;
        // The program's first thread is called by the program, which is `shard` and more.
        (name.trim() == "shard-0").then_some(Duration::from_nanos(nanos))
    });
    all.sum()
}
