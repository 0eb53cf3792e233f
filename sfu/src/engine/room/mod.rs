//! A room: who is in it, what they send, and what each of their slots shows.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Instant,
};

use super::{
    id::{EndpointId, PointNumber, SourceKind},
    packet::{Forward, Input, NewEndpoint, Output, PacketRef},
    stats::RoomStats,
};
use crate::control::{RoomPolicy, SlotChange};

/// The state machine of one room. One mutation (`handle*`), then drain [`Room::poll_output`], then ask
/// [`Room::poll_timeout`].
#[derive(Debug)]
pub struct Room {
    now: Instant,
    policy: RoomPolicy,
    endpoints: BTreeMap<EndpointId, PointNumber>,
    outputs: VecDeque<Output>,
    stats: RoomStats,
}

/// Why a newcomer is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum JoinRefused {
    /// The room has [`RoomPolicy::points_max`] endpoints.
    #[error("room is full")]
    Full,
    /// Another endpoint has the number.
    #[error("the number is taken")]
    NumberTaken,
}

impl Room {
    /// An empty room. `now` is the epoch of its clock.
    pub fn new(now: Instant, policy: RoomPolicy) -> Self {
        Self {
            now,
            policy,
            endpoints: BTreeMap::new(),
            outputs: VecDeque::new(),
            stats: RoomStats::default(),
        }
    }

    /// Another policy from now on. Those who are in stay in.
    pub fn set_policy(&mut self, policy: RoomPolicy) {
        self.policy = policy;
    }

    /// Whether a [`Input::Join`] would be taken; one that would not changes nothing.
    pub fn check_join(&self, endpoint: EndpointId, number: PointNumber) -> Result<(), JoinRefused> {
        let taken = self
            .endpoints
            .iter()
            .any(|(&id, &n)| id != endpoint && n == number);
        let full = self.endpoints.len() >= usize::from(self.policy.points_max);
        match (taken, full && !self.endpoints.contains_key(&endpoint)) {
            (true, _) => Err(JoinRefused::NumberTaken),
            (_, true) => Err(JoinRefused::Full),
            _ => Ok(()),
        }
    }

    /// One command.
    pub fn handle(&mut self, now: Instant, input: Input) {
        self.now = self.now.max(now);
        match input {
            Input::Join(new) => self.join(*new),
            Input::Leave(endpoint) => drop(self.endpoints.remove(&endpoint)),
            _ => {}
        }
    }

    fn join(&mut self, new: NewEndpoint) {
        match self.check_join(new.endpoint, new.number) {
            Ok(()) => drop(self.endpoints.insert(new.endpoint, new.number)),
            Err(_) => self.stats.commands_refused += 1,
        }
    }

    /// One RTP packet in plaintext from `from`. What is to be sent because of it is added to `out`.
    pub fn handle_rtp(&mut self, now: Instant, from: EndpointId, packet: &[u8], out: &mut Vec<Forward>) {
        self.now = self.now.max(now);
        let _ = (from, packet, out);
    }

    /// One compound RTCP packet in plaintext from `from`.
    pub fn handle_rtcp(&mut self, now: Instant, from: EndpointId, compound: &[u8]) {
        self.now = self.now.max(now);
        let _ = (from, compound);
    }

    /// Does what is due at `now`.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.now = self.now.max(now);
    }

    /// What is to be done, one at a time.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When [`Room::handle_timeout`] wants to be called next; none: never by itself.
    pub fn poll_timeout(&self) -> Option<Instant> {
        None
    }

    /// The payload of a [`Forward`]; none if it is gone by now.
    pub fn payload(&self, at: PacketRef) -> Option<&[u8]> {
        let _ = at;
        None
    }

    /// How many endpoints are in.
    pub fn len(&self) -> usize {
        self.endpoints.len()
    }

    /// Nobody is in.
    pub fn is_empty(&self) -> bool {
        self.endpoints.is_empty()
    }

    /// Sources of an endpoint that are on, for a snapshot.
    pub fn published(&self, endpoint: EndpointId) -> Vec<SourceKind> {
        let _ = endpoint;
        Vec::new()
    }

    /// What the slots of an endpoint show now, for a snapshot: those that show something.
    pub fn slots(&self, endpoint: EndpointId) -> Vec<SlotChange> {
        let _ = endpoint;
        Vec::new()
    }

    /// What was counted so far.
    pub fn stats(&self) -> RoomStats {
        self.stats
    }
}
