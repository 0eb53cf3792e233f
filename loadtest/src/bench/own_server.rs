//! A server that the program starts for itself, with one room for all points.

use std::{
    env,
    fs::{self, DirBuilder, File},
    io::{self, Read as _, Seek as _, SeekFrom},
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context as _, bail};
use rustix::process::{Pid, Signal, kill_process};
use serde::Deserialize;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::Child,
    sync::watch,
};

use crate::address::Address;

/// Longest wait for the server to say that it is ready, and to end.
const SERVER_TIMEOUT: Duration = Duration::from_secs(20);
/// The room: with place for all points that are played.
const ROOM: &str = "[[rooms]]\nid = \"demo\"\npoints_max = 1000\n";
/// What the server says on its standard error goes into this file of its folder; so much of the end is told where it does not start.
const WORDS: &str = "serve.log";
const WORDS_BYTES_MAX: u64 = 2_000;

/// What the server says when it is ready.
#[derive(Debug, Deserialize)]
pub(crate) struct Ready {
    pub(crate) http: Address,
    pub(crate) metrics: Address,
    pub(crate) node_pid: u32,
    pub(crate) token: String,
    #[serde(skip)]
    pub(crate) own_pid: u32,
}

/// A server of this program's own.
pub(crate) struct Server {
    pub(crate) ready: Ready,
    running: Running,
}

impl Server {
    /// Starts it with so many shards; without a number: with as many as it takes by itself.
    pub(crate) async fn start(
        program: &Path,
        shards: Option<u32>,
        mut stopped: watch::Receiver<bool>,
    ) -> anyhow::Result<Self> {
        let mut running = Running::start(program, shards)?;
        let ready = tokio::select! {
            ready = tokio::time::timeout(SERVER_TIMEOUT, running.ready()) => {
                ready.context("the server is not ready in time").and_then(|ready| ready)
            }
            _ = stopped.wait_for(|&stopped| stopped) => {
                running.stop().await;
                bail!("interrupted");
            }
        };
        match ready {
            Ok(ready) => Ok(Self { ready, running }),
            Err(error) => {
                let words = running.stop().await;
                bail!("{error:#}; its last words: {words}")
            }
        }
    }

    /// Ends both of its processes.
    pub(crate) async fn stop(self) {
        self.running.stop().await;
    }
}

/// Its process and its folder, both gone with this.
struct Running {
    child: Child,
    folder: Folder,
}

impl Running {
    fn start(program: &Path, shards: Option<u32>) -> anyhow::Result<Self> {
        let folder = Folder::new().context("a folder for the server")?;
        let config = folder.0.join("bench.toml");
        fs::write(&config, ROOM).context("a configuration for the server")?;
        let words = File::create(folder.0.join(WORDS)).context("a file for what the server says")?;
        let child = tokio::process::Command::new(program)
            .args(["serve", "--listen", "127.0.0.1:0", "--ready-json", "--data"])
            .arg(&folder.0)
            .arg("--config")
            .arg(&config)
            .args(shards_arguments(shards))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(words)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        Ok(Self { child, folder })
    }

    async fn ready(&mut self) -> anyhow::Result<Ready> {
        let out = self.child.stdout.take().context("no output")?;
        let line = BufReader::new(out).lines().next_line().await?;
        let line = line.context("the server ended before it was ready")?;
        let mut ready: Ready = serde_json::from_str(&line).context("what the server said")?;
        ready.own_pid = self.child.id().unwrap_or_default();
        Ok(ready)
    }

    /// Ends it in order, and its node with it. The last it said on its standard error.
    async fn stop(mut self) -> String {
        let pid = self.child.id().and_then(|pid| Pid::from_raw(pid.cast_signed()));
        if let Some(pid) = pid {
            let _ = kill_process(pid, Signal::TERM);
        }
        let _ = tokio::time::timeout(SERVER_TIMEOUT, self.child.wait()).await;
        self.folder.words().unwrap_or_default()
    }
}

/// A folder that its owner alone may read, for a key lies in it; gone with this.
struct Folder(PathBuf);

impl Folder {
    fn new() -> io::Result<Self> {
        let path = env::temp_dir().join(format!("diemcau-bench-{:016x}", rand::random::<u64>()));
        DirBuilder::new().mode(0o700).create(&path)?;
        Ok(Self(path))
    }

    fn words(&self) -> io::Result<String> {
        let mut file = File::open(self.0.join(WORDS))?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(WORDS_BYTES_MAX)))?;
        let mut bytes = Vec::new();
        file.take(WORDS_BYTES_MAX).read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).trim().to_owned())
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn shards_arguments(shards: Option<u32>) -> Vec<String> {
    let pair = shards.map(|shards| ["--shards".to_owned(), shards.to_string()]);
    pair.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_server_is_told_its_shards_only_where_a_case_says_so() {
        assert_eq!(shards_arguments(Some(1)), ["--shards", "1"]);
        assert!(shards_arguments(None).is_empty());
    }

    #[tokio::test]
    async fn a_server_that_does_not_start_says_why() {
        let (_stop, stopped) = watch::channel(false);
        // A shell, which takes `serve` for a file that is not there.
        let started = Server::start(Path::new("/bin/sh"), None, stopped).await;
        let error = format!("{:#}", started.err().unwrap());
        assert!(
            error.contains("before it was ready") && error.contains("serve:"),
            "{error}"
        );
    }

    #[tokio::test]
    async fn a_folder_is_its_owners_alone_and_gone_with_the_server() {
        let running = Running::start(Path::new("/bin/sh"), None).unwrap();
        let folder = running.folder.0.clone();
        let mode = fs::metadata(&folder).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        assert!(folder.join("bench.toml").exists());
        drop(running);
        assert!(!folder.exists());
    }
}
