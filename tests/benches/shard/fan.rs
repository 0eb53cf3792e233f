//! One camera and many who look at it, at a whole node on loopback: sockets, keys and all.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use sfu::{
    control::{Command, Event, Join, Profile, Reply, RoomPolicy, Want},
    driver::{
        api::Listener,
        client::{self as control_client, Client as Control},
        config::NodeConfig,
        node::{self, Ended, NodeError},
    },
    engine::{
        id::{PointNumber, SlotId, SourceKind},
        units::Bitrate,
    },
    wire::rtp::HeaderFields,
};
use tokio::{net::UdpSocket, task::JoinHandle};

use crate::client::Client;

/// Bytes of a packet of the camera.
const PAYLOAD_BYTES: usize = 1_150;

/// What the camera sends.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Mix {
    /// A second.
    pub(crate) frames: u32,
    /// Of each frame.
    pub(crate) packets: u16,
    pub(crate) seconds: u32,
}

/// A node of one shard, and who is there.
pub(crate) struct Fan {
    node: JoinHandle<Result<Ended, NodeError>>,
    control: Control,
    camera: Client,
    /// Packets and frames that the camera sent.
    packet: u16,
    frame: u32,
    time: u32,
}

impl Fan {
    /// So many look at a camera, asleep in epoll until something comes.
    pub(crate) async fn open(receivers: u32) -> Self {
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
        let room = "fan".to_owned().try_into().expect("a room");
        let policy = RoomPolicy {
            points_max: 1_000,
            // Nobody tells what its way carries: it is taken to carry everything.
            way_start: Bitrate::mbps(500),
            ..RoomPolicy::default()
        };
        let _ = control.call(Command::OpenRoom { room, policy }).await;
        let camera = join(&control, welcome.media[0], 1, true).await;
        for number in 2..receivers + 2 {
            let receiver = join(&control, welcome.media[0], number, false).await;
            tokio::spawn(discard(receiver.socket));
        }
        Self {
            node,
            control,
            camera,
            packet: 0,
            frame: 0,
            time: 0,
        }
    }

    /// Sends frames for so long.
    pub(crate) async fn play(&mut self, mix: Mix) {
        let begun = Instant::now();
        for frame in 0..mix.frames * mix.seconds {
            let at = begun + Duration::from_secs(1) * frame / mix.frames;
            tokio::time::sleep_until(at.into()).await;
            self.time = self.time.wrapping_add(90_000 / mix.frames);
            for packet in 0..mix.packets {
                let fields = HeaderFields {
                    marker: packet + 1 == mix.packets,
                    payload_type: 96,
                    sequence: self.packet,
                    timestamp: self.time,
                    ssrc: 77,
                    ..HeaderFields::default()
                };
                let payload = payload(self.frame, packet);
                self.camera.send("1", &fields, &payload).await;
                self.packet = self.packet.wrapping_add(1);
            }
            self.frame = self.frame.wrapping_add(1);
        }
    }

    /// Counters of the node, by their kind. It answers when it has taken what came before the question.
    pub(crate) async fn sent(&self) -> BTreeMap<String, u64> {
        let Ok(Reply::Metrics { text }) = self.control.call(Command::Metrics).await else {
            panic!("no metrics")
        };
        let counters = text.lines().filter_map(|line| {
            let (name, value) = line.split_once(' ')?;
            let kind = name.split_once("kind=\"")?.1.trim_end_matches("\"}");
            Some((kind.to_owned(), value.parse().ok()?))
        });
        counters.collect()
    }

    pub(crate) async fn close(self) {
        let _ = self.control.call(Command::Shutdown).await;
        let _ = self.node.await;
    }
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
            room: "fan".to_owned().try_into().expect("a room"),
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
                room: "fan".to_owned().try_into().expect("a room"),
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
