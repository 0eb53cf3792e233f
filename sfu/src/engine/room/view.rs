//! What slots should show: decided anew when a view, a source or a layer changes.

use std::time::Instant;

use super::{
    super::{
        id::{EndpointId, MediaKind, PointNumber, Rank, SlotId, SourceKind, SourceNumber},
        packet::{Output, soonest},
        page::Want,
        selector::{ALL_TEMPORAL, Target},
        slot::Slot,
    },
    Room, SPEAKER_EVERY,
    source::{ASK_AGAIN, Source, Subscriber},
    voices::{self, Ranking},
};

impl Room {
    /// The pictures an endpoint wants, the whole list. Wants for slots it has not, for sounds, or of height 0 are
    /// counted and passed over; of two for one slot the last counts.
    pub(super) fn set_view(&mut self, now: Instant, id: EndpointId, wants: &[Want]) -> Option<()> {
        let endpoint = self.endpoints.get_mut(id)?;
        endpoint.wants.clear();
        for want in wants {
            let fits = want.slot.kind == MediaKind::Video
                && want.source.kind().media() == MediaKind::Video
                && want.height > 0
                && usize::from(want.slot.index) < endpoint.video.len();
            if fits {
                endpoint.wants.insert(want.slot.index, *want);
            } else {
                self.stats.commands_refused += 1;
            }
        }
        self.plan_now(now);
        Some(())
    }

    /// The voice an endpoint wants in `a0`, or that of the picture in `v0` again.
    pub(super) fn set_voice(
        &mut self,
        now: Instant,
        id: EndpointId,
        source: Option<SourceNumber>,
    ) -> Option<()> {
        let endpoint = self.endpoints.get_mut(id)?;
        if source.is_some_and(|source| source.kind().media() != MediaKind::Audio) {
            return None;
        }
        endpoint.voice = source;
        self.assign_voices(now, Some(id));
        Some(())
    }

    /// A source went on or off.
    pub(super) fn source_changed(&mut self, now: Instant, number: SourceNumber) {
        let is_on = self.source(number).is_some_and(|source| source.on);
        // A voice that ends waits for the next plan: its last words may still go again.
        if number.kind().media() == MediaKind::Video || is_on {
            self.plan_now(now);
        }
        if number.kind() != SourceKind::Camera {
            self.assign_voices(now, None);
        }
    }

    /// A source sends no more: nothing of it is left in any slot, also not where another one is awaited.
    pub(super) fn empty_all(&mut self, now: Instant, number: SourceNumber) {
        let awaits = |slot: &Slot| slot.target().is_some_and(|target| target.source == number);
        let holds = |slot: &&Slot| slot.on_page() == Some(number) || awaits(slot);
        let slots = self
            .endpoints
            .values()
            .flat_map(|e| e.slots().filter(holds).map(|slot| (e.id, slot.id, awaits(slot))));
        let slots = slots.collect::<Vec<_>>();
        for &(id, slot, awaits) in &slots {
            if awaits {
                // It has forgotten who wants it. Were the aim kept, and it comes back before the next plan, nothing would have changed for that.
                self.aim(now, id, slot, None);
            }
            self.empty(id, slot);
        }
        let stages = slots.iter().filter(|(_, slot, _)| *slot == SlotId::video(0));
        let moved: Vec<EndpointId> = stages.map(|&(id, ..)| id).collect();
        self.assign_voices_to(now, &moved);
    }

    fn empty(&mut self, id: EndpointId, slot: SlotId) {
        if let Some(endpoint) = self.endpoints.get_mut(id) {
            endpoint.empty(slot);
        }
        self.touch(id);
    }

    /// A slot is to show that, or nothing.
    pub(super) fn aim(&mut self, now: Instant, id: EndpointId, slot_id: SlotId, target: Option<Target>) {
        let Some(endpoint) = self.endpoints.get_mut(id) else {
            return;
        };
        let Some(slot) = endpoint.slot_mut(slot_id) else {
            return;
        };
        slot.set_target(now, target);
        self.cascade.wants_changed(now);
        let Some(target) = target else {
            endpoint.empty(slot_id);
            self.touch(id);
            return;
        };
        let layers = slot.may_pass(target.source);
        if let Some(source) = self.source_mut(target.source) {
            source.subscribe(Subscriber {
                endpoint: id,
                slot: slot_id,
                layers,
            });
        }
    }

    /// Asks for key frames for all slots of an endpoint that wait.
    pub(super) fn ask_for(&mut self, now: Instant, id: EndpointId) {
        let slots = self.endpoints.get(id).into_iter().flat_map(|e| &e.video);
        let waiting: Vec<_> = slots
            .filter_map(|slot| Some((slot.id, slot.target()?.source)))
            .collect();
        for (slot, source) in waiting {
            self.ask_if_waiting(now, source, id, slot);
        }
    }

    /// Asks for a key frame of a source if any slot waits for it; slots that have waited for too long are emptied.
    pub(super) fn ask_for_waiting(&mut self, now: Instant, number: SourceNumber) {
        let subscribers = self
            .source(number)
            .map(|source| source.subscribers.clone())
            .unwrap_or_default();
        for Subscriber { endpoint, slot, .. } in subscribers {
            if self.ask_if_waiting(now, number, endpoint, slot) {
                self.empty_if_stale(now, endpoint, slot);
            }
        }
    }

    /// Asks for a key frame if the slot waits for one of that source. True if it does.
    fn ask_if_waiting(&mut self, now: Instant, number: SourceNumber, id: EndpointId, slot: SlotId) -> bool {
        let Some(source) = self.source(number) else {
            return false;
        };
        let Some(slot) = self.endpoints.get(id).and_then(|e| e.slot(slot)) else {
            return false;
        };
        if !slot.waits_for(number, |layer| source.stream_of(layer)) {
            return false;
        }
        let layer = slot.target().and_then(|target| target.layer);
        let shows_another = slot.on_page().is_some_and(|shown| shown != number);
        if (layer.is_some() || shows_another)
            && let Some(source) = self.source_mut(number)
        {
            source.check_at = soonest(source.check_at, Some(now + ASK_AGAIN));
        }
        // Before any layer is live there is nobody to answer: a source begins with a key frame by itself.
        if let Some(layer) = layer {
            self.ask(now, number, layer);
        }
        true
    }

    /// Dead layers, slots that wait, slots that have waited for too long.
    pub(super) fn check_source(&mut self, now: Instant, id: EndpointId, kind: SourceKind) {
        let Some(source) = self.endpoints.get_mut(id).map(|e| e.source_mut(kind)) else {
            return;
        };
        if source.check_at.is_none_or(|at| at > now) {
            return;
        }
        let (number, died) = (source.number, source.check_layers(now));
        let cold = source.is_cold(now);
        if died {
            self.cascade.figures_changed(now);
            self.plan_now(now);
        }
        self.ask_for_waiting(now, number);
        if cold {
            self.ask(now, number, 0);
        }
    }

    fn empty_if_stale(&mut self, now: Instant, id: EndpointId, slot_id: SlotId) {
        let slot = self.endpoints.get(id).and_then(|endpoint| endpoint.slot(slot_id));
        if slot.is_some_and(|slot| slot.is_stale(now)) {
            self.empty(id, slot_id);
            if slot_id == SlotId::video(0) {
                self.assign_voices(now, Some(id));
            }
        }
    }

    /// Layers that lost a packet for good need a key frame, if anybody sees them.
    pub(super) fn ask_for_broken(&mut self, now: Instant, id: EndpointId) {
        let poll = |room: &mut Self| room.endpoints.get_for_packet(id)?.uplink.poll_broken();
        while let Some(broken) = poll(self) {
            let Some(source) = self.endpoints.get(id).map(|e| e.source(broken.source)) else {
                return;
            };
            let number = source.number;
            let crosses = source
                .pulled
                .get(usize::from(broken.layer))
                .is_some_and(|&links| links != 0);
            let seen = crosses
                || source.subscribers.iter().any(|subscriber| {
                    let slot = self
                        .endpoints
                        .get(subscriber.endpoint)
                        .and_then(|e| e.slot(subscriber.slot));
                    let shown = slot.and_then(Slot::shown);
                    shown.is_some_and(|shown| shown.source == number && shown.layer == broken.layer)
                });
            if seen {
                self.ask(now, number, broken.layer);
            }
        }
    }

    /// Looks who is loudest; where not all are heard also who is to be.
    pub(super) fn look_for_speaker(&mut self, now: Instant) {
        self.elect(now);
        if let Some(speaker) = self.speaker.update(now) {
            self.outputs.push_back(Output::Speaker(speaker));
        }
        let quiet = self.speaker.current().is_none() && self.speaker.loudest(now).next().is_none();
        self.speaker_at = (!quiet).then(|| now + SPEAKER_EVERY);
        let voices = self.sounds().count();
        // With more voices than slots, or than its way carries.
        let all = self.endpoints.values();
        let choosing = all.filter(|endpoint| endpoint.audio.len().min(endpoint.voices) < voices + 1);
        let ids: Vec<EndpointId> = choosing.map(|endpoint| endpoint.id).collect();
        self.assign_voices_to(now, &ids);
    }

    /// Somebody has the floor from now on, or nobody.
    pub(super) fn set_floor(&mut self, now: Instant, floor: Option<PointNumber>) {
        if self.floor != floor {
            self.floor = floor;
            self.assign_voices(now, None);
        }
    }

    /// Sets the audio slots of one endpoint, or of all.
    pub(super) fn assign_voices(&mut self, now: Instant, only: Option<EndpointId>) {
        let ids: Vec<EndpointId> = match only {
            Some(id) => vec![id],
            None => self.endpoints.keys().collect(),
        };
        self.assign_voices_to(now, &ids);
    }

    /// Sets the audio slots of these.
    pub(super) fn assign_voices_to(&mut self, now: Instant, ids: &[EndpointId]) {
        if ids.is_empty() {
            return;
        }
        let mut sounds: Vec<(SourceNumber, Rank)> = self.sounds().collect();
        // Who has just begun to speak passes for silent for a moment; who sends nothing is behind.
        sounds.sort_by_key(|&(number, _)| self.source(number).is_some_and(Source::is_withheld));
        let ranking = Ranking::new(sounds.into_iter(), self.floor, self.speaker.loudest(now));
        for &id in ids {
            self.assign_voices_of(now, id, &ranking);
        }
    }

    fn assign_voices_of(&mut self, now: Instant, id: EndpointId, ranking: &Ranking) {
        let Some(endpoint) = self.endpoints.get(id).filter(|endpoint| endpoint.connected) else {
            return;
        };
        let is_on = |number| self.source(number).is_some_and(|source| source.on);
        let pictured = endpoint.stage().filter(|_| endpoint.voice.is_none());
        let stage = pictured
            .and_then(|picture| voices::stage_voice(picture, is_on))
            .or(endpoint.voice.filter(|&voice| is_on(voice)));
        let heard: Vec<Option<SourceNumber>> = endpoint
            .audio
            .iter()
            .map(|slot| slot.target().map(|target| target.source))
            .collect();
        let wanted = voices::assign(endpoint.number, stage, &heard, ranking, endpoint.voices);
        let changed = || {
            (0u8..)
                .map(SlotId::audio)
                .zip(heard.iter().zip(&wanted))
                .filter(|(_, (a, b))| a != b)
        };
        // First all that end, so that nobody is heard in two slots for a moment.
        for (slot, _) in changed() {
            self.aim(now, id, slot, None);
        }
        for (slot, (_, source)) in changed() {
            if let Some(source) = *source {
                self.aim(
                    now,
                    id,
                    slot,
                    Some(Target {
                        source,
                        layer: None,
                        temporal: ALL_TEMPORAL,
                    }),
                );
            }
        }
    }

    /// All sound that is on, with the rank of its point.
    pub(super) fn sounds(&self) -> impl Iterator<Item = (SourceNumber, Rank)> {
        let sources = self
            .numbers
            .values()
            .filter_map(|&id| self.endpoints.get(id))
            .flat_map(|e| e.sources.iter().map(|source| (source, e.rank)));
        sources
            .filter(|(s, _)| s.on && s.number.kind().media() == MediaKind::Audio)
            .map(|(s, rank)| (s.number, rank))
    }
}
