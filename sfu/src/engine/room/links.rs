//! What this half of a room says to others: who is in, what is wanted of their sources, and the packets that they want.

use std::time::{Duration, Instant};

use super::{
    super::{
        allocate::{LAYERS_MAX, Wanted},
        cascade::{
            CascadeBatch, Figure, LINKS_MAX, Link, LinkId, POINTS_MAX, Point, Role, WANTS_MAX, Want, Ways,
        },
        id::{MediaKind, PointNumber, SourceNumber},
        packet::soonest,
    },
    Endpoint, Room,
    crossing::{Voices, crossing},
    source::Source,
};

/// Figures of sources are told so often while pictures arrive.
const FIGURES_EVERY: Duration = Duration::from_millis(500);
/// And so many times more when none arrive any longer: a batch may be lost, and the other half would take a dead layer for a living one.
const FIGURES_AFTER: u8 = 3;
/// What is wanted is worked out no more often than this.
const WANTS_EVERY: Duration = Duration::from_millis(5);
/// All links of a room.
#[derive(Debug, Default)]
pub(super) struct Cascade {
    /// By id.
    links: Vec<Link>,
    /// Of the last link.
    session: Option<Instant>,
    incarnations: u32,
    /// Somebody came or went, or a source went on or off.
    points_due: bool,
    wants_due: Option<Instant>,
    wanted_at: Option<Instant>,
    figures_at: Option<Instant>,
    /// See [`FIGURES_AFTER`].
    figures_left: u8,
    /// Whose voices cross.
    pub(super) voices: Voices,
    scratch: Vec<Want>,
}

impl Cascade {
    /// Of an endpoint that joins.
    pub(super) fn next_incarnation(&mut self) -> u32 {
        self.incarnations = self.incarnations.wrapping_add(1);
        self.incarnations
    }

    /// Another half has that point, or believes so.
    pub(super) fn tells_of(&self, number: PointNumber) -> bool {
        let mut far = self.links.iter().filter_map(|link| link.far.as_ref());
        far.any(|far| far.points.iter().any(|point| point.number == number))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.links.is_empty()
    }

    pub(super) fn links_mut(&mut self) -> impl Iterator<Item = &mut Link> {
        self.links.iter_mut()
    }

    pub(super) fn link_mut(&mut self, id: LinkId) -> Option<&mut Link> {
        self.links.iter_mut().find(|link| link.id == id)
    }

    /// All points that the links tell of, link by link.
    pub(super) fn points(&self) -> Vec<(LinkId, Point)> {
        let far = self
            .links
            .iter()
            .filter_map(|link| Some((link.id, link.far.as_ref()?)));
        far.flat_map(|(id, far)| far.points.iter().map(move |point| (id, *point)))
            .collect()
    }

    /// What all other halves want of sources here.
    pub(super) fn wanted(&self) -> Vec<Wanted> {
        let far = self.links.iter().filter_map(|link| link.far.as_ref());
        far.flat_map(|far| far.wants.iter().filter_map(|want| want.wish))
            .collect()
    }

    /// Ways of all other halves.
    pub(super) fn ways(&self) -> Ways {
        let far = self.links.iter().filter_map(|link| link.far.as_ref());
        far.fold(Ways::default(), |all, far| Ways {
            thin: all.thin || far.ways.thin,
            wide: all.wide || far.ways.wide,
        })
    }

    /// Somebody here came or went, or a source went on or off.
    pub(super) fn points_changed(&mut self) {
        self.points_due = !self.links.is_empty();
    }

    /// A slot shows or turns to something else, or a plan was made.
    pub(super) fn wants_changed(&mut self, now: Instant) {
        if !self.links.is_empty() {
            let earliest = self.wanted_at.map_or(now, |at| at + WANTS_EVERY);
            self.wants_due = soonest(self.wants_due, Some(earliest.max(now)));
        }
    }

    /// Layers here came to life or died.
    pub(super) fn figures_changed(&mut self, now: Instant) {
        if !self.links.is_empty() {
            self.figures_at = soonest(self.figures_at, Some(now));
            self.figures_left = FIGURES_AFTER;
        }
    }

    /// There is nobody to say anything to.
    fn fall_silent(&mut self) {
        (self.points_due, self.wants_due, self.figures_at) = (false, None, None);
    }

    /// When something is due that nobody else causes.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let links = self.links.iter().filter_map(Link::poll_timeout).min();
        soonest(soonest(self.wants_due, self.figures_at), links)
    }
}

impl Room {
    /// The room has another half, or has it anew: what was known of it is forgotten. One above the limit is counted and passed over.
    pub fn link(&mut self, now: Instant, link: LinkId) {
        let now = self.advance(now);
        if link.0 >= LINKS_MAX {
            self.stats.commands_refused += 1;
            return;
        }
        self.unlink(now, link);
        let after = self.cascade.session.map(|last| last + Duration::from_nanos(1));
        let session = after.map_or(now, |after| after.max(now));
        self.cascade.session = Some(session);
        let place = self.cascade.links.partition_point(|other| other.id < link);
        self.cascade.links.insert(place, Link::new(session, link));
        self.cascade.points_changed();
        self.cascade.wants_changed(now);
        self.cascade.figures_changed(now);
    }

    /// That half is gone, and with it all who were in it.
    pub fn unlink(&mut self, now: Instant, link: LinkId) {
        let now = self.advance(now);
        let before = self.cascade.links.len();
        self.cascade.links.retain(|other| other.id != link);
        if self.cascade.links.len() == before {
            return;
        }
        if self.cascade.links.is_empty() {
            self.cascade.fall_silent();
        }
        self.forget_link(now, link);
    }

    /// Fills `batch` for one link that has something to say; none if none has. Ask until then after each input, behind
    /// [`Room::poll_output`] and before [`Room::poll_timeout`]; before [`Room::poll_forwards`] too, and the other half gets its packets while
    /// this one sends its own.
    pub fn poll_cascade(&mut self, now: Instant, batch: &mut CascadeBatch) -> Option<LinkId> {
        if self.cascade.links.is_empty() {
            return None;
        }
        let now = self.advance(now);
        if self.batch.is_empty() {
            self.state_points();
            self.state_wants(now);
            self.state_figures(now);
        }
        let (histories, endpoints) = (&self.histories, &self.endpoints);
        let sources = || {
            let here = endpoints.values().filter(|e| e.home.is_none());
            here.flat_map(|e| e.sources.iter().map(move |source| (e, source)))
        };
        for link in &mut self.cascade.links {
            let find = |at| histories.get(now, at).map(|(_, payload)| payload);
            let filled = link.fill(now, self.epoch, batch, find, |figures| {
                figures.extend(sources().filter(is_picture).map(figure));
            });
            if let Some(gone) = filled {
                self.stats.cascade.dropped += gone;
                self.stats.cascade.sent += batch.packets() as u64;
                return Some(link.id);
            }
        }
        None
    }

    fn state_points(&mut self) {
        if !std::mem::take(&mut self.cascade.points_due) {
            return;
        }
        let here = self.endpoints.values().filter(|e| e.home.is_none());
        let points: Vec<Point> = here.map(point).collect();
        for link in &mut self.cascade.links {
            link.points.set(&points, POINTS_MAX);
        }
    }

    fn state_wants(&mut self, now: Instant) {
        if self.cascade.wants_due.is_none_or(|due| due > now) {
            return;
        }
        (self.cascade.wants_due, self.cascade.wanted_at) = (None, Some(now));
        let (thin, wide) = self.plan.allocation.thin_and_wide();
        let mut wants = std::mem::take(&mut self.cascade.scratch);
        for at in 0..self.cascade.links.len() {
            let id = self.cascade.links[at].id;
            wants.clear();
            // By their ids, which are by number: sorted by source.
            let far = self.endpoints.values().filter(|e| e.home == Some(id));
            let sources = far.flat_map(|e| &e.sources);
            let of_one = |source: &Source| {
                let want = Want {
                    source: source.number,
                    pull: self.pull_of(source),
                    wish: self.plan.allocation.wanted(source.number),
                };
                (source.on && (want.pull != 0 || want.wish.is_some())).then_some(want)
            };
            wants.extend(
                sources
                    .filter(|s| s.number.kind().media() == MediaKind::Video)
                    .filter_map(of_one),
            );
            let link = &mut self.cascade.links[at];
            link.ways = Ways { thin, wide };
            link.wants.set(&wants, WANTS_MAX);
            self.note_pulls(id);
        }
        self.cascade.scratch = wants;
    }

    /// Layers of a far source that slots here show or turn to, a bit for each.
    fn pull_of(&self, source: &Source) -> u8 {
        let mut pull = 0;
        for subscriber in &source.subscribers {
            let endpoint = self.endpoints.get(subscriber.endpoint);
            let Some(slot) = endpoint.and_then(|e| e.slot(subscriber.slot)) else {
                continue;
            };
            if let Some(shown) = slot.shown().filter(|shown| shown.source == source.number) {
                pull |= 1 << shown.layer;
            }
            if let Some(target) = slot.target().filter(|target| target.source == source.number) {
                pull |= match target.layer {
                    _ if source.is_nested() => 1, // all in the stream of the lowest
                    Some(layer) => 1 << layer,
                    None => ALL_LAYERS,
                };
            }
        }
        pull & ALL_LAYERS
    }

    fn note_pulls(&mut self, id: LinkId) {
        let Some(link) = self.cascade.link_mut(id) else {
            return;
        };
        let (wants, version) = (link.wants.all().to_vec(), link.wants.version());
        let far = self.endpoints.values_mut().filter(|e| e.home == Some(id));
        for source in far.flat_map(|e| &mut e.sources) {
            let want = wants.binary_search_by_key(&source.number, |want| want.source);
            source.pull(want.map_or(0, |at| wants[at].pull), version);
        }
    }

    fn state_figures(&mut self, now: Instant) {
        if self.cascade.figures_at.is_none_or(|at| at > now) {
            return;
        }
        let here = self.endpoints.values().filter(|e| e.home.is_none());
        let is_live = here.flat_map(|e| &e.sources).any(Source::is_live);
        let left = self.cascade.figures_left.checked_sub(u8::from(!is_live));
        self.cascade.figures_left = left.unwrap_or_default();
        self.cascade.figures_at = left.map(|_| now + FIGURES_EVERY);
        self.cascade
            .links
            .iter_mut()
            .for_each(|link| link.figures_due = true);
    }

    /// What another half wants of sources here, the whole list. Answers with the layers that it was served from what is kept.
    pub(super) fn take_wants(
        &mut self,
        now: Instant,
        link: LinkId,
        wants: &[Want],
    ) -> Vec<(SourceNumber, u8)> {
        let mut wants = wants[..wants.len().min(WANTS_MAX)].to_vec();
        wants.sort_unstable_by_key(|want| want.source);
        wants.dedup_by_key(|want| want.source);
        let Some(far) = self.cascade.link_mut(link).and_then(|link| link.far.as_mut()) else {
            return Vec::new();
        };
        let former = std::mem::replace(&mut far.wants, wants.clone());
        let wishes = |wants: &[Want]| wants.iter().filter_map(|want| want.wish).collect::<Vec<_>>();
        let (before, after) = (wishes(&former), wishes(&wants));
        let bit = 1u64 << link.0;
        for want in &former {
            if let Some(source) = self.own_picture(want.source) {
                source.pulled.iter_mut().for_each(|pulled| *pulled &= !bit);
            }
        }
        let mut served = Vec::new();
        for want in &wants {
            let had = former.binary_search_by_key(&want.source, |had| had.source);
            let had = had.map_or(0, |at| former[at].pull);
            let Some(source) = self.own_picture(want.source) else {
                self.stats.cascade.refused += 1;
                continue;
            };
            for layer in 0..LAYERS_MAX {
                source.pulled[layer] |= bit * u64::from(want.pull >> layer & 1);
            }
            for layer in (0..LAYERS_MAX as u8).filter(|layer| (want.pull & !had) >> layer & 1 == 1) {
                if self.replay_for_link(now, link, want.source, layer) {
                    served.push((want.source, layer));
                }
            }
        }
        let is_like = before.len() == after.len() && before.iter().zip(&after).all(|(a, b)| a.is_like(b));
        if !is_like {
            self.plan_now(now);
        }
        served
    }

    /// After a point joined: what links wanted of it before it came.
    pub(super) fn pull_again(&mut self, number: PointNumber) {
        let far = |link: &Link| Some((link.id, link.far.as_ref()?.wants.clone()));
        let all: Vec<(LinkId, Vec<Want>)> = self.cascade.links.iter().filter_map(far).collect();
        for (link, wants) in all {
            for want in wants.iter().filter(|want| want.source.point() == number) {
                if let Some(source) = self.own_picture(want.source) {
                    for layer in 0..LAYERS_MAX {
                        source.pulled[layer] |= (1 << link.0) * u64::from(want.pull >> layer & 1);
                    }
                }
            }
        }
    }

    /// A key frame that another half waits for.
    pub(super) fn handle_far_request(&mut self, now: Instant, (number, layer): (SourceNumber, u8)) {
        if self.own_picture(number).is_none() || usize::from(layer) >= LAYERS_MAX {
            self.stats.cascade.refused += 1;
            return;
        }
        self.stats.cascade.key_frame_requests += 1;
        self.ask(now, number, layer);
    }

    /// The last key frame of a layer with all behind it goes over a link that wants the layer from now on, if it is worth it. True if it does.
    fn replay_for_link(&mut self, now: Instant, link: LinkId, number: SourceNumber, layer: u8) -> bool {
        // The other half takes all that comes for new, and cannot see that the layer has stopped.
        let has_stopped = |source: &Source| (0..LAYERS_MAX as u8).any(|other| source.is_behind(layer, other));
        if self.source(number).is_some_and(has_stopped) {
            return false;
        }
        let Some(packets) = self.kept(now, number, layer) else {
            return false;
        };
        let Some(endpoint) = self
            .numbers
            .get(&number.point())
            .and_then(|&id| self.endpoints.get(id))
        else {
            return false;
        };
        let (incarnation, layers) = (endpoint.incarnation, endpoint.encodings(number.kind()).max(1));
        let last = packets.len() - 1;
        for (at, packet) in packets.iter().enumerate() {
            let role = if at == last { Role::LastKept } else { Role::Kept };
            self.push(1 << link.0, crossing(packet, incarnation, layers, role));
        }
        self.stats.cascade.replayed += packets.len() as u64;
        true
    }

    /// A source of a point in this half.
    fn own_picture(&mut self, number: SourceNumber) -> Option<&mut Source> {
        let &id = self.numbers.get(&number.point())?;
        let endpoint = self.endpoints.get_mut(id).filter(|e| e.home.is_none())?;
        (number.kind().media() == MediaKind::Video).then(|| endpoint.source_mut(number.kind()))
    }
}

const ALL_LAYERS: u8 = (1 << LAYERS_MAX) - 1;

fn is_picture((_, source): &(&Endpoint, &Source)) -> bool {
    source.on && source.number.kind().media() == MediaKind::Video
}

fn figure((endpoint, source): (&Endpoint, &Source)) -> Figure {
    Figure {
        source: source.number,
        incarnation: endpoint.incarnation,
        codec: source.codec,
        nested: source.is_nested(),
        layers: source.offers(endpoint.encodings(source.number.kind())),
    }
}

fn point(endpoint: &Endpoint) -> Point {
    Point {
        number: endpoint.number,
        incarnation: endpoint.incarnation,
        rank: endpoint.rank,
        encodings: endpoint.encodings,
        layered: endpoint.layered,
        on: endpoint.sources.each_ref().map(|source| source.on),
    }
}
