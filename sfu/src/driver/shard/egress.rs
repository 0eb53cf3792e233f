//! What goes out: for one receiver after the other, in runs of equal sizes.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    rc::Rc,
};

use super::{RoomEntry, RoomKey, Seat, Shard, level::Level};
use crate::{
    driver::{
        peer::{Path, Transmit},
        tally::Tally,
        udp::{Message, SEND_BYTES_MAX, Sent, Socket},
    },
    engine::{
        id::{EndpointId, MediaKind},
        packet::{Forward, Purpose},
    },
    wire::srtp::RTP_OVERHEAD_MAX,
};

/// Longest packet that is sent, sealed. What comes in is at most 2,048 bytes, and gets less than that added.
const PACKET_BYTES_MAX: usize = 4_096;

/// Bytes of an arena: what is written before it is sent. Small enough to stay in a cache.
const ARENA_BYTES: usize = 256 << 10;

/// Runs of an arena. More are sent when they are reached, or when the turn ends.
const MESSAGES_MAX: usize = 16;

/// Forwards that a room is asked for at once, a receiver's together: they are written before the next receivers' are made. Few enough to stay in the nearest cache, and
/// enough for some messages.
const FORWARDS_AT_ONCE: usize = 64;

/// What is written and not sent yet, in its order.
pub(super) struct Egress {
    sockets: Rc<[Socket]>,
    arena: Box<[u8]>,
    filled: usize,
    messages: Vec<Message>,
    /// Where what is written goes; none yet.
    towards: Option<Path>,
    /// Which socket that is, and the messages go by.
    socket: usize,
    /// The last run takes no more: it goes elsewhere, or its last packet was shorter.
    is_whole: bool,
}

impl Egress {
    /// With nothing written.
    pub(super) fn new(sockets: Rc<[Socket]>) -> Self {
        Self {
            sockets,
            arena: vec![0; ARENA_BYTES + PACKET_BYTES_MAX].into_boxed_slice(),
            filled: 0,
            messages: Vec::with_capacity(MESSAGES_MAX),
            towards: None,
            socket: 0,
            is_whole: true,
        }
    }

    /// Writes one datagram.
    pub(super) fn send(&mut self, transmit: &Transmit, tally: &mut Tally) {
        tally.handshake_datagrams_sent += 1;
        let length = transmit.bytes.len();
        if !self.turn_to(transmit.path, tally) {
            tally.send_failed += 1;
            return;
        }
        let Some(place) = self.tail(tally).get_mut(..length) else {
            tally.send_failed += 1;
            return;
        };
        place.copy_from_slice(&transmit.bytes);
        self.commit(length, tally);
    }

    /// What is written from now on goes there. False: no socket leads there, and nothing may be written.
    fn turn_to(&mut self, path: Path, tally: &mut Tally) -> bool {
        if self.towards == Some(path) {
            return true;
        }
        self.towards = None;
        let Some(socket) = self
            .sockets
            .iter()
            .position(|socket| socket.local() == path.local)
        else {
            return false;
        };
        if socket != self.socket {
            self.flush(tally);
            self.socket = socket;
        }
        self.towards = Some(path);
        self.is_whole = true;
        true
    }

    /// Where the next packet is to be written.
    fn tail(&mut self, tally: &mut Tally) -> &mut [u8] {
        if self.filled >= ARENA_BYTES {
            self.flush(tally);
        }
        &mut self.arena[self.filled..self.filled + PACKET_BYTES_MAX]
    }

    /// The packet at the tail goes behind the others. True if it begins a run.
    fn commit(&mut self, length: usize, tally: &mut Tally) -> bool {
        let Some(path) = self.towards else { return false };
        let segments_max = self.sockets[self.socket].segments_max();
        let (start, bytes) = (self.filled, length as u32);
        if let Some(run) = self.messages.last_mut().filter(|run| {
            !self.is_whole
                && usize::from(run.count) < segments_max
                && length <= usize::from(run.segment)
                && run.length as usize + length <= SEND_BYTES_MAX
        }) {
            run.length += bytes;
            run.count += 1;
            self.is_whole = length < usize::from(run.segment);
            self.filled += length;
            return false;
        }
        if self.messages.len() >= MESSAGES_MAX {
            self.flush(tally);
            self.arena.copy_within(start..start + length, 0);
        }
        self.messages.push(Message {
            to: path.remote,
            start: self.filled as u32,
            length: bytes,
            segment: length as u16,
            count: 1,
        });
        self.filled += length;
        self.is_whole = false;
        true
    }

    /// Sends all that is written.
    pub(super) fn flush(&mut self, tally: &mut Tally) {
        if let Some(socket) = self.sockets.get(self.socket)
            && !self.messages.is_empty()
        {
            tally.send_calls += socket.send_all(&self.messages, &self.arena, |message, sent| {
                count(tally, message, sent);
            });
        }
        self.messages.clear();
        self.filled = 0;
        self.is_whole = true;
    }
}

/// Counts what became of a message, by its datagrams.
fn count(tally: &mut Tally, message: &Message, sent: Sent) {
    let count = u64::from(message.count);
    match sent {
        Sent::Yes => {
            tally.runs_sent += 1;
            tally.datagrams_sent += count;
            tally.bytes_sent += u64::from(message.length);
        }
        Sent::Full => tally.send_full += count,
        Sent::Failed => tally.send_failed += count,
    }
}

impl Shard {
    /// Writes some of a room's forwards of this turn, receiver by receiver, each receiver's in their order. True if there are more.
    pub(super) fn forward_some(&mut self, room: RoomKey) -> bool {
        let mut forwards = std::mem::take(&mut self.forwards);
        let more = self.with_room(room, |room| room.poll_forwards(FORWARDS_AT_ONCE, &mut forwards));
        // All of one receiver come together, each stream's in their order.
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
        forwards.shrink_to(8 * FORWARDS_AT_ONCE);
        self.forwards = forwards;
        more.unwrap_or(false)
    }

    /// Seals and writes a compound RTCP packet. Without a path or keys it goes nowhere: RTCP is said again.
    pub(super) fn send_rtcp(&mut self, to: EndpointId, bytes: &[u8]) {
        let Some(seat) = self.seats.get_mut(&to) else {
            return;
        };
        let Some(path) = seat.peer.path() else { return };
        if !self.egress.turn_to(path, &mut self.tally) {
            self.tally.send_failed += 1;
            return;
        }
        let tail = self.egress.tail(&mut self.tally);
        let Some(plain) = tail.get_mut(..bytes.len()) else {
            return;
        };
        plain.copy_from_slice(bytes);
        match seat.peer.seal_rtcp(tail, bytes.len()) {
            Ok(length) => {
                self.egress.commit(length, &mut self.tally);
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
    if !egress.turn_to(path, tally) {
        tally.send_failed += group.len() as u64;
        return;
    }
    let find = |at| entry.room.payload(at);
    let mut level = Level::default();
    let mut ahead = group.iter();
    for forward in group {
        ahead.next();
        if forward.purpose == Purpose::Repeat {
            write_again(seat, path, forward, egress, tally);
            continue;
        }
        let payload = match forward.payload {
            Some(at) => find(at),
            None => Some(&[][..]),
        };
        let Some(payload) = payload else {
            tally.payload_gone += 1;
            continue;
        };
        let padded = level.padding(size(forward), || ahead.clone().map(size));
        let levelled;
        let forward = if padded > 0 {
            levelled = forward.padded(padded);
            &levelled
        } else {
            forward
        };
        let tail = egress.tail(tally);
        let plain = &mut tail[..PACKET_BYTES_MAX - RTP_OVERHEAD_MAX];
        let Some(length) = forward.write(payload, find, plain) else {
            tally.not_written += 1;
            continue;
        };
        match seat.peer.seal_rtp(tail, length) {
            Ok(length) => {
                if forward.again {
                    seat.kept.keep(&forward.header, &tail[..length]);
                }
                tally.media_runs += u64::from(egress.commit(length, tally));
                seat.sent.add(path.remote, length);
                tally.rtp_sent[forward.purpose as usize] += 1;
            }
            Err(_) => tally.not_sealed += 1,
        }
    }
}

/// A packet that went out before goes out as it was sealed then.
fn write_again(seat: &mut Seat, path: Path, forward: &Forward, egress: &mut Egress, tally: &mut Tally) {
    let place = egress.tail(tally);
    let Some((sealed, place)) = seat.kept.find(&forward.header).and_then(|sealed| {
        let place = place.get_mut(..sealed.len())?;
        Some((sealed, place))
    }) else {
        tally.payload_gone += 1;
        return;
    };
    place.copy_from_slice(sealed);
    let length = sealed.len();
    tally.media_runs += u64::from(egress.commit(length, tally));
    seat.sent.add(path.remote, length);
    tally.rtp_sent[forward.purpose as usize] += 1;
}

/// What decides whether a packet may be as long as its neighbours; none: it stays as it is.
fn size(forward: &Forward) -> Option<u16> {
    let takes = matches!(forward.purpose, Purpose::Video | Purpose::Repair) && forward.header.padding == 0;
    let original = u16::from(forward.header.original_sequence.is_some()) * 2;
    // Sound stays as it is, also sent again.
    (takes && forward.slot.kind == MediaKind::Video).then(|| forward.size.saturating_add(original))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_had_no_room_for_is_counted_by_its_packets() {
        let message = Message {
            to: "127.0.0.1:9".parse().expect("address"),
            start: 0,
            length: 500,
            segment: 100,
            count: 5,
        };
        let mut tally = Tally::default();
        for sent in [Sent::Yes, Sent::Full, Sent::Full, Sent::Failed] {
            count(&mut tally, &message, sent);
        }
        let counted = [tally.runs_sent, tally.datagrams_sent, tally.bytes_sent];
        assert_eq!(counted, [1, 5, 500]);
        assert_eq!([tally.send_full, tally.send_failed], [10, 5]);
    }
}
