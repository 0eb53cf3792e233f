//! A real server on ports of its own, a node that only speaks the control protocol, and clients.
#![allow(dead_code, reason = "each test file uses its part")]

pub(crate) mod program;

use std::{collections::BTreeMap, path::Path, sync::Arc, time::Duration};

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use sfu::{
    control::{
        Command, ControlError, Event, FromNode, Reply, Request, RoomReport, RoomSnapshot, SeatSnapshot,
    },
    engine::id::{SlotId, SourceKind},
};
use signaling::{
    driver::{
        auth::{self, Keys, RoomToken},
        config::{Config, Overrides},
        serve::{self, NodePlace, Server},
    },
    engine::seat::Person,
    names::Role,
};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpStream, UnixListener},
    sync::{Mutex, mpsc, watch},
};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream,
    tungstenite::{self, Message, client::IntoClientRequest},
};

/// Waits for what must come; a test that waits this long has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// What the fake node remembers and was told.
#[derive(Debug, Default)]
pub(crate) struct Told {
    pub(crate) rooms: BTreeMap<String, RoomSnapshot>,
    pub(crate) commands: Vec<Command>,
    /// It speaks another protocol.
    pub(crate) version: Option<u16>,
}

/// A node without media: seats and nothing more.
#[derive(Clone)]
pub(crate) struct FakeNode {
    pub(crate) told: Arc<Mutex<Told>>,
    /// Changes with each command.
    heard: Arc<watch::Sender<()>>,
    events: Arc<Mutex<Option<mpsc::UnboundedSender<FromNode>>>>,
}

impl FakeNode {
    /// Listens where signaling looks.
    pub(crate) fn start(data: &Path) -> Self {
        let listener = UnixListener::bind(data.join("node.sock")).expect("bound");
        let node = Self {
            told: Arc::default(),
            heard: Arc::default(),
            events: Arc::default(),
        };
        let serving = node.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (sender, mut outgoing) = mpsc::unbounded_channel::<FromNode>();
                *serving.events.lock().await = Some(sender.clone());
                let (read, mut write) = stream.into_split();
                tokio::spawn(async move {
                    while let Some(message) = outgoing.recv().await {
                        let line = serde_json::to_string(&message).expect("JSON") + "\n";
                        if write.write_all(line.as_bytes()).await.is_err() {
                            return;
                        }
                    }
                });
                let node = serving.clone();
                tokio::spawn(async move {
                    let mut lines = BufReader::new(read).lines();
                    while let Ok(Some(line)) = lines.next_line().await {
                        let request: Request = serde_json::from_str(&line).expect("a request");
                        let result = node.told.lock().await.handle(request.command);
                        node.heard.send_replace(());
                        if sender
                            .send(FromNode::Reply {
                                id: request.id,
                                result,
                            })
                            .is_err()
                        {
                            return;
                        }
                    }
                });
            }
        });
        node
    }

    /// Tells signaling.
    pub(crate) async fn emit(&self, event: Event) {
        let events = self.events.lock().await;
        // A connection that was just closed loses its events.
        let _ = events.as_ref().expect("connected").send(FromNode::Event(event));
    }

    /// The first of what it was told that is looked for.
    pub(crate) async fn until<T>(&self, look: impl Fn(&Command) -> Option<T>) -> T {
        let mut heard = self.heard.subscribe();
        let found = async {
            loop {
                if let Some(found) = self.told.lock().await.commands.iter().find_map(&look) {
                    return found;
                }
                heard.changed().await.expect("the node is there");
            }
        };
        let found = tokio::time::timeout(PATIENCE, found).await;
        found.expect("told in time")
    }

    /// Commands that change something, as their names.
    pub(crate) async fn commands(&self) -> usize {
        self.told.lock().await.commands.len()
    }
}

impl Told {
    fn handle(&mut self, command: Command) -> Result<Reply, ControlError> {
        match &command {
            Command::Hello { .. } => {
                let media = vec!["127.0.0.1:7882".parse().expect("an address")];
                let welcome = Reply::Welcome {
                    pid: std::process::id(),
                    media,
                    settings: BTreeMap::new(),
                };
                return match self.version {
                    Some(theirs) => Err(ControlError::Version { theirs }),
                    None => Ok(welcome),
                };
            }
            Command::Snapshot => {
                return Ok(Reply::Snapshot {
                    rooms: self.rooms.values().cloned().collect(),
                });
            }
            Command::Inspect { room } => {
                let known = self.rooms.contains_key(room.as_str());
                let room = Box::new(RoomReport::default());
                return known
                    .then_some(Reply::Inspected { room })
                    .ok_or(ControlError::UnknownRoom);
            }
            Command::Metrics => {
                return Ok(Reply::Metrics {
                    text: "diemcau_fake 1\n".into(),
                });
            }
            _ => self.commands.push(command.clone()),
        }
        match command {
            Command::OpenRoom { room, policy } => {
                let fresh = || RoomSnapshot {
                    room: room.clone(),
                    policy: policy.clone(),
                    number_max: 0,
                    floor: None,
                    speaker: None,
                    seats: vec![],
                };
                self.rooms.entry(room.to_string()).or_insert_with(fresh);
            }
            Command::Join(join) => {
                if join.offer.contains("BAD") {
                    return Err(ControlError::BadSdp {
                        reason: "line 1".into(),
                    });
                }
                let room = self
                    .rooms
                    .get_mut(join.room.as_str())
                    .ok_or(ControlError::UnknownRoom)?;
                room.number_max = room.number_max.max(join.number.get());
                room.seats.retain(|seat| seat.seat != join.seat);
                room.seats.push(SeatSnapshot {
                    seat: join.seat,
                    number: join.number,
                    seat_note: join.seat_note,
                    published: join.published,
                    connected: true,
                    slots: vec![],
                });
                let slots = BTreeMap::from([
                    (SlotId::audio(0), "4".to_owned()),
                    (SlotId::video(0), "5".to_owned()),
                    (SlotId::video(1), "6".to_owned()),
                ]);
                return Ok(Reply::Joined {
                    answer: "v=0\r\n".into(),
                    slots,
                    sources: vec![SourceKind::Mic, SourceKind::Camera],
                });
            }
            Command::Restart { .. } => {
                return Ok(Reply::Restarted {
                    answer: "v=0\r\n".into(),
                });
            }
            Command::RestartIce { .. } => {
                return Ok(Reply::Restarted {
                    answer: "a=ice-lite\r\n".into(),
                });
            }
            Command::SetFloor { room, number } => {
                let room = self
                    .rooms
                    .get_mut(room.as_str())
                    .ok_or(ControlError::UnknownRoom)?;
                room.floor = number;
            }
            Command::Leave { room, seat } => {
                if let Some(room) = self.rooms.get_mut(room.as_str()) {
                    room.seats.retain(|known| known.seat != seat);
                }
            }
            _ => {}
        }
        Ok(Reply::Done)
    }
}

/// A server and what a test needs to speak to it.
pub(crate) struct Bench {
    pub(crate) data: tempfile::TempDir,
    pub(crate) node: FakeNode,
    pub(crate) server: Server,
    pub(crate) keys: Keys,
}

/// Settings for a data folder, with a small room `small` beside `demo`.
pub(crate) fn settings(data: &Path) -> Config {
    let file = data.join("config.toml");
    std::fs::write(&file, "[[rooms]]\nid = 'small'\npoints_max = 1\n").expect("written");
    let overrides = Overrides {
        data: Some(data.to_owned()),
        listen: "127.0.0.1:0".parse().ok(),
        ..Overrides::default()
    };
    Config::load(Some(&file), &overrides).expect("settings")
}

/// No program is ever started: the node is there.
pub(crate) fn nowhere() -> NodePlace {
    NodePlace::Process("/nonexistent".into())
}

impl Bench {
    pub(crate) async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    /// With settings changed.
    pub(crate) async fn start_with(change: impl FnOnce(&mut Config)) -> Self {
        let data = tempfile::tempdir().expect("a folder");
        let node = FakeNode::start(data.path());
        let mut config = settings(data.path());
        change(&mut config);
        let server = serve::start(&config, nowhere()).await.expect("serves");
        let keys = Keys::load_or_create(data.path()).expect("made by the server");
        Self {
            data,
            node,
            server,
            keys,
        }
    }

    pub(crate) fn token(&self, room: &str) -> String {
        self.signed(room, Role::Delegate, 0, 3600)
    }

    /// A token that is good from and until so many seconds from now.
    pub(crate) fn signed(&self, room: &str, role: Role, from: i64, until: i64) -> String {
        let now = i64::try_from(auth::unix_now()).expect("in range");
        let token = RoomToken {
            room: room.to_owned().try_into().expect("a room id"),
            person: Person {
                subject: "s".into(),
                name: None,
                site: None,
                role,
            },
            not_before: u64::try_from(now + from).expect("in range"),
            expires: u64::try_from(now + until).expect("in range"),
        };
        self.keys.sign_room(&token).into()
    }

    pub(crate) async fn connect(&self) -> Client {
        Client::connect(&self.server.http, Some(&self.server.http))
            .await
            .expect("upgraded")
    }

    /// A client that has a seat in `room`.
    pub(crate) async fn seated(&self, room: &str, name: &str) -> (Client, Value) {
        self.seated_as(Role::Delegate, room, name).await
    }

    /// The same in that role.
    pub(crate) async fn seated_as(&self, role: Role, room: &str, name: &str) -> (Client, Value) {
        let mut client = self.connect().await;
        client.hello(&self.signed(room, role, 0, 3600), None).await;
        assert_eq!(client.next().await["type"], "welcome");
        client.send(&join(1, name)).await;
        let joined = client.expect("joined").await;
        (client, joined)
    }
}

/// Another signaling beside the same node and with the same files. The former one ends as if killed: the node hears nothing of it.
pub(crate) async fn killed_and_started_again(bench: Bench) -> Bench {
    let Bench {
        data, node, server, ..
    } = bench;
    drop(server);
    let server = serve::start(&settings(data.path()), nowhere())
        .await
        .expect("serves again");
    let keys = Keys::load_or_create(data.path()).expect("the same key");
    Bench {
        data,
        node,
        server,
        keys,
    }
}

/// Status and body of a plain request.
pub(crate) async fn get(url: &str) -> (u16, String) {
    let address = url.trim_start_matches("http://");
    let (address, path) = address.split_at(address.find('/').expect("a path"));
    let mut stream = TcpStream::connect(address).await.expect("connected");
    let request = format!("GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("sent");
    let mut answer = String::new();
    let read = stream.read_to_string(&mut answer);
    tokio::time::timeout(PATIENCE, read)
        .await
        .expect("in time")
        .expect("text");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
    (status.expect("a status"), body.to_owned())
}

/// The program, with that data folder and nothing else from outside.
pub(crate) fn diemcau(data: &Path) -> std::process::Command {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_diemcau"));
    command.env_clear().env("DIEMCAU__DATA", data);
    command
}

/// The same where a process may have no more than so many files open.
pub(crate) fn with_few_files(data: &Path, files: u32) -> std::process::Command {
    let mut command = std::process::Command::new("sh");
    let script = format!("ulimit -n {files} && exec \"$0\" \"$@\"");
    command
        .env_clear()
        .env("DIEMCAU__DATA", data)
        .args(["-c", &script, env!("CARGO_BIN_EXE_diemcau")]);
    command
}

pub(crate) fn join(id: u32, name: &str) -> Value {
    json!({"type": "join", "id": id, "name": name, "profile": "phone", "sources": {"mic": "0", "camera": "1"},
        "published": ["mic"], "offer": "v=0\r\n"})
}

/// One WebSocket of a test.
pub(crate) struct Client(pub(crate) WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Client {
    pub(crate) async fn connect(http: &str, origin: Option<&str>) -> Result<Self, tungstenite::Error> {
        let url = format!("{}/ws", http.replacen("http", "ws", 1));
        let mut request = url.into_client_request().expect("a request");
        if let Some(origin) = origin {
            request
                .headers_mut()
                .insert("origin", origin.parse().expect("a header"));
        }
        Ok(Self(tokio_tungstenite::connect_async(request).await?.0))
    }

    pub(crate) async fn send(&mut self, message: &Value) {
        self.send_text(&message.to_string()).await;
    }

    pub(crate) async fn send_text(&mut self, text: &str) {
        self.0.send(Message::text(text)).await.expect("sent");
    }

    pub(crate) async fn hello(&mut self, token: &str, resume: Option<&str>) {
        self.send(&json!({"type": "hello", "version": 3, "token": token, "resume": resume}))
            .await;
    }

    async fn frame(&mut self) -> Message {
        tokio::time::timeout(PATIENCE, self.0.next())
            .await
            .expect("in time")
            .expect("open")
            .expect("no error")
    }

    /// The next message.
    pub(crate) async fn next(&mut self) -> Value {
        loop {
            match self.frame().await {
                Message::Text(text) => return serde_json::from_str(&text).expect("JSON"),
                Message::Ping(_) | Message::Pong(_) => {}
                other => panic!("{other:?}"),
            }
        }
    }

    /// The next message of that type, whatever comes before it.
    pub(crate) async fn expect(&mut self, kind: &str) -> Value {
        loop {
            let message = self.next().await;
            if message["type"] == kind {
                return message;
            }
        }
    }

    /// Everything until the close frame, and its code.
    pub(crate) async fn closed(&mut self) -> (Vec<Value>, u16) {
        let mut messages = Vec::new();
        loop {
            match self.frame().await {
                Message::Text(text) => messages.push(serde_json::from_str(&text).expect("JSON")),
                Message::Close(Some(close)) => return (messages, close.code.into()),
                Message::Ping(_) | Message::Pong(_) => {}
                other => panic!("{other:?}"),
            }
        }
    }
}
