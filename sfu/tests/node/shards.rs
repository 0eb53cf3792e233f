//! A node with several shards: who sits where, and what happens when one of them fails.

use sfu::{
    control::{Command, Event, Join, MediaState, Reply, RoomId, RoomPolicy, RoomSnapshot, Want},
    driver::{
        api::Listener,
        client::{self, Client as Control, Events},
        node,
    },
    engine::id::SlotId,
};
use tokio::sync::mpsc;

use crate::{
    client::{Client, candidate},
    kit::*,
};

/// A node whose shards fail when they are told to.
fn start_failing(shards: u16) -> (Node, sfu::driver::api::Connector, mpsc::Sender<usize>) {
    let (listener, connector) = Listener::in_process();
    let (faults, faults_receiver) = mpsc::channel(1);
    let node = tokio::spawn(node::run_with_faults(config(shards), listener, faults_receiver));
    (node, connector, faults)
}

fn id(name: &str) -> RoomId {
    name.to_owned().try_into().expect("a room")
}

async fn open(control: &Control, name: &str) {
    let command = Command::OpenRoom {
        room: id(name),
        policy: RoomPolicy::default(),
    };
    assert_eq!(control.call(command).await, Ok(Reply::Done));
}

/// Somebody new in a room, connected. With what they were answered.
async fn enter(
    control: &Control,
    events: &mut Events,
    room: &str,
    (name, point): (&str, u32),
) -> (Client, String) {
    let mut client = Client::new(([127, 0, 0, 1], 9).into()).await;
    let join = Join {
        room: id(room),
        ..join(name, point, client.offer())
    };
    let answer = answer(control, join).await;
    client.connect(&answer).await;
    told(events, room, name, MediaState::Connected).await;
    (client, answer)
}

/// Waits until a seat is told to be so.
async fn told(events: &mut Events, in_room: &str, name: &str, expected: MediaState) {
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

async fn snapshot(control: &Control) -> Vec<RoomSnapshot> {
    match control.call(Command::Snapshot).await {
        Ok(Reply::Snapshot { rooms }) => rooms,
        other => panic!("{other:?}"),
    }
}

async fn metrics(control: &Control) -> String {
    match control.call(Command::Metrics).await {
        Ok(Reply::Metrics { text }) => text,
        other => panic!("{other:?}"),
    }
}

fn seats(room: &RoomSnapshot) -> Vec<(&str, u32, bool)> {
    let seats = room.seats.iter();
    seats
        .map(|seat| (seat.seat.as_str(), seat.number.get(), seat.connected))
        .collect()
}

/// Pictures of one are seen by the other until there are `more`.
async fn see(from: &mut Client, to: &mut Client, frame: &mut u16, more: usize) {
    let goal = to.received.len() + more;
    while to.received.len() < goal {
        send_picture(from, *frame).await;
        *frame += 1;
        to.turn().await;
        from.turn().await;
    }
}

async fn look(control: &Control, room: &str, name: &str, point: u32) {
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

    faults.send(0).await.expect("the node lives");
    told(&mut events, "sang", "an", MediaState::Lost).await;
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
    faults.send(0).await.expect("the node lives");
    told(&mut events, "sang", "an", MediaState::Lost).await;
    let (_an, _) = enter(&control, &mut events, "sang", ("an", 1)).await;
    assert_eq!(control.call(Command::Shutdown).await, Ok(Reply::Done));
    assert_eq!(
        node.await.expect("no panic").expect("ended well"),
        node::Ended::Asked
    );
}
