//! The media node as a child of the same binary: found by its socket, or started.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::{self, Read, Seek, SeekFrom},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    time::Duration,
};

use serde::{Deserialize, Serialize};
use sfu::{
    control::{ControlError, VERSION},
    driver::{
        client::{self, Client, ConnectError, Events, Welcome},
        config::NodeConfig,
        node::ALONE_TIME_MAX,
    },
};
use tokio::{io::AsyncReadExt, net::UnixStream, time::timeout};

use super::{kill, shut_down};
use crate::driver::{calls::REPLY_TIME_MAX, config::LogConfig, metrics::Metrics};

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

/// The log of a node in a data folder.
pub(in crate::driver) fn log_path(data: &Path) -> PathBuf {
    data.join("node.log")
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

/// Why there is no node.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoNode {
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error("a media node has its socket open but does not answer")]
    Silent,
    #[error("cannot be started: {0}")]
    Start(#[from] io::Error),
    #[error("{0}")]
    Ended(String),
    #[error(
        "node_version: a media node of another version has the data folder (control protocol {theirs}, this one is {VERSION}); its \
         meetings go on, and it ends by itself {} minutes after the former signaling; start diemcau again then, or start the former version",
        ALONE_TIME_MAX.as_secs() / 60
    )]
    Version { theirs: u16 },
}

pub(super) type Connected = (Client, Events, Welcome);

/// Connects to whoever listens there.
async fn greet(socket: &Path) -> Result<Connected, NoNode> {
    match timeout(REPLY_TIME_MAX, client::connect(socket)).await {
        Ok(Err(ConnectError::Refused(ControlError::Version { theirs }))) => Err(NoNode::Version { theirs }),
        Ok(connected) => Ok(connected?),
        Err(_) => Err(NoNode::Silent),
    }
}

/// A process that was started and has not opened its socket yet. Nobody else would find it, so it ends with whoever waits for it.
struct Starting(Option<tokio::process::Child>);

impl Starting {
    async fn ended(&mut self) -> io::Result<ExitStatus> {
        match &mut self.0 {
            Some(process) => process.wait().await,
            None => std::future::pending().await,
        }
    }

    /// It is reaped whenever it ends, so that a crashed node leaves no zombie.
    fn let_go(mut self) {
        if let Some(mut process) = self.0.take() {
            tokio::spawn(async move { process.wait().await });
        }
    }
}

impl Drop for Starting {
    fn drop(&mut self) {
        if let Some(process) = &mut self.0 {
            // It may have ended by itself.
            let _ = process.start_kill();
        }
    }
}

impl Child {
    /// Connects to the node that is there, or starts one.
    pub(super) async fn connect(&self, metrics: &Metrics) -> Result<Connected, NoNode> {
        match greet(&self.socket).await {
            Err(NoNode::Connect(ConnectError::Io(_))) => {}
            done => return done,
        }
        let mut starting = Starting(Some(self.start()?));
        metrics.node_starts.inc();
        let started = tokio::time::Instant::now();
        loop {
            match greet(&self.socket).await {
                Err(NoNode::Connect(ConnectError::Io(error))) if started.elapsed() >= START_TIME_MAX => {
                    return Err(ConnectError::Io(error).into());
                }
                Err(NoNode::Connect(ConnectError::Io(_))) => {}
                done => {
                    starting.let_go();
                    return done;
                }
            }
            tokio::select! {
                status = starting.ended() => return Err(NoNode::Ended(self.last_words(status?))),
                () = tokio::time::sleep(Duration::from_millis(20)) => {}
            }
        }
    }

    /// Settings with which a node was started otherwise than it would be now, by their keys. One that tells none is of a build that did
    /// not.
    pub(super) fn stale(&self, theirs: &BTreeMap<String, String>) -> Vec<String> {
        if theirs.is_empty() {
            return Vec::new();
        }
        let ours = self.settings.media.shown();
        let keys: BTreeSet<&String> = ours.keys().chain(theirs.keys()).collect();
        keys.into_iter()
            .filter(|&key| ours.get(key) != theirs.get(key))
            .map(|key| format!("media.{key}"))
            .collect()
    }

    /// Ends the node that has the socket open, whether it answers or not.
    pub(super) async fn end(&self) {
        match greet(&self.socket).await {
            // The events are held: a connection whose events nobody takes ends before the node does.
            Ok((client, _events, welcome)) => shut_down(&client, welcome.pid).await,
            Err(NoNode::Silent) => self.kill_owner().await,
            Err(_) => {}
        }
    }

    /// Kills the process whose socket it is, as the kernel says: as long as the socket takes connections that process lives, so the number is no other's.
    async fn kill_owner(&self) {
        let Ok(mut stream) = UnixStream::connect(&self.socket).await else {
            return;
        };
        let owner = stream.peer_cred().ok().and_then(|owner| owner.pid());
        let Some(pid) = owner.and_then(|pid| u32::try_from(pid).ok()) else {
            return;
        };
        kill(pid);
        // The connection ends with the process.
        let _ = timeout(REPLY_TIME_MAX, stream.read(&mut [0])).await;
    }

    fn log(&self) -> PathBuf {
        log_path(&self.data)
    }

    /// What a node that ended at once wrote last: its reason.
    fn last_words(&self, status: ExitStatus) -> String {
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
            .arg0("diemcau")
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

    #[tokio::test]
    async fn a_process_that_has_not_opened_its_socket_ends_with_whoever_waits_for_it() {
        let mut process = tokio::process::Command::new("cat")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("started");
        let (stdin, mut stdout) = (process.stdin.take(), process.stdout.take().expect("piped"));
        drop(Starting(Some(process)));
        let mut text = String::new();
        let ended = timeout(2 * START_TIME_MAX, stdout.read_to_string(&mut text)).await;
        assert!(ended.is_ok(), "its standard input is still open");
        drop(stdin);
    }
}
