//! What goes between the meetings and the link to the node: commands there, news back.

use std::{sync::Arc, time::Duration};

use sfu::control::{Command, ControlError, Event, Reply, RoomId, RoomSnapshot};
use tokio::sync::{
    Notify,
    mpsc::{self, error::TrySendError},
};

use crate::engine::id::Op;

/// Commands waiting for the node. Overflow: see `meeting_task`.
const CALLS_LEN: usize = 4096;

/// A node that does not answer for this long is taken as gone: whoever waits is told `unavailable`, the link is made anew.
pub(super) const REPLY_TIME_MAX: Duration = Duration::from_secs(5);

/// A command on its way.
#[derive(Debug)]
pub struct Call {
    /// Whose reply it is; none if nobody waits.
    pub waits: Option<(RoomId, Op)>,
    /// What to do.
    pub command: Command,
}

/// The door to the link.
#[derive(Debug, Clone)]
pub struct Calls {
    queue: mpsc::Sender<Call>,
    missed: Arc<Notify>,
}

impl Calls {
    /// Puts a command into the queue.
    ///
    /// # Errors
    /// It is full, and the command is given back. One that nobody waits for makes the link take a snapshot when it is through with the others.
    pub fn send(&self, call: Call) -> Result<(), Call> {
        let sent = self.queue.try_send(call).map_err(TrySendError::into_inner);
        if let Err(Call { waits: None, .. }) = &sent {
            self.missed.notify_one();
        }
        sent
    }
}

/// The link's end of the queue.
#[derive(Debug)]
pub struct Called {
    pub(super) queue: mpsc::Receiver<Call>,
    pub(super) missed: Arc<Notify>,
}

/// What the link to the node reports.
#[derive(Debug)]
pub enum News {
    /// It is there; all it knows.
    Up {
        /// Of its snapshot.
        rooms: Vec<RoomSnapshot>,
    },
    /// Commands were lost on the way to it, and nothing else: all it knows by now.
    Again {
        /// Of its snapshot.
        rooms: Vec<RoomSnapshot>,
    },
    /// It is away.
    Down,
    /// A reply.
    Reply {
        /// Where it goes.
        room: RoomId,
        /// Of which command.
        op: Op,
        /// What came of it.
        result: Result<Reply, ControlError>,
    },
    /// Something happened in it.
    Event(Event),
}

/// Both ends of the queue of commands.
pub fn calls() -> (Calls, Called) {
    let (sender, receiver) = mpsc::channel(CALLS_LEN);
    let missed = Arc::<Notify>::default();
    let calls = Calls {
        queue: sender,
        missed: missed.clone(),
    };
    let called = Called {
        queue: receiver,
        missed,
    };
    (calls, called)
}
