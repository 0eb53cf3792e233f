//! What the allocation answers, and what it remembers for the next one.

use std::time::{Duration, Instant};

use super::{
    super::{
        id::{EndpointId, LineIndex, SlotId, SourceNumber},
        quality::LayerOrder,
        shortfall::Shortfall,
        units::Bitrate,
    },
    problem::{Demand, Kind, LAYERS_MAX},
};

/// Who gets what and who sends what. Handed back to the next call: what delays raises lies in here.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Allocation {
    /// By endpoint.
    pub receivers: Vec<ReceiverGrant>,
    /// All slots, those of one receiver together, in the order of its demands.
    pub slots: Vec<SlotGrant>,
    /// By endpoint.
    pub senders: Vec<SenderOrder>,
    /// By number.
    pub sources: Vec<SourceOrder>,
    /// By line; only those with a limit.
    pub lines: Vec<LineUse>,
    /// When it was made.
    pub(super) at: Option<Instant>,
}

impl Allocation {
    /// What that receiver gets.
    pub fn receiver(&self, endpoint: EndpointId) -> Option<&ReceiverGrant> {
        let at = self.receivers.binary_search_by_key(&endpoint, |r| r.endpoint);
        self.receivers.get(at.ok()?)
    }

    /// What the slots of that receiver get.
    pub fn slots_of(&self, endpoint: EndpointId) -> &[SlotGrant] {
        self.receiver(endpoint)
            .and_then(|receiver| self.slots.get(receiver.slots.0..receiver.slots.1))
            .unwrap_or_default()
    }

    /// What is to be sent of that source.
    pub fn source(&self, number: SourceNumber) -> Option<&SourceOrder> {
        let at = self.sources.binary_search_by_key(&number, |s| s.number);
        self.sources.get(at.ok()?)
    }

    /// What is asked of that sender.
    pub fn sender(&self, endpoint: EndpointId) -> Option<&SenderOrder> {
        let at = self.senders.binary_search_by_key(&endpoint, |s| s.endpoint);
        self.senders.get(at.ok()?)
    }

    /// What of that line is taken.
    pub fn line(&self, line: LineIndex) -> Option<&LineUse> {
        let at = self.lines.binary_search_by_key(&line, |l| l.line);
        self.lines.get(at.ok()?)
    }
}

/// What a receiver gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReceiverGrant {
    /// Who.
    pub endpoint: EndpointId,
    /// How many voices it hears.
    pub voices: u8,
    /// Its voices are sent with redundancy.
    pub redundancy: bool,
    /// With a third copy.
    pub third: bool,
    /// So much of its stage goes once more before anybody asks.
    pub ahead: Bitrate,
    /// Its way is so thin that voices should come in packets of 60 ms.
    pub long_packets: bool,
    /// Why it hears fewer voices than it should.
    pub shortfall: Option<Shortfall>,
    /// What all of that takes, pictures included.
    pub used: Bitrate,
    /// What its estimate would have to be for all that it wants and that lines and policy leave it: where probing ends.
    pub wanted: Bitrate,
    /// Below 160 kb/s: one voice and nothing else.
    pub(super) narrow: bool,
    pub(super) voices_wanted: u8,
    /// First and behind the last of its slots.
    pub(super) slots: (usize, usize),
}

impl ReceiverGrant {
    /// How many voices may have its slots. Where there is room for all that sound, the silent too: they cost nothing, and when one of them
    /// begins to speak its first word has its place already.
    pub fn voices_most(&self) -> usize {
        if self.voices < self.voices_wanted {
            self.voices.into()
        } else {
            usize::MAX
        }
    }
}

/// What a slot gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SlotGrant {
    /// Which.
    pub slot: SlotId,
    /// Of which source.
    pub source: SourceNumber,
    /// What is to be forwarded; none for nothing.
    pub picture: Option<Picture>,
    /// Why that is less than wanted; none if it is not.
    pub shortfall: Option<Shortfall>,
    pub(super) memory: SlotMemory,
}

/// What is forwarded of a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Picture {
    /// Which layer, from 0.
    pub layer: u8,
    /// The highest temporal layer, from 0; 2 is all there is.
    pub temporal: u8,
    /// Height of its pictures.
    pub height: u16,
    /// Share of the layer's pictures, in percent: 25, 50, 100.
    pub rate_percent: u8,
    /// What it takes.
    pub rate: Bitrate,
}

/// What delays the raises of a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SlotMemory {
    pub(super) demand: Demand,
    /// Since when the demand is that one.
    pub(super) wanted_since: Instant,
    /// What was reached, layers that are still to come included.
    pub(super) reached: Level,
    /// What was given.
    pub(super) given: Level,
    /// What would be reached if all layers were sent, at their least rates.
    pub(super) aim: Level,
    /// What the next aim may be without room to spare.
    pub(super) entitled: Level,
    /// Since when the aim is of a higher layer than what is reached, or since when that was last taken into account.
    pub(super) missed_since: Option<Instant>,
    pub(super) raised_at: Option<Instant>,
    pub(super) hold: Option<Hold>,
    /// Since when nothing but the hold is in the way of a raise.
    pub(super) held_since: Option<Instant>,
}

/// No raise before its end; one to a layer below the one that was too much waits less.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Hold {
    pub(super) from: Instant,
    pub(super) length: Duration,
    pub(super) because: Shortfall,
    /// What was too much.
    pub(super) level: Level,
    /// What the way was taken to carry then.
    pub(super) estimate: u64,
}

/// A rung of all ladders: layer and temporal layer as one number that grows with quality. 0 is nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Level(u8);

impl Level {
    pub(super) const NOTHING: Self = Self(0);

    pub(super) const fn new(layer: u8, temporal: u8) -> Self {
        Self(layer * 4 + temporal + 1)
    }

    /// None for nothing.
    pub(super) const fn layer(self) -> Option<u8> {
        if self.0 == 0 { None } else { Some((self.0 - 1) / 4) }
    }

    pub(super) const fn temporal(self) -> u8 {
        self.0.saturating_sub(1) % 4
    }
}

/// What is asked of a sender.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SenderOrder {
    /// Who.
    pub endpoint: EndpointId,
    /// Voices in packets of 60 ms: all who hear it have thin ways.
    pub long_packets: bool,
    /// The most that everything it sends takes.
    pub used: Bitrate,
}

/// What is to be sent of a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SourceOrder {
    /// Which.
    pub number: SourceNumber,
    /// Whose.
    pub endpoint: EndpointId,
    /// Its encodings, lowest first; none for a layer that was not agreed upon. Also one that is off has numbers.
    pub layers: [Option<LayerOrder>; LAYERS_MAX],
    /// Why that is less than receivers want; none if it is not.
    pub shortfall: Option<Shortfall>,
    /// The most important thing that it is wanted for.
    pub(super) kind: Option<Kind>,
    /// Why a wanted layer is off.
    pub(super) denied: [Option<Shortfall>; LAYERS_MAX],
    /// When somebody last wanted it.
    pub(super) wanted_at: [Option<Instant>; LAYERS_MAX],
    /// Since when it is asked for.
    pub(super) asked_at: [Option<Instant>; LAYERS_MAX],
    /// When it was last ordered smaller.
    pub(super) lowered_at: [Option<Instant>; LAYERS_MAX],
    /// When something of what is ordered last changed.
    pub(super) changed_at: Option<Instant>,
    pub(super) watched_at: Option<Instant>,
    /// When it was last wanted for more than thumbnails.
    pub(super) brisk_at: Option<Instant>,
}

/// What of a line is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LineUse {
    /// Which.
    pub line: LineIndex,
    /// Towards its endpoints: the sum of what they get.
    pub down: Bitrate,
    /// From its endpoints: the most that they send.
    pub up: Bitrate,
    pub(super) budget_down: Bitrate,
    /// Pictures and voices that are wanted behind it.
    pub(super) claims: u32,
}
