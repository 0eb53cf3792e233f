//! Sockets that something is sent to, and a thread that sleeps until it comes and throws it away.

use std::{
    io::{self, IoSliceMut},
    net::{SocketAddr, SocketAddrV4, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
};

use quinn_udp::{BATCH_SIZE, RecvMeta, UdpSockRef, UdpSocketState};
use rustix::event::{Timespec, epoll};

/// Longest sleep, so that the end is noticed.
const SLEEP: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 20_000_000,
};
/// Of each socket; the kernel gives what its limits allow.
const BUFFER_BYTES: usize = 1 << 20;
/// Sockets looked at after one wake-up.
const EVENTS: usize = 256;

/// The sockets and their thread, which ends when this is dropped.
pub(super) struct Receivers {
    addresses: Vec<SocketAddrV4>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Receivers {
    /// Opens `count` sockets; with `joined` the kernel gives them whole runs (`UDP_GRO`).
    pub(super) fn start(count: usize, joined: bool) -> io::Result<Self> {
        let poll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let (mut sockets, mut addresses) = (Vec::new(), Vec::new());
        for at in 0..count {
            let socket = UdpSocket::bind("127.0.0.1:0")?;
            socket.set_nonblocking(true)?;
            socket2::SockRef::from(&socket).set_recv_buffer_size(BUFFER_BYTES)?;
            if let SocketAddr::V4(address) = socket.local_addr()? {
                addresses.push(address);
            }
            epoll::add(
                &poll,
                &socket,
                epoll::EventData::new_u64(at as u64),
                epoll::EventFlags::IN,
            )?;
            let state = match joined {
                true => Some(UdpSocketState::new(UdpSockRef::from(&socket))?),
                false => None,
            };
            sockets.push((socket, state));
        }
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            let mut bin = Bin::default();
            let mut events = Vec::with_capacity(EVENTS);
            while !stopped.load(Ordering::Relaxed) {
                events.clear();
                let room = rustix::buffer::spare_capacity(&mut events);
                if epoll::wait(&poll, room, Some(&SLEEP)).is_err() {
                    continue; // interrupted
                }
                for event in &events {
                    let (socket, state) = &sockets[event.data.u64() as usize];
                    bin.empty(socket, state.as_ref());
                }
            }
        });
        Ok(Self {
            addresses,
            stop,
            thread: Some(thread),
        })
    }

    /// Where they listen.
    pub(super) fn addresses(&self) -> &[SocketAddrV4] {
        &self.addresses
    }
}

impl Drop for Receivers {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Room for what is thrown away.
struct Bin {
    bytes: Vec<u8>,
    metas: [RecvMeta; BATCH_SIZE],
}

impl Default for Bin {
    fn default() -> Self {
        Self {
            bytes: vec![0; BATCH_SIZE << 16],
            metas: [RecvMeta::default(); BATCH_SIZE],
        }
    }
}

impl Bin {
    fn empty(&mut self, socket: &UdpSocket, state: Option<&UdpSocketState>) {
        let Some(state) = state else {
            while socket.recv(&mut self.bytes).is_ok() {}
            return;
        };
        loop {
            let mut rest = self.bytes.chunks_exact_mut(1 << 16);
            let mut slices: [IoSliceMut<'_>; BATCH_SIZE] =
                std::array::from_fn(|_| IoSliceMut::new(rest.next().unwrap_or_default()));
            if state
                .recv(UdpSockRef::from(socket), &mut slices, &mut self.metas)
                .is_err()
            {
                return;
            }
        }
    }
}
