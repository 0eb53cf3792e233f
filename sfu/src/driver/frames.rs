//! Control messages over a Unix socket, one JSON object a line, or over an in-process channel: the two sides of this
//! module are the same for whoever uses them.

use std::io;

use serde::{Serialize, de::DeserializeOwned};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::{
        UnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::mpsc,
};

use crate::control::FRAME_BYTES_MAX;

/// Messages an in-process channel holds each way. Full: the sender waits, as it does on a socket whose other end does
/// not read.
const CHANNEL_LEN: usize = 256;

/// Why a connection cannot go on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FrameError {
    /// Longer than [`FRAME_BYTES_MAX`].
    #[error("frame is longer than {FRAME_BYTES_MAX} bytes")]
    TooLong,
    /// Not a message of this protocol. The text says where, never what.
    #[error("frame is not a message: line {line}, column {column}")]
    NoMessage {
        /// Of the frame.
        line: usize,
        /// Of the frame.
        column: usize,
    },
    /// The socket failed.
    #[error("connection failed: {0}")]
    Io(#[from] io::Error),
    /// The other end is gone.
    #[error("connection closed")]
    Closed,
}

impl From<serde_json::Error> for FrameError {
    fn from(error: serde_json::Error) -> Self {
        Self::NoMessage {
            line: error.line(),
            column: error.column(),
        }
    }
}

/// Where messages come from.
pub(crate) enum Incoming<T> {
    /// A socket, and the bytes of the frame that is not whole yet.
    Lines(BufReader<OwnedReadHalf>, Vec<u8>),
    /// The same process.
    Channel(mpsc::Receiver<T>),
}

/// Where messages go.
pub(crate) enum Outgoing<T> {
    /// A socket, and the buffer frames are written in.
    Lines(OwnedWriteHalf, Vec<u8>),
    /// The same process.
    Channel(mpsc::Sender<T>),
}

/// Both directions of one connection.
pub(crate) struct Connection<In, Out> {
    /// From the other side.
    pub(crate) incoming: Incoming<In>,
    /// To the other side.
    pub(crate) outgoing: Outgoing<Out>,
}

impl<In, Out> Connection<In, Out> {
    /// Over a socket.
    pub(crate) fn over(stream: UnixStream) -> Self {
        let (read, write) = stream.into_split();
        Self {
            incoming: Incoming::Lines(BufReader::with_capacity(64 << 10, read), Vec::new()),
            outgoing: Outgoing::Lines(write, Vec::new()),
        }
    }

    /// Both ends of a connection within the process.
    pub(crate) fn pair() -> (Self, Connection<Out, In>) {
        let (to_a, from_b) = mpsc::channel(CHANNEL_LEN);
        let (to_b, from_a) = mpsc::channel(CHANNEL_LEN);
        (
            Self {
                incoming: Incoming::Channel(from_b),
                outgoing: Outgoing::Channel(to_b),
            },
            Connection {
                incoming: Incoming::Channel(from_a),
                outgoing: Outgoing::Channel(to_a),
            },
        )
    }
}

impl<T: DeserializeOwned> Incoming<T> {
    /// The next message; [`FrameError::Closed`] at the end. May be dropped while it waits: nothing is lost.
    pub(crate) async fn next(&mut self) -> Result<T, FrameError> {
        let (reader, partial) = match self {
            Self::Channel(receiver) => return receiver.recv().await.ok_or(FrameError::Closed),
            Self::Lines(reader, partial) => (reader, partial),
        };
        loop {
            let available = reader.fill_buf().await?;
            if available.is_empty() {
                return Err(FrameError::Closed);
            }
            let end = available.iter().position(|&byte| byte == b'\n');
            let taken = end.map_or(available.len(), |end| end + 1);
            if partial.len() + taken > FRAME_BYTES_MAX {
                return Err(FrameError::TooLong);
            }
            partial.extend_from_slice(&available[..taken]);
            reader.consume(taken);
            if end.is_some() {
                let message = serde_json::from_slice(partial)?;
                partial.clear();
                partial.shrink_to(64 << 10);
                return Ok(message);
            }
        }
    }
}

impl<T: Serialize> Outgoing<T> {
    /// Sends a message; waits while the other end does not read. Dropped while it waits, the connection must be closed.
    pub(crate) async fn send(&mut self, message: T) -> Result<(), FrameError> {
        let (writer, buffer) = match self {
            Self::Channel(sender) => return sender.send(message).await.map_err(|_| FrameError::Closed),
            Self::Lines(writer, buffer) => (writer, buffer),
        };
        buffer.clear();
        buffer.shrink_to(64 << 10);
        serde_json::to_writer(&mut *buffer, &message)?;
        buffer.push(b'\n');
        if buffer.len() > FRAME_BYTES_MAX {
            return Err(FrameError::TooLong);
        }
        Ok(writer.write_all(buffer).await?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn messages_arrive_whole_however_they_are_cut() {
        let (a, mut b) = UnixStream::pair().expect("a pair of sockets");
        let mut connection = Connection::<Vec<u32>, Vec<u32>>::over(a);
        for piece in [&b"[1,"[..], b"2]\n[", b"3]\n"] {
            b.write_all(piece).await.expect("written");
        }
        assert_eq!(connection.incoming.next().await.expect("a message"), [1, 2]);
        assert_eq!(connection.incoming.next().await.expect("a message"), [3]);
        drop(b);
        assert!(matches!(
            connection.incoming.next().await,
            Err(FrameError::Closed)
        ));
    }

    #[tokio::test]
    async fn what_is_no_message_ends_the_connection_without_being_repeated() {
        let (a, mut b) = UnixStream::pair().expect("a pair of sockets");
        let mut connection = Connection::<Vec<u32>, Vec<u32>>::over(a);
        b.write_all(b"\"secret\"\n").await.expect("written");
        let error = connection.incoming.next().await.expect_err("no list");
        assert!(!error.to_string().contains("secret"), "{error}");
    }

    #[tokio::test]
    async fn an_endless_frame_is_refused() {
        let (a, mut b) = UnixStream::pair().expect("a pair of sockets");
        let mut connection = Connection::<Vec<u32>, Vec<u32>>::over(a);
        let writer = tokio::spawn(async move {
            let chunk = vec![b' '; 1 << 20];
            while b.write_all(&chunk).await.is_ok() {}
        });
        assert!(matches!(
            connection.incoming.next().await,
            Err(FrameError::TooLong)
        ));
        drop(connection);
        writer.await.expect("ended by the closed socket");
    }
}
