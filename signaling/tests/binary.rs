//! The program itself: what it prints, what it logs, and what it refuses.

mod common;

use std::{
    fs,
    net::UdpSocket,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Command, Stdio},
};

use common::{Client, diemcau, join, with_few_files};
use serde_json::{Value, json};
use signaling::driver::certificate;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    net::TcpSocket,
};
use tokio_tungstenite::{
    MaybeTlsStream,
    tungstenite::{self, client::IntoClientRequest},
};

/// What Chromium offers.
const OFFER: &str = include_str!("../../sfu/src/driver/peer/sdp/fixtures/chromium.sdp");
const UFRAG: &str = "pMT3";
const PASSWORD: &str = "IM31DlAYF6DgbFC0LIISQfQu";

/// The client's address; the server is on 127.0.0.1.
const CLIENT: &str = "127.0.0.2";
const NAME: &str = "Nguyễn Thị Tường Vi";

/// A server with a node as its child, killed with the test.
struct Serving {
    child: tokio::process::Child,
    ready: Value,
}

impl Serving {
    async fn start(data: &Path, filter: &str) -> Self {
        Self::start_by(diemcau(data), data, filter).await
    }

    async fn start_by(program: Command, data: &Path, filter: &str) -> Self {
        let log = fs::File::create(data.join("serve.log")).expect("a file");
        let mut command = tokio::process::Command::from(program);
        command
            .args(["serve", "--ready-json", "--listen", "127.0.0.1:0"])
            .env("DIEMCAU__LOG__FILTER", filter)
            .stdout(Stdio::piped())
            .stderr(log)
            .kill_on_drop(true);
        let mut child = command.spawn().expect("started");
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let line = tokio::time::timeout(common::PATIENCE, lines.next_line())
            .await
            .expect("in time")
            .expect("readable")
            .expect("a line");
        let ready = serde_json::from_str(&line).expect("JSON");
        Self { child, ready }
    }

    fn text(&self, key: &str) -> &str {
        self.ready[key].as_str().unwrap_or_else(|| panic!("{key}"))
    }

    /// SIGTERM, and the end of both processes.
    async fn stop(mut self) {
        signal("-TERM", self.child.id().expect("runs"));
        let ended = tokio::time::timeout(common::PATIENCE, self.child.wait()).await;
        assert!(ended.expect("in time").expect("waited").success());
    }
}

fn signal(which: &str, pid: u32) {
    let told = Command::new("kill").args([which, &pid.to_string()]).status();
    assert!(told.expect("a program").success());
}

#[tokio::test]
async fn ready_json_is_for_scripts_and_a_second_server_is_refused() {
    let data = tempfile::tempdir().expect("a folder");
    let serving = Serving::start(data.path(), "info").await;
    let keys: Vec<&str> = serving
        .ready
        .as_object()
        .expect("an object")
        .keys()
        .map(String::as_str)
        .collect();
    assert_eq!(
        keys,
        [
            "demo_room",
            "http",
            "join_url",
            "media",
            "media_all",
            "metrics",
            "node_pid",
            "token"
        ]
    );
    let join_url = format!("{}/p/demo#k={}", serving.text("http"), serving.text("token"));
    assert_eq!(serving.text("join_url"), join_url);
    let second = diemcau(data.path())
        .args(["serve", "--listen", "127.0.0.1:0"])
        .output()
        .expect("run");
    let words = String::from_utf8_lossy(&second.stderr).into_owned();
    assert_eq!((second.status.code(), &*second.stdout), (Some(1), &b""[..]));
    assert!(
        words.contains("another diemcau serves with the data folder"),
        "{words}"
    );
    serving.stop().await;
    let log = fs::read_to_string(data.path().join("serve.log")).expect("read");
    assert!(!log.contains("the media node is away"), "{log}");
}

/// The offer as a browser sends it.
fn offer() -> String {
    OFFER.replace('\n', "\r\n").replace("\r\r", "\r")
}

fn full_disk_instead_of(log: &Path) {
    std::os::unix::fs::symlink("/dev/full", log).expect("linked");
}

#[tokio::test]
async fn a_node_whose_log_cannot_be_written_keeps_its_meetings() {
    let data = tempfile::tempdir().expect("a folder");
    full_disk_instead_of(&data.path().join("node.log"));
    let mut serving = Serving::start(data.path(), "info").await;
    let token = serving.text("token").to_owned();
    let mut client = connect(serving.text("http")).await;
    client.hello(&token, None).await;
    let mut wish = join(1, NAME);
    wish["offer"] = offer().into();
    wish["sources"] = json!({"mic": "0", "camera": "1"});
    client.send(&wish).await;
    let resume = client.expect("joined").await["resume"].clone();
    let node = serving.ready["node_pid"].clone();
    serving.child.kill().await.expect("killed");
    let serving = Serving::start(data.path(), "info").await;
    assert_eq!(serving.ready["node_pid"], node, "the node lives");
    let mut client = connect(serving.text("http")).await;
    client.hello(&token, resume.as_str()).await;
    assert_eq!(client.expect("resumed").await["media"], "kept");
    serving.stop().await;
}

#[tokio::test]
async fn at_sighup_signaling_ends_and_the_node_keeps_its_meetings() {
    let data = tempfile::tempdir().expect("a folder");
    // Also where the tests run under nohup.
    let mut program = Command::new("env");
    program
        .env_clear()
        .env("DIEMCAU__DATA", data.path())
        .args(["--default-signal=HUP", env!("CARGO_BIN_EXE_diemcau")]);
    let mut serving = Serving::start_by(program, data.path(), "info").await;
    let token = serving.text("token").to_owned();
    let mut client = connect(serving.text("http")).await;
    client.hello(&token, None).await;
    let mut wish = join(1, NAME);
    wish["offer"] = offer().into();
    wish["sources"] = json!({"mic": "0", "camera": "1"});
    client.send(&wish).await;
    let resume = client.expect("joined").await["resume"].clone();
    let node = serving.ready["node_pid"].clone();
    signal("-HUP", serving.child.id().expect("runs"));
    let ended = tokio::time::timeout(common::PATIENCE, serving.child.wait()).await;
    assert!(ended.expect("in time").expect("waited").success());
    let serving = Serving::start(data.path(), "info").await;
    assert_eq!(serving.ready["node_pid"], node, "the node lives");
    let mut client = connect(serving.text("http")).await;
    client.hello(&token, resume.as_str()).await;
    assert_eq!(client.expect("resumed").await["media"], "kept");
    serving.stop().await;
}

#[tokio::test]
async fn under_nohup_a_closed_terminal_changes_nothing() {
    let data = tempfile::tempdir().expect("a folder");
    let mut program = Command::new("sh");
    program.env_clear().env("DIEMCAU__DATA", data.path()).args([
        "-c",
        "trap '' HUP && exec \"$0\" \"$@\"",
        env!("CARGO_BIN_EXE_diemcau"),
    ]);
    let serving = Serving::start_by(program, data.path(), "info").await;
    signal("-HUP", serving.child.id().expect("runs"));
    // Told both at once it might take the second alone.
    let ready = common::get(&format!("{}/readyz", serving.text("http"))).await;
    assert_eq!(ready.0, 200);
    serving.stop().await;
    let log = fs::read_to_string(data.path().join("serve.log")).expect("read");
    assert!(
        log.contains("diemcau stops\n"),
        "at SIGTERM alone, and with its node: {log}"
    );
}

#[test]
fn the_unit_of_systemd_lets_the_node_outlive_signaling() {
    let unit = include_str!("../../deploy/diemcau.service");
    for line in [
        "KillMode=process",
        "OOMPolicy=continue",
        "Restart=always",
        "ExecReload=/bin/kill -HUP $MAINPID",
    ] {
        assert!(unit.lines().any(|known| known == line), "{line}");
    }
}

#[tokio::test]
async fn a_server_whose_words_go_nowhere_serves_and_ends_its_node() {
    let data = tempfile::tempdir().expect("a folder");
    full_disk_instead_of(&data.path().join("serve.log"));
    let serving = Serving::start(data.path(), "info").await;
    serving.stop().await;
    let socket = std::os::unix::net::UnixStream::connect(data.path().join("node.sock"));
    assert!(socket.is_err(), "the node has ended");
}

#[tokio::test]
async fn a_node_that_hangs_ends_with_the_service() {
    let data = tempfile::tempdir().expect("a folder");
    let mut serving = Serving::start(data.path(), "info").await;
    let node = serving.ready["node_pid"].as_u64().expect("a process");
    signal("-STOP", node.try_into().expect("a number"));
    serving.child.kill().await.expect("killed");
    // The next one says how many places it has, and then waits for the node's answer until it is told to end.
    let mut command = tokio::process::Command::from(with_few_files(data.path(), 256));
    command.args(["serve", "--listen", "127.0.0.1:0"]);
    let mut next = command
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("started");
    let mut lines = BufReader::new(next.stderr.take().expect("piped")).lines();
    loop {
        let line = lines.next_line().await.expect("readable");
        if line.expect("it goes on").contains("places_few: ") {
            break;
        }
    }
    signal("-TERM", next.id().expect("runs"));
    let ended = tokio::time::timeout(common::PATIENCE, next.wait()).await;
    assert!(ended.expect("in time").expect("waited").success());
    let socket = std::os::unix::net::UnixStream::connect(data.path().join("node.sock"));
    assert!(socket.is_err(), "the node has ended");
}

#[tokio::test]
async fn a_node_that_is_found_with_other_settings_goes_on_and_they_are_named_once() {
    let data = tempfile::tempdir().expect("a folder");
    let mut serving = Serving::start(data.path(), "info").await;
    let node = serving.ready["node_pid"].clone();
    serving.child.kill().await.expect("killed");
    let mut other = diemcau(data.path());
    other
        .env("DIEMCAU__MEDIA__ENDPOINTS_MAX", "700")
        .env("DIEMCAU__MEDIA__WEAK_SRTP", "false");
    let serving = Serving::start_by(other, data.path(), "info").await;
    assert_eq!(serving.ready["node_pid"], node, "its meetings would end with it");
    let metrics = common::get(serving.text("metrics")).await.1;
    assert!(metrics.contains("\ndiemcau_node_settings_stale 2\n"), "{metrics}");
    serving.stop().await;
    let log = fs::read_to_string(data.path().join("serve.log")).expect("read");
    let told: Vec<_> = log
        .lines()
        .filter(|line| line.contains("node_settings_stale: "))
        .collect();
    assert_eq!(told.len(), 1, "{log}");
    assert!(
        told[0].contains(": media.endpoints_max, media.weak_srtp;"),
        "{log}"
    );
    let serving = Serving::start(data.path(), "info").await;
    let metrics = common::get(serving.text("metrics")).await.1;
    assert!(metrics.contains("\ndiemcau_node_settings_stale 0\n"), "{metrics}");
    serving.stop().await;
    let log = fs::read_to_string(data.path().join("serve.log")).expect("read");
    assert!(!log.contains("node_settings_stale"), "{log}");
}

#[tokio::test]
async fn a_node_that_dies_is_started_from_the_program_that_runs_whatever_lies_there_now() {
    let data = tempfile::tempdir().expect("a folder");
    // Beside the program: a copy that is being written cannot be run while another test starts something.
    let program = Path::new(env!("CARGO_BIN_EXE_diemcau"));
    let place = tempfile::tempdir_in(program.parent().expect("a folder")).expect("a folder");
    let (file, next) = (place.path().join("diemcau"), place.path().join("next"));
    fs::hard_link(program, &file).expect("linked");
    let mut command = Command::new(&file);
    command.env_clear().env("DIEMCAU__DATA", data.path());
    let serving = Serving::start_by(command, data.path(), "info").await;
    fs::write(&next, "#!/bin/sh\nexit 1\n").expect("written");
    fs::set_permissions(&next, fs::Permissions::from_mode(0o755)).expect("changed");
    fs::rename(&next, &file).expect("replaced");
    let ready = format!("{}/readyz", serving.text("http"));
    let node = serving.ready["node_pid"].as_u64().expect("a process");
    let name = fs::read_to_string(format!("/proc/{node}/comm"));
    assert_eq!(name.expect("read"), "diemcau\n");
    signal("-KILL", node.try_into().expect("a number"));
    let log = data.path().join("serve.log");
    let again = async {
        let is_here = |log: String| log.matches("the media node is here").count() == 2;
        while !is_here(fs::read_to_string(&log).expect("a log")) {
            tokio::task::yield_now().await;
        }
        while common::get(&ready).await.0 != 200 {}
    };
    tokio::time::timeout(common::PATIENCE, again)
        .await
        .expect("a node");
    serving.stop().await;
}

#[test]
fn a_port_that_is_taken_is_named_at_once() {
    let data = tempfile::tempdir().expect("a folder");
    let taken = UdpSocket::bind("127.0.0.1:0").expect("bound");
    let port = taken.local_addr().expect("bound").port().to_string();
    let refused = diemcau(data.path())
        .args(["serve", "--listen", "127.0.0.1:0", "--media-port", &port])
        .output()
        .expect("run");
    let words = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(1));
    let last = words.lines().next_back().unwrap_or_default();
    assert!(
        last.starts_with("diemcau: the media node does not start: cannot listen for media"),
        "{words}"
    );
}

#[test]
fn settings_that_cannot_be_used_are_said_once() {
    let data = tempfile::tempdir().expect("a folder");
    for (key, value, words) in [
        ("DIEMCAU__HTTP__LISTN", "127.0.0.1:1", "unknown field `listn`"),
        ("DIEMCAU__HTTP__LISTEN", "0.0.0.0:0", "diemcau cert init --data "),
        (
            "DIEMCAU__HTTP__ORIGINS",
            "https://hop.tinh.vn,https://hop.tinh.vn/",
            "http.origins[1]",
        ),
        ("DIEMCAU__HTTP__PUBLIC_URL", "hop.tinh.vn", "http.public_url"),
        ("DIEMCAU__LOG__FILTER", "a=b=c", "log.filter"),
        ("DIEMCAU__LOG__FILTER", "warning", "log.filter"),
        ("DIEMCAU__MEDIA__ADDRESSES", "127.0.0.1,x", "media.addresses[1]"),
    ] {
        let refused = diemcau(data.path())
            .arg("serve")
            .env(key, value)
            .output()
            .expect("run");
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert_eq!(refused.status.code(), Some(1), "{said}");
        assert_eq!(said.matches(words).count(), 1, "{said}");
        assert_eq!(said.lines().count(), 1, "{said}");
    }
}

#[tokio::test]
async fn no_log_at_any_level_tells_tokens_names_passwords_or_addresses_of_clients() {
    let data = tempfile::tempdir().expect("a folder");
    let serving = Serving::start(data.path(), "trace").await;
    let token = diemcau(data.path())
        .args(["token", "--room", "demo", "--name", NAME])
        .output()
        .expect("run");
    let token = String::from_utf8(token.stdout).expect("text").trim().to_owned();
    let mut client = connect(serving.text("http")).await;
    client.hello(&token, None).await;
    assert_eq!(client.next().await["name"], NAME);
    let mut wish = join(1, NAME);
    let offer = offer();
    wish["offer"] = format!("{offer}a=candidate:1 1 udp 2130706431 {CLIENT} 40000 typ host\r\n").into();
    wish["sources"] = json!({"mic": "0", "camera": "1"});
    client.send(&wish).await;
    let joined = client.expect("joined").await;
    let resume = joined["resume"].as_str().expect("a token").to_owned();
    knock(&joined, &serving.ready);
    client.send_text("{\"type\": \"nonsense\"}").await;
    client.expect("error").await;
    client.send(&json!({"type": "leave"})).await;
    assert_eq!(client.closed().await.1, 1000);
    serving.stop().await;
    let answer = joined["answer"].as_str().expect("SDP");
    let own_password = answer
        .lines()
        .find_map(|line| line.strip_prefix("a=ice-pwd:"))
        .expect("there");
    for (file, known) in [("serve.log", "DEBUG"), ("node.log", "room opened")] {
        let log = fs::read_to_string(data.path().join(file)).expect("read");
        assert!(log.contains(known), "{file} is there: {log}");
        for (what, secret) in [
            ("the token", token.as_str()),
            ("the token's signature", token.rsplit('.').next().expect("a part")),
            ("the resume token", resume.as_str()),
            ("the name", NAME),
            ("a part of the name", "Tường"),
            ("the ICE password", PASSWORD),
            ("the node's ICE password", own_password),
            ("the client's address", CLIENT),
        ] {
            let line = log.lines().find(|line| line.contains(secret));
            assert_eq!(line, None, "{file} tells {what}");
        }
    }
}

/// A WebSocket from an address of its own.
async fn connect(http: &str) -> Client {
    let host = http.strip_prefix("http://").expect("plain");
    let socket = TcpSocket::new_v4().expect("a socket");
    socket
        .bind(format!("{CLIENT}:0").parse().expect("an address"))
        .expect("bound");
    let stream = socket
        .connect(host.parse().expect("an address"))
        .await
        .expect("connected");
    let mut request = format!("ws://{host}/ws")
        .into_client_request()
        .expect("a request");
    request
        .headers_mut()
        .insert("origin", http.parse().expect("a header"));
    let upgraded = tokio_tungstenite::client_async(request, MaybeTlsStream::Plain(stream)).await;
    Client(upgraded.expect("upgraded").0)
}

/// Datagrams of the client to the node: a connectivity check without integrity, a handshake, a packet.
fn knock(joined: &Value, ready: &Value) {
    let answer = joined["answer"].as_str().expect("SDP");
    let ufrag = answer
        .lines()
        .find_map(|line| line.strip_prefix("a=ice-ufrag:"))
        .expect("there");
    let media = ready["media_all"].as_array().expect("a list").iter();
    let node = media
        .filter_map(Value::as_str)
        .find(|address| address.starts_with("127.0.0.1:"))
        .expect("the node is on loopback");
    let user = format!("{ufrag}:{UFRAG}");
    let mut check = vec![0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42];
    check.extend([7; 12]);
    check.extend([0, 6, 0, user.len() as u8]);
    check.extend(user.as_bytes());
    check.resize(check.len().next_multiple_of(4), 0);
    check[3] = (check.len() - 20) as u8;
    let socket = UdpSocket::bind(format!("{CLIENT}:0")).expect("bound");
    for datagram in [
        check,
        vec![22, 254, 253, 0, 0, 0, 0],
        vec![128, 96, 0, 1],
        vec![255; 40],
    ] {
        socket.send_to(&datagram, node).expect("sent");
    }
}

#[tokio::test]
async fn with_256_files_it_says_so_refuses_pages_above_its_places_and_goes_on() {
    let data = tempfile::tempdir().expect("a folder");
    let serving = Serving::start_by(with_few_files(data.path(), 256), data.path(), "info").await;
    let log = fs::read_to_string(data.path().join("serve.log")).expect("a log");
    assert!(
        log.contains("places_few: the limit of open files leaves room for 78 pages"),
        "{log}"
    );
    let http = serving.text("http");
    let mut open = Vec::new();
    let token = serving
        .text("join_url")
        .split_once("#k=")
        .expect("a link")
        .1
        .to_owned();
    for _ in 0..78 {
        let mut client = Client::connect(http, Some(http)).await.expect("a place");
        client.hello(&token, None).await;
        client.expect("welcome").await;
        open.push(client);
    }
    let refused = Client::connect(http, Some(http)).await;
    let Err(tungstenite::Error::Http(response)) = refused.map(drop) else {
        panic!("one too many")
    };
    assert_eq!(response.status(), 503);
    assert!(response.headers().contains_key("retry-after"));
    // More connections than files: the kernel holds them until there is room.
    let address = http.trim_start_matches("http://");
    let mut idle = Vec::new();
    for _ in 0..200 {
        idle.push(
            tokio::net::TcpStream::connect(address)
                .await
                .expect("held by the kernel"),
        );
    }
    let mut client = open.pop().expect("one of them");
    client.send(&json!({"type": "ping", "id": 7})).await;
    assert_eq!(
        client.next().await,
        json!({"type": "pong", "id": 7}),
        "who is in stays in"
    );
    drop((idle, open));
    while Client::connect(http, Some(http)).await.is_err() {}
    serving.stop().await;
}

#[tokio::test]
async fn who_shows_no_token_keeps_no_page_out() {
    let data = tempfile::tempdir().expect("a folder");
    let serving = Serving::start_by(with_few_files(data.path(), 256), data.path(), "info").await;
    let http = serving.text("http");
    let mut silent = Vec::new();
    // As many as there are places for pages.
    for _ in 0..78 {
        silent.push(Client::connect(http, Some(http)).await.expect("upgraded"));
    }
    let mut page = Client::connect(http, Some(http)).await.expect("upgraded");
    page.hello(serving.text("token"), None).await;
    page.expect("welcome").await;
    drop(silent);
    serving.stop().await;
}

#[tokio::test]
async fn a_certificate_that_has_ended_is_served_and_told_by_both() {
    let data = tempfile::tempdir().expect("a folder");
    let (certificate, key) = (data.path().join("chain.pem"), data.path().join("key.pem"));
    let pair = rcgen::KeyPair::generate().expect("a key");
    let mut params = rcgen::CertificateParams::new(["localhost".to_owned()]).expect("a name");
    params.not_before = rcgen::date_time_ymd(2024, 1, 1);
    params.not_after = rcgen::date_time_ymd(2025, 1, 1);
    fs::write(&certificate, params.self_signed(&pair).expect("signed").pem()).expect("written");
    fs::write(&key, pair.serialize_pem()).expect("written");
    let program = || {
        let mut program = diemcau(data.path());
        program
            .env("DIEMCAU__HTTP__CERTIFICATE", &certificate)
            .env("DIEMCAU__HTTP__KEY", &key);
        program
    };
    let examined = program()
        .args(["doctor", "--listen", "127.0.0.1:0"])
        .output()
        .expect("run");
    let told = String::from_utf8_lossy(&examined.stdout).into_owned();
    let mut warnings = told.lines().filter_map(|line| line.strip_prefix("warning  "));
    let warning = warnings
        .find(|line| line.starts_with("certificate_expired: "))
        .expect(&told);
    assert!(!warning.contains("cert init"), "it is of another hand: {warning}");
    assert!(examined.status.success(), "it serves: {told}");
    let serving = Serving::start_by(program(), data.path(), "info").await;
    assert!(serving.text("http").starts_with("https://"));
    serving.stop().await;
    let log = fs::read_to_string(data.path().join("serve.log")).expect("read");
    assert!(log.contains(warning), "{log}");
}

#[test]
fn a_certificate_that_is_made_again_is_for_the_names_of_before() {
    let data = tempfile::tempdir().expect("a folder");
    certificate::init(data.path(), &["hop.tinh.vn".to_owned()]).expect("made");
    let again = diemcau(Path::new("elsewhere"))
        .args(["cert", "init", "--data"])
        .arg(data.path())
        .output()
        .expect("run");
    assert!(again.status.success());
    let names = certificate::names(data.path()).expect("read");
    assert_eq!(
        names,
        Some(vec!["hop.tinh.vn".to_owned()]),
        "pages that came by it come again"
    );
}

#[test]
fn a_made_certificate_that_has_ended_is_made_again_as_the_warning_says() {
    let data = tempfile::tempdir().expect("a folder");
    let made = certificate::init(data.path(), &["localhost".to_owned()])
        .expect("made")
        .server;
    let pair = rcgen::KeyPair::generate().expect("a key");
    let mut params = rcgen::CertificateParams::new(["hop.tinh.vn".to_owned()]).expect("a name");
    params.not_after = rcgen::date_time_ymd(2025, 1, 1);
    fs::write(
        &made.certificate,
        params.self_signed(&pair).expect("signed").pem(),
    )
    .expect("written");
    fs::write(&made.key, pair.serialize_pem()).expect("written");
    let examined = diemcau(data.path())
        .args(["doctor", "--listen", "0.0.0.0:0", "--shards", "1"])
        .output()
        .expect("run");
    let told = String::from_utf8_lossy(&examined.stdout).into_owned();
    let command = format!("run:  diemcau cert init --data {}", data.path().display());
    assert!(told.lines().any(|line| line.ends_with(&command)), "{told}");
}

#[test]
fn with_too_few_files_to_serve_it_refuses_to_start() {
    let data = tempfile::tempdir().expect("a folder");
    let mut command = with_few_files(data.path(), 64);
    let output = command
        .args(["serve", "--listen", "127.0.0.1:0"])
        .output()
        .expect("started");
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("64 files") && said.contains("ulimit"), "{said}");
}
