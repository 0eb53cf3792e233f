//! One source of an endpoint: its layers, their histories, and the slots that may show it.

use std::{
    collections::{BTreeMap, VecDeque},
    time::{Duration, Instant},
};

use super::{
    super::{
        allocate::{LAYERS_MAX, Offer, TEMPORAL_MAX},
        arrival::{Arrival, Picture},
        descriptor::LENGTH_MAX,
        history::{History, HistoryLimit, PacketRef},
        id::{EndpointId, MediaKind, SlotId, SourceKind, SourceNumber},
        outbound::Raised,
        packet::{Codec, soonest},
        rewriter::Original,
        selector::{LayerSet, LayerStream},
        seq::Seq,
        silence::Silence,
        slot::SourcePacket,
        units::Bitrate,
    },
    meter::Meter,
    told::Told,
};
use crate::wire::codec::{av1, h264, vp8, vp9};

/// All histories of a room. Numbers are never used again, so that an old reference finds nothing.
#[derive(Debug, Default)]
pub(super) struct Histories {
    all: BTreeMap<u32, Box<History<Original>>>,
    next: u32,
    /// Nothing is added to these any more, but some of their packets have a number already and wait to be sent, or may be
    /// asked for again. The oldest first.
    closed: VecDeque<(Instant, u32)>,
}

/// So long a history outlives its stream; a packet that waits longer is not worth sending.
const CLOSED_TIME: Duration = Duration::from_secs(2);
/// No more of them are kept: whoever joins and leaves all the time costs no more than so many.
const CLOSED_MAX: usize = 32;

impl Histories {
    fn open(&mut self, limit: HistoryLimit) -> u32 {
        let number = self.next;
        self.next = self.next.wrapping_add(1);
        self.all.insert(number, Box::new(History::new(limit)));
        number
    }

    fn close(&mut self, now: Instant, number: u32) {
        self.closed.push_back((now, number));
        if self.closed.len() > CLOSED_MAX
            && let Some((_, oldest)) = self.closed.pop_front()
        {
            self.all.remove(&oldest);
        }
    }

    /// Gives up what was closed long ago.
    pub(super) fn forget(&mut self, now: Instant) {
        while let Some(&(at, number)) = self.closed.front() {
            if now.saturating_duration_since(at) < CLOSED_TIME {
                return;
            }
            self.closed.pop_front();
            self.all.remove(&number);
        }
    }

    /// Bytes of memory of all of them.
    pub(super) fn memory(&self) -> u64 {
        self.all.values().map(|history| history.memory() as u64).sum()
    }

    /// The packet at that place.
    pub(super) fn get(&self, now: Instant, at: PacketRef) -> Option<(&Original, &[u8])> {
        self.all.get(&at.history)?.get(now, Seq(at.position))
    }

    /// Packets behind `first` in its stream that arrived before it, in order; the newest of them was `highest`.
    pub(super) fn behind(
        &self,
        now: Instant,
        first: SourcePacket,
        highest: Seq,
    ) -> impl Iterator<Item = SourcePacket> {
        (first.sequence.0 + 1..=highest.0)
            .take(BEHIND_MAX)
            .filter_map(move |position| {
                let at = PacketRef { position, ..first.at };
                let (original, payload) = self.get(now, at)?;
                let size = u16::try_from(payload.len()).unwrap_or(u16::MAX);
                Some(SourcePacket {
                    of: first.of,
                    sequence: Seq(position),
                    at,
                    size,
                    original: *original,
                    resumes: false,
                })
            })
    }
}

/// A slot that may show a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Subscriber {
    pub(super) endpoint: EndpointId,
    pub(super) slot: SlotId,
    /// Packets of other layers need not be offered to it.
    pub(super) layers: LayerSet,
}

impl Subscriber {
    /// The same slot.
    pub(super) fn is_of(&self, other: &Self) -> bool {
        (self.endpoint, self.slot) == (other.endpoint, other.slot)
    }
}

/// What one endpoint sends of one kind.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) number: SourceNumber,
    pub(super) on: bool,
    /// Slots that show or should show it; some no longer do and are found out at the next packet. At most one entry per
    /// slot of the room.
    pub(super) subscribers: Vec<Subscriber>,
    /// Playout delay that its late repairs ask for.
    pub(super) late: Raised,
    /// When to look after dead layers and waiting slots.
    pub(super) check_at: Option<Instant>,
    /// It sends its spatial layers in one stream, which is that of layer 0.
    pub(super) svc: bool,
    /// Of what came last.
    pub(super) codec: Option<Codec>,
    pub(super) layers: [Layer; LAYERS_MAX],
    /// Of sound.
    pub(super) silence: Silence,
    /// Which links want each layer, a bit for each.
    pub(super) pulled: [u64; LAYERS_MAX],
    /// Of a source in another half of the room.
    pub(super) told: Option<Told>,
}

/// A simulcast layer with its stream, or a spatial layer.
#[derive(Debug, Default)]
pub(super) struct Layer {
    pub(super) current: Option<Current>,
    pub(super) live: bool,
    last: Option<Instant>,
    pub(super) height: Option<u16>,
    meter: Meter,
}

/// The stream that a layer arrives in.
#[derive(Debug)]
pub(super) struct Current {
    stream: u32,
    history: u32,
    highest: Seq,
    /// Where the last key frame begins, and when it came.
    pub(super) key: Option<(Seq, Instant)>,
}

/// A packet that was let in.
#[derive(Debug)]
pub(super) struct Admitted {
    pub(super) packet: SourcePacket,
    /// The newest of its stream so far.
    pub(super) highest: Seq,
    /// A layer came to life or changed its height.
    pub(super) layers_changed: bool,
    /// A layer of pictures comes in another stream from now on: what is shown of the former one waits for a key frame.
    pub(super) anew: bool,
}

/// The lowest layer of a camera that nobody watches has a key frame so often.
const WARM: Duration = Duration::from_secs(2);
/// Bytes around a payload on the wire: IP and UDP, RTP header with CSRC and extensions, SRTP tag.
const PACKET_OVERHEAD: u64 = 80;
/// A layer without a packet for so long is dead.
pub(super) const LAYER_SILENCE: Duration = Duration::from_millis(500);
/// The layers of a picture come within so long of each other, and pictures in not much more.
const LAYERS_APART: Duration = Duration::from_millis(200);
/// A waiting slot asks again after so long.
pub(super) const ASK_AGAIN: Duration = Duration::from_millis(500);

impl Source {
    pub(super) fn new(number: SourceNumber) -> Self {
        Self {
            number,
            on: false,
            subscribers: Vec::new(),
            late: Raised::default(),
            check_at: None,
            svc: false,
            codec: None,
            layers: Default::default(),
            silence: Silence::default(),
            pulled: [0; LAYERS_MAX],
            told: None,
        }
    }

    fn is_video(&self) -> bool {
        self.number.kind().media() == MediaKind::Video
    }

    /// Keeps a packet. None if it cannot be kept or is of a former stream of its layer.
    pub(super) fn admit(
        &mut self,
        now: Instant,
        arrival: &Arrival<'_>,
        histories: &mut Histories,
    ) -> Option<Admitted> {
        let limit = HistoryLimit::of(self.number.kind().media(), arrival.layer, arrival.layers);
        let layer = self.layers.get_mut(usize::from(arrival.layer))?;
        let former = layer.current.as_ref().map(|current| current.stream);
        let current = layer.enter(now, arrival, limit, histories)?;
        let of = LayerStream {
            source: self.number,
            layer: arrival.layer,
            stream: arrival.stream,
        };
        let at = PacketRef {
            history: current.history,
            position: arrival.sequence.0,
        };
        let packet = SourcePacket::new(of, at, arrival);
        let history = histories.all.get_mut(&current.history)?;
        let mut kept = [0; LENGTH_MAX];
        let descriptor = arrival.descriptor.and_then(|carried| carried.write(&mut kept));
        let before = descriptor.unwrap_or_default();
        if !history.insert_behind(now, arrival.sequence, packet.original, before, arrival.payload) {
            return None;
        }
        current.highest = current.highest.max(arrival.sequence);
        let highest = current.highest;
        let begins = |picture: Picture| picture.key_frame && picture.starts_picture;
        let begins_key_frame = arrival.video.is_some_and(begins);
        if begins_key_frame {
            current.key = Some((arrival.sequence, now));
        }
        let spatial = arrival.video.and_then(|picture| picture.spatial);
        self.svc = spatial.is_some();
        self.codec = Some(arrival.codec);
        let shown = spatial.map_or(arrival.layer, |spatial| spatial.layer);
        let grew = begins_key_frame && self.learn_heights(arrival);
        // A fourth spatial layer counts with the third.
        let layer = &mut self.layers[usize::from(shown).min(LAYERS_MAX - 1)];
        let temporal = arrival.video.and_then(|picture| picture.temporal);
        layer.meter.add(
            now,
            temporal,
            u64::from(packet.size) + PACKET_OVERHEAD,
            begins_key_frame,
        );
        layer.last = layer.last.max(Some(now));
        let woke = self.told.is_none() && !std::mem::replace(&mut layer.live, true);
        if woke && self.is_video() {
            self.check_at = soonest(self.check_at, Some(now + LAYER_SILENCE));
        }
        Some(Admitted {
            packet,
            highest,
            layers_changed: woke || grew,
            anew: former.is_some_and(|former| former != arrival.stream) && self.is_video(),
        })
    }

    /// The stream that a layer arrives in now.
    pub(super) fn stream_of(&self, layer: u8) -> Option<u32> {
        let layer = if self.svc { 0 } else { layer };
        self.layers
            .get(usize::from(layer))?
            .current
            .as_ref()
            .map(|current| current.stream)
    }

    /// Pictures of it arrive.
    pub(super) fn is_live(&self) -> bool {
        self.is_video() && self.layers.iter().any(|layer| layer.live)
    }

    /// Height of a layer's pictures, once a key frame told it.
    pub(super) fn height(&self, layer: u8) -> Option<u16> {
        self.layers.get(usize::from(layer))?.height
    }

    /// Its layers come in one stream, each of which needs those below it.
    pub(super) fn is_nested(&self) -> bool {
        self.svc
    }

    /// What it has to offer, lowest layer first, of which `encodings` were agreed upon.
    pub(super) fn offers(&self, encodings: u8) -> [Offer; LAYERS_MAX] {
        if let Some(told) = &self.told {
            return told.offers;
        }
        let (mut index, mut below) = (0, Bitrate::ZERO);
        self.layers.each_ref().map(|layer| {
            index += 1;
            // A spatial layer needs those below it; a simulcast layer stands alone.
            let rates = layer.meter.rates().map(|rate| rate + below);
            if self.svc {
                below = rates[TEMPORAL_MAX - 1];
            }
            Offer {
                can: index <= encodings || self.svc && layer.live,
                live: layer.live,
                height: layer.height,
                rates,
            }
        })
    }

    /// Nothing came of a layer for a while in which another one came: what is kept of it is older than what the other shows.
    pub(super) fn is_behind(&self, layer: u8, other: u8) -> bool {
        let last = |layer: u8| self.layers.get(usize::from(layer)).and_then(|layer| layer.last);
        match (last(layer), last(other)) {
            (Some(last), Some(other)) => other.saturating_duration_since(last) > LAYERS_APART,
            _ => false,
        }
    }

    /// The first packet of the last key frame of a layer, if that is no older than `age`, and the newest number of its stream.
    pub(super) fn last_key(
        &self,
        now: Instant,
        layer: u8,
        age: Duration,
        histories: &Histories,
    ) -> Option<(SourcePacket, Seq)> {
        if self.svc {
            return None; // its key frames are for all layers at once: more than is served in a burst
        }
        let current = self.layers.get(usize::from(layer))?.current.as_ref()?;
        let (sequence, came) = current.key?;
        if now.saturating_duration_since(came) > age {
            return None;
        }
        let at = PacketRef {
            history: current.history,
            position: sequence.0,
        };
        let (original, payload) = histories.get(now, at)?;
        let packet = SourcePacket {
            of: LayerStream {
                source: self.number,
                layer,
                stream: current.stream,
            },
            sequence,
            at,
            size: u16::try_from(payload.len()).unwrap_or(u16::MAX),
            original: *original,
            resumes: false,
        };
        Some((packet, current.highest))
    }

    /// From the beginning of a key frame. True if a height is another than before.
    fn learn_heights(&mut self, arrival: &Arrival<'_>) -> bool {
        let sizes = match arrival.codec {
            Codec::Vp9 => {
                let structure = vp9::Descriptor::parse(arrival.payload).and_then(|d| d.structure);
                structure.and_then(|s| Some((s.sizes?, s.spatial_layers)))
            }
            Codec::Vp8 => vp8::frame_size(arrival.payload).map(|size| ([size; vp9::SPATIAL_MAX], 1)),
            Codec::H264 => h264::frame_size(arrival.payload).map(|size| ([size; vp9::SPATIAL_MAX], 1)),
            Codec::Av1 => described_sizes(arrival)
                .or_else(|| av1::frame_size(arrival.payload).map(|size| ([size; vp9::SPATIAL_MAX], 1))),
            Codec::Opus => None,
        };
        let Some((sizes, count)) = sizes else {
            return false;
        };
        let count = if self.svc { usize::from(count) } else { 1 };
        let layers = self.layers.iter_mut().skip(arrival.layer.into());
        let mut news = false;
        for (layer, (_, height)) in layers.zip(sizes.into_iter().take(count)) {
            if height > 0 && layer.height != Some(height) {
                (layer.height, news) = (Some(height), true);
            }
        }
        news
    }

    /// A camera that nobody watches, and whose lowest layer had no key frame for so long that a page which turns to it
    /// would have to wait for one.
    pub(super) fn is_cold(&self, now: Instant) -> bool {
        let lowest = &self.layers[0];
        let key = lowest.current.as_ref().and_then(|current| current.key);
        self.number.kind() == SourceKind::Camera
            && self.subscribers.is_empty()
            && self.pulled.iter().all(|&links| links == 0)
            && self.told.is_none()
            && lowest.live
            && key.is_none_or(|(_, at)| now.saturating_duration_since(at) >= WARM)
    }

    /// Finds layers that died. True if any did. Sets the time of the next look at the living ones.
    pub(super) fn check_layers(&mut self, now: Instant) -> bool {
        self.check_at = None;
        if self.told.is_some() {
            self.check_told(now);
            return false; // its own half tells
        }
        let mut died = false;
        for layer in self.layers.iter_mut().filter(|layer| layer.live) {
            let dead_at = layer.last.map_or(now, |last| last + LAYER_SILENCE);
            if dead_at <= now {
                layer.live = false;
                died = true;
            } else {
                self.check_at = soonest(self.check_at, Some(dead_at));
            }
        }
        died
    }

    /// Takes the place of what the same slot wanted before.
    pub(super) fn subscribe(&mut self, subscriber: Subscriber) {
        match self.subscribers.iter_mut().find(|known| known.is_of(&subscriber)) {
            Some(known) => *known = subscriber,
            None => self.subscribers.push(subscriber),
        }
    }

    /// That slot wants no other layers any more, if it still wants the source.
    pub(super) fn narrow(&mut self, subscriber: Subscriber) {
        if let Some(known) = self.subscribers.iter_mut().find(|known| known.is_of(&subscriber)) {
            *known = subscriber;
        }
    }

    /// It sends no more; what was kept is given up when nobody needs it any more.
    pub(super) fn stop(&mut self, now: Instant, histories: &mut Histories) {
        for layer in &mut self.layers {
            if let Some(current) = layer.current.take() {
                histories.close(now, current.history);
            }
            *layer = Layer::default();
        }
        self.subscribers.clear();
        self.check_at = None;
        self.on = false;
        self.told = self.told.map(|_| Told::default());
    }
}

/// Of the spatial layers, from a dependency descriptor: the payload tells the highest alone.
fn described_sizes(arrival: &Arrival<'_>) -> Option<([(u16, u16); vp9::SPATIAL_MAX], u8)> {
    let heights = arrival.heights?;
    let mut sizes = [(0, 0); vp9::SPATIAL_MAX];
    for (size, height) in sizes.iter_mut().zip(heights) {
        *size = (0, height);
    }
    Some((sizes, LAYERS_MAX as u8))
}

/// More of a key frame is not sent after its late first packet.
const BEHIND_MAX: usize = 512;

impl Layer {
    /// The stream that `arrival` belongs to, a new one if it is newer than the present one.
    fn enter(
        &mut self,
        now: Instant,
        arrival: &Arrival<'_>,
        limit: HistoryLimit,
        histories: &mut Histories,
    ) -> Option<&mut Current> {
        if let Some(current) = self
            .current
            .as_ref()
            .filter(|current| current.stream != arrival.stream)
        {
            if arrival.stream < current.stream {
                return None;
            }
            // The uplink bounds how often this happens; each takes a history.
            histories.close(now, current.history);
            self.current = None;
        }
        let fresh = || Current {
            stream: arrival.stream,
            history: histories.open(limit),
            highest: arrival.sequence,
            key: None,
        };
        Some(self.current.get_or_insert_with(fresh))
    }
}
