//! The program as a process, with its node as a child, and a page in a meeting there.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    net::TcpSocket,
};
use tokio_tungstenite::{MaybeTlsStream, tungstenite::client::IntoClientRequest};

use super::{Client, PATIENCE, diemcau, join};

/// What Chromium offers.
const OFFER: &str = include_str!("../../../sfu/src/driver/peer/sdp/fixtures/chromium.sdp");

/// The client's address; the server is on 127.0.0.1.
pub(crate) const CLIENT: &str = "127.0.0.2";
pub(crate) const NAME: &str = "Nguyễn Thị Tường Vi";

/// A server with a node as its child, killed with the test.
pub(crate) struct Serving {
    pub(crate) child: tokio::process::Child,
    pub(crate) ready: Value,
}

impl Serving {
    pub(crate) async fn start(data: &Path, filter: &str) -> Self {
        Self::start_by(diemcau(data), data, filter).await
    }

    pub(crate) async fn start_by(program: Command, data: &Path, filter: &str) -> Self {
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
        let line = tokio::time::timeout(PATIENCE, lines.next_line())
            .await
            .expect("in time")
            .expect("readable")
            .expect("a line");
        let ready = serde_json::from_str(&line).expect("JSON");
        Self { child, ready }
    }

    pub(crate) fn text(&self, key: &str) -> &str {
        self.ready[key].as_str().unwrap_or_else(|| panic!("{key}"))
    }

    /// SIGTERM, and the end of both processes.
    pub(crate) async fn stop(mut self) {
        signal("-TERM", self.child.id().expect("runs"));
        let ended = tokio::time::timeout(PATIENCE, self.child.wait()).await;
        assert!(ended.expect("in time").expect("waited").success());
    }
}

pub(crate) fn signal(which: &str, pid: u32) {
    let told = Command::new("kill").args([which, &pid.to_string()]).status();
    assert!(told.expect("a program").success());
}

/// A WebSocket from an address of its own.
pub(crate) async fn connect(http: &str) -> Client {
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

/// Somebody sits down with microphone and camera. What he comes back with.
pub(crate) async fn sit_down(serving: &Serving) -> Value {
    let mut client = connect(serving.text("http")).await;
    client.hello(serving.text("token"), None).await;
    let mut wish = join(1, NAME);
    wish["offer"] = offer().into();
    wish["sources"] = json!({"mic": "0", "camera": "1"});
    client.send(&wish).await;
    client.expect("joined").await["resume"].clone()
}

/// Signaling that was started again found the node, and whoever had sat there with `token` still does.
pub(crate) async fn expect_kept(serving: &Serving, node: &Value, token: &str, resume: &Value) {
    assert_eq!(serving.ready["node_pid"], *node, "the node lives");
    let mut client = connect(serving.text("http")).await;
    client.hello(token, resume.as_str()).await;
    assert_eq!(client.expect("resumed").await["media"], "kept");
}

pub(crate) fn offer() -> String {
    OFFER.replace('\n', "\r\n").replace("\r\r", "\r")
}

pub(crate) fn full_disk_instead_of(log: &Path) {
    std::os::unix::fs::symlink("/dev/full", log).expect("linked");
}
