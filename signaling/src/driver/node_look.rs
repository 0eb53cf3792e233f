//! Looks into the node that no meeting asks for: its counters, and what it knows of a room.

use sfu::{
    control::{Command, ControlError, Reply, RoomId, RoomReport},
    driver::client::{CallError, Client},
};
use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};

use super::calls::REPLY_TIME_MAX;

/// Looks waiting for the node. Full: whoever asks does without.
const LOOKS_LEN: usize = 4;

/// Something somebody wants to see. Whoever asked may be gone by the time it is there.
#[derive(Debug)]
pub enum Look {
    /// The node's metrics, as Prometheus text.
    Metrics(oneshot::Sender<String>),
    /// One room; none if the node has no such room.
    Room(RoomId, oneshot::Sender<Option<Box<RoomReport>>>),
}

/// The door to the link for those who look.
pub type Looks = mpsc::Sender<Look>;

/// Both ends of the queue of looks.
pub fn looks() -> (Looks, mpsc::Receiver<Look>) {
    mpsc::channel(LOOKS_LEN)
}

impl Look {
    /// Asks the node. False if it is gone.
    pub(super) async fn take(self, client: &Client) -> bool {
        match self {
            Self::Metrics(asked) => {
                let Some(text) = metrics_of(client).await else {
                    return false;
                };
                let _ = asked.send(text);
            }
            Self::Room(room, asked) => {
                let report = match timeout(REPLY_TIME_MAX, client.call(Command::Inspect { room })).await {
                    Ok(Ok(Reply::Inspected { room })) => Some(room),
                    Ok(Err(CallError::Refused(ControlError::UnknownRoom))) => None,
                    // Dropped without an answer: it cannot be told now.
                    Ok(Ok(_) | Err(CallError::Refused(_))) => return true,
                    Ok(Err(CallError::Closed)) | Err(_) => return false,
                };
                let _ = asked.send(report);
            }
        }
        true
    }
}

/// The node's counters, as a sign of life; none if it is gone.
pub(super) async fn metrics_of(client: &Client) -> Option<String> {
    match timeout(REPLY_TIME_MAX, client.call(Command::Metrics)).await {
        Ok(Ok(Reply::Metrics { text })) => Some(text),
        Ok(Ok(_) | Err(CallError::Refused(_))) => Some(String::new()),
        Ok(Err(CallError::Closed)) | Err(_) => None,
    }
}
