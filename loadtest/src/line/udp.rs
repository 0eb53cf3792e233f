//! UDP ends: one socket for all clients, and towards the server one for each, so that the server sees every client at an address of its own.

use std::{
    collections::HashMap,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket as StdSocket},
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use bytes::{Bytes, BytesMut};
use serde_json::json;
use socket2::{Domain, SockRef, Socket, Type};
use tokio::{net::UdpSocket, sync::mpsc, task::AbortHandle};

use super::{
    ends::{Arrival, BATCH, Ends},
    setting::Direction,
    state::Transmit,
};

/// Clients at once; packets of one more are refused until another has been silent for [`IDLE`].
const CLIENTS_MAX: usize = 1_024;
/// A client that neither sent nor got anything for this long is forgotten. Calls that stand send at least every 15 s (RFC 7675).
const IDLE: Duration = Duration::from_secs(60);
/// Packets from the server that wait for the loop; more wait in the sockets.
const REPLIES_MAX: usize = 1_024;
/// Bytes a socket may hold; the system may give less.
const SOCKET_BYTES: usize = 4 << 20;
/// Longest datagram.
const DATAGRAM_MAX: usize = 65_536;

/// The ends.
#[derive(Debug)]
pub(crate) struct Udp {
    front: UdpSocket,
    to: SocketAddr,
    header_bytes: usize,
    clients: HashMap<SocketAddr, Client>,
    replies: mpsc::Receiver<(SocketAddr, Bytes)>,
    reply: mpsc::Sender<(SocketAddr, Bytes)>,
    waiting: Vec<(SocketAddr, Bytes)>,
    buffer: Vec<u8>,
    refused: u64,
}

#[derive(Debug)]
struct Client {
    socket: Arc<UdpSocket>,
    seen: Instant,
    reader: AbortHandle,
}

impl Drop for Client {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

impl Udp {
    /// Listens at `listen` for clients of `to`. Needs a runtime.
    pub(crate) fn open(listen: SocketAddr, to: SocketAddr) -> anyhow::Result<Self> {
        let front = socket(listen).with_context(|| format!("cannot listen at {listen}"))?;
        let (reply, replies) = mpsc::channel(REPLIES_MAX);
        Ok(Self {
            front,
            to,
            // UDP 8, IPv4 20, IPv6 40.
            header_bytes: if to.is_ipv4() { 28 } else { 48 },
            clients: HashMap::new(),
            replies,
            reply,
            waiting: Vec::with_capacity(BATCH),
            buffer: vec![0; DATAGRAM_MAX],
            refused: 0,
        })
    }

    /// Takes what the clients have sent, at most a batch.
    fn take_front(&mut self, arrivals: &mut Vec<Arrival<SocketAddr>>) -> anyhow::Result<()> {
        let now = Instant::now();
        while arrivals.len() < BATCH {
            let (length, from) = match self.front.try_recv_from(&mut self.buffer) {
                Ok(received) => received,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                // What a client's machine said about an earlier packet.
                Err(error) if is_of_a_peer(&error) => continue,
                Err(error) => return Err(error).context("the listening socket"),
            };
            if self.greet(now, from) {
                let bytes = Bytes::copy_from_slice(&self.buffer[..length]);
                arrivals.push(self.arrival(Direction::Up, from, bytes));
            } else {
                self.refused += 1;
            }
        }
        Ok(())
    }

    fn arrival(&self, direction: Direction, flow: SocketAddr, bytes: Bytes) -> Arrival<SocketAddr> {
        let wire_bytes = bytes.len() + self.header_bytes;
        Arrival {
            direction,
            flow,
            bytes,
            wire_bytes,
        }
    }

    /// Whether the client at that address is known, now if not before.
    fn greet(&mut self, now: Instant, from: SocketAddr) -> bool {
        if let Some(client) = self.clients.get_mut(&from) {
            client.seen = now;
            return true;
        }
        if self.clients.len() >= CLIENTS_MAX {
            return false;
        }
        let Ok(socket) = upstream(self.to) else {
            return false;
        };
        let socket = Arc::new(socket);
        let reader = tokio::spawn(read_replies(Arc::clone(&socket), from, self.reply.clone()));
        let client = Client {
            socket,
            seen: now,
            reader: reader.abort_handle(),
        };
        self.clients.insert(from, client);
        true
    }
}

impl Ends for Udp {
    type Flow = SocketAddr;

    async fn receive(&mut self, arrivals: &mut Vec<Arrival<SocketAddr>>) -> anyhow::Result<()> {
        tokio::select! {
            ready = self.front.readable() => {
                ready.context("the listening socket")?;
                self.take_front(arrivals)
            }
            _ = self.replies.recv_many(&mut self.waiting, BATCH) => {
                let now = Instant::now();
                let mut waiting = std::mem::take(&mut self.waiting);
                for (flow, bytes) in waiting.drain(..) {
                    if let Some(client) = self.clients.get_mut(&flow) {
                        client.seen = now;
                        arrivals.push(self.arrival(Direction::Down, flow, bytes));
                    }
                }
                self.waiting = waiting;
                Ok(())
            }
        }
    }

    fn send(&mut self, packet: Transmit<SocketAddr>) {
        // Past the runtime, which takes a new socket for one that cannot send until it has looked at it.
        let sent = match packet.direction {
            Direction::Down => SockRef::from(&self.front).send_to(&packet.bytes, &packet.flow.into()),
            Direction::Up => match self.clients.get(&packet.flow) {
                Some(client) => SockRef::from(&*client.socket).send(&packet.bytes),
                None => return,
            },
        };
        if sent.is_err() {
            self.refused += 1;
        }
    }

    fn tidy(&mut self, now: Instant) {
        self.clients
            .retain(|_, client| now.saturating_duration_since(client.seen) < IDLE);
    }

    fn describe(&self) -> serde_json::Value {
        let listen = self.front.local_addr().map(|address| address.to_string());
        json!({ "listen": listen.unwrap_or_default(), "to": self.to.to_string() })
    }

    fn flows(&self) -> usize {
        self.clients.len()
    }

    fn take_refused(&mut self) -> u64 {
        std::mem::take(&mut self.refused)
    }
}

/// Hands on what the server sends to a client.
async fn read_replies(socket: Arc<UdpSocket>, client: SocketAddr, reply: mpsc::Sender<(SocketAddr, Bytes)>) {
    let mut buffer = BytesMut::new();
    loop {
        buffer.reserve(DATAGRAM_MAX);
        match socket.recv_buf(&mut buffer).await {
            Ok(_) => {
                // A copy of its own length: a packet that waits does not keep the buffer.
                let bytes = Bytes::copy_from_slice(&buffer);
                buffer.clear();
                if reply.send((client, bytes)).await.is_err() {
                    return;
                }
            }
            // The server is not there, or not yet.
            Err(error) if is_of_a_peer(&error) => {}
            Err(_) => return,
        }
    }
}

/// An answer of the network to an earlier packet, which says nothing about the socket.
fn is_of_a_peer(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::HostUnreachable
            | io::ErrorKind::NetworkUnreachable
    )
}

/// A socket of the machine's choice that speaks to that address alone.
fn upstream(to: SocketAddr) -> io::Result<UdpSocket> {
    let any: IpAddr = match to {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = StdSocket::from(bound(SocketAddr::new(any, 0))?);
    socket.connect(to)?;
    UdpSocket::from_std(socket)
}

fn socket(at: SocketAddr) -> io::Result<UdpSocket> {
    UdpSocket::from_std(bound(at)?.into())
}

fn bound(at: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(at), Type::DGRAM, None)?;
    socket.set_recv_buffer_size(SOCKET_BYTES)?;
    socket.set_send_buffer_size(SOCKET_BYTES)?;
    socket.set_nonblocking(true)?;
    socket.bind(&at.into())?;
    Ok(socket)
}
