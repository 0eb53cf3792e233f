//! What of a request is done before a shard hears of it: reading offers and writing answers, 0.6 ms each, which would
//! stall running streams; and which shard hears of it.

mod hangs;
mod lines;
mod offers;
mod seating;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

use tokio::sync::watch;

use super::{
    api::Handler,
    gather::{self, Counters},
    metrics,
    news::{News, ShardIndex, What},
    peer::{
        dtls::Identity,
        ice::IceCredentials,
        sdp::{self, Plan},
    },
    rooms::Rooms,
    shard::{Behind, Done, Order},
    shards::Shards,
};
use crate::{
    control::{
        CLIENTS_MAX, ClientState, Command, ControlError, Event, MediaState, Network, Reply, RoomId,
        RoomPolicy, SeatId, VERSION, VIDEO_CODECS_MAX,
    },
    engine::id::{EndpointId, PointNumber},
};

/// All samples of a voice, in millionths.
const CONCEALED_PPM_MAX: u32 = 1_000_000;

/// Longest name of a site in a [`Join`](crate::control::Join), in bytes.
const SITE_BYTES_MAX: usize = 96;

/// The control protocol's [`Handler`] of a node.
pub(crate) struct Front {
    /// All shards.
    pub(crate) shards: Shards,
    /// What is on which of them.
    pub(crate) rooms: Rooms,
    /// Whose fingerprint stands in the answers.
    pub(crate) identity: Arc<Identity>,
    /// Whether signaling is there.
    pub(crate) served: watch::Sender<bool>,
    /// How many endpoints there are.
    pub(crate) endpoints: watch::Sender<u32>,
    /// Most of them.
    pub(crate) endpoints_max: u32,
    /// Most rooms.
    pub(crate) rooms_max: u32,
    /// Endpoints of one room that a shard takes before the next goes to another; 0: all.
    pub(crate) room_shard_max: u32,
    /// The last endpoint; the next has the next number, so that none is used again while its packets are under way.
    pub(crate) last_endpoint: u32,
    /// As set last.
    pub(crate) network: Network,
    /// What each shard that knows the network was told last of who is behind its lines elsewhere.
    pub(crate) networked: BTreeMap<ShardIndex, Behind>,
    /// Somebody came or went since.
    pub(crate) is_stale: bool,
    /// Pairs of shards with a link between them, the lower one first.
    pub(crate) linked: BTreeSet<(ShardIndex, ShardIndex)>,
    /// Shards that hung when they were looked at last.
    pub(crate) hung: BTreeSet<ShardIndex>,
    /// What was counted.
    pub(crate) counters: Counters,
    /// To be told to signaling; at most one for each seat and what one turn of the channel holds.
    pub(crate) events: VecDeque<Event>,
    /// [`Command::Shutdown`] was given.
    pub(crate) is_ending: bool,
}

impl Handler for Front {
    async fn handle(&mut self, command: Command) -> Result<Reply, ControlError> {
        self.look_for_hangs();
        self.tell_elsewhere().await;
        let (shard, order) = match command {
            Command::Hello { version: VERSION } => return Ok(self.welcome()),
            Command::Hello { .. } => return Err(ControlError::Version { theirs: VERSION }),
            Command::Snapshot => return Ok(self.snapshot().await),
            Command::Metrics => return Ok(self.metrics().await),
            Command::Inspect { room } => return self.inspect(room).await,
            Command::OpenRoom { room, policy } => return self.open_room(room, policy).await,
            Command::CloseRoom { room } => return self.close_room(room).await,
            Command::SetFloor { room, number } => return self.set_floor(room, number).await,
            Command::SetNetwork { network } => return self.set_network(network).await,
            Command::Join(join) => return self.join(*join).await,
            Command::Leave { room, seat } => return self.leave(room, seat).await,
            Command::Restart { room, seat, offer } => {
                let answer = |plan: &mut Plan, ice: &IceCredentials| sdp::answer_restart(&offer, plan, ice);
                return self.restart(room, seat, answer).await;
            }
            Command::RestartIce { room, seat, fragment } => {
                let answer =
                    |plan: &mut Plan, ice: &IceCredentials| sdp::answer_fragment(&fragment, plan, ice);
                return self.restart(room, seat, answer).await;
            }
            Command::Shutdown => {
                self.is_ending = true;
                return Ok(Reply::Done);
            }
            Command::SetClients { room, clients } => return self.set_clients(room, clients).await,
            Command::SetView { room, seat, wants } => {
                let shard = self.rooms.seat(&room, &seat)?;
                (shard, Order::SetView { room, seat, wants })
            }
            Command::SetVoice { room, seat, source } => {
                let shard = self.rooms.seat(&room, &seat)?;
                (shard, Order::SetVoice { room, seat, source })
            }
            Command::SetPublished {
                room,
                seat,
                source,
                on,
            } => {
                let shard = self.rooms.seat(&room, &seat)?;
                let order = Order::SetPublished {
                    room,
                    seat,
                    source,
                    on,
                };
                (shard, order)
            }
        };
        self.shards.ask(shard, order).await?;
        Ok(Reply::Done)
    }

    fn handle_news(&mut self, news: News) {
        match news.what {
            What::Event(of, event) => self.handle_event((news.shard, of), event),
            What::Failed => self.replace(news.shard),
        }
    }

    fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    fn set_served(&mut self, served: bool) {
        self.served.send_replace(served);
    }

    fn is_ending(&self) -> bool {
        self.is_ending
    }
}

impl Front {
    fn welcome(&self) -> Reply {
        Reply::Welcome {
            pid: std::process::id(),
            media: self.shards.all_announced(),
            settings: self.shards.config().shown(),
        }
    }

    /// What a shard says of a seat counts while the seat is there with that endpoint.
    fn handle_event(&mut self, (shard, of): (ShardIndex, Option<EndpointId>), event: Event) {
        let is_its = match &event {
            Event::Speaker { room, number } => {
                if let Ok(placed) = self.rooms.find_mut(room) {
                    placed.set_speaker(shard, *number);
                }
                return self.tell_speaker(room);
            }
            Event::Media { room, seat, .. }
            | Event::Slots { room, seat, .. }
            | Event::Quality { room, seat, .. }
            | Event::Send { room, seat, .. } => self.rooms.holds(room, seat, (shard, of)),
        };
        if !is_its {
            return;
        }
        if let Event::Media {
            room,
            seat,
            state: MediaState::Lost,
        } = &event
        {
            self.rooms.unseat(room, seat);
            self.count();
        }
        self.events.push_back(event);
    }

    /// A shard failed: everybody on it has lost their media, and another takes its place.
    fn replace(&mut self, shard: ShardIndex) {
        let rooms = self.rooms.on_shard(shard);
        for (room, seat) in self.rooms.take_shard(shard) {
            let state = MediaState::Lost;
            self.events.push_back(Event::Media { room, seat, state });
        }
        // The one that takes its place tells only what changes, and begins with nobody.
        rooms.iter().for_each(|room| self.tell_speaker(room));
        self.count();
        self.counters.bury(shard);
        self.networked.remove(&shard);
        self.linked.retain(|&(a, b)| a != shard && b != shard);
        self.shards.restart(shard);
    }

    fn tell_speaker(&mut self, room: &RoomId) {
        if let Ok(placed) = self.rooms.find(room) {
            let number = placed.speaker(|shard| self.shards.is_running(shard));
            let room = room.clone();
            self.events.push_back(Event::Speaker { room, number });
        }
    }

    /// Tells how many are there now.
    fn count(&mut self) {
        self.is_stale = true;
        self.endpoints.send_replace(self.rooms.seats());
    }

    async fn snapshot(&mut self) -> Reply {
        let mut told = Vec::new();
        for shard in self.shards.indexes() {
            let Ok(Done::Snapshot(rooms)) = self.shards.ask(shard, Order::Snapshot).await else {
                // It has nothing if it does not run. If it hangs, what it has is not known, and who sat there is told to have no media.
                self.give_up(shard).await;
                continue;
            };
            let mut gone = self.rooms.on_shard(shard);
            gone.retain(|room| rooms.iter().all(|told| told.room != *room));
            self.rooms.reconcile(shard, &rooms);
            for room in gone {
                self.unlink(&room, shard).await;
            }
            for snapshot in rooms {
                if self.rooms.find(&snapshot.room).is_ok() {
                    told.push(snapshot);
                    continue;
                }
                // Closed by a request whose connection ended before every shard heard of it.
                let order = Order::CloseRoom { room: snapshot.room };
                let _ = self.shards.ask(shard, order).await;
            }
        }
        self.count();
        Reply::Snapshot {
            rooms: gather::snapshot(&self.rooms, told),
        }
    }

    async fn metrics(&mut self) -> Reply {
        for shard in self.shards.indexes() {
            if let Ok(Done::Counted(counted)) = self.shards.ask(shard, Order::Count).await {
                self.counters.tell(shard, *counted);
            }
        }
        // What shards missed while they hung. What does not work is tried with the next look.
        let _ = self.tell_all_network().await;
        self.join_halves().await;
        let counted = self
            .counters
            .sum(self.rooms.len(), |shard| self.shards.busy(shard));
        Reply::Metrics {
            text: metrics::text(&counted),
        }
    }

    async fn inspect(&mut self, room: RoomId) -> Result<Reply, ControlError> {
        let mut told = Vec::new();
        for shard in self.rooms.find(&room)?.shards().to_vec() {
            let order = Order::Inspect { room: room.clone() };
            match self.shards.ask(shard, order).await {
                Ok(Done::Inspected(report)) => told.push(*report),
                Ok(_) => {}
                Err(ControlError::UnknownRoom) => self.forget_half(&room, shard).await,
                Err(error) => return Err(error),
            }
        }
        Ok(Reply::Inspected {
            room: Box::new(gather::report(told.into_iter())),
        })
    }

    /// A shard hears of a room when the first of it sits there.
    async fn open_room(&mut self, room: RoomId, policy: RoomPolicy) -> Result<Reply, ControlError> {
        if policy.video.len() > VIDEO_CODECS_MAX {
            return Err(ControlError::BadValue);
        }
        if self.rooms.open(room.clone(), policy, self.rooms_max)? {
            tracing::info!(%room, "room opened");
        }
        for shard in self.rooms.find(&room)?.shards().to_vec() {
            // One that hangs is told with the next who joins there.
            if !self.shards.hangs(shard) {
                self.open_at(shard, &room).await?;
            }
        }
        Ok(Reply::Done)
    }

    async fn close_room(&mut self, room: RoomId) -> Result<Reply, ControlError> {
        for shard in self.rooms.close(&room) {
            // One that does not run has closed it.
            let order = Order::CloseRoom { room: room.clone() };
            let _ = self.shards.ask(shard, order).await;
        }
        self.count();
        tracing::info!(%room, "room closed");
        Ok(Reply::Done)
    }

    /// Each shard is told of its own at once.
    async fn set_clients(
        &mut self,
        room: RoomId,
        clients: Vec<(SeatId, ClientState)>,
    ) -> Result<Reply, ControlError> {
        self.rooms.find(&room)?;
        let is_good = |client: &ClientState| client.concealed_ppm <= CONCEALED_PPM_MAX;
        if clients.len() > CLIENTS_MAX || !clients.iter().all(|(_, client)| is_good(client)) {
            return Err(ControlError::BadValue);
        }
        let mut shards: BTreeMap<ShardIndex, Vec<(SeatId, ClientState)>> = BTreeMap::new();
        for (seat, client) in clients {
            if let Ok(shard) = self.rooms.seat(&room, &seat) {
                shards.entry(shard).or_default().push((seat, client));
            }
        }
        let mut told = Ok(Reply::Done);
        for (shard, clients) in shards {
            let room = room.clone();
            let asked = self.shards.ask(shard, Order::SetClients { room, clients }).await;
            // The halves of the others hear of theirs all the same.
            told = told.and(asked.map(|_| Reply::Done));
        }
        told
    }

    async fn set_floor(&mut self, room: RoomId, number: Option<PointNumber>) -> Result<Reply, ControlError> {
        let placed = self.rooms.find_mut(&room)?;
        placed.floor = number;
        let mut told = Ok(Reply::Done);
        for shard in placed.shards().to_vec() {
            let order = Order::SetFloor {
                room: room.clone(),
                number,
            };
            match self.shards.ask(shard, order).await {
                Err(ControlError::UnknownRoom) => self.forget_half(&room, shard).await,
                // The halves of the others hear of it all the same.
                asked => told = told.and(asked.map(|_| Reply::Done)),
            }
        }
        told
    }
}
