//! One thread that is a whole SFU: its sockets, its rooms, its peers, all `&mut`, no lock.
//!
//! A turn of the loop reads the clock once, takes a whole batch of datagrams, does a bounded amount of handshake work,
//! then lets rooms and peers say what is to be sent and writes for one receiver after the other. Nothing in a turn waits.
//! A room or peer that panics is dropped alone: a panic is our bug, and the others' meeting goes on.

mod bell;
mod egress;
mod events;
mod ingress;
mod kept;
mod level;
mod lines;
mod load;
mod orders;
mod quality;
mod relay;
mod seats;
mod window;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    rc::Rc,
    sync::Arc,
    task::Poll,
    time::{Duration, Instant},
};

use rustc_hash::FxHashMap;
use tokio::sync::{mpsc, watch};

#[cfg(feature = "faults")]
pub use self::orders::Fault;
use self::{
    bell::Bell, egress::Egress, events::EventBook, ingress::Handshake, kept::Kept, lines::Lines, load::Meter,
    relay::Relay, window::Window,
};
pub(crate) use self::{
    lines::Behind,
    load::Load,
    orders::{Counted, Done, Newcomer, Opening, Order, ToShard},
};
use super::{
    demux::Demux,
    gate::Gate,
    news::{News, ShardIndex, What},
    peer::{Peer, PeerEvent, dtls::Identity, sdp::Plan},
    quality::{Flow, Quality},
    relay::RoomTag,
    tally::Tally,
    timers::Timers,
    udp::{Batch, Bound, Left, Socket},
};
use crate::{
    control::{Event, RoomId, RoomPolicy, SeatId, SendOrder, SlotQuality},
    engine::{
        cascade::LinkId,
        id::{EndpointId, LineIndex, PointNumber, SlotId, SourceKind},
        packet::{Forward, Output, soonest},
        room::Room,
        stats::RoomStats,
    },
};

/// Stack of a shard's thread: handshake code recurses over what the network sent.
const STACK_BYTES: usize = 16 << 20;

/// Datagrams taken in one turn; the rest waits in the kernel's buffer for the next.
const DATAGRAMS_PER_TURN: usize = 256;

/// Orders taken in one turn; the rest waits in the channel.
const ORDERS_PER_TURN: usize = 16;

/// How soon events that found no place are offered again.
const EVENTS_AGAIN: Duration = Duration::from_millis(50);

/// A room of this shard; never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct RoomKey(u32);

/// What has deadlines, and what was touched in this turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Key {
    Room(RoomKey),
    Seat(EndpointId),
}

/// A room and who sits in it.
struct RoomEntry {
    id: RoomId,
    policy: RoomPolicy,
    room: Room,
    seats: BTreeMap<SeatId, EndpointId>,
    number_max: u32,
    /// As all shards call it.
    tag: RoomTag,
    /// Other shards that have it.
    links: BTreeSet<LinkId>,
    is_touched: bool,
}

/// A seat with its transport.
#[repr(C)] // what each packet asks lies together
struct Seat {
    room: RoomKey,
    number: PointNumber,
    is_touched: bool,
    is_connected: bool,
    /// DTLS datagrams of it that wait for their turn.
    handshakes: u8,
    sent: Flow,
    received: Flow,
    peer: Peer,
    id: SeatId,
    note: String,
    site: Option<String>,
    /// The lines on the way to that site.
    way: Vec<LineIndex>,
    sources: Vec<SourceKind>,
    video_slots: Vec<SlotId>,
    plan: Box<Plan>,
    /// What its slots get, as told last.
    quality: Option<Vec<SlotQuality>>,
    /// What it is to send, as told last.
    order: Option<SendOrder>,
    kept: Kept,
}

/// What a shard is made of.
pub(crate) struct Parts {
    /// Which it is.
    pub(crate) index: ShardIndex,
    /// Its sockets.
    pub(crate) bound: Vec<Bound>,
    /// The certificate of all its peers.
    pub(crate) identity: Arc<Identity>,
    /// What it is to do.
    pub(crate) orders: mpsc::Receiver<ToShard>,
    /// What happens in it.
    pub(crate) news: mpsc::Sender<News>,
    /// How busy it is.
    pub(crate) load: watch::Sender<Load>,
}

/// Starts a shard on a thread of its own. It ends after [`Order::Stop`], or when nobody can give it orders any more. One that panics
/// says so as the last of its news.
///
/// # Errors
/// The system refuses a thread or a descriptor.
pub(crate) fn start(parts: Parts) -> io::Result<std::thread::JoinHandle<()>> {
    let (ready, is_ready) = std::sync::mpsc::sync_channel(1);
    let thread = std::thread::Builder::new()
        .name(format!("shard-{}", parts.index.0))
        .stack_size(STACK_BYTES)
        .spawn(move || {
            let (index, news) = (parts.index, parts.news.clone());
            // Whoever waits for it is there until it comes.
            let ready = |result| drop(ready.send(result));
            guard(index, &news, || live(parts, ready));
        })?;
    // A thread that ends without a word has failed before it was ready.
    is_ready
        .recv()
        .unwrap_or_else(|_| Err(io::ErrorKind::Other.into()))?;
    Ok(thread)
}

/// Does what a shard does, and tells if it panicked. That is told before it is logged: a log that cannot be written may panic too, and nobody would take
/// the shard's place.
fn guard(shard: ShardIndex, news: &mpsc::Sender<News>, work: impl FnOnce()) {
    if catch_unwind(AssertUnwindSafe(work)).is_err() {
        let what = What::Failed;
        // Nobody listens when the node ends.
        let _ = news.blocking_send(News { shard, what });
        tracing::error!(shard = shard.0, "a shard failed and is replaced");
    }
}

/// A shard from its start to its end.
fn live(parts: Parts, ready: impl Fn(io::Result<()>)) {
    let sockets = parts.bound.into_iter().map(Socket::new);
    let made = sockets
        .collect::<io::Result<Vec<Socket>>>()
        .and_then(|mut sockets| {
            let bell = Bell::new(&mut sockets)?;
            Ok((Rc::from(sockets), bell))
        });
    let (sockets, bell): (Rc<[Socket]>, Bell) = match made {
        Ok(made) => made,
        Err(error) => return ready(Err(error)),
    };
    ready(Ok(()));
    let events = EventBook::new(parts.index, parts.news);
    let meter = Meter::new(Instant::now(), parts.load);
    let shard = Shard::new(sockets.clone(), parts.identity, events, meter);
    shard.run(&sockets, bell, parts.orders);
}

/// The state of a shard.
struct Shard {
    identity: Arc<Identity>,
    gate: Gate,
    demux: Demux,
    names: BTreeMap<RoomId, RoomKey>,
    rooms: FxHashMap<RoomKey, RoomEntry>,
    rooms_made: u32,
    /// By numbers of our own making: nobody outside can choose them, so a fast hash serves.
    seats: FxHashMap<EndpointId, Seat>,
    handshakes: VecDeque<Handshake>,
    timers: Timers<Key>,
    touched: Vec<Key>,
    /// Rooms that panicked in this turn.
    broken: Vec<RoomKey>,
    forwards: Vec<Forward>,
    egress: Egress,
    events: EventBook,
    load: Meter,
    relay: Relay,
    tally: Tally,
    lines: Lines,
    quality: Quality,
    /// Counters of rooms that are closed.
    closed: RoomStats,
    is_stopping: bool,
}

impl Shard {
    fn new(sockets: Rc<[Socket]>, identity: Arc<Identity>, events: EventBook, load: Meter) -> Self {
        Self {
            identity,
            gate: Gate::new(),
            demux: Demux::default(),
            names: BTreeMap::new(),
            rooms: FxHashMap::default(),
            rooms_made: 0,
            seats: FxHashMap::default(),
            handshakes: VecDeque::new(),
            timers: Timers::new(),
            touched: Vec::new(),
            broken: Vec::new(),
            forwards: Vec::new(),
            egress: Egress::new(sockets),
            events,
            load,
            relay: Relay::default(),
            tally: Tally::default(),
            lines: Lines::default(),
            quality: Quality::default(),
            closed: RoomStats::default(),
            is_stopping: false,
        }
    }

    fn run(mut self, sockets: &[Socket], mut bell: Bell, mut orders: mpsc::Receiver<ToShard>) {
        let (mut batch, mut window) = (Batch::new(), Window::default());
        while !self.is_stopping {
            let order = self.wait(&mut bell, &mut orders);
            let now = Instant::now(); // the only time that engines are told in this turn
            window.begin(now);
            sockets.iter().for_each(|socket| socket.begin(now));
            match order {
                Poll::Ready(Some(order)) => self.take_orders(now, order, &mut orders),
                Poll::Ready(None) => self.is_stopping = true,
                Poll::Pending => {}
            }
            self.take_parcels(now);
            self.receive(now, sockets, &mut bell, &mut batch);
            self.shake_hands(now);
            self.handle_timeouts(now);
            self.mind_load(now);
            self.drain(now);
            let ended = Instant::now();
            self.load.worked(ended.saturating_duration_since(now));
            if let Some(rest) = window.rest(ended) {
                // Not at the bell: each datagram that comes would ring it, which is what is to be saved.
                std::thread::sleep(rest);
            }
        }
        self.close(Instant::now());
    }

    /// Until there is an order, a datagram, a deadline, or work left over from the last turn. The order, if there is one.
    fn wait(&mut self, bell: &mut Bell, orders: &mut mpsc::Receiver<ToShard>) -> Poll<Option<ToShard>> {
        bell.lie_down();
        let mut order = orders.poll_recv(&mut bell.context());
        let has_parcels = self.relay.poll_ready(&mut bell.context()).is_ready();
        let most = if order.is_ready() || has_parcels || !self.handshakes.is_empty() {
            Some(Duration::ZERO)
        } else {
            let again = (!self.events.is_empty()).then(|| Instant::now() + EVENTS_AGAIN);
            let deadline = soonest(soonest(self.timers.soonest(), self.load.due()), again);
            deadline.map(|at| at.saturating_duration_since(Instant::now()))
        };
        bell.sleep(most);
        if order.is_pending() {
            order = orders.poll_recv(&mut bell.context());
        }
        order
    }

    fn take_orders(&mut self, now: Instant, first: ToShard, orders: &mut mpsc::Receiver<ToShard>) {
        let mut next = Some(first);
        for _ in 0..ORDERS_PER_TURN {
            let Some(ToShard { order, reply }) = next.take() else {
                return;
            };
            let result = self.handle_order(now, order);
            // What the order caused is told before its reply.
            self.drain(now);
            // Whoever asked may be gone.
            let _ = reply.send(result);
            if self.is_stopping {
                return;
            }
            next = orders.try_recv().ok();
        }
        // The budget was used up: the one in hand is done still.
        if let Some(ToShard { order, reply }) = next {
            let result = self.handle_order(now, order);
            self.drain(now);
            let _ = reply.send(result);
        }
    }

    fn receive(&mut self, now: Instant, sockets: &[Socket], bell: &mut Bell, batch: &mut Batch) {
        for (place, socket) in sockets.iter().enumerate() {
            let mut left = DATAGRAMS_PER_TURN;
            while left > 0 && bell.is_readable(place) {
                if socket.receive(batch) == Left::Nothing {
                    bell.emptied(place);
                }
                left -= 1; // for the look itself: errors alone end a turn too
                for (remote, datagram) in batch.datagrams() {
                    let path = super::peer::Path {
                        local: socket.local(),
                        remote,
                    };
                    self.handle_datagram(now, path, datagram);
                    left = left.saturating_sub(1);
                }
            }
        }
    }

    fn handle_timeouts(&mut self, now: Instant) {
        while let Some(key) = self.timers.pop_due(now) {
            match key {
                Key::Room(room) => drop(self.with_room(room, |room| room.handle_timeout(now))),
                Key::Seat(endpoint) => self.seat_timeout(now, endpoint),
            }
            self.touch(key);
        }
    }

    /// Lets everything that was touched say what it wants, and sends it.
    fn drain(&mut self, now: Instant) {
        self.hand_over(now);
        loop {
            self.share_lines(now);
            while let Some(key) = self.touched.pop() {
                match key {
                    Key::Seat(endpoint) => self.drain_seat(now, endpoint),
                    Key::Room(room) => self.drain_room(now, room),
                }
            }
            if let Some(room) = self.broken.pop() {
                self.bury(now, room);
            } else if !self.lines.is_stale() {
                break;
            }
        }
        self.egress.flush(&mut self.tally);
        self.relay.flush(&mut self.tally);
        self.events.flush();
    }

    fn drain_seat(&mut self, now: Instant, endpoint: EndpointId) {
        let Some(seat) = self.seats.get_mut(&endpoint) else {
            return;
        };
        seat.is_touched = false;
        let polled = catch_unwind(AssertUnwindSafe(|| {
            while let Some(transmit) = seat.peer.poll_transmit() {
                self.egress.send(&transmit, &mut self.tally);
            }
            let mut last = None;
            while let Some(event) = seat.peer.poll_event() {
                last = Some(event);
            }
            (last, seat.peer.poll_timeout())
        }));
        let Ok((event, deadline)) = polled else {
            self.tally.peer_panics += 1;
            return self.lose(now, endpoint);
        };
        self.timers.set(Key::Seat(endpoint), deadline);
        match event {
            Some(PeerEvent::Connected) => self.connect(now, endpoint),
            Some(PeerEvent::Lost(reason)) => {
                self.tally.lost[reason as usize] += 1;
                self.lose(now, endpoint);
            }
            None => {}
        }
    }

    fn drain_room(&mut self, now: Instant, key: RoomKey) {
        let Some(entry) = self.rooms.get_mut(&key) else {
            return;
        };
        entry.is_touched = false;
        while self.forward_some(key) {}
        loop {
            let Some(output) = self.with_room(key, Room::poll_output) else {
                return;
            };
            let Some(output) = output else { break };
            self.handle_output(key, output);
        }
        self.drain_links(now, key);
        let deadline = self.with_room(key, |room| room.poll_timeout()).flatten();
        // What is due already is done in the next turn, not in an endless one.
        self.timers.set(Key::Room(key), deadline.map(|at| at.max(now)));
    }

    fn handle_output(&mut self, key: RoomKey, output: Output) {
        match output {
            Output::Rtcp { to, bytes } => self.send_rtcp(to, &bytes),
            Output::Slots { endpoint, changes } => {
                let (Some(entry), Some(seat)) = (self.rooms.get(&key), self.seats.get(&endpoint)) else {
                    return;
                };
                let (room, seat) = (entry.id.clone(), seat.id.clone());
                self.events
                    .tell(Some(endpoint), Event::Slots { room, seat, changes });
            }
            Output::Quality { endpoint, slots } => self.tell_quality(key, endpoint, &slots),
            Output::Send {
                endpoint,
                sources,
                voice_ms,
            } => self.tell_order(key, endpoint, sources, voice_ms),
            Output::Speaker(number) => {
                let Some(entry) = self.rooms.get(&key) else { return };
                let room = entry.id.clone();
                self.events.tell(None, Event::Speaker { room, number });
            }
        }
    }

    /// To be drained in this turn.
    fn touch(&mut self, key: Key) {
        let is_touched = match key {
            Key::Room(room) => self.rooms.get_mut(&room).map(|entry| &mut entry.is_touched),
            Key::Seat(endpoint) => self.seats.get_mut(&endpoint).map(|seat| &mut seat.is_touched),
        };
        if let Some(is_touched @ false) = is_touched {
            *is_touched = true;
            self.touched.push(key);
        }
    }

    /// Does something to a room; none if there is none, or if it panicked, now or before in this turn, which is its end.
    fn with_room<T>(&mut self, key: RoomKey, work: impl FnOnce(&mut Room) -> T) -> Option<T> {
        if self.broken.contains(&key) {
            return None;
        }
        let entry = self.rooms.get_mut(&key)?;
        let result = catch_unwind(AssertUnwindSafe(|| work(&mut entry.room)));
        if result.is_err() {
            self.broken.push(key);
        }
        result.ok()
    }

    /// Does something to a peer; none if there is none, or if it panicked. What a panicked peer does next is no matter:
    /// it is caught again, and its consent runs out.
    fn with_peer<T>(&mut self, endpoint: EndpointId, work: impl FnOnce(&mut Peer) -> T) -> Option<T> {
        let seat = self.seats.get_mut(&endpoint)?;
        let result = catch_unwind(AssertUnwindSafe(|| work(&mut seat.peer)));
        self.tally.peer_panics += u64::from(result.is_err());
        result.ok()
    }
}

#[cfg(test)]
mod tests;
