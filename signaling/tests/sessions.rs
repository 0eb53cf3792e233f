//! Seats, sessions and restarts, with a real server and a node that only speaks the control protocol.

mod common;

use common::{Bench, Client, join, killed_and_started_again};
use serde_json::json;
use sfu::{
    control::{Command, Event, MediaState, SeatId, SlotChange},
    engine::id::{PointNumber, SlotId, SourceKind},
};
use signaling::{driver::auth, names::Role};

#[tokio::test]
async fn everybody_learns_who_comes_changes_and_goes() {
    let bench = Bench::start().await;
    let (mut first, joined) = bench.seated("demo", "Ánh").await;
    assert_eq!((&joined["number"], &joined["sequence"]), (&json!(1), &json!(1)));
    let (mut second, joined) = bench.seated("demo", "Bình").await;
    assert_eq!(joined["points"].as_array().expect("a list").len(), 2);
    let point = first.expect("point").await;
    assert_eq!(
        (&point["change"], &point["point"]["name"], &point["sequence"]),
        (&json!("joined"), &json!("Bình"), &json!(2))
    );
    second
        .send(&json!({"type": "publish", "source": "camera", "on": true}))
        .await;
    assert_eq!(
        first.expect("point").await["point"]["published"],
        json!(["mic", "camera"])
    );
    second.send(&json!({"type": "leave"})).await;
    assert_eq!(second.closed().await.1, 1000);
    assert_eq!(first.expect("point").await["change"], "left");
    let (_, third) = bench.seated("demo", "Chi").await;
    assert_eq!(third["number"], 3, "numbers are never used again");
}

#[tokio::test]
async fn a_seat_is_resumed_and_the_former_session_closed() {
    let bench = Bench::start().await;
    let (mut first, joined) = bench.seated("demo", "Ánh").await;
    let resume = joined["resume"].as_str().expect("a token");
    let mut second = bench.connect().await;
    second.hello(&bench.token("demo"), Some(resume)).await;
    let resumed = second.expect("resumed").await;
    assert_eq!(
        (&resumed["number"], &resumed["media"]),
        (&json!(1), &json!("kept"))
    );
    assert_eq!(first.closed().await.1, 4409);
    // A token of another room claims nothing.
    let mut third = bench.connect().await;
    third.hello(&bench.token("small"), Some(resume)).await;
    third.expect("welcome").await;
    assert_eq!(third.next().await["code"], "bad_token");
    second.send(&json!({"type": "ping", "id": 4})).await;
    assert_eq!(
        second.expect("pong").await["id"],
        4,
        "the seat's session is untouched"
    );
}

#[tokio::test]
async fn after_a_restart_of_signaling_seats_are_as_they_were() {
    let bench = Bench::start().await;
    let (mut client, joined) = bench.seated("demo", "Ánh").await;
    bench
        .seated("demo", "Bình")
        .await
        .0
        .send(&json!({"type": "ping", "id": 1}))
        .await;
    let resume = joined["resume"].as_str().expect("a token").to_owned();
    let bench = killed_and_started_again(bench).await;
    let mut again = Client::connect(&bench.server.http, Some(&bench.server.http))
        .await
        .expect("upgraded");
    again.hello(&bench.token("demo"), Some(&resume)).await;
    let resumed = again.expect("resumed").await;
    assert_eq!(
        (&resumed["number"], &resumed["media"]),
        (&json!(1), &json!("kept"))
    );
    let names: Vec<_> = resumed["points"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|p| p["name"].clone())
        .collect();
    assert_eq!(names, ["Ánh", "Bình"]);
    let (_, next) = bench.seated("demo", "Chi").await;
    assert_eq!(next["number"], 3);
    let _ = client.0.close(None).await;
}

#[tokio::test]
async fn who_is_in_for_days_has_the_seat_again_after_a_break() {
    let bench = Bench::start().await;
    let (mut first, joined) = bench.seated("demo", "An").await;
    let now = auth::unix_now();
    let resume = joined["resume"].as_str().expect("a token").to_owned().try_into();
    let claim = bench
        .keys
        .read_resume(&resume.expect("a word"), now)
        .expect("ours");
    let resume = String::from(bench.keys.sign_resume(&claim, now - 3 * 24 * 3600));
    let token = bench.signed("demo", Role::Delegate, -3 * 24 * 3600, -3600);
    let _ = first.0.close(None).await;
    let mut again = bench.connect().await;
    again.hello(&token, Some(&resume)).await;
    let resumed = again.expect("resumed").await;
    assert_eq!(
        (&resumed["number"], &resumed["media"]),
        (&joined["number"], &json!("kept"))
    );
    again.send(&json!({"type": "leave"})).await;
    again.closed().await;
    let mut late = bench.connect().await;
    late.hello(&token, Some(&resume)).await;
    let (messages, close) = late.closed().await;
    assert_eq!(
        (&messages.last().expect("an error")["code"], close),
        (&json!("token_expired"), 4401)
    );
}

#[tokio::test]
async fn rooms_that_are_configured_no_longer_are_closed_before_others_are_opened() {
    let bench = Bench::start().await;
    let opens = |name: &'static str| {
        move |command: &Command| match command {
            Command::OpenRoom { room, .. } if room.as_str() == name => Some(()),
            _ => None,
        }
    };
    bench.node.until(opens("small")).await;
    {
        let mut told = bench.node.told.lock().await;
        let mut former = told.rooms["demo"].clone();
        former.room = "former".to_owned().try_into().expect("a room id");
        told.rooms.insert("former".into(), former);
        told.commands.clear();
    }
    let bench = killed_and_started_again(bench).await;
    bench.node.until(opens("demo")).await;
    let told = bench.node.told.lock().await;
    let closed = told
        .commands
        .iter()
        .take_while(|command| opens("demo")(command).is_none())
        .any(|command| matches!(command, Command::CloseRoom { room } if room.as_str() == "former"));
    assert!(closed, "{:?}", told.commands);
}

async fn seat_of(bench: &Bench, index: usize) -> SeatId {
    bench.node.told.lock().await.rooms["demo"].seats[index]
        .seat
        .clone()
}

#[tokio::test]
async fn lost_media_is_told_and_joined_anew_with_the_same_number() {
    let bench = Bench::start().await;
    let (mut client, joined) = bench.seated("demo", "Ánh").await;
    let room: sfu::control::RoomId = "demo".to_owned().try_into().expect("a room id");
    let seat = seat_of(&bench, 0).await;
    for (state, word) in [(MediaState::Connected, "connected"), (MediaState::Lost, "lost")] {
        bench
            .node
            .emit(Event::Media {
                room: room.clone(),
                seat: seat.clone(),
                state,
            })
            .await;
        assert_eq!(client.expect("media").await["state"], word);
        assert_eq!(
            client.expect("point").await["point"]["connected"],
            json!(word == "connected")
        );
    }
    client.send(&join(5, "Ánh")).await;
    let again = client.expect("joined").await;
    assert_eq!((&again["number"], &again["id"]), (&joined["number"], &json!(5)));
    assert_eq!(seat_of(&bench, 0).await, seat);
}

#[tokio::test]
async fn a_client_that_does_not_read_is_closed_with_1013_and_others_go_on() {
    let bench = Bench::start().await;
    let (mut slow, _) = bench.seated("demo", "Chậm").await;
    let (mut other, _) = bench.seated("demo", "Nhanh").await;
    let room: sfu::control::RoomId = "demo".to_owned().try_into().expect("a room id");
    let (seat, others_seat) = (seat_of(&bench, 0).await, seat_of(&bench, 1).await);
    let changes: Vec<SlotChange> = (0..27)
        .map(|i| SlotChange {
            slot: SlotId::video(i),
            source: None,
            time: Some(u32::MAX),
        })
        .collect();
    // More than all buffers of the system between us hold; in turns, so that the link itself is never the slow one.
    for _ in 0..12 {
        for _ in 0..1_000 {
            let (room, seat) = (room.clone(), seat.clone());
            bench
                .node
                .emit(Event::Slots {
                    room,
                    seat,
                    changes: changes.clone(),
                })
                .await;
        }
        let (room, seat) = (room.clone(), others_seat.clone());
        bench
            .node
            .emit(Event::Slots {
                room,
                seat,
                changes: changes[..1].to_vec(),
            })
            .await;
        other.expect("slots").await;
    }
    let (_, close) = slow.closed().await;
    assert_eq!(close, 1013);
}

#[tokio::test]
async fn a_stopping_server_says_so_and_ends_the_node() {
    let bench = Bench::start().await;
    let (mut client, _) = bench.seated("demo", "Ánh").await;
    let stopping = tokio::spawn(bench.server.stop());
    assert_eq!(client.closed().await.1, 1001);
    drop(client);
    let told = bench.node.told.clone();
    let shutdown_told = async {
        while !told.lock().await.commands.contains(&Command::Shutdown) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(common::PATIENCE, shutdown_told)
        .await
        .expect("the node is told");
    stopping.abort();
}

#[tokio::test]
async fn a_camera_that_is_ready_before_the_answer_counts() {
    let bench = Bench::start().await;
    let (mut first, _) = bench.seated("demo", "Ánh").await;
    let mut second = bench.connect().await;
    second.hello(&bench.token("demo"), None).await;
    second.expect("welcome").await;
    second.send(&join(1, "Bình")).await;
    second
        .send(&json!({"type": "publish", "source": "camera", "on": true}))
        .await;
    second.expect("joined").await;
    // Whichever came first, the answer or the camera: the room and the node end up knowing of it.
    let mut published = json!([]);
    while published != json!(["mic", "camera"]) {
        published = first.expect("point").await["point"]["published"].clone();
    }
    second.send(&json!({"type": "ping", "id": 1})).await;
    second.expect("pong").await;
    let told = bench.node.told.lock().await;
    let on = |command: &Command| {
        matches!(
            command,
            Command::SetPublished {
                source: SourceKind::Camera,
                on: true,
                ..
            }
        )
    };
    assert!(told.commands.iter().any(on), "{:?}", told.commands.len());
}

#[tokio::test]
async fn the_floor_is_given_by_who_leads_and_everybody_knows_who_has_it() {
    let bench = Bench::start().await;
    let (mut chair, joined) = bench.seated_as(Role::Chair, "demo", "Chủ trì").await;
    assert_eq!(joined["floor"], json!(null));
    let (mut second, _) = bench.seated("demo", "Bình").await;
    let refused = |id: u32, code: &str| json!({"type": "error", "id": id, "code": code});
    second
        .send(&json!({"type": "give_floor", "id": 1, "point": 2}))
        .await;
    assert_eq!(second.expect("error").await, refused(1, "not_allowed"));
    second.send(&json!({"type": "take_floor", "id": 2})).await;
    assert_eq!(second.expect("error").await, refused(2, "not_allowed"));
    let (_observer, seen) = bench.seated_as(Role::Observer, "demo", "Dự thính").await;
    for nobody in [seen["number"].clone(), json!(9)] {
        chair
            .send(&json!({"type": "give_floor", "id": 3, "point": nobody}))
            .await;
        assert_eq!(chair.expect("error").await, refused(3, "state"));
    }
    chair
        .send(&json!({"type": "give_floor", "id": 4, "point": 2}))
        .await;
    for client in [&mut chair, &mut second] {
        assert_eq!(client.expect("floor").await["number"], 2);
    }
    let (_, late) = bench.seated("demo", "Chi").await;
    assert_eq!(late["floor"], 2);
    assert_eq!(
        bench.node.told.lock().await.rooms["demo"].floor.map(|n| n.get()),
        Some(2)
    );
    // Who leaves has it no more.
    second.send(&json!({"type": "leave"})).await;
    assert_eq!(chair.expect("floor").await["number"], json!(null));
    assert_eq!(chair.expect("point").await["change"], "left");
}

#[tokio::test]
async fn the_floor_outlives_a_broken_link_and_a_restart_of_signaling() {
    let bench = Bench::start().await;
    let (mut secretary, _) = bench.seated_as(Role::Secretary, "demo", "Thư ký").await;
    let (mut second, joined) = bench.seated("demo", "Bình").await;
    secretary
        .send(&json!({"type": "give_floor", "id": 1, "point": 2}))
        .await;
    assert_eq!(second.expect("floor").await["number"], 2);
    let resume = joined["resume"].as_str().expect("a token").to_owned();
    let _ = second.0.close(None).await;
    let mut again = bench.connect().await;
    again.hello(&bench.token("demo"), Some(&resume)).await;
    assert_eq!(again.expect("resumed").await["floor"], 2);
    let bench = killed_and_started_again(bench).await;
    let mut again = Client::connect(&bench.server.http, Some(&bench.server.http))
        .await
        .expect("upgraded");
    again.hello(&bench.token("demo"), Some(&resume)).await;
    let resumed = again.expect("resumed").await;
    // The node may be heard before the page or after it.
    let floor = match &resumed["floor"] {
        serde_json::Value::Null => again.expect("floor").await["number"].clone(),
        told => told.clone(),
    };
    assert_eq!(floor, 2);
}

#[tokio::test]
async fn who_speaks_is_known_again_after_a_restart_of_signaling() {
    let bench = Bench::start().await;
    let (_speaker, joined) = bench.seated("demo", "An").await;
    let resume = joined["resume"].as_str().expect("a token").to_owned();
    let speaker = PointNumber::try_from(1).expect("a number");
    let set = |told: &mut common::Told| {
        told.rooms.get_mut("demo").expect("open").speaker = Some(speaker);
    };
    set(&mut *bench.node.told.lock().await);
    let bench = killed_and_started_again(bench).await;
    let mut again = Client::connect(&bench.server.http, Some(&bench.server.http))
        .await
        .expect("upgraded");
    again.hello(&bench.token("demo"), Some(&resume)).await;
    again.expect("resumed").await;
    // The node may be heard before the page or after it.
    assert_eq!(again.expect("speaker").await["number"], 1);
}

/// One seat passes at once, then one in a second.
async fn slow_door() -> Bench {
    Bench::start_with(|config| (config.joins.per_second, config.joins.burst) = (1, 1)).await
}

async fn greeted(bench: &Bench, version: u16) -> Client {
    let mut client = bench.connect().await;
    let token = bench.token("demo");
    client
        .send(&json!({"type": "hello", "version": version, "token": token}))
        .await;
    client.expect("welcome").await;
    client
}

#[tokio::test]
async fn joins_beyond_the_pace_stand_in_line_and_are_told_their_place() {
    let bench = slow_door().await;
    let (_first, _) = bench.seated("demo", "A").await;
    let (mut goes, mut stays) = (greeted(&bench, 3).await, greeted(&bench, 3).await);
    goes.send(&join(2, "B")).await;
    assert_eq!(goes.next().await, json!({"type": "queued", "id": 2, "place": 1}));
    stays.send(&join(3, "C")).await;
    assert_eq!(stays.next().await, json!({"type": "queued", "id": 3, "place": 2}));
    // Asked again it keeps its place, and the older question has its answer.
    stays.send(&join(4, "C")).await;
    let error = stays.expect("error").await;
    assert_eq!((&error["id"], &error["code"]), (&json!(3), &json!("state")));
    stays
        .send(&json!({"type": "publish", "source": "camera", "on": true}))
        .await;
    goes.send(&json!({"type": "leave"})).await;
    assert_eq!(goes.closed().await.1, 1000);
    let joined = stays.expect("joined").await;
    assert_eq!(
        (&joined["id"], &joined["number"]),
        (&json!(4), &json!(2)),
        "nobody else took a number"
    );
    let published = &joined["points"][1]["published"];
    assert_eq!(
        *published,
        json!(["mic", "camera"]),
        "switched on while it stood in line"
    );
}

#[tokio::test]
async fn clients_of_former_versions_stand_in_line_without_a_word_about_it() {
    let bench = slow_door().await;
    let (_first, _) = bench.seated("demo", "A").await;
    for version in [1, 2] {
        let mut client = greeted(&bench, version).await;
        client.send(&join(2, "B")).await;
        assert_eq!(client.next().await["type"], "joined", "version {version}");
    }
}

#[tokio::test]
async fn a_page_may_ask_whether_there_is_a_place() {
    let bench = Bench::start().await;
    let mut stream = tokio::net::TcpStream::connect(bench.server.http.trim_start_matches("http://"))
        .await
        .expect("connected");
    let request = "GET /api/v1/admission HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    tokio::io::AsyncWriteExt::write_all(&mut stream, request.as_bytes())
        .await
        .expect("sent");
    let mut answer = String::new();
    tokio::io::AsyncReadExt::read_to_string(&mut stream, &mut answer)
        .await
        .expect("answered");
    assert!(answer.starts_with("HTTP/1.1 204 "), "{answer}");
}

#[tokio::test]
async fn who_asks_for_places_without_end_takes_none() {
    let bench = Bench::start().await;
    let address = bench.server.http.trim_start_matches("http://");
    let stream = tokio::net::TcpStream::connect(address).await.expect("connected");
    let (mut read, mut write) = stream.into_split();
    let mut look = "GET /api/v1/admission HTTP/1.1\r\nhost: x\r\n\r\n".repeat(2_999);
    // No handshake either.
    look += &format!(
        "GET /ws HTTP/1.1\r\nhost: {address}\r\norigin: {}\r\n\r\n",
        bench.server.http
    )
    .repeat(2_999);
    look += "GET /api/v1/admission HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    let asked = async {
        tokio::io::AsyncWriteExt::write_all(&mut write, look.as_bytes())
            .await
            .expect("sent")
    };
    let mut answers = String::new();
    let answered = async {
        tokio::io::AsyncReadExt::read_to_string(&mut read, &mut answers)
            .await
            .expect("text")
    };
    tokio::join!(asked, answered);
    let count = |status| answers.matches(status).count();
    assert_eq!((count("HTTP/1.1 204 "), count("HTTP/1.1 426 ")), (3_000, 2_999));
    let _page = bench.connect().await;
}
