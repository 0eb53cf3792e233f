//! A node in this process, and the words of control that every test says.

use std::{collections::BTreeMap, net::SocketAddr};

use sfu::{
    control::{Command, Event, Join, MediaState, Profile, Reply, RoomId, RoomPolicy, SeatId, Want},
    driver::{
        api::{Connector, Listener},
        client::{Client as Control, Events},
        config::NodeConfig,
        node::{self, Ended, NodeError},
    },
    engine::id::{PointNumber, SlotId, SourceKind, SourceNumber},
    wire::rtp::HeaderFields,
};
use tokio::task::JoinHandle;

use crate::client::Client;

pub(crate) type Node = JoinHandle<Result<Ended, NodeError>>;

pub(crate) fn start() -> (Node, Connector) {
    let (listener, connector) = Listener::in_process();
    (start_on(listener), connector)
}

pub(crate) fn start_on(listener: Listener) -> Node {
    tokio::spawn(node::run(config(1), listener, std::future::pending()))
}

/// On loopback, at any ports.
pub(crate) fn config(shards: u16) -> NodeConfig {
    let addresses = vec!["127.0.0.1".parse().expect("an address")];
    NodeConfig {
        port: 0,
        shards,
        addresses,
        ..NodeConfig::default()
    }
}

pub(crate) fn room() -> RoomId {
    "giao-ban".to_owned().try_into().expect("a room")
}

pub(crate) fn seat(name: &str) -> SeatId {
    name.to_owned().try_into().expect("a seat")
}

pub(crate) fn number(number: u32) -> PointNumber {
    number.try_into().expect("a number")
}

pub(crate) fn camera(point: u32) -> SourceNumber {
    number(point).source(SourceKind::Camera)
}

pub(crate) fn join(name: &str, point: u32, offer: String) -> Join {
    Join {
        room: room(),
        seat: seat(name),
        number: number(point),
        site: None,
        rank: Default::default(),
        client: Default::default(),
        profile: Profile::Phone,
        sources: BTreeMap::from([
            (SourceKind::Mic, "0".to_owned()),
            (SourceKind::Camera, "1".to_owned()),
        ]),
        published: vec![SourceKind::Mic, SourceKind::Camera],
        offer,
        seat_note: format!("note of {name}"),
    }
}

pub(crate) async fn answer(control: &Control, join: Join) -> String {
    match control.call(Command::Join(Box::new(join))).await {
        Ok(Reply::Joined { answer, slots, .. }) => {
            let slots: Vec<_> = slots.into_iter().collect();
            assert_eq!(
                slots,
                [
                    (SlotId::audio(0), "2".to_owned()),
                    (SlotId::video(0), "3".to_owned())
                ]
            );
            answer
        }
        other => panic!("{other:?}"),
    }
}

pub(crate) async fn open_room(control: &Control) {
    let policy = RoomPolicy {
        points_max: 2,
        ..RoomPolicy::default()
    };
    open_room_with(control, policy).await;
}

pub(crate) async fn open_room_with(control: &Control, policy: RoomPolicy) {
    let opened = control.call(Command::OpenRoom { room: room(), policy }).await;
    assert_eq!(opened, Ok(Reply::Done));
}

pub(crate) async fn connected(events: &mut Events, name: &str) {
    while let Some(event) = events.next().await {
        if event
            == (Event::Media {
                room: room(),
                seat: seat(name),
                state: MediaState::Connected,
            })
        {
            return;
        }
    }
    panic!("the connection ended");
}

/// A picture of one packet that is a key frame (RFC 7741 §4.2 and §4.3): 320 x 180.
pub(crate) fn key_frame(picture_id: u8) -> Vec<u8> {
    let mut payload = vec![0x90, 0x80, 0x80, picture_id];
    payload.extend([0x10, 0x02, 0x00, 0x9d, 0x01, 0x2a, 0x40, 0x01, 0xb4, 0x00]);
    payload.extend([7; 200]);
    payload
}

/// Key frame number `frame` of the camera.
pub(crate) async fn send_picture(from: &mut Client, frame: u16) {
    send_picture_of(from, "1", frame).await;
}

/// Frame number `frame` of the camera that sends a key frame only when it is asked for one, as an encoder does.
pub(crate) async fn send_frame(from: &mut Client, frame: u16) {
    let mut picture = key_frame(frame as u8);
    if std::mem::take(&mut from.asked) == 0 {
        // RFC 6386 §9.1: the lowest bit says that it is no key frame; then no start code and size follow.
        picture[4] |= 1;
    }
    send_payload(from, "1", frame, &picture).await;
}

/// The same by the m-section `mid`.
pub(crate) async fn send_picture_of(from: &mut Client, mid: &str, frame: u16) {
    send_payload(from, mid, frame, &key_frame(frame as u8)).await;
}

/// The same with so many bytes.
pub(crate) async fn send_picture_sized(from: &mut Client, frame: u16, bytes: usize) {
    let mut picture = key_frame(frame as u8);
    picture.resize(bytes, 7);
    send_payload(from, "1", frame, &picture).await;
}

async fn send_payload(from: &mut Client, mid: &str, frame: u16, payload: &[u8]) {
    let fields = HeaderFields {
        marker: true,
        payload_type: 96,
        sequence: frame,
        timestamp: u32::from(frame) * 3_000,
        ssrc: 77,
        ..HeaderFields::default()
    };
    from.send(mid, &fields, payload).await;
}

pub(crate) async fn show(control: &Control, name: &str, source: SourceNumber) {
    let wants = vec![Want {
        slot: SlotId::video(0),
        source,
        height: 180,
        pinned: false,
    }];
    let viewed = control
        .call(Command::SetView {
            room: room(),
            seat: seat(name),
            wants,
        })
        .await;
    assert_eq!(viewed, Ok(Reply::Done));
}

/// Two who are connected, the second of whom looks at the first. With what they were answered.
pub(crate) async fn pair(control: &Control, events: &mut Events, media: SocketAddr) -> [(Client, String); 2] {
    let (mut an, mut binh) = (Client::new(media).await, Client::new(media).await);
    let to_an = answer(control, join("an", 1, an.offer())).await;
    let to_binh = answer(control, join("binh", 2, binh.offer())).await;
    an.connect(&to_an).await;
    connected(events, "an").await;
    binh.connect(&to_binh).await;
    connected(events, "binh").await;
    show(control, "binh", camera(1)).await;
    [(an, to_an), (binh, to_binh)]
}
