//! A session's outgoing queue: bounded in messages and bytes, never waited for.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use tokio::sync::{mpsc, watch};
use tokio_tungstenite::tungstenite::Utf8Bytes;

use crate::protocol::{CloseCode, ErrorCode};

/// Most messages waiting. Overflow: the client does not read, its session ends with [`CloseCode::SlowReader`].
pub const MESSAGES_MAX: usize = 2_048;

/// Most bytes waiting, beside the first message. Overflow: as above.
pub const BYTES_MAX: usize = 256 * 1024;

/// One thing to write.
#[derive(Debug)]
pub enum Out {
    /// A text frame.
    Text(Utf8Bytes),
    /// The end, after everything before it.
    Close(Closing),
}

/// How a session ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Closing {
    /// For the close frame.
    pub code: CloseCode,
    /// For a `bye` before it.
    pub bye: Option<ErrorCode>,
}

/// The writing end, held by whoever has something to tell.
#[derive(Debug, Clone)]
pub struct Outbox {
    queue: mpsc::Sender<Out>,
    bytes: Arc<AtomicUsize>,
    overrun: Arc<watch::Sender<bool>>,
}

/// The reading end, held by the session's task.
#[derive(Debug)]
pub struct Inbox {
    queue: mpsc::Receiver<Out>,
    bytes: Arc<AtomicUsize>,
    overrun: watch::Receiver<bool>,
}

/// Both ends of a new queue.
pub fn outbox() -> (Outbox, Inbox) {
    let (sender, receiver) = mpsc::channel(MESSAGES_MAX);
    let bytes = Arc::new(AtomicUsize::new(0));
    let (overrun, overran) = watch::channel(false);
    let outbox = Outbox {
        queue: sender,
        bytes: bytes.clone(),
        overrun: Arc::new(overrun),
    };
    (
        outbox,
        Inbox {
            queue: receiver,
            bytes,
            overrun: overran,
        },
    )
}

impl Outbox {
    /// Queues a text frame.
    pub fn send(&self, text: Utf8Bytes) {
        let length = text.len();
        let waiting = self.bytes.fetch_add(length, Ordering::Relaxed);
        let fits = waiting == 0 || waiting + length <= BYTES_MAX;
        if !fits || self.queue.try_send(Out::Text(text)).is_err() {
            self.overrun.send_replace(true);
        }
    }

    /// Queues the end.
    pub fn close(&self, code: CloseCode, bye: Option<ErrorCode>) {
        if self.queue.try_send(Out::Close(Closing { code, bye })).is_err() {
            self.overrun.send_replace(true);
        }
    }
}

impl Inbox {
    /// The next thing to write; none when nobody can send any more.
    pub async fn next(&mut self) -> Option<Out> {
        let out = self.queue.recv().await?;
        self.leave(&out);
        Some(out)
    }

    /// The next thing to write, if it waits already. (Polling [`Self::next`] once may find nothing though something waits: the
    /// runtime makes a task that has done much give way.)
    pub fn ready(&mut self) -> Option<Out> {
        let out = self.queue.try_recv().ok()?;
        self.leave(&out);
        Some(out)
    }

    fn leave(&self, out: &Out) {
        if let Out::Text(text) = out {
            self.bytes.fetch_sub(text.len(), Ordering::Relaxed);
        }
    }

    /// Tells when the queue overflows.
    pub fn overrun(&self) -> watch::Receiver<bool> {
        self.overrun.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_queue_overflows_by_messages_and_by_bytes() {
        let (outbox, inbox) = outbox();
        (0..MESSAGES_MAX).for_each(|_| outbox.send("x".into()));
        assert!(!*inbox.overrun().borrow());
        outbox.send("x".into());
        assert!(*inbox.overrun().borrow());

        let (outbox, mut inbox) = super::outbox();
        outbox.send("x".repeat(BYTES_MAX * 2).into());
        assert!(
            !*inbox.overrun().borrow(),
            "one message of any size may wait alone"
        );
        assert!(matches!(inbox.next().await, Some(Out::Text(_))));
        outbox.send("x".repeat(BYTES_MAX).into());
        outbox.send("x".into());
        assert!(*inbox.overrun().borrow());
    }
}
