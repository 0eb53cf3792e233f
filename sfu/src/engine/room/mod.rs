//! A room: who is in it, what they send, and what each of their slots shows.
//!
//! `docs/switching.md` tells how. Here is only the order of things: a packet goes through its sender's uplink into the
//! source's history, then to every slot that subscribes to the source. What slots should show is decided anew when a
//! view, a source or a layer changes ([`view`]), never per packet.

mod again;
mod cpu;
mod crossing;
mod deadline;
mod distribute;
mod endpoint;
mod endpoints;
mod far;
mod links;
mod membership;
mod meter;
mod plan;
mod replay;
mod report;
mod rtcp;
mod share;
mod sound;
mod source;
mod told;
mod view;
mod voices;
mod way;

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, VecDeque},
    time::{Duration, Instant},
};

use self::{
    distribute::Batch,
    endpoint::Endpoint,
    endpoints::Endpoints,
    links::Cascade,
    plan::Plan,
    source::{Histories, Source},
};
use super::{
    arrival::Arrival,
    history::PacketRef,
    id::{EndpointId, MediaKind, PointNumber, SourceKind, SourceNumber},
    packet::{Forward, Input, Output, soonest},
    page::SlotChange,
    policy::RoomPolicy,
    silence::Verdict,
    speaker::Speaker,
    stats::RoomStats,
};
use crate::wire::rtp::RtpPacket;

/// The state machine of one room. One mutation (`handle*`) or a batch of RTP packets, then take [`Room::poll_forwards`], drain
/// [`Room::poll_output`], then ask [`Room::poll_timeout`].
#[derive(Debug)]
pub struct Room {
    epoch: Instant,
    now: Instant,
    policy: RoomPolicy,
    endpoints: Endpoints,
    numbers: BTreeMap<PointNumber, EndpointId>,
    histories: Histories,
    speaker: Speaker,
    /// Who was given the floor.
    floor: Option<PointNumber>,
    /// Sound came since the speaker was looked for last: when to look again.
    speaker_at: Option<Instant>,
    /// One datagram or command adds a bounded number; the driver drains after each.
    outputs: VecDeque<Output>,
    /// What is to be sent, in the order of its numbers, whatever caused it.
    forwards: Vec<Forward>,
    batch: Batch,
    /// Endpoints with something to say, each once.
    dirty: VecDeque<EndpointId>,
    plan: Plan,
    /// Other halves of the room.
    cascade: Cascade,
    stats: RoomStats,
}

/// Why a newcomer is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum JoinRefused {
    /// The room has as many endpoints as its [`RoomPolicy`] allows.
    #[error("room is full")]
    Full,
    /// Another endpoint has the number.
    #[error("the number is taken")]
    NumberTaken,
}

/// The speaker, and with it the ranking of voices, is looked at so often while there is sound.
const SPEAKER_EVERY: Duration = Duration::from_millis(100);

/// Room for so many forwards is kept. There are thousands at once when a plan comes amid a batch, and seldom.
const FORWARDS_KEPT: usize = 512;

impl Room {
    /// An empty room. `now` is the epoch of its clock.
    pub fn new(now: Instant, policy: RoomPolicy) -> Self {
        Self {
            epoch: now,
            now,
            policy,
            endpoints: Endpoints::default(),
            numbers: BTreeMap::new(),
            histories: Histories::default(),
            speaker: Speaker::new(),
            floor: None,
            speaker_at: None,
            outputs: VecDeque::new(),
            forwards: Vec::new(),
            batch: Batch::default(),
            dirty: VecDeque::new(),
            plan: Plan::default(),
            cascade: Cascade::default(),
            stats: RoomStats::default(),
        }
    }

    /// Another policy from now on. Those who are in stay in.
    pub fn set_policy(&mut self, policy: RoomPolicy) {
        self.policy = policy;
    }

    /// Whether a [`Input::Join`] would be taken; one that would not changes nothing.
    pub fn check_join(&self, endpoint: EndpointId, number: PointNumber) -> Result<(), JoinRefused> {
        let holder = self.numbers.get(&number).and_then(|&id| self.endpoints.get(id));
        // Who is told of by another half may have come over to this one.
        let is_far = holder.is_some_and(|holder| holder.home.is_some());
        if !is_far && holder.is_some_and(|holder| holder.id != endpoint) {
            return Err(JoinRefused::NumberTaken);
        }
        let most = usize::from(self.policy.points_max) + usize::from(self.policy.players_max);
        let full = self.endpoints.len() - usize::from(is_far) >= most;
        if full && !self.endpoints.contains(endpoint) {
            Err(JoinRefused::Full)
        } else {
            Ok(())
        }
    }

    /// One command. One that names what is not there is counted and changes nothing.
    pub fn handle(&mut self, now: Instant, input: Input) {
        let now = self.advance(now);
        self.distribute();
        let done = match input {
            Input::Join(new) => self.join(now, *new),
            Input::Connected(endpoint) => self.connected(now, endpoint),
            Input::Leave(endpoint) => self.leave(now, endpoint),
            Input::View(endpoint, wants) => self.set_view(now, endpoint, &wants),
            Input::Voice(endpoint, source) => self.set_voice(now, endpoint, source),
            Input::Published(endpoint, kind, on) => self.set_published(now, endpoint, kind, on),
            Input::Floor(number) => {
                self.set_floor(now, number);
                Some(())
            }
            Input::Lines(shares) => {
                self.set_lines(now, &shares);
                Some(())
            }
            Input::Busy(busy) => {
                self.set_busy(now, busy);
                Some(())
            }
            Input::Client(endpoint, client) => self.set_client(now, endpoint, client),
            Input::Way(endpoint, lines) => self.set_way(now, endpoint, lines),
        };
        if done.is_none() {
            self.stats.commands_refused += 1;
        }
    }

    /// It has to be told ([`Input::Busy`]) of a second with so many thousandths of work.
    pub fn minds(&self, busy: u16) -> bool {
        self.plan.overload.minds(busy)
    }

    /// One RTP packet in plaintext from `from`. It goes on with those that come in the same batch, at the next call of anything else.
    pub fn handle_rtp(&mut self, now: Instant, from: EndpointId, packet: &[u8]) {
        let now = self.advance(now);
        let Some(endpoint) = self.endpoints.get_for_packet(from) else {
            self.stats.commands_refused += 1;
            return;
        };
        let Ok(packet) = RtpPacket::parse(packet) else {
            self.stats.malformed += 1;
            return;
        };
        let uplink = &mut endpoint.uplink;
        let before = uplink.poll_timeout();
        let arrival = uplink.handle_rtp(now, &packet);
        let due = uplink.poll_timeout();
        if soonest(due, before) != before {
            self.endpoints.ask(from);
        }
        self.ask_for_broken(now, from);
        if due.is_some_and(|at| at <= now) {
            self.touch(from);
        }
        let Some(arrival) = arrival else { return };
        let recovered = |room: &mut Self| {
            let endpoint = room.endpoints.get_for_packet(from);
            endpoint?.uplink.poll_recovered(&packet)
        };
        while let Some(older) = recovered(self) {
            self.stats.received += 1;
            self.handle_arrival(now, from, &older);
        }
        self.stats.received += 1;
        self.handle_arrival(now, from, &arrival);
    }

    fn handle_arrival(&mut self, now: Instant, from: EndpointId, arrival: &Arrival<'_>) {
        let Some(endpoint) = self.endpoints.get_for_packet(from) else {
            return;
        };
        let repair_time = endpoint.uplink.repair_time();
        let source = endpoint.source_mut(arrival.source);
        if !source.on {
            self.stats.source_off += 1;
            return;
        }
        let Some(mut admitted) = source.admit(now, arrival, &mut self.histories) else {
            self.stats.not_kept += 1;
            return;
        };
        if arrival.repaired {
            source.late.raise(now, repair_time);
        }
        let number = source.number;
        let sound = source.judge_sound(arrival);
        if arrival.source == SourceKind::Mic {
            self.hear(now, number.point(), arrival.level);
        }
        self.cross(now, from, arrival, &admitted, sound);
        match sound {
            Verdict::Forward => {}
            Verdict::Resume => {
                admitted.packet.resume();
                self.distribute();
                self.plan_now(now); // a voice more to be carried
            }
            Verdict::Withhold => return self.stats.silent += 1,
        }
        self.give_out(from, &admitted);
        if admitted.layers_changed {
            self.endpoints.ask(from); // when a layer is dead is to be looked at
            self.distribute();
            self.cascade.figures_changed(now);
            // After the packet had its chance. Whoever turns to the layer now is served from what was kept, this packet
            // included.
            if arrival.source.media() == MediaKind::Video {
                self.plan_now(now);
            }
            self.ask_for_waiting(now, number);
        } else if admitted.anew {
            self.distribute();
            self.ask_for_waiting(now, number);
        }
    }

    /// Does what is due at `now`.
    pub fn handle_timeout(&mut self, now: Instant) {
        let now = self.advance(now);
        self.histories.forget(now);
        for id in self.endpoints.due(now) {
            self.handle_endpoint_timeout(now, id);
            self.touch(id);
        }
        if self.speaker_at.is_some_and(|at| at <= now) {
            self.look_for_speaker(now);
        }
        self.plan_if_due(now);
    }

    fn handle_endpoint_timeout(&mut self, now: Instant, id: EndpointId) {
        let Some(endpoint) = self.endpoints.get_mut(id) else {
            return;
        };
        if endpoint.uplink.poll_timeout().is_some_and(|at| at <= now) {
            endpoint.uplink.handle_timeout(now);
        }
        if endpoint.report_at.is_some_and(|at| at <= now) {
            endpoint.handle_report_time(now);
        }
        endpoint.way.handle_timeout(now);
        while let Some(forward) = endpoint.poll_paced(now) {
            self.forwards.push(forward);
        }
        self.estimate_changed(now, id);
        self.ask_for_broken(now, id);
        for kind in SourceKind::ALL {
            self.check_source(now, id, kind);
        }
    }

    /// Packets to be sent, in the order of their numbers, whatever caused them: some `most` of them are added to `out`, all of one receiver together.
    /// True if there are more: send these and ask again, before [`Room::poll_output`].
    pub fn poll_forwards(&mut self, most: usize, out: &mut Vec<Forward>) -> bool {
        let more = self.distribute_some(most);
        out.append(&mut self.forwards);
        self.forwards.shrink_to(FORWARDS_KEPT);
        more
    }

    /// What else is to be done, one at a time.
    pub fn poll_output(&mut self) -> Option<Output> {
        loop {
            if let Some(output) = self.outputs.pop_front() {
                return Some(output);
            }
            let id = self.dirty.pop_front()?;
            self.flush(id);
        }
    }

    /// All that an endpoint has to say.
    fn flush(&mut self, id: EndpointId) {
        let (now, epoch) = (self.now, self.epoch);
        let Some(endpoint) = self.endpoints.get_mut(id) else {
            return;
        };
        endpoint.dirty = false;
        if !endpoint.changes.is_empty() {
            let changes = std::mem::take(&mut endpoint.changes);
            self.outputs.push_back(Output::Slots {
                endpoint: id,
                changes,
            });
        }
        let connected = endpoint.connected;
        let mut give = |bytes| {
            if connected {
                self.outputs.push_back(Output::Rtcp { to: id, bytes });
            }
        };
        endpoint.reports(|| now.saturating_duration_since(epoch), &mut give);
        let mut bytes = Vec::new();
        let is_due = |at| at <= now;
        while endpoint.uplink.poll_timeout().is_some_and(is_due) && endpoint.uplink.poll_rtcp(now, &mut bytes)
        {
            give(std::mem::take(&mut bytes));
        }
    }

    /// When [`Room::handle_timeout`] wants to be called next; none: never by itself.
    pub fn poll_timeout(&mut self) -> Option<Instant> {
        let endpoints = self.endpoints.poll_timeout();
        [
            endpoints,
            self.speaker_at,
            self.plan.due(),
            self.cascade.poll_timeout(),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// The payload of a [`Forward`]; none if it is gone by now.
    pub fn payload(&self, at: PacketRef) -> Option<&[u8]> {
        self.histories.get(self.now, at).map(|(_, payload)| payload)
    }

    /// How many endpoints are in, without those of other halves.
    pub fn len(&self) -> usize {
        self.endpoints
            .values()
            .filter(|endpoint| endpoint.home.is_none())
            .count()
    }

    /// Nobody is in, but maybe in other halves.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Who has the floor.
    pub fn floor(&self) -> Option<PointNumber> {
        self.floor
    }

    /// Who is loudest.
    pub fn speaker(&self) -> Option<PointNumber> {
        self.speaker.current()
    }

    /// Sources of an endpoint that are on, for a snapshot.
    pub fn published(&self, endpoint: EndpointId) -> Vec<SourceKind> {
        let sources = self.endpoints.get(endpoint).map(|e| &e.sources);
        sources
            .into_iter()
            .flatten()
            .filter(|source| source.on)
            .map(|source| source.number.kind())
            .collect()
    }

    /// What the slots of an endpoint show now, for a snapshot: those that show something.
    pub fn slots(&self, endpoint: EndpointId) -> Vec<SlotChange> {
        let slots = self.endpoints.get(endpoint).into_iter().flat_map(Endpoint::slots);
        let change = |(slot, (source, time))| SlotChange {
            slot,
            source: Some(source),
            time: Some(time),
        };
        slots
            .filter_map(|slot| Some((slot.id, slot.told()?)))
            .map(change)
            .collect()
    }

    /// What was counted so far, by those who left too.
    pub fn stats(&self) -> RoomStats {
        let mut stats = self.stats;
        for endpoint in self.endpoints.values() {
            endpoint.add_to(&mut stats);
        }
        stats
    }

    /// Bytes of memory of what is kept of its streams.
    pub fn history_memory(&self) -> u64 {
        self.histories.memory()
    }

    /// Time never goes back, and what was given to some is given to all before anything else happens.
    fn advance(&mut self, now: Instant) -> Instant {
        if self.batch.is_under_way() {
            self.distribute();
        }
        self.now = self.now.max(now);
        self.now
    }

    /// The endpoint may have something to say.
    fn touch(&mut self, id: EndpointId) {
        if let Some(endpoint) = self.endpoints.get_mut(id).filter(|endpoint| !endpoint.dirty) {
            endpoint.dirty = true;
            self.dirty.push_back(id);
        }
    }

    fn source(&self, number: SourceNumber) -> Option<&Source> {
        let &id = self.numbers.get(&number.point())?;
        self.endpoints
            .get(id)
            .map(|endpoint| endpoint.source(number.kind()))
    }

    fn source_mut(&mut self, number: SourceNumber) -> Option<&mut Source> {
        let &id = self.numbers.get(&number.point())?;
        self.endpoints
            .get_mut(id)
            .map(|endpoint| endpoint.source_mut(number.kind()))
    }

    /// Asks the sender for a key frame, or its half.
    fn ask(&mut self, now: Instant, number: SourceNumber, layer: u8) {
        let Some(&id) = self.numbers.get(&number.point()) else {
            return;
        };
        let Some(endpoint) = self.endpoints.get_mut(id) else {
            return;
        };
        if let Some(home) = endpoint.home {
            if let Some(link) = self.cascade.link_mut(home) {
                link.ask(number, layer);
            }
            return;
        }
        endpoint.uplink.request_key_frame(now, number.kind(), layer);
        self.touch(id);
    }
}
