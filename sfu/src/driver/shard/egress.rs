//! What goes out: for one receiver after the other, in runs of equal sizes.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    rc::Rc,
};

use super::{RoomEntry, Seat, Shard};
use crate::{
    driver::{
        metrics::Tally,
        peer::{Path, Transmit},
        udp::{SEND_BYTES_MAX, Sent, Socket},
    },
    engine::{id::EndpointId, packet::Forward},
    wire::srtp::RTP_OVERHEAD_MAX,
};

/// Longest packet that is sent, sealed. What comes in is at most 2,048 bytes, and gets less than that added.
const PACKET_BYTES_MAX: usize = 4_096;

/// The run that is being written.
pub(super) struct Egress {
    sockets: Rc<[Socket]>,
    buffer: Box<[u8]>,
    filled: usize,
    /// Bytes of the run's first packet.
    segment: usize,
    count: usize,
    /// The last packet was shorter: no other may follow it in this run.
    is_whole: bool,
}

impl Egress {
    /// With nothing written.
    pub(super) fn new(sockets: Rc<[Socket]>) -> Self {
        let buffer = vec![0; SEND_BYTES_MAX + PACKET_BYTES_MAX].into_boxed_slice();
        Self {
            sockets,
            buffer,
            filled: 0,
            segment: 0,
            count: 0,
            is_whole: false,
        }
    }

    /// Sends one datagram at once.
    pub(super) fn send(&self, transmit: &Transmit, tally: &mut Tally) {
        tally.handshake_datagrams_sent += 1;
        self.give(transmit.path, &transmit.bytes, transmit.bytes.len(), 1, tally);
    }

    /// Where the next packet is to be written.
    fn tail(&mut self) -> &mut [u8] {
        &mut self.buffer[self.filled..self.filled + PACKET_BYTES_MAX]
    }

    /// The packet at the tail is part of what goes to `path`.
    fn commit(&mut self, path: Path, length: usize, tally: &mut Tally) {
        let segments_max = self.socket(path).map_or(1, Socket::segments_max);
        let fits = self.count > 0
            && !self.is_whole
            && self.count < segments_max
            && length <= self.segment
            && self.filled + length <= SEND_BYTES_MAX;
        if !fits {
            let start = self.filled;
            self.flush(path, tally);
            self.buffer.copy_within(start..start + length, 0);
            self.segment = length;
        }
        self.is_whole = length < self.segment;
        self.filled += length;
        self.count += 1;
    }

    /// Sends the run.
    fn flush(&mut self, path: Path, tally: &mut Tally) {
        if self.count > 0 {
            self.give(path, &self.buffer[..self.filled], self.segment, self.count, tally);
        }
        (self.filled, self.segment, self.count, self.is_whole) = (0, 0, 0, false);
    }

    fn give(&self, path: Path, contents: &[u8], segment: usize, count: usize, tally: &mut Tally) {
        let sent = self
            .socket(path)
            .map_or(Sent::Failed, |socket| socket.send(path.remote, contents, segment));
        let count = count as u64;
        tally.sends += 1;
        match sent {
            Sent::Yes => {
                tally.datagrams_sent += count;
                tally.bytes_sent += contents.len() as u64;
            }
            Sent::Full => tally.send_full += count,
            Sent::Failed => tally.send_failed += count,
        }
    }

    fn socket(&self, path: Path) -> Option<&Socket> {
        self.sockets.iter().find(|socket| socket.local() == path.local)
    }
}

impl Shard {
    /// Sends all forwards of this turn, receiver by receiver, each receiver's in their order.
    pub(super) fn forward(&mut self) {
        let mut forwards = std::mem::take(&mut self.forwards);
        // Stable: the order within a stream stays.
        forwards.sort_by_key(|forward| forward.to);
        for group in forwards.chunk_by(|a, b| a.to == b.to) {
            let Some(seat) = self.seats.get_mut(&group[0].to) else {
                continue;
            };
            let Some(entry) = self.rooms.get(&seat.room) else {
                continue;
            };
            let key = seat.room;
            let (egress, tally) = (&mut self.egress, &mut self.tally);
            let written = catch_unwind(AssertUnwindSafe(|| {
                write_group(entry, seat, group, egress, tally)
            }));
            if written.is_err() && !self.broken.contains(&key) {
                self.broken.push(key);
            }
        }
        forwards.clear();
        self.forwards = forwards;
    }

    /// Seals and sends a compound RTCP packet. Without a path or keys it goes nowhere: RTCP is said again.
    pub(super) fn send_rtcp(&mut self, to: EndpointId, bytes: &[u8]) {
        let Some(seat) = self.seats.get_mut(&to) else {
            return;
        };
        let Some(path) = seat.peer.path() else { return };
        let tail = self.egress.tail();
        let Some(plain) = tail.get_mut(..bytes.len()) else {
            return;
        };
        plain.copy_from_slice(bytes);
        match seat.peer.seal_rtcp(tail, bytes.len()) {
            Ok(length) => {
                self.egress.commit(path, length, &mut self.tally);
                self.egress.flush(path, &mut self.tally);
                self.tally.rtcp_sent += 1;
                seat.sent.add(path.remote, length);
            }
            Err(_) => self.tally.not_sealed += 1,
        }
    }
}

fn write_group(
    entry: &RoomEntry,
    seat: &mut Seat,
    group: &[Forward],
    egress: &mut Egress,
    tally: &mut Tally,
) {
    let Some(path) = seat.peer.path() else {
        tally.no_path += group.len() as u64;
        return;
    };
    for forward in group {
        let payload = match forward.payload {
            Some(at) => entry.room.payload(at),
            None => Some(&[][..]),
        };
        let Some(payload) = payload else {
            tally.payload_gone += 1;
            continue;
        };
        let tail = egress.tail();
        let Some(length) = forward.write(payload, &mut tail[..PACKET_BYTES_MAX - RTP_OVERHEAD_MAX]) else {
            tally.not_written += 1;
            continue;
        };
        match seat.peer.seal_rtp(tail, length) {
            Ok(length) => {
                egress.commit(path, length, tally);
                seat.sent.add(path.remote, length);
                tally.rtp_sent[forward.purpose as usize] += 1;
            }
            Err(_) => tally.not_sealed += 1,
        }
    }
    egress.flush(path, tally);
}
