//! A whole node on loopback: control in, media through real sockets, and its end.
#![cfg(feature = "driver")]

mod support;

use std::{collections::BTreeMap, os::unix::fs::PermissionsExt};

use sfu::{
    control::{
        ClientKind, ClientState, Command, ControlError, Event, Join, LineBudget, MediaState, Network,
        Profile, Reply, RoomId, RoomPolicy, RoomReport, SeatId, SlotChange, Want,
    },
    driver::{
        api::{Connector, Listener},
        client::{self, CallError, Client as Control, ConnectError, Events},
        config::NodeConfig,
        node::{self, Ended, NodeError},
    },
    engine::{
        id::{LineIndex, PointNumber, SlotId, SourceKind, SourceNumber},
        units::Bitrate,
    },
    wire::rtp::{HeaderFields, RtpPacket},
};
use support::Client;
use tokio::task::JoinHandle;

type Node = JoinHandle<Result<Ended, NodeError>>;

fn start() -> (Node, Connector) {
    let (listener, connector) = Listener::in_process();
    (start_on(listener), connector)
}

fn start_on(listener: Listener) -> Node {
    let addresses = vec!["127.0.0.1".parse().expect("an address")];
    let config = NodeConfig {
        port: 0,
        addresses,
        ..NodeConfig::default()
    };
    tokio::spawn(node::run(config, listener, std::future::pending()))
}

fn room() -> RoomId {
    "giao-ban".to_owned().try_into().expect("a room")
}

fn seat(name: &str) -> SeatId {
    name.to_owned().try_into().expect("a seat")
}

fn number(number: u32) -> PointNumber {
    number.try_into().expect("a number")
}

fn camera(point: u32) -> SourceNumber {
    number(point).source(SourceKind::Camera)
}

fn join(name: &str, point: u32, offer: String) -> Join {
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

async fn answer(control: &Control, join: Join) -> String {
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

async fn open_room(control: &Control) {
    let policy = RoomPolicy {
        points_max: 2,
        ..RoomPolicy::default()
    };
    let opened = control.call(Command::OpenRoom { room: room(), policy }).await;
    assert_eq!(opened, Ok(Reply::Done));
}

async fn connected(events: &mut Events, name: &str) {
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
fn key_frame(picture_id: u8) -> Vec<u8> {
    let mut payload = vec![0x90, 0x80, 0x80, picture_id];
    payload.extend([0x10, 0x02, 0x00, 0x9d, 0x01, 0x2a, 0x40, 0x01, 0xb4, 0x00]);
    payload.extend([7; 200]);
    payload
}

/// Key frame number `frame` of the camera.
async fn send_picture(from: &mut Client, frame: u16) {
    send_picture_of(from, "1", frame).await;
}

async fn send_picture_of(from: &mut Client, mid: &str, frame: u16) {
    let fields = HeaderFields {
        marker: true,
        payload_type: 96,
        sequence: frame,
        timestamp: u32::from(frame) * 3_000,
        ssrc: 77,
        ..HeaderFields::default()
    };
    from.send(mid, &fields, &key_frame(frame as u8)).await;
}

async fn show(control: &Control, name: &str, source: SourceNumber) {
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_an_ice_restart_both_ways_go_on_at_the_new_address() {
    let (node, connector) = start();
    let (control, mut events, welcome) = client::connect_in_process(&connector).await.expect("a node");
    open_room(&control).await;
    let media = welcome.media[0];
    let (mut an, mut binh) = (Client::new(media).await, Client::new(media).await);
    let to_an = answer(&control, join("an", 1, an.offer())).await;
    let to_binh = answer(&control, join("binh", 2, binh.offer())).await;
    an.connect(&to_an).await;
    connected(&mut events, "an").await;
    binh.connect(&to_binh).await;
    connected(&mut events, "binh").await;
    show(&control, "binh", camera(1)).await;

    let mut frame = 0_u16;
    for goal in [10, 30] {
        if goal == 30 {
            // Both change their network: the sender's packets come from elsewhere, the receiver's must follow it.
            for (name, client, former) in [("an", &mut an, &to_an), ("binh", &mut binh, &to_binh)] {
                client.move_away().await;
                let restarted = control
                    .call(Command::Restart {
                        room: room(),
                        seat: seat(name),
                        offer: client.offer(),
                    })
                    .await;
                let Ok(Reply::Restarted { answer }) = restarted else {
                    panic!("{restarted:?}")
                };
                let ufrag = |answer: &str| {
                    answer
                        .lines()
                        .find(|l| l.starts_with("a=ice-ufrag:"))
                        .map(str::to_owned)
                };
                assert_ne!(ufrag(&answer), ufrag(former));
                client.check(&answer).await;
            }
        }
        while binh.received.len() < goal {
            send_picture(&mut an, frame).await;
            frame += 1;
            binh.turn().await;
            an.turn().await;
        }
    }
    let mut numbers: Vec<_> = binh
        .received
        .iter()
        .map(|packet| RtpPacket::parse(packet).expect("RTP").sequence())
        .collect();
    numbers.dedup();
    assert_eq!(
        numbers.len(),
        binh.received.len(),
        "the same association, nothing twice"
    );
    while let Some(event) = events.try_next() {
        assert!(!matches!(event, Event::Media { .. }), "{event:?}");
    }
    assert_eq!(control.call(Command::Shutdown).await, Ok(Reply::Done));
    assert_eq!(node.await.expect("no panic").expect("ended well"), Ended::Asked);
}

/// A publisher without header extensions and a player, in a room that is full with one point.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_player_gets_what_it_is_aimed_at_and_a_publisher_restarts_by_a_fragment() {
    let (_node, connector) = start();
    let (control, mut events, welcome) = client::connect_in_process(&connector).await.expect("a node");
    let policy = RoomPolicy {
        points_max: 1,
        players_max: 1,
        ..RoomPolicy::default()
    };
    let opened = control.call(Command::OpenRoom { room: room(), policy }).await;
    assert_eq!(opened, Ok(Reply::Done));
    let media = welcome.media[0];
    let (mut an, mut binh) = (Client::new(media).await, Client::new(media).await);
    let call = async |name: &'static str, point, client: &Client, kind| {
        let join = Join {
            client: kind,
            sources: BTreeMap::new(),
            published: Vec::new(),
            ..join(name, point, client.offer())
        };
        control.call(Command::Join(Box::new(join))).await
    };
    let (mic, camera_kind) = (SourceKind::Mic, SourceKind::Camera);
    let Ok(Reply::Joined {
        answer,
        slots,
        sources,
    }) = call("an", 1, &an, ClientKind::Publisher).await
    else {
        panic!("refused")
    };
    assert_eq!((slots.len(), sources), (0, vec![mic, camera_kind]));
    an.connect(&answer).await;
    connected(&mut events, "an").await;
    let Ok(Reply::Joined {
        answer,
        slots,
        sources,
    }) = call("binh", 2, &binh, ClientKind::Player).await
    else {
        panic!("refused")
    };
    let pair = [SlotId::audio(0), SlotId::video(0)];
    assert_eq!(
        (slots.into_keys().collect::<Vec<_>>(), sources),
        (pair.to_vec(), vec![])
    );
    binh.connect(&answer).await;
    connected(&mut events, "binh").await;
    let third = call("chi", 3, &binh, ClientKind::Player).await;
    assert_eq!(third, Err(CallError::Refused(ControlError::RoomFull)));

    show(&control, "binh", camera(1)).await;
    let voice = number(1).source(mic);
    let heard = Command::SetVoice {
        room: room(),
        seat: seat("binh"),
        source: Some(voice),
    };
    assert_eq!(control.call(heard).await, Ok(Reply::Done));
    let wrong = Command::SetVoice {
        room: room(),
        seat: seat("binh"),
        source: Some(camera(1)),
    };
    let refused = control.call(wrong).await;
    assert_eq!(refused, Err(CallError::Refused(ControlError::BadValue)));

    let mut frame = 0_u16;
    for goal in [10, 30] {
        if goal == 30 {
            an.move_away().await;
            let restarted = control
                .call(Command::RestartIce {
                    room: room(),
                    seat: seat("an"),
                    fragment: an.fragment(),
                })
                .await;
            let Ok(Reply::Restarted { answer }) = restarted else {
                panic!("{restarted:?}")
            };
            an.check(&answer).await;
        }
        let of = |binh: &Client, source: SourceNumber| {
            let packets = binh.received.iter();
            let packets = packets.map(|packet| RtpPacket::parse(packet).expect("RTP"));
            packets.filter(|packet| packet.csrcs().eq([source.get()])).count()
        };
        while of(&binh, camera(1)) < goal || of(&binh, voice) < goal {
            send_picture_of(&mut an, "", frame).await;
            let fields = HeaderFields {
                payload_type: 111,
                sequence: frame,
                timestamp: u32::from(frame) * 960,
                ssrc: 78,
                ..HeaderFields::default()
            };
            an.send("", &fields, &[0x78; 60]).await;
            frame += 1;
            binh.turn().await;
            an.turn().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_picture_goes_from_one_client_to_the_other_under_its_number() {
    let (node, connector) = start();
    let (control, mut events, welcome) = client::connect_in_process(&connector).await.expect("a node");
    open_room(&control).await;
    let media = welcome.media[0];
    let (mut an, mut binh) = (Client::new(media).await, Client::new(media).await);
    let to_an = answer(&control, join("an", 1, an.offer())).await;
    let to_binh = answer(&control, join("binh", 2, binh.offer())).await;
    an.connect(&to_an).await;
    connected(&mut events, "an").await;
    binh.connect(&to_binh).await;
    connected(&mut events, "binh").await;
    show(&control, "binh", camera(1)).await;

    let mut frame = 0_u16;
    while binh.received.len() < 20 {
        send_picture(&mut an, frame).await;
        frame += 1;
        binh.turn().await;
        an.turn().await;
    }
    let packets: Vec<_> = binh
        .received
        .iter()
        .map(|packet| RtpPacket::parse(packet).expect("RTP"))
        .collect();
    let first = packets[0].sequence();
    for (index, packet) in packets.iter().enumerate() {
        assert_eq!(packet.csrcs().collect::<Vec<_>>(), [camera(1).get()]);
        assert_eq!(packet.sequence(), first.wrapping_add(index as u16));
        assert_eq!(packet.payload()[4..], key_frame(0)[4..]);
    }
    let change = SlotChange {
        slot: SlotId::video(0),
        source: Some(camera(1)),
        time: Some(packets[0].timestamp()),
    };
    let told = Event::Slots {
        room: room(),
        seat: seat("binh"),
        changes: vec![change],
    };
    let mut seen = Vec::new();
    while let Some(event) = events.try_next() {
        seen.push(event);
    }
    assert!(seen.contains(&told), "{seen:?}");

    let Ok(Reply::Snapshot { rooms }) = control.call(Command::Snapshot).await else {
        panic!("no snapshot")
    };
    let seats: Vec<_> = rooms[0]
        .seats
        .iter()
        .map(|seat| (seat.seat.as_str(), seat.number.get(), seat.connected))
        .collect();
    assert_eq!((rooms.len(), rooms[0].number_max), (1, 2));
    assert_eq!(seats, [("an", 1, true), ("binh", 2, true)]);
    assert_eq!(rooms[0].seats[1].seat_note, "note of binh");
    assert!(rooms[0].seats[1].slots.contains(&change));
    let Ok(Reply::Metrics { text }) = control.call(Command::Metrics).await else {
        panic!("no metrics")
    };
    assert!(text.contains("diemcau_endpoints_connected 2\n"), "{text}");

    assert_eq!(control.call(Command::Shutdown).await, Ok(Reply::Done));
    assert_eq!(node.await.expect("no panic").expect("ended well"), Ended::Asked);
    while !(an.closed && binh.closed) {
        an.turn().await;
        binh.turn().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_are_idempotent_and_refusals_change_nothing() {
    let (_node, connector) = start();
    let (control, mut events, welcome) = client::connect_in_process(&connector).await.expect("a node");
    let client = Client::new(welcome.media[0]).await;
    let refused = |error| Err(CallError::Refused(error));
    let call_join =
        |name: &'static str, point| control.call(Command::Join(Box::new(join(name, point, client.offer()))));
    assert_eq!(call_join("an", 1).await, refused(ControlError::UnknownRoom));
    open_room(&control).await;
    open_room(&control).await;
    answer(&control, join("an", 1, client.offer())).await;
    answer(&control, join("an", 1, client.offer())).await;
    assert_eq!(call_join("an", 2).await, refused(ControlError::NumberTaken));
    assert_eq!(call_join("binh", 1).await, refused(ControlError::NumberTaken));
    answer(&control, join("binh", 2, client.offer())).await;
    assert_eq!(call_join("chi", 3).await, refused(ControlError::RoomFull));
    let bad = control
        .call(Command::Join(Box::new(join("binh", 2, "v=0\r\n".to_owned()))))
        .await;
    assert!(
        matches!(bad, Err(CallError::Refused(ControlError::BadSdp { .. }))),
        "{bad:?}"
    );
    let want = |slot| Want {
        slot,
        source: camera(1),
        height: 180,
        pinned: false,
    };
    for wants in [
        vec![want(SlotId::video(1))],
        vec![want(SlotId::video(0)); 2],
        vec![want(SlotId::audio(0))],
    ] {
        let viewed = control
            .call(Command::SetView {
                room: room(),
                seat: seat("an"),
                wants,
            })
            .await;
        assert_eq!(viewed, refused(ControlError::BadValue));
    }
    let publish = |source| Command::SetPublished {
        room: room(),
        seat: seat("an"),
        source,
        on: true,
    };
    assert_eq!(
        control.call(publish(SourceKind::Screen)).await,
        refused(ControlError::BadValue)
    );
    assert_eq!(control.call(publish(SourceKind::Camera)).await, Ok(Reply::Done));
    let floor = |room: RoomId| Command::SetFloor {
        room,
        number: Some(number(2)),
    };
    let elsewhere = "elsewhere".to_owned().try_into().expect("an id");
    assert_eq!(
        control.call(floor(elsewhere)).await,
        refused(ControlError::UnknownRoom)
    );
    assert_eq!(control.call(floor(room())).await, Ok(Reply::Done));
    let restart = Command::Restart {
        room: room(),
        seat: seat("an"),
        offer: client.offer(),
    };
    assert_eq!(control.call(restart).await, refused(ControlError::State));
    for _ in 0..2 {
        let left = control
            .call(Command::Leave {
                room: room(),
                seat: seat("binh"),
            })
            .await;
        assert_eq!(left, Ok(Reply::Done));
    }
    let Ok(Reply::Snapshot { rooms }) = control.call(Command::Snapshot).await else {
        panic!("no snapshot")
    };
    assert_eq!((rooms[0].number_max, rooms[0].seats.len()), (2, 1));
    assert_eq!(rooms[0].floor, Some(number(2)));
    for _ in 0..2 {
        assert_eq!(
            control.call(Command::CloseRoom { room: room() }).await,
            Ok(Reply::Done)
        );
    }
    assert_eq!(
        control.call(Command::Snapshot).await,
        Ok(Reply::Snapshot { rooms: Vec::new() })
    );
    assert_eq!(events.try_next(), None);
}

/// One line to the site `co-to`, of 8 Mb/s down and 2 Mb/s up.
fn network() -> Network {
    let id = "co-to--tinh".to_owned().try_into().expect("an id");
    let (down, up) = (Bitrate::mbps(8), Bitrate::mbps(2));
    Network {
        lines: vec![LineBudget { id, down, up }],
        sites: BTreeMap::from([("co-to".to_owned(), vec![LineIndex(0)])]),
    }
}

async fn inspect(control: &Control) -> RoomReport {
    match control.call(Command::Inspect { room: room() }).await {
        Ok(Reply::Inspected { room }) => *room,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_room_is_inspected_with_its_share_of_the_lines_and_what_pages_say() {
    let (_node, connector) = start();
    let (control, mut events, welcome) = client::connect_in_process(&connector).await.expect("a node");
    let told = control.call(Command::SetNetwork { network: network() }).await;
    assert_eq!(told, Ok(Reply::Done));
    open_room(&control).await;
    let mut an = Client::new(welcome.media[0]).await;
    let far = Join {
        site: Some("co-to".to_owned()),
        ..join("an", 1, an.offer())
    };
    let to_an = answer(&control, far).await;
    an.connect(&to_an).await;
    connected(&mut events, "an").await;
    let other = RoomId::try_from("khac".to_owned()).expect("a room");
    let policy = RoomPolicy::default();
    let opened = control
        .call(Command::OpenRoom {
            room: other.clone(),
            policy,
        })
        .await;
    assert_eq!(opened, Ok(Reply::Done));
    let shares = |report: &RoomReport| {
        let lines = report.lines.iter();
        lines
            .map(|line| (line.id.to_string(), line.budget_down, line.budget_up))
            .collect::<Vec<_>>()
    };
    let all = ("co-to--tinh".to_owned(), Bitrate::mbps(8), Bitrate::mbps(2));
    assert_eq!(shares(&inspect(&control).await), std::slice::from_ref(&all));

    // Somebody of another room behind the same line takes half of it, until it leaves.
    let guest = Client::new(welcome.media[0]).await;
    let near = Join {
        room: other.clone(),
        site: Some("co-to".to_owned()),
        ..join("binh", 1, guest.offer())
    };
    answer(&control, near).await;
    let half = ("co-to--tinh".to_owned(), Bitrate::mbps(4), Bitrate::mbps(1));
    assert_eq!(shares(&inspect(&control).await), [half]);
    let left = control
        .call(Command::Leave {
            room: other,
            seat: seat("binh"),
        })
        .await;
    assert_eq!(left, Ok(Reply::Done));
    assert_eq!(shares(&inspect(&control).await), [all]);

    let client = ClientState {
        audio_delay_ms: 80,
        concealed_ppm: 200_000,
        ..ClientState::default()
    };
    let set_client = |client: &ClientState| Command::SetClient {
        room: room(),
        seat: seat("an"),
        client: client.clone(),
    };
    assert_eq!(control.call(set_client(&client)).await, Ok(Reply::Done));
    let report = inspect(&control).await;
    let point = &report.points[0];
    assert_eq!(
        (point.number, point.connected, &point.client),
        (number(1), true, &client)
    );
    assert!(
        point.voice_mos < 2.5,
        "a fifth of the voice was made up: {}",
        point.voice_mos
    );

    let Ok(Reply::Metrics { text }) = control.call(Command::Metrics).await else {
        panic!("no metrics")
    };
    for line in [
        "diemcau_line_budget_bps{line=\"co-to--tinh\",direction=\"down\"} 8000000",
        "diemcau_voice_mos_count 1",
    ] {
        assert!(
            text.lines().any(|other| other == line),
            "{line} is not in\n{text}"
        );
    }
    // Another network: the seat keeps its site, which has no line any more.
    let network = Network::default();
    assert_eq!(
        control.call(Command::SetNetwork { network }).await,
        Ok(Reply::Done)
    );
    assert_eq!(shares(&inspect(&control).await), []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn networks_and_figures_out_of_range_are_refused() {
    let (_node, connector) = start();
    let (control, _events, _) = client::connect_in_process(&connector).await.expect("a node");
    let refused = |error| Err(CallError::Refused(error));
    let broken: [fn(&mut Network); 5] = [
        |network| network.lines.push(network.lines[0].clone()),
        |network| {
            network
                .sites
                .insert("x".to_owned(), vec![LineIndex(1)])
                .map_or((), drop)
        },
        |network| {
            network
                .sites
                .insert("x".to_owned(), vec![LineIndex(0); 2])
                .map_or((), drop)
        },
        |network| network.sites.insert("x".repeat(97), Vec::new()).map_or((), drop),
        |network| {
            let line = |index: u16| LineBudget {
                id: format!("l{index}").try_into().expect("an id"),
                ..network.lines[0].clone()
            };
            network.lines = (0..9).map(line).collect();
            network
                .sites
                .insert("x".to_owned(), (0..9).map(LineIndex).collect());
        },
    ];
    for (index, change) in broken.into_iter().enumerate() {
        let mut network = network();
        change(&mut network);
        let told = control.call(Command::SetNetwork { network }).await;
        assert_eq!(told, refused(ControlError::BadValue), "{index}");
    }
    let inspected = control.call(Command::Inspect { room: room() }).await;
    assert_eq!(inspected, refused(ControlError::UnknownRoom));
    open_room(&control).await;
    let set_client = |concealed_ppm| Command::SetClient {
        room: room(),
        seat: seat("an"),
        client: ClientState {
            concealed_ppm,
            ..ClientState::default()
        },
    };
    assert_eq!(
        control.call(set_client(1_000_001)).await,
        refused(ControlError::BadValue)
    );
    assert_eq!(
        control.call(set_client(0)).await,
        refused(ControlError::UnknownSeat)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_newest_connection_to_the_socket_is_the_one_that_is_served() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("node.sock");
    let node = start_on(Listener::bind(&path).expect("bound"));
    let mode = std::fs::metadata(&path).expect("a socket").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert!(Listener::bind(&path).is_err(), "two nodes on one socket");
    let (old, mut old_events, welcome) = client::connect(&path).await.expect("a node");
    open_room(&old).await;
    let (new, _events, again) = client::connect(&path).await.expect("a node");
    assert_eq!(welcome, again);
    assert_eq!(old_events.next().await, None);
    assert_eq!(old.call(Command::Snapshot).await, Err(CallError::Closed));
    let Ok(Reply::Snapshot { rooms }) = new.call(Command::Snapshot).await else {
        panic!("no snapshot")
    };
    assert_eq!(rooms.len(), 1);
    assert_eq!(new.call(Command::Shutdown).await, Ok(Reply::Done));
    assert_eq!(node.await.expect("no panic").expect("ended well"), Ended::Asked);
    assert!(!path.exists());
    assert!(matches!(client::connect(&path).await, Err(ConnectError::Io(_))));
}
