//! What a forwarded packet costs a whole node: sockets, keys and all, over loopback. Benchmarks report; a person judges.
//!
//! One camera, so many receivers asleep in epoll, frames of so many full packets. `cargo bench --bench shard -- 100 60 5 8`:
//! receivers, frames a second, packets of each, seconds. The cost is CPU time of the shard's thread alone; the receivers live in
//! the same process on another.

#[path = "../../sfu/tests/node/client.rs"]
#[allow(dead_code, reason = "the tests of the node use more of it")]
mod client;

use std::{
    collections::BTreeMap,
    fs,
    time::{Duration, Instant},
};

use client::Client;
use sfu::{
    control::{Command, Event, Join, Profile, Reply, RoomPolicy, Want},
    driver::{
        api::Listener,
        client::{self as control_client, Client as Control},
        config::NodeConfig,
        node,
    },
    engine::{
        id::{PointNumber, SlotId, SourceKind},
        units::Bitrate,
    },
    wire::rtp::HeaderFields,
};
use tokio::net::UdpSocket;

/// Bytes of a packet of the camera.
const PAYLOAD_BYTES: usize = 1_150;

/// The kinds of what a run is made of.
#[derive(Debug, Clone, Copy)]
struct Mix {
    receivers: u32,
    frames: u32,
    packets: u16,
    seconds: u32,
}

fn main() {
    let figures: Vec<u32> = std::env::args()
        .filter_map(|figure| figure.parse().ok())
        .collect();
    let mixes = match figures[..] {
        [receivers, frames, packets, seconds] => vec![Mix {
            receivers,
            frames,
            packets: packets as u16,
            seconds,
        }],
        _ => [(100, 60, 5), (100, 30, 20), (100, 300, 1)]
            .map(|(receivers, frames, packets)| Mix {
                receivers,
                frames,
                packets,
                seconds: 5,
            })
            .to_vec(),
    };
    println!("receivers  frames/s  packets  CPU us/packet  datagrams  runs  system calls");
    for mix in mixes {
        run(mix);
    }
}

#[tokio::main(flavor = "current_thread")]
async fn run(mix: Mix) {
    let (listener, connector) = Listener::in_process();
    let config = NodeConfig {
        port: 0,
        shards: 1,
        addresses: vec!["127.0.0.1".parse().expect("an address")],
        endpoints_max: 1_000,
        ..NodeConfig::default()
    };
    let node = tokio::spawn(node::run(config, listener, std::future::pending()));
    let (control, mut events, welcome) = control_client::connect_in_process(&connector)
        .await
        .expect("it serves");
    tokio::spawn(async move { while events.next().await.is_some_and(|event: Event| drop_it(&event)) {} });
    let room = "bench".to_owned().try_into().expect("a room");
    let policy = RoomPolicy {
        points_max: 1_000,
        // Nobody tells what its way carries: it is taken to carry everything.
        way_start: Bitrate::mbps(500),
        ..RoomPolicy::default()
    };
    let _ = control.call(Command::OpenRoom { room, policy }).await;
    let mut camera = join(&control, welcome.media[0], 1, true).await;
    let mut receivers = Vec::new();
    for number in 2..mix.receivers + 2 {
        receivers.push(join(&control, welcome.media[0], number, false).await);
    }
    for receiver in receivers {
        tokio::spawn(discard(receiver.socket));
    }
    let before = look(&control).await;
    play(&mut camera, mix).await;
    let after = look(&control).await;
    let told = |name: &str| after.1.get(name).unwrap_or(&0) - before.1.get(name).unwrap_or(&0);
    let nanos = (after.0 - before.0).as_nanos() as u64;
    let forwarded = told("out_video");
    println!(
        "{:>9} {:>9} {:>8} {:>14.3} {:>10} {:>5} {:>13}",
        mix.receivers,
        mix.frames,
        mix.packets,
        nanos as f64 / 1_000.0 / forwarded as f64,
        forwarded,
        told("runs"),
        told("system_calls")
    );
    let _ = control.call(Command::Shutdown).await;
    let _ = node.await;
}

/// What it cost and sent so far. The node answers when it has taken what came before the question.
async fn look(control: &Control) -> (Duration, BTreeMap<String, u64>) {
    let sent = sent(control).await;
    (cost(), sent)
}

fn drop_it(_: &Event) -> bool {
    true
}

async fn join(control: &Control, media: std::net::SocketAddr, number: u32, sends: bool) -> Client {
    let mut client = Client::new(media).await;
    // Without transport-wide feedback.
    let offer = client
        .offer()
        .lines()
        .filter(|line| !line.contains("transport"))
        .fold(String::new(), |offer, line| offer + line + "\r\n");
    let point: PointNumber = number.try_into().expect("a number");
    let answer = control
        .call(Command::Join(Box::new(Join {
            room: "bench".to_owned().try_into().expect("a room"),
            seat: format!("seat-{number}").try_into().expect("a seat"),
            number: point,
            site: None,
            rank: Default::default(),
            client: Default::default(),
            profile: Profile::Laptop,
            sources: BTreeMap::from([
                (SourceKind::Mic, "0".to_owned()),
                (SourceKind::Camera, "1".to_owned()),
            ]),
            published: if sends {
                vec![SourceKind::Camera]
            } else {
                Vec::new()
            },
            offer,
            seat_note: String::new(),
        })))
        .await;
    let Ok(Reply::Joined { answer, .. }) = answer else {
        panic!("{answer:?}")
    };
    client.connect(&answer).await;
    if !sends {
        let first: PointNumber = 1.try_into().expect("a number");
        let wants = vec![Want {
            slot: SlotId::video(0),
            source: first.source(SourceKind::Camera),
            height: 720,
            pinned: false,
        }];
        let _ = control
            .call(Command::SetView {
                room: "bench".to_owned().try_into().expect("a room"),
                seat: format!("seat-{number}").try_into().expect("a seat"),
                wants,
            })
            .await;
    }
    client
}

async fn discard(socket: UdpSocket) {
    let mut buffer = [0; 2_048];
    while socket.recv(&mut buffer).await.is_ok() {}
}

/// Sends frames for so long.
async fn play(camera: &mut Client, mix: Mix) {
    let begun = Instant::now();
    let mut number = 0_u16;
    for frame in 0..mix.frames * mix.seconds {
        let at = begun + Duration::from_secs(1) * frame / mix.frames;
        tokio::time::sleep_until(at.into()).await;
        for packet in 0..mix.packets {
            number = number.wrapping_add(1);
            let fields = HeaderFields {
                marker: packet + 1 == mix.packets,
                payload_type: 96,
                sequence: number,
                timestamp: frame.wrapping_mul(90_000 / mix.frames),
                ssrc: 77,
                ..HeaderFields::default()
            };
            camera.send("1", &fields, &payload(frame, packet)).await;
        }
    }
}

/// VP8 (RFC 7741 §4.2 and §4.3): each second a key frame, 1280 x 720.
fn payload(frame: u32, packet: u16) -> Vec<u8> {
    let begins = packet == 0;
    let mut payload = vec![
        0x80 | u8::from(begins) << 4,
        0x80,
        0x80 | (frame >> 8) as u8 & 0x7F,
        frame as u8,
    ];
    if begins && frame.is_multiple_of(30) {
        payload.extend([0x10, 0x02, 0x00, 0x9d, 0x01, 0x2a, 0x00, 0x05, 0xd0, 0x02]);
    } else {
        payload.extend([0x11]);
    }
    payload.resize(PAYLOAD_BYTES, 7);
    payload
}

/// CPU time of the shard's thread so far.
fn cost() -> Duration {
    let threads = fs::read_dir("/proc/self/task").expect("Linux");
    let all = threads.flatten().filter_map(|thread| {
        let name = fs::read_to_string(thread.path().join("comm")).ok()?;
        let stat = fs::read_to_string(thread.path().join("schedstat")).ok()?;
        let nanos = stat.split_whitespace().next()?.parse().ok()?;
        name.starts_with("shard").then_some(Duration::from_nanos(nanos))
    });
    all.sum()
}

/// Counters of the node, by their kind.
async fn sent(control: &Control) -> BTreeMap<String, u64> {
    let Ok(Reply::Metrics { text }) = control.call(Command::Metrics).await else {
        panic!("no metrics")
    };
    let counters = text.lines().filter_map(|line| {
        let (name, value) = line.split_once(' ')?;
        let kind = name.split_once("kind=\"")?.1.trim_end_matches("\"}");
        Some((kind.to_owned(), value.parse().ok()?))
    });
    counters.collect()
}
