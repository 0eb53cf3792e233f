//! The link to the media node: found, started when there is none, started again when it crashed.
//!
//! The node is a child of the same binary in a session of its own: it outlives this process, and the next one finds it
//! by its Unix socket in the data folder. After every (re)connection comes a snapshot and a reconciliation.

use std::{
    fs,
    io::{self, Read, Seek, SeekFrom},
    net::SocketAddr,
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    process::Stdio,
    sync::Arc,
    time::Duration,
};

use serde::{Deserialize, Serialize};
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

use rustix::process::{Pid, Signal, kill_process};

use super::{
    config::LogConfig,
    meeting_task::{Message, News, Sender},
    metrics::Metrics,
    node_look::{Look, metrics_of},
};
use crate::engine::effect::Op;

/// Commands waiting for the node. Overflow: see `meeting_task`.
const CALLS_LEN: usize = 4096;

/// A node that does not answer for this long is taken as gone: whoever waits is told `unavailable`, the link is made anew.
pub(super) const REPLY_TIME_MAX: Duration = Duration::from_secs(5);

/// How often a node that nobody asks anything is asked for a sign of life.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Before the first new attempt to find the node; doubled after each failure up to [`RETRY_MAX`].
const RETRY: Duration = Duration::from_millis(100);

/// Longest time between two attempts.
const RETRY_MAX: Duration = Duration::from_secs(2);

/// A connection that held this long was a good one: the next attempt comes at once.
const STEADY: Duration = Duration::from_secs(10);

/// Tells the node's allocator (glibc's, mallopt(3); others do not ask) to map whatever is at least so long, and to keep all else in one place for all threads. Histories
/// grow and go all the time; without it the allocator learns from the first that goes to put even those of half a megabyte among small things, and keeps what lies
/// between them, for each thread anew. Nothing is allocated for a packet, so threads do not wait for each other.
const ALLOCATOR: [(&str, &str); 2] = [("MALLOC_MMAP_THRESHOLD_", "32768"), ("MALLOC_ARENA_MAX", "1")];

/// The node's log is put aside at a start when it is larger than this; one former log is kept.
const LOG_BYTES_MAX: u64 = 8 << 20;

/// The end of the log in which the reason of a failed start is looked for.
const LAST_WORDS_BYTES: u64 = 4096;

/// How long a node may take from its start to its first answer.
const START_TIME_MAX: Duration = Duration::from_secs(10);

/// Longest path of a Unix socket that every system takes.
const SOCKET_PATH_BYTES_MAX: usize = 100;

/// A command on its way.
#[derive(Debug)]
pub struct Call {
    /// Whose reply it is; none if nobody waits.
    pub waits: Option<(RoomId, Op)>,
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
    /// Not there, and attempts to find or start it failed.
    Failing {
        /// So many one after the other.
        failures: u32,
        /// The last one's, in words for people.
        reason: String,
    },
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
    pub settings: NodeSettings,
}

/// What the node's process is told at its start.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeSettings {
    /// How it runs.
    pub media: NodeConfig,
    /// What it logs.
    pub log: LogConfig,
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
    /// Of whoever wants to look into the node.
    pub looks: mpsc::Receiver<Look>,
    /// Counts starts.
    pub metrics: Arc<Metrics>,
}

impl Link {
    /// Keeps the link up until `stop` is told; then the node is ended cleanly. Returns when it has ended.
    pub async fn run(mut self, mut stop: oneshot::Receiver<()>) {
        let mut failures = 0;
        loop {
            let Self {
                place,
                calls,
                meetings,
                metrics,
                ..
            } = &mut self;
            let connected = tokio::select! {
                connected = connect_after(pause(failures), place, metrics) => connected,
                () = refuse_all(calls, meetings) => return,
                _ = &mut stop => return,
            };
            let (client, mut events, welcome) = match connected {
                Ok(connected) => connected,
                Err(error) => {
                    failures += 1;
                    self.failed(failures, error.to_string());
                    continue;
                }
            };
            let (pid, since) = (welcome.pid, tokio::time::Instant::now());
            let ended = tokio::select! {
                () = self.converse(&client, &mut events, welcome) => false,
                _ = &mut stop => true,
            };
            self.status.send_replace(Status::Down);
            if ended {
                shut_down(&client, pid).await;
                return;
            }
            tracing::warn!("the media node is away");
            let _ = self.meetings.send(Message::Media(News::Down)).await;
            failures = if since.elapsed() < STEADY { failures + 1 } else { 0 };
        }
    }

    /// Logged once for each reason, not for each attempt.
    fn failed(&self, failures: u32, reason: String) {
        if !matches!(&*self.status.borrow(), Status::Failing { reason: known, .. } if *known == reason) {
            tracing::error!(reason, "no media node");
        }
        self.status.send_replace(Status::Failing { failures, reason });
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
        let mut signs = tokio::time::interval(LOOK_EVERY);
        signs.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                event = events.next() => match event {
                    Some(event) => self.tell(News::Event(event)).await,
                    None => return,
                },
                call = self.calls.recv() => {
                    let Some(call) = call else { return };
                    let result = match timeout(REPLY_TIME_MAX, client.call(call.command)).await {
                        Ok(Ok(reply)) => Ok(reply),
                        Ok(Err(CallError::Refused(error))) => Err(error),
                        Ok(Err(CallError::Closed)) | Err(_) => return,
                    };
                    // What the node said before its reply comes before it.
                    while let Some(event) = events.try_next() {
                        self.tell(News::Event(event)).await;
                    }
                    match (call.waits, result) {
                        (Some((room, op)), result) => self.tell(News::Reply { room, op, result }).await,
                        // The seat may have ended while the command was on its way.
                        (None, Err(error)) => tracing::debug!(%error, "the media node refused a command"),
                        (None, Ok(_)) => {}
                    }
                }
                Some(look) = self.looks.recv() => if !look.take(client).await { return },
                // A node that is stopped keeps its socket open and says nothing.
                _ = signs.tick() => if metrics_of(client).await.is_none() { return },
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
    if let Some((room, op)) = call.waits {
        let news = News::Reply {
            room,
            op,
            result: Err(ControlError::Unavailable),
        };
        let _ = meetings.send(Message::Media(news)).await;
    }
}

async fn shut_down(client: &Client, pid: u32) {
    let ended = async {
        // The connection's end is the node's end.
        let _ = client.call(Command::Shutdown).await;
        client.closed().await;
    };
    if timeout(REPLY_TIME_MAX, ended).await.is_ok() || pid == std::process::id() {
        return;
    }
    tracing::warn!(pid, "the media node does not end when asked and is killed");
    // The connection is still open: the process is the one that said this number.
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        // It may end at this very moment.
        let _ = kill_process(pid, Signal::KILL);
    }
}

/// Why there is no node.
#[derive(Debug, thiserror::Error)]
enum NoNode {
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error("a media node has its socket open but does not answer")]
    Silent,
    #[error("cannot be started: {0}")]
    Start(#[from] io::Error),
    #[error("{0}")]
    Ended(String),
}

type Connected = (Client, Events, Welcome);

/// Grows with the failures in a row.
fn pause(failures: u32) -> Duration {
    match failures.checked_sub(1) {
        None => Duration::ZERO,
        Some(doublings) => RETRY.saturating_mul(1 << doublings.min(8)).min(RETRY_MAX),
    }
}

async fn connect_after(pause: Duration, place: &Place, metrics: &Metrics) -> Result<Connected, NoNode> {
    tokio::time::sleep(pause).await;
    match place {
        Place::Here(connector) => Ok(client::connect_in_process(connector).await?),
        Place::Process(child) => child.connect(metrics).await,
    }
}

/// Connects to whoever listens there.
async fn greet(socket: &Path) -> Result<Connected, NoNode> {
    match timeout(REPLY_TIME_MAX, client::connect(socket)).await {
        Ok(connected) => Ok(connected?),
        Err(_) => Err(NoNode::Silent),
    }
}

impl Child {
    /// Connects to the node that is there, or starts one.
    async fn connect(&self, metrics: &Metrics) -> Result<Connected, NoNode> {
        match greet(&self.socket).await {
            Err(NoNode::Connect(ConnectError::Io(_))) => {}
            done => return done,
        }
        let mut process = self.start()?;
        metrics.node_starts.inc();
        let started = tokio::time::Instant::now();
        loop {
            match greet(&self.socket).await {
                Err(NoNode::Connect(ConnectError::Io(_))) if started.elapsed() < START_TIME_MAX => {}
                done => {
                    // Reaped whenever it ends, so that a crashed node leaves no zombie.
                    tokio::spawn(async move { process.wait().await });
                    return done;
                }
            }
            tokio::select! {
                status = process.wait() => return Err(NoNode::Ended(self.last_words(status?))),
                () = tokio::time::sleep(Duration::from_millis(20)) => {}
            }
        }
    }

    fn log(&self) -> PathBuf {
        self.data.join("node.log")
    }

    /// What a node that ended at once wrote last: its reason.
    fn last_words(&self, status: std::process::ExitStatus) -> String {
        let read = || -> io::Result<Vec<u8>> {
            let mut file = fs::File::open(self.log())?;
            let end = file.metadata()?.len();
            file.seek(SeekFrom::Start(end.saturating_sub(LAST_WORDS_BYTES)))?;
            let mut text = Vec::new();
            file.take(LAST_WORDS_BYTES).read_to_end(&mut text)?;
            Ok(text)
        };
        let text = String::from_utf8_lossy(&read().unwrap_or_default()).into_owned();
        let last = text.lines().next_back().unwrap_or_default();
        match last.strip_prefix("diemcau: ") {
            Some(reason) => reason.to_owned(),
            None => format!("it ended at once ({status}); see {}", self.log().display()),
        }
    }

    /// Starts the node. It gets a session of its own by itself, so that no signal to this process reaches it.
    fn start(&self) -> io::Result<tokio::process::Child> {
        if fs::metadata(self.log()).is_ok_and(|log| log.len() > LOG_BYTES_MAX) {
            fs::rename(self.log(), self.data.join("node.log.1"))?;
        }
        let log = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o600)
            .open(self.log())?;
        let settings = serde_json::to_string(&self.settings)?;
        let told = |(name, value): (&'static str, &str)| {
            (name, std::env::var_os(name).unwrap_or_else(|| value.into()))
        };
        tokio::process::Command::new(&self.program)
            .envs(ALLOCATOR.map(told))
            .arg("node")
            .arg("--detach")
            .arg("--control")
            .arg(&self.socket)
            .arg("--settings-json")
            .arg(settings)
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
    fn attempts_become_rarer() {
        let pauses: Vec<u128> = (0..8).map(|failures| pause(failures).as_millis()).collect();
        assert_eq!(pauses, [0, 100, 200, 400, 800, 1600, 2000, 2000]);
        assert_eq!(pause(u32::MAX), RETRY_MAX);
    }

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
