//! Asks the allocation who gets what, and does as it says: targets of slots, voices, what senders are to send, and the
//! words why it is less than wanted.
//!
//! It is asked when something changes that it must know, in a large room not more often than it can be afforded, and once
//! in a while besides: layers grow and shrink, and what was held back may rise.

use std::time::{Duration, Instant};

use super::{
    super::{
        allocate::{self, Allocation, Beyond, Demand, Kind, Line, Loss, Policy, Problem, Receiver, Sender},
        bottleneck::Bottlenecks,
        id::{EndpointId, LineIndex, MediaKind, SlotId, SourceKind},
        overload::Overload,
        packet::{LineShare, Output, SlotGrade, SourceGrade, soonest},
        page::Want,
        quality::LayerOrder,
        redundancy::Need,
        selector::Target,
        shortfall::Cause,
        units::Bitrate,
    },
    Room,
    endpoint::Endpoint,
    source::Source,
    way::Change,
};

/// What the room last decided, and when it decides again.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) allocation: Allocation,
    pub(super) lines: Vec<Line>,
    /// Who shares a line that is not among them.
    pub(super) bottlenecks: Bottlenecks,
    pub(super) levelled: Option<Instant>,
    /// While the node has more to do than it can.
    pub(super) overload: Overload,
    made: Option<Instant>,
    due: Option<Instant>,
}

/// In a room of so few an allocation costs next to nothing.
const FEW: usize = 20;
/// Between two allocations there is so much time for each endpoint above that: they take a tenth of it at most.
const GAP_EACH: Duration = Duration::from_micros(150);
/// A way that got better waits so long: others will have, too.
const SOON: Duration = Duration::from_millis(100);
/// And it is looked at again after so long if nothing happens.
const AGAIN: Duration = Duration::from_millis(500);
/// A voice on the wire: 24 to 32 kb/s of Opus and fifty headers a second.
pub(super) const VOICE: Bitrate = Bitrate::kbps(56);
/// What a newcomer who wants nothing yet is expected to want in each slot: a page of small pictures.
const THUMBNAIL: Bitrate = Bitrate::kbps(150);
/// Sound of a screen may be stereo music.
const SCREEN_SOUND: Bitrate = Bitrate::kbps(128);
/// So much of a line is given out, in percent: pictures take more in one second than in another, and upward headers come on top of what is
/// ordered.
const LINE_PERCENT: u64 = 90;
/// What is given already may take so much of it more, in percent. Where the last one that fits is at the edge, the breath of one camera would
/// take its layer away and give it back again, each time with a key frame for everybody.
const BREATH_PERCENT: u64 = 5;

impl Plan {
    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }
}

impl Room {
    /// What the room may take of each line.
    pub(super) fn set_lines(&mut self, now: Instant, shares: &[LineShare]) {
        self.plan.lines = shares
            .iter()
            .map(|share| Line {
                line: share.line,
                down: percent_of(share.down, LINE_PERCENT),
                breath: percent_of(share.down, BREATH_PERCENT),
                up: percent_of(share.up, LINE_PERCENT),
            })
            .collect();
        self.plan_now(now);
    }

    /// Another second of work is over.
    pub(super) fn set_busy(&mut self, now: Instant, busy: u16) {
        let receivers = self.plan.allocation.receivers.iter();
        let greatest = receivers.map(|grant| grant.used).max().unwrap_or_default();
        if self.plan.overload.look(busy, greatest) {
            self.plan_now(now);
        }
    }

    /// What a receiver gets at most because the node has more to do than it can; none while it has time.
    pub fn overload(&self) -> Option<Bitrate> {
        self.plan.overload.most()
    }

    /// Other lines are on the way to an endpoint.
    pub(super) fn set_way(&mut self, now: Instant, id: EndpointId, lines: Vec<LineIndex>) -> Option<()> {
        self.endpoints.get_mut(id)?.lines = lines;
        self.plan_now(now);
        Some(())
    }

    /// Something changed that decides who gets what: at once, or as soon as it can be afforded.
    pub(super) fn plan_now(&mut self, now: Instant) {
        let many = self.endpoints.len().saturating_sub(FEW);
        let gap = GAP_EACH * u32::try_from(many).unwrap_or(u32::MAX);
        match self.plan.made.map(|made| made + gap) {
            Some(earliest) if earliest > now => self.plan_at(earliest),
            _ => self.make_plan(now),
        }
    }

    fn plan_at(&mut self, at: Instant) {
        self.plan.due = soonest(self.plan.due, Some(at));
    }

    /// The time has come.
    pub(super) fn plan_if_due(&mut self, now: Instant) {
        if self.plan.due.is_some_and(|due| due <= now) {
            self.make_plan(now);
        }
    }

    /// An endpoint's way may carry more or less than was planned with.
    pub(super) fn estimate_changed(&mut self, now: Instant, id: EndpointId) {
        let Some(endpoint) = self.endpoints.get_for_packet(id) else {
            return;
        };
        let change = endpoint.way.follow(now);
        self.way_changed(now, change);
    }

    /// The plan follows a way that carries more or less than was planned with.
    pub(super) fn way_changed(&mut self, now: Instant, change: Option<Change>) {
        match change {
            Some(Change::Fell) => self.plan_now(now),
            Some(Change::Rose) => self.plan_at(now + SOON),
            None => {}
        }
    }

    fn make_plan(&mut self, now: Instant) {
        // Whoever turns to something is served from what is kept, the batch among it: nobody gets that twice.
        self.distribute();
        self.plan.due = None;
        self.plan.made = Some(now);
        self.level_ways(now);
        let allocation = self.allocate(now);
        self.plan.allocation = allocation;
        self.share_lines(now);
        let ids: Vec<EndpointId> = self.endpoints.values().map(|endpoint| endpoint.id).collect();
        let mut voices_changed = false;
        for id in ids {
            voices_changed |= self.follow_plan(now, id);
        }
        if voices_changed {
            self.assign_voices(now, None);
        }
        self.cascade.wants_changed(now);
        let is_live = |endpoint: &Endpoint| endpoint.sources.iter().any(Source::is_live);
        if self.endpoints.values().any(is_live) {
            self.plan_at(now + AGAIN);
        }
    }

    fn allocate(&mut self, now: Instant) -> Allocation {
        for endpoint in self.endpoints.values_mut() {
            endpoint.way.plan();
        }
        let room = &*self;
        let inputs: Vec<(&Endpoint, Vec<Demand>, Vec<allocate::Source>)> = room
            .endpoints
            .values()
            .map(|endpoint| (endpoint, room.demands(endpoint), offers(endpoint)))
            .collect();
        let voices = room.count_voices();
        let wanted = room.cascade.wanted();
        let ways = room.cascade.ways();
        let receivers: Vec<Receiver<'_>> = inputs
            .iter()
            .filter(|(endpoint, ..)| endpoint.connected)
            .map(|(endpoint, demands, _)| {
                Self::receiver(endpoint, demands, voices, room.stage_base(endpoint))
            })
            .collect();
        let senders: Vec<Sender<'_>> = inputs
            .iter()
            .map(|(endpoint, _, sources)| sender(endpoint, sources))
            .collect();
        let problem = Problem {
            now,
            receivers: &receivers,
            senders: &senders,
            lines: &room.plan.lines,
            beyond: Beyond {
                wanted: &wanted,
                thin: ways.thin,
                wide: ways.wide,
            },
            policy: Policy {
                node_max: room.plan.overload.most(),
                ..Policy::default()
            },
        };
        allocate::allocate(&problem, &room.plan.allocation)
    }

    /// The pictures an endpoint wants that somebody sends, the stage first.
    fn demands(&self, endpoint: &Endpoint) -> Vec<Demand> {
        let speaker = self.speaker.current();
        let demand = |want: &Want| {
            let source = self.source(want.source).filter(|source| source.on)?;
            let kind = match want.source.kind() {
                _ if want.slot == SlotId::video(0) => Kind::Stage,
                _ if want.pinned => Kind::Pinned,
                SourceKind::Screen => Kind::Screen,
                _ if speaker == Some(want.source.point()) => Kind::Speaker,
                _ => Kind::Thumbnail,
            };
            let takes = |codec| endpoint.slot(want.slot).is_some_and(|slot| slot.takes(codec));
            Some(Demand {
                slot: want.slot,
                source: want.source,
                kind,
                height: want.height,
                fps: 0, // a source that is a thumbnail everywhere is ordered to send fewer, and then all of them count
                decodable: source.codec.is_none_or(takes),
            })
        };
        let others = endpoint
            .wants
            .values()
            .filter(|want| want.source.point() != endpoint.number);
        others.filter_map(demand).collect()
    }

    fn receiver<'a>(
        endpoint: &'a Endpoint,
        demands: &'a [Demand],
        all: Voices,
        stage_base: Option<Bitrate>,
    ) -> Receiver<'a> {
        let voices = all.for_one(endpoint);
        let state = endpoint.way.state();
        let (redundancy, third) = endpoint.redundancy_wanted();
        Receiver {
            endpoint: endpoint.id,
            rank: endpoint.rank,
            estimate: Some(endpoint.way.planned()),
            breath: endpoint.way.breath(),
            even: endpoint.way.even(),
            lines: &endpoint.lines,
            voices: u8::try_from(voices).unwrap_or(u8::MAX),
            sounding: u8::try_from(all.sounding_for(endpoint)).unwrap_or(u8::MAX),
            voice: VOICE,
            redundancy,
            third,
            repeats: !endpoint.takes_copies(),
            ahead: stage_base,
            loss: loss_of(
                state.is_congested && state.loss > 0.0,
                endpoint.way.is_waiting(),
                state.is_random_loss,
                &endpoint.need,
            ),
            cpu_steps: endpoint.cpu.decoding.steps(),
            demands,
        }
    }

    /// What the base temporal layer of the picture on its stage takes, if that can go once more as RTX, over a long way: over time, where a source tells of the most in half a second.
    fn stage_base(&self, endpoint: &Endpoint) -> Option<Bitrate> {
        if !endpoint.way.is_long() {
            return None;
        }
        let slot = endpoint.video.first().filter(|slot| slot.takes_padding())?;
        let source = self.source(slot.shown()?.source)?;
        let offers = source.offers(endpoint.encodings(source.number.kind()));
        let most = offers.get(usize::from(slot.layer()?))?.rates[0];
        Some(Bitrate::bps(most.as_bps() / 100 * MEAN_PERCENT))
    }

    /// All voices that are on.
    fn count_voices(&self) -> Voices {
        self.endpoints
            .values()
            .map(voices_of)
            .fold(Voices::default(), |all, some| Voices {
                sounding: all.sounding + some.sounding,
                silent: all.silent + some.silent,
            })
    }

    /// Does what the plan says of one endpoint. True if it is to hear more or fewer voices.
    fn follow_plan(&mut self, now: Instant, id: EndpointId) -> bool {
        self.tell_sender(id);
        let Some(endpoint) = self.endpoints.get(id).filter(|endpoint| endpoint.connected) else {
            return false;
        };
        let stage = endpoint.stage();
        let mut targets: Vec<(SlotId, Option<Target>)> =
            endpoint.video.iter().map(|s| (s.id, None)).collect();
        let mut grades = Vec::new();
        for grant in self.plan.allocation.slots_of(id) {
            let target = match (grant.picture, grant.shortfall) {
                (Some(picture), _) => Some((Some(picture.layer), picture.temporal)),
                // Whatever comes first is better than nothing; the next plan knows it.
                (None, Some(short)) if short.cause == Cause::NotSent => Some((None, 0)),
                (None, _) => None,
            };
            let Some(slot) = targets.get_mut(usize::from(grant.slot.index)) else {
                continue;
            };
            slot.1 = target.map(|(layer, temporal)| Target {
                source: grant.source,
                layer,
                temporal,
            });
            grades.push(SlotGrade {
                slot: grant.slot,
                height: grant.picture.map(|picture| picture.height),
                rate_percent: grant.picture.map_or(0, |picture| picture.rate_percent),
                shortfall: grant.shortfall,
            });
        }
        let mut changed = false;
        for (slot, target) in targets {
            let former = self.endpoints.get(id).and_then(|e| e.slot(slot)?.target());
            if former != target {
                self.aim(now, id, slot, target);
                self.serve_from_history(now, id, slot);
                changed = true;
            }
        }
        if changed {
            self.ask_for(now, id);
        }
        if self.endpoints.get(id).is_some_and(|e| e.stage() != stage) {
            self.assign_voices(now, Some(id));
        }
        self.tell_receiver(now, id, grades)
    }

    /// What an endpoint gets, if it is news. True if it is to hear more or fewer voices.
    fn tell_receiver(&mut self, now: Instant, id: EndpointId, grades: Vec<SlotGrade>) -> bool {
        let grant = self.plan.allocation.receiver(id).copied();
        let (Some(grant), Some(endpoint)) = (grant, self.endpoints.get_mut(id)) else {
            return false;
        };
        let can = endpoint.takes_padding();
        endpoint
            .way
            .set_wanted(now, grant.wanted, expected_of(endpoint), can);
        let changed = endpoint.set_voices(grant.voices_most());
        endpoint.follow_redundancy(&grant);
        endpoint.ahead.set(grant.ahead);
        if endpoint.grades != grades {
            endpoint.grades.clone_from(&grades);
            self.outputs.push_back(Output::Quality {
                endpoint: id,
                slots: grades,
            });
        }
        changed
    }

    /// What an endpoint is to send, if it is news.
    fn tell_sender(&mut self, id: EndpointId) {
        let Some(endpoint) = self.endpoints.get(id) else {
            return;
        };
        let order = |source: &Source| {
            let order = self.plan.allocation.source(source.number)?;
            Some(SourceGrade {
                source: source.number.kind(),
                layers: order
                    .layers
                    .iter()
                    .flatten()
                    .copied()
                    .collect::<Vec<LayerOrder>>(),
                shortfall: order.shortfall,
            })
        };
        let pictures = endpoint.sources.iter().filter(|source| source.on);
        let sources: Vec<SourceGrade> = pictures.filter_map(order).collect();
        let long = self.plan.allocation.sender(id).is_some_and(|s| s.long_packets);
        let voice_ms = if long { 60 } else { 20 };
        let Some(endpoint) = self.endpoints.get_mut(id) else {
            return;
        };
        if endpoint.connected && endpoint.order != (sources.clone(), voice_ms) {
            endpoint.order = (sources.clone(), voice_ms);
            self.outputs.push_back(Output::Send {
                endpoint: id,
                sources,
                voice_ms,
            });
        }
    }
}

/// What a base temporal layer takes over time, of the most that it takes in half a second: of 3.75 pictures a second there are two in it, or one.
const MEAN_PERCENT: u64 = 75;

/// What it may come to want.
fn expected_of(endpoint: &Endpoint) -> Bitrate {
    Bitrate::bps(THUMBNAIL.as_bps() * endpoint.video.len() as u64)
}

/// How many voices there are.
#[derive(Debug, Clone, Copy, Default)]
struct Voices {
    sounding: usize,
    silent: usize,
}

impl Voices {
    /// Voices of others that its way is to have room for, as many as it has slots: those that sound, and one more where
    /// somebody is silent, who may begin to speak.
    fn for_one(self, endpoint: &Endpoint) -> usize {
        let own = voices_of(endpoint);
        let silent = self.silent - own.silent;
        (self.sounding - own.sounding + silent.min(1)).min(endpoint.audio.len())
    }

    /// Of them, those that sound.
    fn sounding_for(self, endpoint: &Endpoint) -> usize {
        self.sounding - voices_of(endpoint).sounding
    }
}

/// Its own.
fn voices_of(endpoint: &Endpoint) -> Voices {
    let sounds = |source: &&Source| source.on && source.number.kind().media() == MediaKind::Audio;
    let on = endpoint.sources.iter().filter(sounds);
    on.fold(Voices::default(), |count, source| {
        let silent = usize::from(source.silence.is_withholding());
        Voices {
            sounding: count.sounding + 1 - silent,
            silent: count.silent + silent,
        }
    })
}

fn percent_of(share: Bitrate, percent: u64) -> Bitrate {
    Bitrate::bps(share.as_bps() / 100 * percent)
}

/// The pictures of an endpoint that are on.
fn offers(endpoint: &Endpoint) -> Vec<allocate::Source> {
    let pictures = endpoint
        .sources
        .iter()
        .filter(|source| source.on && source.number.kind().media() == MediaKind::Video);
    pictures
        .map(|source| allocate::Source {
            number: source.number,
            nested: source.is_nested() || endpoint.is_layered(source.number.kind()),
            layers: source.offers(endpoint.encodings(source.number.kind())),
        })
        .collect()
}

fn sender<'a>(endpoint: &'a Endpoint, sources: &'a [allocate::Source]) -> Sender<'a> {
    let sound = |kind: SourceKind, rate: Bitrate| {
        if endpoint.source(kind).on {
            rate
        } else {
            Bitrate::ZERO
        }
    };
    let sounds = [
        sound(SourceKind::Mic, VOICE),
        sound(SourceKind::ScreenSound, SCREEN_SOUND),
    ];
    Sender {
        endpoint: endpoint.id,
        lines: &endpoint.lines,
        estimate: None, // a sender measures its own way; what it cannot send does not arrive
        sound: Bitrate::bps(sounds.iter().map(|rate| rate.as_bps()).sum()),
        encoder_steps: endpoint.cpu.encoding.steps(),
        sources,
    }
}

/// What a receiver's losses are taken for. `congested`: the way is taken for full; `waits`: packets wait on it.
fn loss_of(congested: bool, waits: bool, random: bool, need: &Need) -> Loss {
    // A burst of losses passes for a full line for a moment. A queue in which nothing waits loses nothing, so the copies go on.
    if congested && (waits || !need.is_heavy()) {
        Loss::Queueing
    } else if random || need.is_on() {
        Loss::Random
    } else {
        Loss::None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::testing::{base, ms};

    fn need(lost: u64) -> Need {
        let mut need = Need::default();
        (0..12).for_each(|tenth| _ = need.note(base() + ms(100 * tenth), lost, 10, false));
        need
    }

    #[test]
    fn heavy_loss_on_a_way_where_nothing_waits_is_not_that_of_a_queue() {
        let (calm, some, heavy) = (need(0), need(1), need(3));
        assert!(!some.is_heavy() && heavy.is_heavy());
        let table = [
            ((false, false, false, &calm), Loss::None),
            ((false, false, true, &calm), Loss::Random),
            ((false, true, false, &some), Loss::Random),
            ((true, false, false, &calm), Loss::Queueing),
            ((true, false, true, &some), Loss::Queueing),
            ((true, true, false, &heavy), Loss::Queueing),
            ((true, false, false, &heavy), Loss::Random),
        ];
        for ((congested, waits, random, need), loss) in table {
            assert_eq!(
                loss_of(congested, waits, random, need),
                loss,
                "{congested} {waits} {need:?}"
            );
        }
    }
}
