//! Which connections are let in, and how long one may hold up what it is sent.
//!
//! A connection is a file, and files are what a server runs out of: so there are fewer places than files, and nobody has all of them. Who opens one and
//! says nothing has it for as long as a head may take; who asks and does not read, until [`UNREAD_TIME_MAX`] is over.

use std::{
    io,
    net::{IpAddr, SocketAddr, TcpListener},
    num::NonZeroU32,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use axum_server::accept::Accept;
use governor::{DefaultDirectRateLimiter, DefaultKeyedRateLimiter, Quota, RateLimiter};
use rustix::net::sockopt;
use sfu::driver::gate::source_of;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Sleep, sleep},
};

use super::metrics::Metrics;

/// Connections of one source in a second, and at once after a pause: a province behind one proxy joins with fewer. Above it they are closed. Silent ones live for
/// ten seconds, so one source holds some 3,000 of 4,000 places at most.
const PER_SECOND: NonZeroU32 = NonZeroU32::new(200).expect("not zero");
const BURST: NonZeroU32 = NonZeroU32::new(1_000).expect("not zero");

/// Connections that the kernel keeps until they are accepted, if `net.core.somaxconn` lets it. It drops what comes beyond, and a client tries again after a second: with the 128 of the
/// standard library the last of 239 who join at once came a second late.
const BACKLOG: i32 = 4_096;

/// Sources that are remembered before those without recent connections are forgotten.
const SOURCES_MAX: usize = 10_000;

/// Longest time until the head of a request is there.
pub(super) const HEAD_TIME_MAX: Duration = Duration::from_secs(10);

/// What was sent and is not read for so long ends a connection (`TCP_USER_TIMEOUT`).
const UNREAD_TIME_MAX: Duration = Duration::from_secs(20);

/// A listener to be given to a server.
pub(super) fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let listener = TcpListener::bind(address)?;
    rustix::net::listen(&listener, BACKLOG)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Lets connections of one listener in.
#[derive(Debug, Clone)]
pub(super) struct Connections(Arc<Bounds>);

#[derive(Debug)]
struct Bounds {
    places: Arc<Semaphore>,
    rate: DefaultKeyedRateLimiter<IpAddr>,
    /// That some were refused is said once a minute.
    said: DefaultDirectRateLimiter,
    metrics: Arc<Metrics>,
}

/// Why a connection is closed at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Refused {
    Full,
    Rate,
}

impl Refused {
    /// Label of the counter.
    const fn as_str(self) -> &'static str {
        match self {
            Self::Full => "connections_full",
            Self::Rate => "connections_rate",
        }
    }
}

impl Connections {
    /// At most `most` at a time.
    pub(super) fn new(most: usize, metrics: Arc<Metrics>) -> Self {
        Self(Arc::new(Bounds {
            places: Arc::new(Semaphore::new(most)),
            rate: RateLimiter::keyed(Quota::per_second(PER_SECOND).allow_burst(BURST)),
            said: RateLimiter::direct(Quota::per_minute(NonZeroU32::MIN)),
            metrics,
        }))
    }

    fn admit(&self, source: IpAddr) -> Result<OwnedSemaphorePermit, Refused> {
        let Bounds { places, rate, .. } = &*self.0;
        if rate.len() > SOURCES_MAX {
            rate.retain_recent();
        }
        let refused = if rate.check_key(&source_of(source)).is_err() {
            Refused::Rate
        } else {
            match places.clone().try_acquire_owned() {
                Ok(place) => return Ok(place),
                Err(_) => Refused::Full,
            }
        };
        self.0
            .metrics
            .refusals
            .with_label_values(&[refused.as_str()])
            .inc();
        if self.0.said.check().is_ok() {
            tracing::warn!(
                reason = refused.as_str(),
                "connections are refused: more than there are places for, or too many from one source"
            );
        }
        Err(refused)
    }

    fn let_in(&self, stream: &TcpStream) -> io::Result<OwnedSemaphorePermit> {
        let source = stream.peer_addr()?.ip();
        let place = self
            .admit(source)
            .map_err(|refused| io::Error::other(refused.as_str()))?;
        // A page is told things in several small writes: none waits for the acknowledgement of the one before.
        stream.set_nodelay(true)?;
        let millis = u32::try_from(UNREAD_TIME_MAX.as_millis()).unwrap_or(u32::MAX);
        sockopt::set_tcp_user_timeout(stream, millis)?;
        Ok(place)
    }
}

/// HTTP/1 alone, which is all that pages, cameras and metrics need. The server behind it finds out by the first bytes which version is spoken, and waits for
/// them without end, as it does for what HTTP/2 has to say.
#[derive(Debug, Clone)]
pub(super) struct Http1<A> {
    connections: Connections,
    /// What lies between a connection and HTTP.
    inner: A,
}

impl<A> Http1<A> {
    /// Over what `inner` makes of those that are let in.
    pub(super) fn new(connections: Connections, inner: A) -> Self {
        Self { connections, inner }
    }
}

impl<A, S> Accept<TcpStream, S> for Http1<A>
where
    A: Accept<TcpStream, S>,
    A::Future: Send + 'static,
{
    type Stream = Opening<A::Stream>;
    type Service = A::Service;
    type Future = Pin<Box<dyn Future<Output = io::Result<(Self::Stream, Self::Service)>> + Send>>;

    fn accept(&self, stream: TcpStream, service: S) -> Self::Future {
        let place = self.connections.let_in(&stream);
        let accepted = place.map(|place| (place, self.inner.accept(stream, service)));
        Box::pin(async move {
            let (place, accepted) = accepted?;
            let (stream, service) = accepted.await?;
            Ok((Opening::new(stream, HEAD_TIME_MAX, Some(place)), service))
        })
    }
}

/// A connection with its place, whose first bytes are looked at.
#[derive(Debug)]
pub(super) struct Opening<S> {
    stream: S,
    first: Option<First>,
    _place: Option<OwnedSemaphorePermit>,
}

/// The first bytes are not there yet.
#[derive(Debug)]
struct First {
    over: Pin<Box<Sleep>>,
    bytes: [u8; VERSION.len()],
    length: usize,
}

/// What HTTP/2 begins with (RFC 9113 §3.4), as far as no request does.
const VERSION: [u8; 3] = *b"PRI";

impl<S> Opening<S> {
    fn new(stream: S, time_max: Duration, place: Option<OwnedSemaphorePermit>) -> Self {
        let first = First {
            over: Box::pin(sleep(time_max)),
            bytes: [0; VERSION.len()],
            length: 0,
        };
        Self {
            stream,
            first: Some(first),
            _place: place,
        }
    }

    fn look(&mut self, read: &[u8]) -> io::Result<()> {
        let Some(first) = &mut self.first else {
            return Ok(());
        };
        for (place, byte) in first.bytes.iter_mut().skip(first.length).zip(read) {
            *place = *byte;
        }
        first.length += read.len();
        if first.bytes == VERSION {
            return Err(io::Error::other("HTTP/2 is not spoken here"));
        }
        if first.length >= VERSION.len() {
            self.first = None;
        }
        Ok(())
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Opening<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Some(first) = &mut self.first
            && first.over.as_mut().poll(context).is_ready()
        {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        Poll::Ready(self.look(&buffer.filled()[before..]))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Opening<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_bounded_and_no_source_has_all_of_them() {
        let connections = Connections::new(1_500, Arc::new(Metrics::new()));
        let (greedy, other): (IpAddr, IpAddr) = ([10, 0, 0, 1].into(), [10, 0, 0, 2].into());
        let mut held: Vec<_> = (0..1_400)
            .filter_map(|_| connections.admit(greedy).ok())
            .collect();
        assert!((1_000..1_300).contains(&held.len()), "{}", held.len());
        let free = 1_500 - held.len();
        held.extend((0..free).map(|_| connections.admit(other).expect("a place")));
        assert_eq!(connections.admit(other).err(), Some(Refused::Full));
        held.pop();
        assert!(connections.admit(other).is_ok());
    }

    #[test]
    fn a_province_that_connects_at_once_waits_in_line() {
        let listener = bind(([127, 0, 0, 1], 0).into()).expect("a port");
        let address = listener.local_addr().expect("it has one");
        // Nobody accepts: what finds no place in the line gets no answer, however long it tries.
        let connect = |_| std::net::TcpStream::connect_timeout(&address, Duration::from_secs(10));
        let connected: io::Result<Vec<_>> = (0..400).map(connect).collect();
        assert_eq!(connected.expect("all are in line").len(), 400);
    }

    #[tokio::test]
    async fn who_says_nothing_or_speaks_another_version_is_closed_and_requests_pass() {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        const SOON: Duration = Duration::from_millis(50);
        let talk = async |pieces: &[&str]| {
            let (mut client, server) = tokio::io::duplex(64);
            for piece in pieces {
                client.write_all(piece.as_bytes()).await.expect("room for it");
            }
            let mut opening = Opening::new(server, SOON, None);
            let mut bytes = vec![0; pieces.concat().len() + 1];
            let mut read = 0;
            // The client stays: what comes behind its last byte is an error or nothing.
            while read < bytes.len() - 1 {
                read += opening.read(&mut bytes[read..]).await?;
            }
            let more = tokio::time::timeout(2 * SOON, opening.read(&mut bytes)).await;
            more.map_or(Ok(read), |more| more.map(|more| read + more))
        };
        let kind = |said: io::Result<usize>| said.map_err(|error| error.kind());
        assert_eq!(kind(talk(&[]).await), Err(io::ErrorKind::TimedOut));
        assert_eq!(kind(talk(&["P"]).await), Err(io::ErrorKind::TimedOut));
        assert_eq!(kind(talk(&["PRI * HTTP/2.0"]).await), Err(io::ErrorKind::Other));
        assert_eq!(kind(talk(&["P", "OST / "]).await), Ok(7));
        assert_eq!(kind(talk(&["GET / HTTP/1.1"]).await), Ok(14));
    }
}
