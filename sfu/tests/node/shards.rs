//! A node with several shards: who sits where, and what happens when one of them fails.

use std::collections::BTreeMap;

use sfu::{
    control::{
        Command, Event, Join, LineBudget, MediaState, Network, Reply, RoomId, RoomPolicy, RoomSnapshot, Want,
    },
    driver::{
        api::Listener,
        client::{self, Client as Control, Events},
        config::NodeConfig,
        node::{self, Fault},
    },
    engine::{
        id::{LineIndex, SlotId, SourceKind, SourceNumber},
        units::Bitrate,
    },
    wire::rtp::{HeaderFields, RtpPacket},
};
use tokio::sync::mpsc;

use crate::{
    client::{Client, candidate},
    kit::*,
};

/// A node in whose shards something goes wrong when they are told to, which take two of a room each.
pub(crate) fn start_failing(
    shards: u16,
) -> (Node, sfu::driver::api::Connector, mpsc::Sender<(usize, Fault)>) {
    let (listener, connector) = Listener::in_process();
    let (faults, faults_receiver) = mpsc::channel(1);
    let config = NodeConfig {
        room_shard_max: 2,
        ..config(shards)
    };
    let node = tokio::spawn(node::run_with_faults(config, listener, faults_receiver));
    (node, connector, faults)
}

pub(crate) fn id(name: &str) -> RoomId {
    name.to_owned().try_into().expect("a room")
}

pub(crate) async fn open(control: &Control, name: &str) {
    let command = Command::OpenRoom {
        room: id(name),
        policy: RoomPolicy::default(),
    };
    assert_eq!(control.call(command).await, Ok(Reply::Done));
}

/// Somebody new in a room, connected. With what they were answered.
pub(crate) async fn enter(
    control: &Control,
    events: &mut Events,
    room: &str,
    (name, point): (&str, u32),
) -> (Client, String) {
    let mut client = Client::new(([127, 0, 0, 1], 9).into()).await;
    let join = Join {
        room: id(room),
        site: Some("co-to".to_owned()),
        ..join(name, point, client.offer())
    };
    let answer = answer(control, join).await;
    client.connect(&answer).await;
    told(events, room, name, MediaState::Connected).await;
    (client, answer)
}

/// Waits until a seat is told to be so.
pub(crate) async fn told(events: &mut Events, in_room: &str, name: &str, expected: MediaState) {
    let (in_room, name) = (id(in_room), seat(name));
    while let Some(event) = events.next().await {
        if let Event::Media { room, seat, state } = event
            && (&room, &seat) == (&in_room, &name)
        {
            return assert_eq!(state, expected, "{room} {seat}");
        }
    }
    panic!("the connection ended");
}

pub(crate) async fn snapshot(control: &Control) -> Vec<RoomSnapshot> {
    match control.call(Command::Snapshot).await {
        Ok(Reply::Snapshot { rooms }) => rooms,
        other => panic!("{other:?}"),
    }
}

pub(crate) async fn metrics(control: &Control) -> String {
    match control.call(Command::Metrics).await {
        Ok(Reply::Metrics { text }) => text,
        other => panic!("{other:?}"),
    }
}

pub(crate) fn seats(room: &RoomSnapshot) -> Vec<(&str, u32, bool)> {
    let seats = room.seats.iter();
    seats
        .map(|seat| (seat.seat.as_str(), seat.number.get(), seat.connected))
        .collect()
}

/// Pictures of one are seen by the other until there are `more`.
pub(crate) async fn see(from: &mut Client, to: &mut Client, frame: &mut u16, more: usize) {
    let goal = to.received.len() + more;
    while to.received.len() < goal {
        send_picture(from, *frame).await;
        *frame += 1;
        to.turn().await;
        from.turn().await;
    }
}

pub(crate) async fn look(control: &Control, room: &str, name: &str, point: u32) {
    let want = Want {
        slot: SlotId::video(0),
        source: camera(point),
        height: 180,
        pinned: false,
    };
    let command = Command::SetView {
        room: id(room),
        seat: seat(name),
        wants: vec![want],
    };
    assert_eq!(control.call(command).await, Ok(Reply::Done));
}

/// Signaling comes twice; the second one must find all of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn meetings_are_spread_over_the_shards_and_told_as_one_node() {
    let (_node, connector, _faults) = start_failing(2);
    let (control, mut events, welcome) = client::connect_in_process(&connector).await.expect("a node");
    assert_eq!(welcome.media.len(), 2, "an address, and a port for each shard");
    for room in ["chieu", "sang", "vang"] {
        open(&control, room).await;
    }
    let (_an, to_an) = enter(&control, &mut events, "sang", ("an", 1)).await;
    let (_binh, to_binh) = enter(&control, &mut events, "chieu", ("binh", 7)).await;
    let (_chi, to_chi) = enter(&control, &mut events, "sang", ("chi", 2)).await;
    let places = [&to_an, &to_binh, &to_chi].map(|answer| candidate(answer));
    assert_eq!(places, [welcome.media[0], welcome.media[1], welcome.media[0]]);

    let (control, _events, again) = client::connect_in_process(&connector).await.expect("a node");
    assert_eq!(again.media, welcome.media);
    let rooms = snapshot(&control).await;
    let all: Vec<_> = rooms
        .iter()
        .map(|room| (room.room.as_str(), room.number_max, seats(room)))
        .collect();
    assert_eq!(
        all,
        [
            ("chieu", 7, vec![("binh", 7, true)]),
            ("sang", 2, vec![("an", 1, true), ("chi", 2, true)]),
            ("vang", 0, vec![])
        ]
    );
    let text = metrics(&control).await;
    for line in [
        "diemcau_endpoints_connected 3",
        "diemcau_rooms 3",
        "diemcau_handshakes_total{result=\"connected\"} 3",
        "diemcau_shard_endpoints{shard=\"0\"} 2",
        "diemcau_shard_endpoints{shard=\"1\"} 1",
    ] {
        assert!(
            text.lines().any(|other| other == line),
            "{line} is not in\n{text}"
        );
    }
    let leave = Command::Leave {
        room: id("chieu"),
        seat: seat("binh"),
    };
    assert_eq!(control.call(leave).await, Ok(Reply::Done));
    let close = Command::CloseRoom { room: id("sang") };
    assert_eq!(control.call(close).await, Ok(Reply::Done));
    let rooms = snapshot(&control).await;
    assert!(
        rooms.iter().all(|room| room.seats.is_empty()) && rooms.len() == 2,
        "{rooms:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shard_that_fails_takes_its_own_peers_only_and_they_come_back() {
    let (_node, connector, faults) = start_failing(2);
    let (control, mut events, _) = client::connect_in_process(&connector).await.expect("a node");
    open(&control, "sang").await;
    open(&control, "chieu").await;
    let (_an, to_an) = enter(&control, &mut events, "sang", ("an", 1)).await;
    let (mut binh, to_binh) = enter(&control, &mut events, "chieu", ("binh", 1)).await;
    let (mut chi, _) = enter(&control, &mut events, "chieu", ("chi", 2)).await;
    look(&control, "chieu", "chi", 1).await;
    let mut frame = 0;
    see(&mut binh, &mut chi, &mut frame, 10).await;
    let before = metrics(&control).await;
    assert!(
        before.contains("diemcau_handshakes_total{result=\"connected\"} 3\n"),
        "{before}"
    );

    faults.send((0, Fault::Shard)).await.expect("the node lives");
    told(&mut events, "sang", "an", MediaState::Lost).await;
    let nobody = Event::Speaker {
        room: id("sang"),
        number: None,
    };
    while events.next().await.expect("the node lives") != nobody {}
    see(&mut binh, &mut chi, &mut frame, 10).await;
    assert!(!binh.closed && !chi.closed);

    // The page offers again: the same seat, on the shard that took the place of the other.
    let (_an, again) = enter(&control, &mut events, "sang", ("an", 1)).await;
    assert_eq!(candidate(&again), candidate(&to_an), "the same port");
    assert_ne!(candidate(&again), candidate(&to_binh));
    see(&mut binh, &mut chi, &mut frame, 10).await;
    let rooms = snapshot(&control).await;
    let all: Vec<_> = rooms.iter().map(seats).collect();
    assert_eq!(
        all,
        [vec![("binh", 1, true), ("chi", 2, true)], vec![("an", 1, true)]]
    );
    let text = metrics(&control).await;
    for line in [
        "diemcau_panics_total{part=\"shard\"} 1",
        "diemcau_endpoints 3",
        // What the failed one had counted is not forgotten.
        "diemcau_handshakes_total{result=\"connected\"} 4",
    ] {
        assert!(
            text.lines().any(|other| other == line),
            "{line} is not in\n{text}"
        );
    }
}

/// The only shard of a node.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_outlives_its_only_shard() {
    let (node, connector, faults) = start_failing(1);
    let (control, mut events, _) = client::connect_in_process(&connector).await.expect("a node");
    open(&control, "sang").await;
    let (_an, _) = enter(&control, &mut events, "sang", ("an", 1)).await;
    faults.send((0, Fault::Shard)).await.expect("the node lives");
    told(&mut events, "sang", "an", MediaState::Lost).await;
    let (_an, _) = enter(&control, &mut events, "sang", ("an", 1)).await;
    assert_eq!(control.call(Command::Shutdown).await, Ok(Reply::Done));
    assert_eq!(
        node.await.expect("no panic").expect("ended well"),
        node::Ended::Asked
    );
}

/// How many packets of a source came.
pub(crate) fn of(client: &Client, source: SourceNumber) -> usize {
    let packets = client.received.iter();
    let packets = packets.map(|packet| RtpPacket::parse(packet).expect("RTP"));
    packets.filter(|packet| packet.csrcs().eq([source.get()])).count()
}

/// All take a turn: the first two send pictures and sound.
pub(crate) async fn turn(all: &mut [Client; 4], frame: &mut u16) {
    for sender in &mut all[..2] {
        send_frame(sender, *frame).await;
        let fields = HeaderFields {
            payload_type: 111,
            sequence: *frame,
            timestamp: u32::from(*frame) * 960,
            ssrc: 78,
            ..HeaderFields::default()
        };
        sender.send("0", &fields, &[0x78; 60]).await;
    }
    *frame += 1;
    for client in all {
        client.turn().await;
    }
}

/// Four points of one room, two on each shard. The two on the first shard send, those on the second see and hear them.
pub(crate) async fn spread(control: &Control, events: &mut Events) -> [Client; 4] {
    open(control, "sang").await;
    let mut places = Vec::new();
    let mut clients = Vec::new();
    for (point, name) in (1..).zip(["an", "binh", "chi", "dung"]) {
        let (client, answer) = enter(control, events, "sang", (name, point)).await;
        places.push(candidate(&answer));
        clients.push(client);
    }
    let [a, b, c, d] = places[..] else {
        unreachable!("four")
    };
    assert!(a == b && c == d && b != c, "{places:?}");
    clients.try_into().unwrap_or_else(|_| unreachable!("four"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pictures_and_voices_cross_to_the_other_shard_and_a_page_flip_gets_its_key_frame() {
    let (_node, connector, _faults) = start_failing(2);
    let (control, mut events, _) = client::connect_in_process(&connector).await.expect("a node");
    let mut all = spread(&control, &mut events).await;
    let mic = number(1).source(SourceKind::Mic);
    let voice = Command::SetVoice {
        room: id("sang"),
        seat: seat("chi"),
        source: Some(mic),
    };
    assert_eq!(control.call(voice).await, Ok(Reply::Done));
    let (mut frame, mut shown) = (0, [0; 2]);
    look(&control, "sang", "dung", 2).await;
    for point in [1, 2, 1] {
        // Whoever is looked at sends no key frame by itself: it is asked for one from the other shard.
        look(&control, "sang", "chi", point).await;
        let goal = of(&all[2], camera(point)) + 10;
        while of(&all[2], camera(point)) < goal {
            turn(&mut all, &mut frame).await;
        }
        shown[point as usize - 1] += 1;
    }
    while of(&all[2], mic) < 10 || of(&all[3], camera(2)) < 10 {
        turn(&mut all, &mut frame).await;
    }
    assert_eq!(of(&all[3], camera(1)), 0, "nobody there looks at it");
    let first = |client: &Client| {
        let packets = client.received.iter();
        let packets = packets.map(|packet| RtpPacket::parse(packet).expect("RTP"));
        let mut pictures = packets.filter(|packet| packet.payload_type() == 96);
        pictures.next().expect("a picture").payload()[4] & 1
    };
    assert_eq!(
        [first(&all[2]), first(&all[3])],
        [0, 0],
        "it begins with a key frame"
    );
    let text = metrics(&control).await;
    for line in [
        "diemcau_cascade_dropped_total{reason=\"full\"} 0",
        "diemcau_packets_dropped_total{reason=\"payload_gone\"} 0",
        "diemcau_rooms 1",
        "diemcau_endpoints_connected 4",
    ] {
        assert!(
            text.lines().any(|other| other == line),
            "{line} is not in\n{text}"
        );
    }
    let rooms = snapshot(&control).await;
    assert_eq!(
        (rooms.len(), rooms[0].seats.len()),
        (1, 4),
        "one room, whoever is where"
    );
    let Ok(Reply::Inspected { room }) = control.call(Command::Inspect { room: id("sang") }).await else {
        panic!("no report")
    };
    let points: Vec<u32> = room.points.iter().map(|point| point.number.get()).collect();
    assert_eq!(points, [1, 2, 3, 4]);
}

/// What a room may take of the one line, down and up, by all its shards.
async fn budget(control: &Control) -> (Bitrate, Bitrate) {
    let Ok(Reply::Inspected { room }) = control.call(Command::Inspect { room: id("sang") }).await else {
        panic!("no report")
    };
    assert_eq!(room.lines.len(), 1);
    (room.lines[0].budget_down, room.lines[0].budget_up)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_line_with_points_on_two_shards_is_shared_by_their_number() {
    let (_node, connector, _faults) = start_failing(2);
    let (control, mut events, _) = client::connect_in_process(&connector).await.expect("a node");
    let (down, up) = (Bitrate::kbps(4_000), Bitrate::kbps(1_000));
    let line = LineBudget {
        id: "co-to".to_owned().try_into().expect("an id"),
        down,
        up,
    };
    let network = Network {
        lines: vec![line],
        sites: BTreeMap::from([("co-to".to_owned(), vec![LineIndex(0)])]),
    };
    let set = control.call(Command::SetNetwork { network }).await;
    assert_eq!(set, Ok(Reply::Done));
    let _all = spread(&control, &mut events).await;
    assert_eq!(budget(&control).await, (down, up), "half of it for each shard");
    open(&control, "chieu").await;
    enter(&control, &mut events, "chieu", ("em", 1)).await;
    let part = |whole: Bitrate| Bitrate::bps(whole.as_bps() / 5 * 4);
    assert_eq!(
        budget(&control).await,
        (part(down), part(up)),
        "four of five points"
    );
    for (room, name) in [("sang", "chi"), ("sang", "dung"), ("chieu", "em")] {
        let leave = Command::Leave {
            room: id(room),
            seat: seat(name),
        };
        assert_eq!(control.call(leave).await, Ok(Reply::Done));
    }
    assert_eq!(
        budget(&control).await,
        (down, up),
        "all of it for those who are left"
    );
}

/// The half of a meeting that is left goes on, and the whole is there again when the others are back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_meeting_outlives_the_shard_of_half_of_it() {
    let (_node, connector, faults) = start_failing(2);
    let (control, mut events, _) = client::connect_in_process(&connector).await.expect("a node");
    let mut all = spread(&control, &mut events).await;
    let mut frame = 0;
    for name in ["chi", "dung"] {
        look(&control, "sang", name, 1).await;
    }
    while of(&all[2], camera(1)) < 10 {
        turn(&mut all, &mut frame).await;
    }
    faults.send((1, Fault::Shard)).await.expect("the node lives");
    told(&mut events, "sang", "chi", MediaState::Lost).await;
    told(&mut events, "sang", "dung", MediaState::Lost).await;
    let [an, binh, ..] = &mut all;
    look(&control, "sang", "binh", 1).await;
    see(an, binh, &mut frame, 10).await;
    for (place, name) in [(2, "chi"), (3, "dung")] {
        all[place] = enter(&control, &mut events, "sang", (name, place as u32 + 1))
            .await
            .0;
        look(&control, "sang", name, 1).await;
    }
    while of(&all[2], camera(1)) < 10 || of(&all[3], camera(1)) < 10 {
        turn(&mut all, &mut frame).await;
    }
    assert!(all.iter().all(|client| !client.closed));
}

/// Who comes back to a third shard is seen by the half that is left: of the half that failed it keeps nobody.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_comes_back_elsewhere_is_seen_by_the_half_that_is_left() {
    come_back_elsewhere(false).await;
}

/// The same if signaling asked for everything in between.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_comes_back_elsewhere_after_a_snapshot_is_seen_by_the_half_that_is_left() {
    come_back_elsewhere(true).await;
}

async fn come_back_elsewhere(after_snapshot: bool) {
    let (_node, connector, faults) = start_failing(3);
    let (control, mut events, welcome) = client::connect_in_process(&connector).await.expect("a node");
    for (room, name) in [("chieu", "em"), ("toi", "giang"), ("khuya", "hoa")] {
        open(&control, room).await;
        enter(&control, &mut events, room, (name, 1)).await;
    }
    let mut all = spread(&control, &mut events).await;
    let mut frame = 0;
    look(&control, "sang", "chi", 1).await;
    while of(&all[2], camera(1)) < 10 {
        turn(&mut all, &mut frame).await;
    }
    // Nobody is on the third shard, which has the least to do then.
    let (room, seat) = (id("khuya"), seat("hoa"));
    assert_eq!(control.call(Command::Leave { room, seat }).await, Ok(Reply::Done));
    let fault = Fault::Room(id("sang"));
    faults.send((0, fault)).await.expect("the node lives");
    told(&mut events, "sang", "an", MediaState::Lost).await;
    told(&mut events, "sang", "binh", MediaState::Lost).await;
    if after_snapshot {
        snapshot(&control).await;
    }
    let (an, answer) = enter(&control, &mut events, "sang", ("an", 1)).await;
    assert_eq!(candidate(&answer), welcome.media[2]);
    all[0] = an;
    let goal = of(&all[2], camera(1)) + 10;
    for _ in 0..500 {
        turn(&mut all, &mut frame).await;
        if of(&all[2], camera(1)) >= goal {
            return;
        }
    }
    panic!("the half that is left does not see who came back");
}

/// Nobody of the half that failed is back yet: the other is looked into, and given the floor.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn half_of_a_meeting_answers_while_nobody_is_on_the_other() {
    let floor = Command::SetFloor {
        room: id("sang"),
        number: Some(number(1)),
    };
    for command in [Command::Inspect { room: id("sang") }, floor] {
        let (_node, connector, faults) = start_failing(2);
        let (control, mut events, _) = client::connect_in_process(&connector).await.expect("a node");
        let _all = spread(&control, &mut events).await;
        let fault = Fault::Room(id("sang"));
        faults.send((1, fault)).await.expect("the node lives");
        told(&mut events, "sang", "chi", MediaState::Lost).await;
        told(&mut events, "sang", "dung", MediaState::Lost).await;
        match control.call(command).await {
            Ok(Reply::Inspected { room }) => {
                let points: Vec<u32> = room.points.iter().map(|point| point.number.get()).collect();
                assert_eq!(points, [1, 2]);
            }
            other => assert_eq!(other, Ok(Reply::Done)),
        }
    }
}
