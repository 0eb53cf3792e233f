//! What two halves of a room say to each other over a link.
//!
//! A room that has points in several places (shards of a node) has a [`Room`](super::room::Room) in each: a half. Halves are
//! linked in pairs, and each tells the other of its own points only, so nothing goes round: one hop. `docs/cascade.md` tells
//! what crosses and why; here is what a batch holds, and how statements survive a batch that is lost.
//!
//! What must not be lost (who is in, what is wanted) goes as **statements**: the whole list with a version, said again until
//! the other half has acknowledged it. What is worthless when late (packets, levels, figures) goes once. Batches are numbered: a half
//! that misses one asks for key frames of what it shows.

mod link;

use std::time::{Duration, Instant};

use super::{
    allocate::{LAYERS_MAX, Offer, Wanted},
    arrival::AudioLevel,
    history::PacketRef,
    id::{PointNumber, Rank, SourceKind, SourceNumber},
    packet::Codec,
    rewriter::Original,
    seq::Seq,
};

pub(super) use link::Link;

/// The other half of a room, as the driver calls it. Less than [`LINKS_MAX`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkId(pub u8);

/// A room has no more halves besides one; a link above it is refused and counted.
pub const LINKS_MAX: u8 = 64;
/// Points told of over one link. Those beyond are not there for the other half, and counted.
pub const POINTS_MAX: usize = 512;
/// Sources wanted over one link: a camera and a screen of each point.
pub const WANTS_MAX: usize = 2 * POINTS_MAX;
/// RTP packets in a batch; more begin the next one.
pub const BATCH_PACKETS_MAX: usize = 256;
/// Bytes of payload in a batch; more begin the next one.
pub const BATCH_BYTES_MAX: usize = 256 << 10;
/// What one half hands to another at once. Plain data; it keeps its memory when it is filled again.
#[derive(Debug, Default)]
pub struct CascadeBatch {
    /// None in an empty batch.
    pub(super) head: Option<Head>,
    pub(super) points: Statement<Point>,
    pub(super) wants: Statement<Want>,
    pub(super) figures: Vec<Figure>,
    /// Layers that somebody waits for a key frame of.
    pub(super) key_frames: Vec<(SourceNumber, u8)>,
    pub(super) levels: Vec<(SourceNumber, AudioLevel)>,
    pub(super) packets: Vec<Packet>,
    /// Payloads, one behind the other.
    pub(super) payloads: Vec<u8>,
}

impl CascadeBatch {
    /// RTP packets in it, at most [`BATCH_PACKETS_MAX`].
    pub fn packets(&self) -> usize {
        self.packets.len()
    }

    /// Bytes of payload in it, at most [`BATCH_BYTES_MAX`].
    pub fn bytes(&self) -> usize {
        self.payloads.len()
    }

    fn clear(&mut self) {
        self.head = None;
        self.points.clear();
        self.wants.clear();
        self.figures.clear();
        self.key_frames.clear();
        self.levels.clear();
        self.packets.clear();
        self.payloads.clear();
    }
}

/// Of every batch.
#[derive(Debug, Clone, Copy)]
pub(super) struct Head {
    /// When its half linked. A later one is another half, that knows nothing.
    pub(super) session: Instant,
    /// Counted from 0.
    pub(super) number: u64,
    /// What captures are counted from.
    pub(super) epoch: Instant,
    /// Of the other half's session: which statements came.
    pub(super) heard: Option<Heard>,
    /// Ways to its receivers.
    pub(super) ways: Ways,
}

/// Versions of the other half's statements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Heard {
    pub(super) session: Instant,
    pub(super) points: u64,
    pub(super) wants: u64,
}

/// Which kinds of ways there are among receivers that hear.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Ways {
    pub(super) thin: bool,
    pub(super) wide: bool,
}

/// A whole list with its version; version 0: it is not in this batch.
#[derive(Debug)]
pub(super) struct Statement<T> {
    pub(super) version: u64,
    pub(super) all: Vec<T>,
}

/// A point that is in the half which says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Point {
    pub(super) number: PointNumber,
    /// Another one when it joined anew: its streams have nothing to do with those before.
    pub(super) incarnation: u32,
    pub(super) rank: Rank,
    /// Encodings of each kind that were agreed upon.
    pub(super) encodings: [u8; SourceKind::ALL.len()],
    /// Its camera sends its layers in one stream.
    pub(super) layered: bool,
    /// Which of its sources are on.
    pub(super) on: [bool; SourceKind::ALL.len()],
}

/// What is wanted of one of the other half's sources.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Want {
    pub(super) source: SourceNumber,
    /// A bit for each layer that is to cross: those that slots show or turn to.
    pub(super) pull: u8,
    /// What its sender is to be asked for.
    pub(super) wish: Option<Wanted>,
}

/// What a source has to offer just now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Figure {
    pub(super) source: SourceNumber,
    pub(super) incarnation: u32,
    pub(super) codec: Option<Codec>,
    pub(super) nested: bool,
    pub(super) layers: [Offer; LAYERS_MAX],
}

/// A packet of a source, in the order of its arrival, with all that was read of it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Packet {
    pub(super) source: SourceNumber,
    pub(super) incarnation: u32,
    pub(super) layer: u8,
    pub(super) layers: u8,
    pub(super) stream: u32,
    pub(super) sequence: Seq,
    pub(super) original: Original,
    pub(super) level: Option<AudioLevel>,
    pub(super) heights: Option<[u16; LAYERS_MAX]>,
    /// It was repaired, which takes so long.
    pub(super) repair_time: Option<Duration>,
    pub(super) role: Role,
    /// The version of the other half's wants that it crosses for.
    pub(super) wants: u64,
    /// Where its payload is: at home in a history, in a batch among the payloads.
    pub(super) at: Place,
}

/// What a packet is sent for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// It arrived just now.
    Live,
    /// The same, and it is the first one since none of its source crossed.
    Resumes,
    /// It is from before its layer was wanted: to be kept.
    Kept,
    /// The last of those: from here on slots can be served from what is kept.
    LastKept,
}

/// See [`Packet::at`].
#[derive(Debug, Clone, Copy)]
pub(super) enum Place {
    History(PacketRef),
    Batch { start: u32, length: u16 },
}

impl<T> Default for Statement<T> {
    fn default() -> Self {
        Self {
            version: 0,
            all: Vec::new(),
        }
    }
}

impl<T> Statement<T> {
    fn clear(&mut self) {
        self.version = 0;
        self.all.clear();
    }
}
