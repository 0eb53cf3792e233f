//! The WebSocket itself: its handshake, and how it reads and writes without keeping room for the largest message that ever passed.
//!
//! An offer has 15 kB and its answer more than 20, once in the life of a session; all else is short. What a socket reads into and writes from grows to
//! the longest frame and stays so, for each of hundreds of pages. So long texts are written in fragments (RFC 6455 §5.4), and what was read of a
//! long one is held until the socket has found another place to read into.

use std::{
    future::poll_fn,
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
};

use axum::{body::Body, extract::Request, response::Response};
use futures_util::{
    SinkExt as _, StreamExt as _,
    stream::{SplitSink, SplitStream},
};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, BufReader, ReadBuf};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        Bytes, Error, Message, Utf8Bytes,
        handshake::server::create_response_with_body,
        protocol::{
            Role, WebSocketConfig,
            frame::{
                Frame,
                coding::{Data, OpCode},
            },
        },
    },
};

use crate::protocol::OFFER_FRAME_BYTES_MAX;

/// What one read takes at most: an offer comes in a dozen, all else in one.
const READ_BUFFER_BYTES: usize = 2 << 10;
/// What the socket takes of that at once before it knows how long a frame is: its head and no more. So what it finds room for is the frame.
const HEAD_BYTES: usize = 14;
/// Frames that gathered go with one system call up to that length.
const WRITE_BUFFER_BYTES: usize = 4 << 10;
/// Longest fragment of a text.
const FRAGMENT_BYTES: usize = 2 << 10;

/// Bytes that one message may take with the heads of its fragments. Empty fragments are no message, however many come, and whoever counts messages
/// does not see them.
const RAW_BYTES_MAX: usize = 2 * OFFER_FRAME_BYTES_MAX;

type Socket = WebSocketStream<Counted<BufReader<TokioIo<Upgraded>>>>;

/// The other side's handshake is none (RFC 6455 §4.2.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NoHandshake;

/// The answer to a handshake.
pub(super) fn answer(request: &Request) -> Result<Response, NoHandshake> {
    create_response_with_body(request, Body::empty).map_err(|_| NoHandshake)
}

/// `run` has the socket when the answer is out.
pub(super) fn open<F: Future<Output = ()> + Send + 'static>(
    mut request: Request,
    run: impl FnOnce(Sink, Source) -> F + Send + 'static,
) {
    let upgrade = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        let Ok(upgraded) = upgrade.await else {
            return; // gone before the answer
        };
        let config = WebSocketConfig::default()
            .max_message_size(Some(OFFER_FRAME_BYTES_MAX))
            .max_frame_size(Some(OFFER_FRAME_BYTES_MAX))
            .write_buffer_size(WRITE_BUFFER_BYTES)
            .read_buffer_size(HEAD_BYTES);
        let stream = BufReader::with_capacity(READ_BUFFER_BYTES, TokioIo::new(upgraded));
        let raw = Arc::new(AtomicUsize::new(0));
        let stream = Counted {
            stream,
            raw: raw.clone(),
        };
        let socket = WebSocketStream::from_raw_socket(stream, Role::Server, Some(config));
        let (sink, stream) = socket.await.split();
        let sink = Sink { sink, text: None };
        let source = Source {
            stream,
            held: None,
            raw,
        };
        run(sink, source).await;
    });
}

/// Where a session reads from.
pub(super) struct Source {
    stream: SplitStream<Socket>,
    /// A long text that was read last.
    held: Option<Utf8Bytes>,
    /// Bytes since the last whole message.
    raw: Arc<AtomicUsize>,
}

/// What is read is counted, and ends where no message can be so long.
struct Counted<S> {
    stream: S,
    raw: Arc<AtomicUsize>,
}

impl<S: AsyncRead + Unpin> AsyncRead for Counted<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        std::task::ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        let read = buffer.filled().len() - before;
        if self.raw.fetch_add(read, Ordering::Relaxed) + read > RAW_BYTES_MAX {
            return Poll::Ready(Err(io::Error::other("a message without end")));
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Counted<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

impl Source {
    /// The next message; none when the other side is gone. Where it is given up while it waits, nothing is lost.
    pub(super) async fn next(&mut self) -> Option<Result<Message, Error>> {
        let Self { stream, held, raw } = self;
        let next = poll_fn(|context| {
            let next = stream.poll_next_unpin(context);
            // The look found another place to read into, for this one was held.
            *held = None;
            next
        });
        let next = next.await;
        raw.store(0, Ordering::Relaxed);
        if let Some(Ok(Message::Text(text))) = &next
            && text.len() > READ_BUFFER_BYTES
        {
            self.held = Some(text.clone());
        }
        next
    }
}

/// Where a session writes to. Whoever is interrupted loses nothing: the next call goes on where it was.
pub(super) struct Sink {
    sink: SplitSink<Socket, Message>,
    /// A text that is not written as a whole, and how much of it is.
    text: Option<(Bytes, usize)>,
}

impl Sink {
    /// Writes a text: a short one when the sink is flushed, a long one at once, behind what was fed before.
    pub(super) async fn feed(&mut self, text: Utf8Bytes) -> Result<(), Error> {
        self.finish().await?;
        self.text = Some((text.into(), 0));
        self.finish().await
    }

    async fn finish(&mut self) -> Result<(), Error> {
        while let Some((text, written)) = &mut self.text {
            let (frame, until) = fragment(text, *written);
            let is_long = text.len() > FRAGMENT_BYTES;
            if is_long {
                self.sink.flush().await?;
            }
            self.sink.feed(Message::Frame(frame)).await?;
            *written = until;
            if until == text.len() {
                self.text = None;
            }
        }
        Ok(())
    }

    /// A message of the protocol itself, when the sink is flushed.
    pub(super) async fn control(&mut self, message: Message) -> Result<(), Error> {
        self.sink.feed(message).await
    }

    /// Everything that was fed goes.
    pub(super) async fn flush(&mut self) -> Result<(), Error> {
        self.finish().await?;
        self.sink.flush().await
    }
}

/// The part of a text that begins there, as a frame, and where the next begins. It may end amid a character (RFC 6455 §5.6).
fn fragment(text: &Bytes, start: usize) -> (Frame, usize) {
    let kind = if start == 0 { Data::Text } else { Data::Continue };
    let until = (start + FRAGMENT_BYTES).min(text.len());
    let frame = Frame::message(text.slice(start..until), OpCode::Data(kind), until == text.len());
    (frame, until)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_message_without_end_ends_the_reading() {
        use tokio::io::AsyncReadExt as _;
        let raw = Arc::new(AtomicUsize::new(0));
        let endless = tokio::io::repeat(0);
        let mut counted = Counted {
            stream: BufReader::with_capacity(READ_BUFFER_BYTES, endless),
            raw: raw.clone(),
        };
        let mut bytes = vec![0; OFFER_FRAME_BYTES_MAX];
        for _ in 0..4 {
            // Each a whole message.
            assert!(counted.read_exact(&mut bytes).await.is_ok());
            raw.store(0, Ordering::Relaxed);
        }
        assert!(
            counted
                .read_exact(&mut vec![0; 3 * OFFER_FRAME_BYTES_MAX])
                .await
                .is_err()
        );
    }

    #[test]
    fn the_fragments_of_a_text_are_the_text() {
        for length in [0, 1, 2_048, 2_049, 4_096, 21_000] {
            let text = Bytes::from(vec![b'x'; length]);
            let (mut joined, mut at) = (Vec::new(), 0);
            loop {
                let (frame, until) = fragment(&text, at);
                assert!(frame.payload().len() <= FRAGMENT_BYTES);
                let is_first = frame.header().opcode == OpCode::Data(Data::Text);
                let (is_start, is_end) = (at == 0, until == length);
                assert_eq!(
                    (is_first, frame.header().is_final),
                    (is_start, is_end),
                    "{length}"
                );
                joined.extend_from_slice(frame.payload());
                at = until;
                if frame.header().is_final {
                    break;
                }
            }
            assert_eq!(joined, text);
        }
    }
}
