//! The program itself: what it prints, what it logs, and what it refuses.

mod common;

use std::{fs, net::UdpSocket, path::Path};

use common::{
    Client, diemcau, join,
    program::{CLIENT, NAME, Serving, connect, offer},
    with_few_files,
};
use serde_json::{Value, json};
use signaling::driver::certificate;
use tokio_tungstenite::tungstenite;

const UFRAG: &str = "pMT3";
const PASSWORD: &str = "IM31DlAYF6DgbFC0LIISQfQu";

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
