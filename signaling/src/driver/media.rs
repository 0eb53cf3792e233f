//! The link to the media node: found, started when there is none, started again when it crashed.
//!
//! The node is a child of the same binary in a session of its own: it outlives this process, and the next one finds it
//! by its Unix socket in the data folder. After every (re)connection comes a snapshot and a reconciliation.

mod child;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use sfu::{
    control::{Command, ControlError, Reply},
    driver::client::{self, CallError, Client, Events, Welcome},
};
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::timeout,
};

use rustix::process::{Pid, Signal, kill_process};

pub(super) use self::child::log_path;
pub use self::child::{Child, NodeSettings, socket_path};
use self::child::{Connected, NoNode};
use super::{
    calls::{Call, Called, News, REPLY_TIME_MAX},
    meeting_task::{Message, Sender},
    metrics::Metrics,
    node_look::{Look, metrics_of},
};

/// How often a node that nobody asks anything is asked for a sign of life.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Before the first new attempt to find the node; doubled after each failure up to [`RETRY_MAX`].
const RETRY: Duration = Duration::from_millis(100);

/// Longest time between two attempts.
const RETRY_MAX: Duration = Duration::from_secs(2);

/// A connection that held this long was a good one: the next attempt comes at once.
const STEADY: Duration = Duration::from_secs(10);

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

/// What the link needs.
#[derive(Debug)]
pub struct Link {
    /// Where the node runs.
    pub place: Place,
    /// Commands to carry.
    pub calls: Called,
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
    /// Keeps the link up until `stop` is told; then the node is ended. Returns when it has ended. Where `stop` is dropped without a word this process failed, or is
    /// followed by another (SIGHUP), and the node goes on for the next one.
    pub async fn run(mut self, mut stop: oneshot::Receiver<()>) {
        let mut failures = 0;
        let mut compared = None;
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
                told = &mut stop => {
                    if let (Ok(()), Place::Process(child)) = (told, &*place) {
                        child.end().await;
                    }
                    return;
                }
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
            if compared.replace(pid) != Some(pid) {
                self.compare_settings(&welcome);
            }
            let stopped = tokio::select! {
                () = self.converse(&client, &mut events, welcome) => None,
                told = &mut stop => Some(told),
            };
            self.status.send_replace(Status::Down);
            if let Some(told) = stopped {
                if told.is_ok() {
                    shut_down(&client, pid).await;
                }
                return;
            }
            tracing::warn!("the media node is away");
            let _ = self.meetings.send(Message::Media(News::Down)).await;
            failures = if since.elapsed() < STEADY { failures + 1 } else { 0 };
        }
    }

    /// A node that was found keeps what it was started with, and is told once for that: to start it again would end its meetings.
    fn compare_settings(&self, welcome: &Welcome) {
        let stale = match &self.place {
            Place::Process(child) => child.stale(&welcome.settings),
            Place::Here(_) => Vec::new(),
        };
        self.metrics.node_settings_stale.set(stale.len() as i64);
        if !stale.is_empty() {
            tracing::warn!(
                "node_settings_stale: the media node was started with other settings and keeps them, as its meetings would end with it: {}; \
                 the new ones take effect when diemcau is stopped (SIGTERM) and started again",
                stale.join(", ")
            );
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
        while let Ok(call) = self.calls.queue.try_recv() {
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
                call = self.calls.queue.recv() => {
                    let Some(call) = call else { return };
                    let opens = match &call.command {
                        Command::OpenRoom { room, .. } => Some(room.clone()),
                        _ => None,
                    };
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
                        (None, Err(error)) => match opens {
                            Some(room) => tracing::error!(%room, %error, "the media node refused a room: nobody can join it"),
                            // The seat may have ended while the command was on its way.
                            None => tracing::debug!(%error, "the media node refused a command"),
                        },
                        (None, Ok(_)) => {}
                    }
                }
                () = self.calls.missed.notified(), if self.calls.queue.is_empty() => {
                    if !self.calls.queue.is_empty() {
                        // They came in the same moment, and go first.
                        self.calls.missed.notify_one();
                    } else if !self.compare(client, events).await {
                        return;
                    }
                }
                Some(look) = self.looks.recv() => if !look.take(client).await { return },
                // A node that is stopped keeps its socket open and says nothing.
                _ = signs.tick() => if metrics_of(client).await.is_none() { return },
            }
        }
    }

    /// Commands were lost on the way to the node. False if it is gone.
    async fn compare(&self, client: &Client, events: &mut Events) -> bool {
        let asked = timeout(REPLY_TIME_MAX, client.call(Command::Snapshot)).await;
        let Ok(Ok(Reply::Snapshot { rooms })) = asked else {
            return false;
        };
        while let Some(event) = events.try_next() {
            self.tell(News::Event(event)).await;
        }
        tracing::warn!("the media node did not keep up and is told again what was lost");
        self.tell(News::Again { rooms }).await;
        true
    }

    async fn tell(&self, news: News) {
        // The task of the meetings ends only with the process.
        let _ = self.meetings.send(Message::Media(news)).await;
    }
}

/// While there is no node, whoever waits for it is told. Ends with the process.
async fn refuse_all(calls: &mut Called, meetings: &Sender) {
    while let Some(call) = calls.queue.recv().await {
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
    if timeout(REPLY_TIME_MAX, ended).await.is_err() {
        // The connection is still open: the process is the one that said this number.
        kill(pid);
    }
}

/// A node in this process ends with it.
fn kill(pid: u32) {
    if pid == std::process::id() {
        return;
    }
    tracing::warn!(pid, "the media node does not end when asked and is killed");
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        // It may end at this very moment.
        let _ = kill_process(pid, Signal::KILL);
    }
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attempts_become_rarer() {
        let pauses: Vec<u128> = (0..8).map(|failures| pause(failures).as_millis()).collect();
        assert_eq!(pauses, [0, 100, 200, 400, 800, 1600, 2000, 2000]);
        assert_eq!(pause(u32::MAX), RETRY_MAX);
    }
}
