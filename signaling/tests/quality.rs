//! Quality and orders from the node to pages, figures from pages to the node, and looks into a room.

mod common;

use std::path::Path;

use common::{Bench, Client};
use serde_json::{Value, json};
use sfu::{
    control::{
        Cause, Command, Event, LayerOrder, LineId, RoomId, SeatId, SendOrder, SlotQuality, SourceOrder,
    },
    engine::{
        id::{SlotId, SourceKind},
        units::Bitrate,
    },
};
use signaling::driver::config::Config;

/// The province of the example.
fn province(config: &mut Config) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/examples/three-tier");
    config.topology.sites = Some(folder.join("sites.csv"));
    config.topology.lines = Some(folder.join("lines.csv"));
}

fn line(id: &str) -> LineId {
    id.to_owned().try_into().expect("an id")
}

fn slot(height: Option<u16>, cause: Option<Cause>, of: Option<&str>) -> SlotQuality {
    SlotQuality {
        slot: SlotId::video(0),
        height,
        rate_percent: if height.is_some() { 100 } else { 0 },
        cause,
        line: of.map(line),
    }
}

/// What the node says of the only seat.
async fn events(bench: &Bench, slots: Vec<SlotQuality>, order: SendOrder) -> [Event; 2] {
    let room: RoomId = "demo".to_owned().try_into().expect("a room");
    let seat: SeatId = bench.node.told.lock().await.rooms["demo"].seats[0].seat.clone();
    [
        Event::Quality {
            room: room.clone(),
            seat: seat.clone(),
            slots,
        },
        Event::Send { room, seat, order },
    ]
}

#[tokio::test]
async fn what_a_seat_gets_is_told_with_the_name_of_the_line_and_again_after_a_resume() {
    let bench = Bench::start_with(province).await;
    let (mut client, joined) = bench.seated("demo", "Ánh").await;
    let known = {
        let told = bench.node.told.lock().await;
        let Some(Command::SetNetwork { network }) = told.commands.first() else {
            panic!("the network comes before any room")
        };
        assert!(
            (1..=345).contains(&network.lines.len()),
            "{}",
            network.lines.len()
        );
        network.lines[0].id.clone()
    };
    let order = |voice_ms| SendOrder {
        sources: vec![SourceOrder {
            source: SourceKind::Camera,
            layers: vec![LayerOrder {
                active: true,
                bitrate_max: Bitrate::kbps(150),
                fps_max: 15,
            }],
            cause: Some(Cause::SenderLine),
            line: Some(line("nowhere")),
        }],
        voice_ms,
    };
    let first = events(&bench, vec![slot(Some(720), None, None)], order(20)).await;
    let short = slot(Some(360), Some(Cause::LineBudget), Some(known.as_str()));
    let second = events(&bench, vec![short], order(60)).await;
    for event in first.into_iter().chain(second) {
        bench.node.emit(event).await;
    }
    let whole =
        json!({"slot": "v0", "height": 720, "rate": 100, "cause": null, "line": null, "line_name": null});
    assert_eq!(client.expect("quality").await["slots"], json!([whole]));
    assert_eq!(client.expect("send").await["voice_ms"], 20);
    let (quality, send) = (client.expect("quality").await, client.expect("send").await);
    let told = &quality["slots"][0];
    assert_eq!(
        (&told["height"], &told["cause"], &told["line"]),
        (&json!(360), &json!("line_budget"), &json!(known.as_str()))
    );
    assert!(
        told["line_name"]
            .as_str()
            .is_some_and(|name| name != known.as_str()),
        "{told}"
    );
    let camera = json!({"source": "camera", "layers": [{"active": true, "bitrate": 150_000, "fps": 15}],
        "cause": "sender_line", "line": "nowhere", "line_name": null});
    assert_eq!(send, json!({"type": "send", "voice_ms": 60, "sources": [camera]}));

    let resume = joined["resume"].as_str().expect("a token");
    let mut again = bench.connect().await;
    again.hello(&bench.token("demo"), Some(resume)).await;
    again.expect("resumed").await;
    assert_eq!((again.next().await, again.next().await), (quality, send));
}

#[tokio::test]
async fn new_media_is_told_nothing_of_the_old() {
    let bench = Bench::start().await;
    let (mut client, _) = bench.seated("demo", "Ánh").await;
    let order = SendOrder::default();
    for event in events(&bench, vec![slot(Some(180), None, None)], order).await {
        bench.node.emit(event).await;
    }
    client.expect("send").await;
    client.send(&common::join(2, "Ánh")).await;
    let joined = client.expect("joined").await;
    let resume = joined["resume"].as_str().expect("a token");
    let mut again = bench.connect().await;
    again.hello(&bench.token("demo"), Some(resume)).await;
    again.expect("resumed").await;
    again.send(&json!({"type": "ping", "id": 9})).await;
    assert_eq!(again.next().await["type"], "pong");
}

fn stats(frames: u32) -> Value {
    json!({"type": "stats", "cpu_limited": true, "encoder_limited": false, "frames_decoded": frames, "freezes": 1,
        "freeze_ms": 250, "concealed_ppm": 1_200, "audio_delay_ms": 60})
}

#[tokio::test]
async fn figures_of_a_page_reach_the_node_and_too_many_are_passed_over() {
    let bench = Bench::start().await;
    let mut seatless = bench.connect().await;
    seatless.hello(&bench.token("demo"), None).await;
    seatless.expect("welcome").await;
    seatless.send(&stats(1)).await;
    assert_eq!(seatless.next().await["code"], "state");

    let (mut client, _) = bench.seated("demo", "Ánh").await;
    for frames in 0..100 {
        client.send(&stats(frames)).await;
    }
    client.send(&json!({"type": "ping", "id": 1})).await;
    assert_eq!(client.next().await["type"], "pong", "none of them is answered");
    // They go together, a moment later: the last one that was taken.
    let told = bench.node.until(|command| match command {
        Command::SetClients { clients, .. } => Some(clients.clone()),
        _ => None,
    });
    let clients = told.await;
    let [(_, client)] = &clients[..] else {
        panic!("one page, but {clients:?}")
    };
    assert!(client.cpu_limited && client.freeze_ms == 250);
    assert!(client.frames_decoded < 99, "too many are passed over");
}

/// Status and body of a request to the private listener.
async fn get(bench: &Bench, path: &str) -> (u16, String) {
    common::get(&bench.server.metrics.replace("/metrics", path)).await
}

#[tokio::test]
async fn a_room_is_looked_into_on_the_private_listener_only_and_only_if_that_is_on() {
    let bench = Bench::start().await;
    bench.seated("demo", "Ánh").await;
    let (status, body) = get(&bench, "/debug/rooms/demo").await;
    assert_eq!(status, 200);
    let report: Value = serde_json::from_str(&body).expect("JSON");
    assert_eq!(report, json!({"points": [], "lines": []}));
    for path in ["/debug/rooms/none", "/debug/rooms/UPPER", "/debug/rooms/"] {
        assert_eq!(get(&bench, path).await.0, 404, "{path}");
    }
    assert!(get(&bench, "/metrics").await.1.contains("diemcau_fake 1"));
    let off = Bench::start_with(|config| config.metrics.debug = Some(false)).await;
    assert_eq!(get(&off, "/debug/rooms/demo").await.0, 404);
}

#[tokio::test]
async fn a_client_that_says_too_large_figures_is_told_so() {
    let bench = Bench::start().await;
    let (mut client, _): (Client, _) = bench.seated("demo", "Ánh").await;
    client.send(&stats(100_001)).await;
    assert_eq!(client.next().await["code"], "bad_message");
}
