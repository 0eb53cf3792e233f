//! What control asks of a node, what it refuses, and whom it serves.

use std::{collections::BTreeMap, os::unix::fs::PermissionsExt};

use sfu::{
    control::{
        CLIENTS_MAX, ClientState, Command, ControlError, FromNode, Join, LineBudget, Network, Reply, RoomId,
        RoomPolicy, RoomReport, VERSION, Want,
    },
    driver::{
        api::Listener,
        client::{self, CallError, Client as Control, ConnectError},
        node::Ended,
    },
    engine::{
        id::{LineIndex, SlotId, SourceKind},
        units::Bitrate,
    },
};

use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};

use crate::{client::Client, kit::*};

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
    let set_client = |client: &ClientState| Command::SetClients {
        room: room(),
        clients: vec![
            (seat("who_left"), ClientState::default()),
            (seat("an"), client.clone()),
        ],
    };
    assert_eq!(control.call(set_client(&client)).await, Ok(Reply::Done));
    let report = inspect(&control).await;
    let point = &report.points[0];
    assert_eq!(
        (point.number, point.connected, &point.client),
        (number(1), true, &client)
    );
    assert!(
        point.voice_mos.is_some_and(|mos| mos < 2.5),
        "a fifth of the voice was made up: {:?}",
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
    let set_clients = |concealed_ppm, count| {
        let client = ClientState {
            concealed_ppm,
            ..ClientState::default()
        };
        Command::SetClients {
            room: room(),
            clients: vec![(seat("an"), client); count],
        }
    };
    for (concealed_ppm, count) in [(1_000_001, 1), (0, CLIENTS_MAX + 1)] {
        let told = control.call(set_clients(concealed_ppm, count)).await;
        assert_eq!(told, refused(ControlError::BadValue));
    }
    assert_eq!(control.call(set_clients(0, 1)).await, Ok(Reply::Done));
    let elsewhere = Command::SetClients {
        room: "elsewhere".to_owned().try_into().expect("a room"),
        clients: Vec::new(),
    };
    assert_eq!(control.call(elsewhere).await, refused(ControlError::UnknownRoom));
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_speaks_another_version_is_told_the_nodes_own_and_others_its_settings() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("node.sock");
    let node = start_on(Listener::bind(&path).expect("bound"));
    let stream = tokio::net::UnixStream::connect(&path).await.expect("connected");
    let mut stream = BufReader::new(stream);
    let hello = "{\"id\":7,\"command\":{\"do\":\"hello\",\"version\":999}}\n";
    stream.write_all(hello.as_bytes()).await.expect("sent");
    let mut answer = String::new();
    stream
        .read_to_string(&mut answer)
        .await
        .expect("closed by the node");
    let refusal = FromNode::Reply {
        id: 7,
        result: Err(ControlError::Version { theirs: VERSION }),
    };
    assert_eq!(
        serde_json::from_str::<FromNode>(&answer).expect("one line"),
        refusal
    );
    let (control, _events, welcome) = client::connect(&path).await.expect("a node");
    assert_eq!(welcome.settings, config(1).shown());
    assert_eq!(welcome.settings["endpoints_max"], "1000");
    assert_eq!(control.call(Command::Shutdown).await, Ok(Reply::Done));
    assert_eq!(node.await.expect("no panic").expect("ran"), Ended::Asked);
}
