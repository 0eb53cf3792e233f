//! A server that the program starts for itself, with one room for all points.

use std::{
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
};

use crate::address::Address;

/// Longest wait for the server to say that it is ready, and to end.
const SERVER_TIMEOUT: Duration = Duration::from_secs(20);
/// The room: with place for all points that are played.
const ROOM: &str = "[[rooms]]\nid = \"demo\"\npoints_max = 1000\n";

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
    child: Child,
    data: PathBuf,
}

impl Server {
    /// Starts it with so many shards; without a number: with as many as it takes by itself.
    pub(crate) async fn start(program: &Path, shards: Option<u32>) -> anyhow::Result<Self> {
        let data = std::env::temp_dir().join(format!("diemcau-bench-{}", std::process::id()));
        std::fs::create_dir_all(&data).context("a folder for the server")?;
        let config = data.join("bench.toml");
        std::fs::write(&config, ROOM).context("a configuration for the server")?;
        let mut child = tokio::process::Command::new(program)
            .args(["serve", "--listen", "127.0.0.1:0", "--ready-json", "--data"])
            .arg(&data)
            .arg("--config")
            .arg(&config)
            .args(shards_arguments(shards))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        let out = child.stdout.take().context("no output")?;
        let mut lines = BufReader::new(out).lines();
        let Ok(line) = tokio::time::timeout(SERVER_TIMEOUT, lines.next_line()).await else {
            bail!("the server is not ready in time");
        };
        let line = line?.context("the server ended before it was ready")?;
        let mut ready: Ready = serde_json::from_str(&line).context("what the server said")?;
        ready.own_pid = child.id().unwrap_or_default();
        Ok(Self { ready, child, data })
    }

    /// Ends both of its processes.
    pub(crate) async fn stop(mut self) {
        let pid = Pid::from_raw(self.ready.own_pid.cast_signed());
        if let Some(pid) = pid {
            let _ = kill_process(pid, Signal::TERM);
        }
        let _ = tokio::time::timeout(SERVER_TIMEOUT, self.child.wait()).await;
        let _ = std::fs::remove_dir_all(&self.data);
    }
}

fn shards_arguments(shards: Option<u32>) -> Vec<String> {
    let pair = shards.map(|shards| ["--shards".to_owned(), shards.to_string()]);
    pair.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_told_its_shards_only_where_a_case_says_so() {
        assert_eq!(shards_arguments(Some(1)), ["--shards", "1"]);
        assert!(shards_arguments(None).is_empty());
    }
}
