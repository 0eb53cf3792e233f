//! What a room counts. Plain numbers that only grow; the driver exports them.

use std::ops::AddAssign;

use super::{bwe::PathLoss, uplink::UplinkStats};

/// Counters of a room.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RoomStats {
    /// Packets that arrived new, repaired ones included.
    pub received: u64,
    /// Datagrams that are no RTP.
    pub malformed: u64,
    /// Packets of a layer that changed its stream too often, or too large or old to be kept.
    pub not_kept: u64,
    /// Packets of a source that is off.
    pub source_off: u64,
    /// Packets of silence that were not forwarded.
    pub silent: u64,
    /// Packets sent the first time.
    pub forwarded: u64,
    /// Packets sent again as RTX.
    pub repaired: u64,
    /// Packets not sent, by reason.
    pub dropped: Dropped,
    /// Numbers asked for again that were not sent, by reason.
    pub refused: Refused,
    /// Changes of source or layer in a video slot, each at a key frame.
    pub switches: u64,
    /// Of those, served from what was kept, without asking the sender.
    pub served_from_history: u64,
    /// PLI and FIR of receivers.
    pub key_frame_requests: u64,
    /// RTCP that could not be read.
    pub rtcp_malformed: u64,
    /// RTCP about a stream that is not there.
    pub rtcp_unknown: u64,
    /// Commands that name an endpoint, slot or source which is not there, or do not fit a limit.
    pub commands_refused: u64,
    /// What crossed between halves of the room.
    pub cascade: CascadeStats,
    /// Of all uplinks that are or were there.
    pub uplinks: UplinkStats,
    /// Of all paths to receivers that are or were there.
    pub paths: PathLoss,
}

/// Why packets for a slot were not sent. Packets of other layers are not counted: nobody asked for them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Dropped {
    /// From before the key frame that the slot switched at.
    pub before_switch: u64,
    /// Older than all the slot remembers of its time line.
    pub too_late: u64,
    /// Voice that would lie under what was sent already, right after a switch.
    pub overlap: u64,
    /// So far ahead of what came before that it is another stream; the slot waits for a key frame.
    pub jump: u64,
    /// The receiver does not take this codec.
    pub codec: u64,
    /// Pictures that would have waited too long before the receiver's way.
    pub queue: u64,
}

/// Why a repair was not sent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Refused {
    /// Never sent, or so long ago that the slot forgot it. Also what the uplink itself still misses.
    pub unknown: u64,
    /// Sent again less than a round trip ago.
    pub recent: u64,
    /// Above the receiver's budget for repairs, or above the limit of one datagram.
    pub budget: u64,
    /// The bytes are gone.
    pub gone: u64,
    /// Of a picture from before the key frame that the slot went over to, while the way was full.
    pub past: u64,
}

/// What went over the links of a room (`docs/cascade.md`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CascadeStats {
    /// Packets given to links, counted for each.
    pub sent: u64,
    /// Packets that came over links.
    pub received: u64,
    /// Packets that gave way to later ones, or whose bytes were gone, before a batch had room for them.
    pub dropped: u64,
    /// Holes in the numbers of batches.
    pub holes: u64,
    /// Batches over no link or of a half that is gone; points, wants and packets that name what is not there; packets for a want that was taken
    /// back meanwhile.
    pub refused: u64,
    /// Key frames asked for by other halves.
    pub key_frame_requests: u64,
    /// Packets kept here before another half wanted them, which served it at once.
    pub replayed: u64,
}

impl AddAssign for RoomStats {
    fn add_assign(&mut self, other: Self) {
        let Self {
            received,
            malformed,
            not_kept,
            source_off,
            silent,
            forwarded,
            repaired,
            dropped,
            refused,
            switches,
            served_from_history,
            key_frame_requests,
            rtcp_malformed,
            rtcp_unknown,
            commands_refused,
            cascade,
            uplinks,
            paths,
        } = other;
        self.received += received;
        self.malformed += malformed;
        self.not_kept += not_kept;
        self.source_off += source_off;
        self.silent += silent;
        self.forwarded += forwarded;
        self.repaired += repaired;
        self.dropped += dropped;
        self.refused += refused;
        self.switches += switches;
        self.served_from_history += served_from_history;
        self.key_frame_requests += key_frame_requests;
        self.rtcp_malformed += rtcp_malformed;
        self.rtcp_unknown += rtcp_unknown;
        self.commands_refused += commands_refused;
        self.cascade += cascade;
        self.uplinks += uplinks;
        self.paths += paths;
    }
}

impl AddAssign for CascadeStats {
    fn add_assign(&mut self, other: Self) {
        let Self {
            sent,
            received,
            dropped,
            holes,
            refused,
            key_frame_requests,
            replayed,
        } = other;
        self.sent += sent;
        self.received += received;
        self.dropped += dropped;
        self.holes += holes;
        self.refused += refused;
        self.key_frame_requests += key_frame_requests;
        self.replayed += replayed;
    }
}

impl AddAssign for Dropped {
    fn add_assign(&mut self, other: Self) {
        let Self {
            before_switch,
            too_late,
            overlap,
            jump,
            codec,
            queue,
        } = other;
        self.before_switch += before_switch;
        self.too_late += too_late;
        self.overlap += overlap;
        self.jump += jump;
        self.codec += codec;
        self.queue += queue;
    }
}

impl AddAssign for Refused {
    fn add_assign(&mut self, other: Self) {
        let Self {
            unknown,
            recent,
            budget,
            gone,
            past,
        } = other;
        self.unknown += unknown;
        self.recent += recent;
        self.budget += budget;
        self.gone += gone;
        self.past += past;
    }
}

impl AddAssign for UplinkStats {
    fn add_assign(&mut self, other: Self) {
        let Self {
            expected,
            received,
            packets,
            repaired,
            recovered,
            nacked,
            given_up,
            key_frame_requests,
            duplicates,
            probes,
            padding,
            excess,
            unknown,
            stray,
            malformed,
            reports_refused,
        } = other;
        self.expected += expected;
        self.received += received;
        self.packets += packets;
        self.repaired += repaired;
        self.recovered += recovered;
        self.nacked += nacked;
        self.given_up += given_up;
        self.key_frame_requests += key_frame_requests;
        self.duplicates += duplicates;
        self.probes += probes;
        self.padding += padding;
        self.excess += excess;
        self.unknown += unknown;
        self.stray += stray;
        self.malformed += malformed;
        self.reports_refused += reports_refused;
    }
}

impl AddAssign for PathLoss {
    fn add_assign(&mut self, other: Self) {
        let Self {
            arrived,
            lost,
            late,
            unknown,
        } = other;
        self.arrived += arrived;
        self.lost += lost;
        self.late += late;
        self.unknown += unknown;
    }
}
