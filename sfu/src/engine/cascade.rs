//! What two halves of a room say to each other over a link.
//!
//! A room that has points in several places (shards of a node) has a [`Room`](super::room::Room) in each: a half. Halves are
//! linked in pairs, and each tells the other of its own points only, so nothing goes round: one hop. `docs/cascade.md` tells
//! what crosses and why; here is what a batch holds, and how statements survive a batch that is lost.
//!
//! What must not be lost (who is in, what is wanted) goes as **statements**: the whole list with a version, said again until
//! the other half has acknowledged it. What is worthless when late (packets, levels, figures) goes once. Batches are numbered: a half
//! that misses one asks for key frames of what it shows.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use super::{
    allocate::{LAYERS_MAX, Offer, Wanted},
    arrival::AudioLevel,
    id::{PointNumber, Rank, SourceKind, SourceNumber},
    packet::{Codec, PacketRef, soonest},
    rewriter::Original,
    seq::Seq,
};

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
/// Packets that wait for the next batch. Full: the oldest is left out, and the other half is let know by a number left out.
const PENDING_MAX: usize = 2_048;
/// Levels in a batch: some 50 a second of each voice that crosses. Those beyond are left out, the next ones come in 20 ms.
const LEVELS_MAX: usize = 256;
/// Key frames asked for with one batch. Those beyond are asked for again by the slots that wait.
const KEY_FRAMES_MAX: usize = 512;
/// A statement that was not acknowledged is said again after so long.
const RESEND: Duration = Duration::from_millis(100);

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

/// The near end of a link.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) id: LinkId,
    session: Instant,
    number: u64,
    pub(super) points: Said<Point>,
    pub(super) wants: Said<Want>,
    pub(super) ways: Ways,
    pub(super) figures_due: bool,
    key_frames: Vec<(SourceNumber, u8)>,
    levels: Vec<(SourceNumber, AudioLevel)>,
    pending: VecDeque<Packet>,
    pub(super) far: Option<Far>,
    /// A statement came that is not acknowledged.
    owes: bool,
}

/// What is known of the other end.
#[derive(Debug)]
pub(super) struct Far {
    session: Instant,
    /// The number of its next batch.
    next: u64,
    points_version: u64,
    wants_version: u64,
    /// Its points.
    pub(super) points: Vec<Point>,
    /// What it wants of ours.
    pub(super) wants: Vec<Want>,
    pub(super) ways: Ways,
}

/// A statement of ours.
#[derive(Debug)]
pub(super) struct Said<T> {
    all: Vec<T>,
    /// 1 for the first, also if that is empty.
    version: u64,
    acknowledged: u64,
    sent: Option<(u64, Instant)>,
}

/// What a batch brings that has to be acted upon besides its packets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct News {
    /// The other half is another one than before: what was known of it holds no more.
    pub(super) anew: bool,
    pub(super) points: bool,
    pub(super) wants: bool,
    /// Batches before this one did not come.
    pub(super) lost: bool,
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

impl<T: Copy + PartialEq> Said<T> {
    fn new() -> Self {
        Self {
            all: Vec::new(),
            version: 1,
            acknowledged: 0,
            sent: None,
        }
    }

    /// What holds from now on, at most `most` of it. True if that is news.
    pub(super) fn set(&mut self, all: &[T], most: usize) -> bool {
        let all = &all[..all.len().min(most)];
        let changed = self.all != all;
        if changed {
            self.all.clear();
            self.all.extend_from_slice(all);
            self.version += 1;
        }
        changed
    }

    pub(super) fn all(&self) -> &[T] {
        &self.all
    }

    fn due(&self) -> Option<Due> {
        if self.acknowledged == self.version {
            return None;
        }
        let again = self.sent.filter(|(version, _)| *version == self.version);
        Some(again.map_or(Due::Now, |(_, at)| Due::At(at + RESEND)))
    }

    fn write(&mut self, now: Instant, out: &mut Statement<T>) {
        if self.due().is_some_and(|due| due.has_come(now)) {
            self.sent = Some((self.version, now));
            out.version = self.version;
            out.all.extend_from_slice(&self.all);
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum Due {
    Now,
    At(Instant),
}

impl Due {
    fn has_come(self, now: Instant) -> bool {
        match self {
            Self::Now => true,
            Self::At(at) => at <= now,
        }
    }
}

impl Link {
    pub(super) fn new(now: Instant, id: LinkId) -> Self {
        Self {
            id,
            session: now,
            number: 0,
            points: Said::new(),
            wants: Said::new(),
            ways: Ways::default(),
            figures_due: true,
            key_frames: Vec::new(),
            levels: Vec::new(),
            pending: VecDeque::new(),
            far: None,
            owes: false,
        }
    }

    /// A packet for the next batch. True if the oldest had to give way.
    pub(super) fn push(&mut self, packet: Packet) -> bool {
        let full = self.pending.len() >= PENDING_MAX;
        if full {
            self.pending.pop_front();
            self.number += 1; // the other half takes it for a batch that was lost
        }
        self.pending.push_back(packet);
        full
    }

    /// A level without its packet, for the next batch.
    pub(super) fn push_level(&mut self, source: SourceNumber, level: AudioLevel) {
        if self.levels.len() < LEVELS_MAX {
            self.levels.push((source, level));
        }
    }

    /// Asks for a key frame with the next batch.
    pub(super) fn ask(&mut self, source: SourceNumber, layer: u8) {
        let wish = (source, layer);
        if self.key_frames.len() < KEY_FRAMES_MAX && !self.key_frames.contains(&wish) {
            self.key_frames.push(wish);
        }
    }

    /// There is something to say at once.
    fn is_due(&self, now: Instant) -> bool {
        let is_said = |due: Option<Due>| due.is_some_and(|due| due.has_come(now));
        self.owes
            || self.figures_due
            || !self.pending.is_empty()
            || !self.levels.is_empty()
            || !self.key_frames.is_empty()
            || is_said(self.points.due())
            || is_said(self.wants.due())
    }

    /// When a statement is to be said again.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let at = |due: Option<Due>| match due {
            Some(Due::At(at)) => Some(at),
            Some(Due::Now) | None => None,
        };
        soonest(at(self.points.due()), at(self.wants.due()))
    }

    /// Fills a batch with what is due; none if nothing is, else how many packets were left out because their bytes are gone.
    /// `find` gives the payload of a packet, `figures` adds what sources have to offer.
    pub(super) fn fill<'p>(
        &mut self,
        now: Instant,
        epoch: Instant,
        batch: &mut CascadeBatch,
        find: impl Fn(PacketRef) -> Option<&'p [u8]>,
        figures: impl FnOnce(&mut Vec<Figure>),
    ) -> Option<u64> {
        batch.clear();
        if !self.is_due(now) {
            return None;
        }
        self.points.write(now, &mut batch.points);
        self.wants.write(now, &mut batch.wants);
        if std::mem::take(&mut self.figures_due) {
            figures(&mut batch.figures);
        }
        batch.key_frames.append(&mut self.key_frames);
        batch.levels.append(&mut self.levels);
        let gone = self.fill_packets(batch, find);
        self.owes = false;
        batch.head = Some(Head {
            session: self.session,
            number: self.number,
            epoch,
            heard: self.far.as_ref().map(|far| Heard {
                session: far.session,
                points: far.points_version,
                wants: far.wants_version,
            }),
            ways: self.ways,
        });
        self.number += 1;
        Some(gone)
    }

    fn fill_packets<'p>(
        &mut self,
        batch: &mut CascadeBatch,
        find: impl Fn(PacketRef) -> Option<&'p [u8]>,
    ) -> u64 {
        let mut gone = 0;
        while batch.packets.len() < BATCH_PACKETS_MAX {
            let Some(packet) = self.pending.front() else {
                break;
            };
            let Place::History(at) = packet.at else { break };
            // One that is gone by now leaves a hole: it waited for two seconds.
            let payload = find(at).filter(|payload| payload.len() <= usize::from(u16::MAX));
            if let Some(payload) = payload {
                let start = batch.payloads.len();
                if start + payload.len() > BATCH_BYTES_MAX {
                    break;
                }
                batch.payloads.extend_from_slice(payload);
                let place = Place::Batch {
                    start: start as u32,
                    length: payload.len() as u16,
                };
                batch.packets.push(Packet { at: place, ..*packet });
            } else {
                gone += 1;
            }
            self.pending.pop_front();
        }
        gone
    }

    /// Takes what a batch says of the link itself. None if it is to be passed over: empty, or of a half that is gone.
    pub(super) fn take(&mut self, batch: &CascadeBatch) -> Option<News> {
        let head = batch.head?;
        let mut news = News::default();
        if self.far.as_ref().is_some_and(|far| {
            head.session < far.session || head.number < far.next && head.session == far.session
        }) {
            return None;
        }
        let far = match &mut self.far {
            Some(far) if far.session == head.session => far,
            far => {
                news.anew = far.is_some();
                (self.points.sent, self.wants.sent) = (None, None); // it knows nothing
                far.insert(Far::new(&head))
            }
        };
        news.lost = head.number > far.next;
        far.next = head.number + 1;
        far.ways = head.ways;
        if batch.points.version > far.points_version {
            far.points_version = batch.points.version;
            far.points.clear();
            far.points
                .extend(batch.points.all.iter().copied().take(POINTS_MAX));
            news.points = true;
        }
        if batch.wants.version > far.wants_version {
            far.wants_version = batch.wants.version;
            news.wants = true;
        }
        self.owes |= batch.points.version > 0 || batch.wants.version > 0;
        let heard = head.heard.filter(|heard| heard.session == self.session);
        self.points.acknowledged = heard.map_or(0, |heard| heard.points);
        self.wants.acknowledged = heard.map_or(0, |heard| heard.wants);
        Some(news)
    }
}

impl Far {
    fn new(head: &Head) -> Self {
        Self {
            session: head.session,
            next: head.number,
            points_version: 0,
            wants_version: 0,
            points: Vec::new(),
            wants: Vec::new(),
            ways: head.ways,
        }
    }
}
