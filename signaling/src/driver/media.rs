//! The link to the media node: found, started when there is none, started again when it crashed.
//!
//! The node is a child of the same binary in a session of its own: it outlives this process, and the next one finds it
//! by its Unix socket in the data folder. After every (re)connection comes a snapshot and a reconciliation.

use std::{
    fs, io,
    net::SocketAddr,
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    process::Stdio,
    sync::Arc,
    time::Duration,
};

use sfu::{
    control::{Command, ControlError, Reply, RoomId},
    driver::{
        client::{self, CallError, Client, ConnectError, Events, Welcome},
        config::NodeConfig,
    },
};
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::timeout,
};

use super::{
    meeting_task::{Message, News, Sender},
    metrics::Metrics,
};
use crate::engine::effect::Op;

/// Commands waiting for the node. Overflow: see `meeting_task`.
const CALLS_LEN: usize = 4096;

/// A node that does not answer for this long is taken as gone; the link is made anew.
const REPLY_TIME_MAX: Duration = Duration::from_secs(10);

/// Between two attempts to find the node.
const RETRY: Duration = Duration::from_millis(100);

/// How long a node may take from its start to its first answer.
const START_TIME_MAX: Duration = Duration::from_secs(10);

/// Longest path of a Unix socket that every system takes.
const SOCKET_PATH_BYTES_MAX: usize = 100;

/// A command on its way.
#[derive(Debug)]
pub struct Call {
    /// Whose reply it is.
    pub room: RoomId,
    /// Which; none if nobody waits.
    pub op: Option<Op>,
    /// What to do.
    pub command: Command,
}

/// The door to the link.
pub type Calls = mpsc::Sender<Call>;

/// How the node is, for readiness and start-up text.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Status {
    /// Not there.
    #[default]
    Down,
    /// There.
    Up {
        /// Its process.
        pid: u32,
        /// Addresses that clients are told to send media to.
        media: Vec<SocketAddr>,
    },
}

/// Where the node runs.
#[derive(Debug)]
pub enum Place {
    /// As a process of its own.
    Process(Child),
    /// In this process.
    Here(sfu::driver::api::Connector),
}

/// How to find and to start the node's process.
#[derive(Debug, Clone)]
pub struct Child {
    /// This binary.
    pub program: PathBuf,
    /// Holds the node's log.
    pub data: PathBuf,
    /// Its control socket.
    pub socket: PathBuf,
    /// Told to it.
    pub config: NodeConfig,
}

/// Both ends of the queue of commands.
pub fn calls() -> (Calls, mpsc::Receiver<Call>) {
    mpsc::channel(CALLS_LEN)
}

/// The control socket of a data folder. A path too long for a socket is replaced by a short one in a private folder.
///
/// # Errors
/// The private folder cannot be made, or is somebody else's.
pub fn socket_path(data: &Path) -> io::Result<PathBuf> {
    let path = std::path::absolute(data)?.join("node.sock");
    if path.as_os_str().len() <= SOCKET_PATH_BYTES_MAX {
        return Ok(path);
    }
    let owner = fs::metadata(data)?.uid();
    let folder = std::env::temp_dir().join(format!("diemcau-{owner}"));
    match fs::DirBuilder::new().mode(0o700).create(&folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    let found = fs::symlink_metadata(&folder)?;
    if !found.is_dir() || found.uid() != owner || found.mode() & 0o077 != 0 {
        return Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            "the socket folder is not private",
        ));
    }
    Ok(folder.join(format!(
        "{:016x}.sock",
        fnv1a(path.as_os_str().as_encoded_bytes())
    )))
}

/// The same name for the same path in every build (FNV-1a).
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// What the link needs.
#[derive(Debug)]
pub struct Link {
    /// Where the node runs.
    pub place: Place,
    /// Commands to carry.
    pub calls: mpsc::Receiver<Call>,
    /// Who is told.
    pub meetings: Sender,
    /// Who else looks.
    pub status: watch::Sender<Status>,
    /// Of whoever wants the node's metrics.
    pub scrapes: mpsc::Receiver<oneshot::Sender<String>>,
    /// Counts starts.
    pub metrics: Arc<Metrics>,
}

impl Link {
    /// Keeps the link up until `stop` is told; then the node is ended cleanly. Returns when it has ended.
    pub async fn run(mut self, mut stop: oneshot::Receiver<()>) {
        let mut quarrel = String::new();
        loop {
            let Self {
                place,
                calls,
                meetings,
                metrics,
                ..
            } = &mut self;
            let connected = tokio::select! {
                connected = connect(place, metrics) => connected,
                () = refuse_all(calls, meetings) => return,
                _ = &mut stop => return,
            };
            let (client, mut events, welcome) = match connected {
                Ok(connected) => connected,
                Err(error) => {
                    // Once for each reason, not for each attempt.
                    let reason = error.to_string();
                    if quarrel != reason {
                        tracing::error!(%error, "no media node");
                        quarrel = reason;
                    }
                    tokio::time::sleep(RETRY).await;
                    continue;
                }
            };
            quarrel.clear();
            let ended = tokio::select! {
                () = self.converse(&client, &mut events, welcome) => false,
                _ = &mut stop => true,
            };
            self.status.send_replace(Status::Down);
            if ended {
                shut_down(&client).await;
                return;
            }
            tracing::warn!("the media node is away");
            let _ = self.meetings.send(Message::Media(News::Down)).await;
        }
    }

    /// One connection from its snapshot to its end.
    async fn converse(&mut self, client: &Client, events: &mut Events, welcome: Welcome) {
        // What was wanted of the former connection is known to the meetings; the snapshot decides.
        while let Ok(call) = self.calls.try_recv() {
            refuse(&self.meetings, call).await;
        }
        let Ok(Ok(Reply::Snapshot { rooms })) = timeout(REPLY_TIME_MAX, client.call(Command::Snapshot)).await
        else {
            return;
        };
        tracing::info!(pid = welcome.pid, rooms = rooms.len(), "the media node is here");
        if self
            .meetings
            .send(Message::Media(News::Up { rooms }))
            .await
            .is_err()
        {
            return;
        }
        self.status.send_replace(Status::Up {
            pid: welcome.pid,
            media: welcome.media,
        });
        loop {
            tokio::select! {
                event = events.next() => match event {
                    Some(event) => self.tell(News::Event(event)).await,
                    None => return,
                },
                call = self.calls.recv() => {
                    let Some(call) = call else { return };
                    let (room, op) = (call.room, call.op);
                    let result = match timeout(REPLY_TIME_MAX, client.call(call.command)).await {
                        Ok(Ok(reply)) => Ok(reply),
                        Ok(Err(CallError::Refused(error))) => Err(error),
                        Ok(Err(CallError::Closed)) | Err(_) => return,
                    };
                    // What the node said before its reply comes before it.
                    while let Some(event) = events.try_next() {
                        self.tell(News::Event(event)).await;
                    }
                    match (op, result) {
                        (Some(op), result) => self.tell(News::Reply { room, op, result }).await,
                        // The seat may have ended while the command was on its way.
                        (None, Err(error)) => tracing::debug!(%room, %error, "the media node refused a command"),
                        (None, Ok(_)) => {}
                    }
                }
                Some(scrape) = self.scrapes.recv() => {
                    if let Ok(Ok(Reply::Metrics { text })) = timeout(REPLY_TIME_MAX, client.call(Command::Metrics)).await {
                        // The scraper may have gone away.
                        let _ = scrape.send(text);
                    }
                }
            }
        }
    }

    async fn tell(&self, news: News) {
        // The task of the meetings ends only with the process.
        let _ = self.meetings.send(Message::Media(news)).await;
    }
}

/// While there is no node, whoever waits for it is told. Ends with the process.
async fn refuse_all(calls: &mut mpsc::Receiver<Call>, meetings: &Sender) {
    while let Some(call) = calls.recv().await {
        refuse(meetings, call).await;
    }
}

async fn refuse(meetings: &Sender, call: Call) {
    if let Some(op) = call.op {
        let news = News::Reply {
            room: call.room,
            op,
            result: Err(ControlError::Unavailable),
        };
        let _ = meetings.send(Message::Media(news)).await;
    }
}

async fn shut_down(client: &Client) {
    let ended = async {
        // The connection's end is the node's end.
        let _ = client.call(Command::Shutdown).await;
        client.closed().await;
    };
    if timeout(REPLY_TIME_MAX, ended).await.is_err() {
        tracing::warn!("the media node did not end in time");
    }
}

/// Connects to the node that is there, or starts one.
async fn connect(place: &Place, metrics: &Metrics) -> Result<(Client, Events, Welcome), ConnectError> {
    let child = match place {
        Place::Here(connector) => return client::connect_in_process(connector).await,
        Place::Process(child) => child,
    };
    match client::connect(&child.socket).await {
        Err(ConnectError::Io(_)) => {}
        done => return done,
    }
    let mut process = child.start()?;
    metrics.node_starts.inc();
    let started = tokio::time::Instant::now();
    loop {
        match client::connect(&child.socket).await {
            Err(ConnectError::Io(_)) if started.elapsed() < START_TIME_MAX => {}
            done => {
                // Reaped whenever it ends, so that a crashed node leaves no zombie.
                tokio::spawn(async move { process.wait().await });
                return done;
            }
        }
        tokio::select! {
            status = process.wait() => {
                let reason = format!("it ended at once ({}); see node.log in the data folder", status?);
                tokio::time::sleep(RETRY).await;
                return Err(io::Error::other(reason).into());
            }
            () = tokio::time::sleep(Duration::from_millis(20)) => {}
        }
    }
}

impl Child {
    /// Starts the node. It gets a session of its own by itself, so that no signal to this process reaches it.
    fn start(&self) -> io::Result<tokio::process::Child> {
        let log = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o600)
            .open(self.data.join("node.log"))?;
        let config = serde_json::to_string(&self.config)?;
        tokio::process::Command::new(&self.program)
            .arg("node")
            .arg("--detach")
            .arg("--control")
            .arg(&self.socket)
            .arg("--settings-json")
            .arg(config)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_data_path_gets_a_short_socket() {
        let data = tempfile::tempdir().expect("a folder");
        assert_eq!(
            socket_path(data.path()).expect("short"),
            data.path().join("node.sock")
        );
        let deep = data.path().join("x".repeat(120));
        fs::create_dir(&deep).expect("made");
        let path = socket_path(&deep).expect("replaced");
        assert!(path.as_os_str().len() <= SOCKET_PATH_BYTES_MAX);
        assert_eq!(socket_path(&deep).expect("again"), path);
    }
}
