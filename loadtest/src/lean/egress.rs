//! What a point sends: sealed where it stands, and given to the kernel in runs of equal packets.

use std::net::SocketAddr;

use mio::net::UdpSocket;
use quinn_udp::{Transmit, UdpSockRef, UdpSocketState};
use rtc::{
    rtp::Packet,
    shared::marshal::{Marshal as _, MarshalSize as _},
};
use sfu::wire::srtp::{RTCP_OVERHEAD_MAX, RTP_OVERHEAD_MAX, Sealer};

/// Largest payload of one send.
const RUN_BYTES_MAX: usize = 65_507;
/// Longest packet, sealed.
const PACKET_BYTES_MAX: usize = 2_048;
/// Most packets of a run.
const RUN_MAX: usize = 64;

/// Room for one run.
pub(super) struct Egress {
    buffer: Vec<u8>,
    filled: usize,
    segment: usize,
    count: usize,
}

/// Whose packets, and to whom.
pub(super) struct Way<'p> {
    pub(super) socket: &'p UdpSocket,
    pub(super) state: &'p UdpSocketState,
    pub(super) to: SocketAddr,
}

impl Egress {
    pub(super) fn new() -> Self {
        Self {
            buffer: vec![0; RUN_BYTES_MAX + PACKET_BYTES_MAX],
            filled: 0,
            segment: 0,
            count: 0,
        }
    }

    /// Seals and sends packets in their order. How many could not be.
    pub(super) fn send_rtp(&mut self, way: &Way<'_>, sealer: &mut Sealer, packets: &[Packet]) -> u64 {
        let mut failed = 0;
        for packet in packets {
            let length = packet.marshal_size();
            let start = self.filled;
            let tail = &mut self.buffer[start..start + PACKET_BYTES_MAX];
            let sealed = (length + RTP_OVERHEAD_MAX <= PACKET_BYTES_MAX)
                .then(|| packet.marshal_to(&mut tail[..length]).ok())
                .flatten()
                .and_then(|length| sealer.seal_rtp(tail, length).ok());
            match sealed {
                Some(length) => failed += self.commit(way, length),
                None => failed += 1,
            }
        }
        failed + self.flush(way)
    }

    /// Seals and sends a compound.
    pub(super) fn send_rtcp(&mut self, way: &Way<'_>, sealer: &mut Sealer, compound: &[u8]) {
        if compound.len() + RTCP_OVERHEAD_MAX > PACKET_BYTES_MAX {
            return;
        }
        self.buffer[..compound.len()].copy_from_slice(compound);
        if let Ok(length) = sealer.seal_rtcp(&mut self.buffer[..PACKET_BYTES_MAX], compound.len()) {
            give(way, &self.buffer[..length], None); // said again if it is lost
        }
    }

    /// The packet at the tail is the next of the run, or the first of another.
    fn commit(&mut self, way: &Way<'_>, length: usize) -> u64 {
        let most = way.state.max_gso_segments().clamp(1, RUN_MAX);
        let fits = self.count > 0
            && self.count < most
            && length == self.segment
            && self.filled + length <= RUN_BYTES_MAX;
        let mut failed = 0;
        if !fits {
            let start = self.filled;
            failed = self.flush(way);
            self.buffer.copy_within(start..start + length, 0);
            self.segment = length;
        }
        self.filled += length;
        self.count += 1;
        failed
    }

    fn flush(&mut self, way: &Way<'_>) -> u64 {
        let segment = (self.count > 1).then_some(self.segment);
        let sent = self.count == 0 || give(way, &self.buffer[..self.filled], segment);
        let failed = if sent { 0 } else { self.count as u64 };
        (self.filled, self.segment, self.count) = (0, 0, 0);
        failed
    }
}

/// Gives the kernel a datagram, or a run of them; whether it took it.
pub(super) fn give(way: &Way<'_>, contents: &[u8], segment_size: Option<usize>) -> bool {
    let transmit = Transmit {
        destination: way.to,
        ecn: None,
        contents,
        segment_size,
        src_ip: None,
    };
    way.state
        .try_send(UdpSockRef::from(way.socket), &transmit)
        .is_ok()
}
