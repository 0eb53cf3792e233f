//! What the allocation is told.

use std::time::Instant;

use super::super::{
    id::{EndpointId, LineIndex, Rank, SlotId, SourceNumber},
    units::Bitrate,
};

/// Most layers of one source.
pub const LAYERS_MAX: usize = 3;
/// Most temporal layers of one layer.
pub const TEMPORAL_MAX: usize = 3;
/// Most voices that an endpoint hears at once (A).
pub const VOICES_MAX: u8 = 6;

/// A whole room at one moment. All rates are what lies on the wire: IP, UDP and RTP headers, extensions and tags included.
#[derive(Debug, Clone, Copy)]
pub struct Problem<'a> {
    /// The time. Must not be before that of the former allocation; else it counts as that.
    pub now: Instant,
    /// Everybody who hears and sees, each endpoint once.
    pub receivers: &'a [Receiver<'a>],
    /// Everybody who sends, each endpoint once.
    pub senders: &'a [Sender<'a>],
    /// What may be taken of each line. A line that is not here has no limit; of two entries the last counts.
    pub lines: &'a [Line],
    /// Who else wants something of the senders.
    pub beyond: Beyond<'a>,
    /// What the room allows.
    pub policy: Policy,
}

/// What all other halves of a room say.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Beyond<'a> {
    /// What they want, several of them maybe of one source.
    pub wanted: &'a [Wanted],
    /// Somebody there hears over a way that is too thin for short voice packets.
    pub thin: bool,
    /// Somebody there hears over one that is not.
    pub wide: bool,
}

/// What receivers of another half want of a source: what [`Allocation::wanted`](super::Allocation::wanted) gave there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted {
    /// Which.
    pub source: SourceNumber,
    /// The most important thing that it is for.
    pub kind: Kind,
    /// It is for more than thumbnails.
    pub is_brisk: bool,
    /// Of each layer that somebody stops at, what all of them can take.
    pub layers: [Option<Bitrate>; LAYERS_MAX],
}

impl Wanted {
    /// It asks the sender for the same but for bitrates.
    pub fn is_like(&self, other: &Self) -> bool {
        let kind = |wanted: &Self| (wanted.source, wanted.kind, wanted.is_brisk);
        let layers = |wanted: &Self| wanted.layers.map(|layer| layer.is_some());
        kind(self) == kind(other) && layers(self) == layers(other)
    }
}

/// What may be taken of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Line {
    /// Which.
    pub line: LineIndex,
    /// Towards its endpoints.
    pub down: Bitrate,
    /// What is given already may take so much more than that: pictures take more in one moment than in another.
    pub breath: Bitrate,
    /// From its endpoints.
    pub up: Bitrate,
}

/// What the room allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// No picture is higher. Default 2,160: whatever the cameras send. Nothing sets it yet: it is for operators who bound the pictures of a
    /// room or a site, and what [`Cause::Policy`](crate::engine::shortfall::Cause::Policy) tells of.
    pub height_max: u16,
    /// Nobody gets more in all, but the first voice. Default 20 Mb/s: more than 27 tiles and a stage take.
    pub receiver_max: Bitrate,
    /// Nor more than that while the node has more to do than it can; none: it has time.
    pub node_max: Option<Bitrate>,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            height_max: 2_160,
            receiver_max: Bitrate::mbps(20),
            node_max: None,
        }
    }
}

impl Policy {
    /// Nobody gets more, for whatever reason.
    pub(super) fn most(&self) -> Bitrate {
        self.receiver_max.min(self.node_max.unwrap_or(self.receiver_max))
    }
}

/// Somebody who hears and sees.
#[derive(Debug, Clone, Copy)]
pub struct Receiver<'a> {
    /// Who.
    pub endpoint: EndpointId,
    /// How much it counts.
    pub rank: Rank,
    /// What the way to it carries. None where nobody can say: then only lines and policy limit it.
    pub estimate: Option<Bitrate>,
    /// What is given already may take so much more than that: nothing is known to limit the way, and nothing waits on it.
    pub breath: Bitrate,
    /// What encoders should fill of it at most; none where only the estimate says that.
    pub even: Option<Bitrate>,
    /// The lines on its way, each once.
    pub lines: &'a [LineIndex],
    /// How many voices it should hear; more than [`VOICES_MAX`] count as that many.
    pub voices: u8,
    /// Of them, those that sound: the others are room for who begins to speak, and have nothing yet that could be lost.
    pub sounding: u8,
    /// What one voice takes: 42 to 58 kb/s.
    pub voice: Bitrate,
    /// What redundancy (copies in RED, RFC 2198, or a repeat of each packet) adds to one voice; none if it needs none.
    pub redundancy: Option<Bitrate>,
    /// What a third copy, or further repeats, add to that; none unless it loses so much that they are worth it.
    pub third: Option<Bitrate>,
    /// It gets repeats: further ones stand for the second copy that others have from the beginning, and take their room with the first.
    pub repeats: bool,
    /// What the base temporal layer of its stage takes over time, which goes once more before anybody asks where losses are random; none where a
    /// repair comes soon, or cannot come. At most an eighth of its estimate goes so.
    pub ahead: Option<Bitrate>,
    /// What its losses look like.
    pub loss: Loss,
    /// By how many layers its machine is too slow.
    pub cpu_steps: u8,
    /// The pictures it wants, each slot once; within a kind the most important first.
    pub demands: &'a [Demand],
}

/// One part of so many of an estimate may go to pictures that are sent once more before anybody asks: less than a raise leaves free, so that a larger picture
/// on the stage, of which more goes once more, stays.
pub(super) const AHEAD_SHARE: u64 = 8;

/// What losses on a way look like.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Loss {
    /// There are none worth repair ahead of time.
    #[default]
    None,
    /// Packets are lost whatever is sent: radio, satellite.
    Random,
    /// Packets are lost because too many are sent.
    Queueing,
}

/// A picture that a slot is to show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Demand {
    /// Which slot.
    pub slot: SlotId,
    /// What of. One that no sender has is answered with [`Cause::NotSent`](crate::engine::shortfall::Cause::NotSent).
    pub source: SourceNumber,
    /// What it is for.
    pub kind: Kind,
    /// Height of the tile in pixels.
    pub height: u16,
    /// Pictures a second that are wanted; 0 for all there are.
    pub fps: u8,
    /// The receiver decodes what the source sends.
    pub decodable: bool,
}

/// What a picture is for, the most important first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// The one large picture.
    Stage,
    /// Chosen by the person who looks.
    Pinned,
    /// A screen beside the stage.
    Screen,
    /// Who speaks.
    Speaker,
    /// One of many.
    Thumbnail,
}

/// Somebody who sends.
#[derive(Debug, Clone, Copy)]
pub struct Sender<'a> {
    /// Who.
    pub endpoint: EndpointId,
    /// The lines on its way, each once.
    pub lines: &'a [LineIndex],
    /// What the way from it carries; none where nobody can say.
    pub estimate: Option<Bitrate>,
    /// What all its sound takes. It is sent whatever there is.
    pub sound: Bitrate,
    /// By how many layers its machine is too slow.
    pub encoder_steps: u8,
    /// Its pictures that are on.
    pub sources: &'a [Source],
}

/// A camera or screen that is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Source {
    /// Which.
    pub number: SourceNumber,
    /// Its layers go in one stream: each needs those below it, and what it takes includes them.
    pub nested: bool,
    /// What it has to offer, lowest layer first.
    pub layers: [Offer; LAYERS_MAX],
}

/// A layer as a source offers it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Offer {
    /// It was agreed upon, so it can be asked for.
    pub can: bool,
    /// Packets of it arrive.
    pub live: bool,
    /// Height of its pictures, once a key frame told it. Until then that of the usual layers: 180, 360, 720.
    pub height: Option<u16>,
    /// What arrives of it up to each temporal layer: T0, T0 and T1, all. All zero before it was measured; all the same for
    /// a layer without temporal layers. Better the peak of some seconds than the mean: a picture that stands still now
    /// will move again.
    pub rates: [Bitrate; TEMPORAL_MAX],
}
