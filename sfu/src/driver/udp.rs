//! Sockets that take and give datagrams in batches, and never make the loop wait.
//!
//! One socket per address, each bound to it: from a wildcard socket the kernel may answer from another address than the
//! one the client speaks to, and the client ignores it.

#[cfg(target_os = "linux")]
mod mmsg;
mod segments;

use std::{
    io::{self, IoSliceMut},
    net::{IpAddr, SocketAddr},
    sync::Once,
    time::Instant,
};

use mio::net::UdpSocket;
use quinn_udp::{BATCH_SIZE, RecvMeta, UdpSockRef, UdpSocketState};
#[cfg(target_os = "linux")]
use rustix::net::sockopt;
use segments::{Segments, say_unsegmented, send_by};
use socket2::{Domain, Protocol, SockAddr, Type};

/// Bytes of one receive buffer: what the kernel joins of one sender's datagrams fits.
const BUFFER_BYTES: usize = 1 << 16;

/// Largest payload of one send, all segments together (65,535 less the headers of IPv4 and UDP).
pub(crate) const SEND_BYTES_MAX: usize = 65_507;

/// Most datagrams of one run: what the kernel takes (`UDP_MAX_SEGMENTS` of older ones).
const SEGMENTS_MAX: usize = 64;

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

/// Those of the addresses that this machine has.
pub(crate) fn still_here(addresses: &[IpAddr]) -> Vec<IpAddr> {
    let is_here = |&&address: &&IpAddr| {
        let error = std::net::UdpSocket::bind((address, 0)).err();
        error.is_none_or(|error| error.kind() != io::ErrorKind::AddrNotAvailable)
    };
    addresses.iter().filter(is_here).copied().collect()
}

fn bind(address: SocketAddr, buffer_bytes: usize) -> io::Result<Bound> {
    let socket = socket2::Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&SockAddr::from(address))?;
    // The kernel gives what its limits allow, or all to whoever may administer the network; what it gave is read back.
    #[cfg(target_os = "linux")]
    let forced = sockopt::set_socket_recv_buffer_size_force(&socket, buffer_bytes).is_ok();
    #[cfg(not(target_os = "linux"))]
    let forced = false;
    if !forced {
        socket.set_recv_buffer_size(buffer_bytes)?;
    }
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
    segments: Segments,
}

/// What a look at a socket left there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Left {
    /// Nothing.
    Nothing,
    /// There may be more.
    Some,
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
    /// Of a bound one.
    pub(crate) fn new(bound: Bound) -> io::Result<Self> {
        let socket = UdpSocket::from_std(bound.socket);
        let state = UdpSocketState::new(UdpSockRef::from(&socket))?;
        #[cfg(target_os = "linux")]
        {
            use std::os::fd::AsFd as _;
            mmsg::unlike_quic(socket.as_fd(), bound.local.is_ipv4());
        }
        let segments = Segments::new(state.max_gso_segments().clamp(1, SEGMENTS_MAX));
        if segments.most.get() == 1 {
            say_unsegmented();
        }
        if state.gro_segments() == 1 {
            say_unjoined();
        }
        Ok(Self {
            socket,
            state,
            local: bound.local,
            segments,
        })
    }

    /// Where it listens.
    pub(crate) fn local(&self) -> SocketAddr {
        self.local
    }

    /// A turn begins: runs that were refused are tried again after a while.
    pub(crate) fn begin(&self, now: Instant) {
        self.segments.begin(now);
    }

    /// How many segments one send may have now: 1 for a while after the kernel refused segmentation.
    pub(crate) fn segments_max(&self) -> usize {
        self.segments.most.get()
    }

    /// What tells when it can be read.
    pub(crate) fn source(&mut self) -> &mut UdpSocket {
        &mut self.socket
    }

    /// Takes what is there, up to one batch of the kernel's.
    pub(crate) fn receive(&self, batch: &mut Batch) -> Left {
        let Batch { bytes, metas, .. } = batch;
        let mut rest = bytes.chunks_exact_mut(BUFFER_BYTES);
        let mut slices: [IoSliceMut<'_>; BATCH_SIZE] =
            std::array::from_fn(|_| IoSliceMut::new(rest.next().unwrap_or_default()));
        let received = self
            .state
            .recv(UdpSockRef::from(&self.socket), &mut slices, metas);
        let (filled, left) = match received {
            Ok(BATCH_SIZE) => (BATCH_SIZE, Left::Some),
            // Fewer than it had room for: the kernel found no more.
            Ok(filled) => (filled, Left::Nothing),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => (0, Left::Nothing),
            // The echo of a former send (ICMP), which is told once.
            Err(_) => (0, Left::Some),
        };
        batch.filled = filled;
        left
    }

    /// Sends messages in their order, as many with one system call as the kernel takes, and tells what became of each.
    pub(crate) fn send_all(
        &self,
        messages: &[Message],
        arena: &[u8],
        told: impl FnMut(&Message, Sent),
    ) -> u64 {
        send_by(|rest| self.attempt(rest, arena), &self.segments, messages, told)
    }

    /// One system call for the first of the messages: how many went.
    #[cfg(target_os = "linux")]
    fn attempt(&self, messages: &[Message], arena: &[u8]) -> io::Result<usize> {
        use std::os::fd::AsFd as _;
        let items = messages.iter().map(|message| mmsg::Item {
            to: message.to,
            contents: &arena[message.range()],
            segment: (message.count > 1).then_some(message.segment),
        });
        // Nobody waits until it can be written to: what finds no room is dropped.
        mmsg::send(self.socket.as_fd(), items)
    }

    /// One system call for the first message.
    #[cfg(not(target_os = "linux"))]
    fn attempt(&self, messages: &[Message], arena: &[u8]) -> io::Result<usize> {
        let message = &messages[0];
        let transmit = quinn_udp::Transmit {
            destination: message.to,
            ecn: None,
            contents: &arena[message.range()],
            segment_size: (message.count > 1).then_some(message.segment.into()),
            src_ip: None,
        };
        self.state.try_send(UdpSockRef::from(&self.socket), &transmit)?;
        Ok(1)
    }
}

/// The same of what comes in.
fn say_unjoined() {
    static SAID: Once = Once::new();
    SAID.call_once(|| {
        tracing::warn!("the kernel does not join what comes in (UDP_GRO): packets are taken one by one");
    });
}

/// One datagram in an arena, or a run of them to the same place: all of `segment` bytes, the last may be shorter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Message {
    /// Where to.
    pub(crate) to: SocketAddr,
    /// Where it begins in the arena.
    pub(crate) start: u32,
    /// Bytes of all of it, at most [`SEND_BYTES_MAX`].
    pub(crate) length: u32,
    /// Bytes of each datagram but the last.
    pub(crate) segment: u16,
    /// How many datagrams.
    pub(crate) count: u16,
}

impl Message {
    fn range(&self) -> std::ops::Range<usize> {
        let start = self.start as usize;
        start..start + self.length as usize
    }

    /// Its datagrams, each as a message.
    fn parts(&self) -> impl Iterator<Item = Self> + use<> {
        let (run, end) = (*self, self.start + self.length);
        (0..u32::from(run.count)).map(move |part| {
            let start = run.start + part * u32::from(run.segment);
            Self {
                start,
                length: end.saturating_sub(start).min(run.segment.into()),
                count: 1,
                ..run
            }
        })
    }
}

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

    #[test]
    fn a_run_of_segments_arrives_as_its_datagrams() {
        let mut bound = bind_all(&[loopback(), loopback()][..1], 0, 1 << 20).expect("bound");
        let sender = Socket::new(bound.remove(0)).expect("a socket");
        let mut bound = bind_all(&[loopback()], 0, 1 << 20).expect("bound");
        let receiver = Socket::new(bound.remove(0)).expect("a socket");
        let sent: Vec<u8> = (0..=250).collect();
        let run = Message {
            to: receiver.local(),
            start: 0,
            length: 251,
            segment: 100,
            count: 3,
        };
        // What the kernel would not segment goes as its parts.
        let mut told = Vec::new();
        let refuses = |rest: &[Message]| match rest[0].count {
            1 => sender.attempt(&rest[..1], &sent),
            _ => Err(io::Error::from_raw_os_error(5)), // EIO
        };
        let calls = send_by(refuses, &sender.segments, &[run], |_, sent| told.push(sent));
        assert_eq!((calls, &told[..]), (4, &[Sent::Yes][..]));
        assert_eq!(
            sender.segments_max(),
            1,
            "a kernel that refused the first is not asked again at once"
        );
        let mut told = Vec::new();
        sender.segments.most.set(SEGMENTS_MAX);
        sender.send_all(&[run], &sent, |_, sent| told.push(sent));
        assert_eq!(told, [Sent::Yes]);
        send_by(refuses, &sender.segments, &[run], |_, sent| told.push(sent));
        assert_eq!((told.len(), told[1]), (2, Sent::Yes));
        assert!(
            sender.segments_max() > 1,
            "a path that refuses takes nothing from the others"
        );
        let mut batch = Batch::new();
        let mut seen: Vec<Vec<u8>> = Vec::new();
        while seen.len() < 9 {
            receiver.receive(&mut batch);
            for (from, datagram) in batch.datagrams() {
                assert_eq!(from, sender.local());
                seen.push(datagram.to_vec());
            }
        }
        let lengths: Vec<usize> = seen.iter().map(Vec::len).collect();
        assert_eq!(lengths, [100, 100, 51].repeat(3));
        assert_eq!(seen.concat(), sent.repeat(3));
    }

    #[test]
    fn a_send_to_nowhere_is_an_answer_not_an_end() {
        let mut bound = bind_all(&[loopback()], 0, 1 << 20).expect("bound");
        let socket = Socket::new(bound.remove(0)).expect("a socket");
        let to = |to: &str, start| Message {
            to: to.parse().expect("address"),
            start,
            length: 10,
            segment: 5,
            count: 2,
        };
        let own = socket.local().to_string();
        let messages = [
            to(&own, 0),
            to("[::1]:9", 10),
            to("127.0.0.1:0", 20),
            to(&own, 30),
        ];
        let mut told = Vec::new();
        socket.send_all(&messages, &[0; 40], |message, sent| {
            told.push((message.start, sent))
        });
        let expected = [
            (0, Sent::Yes),
            (10, Sent::Failed),
            (20, Sent::Failed),
            (30, Sent::Yes),
        ];
        assert_eq!(told, expected);
        assert!(
            socket.segments_max() > 1,
            "nobody's address takes the segmentation from the others"
        );
    }

    #[test]
    fn many_messages_go_with_few_calls() {
        let mut bound = bind_all(&[loopback()], 0, 1 << 20).expect("bound");
        let socket = Socket::new(bound.remove(0)).expect("a socket");
        let message = |at: u32| Message {
            to: socket.local(),
            start: at,
            length: 1,
            segment: 1,
            count: 1,
        };
        let messages: Vec<Message> = (0..100).map(message).collect();
        let arena: Vec<u8> = (0..100).collect();
        let mut count = 0;
        let calls = socket.send_all(&messages, &arena, |_, sent| {
            count += usize::from(sent == Sent::Yes)
        });
        assert_eq!(count, 100);
        assert_eq!(calls, if cfg!(target_os = "linux") { 7 } else { 100 });
    }
}
