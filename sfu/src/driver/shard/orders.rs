//! What the shard is told to do. What takes long, such as reading an offer, was done before.

use std::{collections::BTreeSet, time::Instant};

use tokio::sync::oneshot;

use super::{Key, RoomEntry, RoomKey, Shard, Tally, lines::Behind};
use crate::{
    control::{
        ClientState, ControlError, Network, RoomId, RoomPolicy, RoomReport, RoomSnapshot, SeatId,
        SeatSnapshot, Want,
    },
    driver::{
        news::ShardIndex,
        peer::{Fingerprint, ice::IceCredentials, sdp::Plan},
        quality::Quality,
        relay::{End, RoomTag},
    },
    engine::{
        id::{EndpointId, MediaKind, PointNumber, Rank, SourceKind, SourceNumber},
        packet::{Input, Negotiated, StreamOrigin},
        room::Room,
        stats::RoomStats,
        units::Bitrate,
    },
};

/// Tallest tile a [`Want`] may name.
const HEIGHT_MAX: u16 = 2_160;

/// An order, and whom to tell what came of it.
pub(crate) struct ToShard {
    pub(crate) order: Order,
    pub(crate) reply: oneshot::Sender<Result<Done, ControlError>>,
}

/// What a shard can be told to do.
pub(crate) enum Order {
    OpenRoom(Box<Opening>),
    /// There is a way to another shard from now on.
    Connect(Box<End>),
    /// Another shard has the room too.
    Link {
        room: RoomId,
        far: ShardIndex,
    },
    /// Another shard has it no more.
    Unlink {
        room: RoomId,
        far: ShardIndex,
    },
    CloseRoom {
        room: RoomId,
    },
    /// Takes a newcomer whose offer was answered.
    Join(Box<Newcomer>),
    /// What an ICE restart is answered with.
    Plan {
        room: RoomId,
        seat: SeatId,
    },
    /// An ICE restart was answered.
    Restart {
        room: RoomId,
        seat: SeatId,
        endpoint: EndpointId,
        plan: Box<Plan>,
        credentials: IceCredentials,
    },
    Leave {
        room: RoomId,
        seat: SeatId,
    },
    SetView {
        room: RoomId,
        seat: SeatId,
        wants: Vec<Want>,
    },
    SetVoice {
        room: RoomId,
        seat: SeatId,
        source: Option<SourceNumber>,
    },
    SetPublished {
        room: RoomId,
        seat: SeatId,
        source: SourceKind,
        on: bool,
    },
    SetFloor {
        room: RoomId,
        number: Option<PointNumber>,
    },
    SetNetwork {
        network: Network,
        elsewhere: Behind,
    },
    /// How many there are behind each line on other shards.
    SetElsewhere(Behind),
    SetClients {
        room: RoomId,
        clients: Vec<(SeatId, ClientState)>,
    },
    Inspect {
        room: RoomId,
    },
    Snapshot,
    Count,
    Stop,
    /// Something is to go wrong: what a test of what happens then gives.
    #[cfg(feature = "faults")]
    Fail(Fault),
}

impl Order {
    /// Worth nothing to a shard that hears of it late: what only asks, and what is told again each second.
    pub(crate) fn is_for_now(&self) -> bool {
        let asks = matches!(
            self,
            Self::Plan { .. } | Self::Inspect { .. } | Self::Snapshot | Self::Count
        );
        asks || matches!(self, Self::SetClients { .. })
    }
}

/// What goes wrong in a shard when it is told to.
#[cfg(feature = "faults")]
#[derive(Debug)]
pub enum Fault {
    /// It panics.
    Shard,
    /// Its half of that room panics.
    Room(RoomId),
    /// It stands still until the other end is dropped.
    Hold(std::sync::mpsc::Receiver<()>),
}

/// A room as it is to be.
pub(crate) struct Opening {
    pub(crate) room: RoomId,
    pub(crate) tag: RoomTag,
    pub(crate) policy: RoomPolicy,
    pub(crate) floor: Option<PointNumber>,
}

/// What an order came to.
pub(crate) enum Done {
    /// To orders that only do.
    Nothing,
    /// The room was not open before.
    Opened,
    Plan(EndpointId, Box<Plan>),
    Snapshot(Vec<RoomSnapshot>),
    Counted(Box<Counted>),
    Inspected(Box<RoomReport>),
}

/// Somebody whose offer was answered.
pub(crate) struct Newcomer {
    pub(crate) room: RoomId,
    pub(crate) seat: SeatId,
    pub(crate) number: PointNumber,
    pub(crate) note: String,
    pub(crate) site: Option<String>,
    pub(crate) rank: Rank,
    pub(crate) way_start: Option<Bitrate>,
    pub(crate) published: Vec<SourceKind>,
    pub(crate) endpoint: EndpointId,
    pub(crate) credentials: IceCredentials,
    pub(crate) remote: Fingerprint,
    pub(crate) plan: Box<Plan>,
    pub(crate) media: Negotiated,
    pub(crate) origins: Vec<StreamOrigin>,
}

/// Everything a shard counts.
#[derive(Debug, Clone, Default)]
pub(crate) struct Counted {
    pub(crate) tally: Tally,
    pub(crate) rooms: RoomStats,
    pub(crate) rooms_open: u64,
    pub(crate) history_bytes: u64,
    pub(crate) endpoints: u64,
    pub(crate) endpoints_connected: u64,
    pub(crate) quality: Quality,
    /// Shards that failed.
    pub(crate) shard_panics: u64,
    /// Of each shard that runs: its endpoints and how busy it is, in thousandths of a core.
    pub(crate) shards: Vec<(ShardIndex, u64, u16)>,
}

impl Shard {
    pub(super) fn handle_order(&mut self, now: Instant, order: Order) -> Result<Done, ControlError> {
        match order {
            Order::OpenRoom(opening) => self.open_room(now, *opening),
            Order::Connect(end) => {
                self.connect_shard(now, *end);
                Ok(Done::Nothing)
            }
            Order::Link { room, far } => self.link(now, &room, far).map(|()| Done::Nothing),
            Order::Unlink { room, far } => {
                self.unlink(now, &room, far);
                Ok(Done::Nothing)
            }
            Order::CloseRoom { room } => self.close_room(now, &room),
            Order::Join(newcomer) => self.join(now, *newcomer),
            Order::Plan { room, seat } => self.plan(&room, &seat),
            Order::Restart {
                room,
                seat,
                endpoint,
                plan,
                credentials,
            } => self.restart((&room, &seat), endpoint, plan, credentials),
            Order::Leave { room, seat } => {
                if let Ok((_, endpoint)) = self.find(&room, &seat) {
                    self.dismiss(now, endpoint);
                    tracing::info!(%room, endpoint = endpoint.0, "left");
                }
                Ok(Done::Nothing)
            }
            Order::SetView { room, seat, wants } => self.set_view(now, &room, &seat, wants),
            Order::SetVoice { room, seat, source } => self.set_voice(now, &room, &seat, source),
            Order::SetPublished {
                room,
                seat,
                source,
                on,
            } => self.set_published(now, &room, &seat, (source, on)),
            Order::SetFloor { room, number } => {
                let key = *self.names.get(&room).ok_or(ControlError::UnknownRoom)?;
                self.tell_room(key, |room| room.handle(now, Input::Floor(number)));
                Ok(Done::Nothing)
            }
            Order::SetNetwork { network, elsewhere } => {
                self.set_network(now, network, elsewhere).map(|()| Done::Nothing)
            }
            Order::SetElsewhere(elsewhere) => {
                self.set_elsewhere(elsewhere);
                Ok(Done::Nothing)
            }
            Order::SetClients { room, clients } => {
                for (seat, client) in clients {
                    if let Ok((key, endpoint)) = self.find(&room, &seat) {
                        self.tell_room(key, |room| room.handle(now, Input::Client(endpoint, client)));
                    }
                }
                Ok(Done::Nothing)
            }
            Order::Inspect { room } => self.inspect(now, &room),
            Order::Snapshot => Ok(Done::Snapshot(self.snapshot())),
            Order::Count => Ok(Done::Counted(Box::new(self.count(now)))),
            Order::Stop => {
                self.is_stopping = true;
                Ok(Done::Nothing)
            }
            #[cfg(feature = "faults")]
            Order::Fail(fault) => self.fail(fault),
        }
    }

    #[cfg(feature = "faults")]
    fn fail(&mut self, fault: Fault) -> Result<Done, ControlError> {
        match fault {
            Fault::Shard => panic!("told to fail"),
            Fault::Room(room) => {
                let key = *self.names.get(&room).ok_or(ControlError::UnknownRoom)?;
                self.tell_room(key, |_| panic!("told to fail"));
                Ok(Done::Nothing)
            }
            Fault::Hold(until) => {
                let _ = until.recv();
                Ok(Done::Nothing)
            }
        }
    }

    fn plan(&self, room: &RoomId, seat: &SeatId) -> Result<Done, ControlError> {
        let (_, endpoint) = self.find(room, seat)?;
        let seat = self.seats.get(&endpoint).ok_or(ControlError::UnknownSeat)?;
        Ok(Done::Plan(endpoint, seat.plan.clone()))
    }

    fn restart(
        &mut self,
        (room, seat): (&RoomId, &SeatId),
        endpoint: EndpointId,
        plan: Box<Plan>,
        credentials: IceCredentials,
    ) -> Result<Done, ControlError> {
        if self.find(room, seat)?.1 != endpoint {
            return Err(ControlError::State);
        }
        let seat = self.seats.get_mut(&endpoint).ok_or(ControlError::UnknownSeat)?;
        seat.plan = plan;
        self.with_peer(endpoint, |peer| peer.restart(credentials));
        self.touch(Key::Seat(endpoint));
        Ok(Done::Nothing)
    }

    fn set_voice(
        &mut self,
        now: Instant,
        room: &RoomId,
        seat: &SeatId,
        source: Option<SourceNumber>,
    ) -> Result<Done, ControlError> {
        let (key, endpoint) = self.find(room, seat)?;
        if source.is_some_and(|source| source.kind().media() != MediaKind::Audio) {
            return Err(ControlError::BadValue);
        }
        self.tell_room(key, |room| room.handle(now, Input::Voice(endpoint, source)));
        Ok(Done::Nothing)
    }

    fn set_published(
        &mut self,
        now: Instant,
        room: &RoomId,
        seat: &SeatId,
        (source, on): (SourceKind, bool),
    ) -> Result<Done, ControlError> {
        let (key, endpoint) = self.find(room, seat)?;
        let is_offered = self
            .seats
            .get(&endpoint)
            .is_some_and(|seat| seat.sources.contains(&source));
        if !is_offered {
            return Err(ControlError::BadValue);
        }
        self.tell_room(key, |room| {
            room.handle(now, Input::Published(endpoint, source, on))
        });
        Ok(Done::Nothing)
    }

    fn inspect(&mut self, now: Instant, room: &RoomId) -> Result<Done, ControlError> {
        let key = self.names.get(room).copied().ok_or(ControlError::UnknownRoom)?;
        let report = self.report(now, key).ok_or(ControlError::Unavailable)?;
        Ok(Done::Inspected(Box::new(report)))
    }

    fn open_room(&mut self, now: Instant, opening: Opening) -> Result<Done, ControlError> {
        let Opening {
            room: id,
            tag,
            policy,
            floor,
        } = opening;
        if let Some(&key) = self.names.get(&id) {
            let Some(entry) = self.rooms.get_mut(&key) else {
                return Err(ControlError::Unavailable);
            };
            if entry.policy != policy {
                entry.policy = policy.clone();
                self.tell_room(key, |room| room.set_policy(policy));
            }
            // It may have been opened late, by an order from before the floor was given or taken.
            self.tell_room(key, |room| room.handle(now, Input::Floor(floor)));
            return Ok(Done::Nothing);
        }
        let key = RoomKey(self.rooms_made);
        self.rooms_made += 1;
        let entry = RoomEntry {
            id: id.clone(),
            room: Room::new(now, policy.clone()),
            policy,
            seats: std::collections::BTreeMap::new(),
            number_max: 0,
            tag,
            links: BTreeSet::new(),
            is_touched: false,
        };
        self.names.insert(id, key);
        self.rooms.insert(key, entry);
        if floor.is_some() {
            self.tell_room(key, |room| room.handle(now, Input::Floor(floor)));
        }
        Ok(Done::Opened)
    }

    fn close_room(&mut self, now: Instant, id: &RoomId) -> Result<Done, ControlError> {
        let Some(key) = self.names.get(id).copied() else {
            return Ok(Done::Nothing);
        };
        let seats = self
            .rooms
            .get(&key)
            .map(|entry| entry.seats.values().copied().collect::<Vec<_>>());
        for endpoint in seats.unwrap_or_default() {
            self.dismiss(now, endpoint);
        }
        if let Some(entry) = self.rooms.remove(&key) {
            self.names.remove(&entry.id);
            self.relay.forget(entry.tag);
            self.timers.set(Key::Room(key), None);
            self.closed += entry.room.stats();
        }
        Ok(Done::Nothing)
    }

    fn set_view(
        &mut self,
        now: Instant,
        room: &RoomId,
        seat: &SeatId,
        wants: Vec<Want>,
    ) -> Result<Done, ControlError> {
        let (key, endpoint) = self.find(room, seat)?;
        let seat = self.seats.get(&endpoint).ok_or(ControlError::UnknownSeat)?;
        let mut slots = BTreeSet::new();
        let is_good = wants.iter().all(|want| {
            (1..=HEIGHT_MAX).contains(&want.height)
                && want.source.kind().media() == MediaKind::Video
                && seat.video_slots.contains(&want.slot)
                && slots.insert(want.slot)
        });
        if !is_good {
            return Err(ControlError::BadValue);
        }
        self.tell_room(key, |room| room.handle(now, Input::View(endpoint, wants)));
        Ok(Done::Nothing)
    }

    /// Ends an endpoint's media and tells its client.
    pub(super) fn dismiss(&mut self, now: Instant, endpoint: EndpointId) {
        if let Some(mut seat) = self.remove(now, endpoint) {
            self.say_goodbye(now, &mut seat);
        }
    }

    fn find(&self, room: &RoomId, seat: &SeatId) -> Result<(RoomKey, EndpointId), ControlError> {
        let key = self.names.get(room).copied().ok_or(ControlError::UnknownRoom)?;
        let entry = self.rooms.get(&key).ok_or(ControlError::UnknownRoom)?;
        let endpoint = entry.seats.get(seat).copied().ok_or(ControlError::UnknownSeat)?;
        Ok((key, endpoint))
    }

    pub(super) fn tell_room(&mut self, key: RoomKey, work: impl FnOnce(&mut Room)) {
        self.with_room(key, work);
        self.touch(Key::Room(key));
    }

    /// Everything, and after it what every seat was told last of its quality: a new signaling knows none of it. What waits to be told waits on, though the
    /// snapshot says it too: of what is on its way already some is older, and must not be the last that is heard.
    fn snapshot(&mut self) -> Vec<RoomSnapshot> {
        let endpoints: Vec<EndpointId> = self.seats.keys().copied().collect();
        endpoints
            .into_iter()
            .for_each(|endpoint| self.tell_again(endpoint));
        let rooms = self.names.values().filter_map(|key| self.rooms.get(key));
        let seats = |entry: &RoomEntry| {
            let seats = entry.seats.values().filter_map(|endpoint| {
                let seat = self.seats.get(endpoint)?;
                Some(SeatSnapshot {
                    seat: seat.id.clone(),
                    number: seat.number,
                    seat_note: seat.note.clone(),
                    published: entry.room.published(*endpoint),
                    connected: seat.is_connected,
                    slots: entry.room.slots(*endpoint),
                })
            });
            seats.collect()
        };
        rooms
            .map(|entry| RoomSnapshot {
                room: entry.id.clone(),
                policy: entry.policy.clone(),
                number_max: entry.number_max,
                floor: entry.room.floor(),
                speaker: entry.room.speaker(),
                seats: seats(entry),
            })
            .collect()
    }

    fn count(&mut self, now: Instant) -> Counted {
        self.look_at_quality(now);
        let mut rooms = self.closed;
        for entry in self.rooms.values() {
            rooms += entry.room.stats();
        }
        Counted {
            tally: self.tally.clone(),
            rooms,
            rooms_open: self.rooms.len() as u64,
            history_bytes: self.rooms.values().map(|entry| entry.room.history_memory()).sum(),
            endpoints: self.seats.len() as u64,
            endpoints_connected: self.seats.values().filter(|seat| seat.is_connected).count() as u64,
            quality: self.quality.clone(),
            shard_panics: 0,
            shards: Vec::new(),
        }
    }
}
