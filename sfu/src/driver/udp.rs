//! Sockets that take and give datagrams in batches, and never make the loop wait.
//!
//! One socket per address, each bound to it: from a wildcard socket the kernel may answer from another address than the
//! one the client speaks to, and the client ignores it.

use std::{
    io::{self, IoSliceMut},
    net::{IpAddr, SocketAddr},
    task::{Context, Poll},
};

use quinn_udp::{BATCH_SIZE, RecvMeta, Transmit, UdpSockRef, UdpSocketState};
use socket2::{Domain, Protocol, SockAddr, Type};
use tokio::{io::Interest, net::UdpSocket};

/// Bytes of one receive buffer: what the kernel joins of one sender's datagrams fits.
const BUFFER_BYTES: usize = 1 << 16;

/// Largest payload of one send, all segments together (65,535 less the headers of IPv4 and UDP).
pub(crate) const SEND_BYTES_MAX: usize = 65_507;

/// How often another ephemeral port is tried when one address has it taken.
const PORT_TRIES: u32 = 16;

/// A bound socket before it has a loop to live in.
#[derive(Debug)]
pub(crate) struct Bound {
    socket: std::net::UdpSocket,
    /// Where it listens.
    pub(crate) local: SocketAddr,
    /// Bytes that the kernel gave for its receive buffer.
    pub(crate) receive_bytes: usize,
    /// Bytes that the kernel gave for its send buffer.
    pub(crate) send_bytes: usize,
}

/// Binds a socket on each address, all with the same port number. 0: any that is free on all of them.
pub(crate) fn bind_all(addresses: &[IpAddr], port: u16, buffer_bytes: usize) -> io::Result<Vec<Bound>> {
    let mut tries = if port == 0 { PORT_TRIES } else { 1 };
    loop {
        tries -= 1;
        let mut bound: Vec<Bound> = Vec::new();
        let result = addresses.iter().try_for_each(|&address| {
            let port = bound.first().map_or(port, |first| first.local.port());
            bound.push(bind(SocketAddr::new(address, port), buffer_bytes)?);
            Ok(())
        });
        match result {
            Ok(()) => return Ok(bound),
            Err(error @ io::Error { .. }) if tries == 0 || error.kind() != io::ErrorKind::AddrInUse => {
                return Err(error);
            }
            Err(_) => {}
        }
    }
}

fn bind(address: SocketAddr, buffer_bytes: usize) -> io::Result<Bound> {
    let socket = socket2::Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&SockAddr::from(address))?;
    // The kernel gives what its limits allow; what it gave is read back.
    socket.set_recv_buffer_size(buffer_bytes)?;
    socket.set_send_buffer_size(buffer_bytes)?;
    // Linux reports twice what can be used.
    let (receive_bytes, send_bytes) = (socket.recv_buffer_size()? / 2, socket.send_buffer_size()? / 2);
    let socket: std::net::UdpSocket = socket.into();
    let local = socket.local_addr()?;
    Ok(Bound {
        socket,
        local,
        receive_bytes,
        send_bytes,
    })
}

/// A socket in its loop.
#[derive(Debug)]
pub(crate) struct Socket {
    socket: UdpSocket,
    state: UdpSocketState,
    local: SocketAddr,
}

/// What became of a send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sent {
    /// The kernel has it.
    Yes,
    /// The kernel's buffer is full (EAGAIN, ENOBUFS): dropped, repairs bring back what matters.
    Full,
    /// Refused for another reason, such as no route.
    Failed,
}

impl Socket {
    /// Takes a bound socket into the runtime of the caller.
    pub(crate) fn new(bound: Bound) -> io::Result<Self> {
        let socket = UdpSocket::from_std(bound.socket)?;
        let state = UdpSocketState::new(UdpSockRef::from(&socket))?;
        Ok(Self {
            socket,
            state,
            local: bound.local,
        })
    }

    /// Where it listens.
    pub(crate) fn local(&self) -> SocketAddr {
        self.local
    }

    /// How many segments one send may have now: 1 once the path refused segmentation.
    pub(crate) fn segments_max(&self) -> usize {
        self.state.max_gso_segments().clamp(1, 64)
    }

    /// Ready when a datagram may be there.
    pub(crate) fn poll_readable(&self, context: &mut Context<'_>) -> Poll<()> {
        // An error shows, and is cleared, when reading.
        self.socket.poll_recv_ready(context).map(drop)
    }

    /// Takes what is there, up to one batch of the kernel's. False: nothing was.
    pub(crate) fn receive(&self, batch: &mut Batch) -> bool {
        batch.filled = 0;
        let Batch { bytes, metas, .. } = batch;
        let mut rest = bytes.chunks_exact_mut(BUFFER_BYTES);
        let mut slices: [IoSliceMut<'_>; BATCH_SIZE] =
            std::array::from_fn(|_| IoSliceMut::new(rest.next().unwrap_or_default()));
        let received = self.socket.try_io(Interest::READABLE, || {
            self.state
                .recv(UdpSockRef::from(&self.socket), &mut slices, metas)
        });
        // An error is the echo of a former send (ICMP) or nothing to read.
        batch.filled = received.unwrap_or(0);
        batch.filled > 0
    }

    /// Sends one datagram, or several of `segment` bytes each (the last may be shorter) to the same place.
    pub(crate) fn send(&self, to: SocketAddr, contents: &[u8], segment: usize) -> Sent {
        let segment_size = (segment < contents.len()).then_some(segment);
        let transmit = Transmit {
            destination: to,
            ecn: None,
            contents,
            segment_size,
            src_ip: None,
        };
        // Straight to the kernel: the runtime's notion of writable is for those who would wait.
        let attempt = self.state.try_send(UdpSockRef::from(&self.socket), &transmit);
        let Err(error) = attempt else { return Sent::Yes };
        match (error.kind(), segment_size) {
            (io::ErrorKind::WouldBlock, _) => Sent::Full,
            _ if error.raw_os_error() == Some(ENOBUFS) => Sent::Full,
            // The path takes no segmentation; the state has noted it, the caller's next runs are single.
            (_, Some(segment)) if self.segments_max() == 1 => {
                let all = contents.chunks(segment).map(|one| self.send(to, one, one.len()));
                all.fold(
                    Sent::Yes,
                    |worst, sent| if sent == Sent::Yes { worst } else { sent },
                )
            }
            _ => Sent::Failed,
        }
    }
}

/// No buffer space, on Linux.
const ENOBUFS: i32 = 105;

/// Room for one batch of datagrams.
pub(crate) struct Batch {
    bytes: Box<[u8]>,
    metas: [RecvMeta; BATCH_SIZE],
    filled: usize,
}

impl Batch {
    /// An empty one.
    pub(crate) fn new() -> Self {
        let bytes = vec![0; BUFFER_BYTES * BATCH_SIZE].into_boxed_slice();
        Self {
            bytes,
            metas: [RecvMeta::default(); BATCH_SIZE],
            filled: 0,
        }
    }

    /// The datagrams, with their senders, in the order of their arrival.
    pub(crate) fn datagrams(&mut self) -> impl Iterator<Item = (SocketAddr, &mut [u8])> {
        let buffers = self.bytes.chunks_exact_mut(BUFFER_BYTES);
        buffers
            .zip(&self.metas[..self.filled])
            .flat_map(|(buffer, meta)| {
                let joined = &mut buffer[..meta.len.min(BUFFER_BYTES)];
                joined
                    .chunks_mut(meta.stride.max(1))
                    .map(|datagram| (meta.addr, datagram))
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loopback() -> IpAddr {
        "127.0.0.1".parse().expect("address")
    }

    #[test]
    fn all_addresses_get_the_same_port() {
        let other = "127.0.0.2".parse().expect("address");
        let bound = bind_all(&[loopback(), other], 0, 1 << 20).expect("bound");
        assert_eq!(bound.len(), 2);
        assert_eq!(bound[0].local.port(), bound[1].local.port());
        assert!(
            bound
                .iter()
                .all(|bound| bound.receive_bytes > 0 && bound.send_bytes > 0)
        );
        let taken = bind_all(&[loopback()], bound[0].local.port(), 1 << 20).map(|_| ());
        assert_eq!(taken.map_err(|error| error.kind()), Err(io::ErrorKind::AddrInUse));
    }

    #[tokio::test]
    async fn a_run_of_segments_arrives_as_its_datagrams() {
        let mut bound = bind_all(&[loopback(), loopback()][..1], 0, 1 << 20).expect("bound");
        let sender = Socket::new(bound.remove(0)).expect("in the runtime");
        let mut bound = bind_all(&[loopback()], 0, 1 << 20).expect("bound");
        let receiver = Socket::new(bound.remove(0)).expect("in the runtime");
        let sent: Vec<u8> = (0..=250).collect();
        assert_eq!(sender.send(receiver.local(), &sent, 100), Sent::Yes);
        let mut batch = Batch::new();
        let mut seen: Vec<Vec<u8>> = Vec::new();
        while seen.len() < 3 {
            std::future::poll_fn(|context| receiver.poll_readable(context)).await;
            while receiver.receive(&mut batch) {
                for (from, datagram) in batch.datagrams() {
                    assert_eq!(from, sender.local());
                    seen.push(datagram.to_vec());
                }
            }
        }
        assert_eq!(seen.iter().map(Vec::len).collect::<Vec<_>>(), [100, 100, 51]);
        assert_eq!(seen.concat(), sent);
    }

    #[tokio::test]
    async fn a_send_to_nowhere_is_an_answer_not_an_end() {
        let mut bound = bind_all(&[loopback()], 0, 1 << 20).expect("bound");
        let socket = Socket::new(bound.remove(0)).expect("in the runtime");
        let v6 = "[::1]:9".parse().expect("address");
        assert_eq!(socket.send(v6, &[0; 10], 10), Sent::Failed);
    }
}
