//! Room for what a socket has, taken in batches and in runs that the kernel joined.

use std::{io::IoSliceMut, time::Duration};

use mio::net::UdpSocket;
use quinn_udp::{BATCH_SIZE, RecvMeta, UdpSockRef, UdpSocketState};

/// Bytes of one buffer: the longest run that the kernel joins fits.
const BUFFER_BYTES: usize = 1 << 16;

/// One batch, for all sockets of a loop in turn.
pub(super) struct Batch {
    bytes: Vec<u8>,
    metas: [RecvMeta; BATCH_SIZE],
    filled: usize,
}

impl Batch {
    pub(super) fn new() -> Self {
        Self {
            bytes: vec![0; BUFFER_BYTES * BATCH_SIZE],
            metas: [RecvMeta::default(); BATCH_SIZE],
            filled: 0,
        }
    }

    /// Takes what is there. False: nothing was.
    pub(super) fn fill(&mut self, socket: &UdpSocket, state: &UdpSocketState) -> bool {
        let mut rest = self.bytes.chunks_exact_mut(BUFFER_BYTES);
        let mut slices: [IoSliceMut<'_>; BATCH_SIZE] =
            std::array::from_fn(|_| IoSliceMut::new(rest.next().unwrap_or_default()));
        // An error is the echo of a former send (ICMP), or nothing to read.
        self.filled = state
            .recv(UdpSockRef::from(socket), &mut slices, &mut self.metas)
            .unwrap_or(0);
        self.filled > 0
    }

    /// More may be there.
    pub(super) fn is_full(&self) -> bool {
        self.filled == BATCH_SIZE
    }

    /// The datagrams in the order of their arrival, with the time of day at which the kernel had them, where it tells.
    pub(super) fn datagrams(&mut self) -> impl Iterator<Item = (Option<Duration>, &mut [u8])> {
        let buffers = self.bytes.chunks_exact_mut(BUFFER_BYTES);
        buffers
            .zip(&self.metas[..self.filled])
            .flat_map(|(buffer, meta)| {
                let joined = &mut buffer[..meta.len.min(BUFFER_BYTES)];
                let parts = joined.chunks_mut(meta.stride.max(1));
                parts.map(|datagram| (meta.timestamp, datagram))
            })
    }
}
