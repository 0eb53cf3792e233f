//! WHIP and WHEP over real HTTP, with a node that only speaks the control protocol.

mod common;

use common::{Bench, PATIENCE, join, killed_and_started_again};
use serde_json::{Value, json};
use sfu::{
    control::{ClientKind, Command, Event, MediaState, RoomId, SeatId},
    engine::id::{PointNumber, SourceKind, SourceNumber},
};
use signaling::names::Role;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

const OFFER: &str = "v=0\r\n";
const FRAGMENT: &str = "a=ice-ufrag:abcd\r\na=ice-pwd:0123456789abcdef01234567\r\n";
const SDP: (&str, &str) = ("content-type", "application/sdp");
const SDPFRAG: (&str, &str) = ("content-type", "application/trickle-ice-sdpfrag");

/// An HTTP answer.
#[derive(Debug)]
struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Answer {
    fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines
            .filter(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
            .next()
    }

    /// Of a problem document.
    fn code(&self) -> (u16, String) {
        assert_eq!(
            self.header("content-type"),
            Some("application/problem+json"),
            "{self:?}"
        );
        let problem: Value = serde_json::from_str(&self.body).expect("JSON");
        assert_eq!(problem["status"], self.status);
        (self.status, problem["code"].as_str().expect("a code").to_owned())
    }
}

/// One request on a connection of its own.
async fn request(bench: &Bench, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
    let address = bench.server.http.trim_start_matches("http://");
    let mut stream = TcpStream::connect(address).await.expect("connected");
    let mut text = format!("{method} {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n");
    for (name, value) in headers {
        text += &format!("{name}: {value}\r\n");
    }
    text += &format!("content-length: {}\r\n\r\n{body}", body.len());
    stream.write_all(text.as_bytes()).await.expect("sent");
    let mut answer = Vec::new();
    let read = stream.read_to_end(&mut answer);
    tokio::time::timeout(PATIENCE, read)
        .await
        .expect("in time")
        .expect("read");
    let answer = String::from_utf8(answer).expect("text");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
    Answer {
        status: status.expect("a status"),
        head: head.to_owned(),
        body: body.to_owned(),
    }
}

/// With a token and a content type.
async fn ask(
    bench: &Bench,
    (method, path): (&str, &str),
    token: &str,
    more: &[(&str, &str)],
    body: &str,
) -> Answer {
    let bearer = format!("Bearer {token}");
    let headers = [&[("authorization", &*bearer)], more].concat();
    request(bench, method, path, &headers, body).await
}

async fn post(bench: &Bench, path: &str) -> Answer {
    ask(bench, ("POST", path), &bench.token("demo"), &[SDP], OFFER).await
}

/// A session that must be made: where it is, and its name.
async fn made(bench: &Bench, path: &str) -> (String, SeatId) {
    let made = post(bench, path).await;
    assert_eq!(made.status, 201, "{made:?}");
    assert_eq!(made.header("content-type"), Some("application/sdp"));
    assert_eq!((made.header("etag"), made.body.as_str()), (Some("\"1\""), OFFER));
    let location = made.header("location").expect("a location").to_owned();
    let seat = location.rsplit('/').next().expect("a name").to_owned();
    assert!(seat.len() == 32 && location.contains("/session/"), "{location}");
    (location, seat.try_into().expect("a seat"))
}

async fn delete(bench: &Bench, location: &str) -> Answer {
    ask(bench, ("DELETE", location), &bench.token("demo"), &[], "").await
}

fn room() -> RoomId {
    "demo".to_owned().try_into().expect("a room")
}

fn source(number: u32, kind: SourceKind) -> Option<SourceNumber> {
    PointNumber::try_from(number)
        .ok()
        .map(|number| number.source(kind))
}

/// News of somebody's media.
fn media(seat: &SeatId, state: MediaState) -> Event {
    Event::Media {
        room: room(),
        seat: seat.clone(),
        state,
    }
}

/// The seat of the point of that number.
async fn seat(bench: &Bench, number: u32) -> SeatId {
    let of = |command: &Command| match command {
        Command::Join(join) if join.number.get() == number => Some(join.seat.clone()),
        _ => None,
    };
    bench.node.until(of).await
}

/// What a player was aimed at last: picture and voice.
async fn aimed(bench: &Bench, player: &SeatId) -> (Option<SourceNumber>, Option<SourceNumber>) {
    // The node answers in order: after this it has heard all that was decided before.
    let (path, headers) = (
        format!("/whep/demo/session/{player}"),
        [("if-match", "*"), SDPFRAG],
    );
    let asked = ask(bench, ("PATCH", &path), &bench.token("demo"), &headers, FRAGMENT).await;
    assert_eq!(asked.status, 200, "{asked:?}");
    let told = bench.node.told.lock().await;
    let mut aim = (None, None);
    for command in &told.commands {
        match command {
            Command::SetView { seat, wants, .. } if seat == player => {
                aim.0 = wants.first().map(|want| want.source)
            }
            Command::SetVoice { seat, source, .. } if seat == player => aim.1 = *source,
            _ => {}
        }
    }
    aim
}

#[tokio::test]
async fn who_publishes_is_a_point_whose_name_can_be_played_at_once() {
    let bench = Bench::start().await;
    let (mut page, _) = bench.seated("demo", "Ánh").await;
    let (camera, _) = made(&bench, "/whip/demo?name=C%E1%BA%A7u%201").await;
    let (player, seat) = made(&bench, "/whep/demo/C%E1%BA%A7u%201").await;
    let (_, by_number) = made(&bench, "/whep/demo/2").await;
    let point = page.expect("point").await;
    assert_eq!(
        (&point["change"], &point["point"]["name"]),
        (&json!("joined"), &json!("Cầu 1"))
    );
    assert_eq!(point["point"]["published"], json!(["mic", "camera"]));
    for player in [&seat, &by_number] {
        let both = (source(2, SourceKind::Camera), source(2, SourceKind::Mic));
        assert_eq!(aimed(&bench, player).await, both);
    }
    let kinds: Vec<ClientKind> = bench
        .node
        .told
        .lock()
        .await
        .commands
        .iter()
        .filter_map(|command| match command {
            Command::Join(join) => Some(join.client),
            _ => None,
        })
        .collect();
    let (page_kind, player_kind) = (ClientKind::Page, ClientKind::Player);
    assert_eq!(
        kinds,
        [page_kind, ClientKind::Publisher, player_kind, player_kind]
    );

    assert_eq!(delete(&bench, &camera).await.status, 200);
    let left = page.expect("point").await;
    assert_eq!(
        (&left["change"], &left["point"]["number"]),
        (&json!("left"), &json!(2))
    );
    assert_eq!(
        delete(&bench, &camera).await.code(),
        (404, "unknown_session".into())
    );
    assert_eq!(
        post(&bench, "/whep/demo/2").await.code(),
        (404, "unknown_point".into())
    );
    // It comes again under another number: whoever plays the name goes on.
    assert_eq!(aimed(&bench, &seat).await, (None, None));
    made(&bench, "/whip/demo?name=C%E1%BA%A7u%201").await;
    assert_eq!(aimed(&bench, &seat).await.0, source(5, SourceKind::Camera));
    assert_eq!(aimed(&bench, &by_number).await.0, None);
    assert_eq!(delete(&bench, &player).await.status, 200);
    let (_, joined) = bench.seated("demo", "Bình").await;
    let names: Vec<_> = joined["points"].as_array().expect("a list").iter().collect();
    assert_eq!(names.len(), 3, "a player is no point: {names:?}");
}

#[tokio::test]
async fn the_stage_follows_floor_and_speaker() {
    let bench = Bench::start().await;
    let (mut chair, _) = bench.seated_as(Role::Chair, "demo", "Chủ trì").await;
    let own = seat(&bench, 1).await;
    bench.node.emit(media(&own, MediaState::Connected)).await;
    let (_, stage) = made(&bench, "/whep/demo/stage").await;
    assert_eq!(
        aimed(&bench, &stage).await,
        (None, None),
        "nobody sends a picture"
    );
    // Number 2 is the player's.
    for name in ["a", "b"] {
        let (_, seat) = made(&bench, &format!("/whip/demo?name={name}")).await;
        bench.node.emit(media(&seat, MediaState::Connected)).await;
    }
    for _ in 0..5 {
        chair.expect("point").await;
    }
    let (camera, mic) = (SourceKind::Camera, SourceKind::Mic);
    assert_eq!(
        aimed(&bench, &stage).await,
        (source(3, camera), None),
        "nobody speaks: the node takes what goes with the picture"
    );
    let speaks = |number: u32| Event::Speaker {
        room: room(),
        number: number.try_into().ok(),
    };
    bench.node.emit(speaks(4)).await;
    chair.expect("speaker").await;
    assert_eq!(aimed(&bench, &stage).await, (source(4, camera), source(4, mic)));
    bench.node.emit(speaks(0)).await;
    chair.expect("speaker").await;
    assert_eq!(
        aimed(&bench, &stage).await.0,
        source(4, camera),
        "who spoke last stays"
    );
    chair
        .send(&json!({"type": "give_floor", "id": 7, "point": 3}))
        .await;
    chair.expect("floor").await;
    bench.node.emit(speaks(4)).await;
    chair.expect("speaker").await;
    let asks = (source(3, camera), source(4, mic));
    assert_eq!(
        aimed(&bench, &stage).await,
        asks,
        "the floor is seen, who speaks is heard"
    );
    // Whoever speaks without a camera is heard beside the former picture.
    chair.send(&json!({"type": "take_floor", "id": 8})).await;
    chair.expect("floor").await;
    bench.node.emit(speaks(1)).await;
    chair.expect("speaker").await;
    assert_eq!(aimed(&bench, &stage).await.1, source(1, mic));
    assert!(aimed(&bench, &stage).await.0.is_some());
    chair
        .send(&json!({"type": "publish", "source": "camera", "on": true}))
        .await;
    chair.expect("point").await;
    assert_eq!(aimed(&bench, &stage).await, (source(1, camera), source(1, mic)));
}

#[tokio::test]
async fn a_film_is_heard_while_the_floor_is_silent_or_shows_it() {
    let bench = Bench::start().await;
    let (mut chair, _) = bench.seated_as(Role::Chair, "demo", "Chủ trì").await;
    let mut page = bench.connect().await;
    page.hello(&bench.token("demo"), None).await;
    let mut wish = join(1, "Điểm 2");
    wish["sources"]["screen"] = "2".into();
    wish["published"] = json!(["mic", "screen"]);
    page.send(&wish).await;
    page.expect("joined").await;
    for (number, told) in [(1, &mut chair), (2, &mut page)] {
        let seat = seat(&bench, number).await;
        bench.node.emit(media(&seat, MediaState::Connected)).await;
        told.expect("media").await;
    }
    let (_, stage) = made(&bench, "/whep/demo/stage").await;
    let (film, mic) = (source(2, SourceKind::Screen), SourceKind::Mic);
    for (floor, on, voice) in [(1, true, source(1, mic)), (1, false, None), (2, false, None)] {
        chair
            .send(&json!({"type": "publish", "source": "mic", "on": on}))
            .await;
        chair
            .send(&json!({"type": "give_floor", "id": 7, "point": floor}))
            .await;
        chair.send(&json!({"type": "ping", "id": 8})).await;
        chair.expect("pong").await;
        assert_eq!(aimed(&bench, &stage).await, (film, voice), "{floor} {on}");
    }
}

#[tokio::test]
async fn who_has_lost_the_media_is_not_on_the_stage() {
    let bench = Bench::start().await;
    let mut pages = Vec::new();
    for (number, published) in [(1, json!(["camera", "screen"])), (2, json!(["camera"]))] {
        let mut page = bench.connect().await;
        page.hello(&bench.token("demo"), None).await;
        let mut wish = join(1, &format!("Điểm {number}"));
        wish["sources"]["screen"] = "2".into();
        wish["published"] = published;
        page.send(&wish).await;
        page.expect("joined").await;
        let seat = seat(&bench, number).await;
        bench.node.emit(media(&seat, MediaState::Connected)).await;
        page.expect("media").await;
        pages.push((page, seat));
    }
    let (_, stage) = made(&bench, "/whep/demo/stage").await;
    let (first, seat) = &mut pages[0];
    let screen = source(1, SourceKind::Screen);
    assert_eq!(aimed(&bench, &stage).await.0, screen);
    for (state, shown) in [
        (MediaState::Lost, source(2, SourceKind::Camera)),
        (MediaState::Connected, screen),
    ] {
        bench.node.emit(media(seat, state)).await;
        first.expect("media").await;
        assert_eq!(aimed(&bench, &stage).await.0, shown);
    }
}

/// Path, token, content type and body; status and code.
type Case<'a> = (&'a str, &'a str, (&'a str, &'a str), &'a str, (u16, &'a str));

#[tokio::test]
async fn what_cannot_be_is_refused_by_its_code() {
    let bench = Bench::start_with(|config| config.rooms[0].players_max = 0).await;
    let (good, small) = (bench.token("demo"), bench.token("small"));
    let observer = bench.signed("demo", Role::Observer, 0, 60);
    let old = bench.signed("demo", Role::Delegate, -3600, -61);
    let large = "x".repeat(64 * 1024 + 1);
    made(&bench, "/whip/demo?name=a").await;
    let taken = ask(&bench, ("POST", "/whip/small"), &small, &[SDP], OFFER).await;
    assert_eq!(taken.status, 201);
    let text = ("content-type", "text/plain");
    let cases: [Case<'_>; 18] = [
        ("/whip/demo", "", SDP, OFFER, (401, "bad_token")),
        ("/whip/demo", "a.b.c", SDP, OFFER, (401, "bad_token")),
        ("/whip/demo", &old, SDP, OFFER, (401, "token_expired")),
        ("/whip/demo", &small, SDP, OFFER, (403, "not_allowed")),
        ("/whip/none", &good, SDP, OFFER, (403, "not_allowed")),
        ("/whip/demo", &observer, SDP, OFFER, (403, "not_allowed")),
        ("/whip/demo", &good, text, OFFER, (415, "unsupported_media_type")),
        ("/whip/demo", &good, SDP, &large, (413, "too_large")),
        ("/whip/demo", &good, SDP, "", (422, "bad_sdp")),
        ("/whip/demo", &good, SDP, "BAD", (422, "bad_sdp")),
        ("/whip/demo?name=a", &good, SDP, OFFER, (409, "name_taken")),
        ("/whip/demo?name=12", &good, SDP, OFFER, (400, "bad_name")),
        ("/whip/demo?name=%ff", &good, SDP, OFFER, (400, "bad_name")),
        ("/whip/demo?name=", &good, SDP, OFFER, (400, "bad_name")),
        ("/whip/small", &small, SDP, OFFER, (409, "room_full")),
        ("/whep/small/stage", &small, SDP, OFFER, (409, "room_full")),
        ("/whep/demo/nobody", &good, SDP, OFFER, (404, "unknown_point")),
        ("/whep/demo/99", &good, SDP, OFFER, (404, "unknown_point")),
    ];
    for (path, token, kind, body, (status, code)) in cases {
        let refused = ask(&bench, ("POST", path), token, &[kind], body).await;
        assert_eq!(refused.code(), (status, code.to_owned()), "{path} {kind:?}");
        assert_eq!(refused.header("www-authenticate").is_some(), status == 401);
        assert_eq!(refused.header("access-control-allow-origin"), Some("*"));
    }
    let bare = request(&bench, "POST", "/whip/demo", &[SDP], OFFER).await;
    assert_eq!(bare.code(), (401, "bad_token".into()));
    // An observer may watch.
    let watching = ask(&bench, ("POST", "/whep/demo/stage"), &observer, &[SDP], OFFER).await;
    assert_eq!(watching.status, 201);
    let (_, joined) = bench.seated("demo", "Ánh").await;
    assert_eq!(joined["points"].as_array().map(Vec::len), Some(2), "a and Ánh");
}

#[tokio::test]
async fn candidates_and_restarts_are_for_the_session_they_name() {
    let bench = Bench::start().await;
    let token = bench.token("demo");
    let (location, _) = made(&bench, "/whip/demo").await;
    let patch = async |location: &str, etag: Option<&str>, body: &str| {
        let tag = etag.map(|etag| ("if-match", etag));
        let headers: Vec<_> = tag.into_iter().chain([SDPFRAG]).collect();
        ask(&bench, ("PATCH", location), &token, &headers, body).await
    };
    assert_eq!(patch(&location, Some("\"1\""), FRAGMENT).await.status, 204);
    let restarted = patch(&location, Some("*"), FRAGMENT).await;
    assert_eq!((restarted.status, restarted.header("etag")), (200, Some("\"2\"")));
    assert_eq!(restarted.header("content-type"), Some(SDPFRAG.1));
    assert_eq!(restarted.body, "a=ice-lite\r\n");
    assert_eq!(patch(&location, Some("\"2\""), FRAGMENT).await.status, 204);
    let restarted = patch(&location, Some("\"*\""), FRAGMENT).await;
    assert_eq!((restarted.status, restarted.header("etag")), (200, Some("\"3\"")));
    let other = location.replace("/whip/", "/whep/");
    let nobody = format!("/whip/demo/session/{}", "0".repeat(32));
    for (location, etag, body, expected) in [
        (&location, Some("\"1\""), FRAGMENT, (412, "precondition_failed")),
        (&location, Some("W/\"3\""), FRAGMENT, (412, "precondition_failed")),
        (&location, None, FRAGMENT, (428, "precondition_required")),
        (&location, Some("*"), "v=0", (400, "bad_sdp")),
        (&other, Some("*"), FRAGMENT, (404, "unknown_session")),
        (&nobody, Some("*"), FRAGMENT, (404, "unknown_session")),
    ] {
        let refused = patch(location, etag, body).await;
        assert_eq!(
            refused.code(),
            (expected.0, expected.1.to_owned()),
            "{location} {etag:?}"
        );
    }
    let wrong = ask(
        &bench,
        ("PATCH", &location),
        &token,
        &[("if-match", "*"), SDP],
        FRAGMENT,
    )
    .await;
    assert_eq!(wrong.code().0, 415);
    // A token that has expired made the session and may end it.
    let old = bench.signed("demo", Role::Delegate, -3600, -61);
    assert_eq!(
        ask(&bench, ("DELETE", &location), &old, &[], "").await.status,
        200
    );
    let kinds = bench.node.told.lock().await;
    let restarts = kinds.commands.iter();
    let restarts = restarts.filter(|command| matches!(command, Command::RestartIce { .. }));
    assert_eq!(restarts.count(), 2);
}

#[tokio::test]
async fn a_session_ends_with_its_media() {
    let bench = Bench::start().await;
    let (mut page, _) = bench.seated("demo", "Ánh").await;
    let (camera, seat) = made(&bench, "/whip/demo").await;
    let (player, player_seat) = made(&bench, "/whep/demo/stage").await;
    page.expect("point").await;
    bench.node.emit(media(&seat, MediaState::Connected)).await;
    assert_eq!(page.expect("point").await["point"]["connected"], true);
    bench.node.emit(media(&player_seat, MediaState::Lost)).await;
    bench.node.emit(media(&seat, MediaState::Lost)).await;
    assert_eq!(page.expect("point").await["change"], "left");
    for location in [camera, player] {
        assert_eq!(delete(&bench, &location).await.code().0, 404, "{location}");
    }
}

#[tokio::test]
async fn sessions_outlive_signaling() {
    let bench = Bench::start().await;
    let (camera, _) = made(&bench, "/whip/demo?name=a").await;
    let (player, seat) = made(&bench, "/whep/demo/a").await;
    assert_eq!(aimed(&bench, &seat).await.0, source(1, SourceKind::Camera));
    let bench = killed_and_started_again(bench).await;
    let (_, joined) = bench.seated("demo", "Ánh").await;
    assert_eq!(joined["points"][0]["name"], "a");
    assert_eq!(aimed(&bench, &seat).await.0, source(1, SourceKind::Camera));
    let told = bench.node.told.lock().await.commands.clone();
    let is_aim = |command: &&Command| matches!(command, Command::SetView { .. });
    assert_eq!(
        told.iter().filter(is_aim).count(),
        2,
        "and once more by the new one"
    );
    // Nobody knows their ETags any more, so one of before is none of theirs.
    let token = bench.token("demo");
    let patch = async |location: &str, etag: &str| {
        let headers = [("if-match", etag), SDPFRAG];
        ask(&bench, ("PATCH", location), &token, &headers, FRAGMENT).await
    };
    for location in [&player, &camera] {
        assert_eq!(patch(location, "\"1\"").await.status, 412, "{location}");
        let restarted = patch(location, "*").await;
        let etag = restarted.header("etag").expect("a new one").to_owned();
        assert_eq!(patch(location, &etag).await.status, 204, "{location}");
    }
    for location in [&player, &camera] {
        assert_eq!(delete(&bench, location).await.status, 200, "{location}");
    }
}

#[tokio::test]
async fn pages_of_other_origins_may_ask_and_other_methods_are_none() {
    let bench = Bench::start().await;
    let session = format!("/whep/demo/session/{}", "0".repeat(32));
    for (path, methods, accepts) in [
        ("/whip/demo", "POST", ("accept-post", "application/sdp")),
        ("/whep/demo/stage", "POST", ("accept-post", "application/sdp")),
        (&*session, "PATCH, DELETE", ("accept-patch", SDPFRAG.1)),
    ] {
        let asked = request(&bench, "OPTIONS", path, &[("origin", "https://x.example")], "").await;
        assert_eq!(asked.status, 200, "{path}");
        assert_eq!(asked.header("access-control-allow-origin"), Some("*"));
        let allowed = asked.header("access-control-allow-methods").expect("methods");
        assert!(allowed.starts_with(methods), "{allowed}");
        let headers = asked.header("access-control-allow-headers").expect("headers");
        assert!(headers.contains("Authorization") && headers.contains("If-Match"));
        assert_eq!(asked.header(accepts.0), Some(accepts.1));
        for method in ["GET", "PUT", "HEAD"] {
            let refused = request(&bench, method, path, &[], "").await;
            assert_eq!(refused.status, 405, "{method} {path}");
            assert!(refused.header("allow").is_some());
        }
    }
}
