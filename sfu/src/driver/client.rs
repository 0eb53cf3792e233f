//! Signaling's side of the control protocol: one connection to a node.
//!
//! Reconnecting is the caller's: connect anew, take a snapshot, reconcile.

use std::{collections::BTreeMap, io, net::SocketAddr, path::Path};

use tokio::{
    net::UnixStream,
    sync::{mpsc, oneshot},
};

use super::{
    api::Connector,
    frames::{Connection, FrameError},
};
use crate::control::{Command, ControlError, Event, FromNode, Reply, Request, VERSION};

/// Calls waiting for their turn. Full: the caller waits.
const CALLS_LEN: usize = 256;

/// Events not yet read. Full: the connection ends, so that whoever did not read starts from a snapshot.
const EVENTS_LEN: usize = 16_384;

/// A connection to a node; clones share it. It closes when all clones are dropped.
#[derive(Debug, Clone)]
pub struct Client {
    calls: mpsc::Sender<Call>,
}

/// Events of a connection, in the order in which the node sent them. An event that the node sent before a reply is in
/// here when [`Client::call`] returns that reply.
#[derive(Debug)]
pub struct Events {
    events: mpsc::Receiver<Event>,
}

/// What the node said of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Welcome {
    /// Its process.
    pub pid: u32,
    /// Addresses that clients are told to send media to.
    pub media: Vec<SocketAddr>,
    /// What it was started with, see [`NodeConfig::shown`](super::config::NodeConfig::shown).
    pub settings: BTreeMap<String, String>,
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// No node listens there.
    #[error("no media node answers: {0}")]
    Io(#[from] io::Error),
    /// It refused.
    #[error(transparent)]
    Refused(#[from] ControlError),
    /// It hung up, or does not speak this protocol.
    #[error("the media node hung up")]
    Closed,
}

/// Why a call came to nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// The node refused; nothing has changed.
    #[error(transparent)]
    Refused(#[from] ControlError),
    /// The connection ended before the reply; whether the command was done is known from a snapshot.
    #[error("the connection to the media node ended")]
    Closed,
}

struct Call {
    command: Command,
    reply: oneshot::Sender<Result<Reply, ControlError>>,
}

/// Connects to the node that listens on that Unix socket.
///
/// # Errors
/// Nobody listens, or not a node of this protocol version.
pub async fn connect(path: &Path) -> Result<(Client, Events, Welcome), ConnectError> {
    greet(Connection::over(UnixStream::connect(path).await?)).await
}

/// Connects to a node in this process.
///
/// # Errors
/// The node has ended.
pub async fn connect_in_process(connector: &Connector) -> Result<(Client, Events, Welcome), ConnectError> {
    greet(connector.connect().await.ok_or(ConnectError::Closed)?).await
}

async fn greet(connection: Connection<FromNode, Request>) -> Result<(Client, Events, Welcome), ConnectError> {
    let (calls, calls_receiver) = mpsc::channel(CALLS_LEN);
    let (events_sender, events) = mpsc::channel(EVENTS_LEN);
    tokio::spawn(run(connection, calls_receiver, events_sender));
    let client = Client { calls };
    match client.call(Command::Hello { version: VERSION }).await {
        Ok(Reply::Welcome { pid, media, settings }) => {
            let welcome = Welcome { pid, media, settings };
            Ok((client, Events { events }, welcome))
        }
        Ok(_) | Err(CallError::Closed) => Err(ConnectError::Closed),
        Err(CallError::Refused(error)) => Err(error.into()),
    }
}

impl Client {
    /// Sends a command and waits for its reply.
    ///
    /// # Errors
    /// The node refused it, or the connection ended.
    pub async fn call(&self, command: Command) -> Result<Reply, CallError> {
        let (reply, result) = oneshot::channel();
        self.calls
            .send(Call { command, reply })
            .await
            .map_err(|_| CallError::Closed)?;
        Ok(result.await.map_err(|_| CallError::Closed)??)
    }

    /// Waits until the connection has ended.
    pub async fn closed(&self) {
        self.calls.closed().await;
    }
}

impl Events {
    /// The next event; none when the connection has ended.
    pub async fn next(&mut self) -> Option<Event> {
        self.events.recv().await
    }

    /// An event that is there already.
    pub fn try_next(&mut self) -> Option<Event> {
        self.events.try_recv().ok()
    }
}

/// Carries one connection until it ends or nobody holds its client any more. Requests are written by a task of their
/// own: a node that waits for us to read its events must never meet us waiting for it to read.
async fn run(
    connection: Connection<FromNode, Request>,
    mut calls: mpsc::Receiver<Call>,
    events: mpsc::Sender<Event>,
) {
    let Connection {
        mut incoming,
        mut outgoing,
    } = connection;
    let (requests, mut unsent) = mpsc::channel::<Request>(CALLS_LEN);
    let mut writer = tokio::spawn(async move {
        while let Some(request) = unsent.recv().await {
            outgoing.send(request).await?;
        }
        Err(FrameError::Closed)
    });
    let mut waiting: BTreeMap<u64, oneshot::Sender<_>> = BTreeMap::new();
    let mut id = 0;
    let ended: FrameError = loop {
        tokio::select! {
            message = incoming.next() => match message {
                Ok(FromNode::Reply { id, result }) => {
                    if let Some(reply) = waiting.remove(&id) {
                        // A caller that has gone away does not want its reply.
                        let _ = reply.send(result);
                    }
                }
                Ok(FromNode::Event(event)) => {
                    if events.try_send(event).is_err() {
                        break FrameError::Closed;
                    }
                }
                Err(error) => break error,
            },
            call = calls.recv(), if waiting.len() < CALLS_LEN => {
                let Some(Call { command, reply }) = call else { break FrameError::Closed };
                id += 1;
                waiting.insert(id, reply);
                // As many fit as may wait for a reply.
                if requests.try_send(Request { id, command }).is_err() {
                    break FrameError::Closed;
                }
            }
            ended = &mut writer => {
                break match ended {
                    Ok(Err(error)) => error,
                    Ok(Ok::<(), _>(())) | Err(_) => FrameError::Closed,
                };
            }
        }
    };
    writer.abort();
    tracing::debug!(%ended, "control connection ended");
}
