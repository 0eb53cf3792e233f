//! Which packets of this half go over its links: pictures in the layers that the other half wants, and the voices that matter.

use std::time::{Duration, Instant};

use super::{
    super::{
        allocate::VOICES_MAX,
        arrival::Arrival,
        cascade::{Packet, Place, Role},
        id::{EndpointId, MediaKind, PointNumber, Rank, SourceKind, SourceNumber},
        silence::Verdict,
        slot::SourcePacket,
    },
    Room,
    source::Admitted,
};

/// So many of a half's voices cross: no more are heard anywhere.
const LOUD_MAX: usize = VOICES_MAX as usize;
/// And so many besides: of the floor's holder, of chairs, and the sound of screens.
const LEADING_MAX: usize = 6;
/// One who made no sound for so long gives way to whoever does.
const SOUNDING: Duration = Duration::from_secs(1);

/// Whose sound crosses, the loudest first.
#[derive(Debug, Default)]
pub(super) struct Voices(Vec<Voice>);

#[derive(Debug, Clone, Copy)]
struct Voice {
    source: SourceNumber,
    /// It is not one of the loud ones: it crosses whatever others do.
    leads: bool,
    heard: Instant,
    /// Its last packet crossed: the next one goes on from it.
    flows: bool,
}

impl Voices {
    /// A source went off.
    pub(super) fn forget(&mut self, source: SourceNumber) {
        self.0.retain(|voice| voice.source != source);
    }

    fn find(&mut self, source: SourceNumber) -> Option<&mut Voice> {
        self.0.iter_mut().find(|voice| voice.source == source)
    }

    /// The place of one who makes a sound, if it has one or finds one.
    fn sounds(&mut self, now: Instant, source: SourceNumber, leads: bool) -> Option<&mut Voice> {
        if self.find(source).is_none() && !self.add(now, source, leads, false) {
            return None;
        }
        self.find(source)
    }

    /// One more, if there is room: one who is silent gives way, and for one who is among the loudest the last of the others.
    fn add(&mut self, now: Instant, source: SourceNumber, leads: bool, is_loud: bool) -> bool {
        let most = if leads { LEADING_MAX } else { LOUD_MAX };
        if self.0.iter().filter(|voice| voice.leads == leads).count() >= most {
            let is_silent = |voice: &Voice| now.saturating_duration_since(voice.heard) >= SOUNDING;
            let gives_way = |voice: &Voice| voice.leads == leads && (is_loud || is_silent(voice));
            let Some(at) = self.0.iter().rposition(gives_way) else {
                return false;
            };
            self.0.remove(at);
        }
        self.0.push(Voice {
            source,
            leads,
            heard: now,
            flows: false,
        });
        true
    }

    /// These are the loudest of those that do not lead; who is in keeps its place behind them as long as there is room.
    fn elect(&mut self, now: Instant, loudest: &[SourceNumber], leads: impl Fn(SourceNumber) -> bool) {
        let place = |voice: &Voice| {
            loudest
                .iter()
                .position(|&loud| loud == voice.source)
                .unwrap_or(LOUD_MAX)
        };
        for voice in &mut self.0 {
            voice.leads = leads(voice.source);
        }
        self.0.sort_by_key(place);
        for lead in [false, true] {
            let most = if lead { LEADING_MAX } else { LOUD_MAX };
            let mut count = 0;
            self.0.retain(|voice| {
                count += usize::from(voice.leads == lead);
                voice.leads != lead || count <= most
            });
        }
        for &source in loudest {
            if self.find(source).is_none() {
                self.add(now, source, false, true);
                self.0.sort_by_key(place);
            }
        }
    }
}

impl Room {
    /// A packet of a source here goes to the links that want it.
    pub(super) fn cross(
        &mut self,
        now: Instant,
        from: EndpointId,
        arrival: &Arrival<'_>,
        admitted: &Admitted,
        verdict: Verdict,
    ) {
        if self.cascade.is_empty() {
            return;
        }
        let Some(endpoint) = self.endpoints.get(from) else {
            return;
        };
        let mut packet = crossing(&admitted.packet, endpoint.incarnation, arrival.layers, Role::Live);
        packet.level = arrival.level;
        packet.heights = arrival.heights;
        packet.repair_time = arrival.repaired.then(|| endpoint.uplink.repair_time());
        if arrival.source.media() == MediaKind::Audio {
            self.cross_sound(now, packet, verdict);
            return;
        }
        let pulled = &endpoint.source(arrival.source).pulled;
        let links = pulled.get(usize::from(arrival.layer)).copied().unwrap_or(0);
        self.push(links, packet);
    }

    /// To these links, a bit for each.
    pub(super) fn push(&mut self, links: u64, packet: Packet) {
        for link in self.cascade.links_mut() {
            if links >> link.id.0 & 1 == 1 && link.push(packet) {
                self.stats.cascade.dropped += 1;
            }
        }
    }

    /// Sound crosses to all halves, if it is one of those that do; of silence only the level.
    fn cross_sound(&mut self, now: Instant, mut packet: Packet, verdict: Verdict) {
        let number = packet.source;
        let leads = self.leads(number);
        let voices = &mut self.cascade.voices;
        if verdict == Verdict::Withhold {
            let (Some(voice), Some(level)) = (voices.find(number), packet.level) else {
                return;
            };
            voice.flows = false;
            for link in self.cascade.links_mut() {
                link.push_level(number, level);
            }
            return;
        }
        let Some(voice) = voices.sounds(now, number, leads) else {
            return;
        };
        voice.heard = now;
        let goes_on = std::mem::replace(&mut voice.flows, true) && verdict != Verdict::Resume;
        if !goes_on {
            packet.role = Role::Resumes;
        }
        self.push(u64::MAX, packet);
    }

    /// Chooses anew whose voices cross: the loudest here.
    pub(super) fn elect(&mut self, now: Instant) {
        if self.cascade.is_empty() {
            return;
        }
        let is_one = |point: &PointNumber| {
            let endpoint = self.numbers.get(point).and_then(|&id| self.endpoints.get(id));
            let sounds = endpoint.is_some_and(|e| e.home.is_none() && e.source(SourceKind::Mic).on);
            sounds && !self.leads(point.source(SourceKind::Mic))
        };
        let loudest = self.speaker.loudest(now).filter(is_one).take(LOUD_MAX);
        let loudest: Vec<SourceNumber> = loudest.map(|point| point.source(SourceKind::Mic)).collect();
        let mut voices = std::mem::take(&mut self.cascade.voices);
        voices.elect(now, &loudest, |source| self.leads(source));
        self.cascade.voices = voices;
    }

    /// The floor's holder, a chair, or the sound of a screen.
    fn leads(&self, source: SourceNumber) -> bool {
        let point = source.point();
        let endpoint = self.numbers.get(&point).and_then(|&id| self.endpoints.get(id));
        source.kind() == SourceKind::ScreenSound
            || self.floor == Some(point)
            || endpoint.is_some_and(|endpoint| endpoint.rank == Rank::Chair)
    }
}

/// A packet that is kept, as it crosses.
pub(super) fn crossing(packet: &SourcePacket, incarnation: u32, layers: u8, role: Role) -> Packet {
    Packet {
        source: packet.of.source,
        incarnation,
        layer: packet.of.layer,
        layers,
        stream: packet.of.stream,
        sequence: packet.sequence,
        original: packet.original,
        level: None,
        heights: None,
        repair_time: None,
        role,
        wants: 0,
        at: Place::History(packet.at),
    }
}
