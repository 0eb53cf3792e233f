//! Points in other halves of the room: here they are endpoints without a transport, whose packets come over a link.
//!
//! Histories, speaker, slots and plan take them as they take any other. What differs is here: who is there is told by statements,
//! which layers live is told by figures, and whoever wants a key frame asks over the link.

use std::time::{Duration, Instant};

use super::{
    super::{
        allocate::{LAYERS_MAX, Offer},
        arrival::{Arrival, AudioLevel},
        cascade::{CascadeBatch, Figure, LinkId, Packet, Place, Point, Role},
        descriptor::Carried,
        id::{EndpointId, MediaKind, PointNumber, SourceKind, SourceNumber},
        packet::{Codec, Negotiated, NewEndpoint, soonest},
        units::Bitrate,
    },
    Room,
    endpoint::Endpoint,
    source::Source,
    told::Told,
};

/// Ids of far points begin here; those that the driver gives are below.
const FAR: u32 = 1 << 31;
/// Sound that did not come for so long is silence.
const SOUNDING: Duration = Duration::from_secs(1);
/// Nothing is sent to a far point, so it does not matter what its way carries.
const NO_WAY: Bitrate = Bitrate::mbps(1);

impl Endpoint {
    /// Of a point in another half of the room: it sends by way of that, and gets nothing here.
    fn far(epoch: Instant, now: Instant, home: LinkId, point: &Point) -> Self {
        let new = NewEndpoint {
            endpoint: far_id(point.number),
            number: point.number,
            published: Vec::new(),
            rank: point.rank,
            way_start: None,
            lines: Vec::new(), // its own half counts what it takes of them
            media: Negotiated::default(),
            origins: Vec::new(),
        };
        let mut far = Self::new(epoch, now, NO_WAY, new);
        far.home = Some(home);
        far.incarnation = point.incarnation;
        far.encodings = point.encodings;
        far.layered = point.layered;
        for source in &mut far.sources {
            source.told = Some(Told::default());
            source.silence.tell(true);
        }
        far
    }
}

impl Source {
    /// What its own half says of it. True if a layer came to life or died, or has another height.
    fn tell(&mut self, figure: &Figure) -> bool {
        let Some(told) = &mut self.told else {
            return false;
        };
        let was = std::mem::replace(&mut told.offers, figure.layers);
        (self.codec, self.svc) = (figure.codec, figure.nested);
        for (layer, offer) in self.layers.iter_mut().zip(&figure.layers) {
            (layer.live, layer.height) = (offer.live, offer.height);
        }
        let looks = |offers: [Offer; LAYERS_MAX]| offers.map(|offer| (offer.can, offer.live, offer.height));
        looks(was) != looks(figure.layers)
    }

    /// Only these layers are to cross from now on, says that version of our wants. What is kept of the others goes out of date.
    pub(super) fn pull(&mut self, pull: u8, version: u64) {
        let Some(told) = &mut self.told else { return };
        let former = std::mem::replace(&mut told.pull, pull);
        let is_in = |layers: u8, index: usize| layers >> index & 1 == 1;
        for (index, layer) in self.layers.iter_mut().enumerate() {
            if is_in(pull & !former, index) {
                told.since[index] = version;
            }
            if let Some(current) = layer.current.as_mut().filter(|_| is_in(former & !pull, index)) {
                current.key = None;
            }
        }
    }

    /// It crosses for what is wanted now, without a break.
    fn wanted_all_along(&self, packet: &Packet) -> bool {
        let layer = usize::from(packet.layer);
        let is_since = |told: &Told| told.since.get(layer).is_some_and(|&since| packet.wants >= since);
        let told = self.told.as_ref();
        told.is_some_and(|told| layer < LAYERS_MAX && told.pull >> layer & 1 == 1 && is_since(told))
    }

    /// Sound of it came, to be forwarded or not.
    fn sounds(&mut self, now: Instant, withheld: bool) {
        self.silence.tell(withheld);
        if let Some(told) = &mut self.told {
            told.heard = Some(now);
            self.check_at = soonest(self.check_at, Some(now + SOUNDING));
        }
    }

    /// A voice of which nothing comes any more is silent.
    pub(super) fn check_told(&mut self, now: Instant) {
        let Some(heard) = self.told.as_mut().and_then(|told| told.heard) else {
            return;
        };
        if now.saturating_duration_since(heard) < SOUNDING {
            self.check_at = Some(heard + SOUNDING);
            return;
        }
        self.silence.tell(true);
        self.told = self.told.map(|told| Told { heard: None, ..told });
    }
}

impl Room {
    /// What another half says. A batch over no link, or of a half that is gone, is counted and changes nothing.
    pub fn handle_cascade(&mut self, now: Instant, link: LinkId, batch: &CascadeBatch) {
        let now = self.advance(now);
        self.distribute();
        let near = self.cascade.link_mut(link);
        let news = near.and_then(|near| near.take(batch));
        let (Some(news), Some(head)) = (news, batch.head) else {
            self.stats.cascade.refused += 1;
            return;
        };
        if news.anew {
            self.forget_link(now, link);
        }
        if news.points {
            self.reconcile(now);
        }
        for figure in &batch.figures {
            self.take_figure(now, link, figure);
        }
        let served = if news.wants {
            self.take_wants(now, link, &batch.wants.all)
        } else {
            Vec::new()
        };
        for wish in batch.key_frames.iter().filter(|wish| !served.contains(wish)) {
            self.handle_far_request(now, *wish);
        }
        for &(source, level) in &batch.levels {
            self.take_level(now, link, source, level);
        }
        for packet in &batch.packets {
            if self
                .take_packet(now, link, head.epoch, packet, &batch.payloads)
                .is_none()
            {
                self.stats.cascade.refused += 1;
            }
        }
        if news.lost {
            self.stats.cascade.holes += 1;
            self.ask_for_pulled(now, link);
        }
    }

    /// A far point's sources, and whether it is there at all, as the links say. Who is in this half is in no other; of two links that name a
    /// point the first one has it for as long as it does.
    pub(super) fn reconcile(&mut self, now: Instant) {
        let told: Vec<(LinkId, Point)> = self.cascade.points();
        let is_told = |endpoint: &Endpoint| {
            told.iter().any(|(link, point)| {
                (Some(*link), point.number, point.incarnation)
                    == (endpoint.home, endpoint.number, endpoint.incarnation)
            })
        };
        let far = self.endpoints.values().filter(|e| e.home.is_some());
        let gone: Vec<EndpointId> = far.filter(|e| !is_told(e)).map(|e| e.id).collect();
        for id in gone {
            self.remove(now, id);
        }
        for (link, point) in &told {
            self.place(now, *link, point);
        }
        self.plan_now(now);
        self.assign_voices(now, None);
    }

    fn place(&mut self, now: Instant, link: LinkId, point: &Point) {
        if !self.numbers.contains_key(&point.number) {
            let far = Endpoint::far(self.epoch, now, link, point);
            self.numbers.insert(point.number, far.id);
            self.endpoints.insert(far);
        }
        let id = far_id(point.number);
        if self.endpoints.get(id).is_none_or(|far| far.home != Some(link)) {
            return;
        }
        for kind in SourceKind::ALL {
            self.switch(now, id, kind, point.on[kind as usize]);
        }
    }

    /// All points of a link are gone, and what they wanted.
    pub(super) fn forget_link(&mut self, now: Instant, link: LinkId) {
        let bit = 1u64 << link.0;
        for source in self.endpoints.values_mut().flat_map(|e| &mut e.sources) {
            source.pulled.iter_mut().for_each(|pulled| *pulled &= !bit);
        }
        let theirs = self.endpoints.values().filter(|e| e.home == Some(link));
        let gone: Vec<EndpointId> = theirs.map(|e| e.id).collect();
        for id in gone {
            self.remove(now, id);
        }
        self.reconcile(now);
    }

    fn far_mut(&mut self, link: LinkId, number: PointNumber) -> Option<&mut Endpoint> {
        let far = self.endpoints.get_mut(far_id(number))?;
        (far.home == Some(link)).then_some(far)
    }

    fn take_figure(&mut self, now: Instant, link: LinkId, figure: &Figure) {
        let Some(far) = self.far_mut(link, figure.source.point()) else {
            self.stats.cascade.refused += 1;
            return;
        };
        let is_same = far.incarnation == figure.incarnation;
        let source = far.source_mut(figure.source.kind());
        if is_same && source.on && source.tell(figure) {
            self.plan_now(now);
            self.ask_for_waiting(now, figure.source);
        }
    }

    fn take_level(&mut self, now: Instant, link: LinkId, number: SourceNumber, level: AudioLevel) {
        let far = self.far_mut(link, number.point());
        let Some(source) = far.map(|far| far.source_mut(number.kind())).filter(|s| s.on) else {
            self.stats.cascade.refused += 1;
            return;
        };
        source.sounds(now, true);
        if number.kind() == SourceKind::Mic {
            self.hear(now, number.point(), Some(level));
        }
    }

    fn take_packet(
        &mut self,
        now: Instant,
        link: LinkId,
        epoch: Instant,
        packet: &Packet,
        payloads: &[u8],
    ) -> Option<()> {
        let home = self.epoch;
        let number = packet.source;
        let far = self.far_mut(link, number.point())?;
        if far.incarnation != packet.incarnation {
            return None;
        }
        let captured = epoch.checked_add(packet.original.capture)?;
        let arrival = arrival(packet, payloads, captured.saturating_duration_since(home))?;
        let source = self
            .endpoints
            .get_mut(far_id(number.point()))?
            .source_mut(number.kind());
        let is_sound = number.kind().media() == MediaKind::Audio;
        if !source.on || !is_sound && !source.wanted_all_along(packet) {
            return None;
        }
        let mut admitted = source.admit(now, &arrival, &mut self.histories)?;
        self.stats.cascade.received += 1;
        if let Some(repair_time) = packet.repair_time {
            source.late.raise(now, repair_time);
        }
        match packet.role {
            Role::Kept => return Some(()),
            Role::LastKept => {
                self.serve_waiting(now, number);
                return Some(());
            }
            Role::Live | Role::Resumes => {}
        }
        if is_sound {
            let resumes = packet.role == Role::Resumes || source.silence.is_withholding();
            source.sounds(now, false);
            if number.kind() == SourceKind::Mic {
                self.hear(now, number.point(), packet.level);
            }
            if resumes {
                admitted.packet.resume();
                self.distribute();
                self.plan_now(now); // a voice more to be carried
            }
        }
        self.give_out(far_id(number.point()), &admitted);
        if admitted.layers_changed {
            self.distribute();
            self.plan_now(now);
            self.ask_for_waiting(now, number);
        } else if admitted.anew {
            self.distribute();
            self.ask_for_waiting(now, number);
        }
        Some(())
    }

    /// What was kept of a layer is all here: slots that wait for it begin with it.
    fn serve_waiting(&mut self, now: Instant, number: SourceNumber) {
        self.distribute();
        let subscribers = self.source(number).map(|source| source.subscribers.clone());
        for subscriber in subscribers.unwrap_or_default() {
            self.serve_from_history(now, subscriber.endpoint, subscriber.slot);
        }
        self.ask_for_waiting(now, number);
    }

    /// Something of what is shown did not come over the link.
    fn ask_for_pulled(&mut self, now: Instant, link: LinkId) {
        let far = self.endpoints.values().filter(|e| e.home == Some(link));
        let sources = far.flat_map(|e| &e.sources);
        let pulled: Vec<(SourceNumber, u8)> = sources
            .filter_map(|source| Some((source.number, source.told?.pull)))
            .collect();
        for (number, pull) in pulled {
            for layer in (0..LAYERS_MAX as u8).filter(|layer| pull >> layer & 1 == 1) {
                self.ask(now, number, layer);
            }
        }
    }
}

/// The id of a far point.
fn far_id(number: PointNumber) -> EndpointId {
    EndpointId(FAR | number.get())
}

/// As the uplink of the other half gave it.
fn arrival<'p>(packet: &Packet, payloads: &'p [u8], capture: Duration) -> Option<Arrival<'p>> {
    let Place::Batch { start, length } = packet.at else {
        return None;
    };
    let start = start as usize;
    let kept = payloads.get(start..start.checked_add(length.into())?)?;
    let original = packet.original;
    let (descriptor, payload) = match original.frame {
        Some(frame) => {
            let (carried, payload) = Carried::kept(kept, frame)?;
            (Some(carried), payload)
        }
        None => (None, kept),
    };
    let is_sound = original.codec == Codec::Opus;
    let fits = is_sound == (packet.source.kind().media() == MediaKind::Audio)
        && is_sound == original.video.is_none()
        && !payload.is_empty();
    fits.then_some(Arrival {
        source: packet.source.kind(),
        layer: packet.layer,
        layers: packet.layers,
        stream: packet.stream,
        sequence: packet.sequence,
        timestamp: original.timestamp,
        capture,
        marker: original.marker,
        codec: original.codec,
        payload,
        video: original.video,
        level: packet.level,
        heights: packet.heights,
        descriptor,
        repaired: packet.repair_time.is_some(),
    })
}
