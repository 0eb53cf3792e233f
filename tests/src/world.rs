//! A meeting in virtual time: one real room, scripted peers, simulated paths.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap},
    time::{Duration, Instant},
};

use bytes::Bytes;
use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};
use sfu::{
    control::{RoomPolicy, Want},
    engine::{
        id::{EndpointId, PointNumber, SlotId, SourceKind},
        packet::{Forward, Input, LineShare, Output, Purpose, SourceGrade},
        room::Room,
    },
};

use crate::{
    camera::Camera,
    encoder::Outgoing,
    event::{Event, Scheduled},
    link::{Bottleneck, Fate, Link, Path, QueueRecord},
    mic::Mic,
    peer::{Peer, Script},
    sealed::Sealed,
    trace::Trace,
};

pub use crate::record::{Grades, Orders, Place, SharedLine};

/// Time between a peer's looks for lost packets.
const ASK_INTERVAL: Duration = Duration::from_millis(20);
/// Time between a peer's reports.
const REPORT_INTERVAL: Duration = Duration::from_secs(1);
/// Time between a peer's feedback: this, and some more by its index, as browsers differ.
const FEEDBACK_INTERVAL: Duration = Duration::from_millis(50);
/// What the control protocol takes besides the path, from the node's word to the page's deed.
const ORDER_TIME: Duration = Duration::from_millis(20);
/// Packets that the room is asked for at once.
const FORWARDS_AT_ONCE: usize = 64;
/// More happens at one time only if the room never comes to rest.
const AT_ONCE_MAX: u32 = 100_000;
/// Bytes of SRTP tag, UDP and IP header that travel with each packet.
pub(crate) const OVERHEAD_BYTES: usize = 16 + 28;

/// A meeting.
#[derive(Debug)]
pub struct World {
    /// The room under test.
    pub room: Room,
    /// Everybody, in the order of joining.
    pub peers: Vec<Peer>,
    /// Lines that several points share.
    pub lines: Vec<SharedLine>,
    /// The loudest point, as told, with the time it was told.
    pub speakers: Vec<(Instant, Option<PointNumber>)>,
    /// What the slots of points got, as told, in order.
    pub grades: Vec<Grades>,
    /// What points were told to send, in order.
    pub orders: Vec<Orders>,
    /// The time.
    pub now: Instant,
    pub(crate) seed: u64,
    pub(crate) began: Instant,
    trace_every: Option<Duration>,
    pub(crate) paths: Vec<Paths>,
    indices: BTreeMap<EndpointId, usize>,
    rng: ChaCha8Rng,
    queue: BinaryHeap<Reverse<Scheduled>>,
    order: u64,
    /// The room was told something since it was asked when it wants to be called.
    is_stirred: bool,
    timeout: Option<Instant>,
    /// Things that happened at this very time.
    at_once: u32,
    forwards: Vec<Forward>,
    sealed: Sealed,
}

#[derive(Debug)]
pub(crate) struct Paths {
    up: Path,
    down: Path,
    pub(crate) behind: Option<usize>,
    trace: Option<(Instant, Trace)>,
    gone: bool,
    pictures_lost: u32,
}

impl World {
    /// An empty room.
    pub fn new(seed: u64) -> Self {
        let now = Instant::now();
        Self {
            room: Room::new(now, RoomPolicy::default()),
            peers: Vec::new(),
            lines: Vec::new(),
            speakers: Vec::new(),
            grades: Vec::new(),
            orders: Vec::new(),
            now,
            seed,
            began: now,
            trace_every: crate::seeds::number("SIM_TRACE").map(|ms| Duration::from_millis(ms.max(1))),
            paths: Vec::new(),
            indices: BTreeMap::new(),
            rng: ChaCha8Rng::seed_from_u64(seed),
            queue: BinaryHeap::new(),
            order: 0,
            is_stirred: true,
            timeout: None,
            at_once: 0,
            forwards: Vec::new(),
            sealed: Sealed::default(),
        }
    }

    /// A point joins over the given links (up, down); its index.
    pub fn join(&mut self, script: Script, up: Link, down: Link) -> usize {
        self.join_at(Place::default(), script, up, down)
    }

    /// The same at a place in the network.
    pub fn join_at(&mut self, place: Place, script: Script, up: Link, down: Link) -> usize {
        let index = self.peers.len();
        let number = PointNumber::try_from(index as u32 + 1).expect("a small number");
        let path_doubles = down.duplicate > 0.0 || up.duplicate > 0.0;
        let mut peer = Peer::new(self.now, number, script, path_doubles, self.seed);
        let newcomer = peer.newcomer(place.rank, place.known);
        self.room.handle(self.now, Input::Join(Box::new(newcomer)));
        self.room.handle(self.now, Input::Connected(peer.endpoint));
        peer.rtt = up.delay + down.delay + up.jitter + down.jitter + Duration::from_millis(5);
        self.indices.insert(peer.endpoint, index);
        self.peers.push(peer);
        self.paths.push(Paths {
            up: Path::new(up),
            down: Path::new(down),
            behind: place.behind,
            trace: None,
            gone: false,
            pictures_lost: 0,
        });
        // Points are out of step with each other, by their index.
        let start = self.now + Duration::from_micros(1_700 * (index as u64 % 40));
        self.at(start, Event::Frame(index));
        self.at(start, Event::Voice(index));
        self.at(start + ASK_INTERVAL, Event::Ask(index));
        self.at(start + FEEDBACK_INTERVAL, Event::Feedback(index));
        self.at(start + Duration::from_millis(300), Event::Report(index));
        self.drain();
        index
    }

    /// A line that points can be put behind; its place in [`World::lines`].
    pub fn add_line(&mut self, up: Bottleneck, down: Bottleneck) -> usize {
        self.lines.push(SharedLine { up, down });
        self.lines.len() - 1
    }

    /// What the node knows of lines from now on.
    pub fn set_budgets(&mut self, shares: Vec<LineShare>) {
        self.room.handle(self.now, Input::Lines(shares));
        self.drain();
    }

    /// From now on the way to a point is as the trace says.
    pub fn follow(&mut self, peer: usize, trace: Trace) {
        self.paths[peer].trace = Some((self.now, trace));
        self.at(self.now, Event::Trace(peer));
    }

    /// A point goes away.
    pub fn leave(&mut self, peer: usize) {
        self.paths[peer].gone = true;
        self.room
            .handle(self.now, Input::Leave(self.peers[peer].endpoint));
        self.drain();
    }

    /// What a point wants to see: slot, whose camera, height.
    pub fn view(&mut self, peer: usize, wants: &[(u8, usize, u16)]) {
        let wants = wants
            .iter()
            .map(|(slot, whose, height)| Want {
                slot: SlotId::video(*slot),
                source: self.peers[*whose].number.source(SourceKind::Camera),
                height: *height,
                pinned: false,
            })
            .collect();
        self.room
            .handle(self.now, Input::View(self.peers[peer].endpoint, wants));
        self.drain();
    }

    /// A source of a point goes on or off.
    pub fn publish(&mut self, peer: usize, source: SourceKind, on: bool) {
        self.room
            .handle(self.now, Input::Published(self.peers[peer].endpoint, source, on));
        self.drain();
    }

    /// The way from a point to the node; its link may be changed at any time.
    pub fn up(&mut self, peer: usize) -> &mut Path {
        &mut self.paths[peer].up
    }

    /// The way from the node to a point.
    pub fn down(&mut self, peer: usize) -> &mut Path {
        &mut self.paths[peer].down
    }

    /// What waited on the way from the node to a point.
    pub fn down_record(&self, peer: usize) -> &QueueRecord {
        &self.paths[peer].down.record
    }

    /// A point sends these bytes, whatever they are.
    pub fn inject(&mut self, peer: usize, rtcp: bool, bytes: Vec<u8>) {
        self.send_up(peer, rtcp, bytes);
    }

    /// Camera packets, sent first time, that the way up lost.
    pub fn pictures_lost(&self, peer: usize) -> u32 {
        self.paths[peer].pictures_lost
    }

    /// Lets time pass. With `SIM_TRACE=MS` the figures of every point are printed each so many milliseconds.
    pub fn run_for(&mut self, time: Duration) {
        let end = self.now + time;
        if let Some(step) = self.trace_every {
            while self.now + step < end {
                self.run_until(self.now + step);
                crate::tell::tell(self);
            }
        }
        self.run_until(end);
    }

    fn run_until(&mut self, end: Instant) {
        loop {
            let event = self.queue.peek().map(|Reverse(scheduled)| scheduled.at);
            if std::mem::take(&mut self.is_stirred) {
                self.timeout = self.room.poll_timeout();
            }
            let timeout = self.timeout.map(|at| at.max(self.now));
            let next = [event, timeout].into_iter().flatten().min().unwrap_or(end);
            if next > end {
                self.now = end;
                return;
            }
            self.at_once = if self.now == next { self.at_once + 1 } else { 0 };
            assert!(
                self.at_once < AT_ONCE_MAX,
                "the room asks to be called again and again at one time: {:?}",
                self.timeout.map(|at| at.saturating_duration_since(next))
            );
            self.now = next;
            if timeout == Some(next) {
                self.room.handle_timeout(next);
                self.drain();
            } else if let Some(Reverse(scheduled)) = self.queue.pop() {
                self.happen(scheduled.event);
            } else {
                return;
            }
        }
    }

    fn at(&mut self, when: Instant, event: Event) {
        self.order += 1;
        self.queue.push(Reverse(Scheduled {
            at: when,
            order: self.order,
            event,
        }));
    }

    fn happen(&mut self, event: Event) {
        let peer = event.peer();
        if self.paths[peer].gone {
            return;
        }
        match event {
            Event::Up { rtcp, bytes, .. } => self.arrive_at_node(peer, rtcp, &bytes),
            Event::Down { rtcp, bytes, .. } => self.arrive_at_peer(peer, rtcp, &bytes),
            Event::Leave(_, packet) => self.leave_peer(peer, &packet),
            Event::Obey {
                sources, voice_ms, ..
            } => self.peers[peer].obey(self.now, &sources, voice_ms),
            Event::Trace(_) => self.change_link(peer),
            _ => self.happen_again(peer, event),
        }
    }

    /// What a point does over and over.
    fn happen_again(&mut self, peer: usize, event: Event) {
        let now = self.now;
        let this = &mut self.peers[peer];
        let pause = match event {
            Event::Frame(_) => {
                let Some(pause) = this.camera.as_ref().map(Camera::frame_time) else {
                    return;
                };
                let packets = this.camera_frame(now);
                packets
                    .into_iter()
                    .for_each(|(at, packet)| self.at(at, Event::Leave(peer, packet)));
                pause
            }
            Event::Voice(_) => {
                let Some(packet) = this.voice() else { return };
                let pause = this.mic.as_ref().map_or(ASK_INTERVAL, Mic::packet_time);
                self.leave_peer(peer, &packet);
                pause
            }
            Event::Ask(_) => {
                if let Some(bytes) = this.ask(now) {
                    self.send_up(peer, true, bytes);
                }
                ASK_INTERVAL
            }
            Event::Feedback(_) => {
                let compounds = this.feedback(now);
                for bytes in compounds {
                    self.send_up(peer, true, bytes);
                }
                FEEDBACK_INTERVAL + Duration::from_millis(10 * (peer as u64 % 6))
            }
            Event::Report(_) => {
                let bytes = this.report(now);
                self.send_up(peer, true, bytes);
                REPORT_INTERVAL
            }
            _ => return,
        };
        self.at(now + pause, event);
    }

    fn change_link(&mut self, peer: usize) {
        let paths = &mut self.paths[peer];
        let Some((since, trace)) = &paths.trace else {
            return;
        };
        let (since, age) = (*since, self.now - *since);
        if let Some(change) = trace.at(age) {
            change.apply(&mut paths.down.link);
        }
        if let Some(next) = trace.next_after(age) {
            self.at(since + next, Event::Trace(peer));
        }
    }

    fn leave_peer(&mut self, peer: usize, packet: &Outgoing) {
        let bytes = self.peers[peer].write(self.now, packet);
        let arrives = self.send_up(peer, false, bytes);
        let is_new_picture = packet.rid.is_some() && !packet.repair;
        self.paths[peer].pictures_lost += u32::from(!arrives && is_new_picture);
    }

    fn arrive_at_node(&mut self, peer: usize, rtcp: bool, bytes: &[u8]) {
        if self.paths[peer].gone {
            return;
        }
        let endpoint = self.peers[peer].endpoint;
        if rtcp {
            self.room.handle_rtcp(self.now, endpoint, bytes);
        } else {
            self.room.handle_rtp(self.now, endpoint, bytes);
        }
        self.drain();
    }

    fn arrive_at_peer(&mut self, peer: usize, rtcp: bool, bytes: &[u8]) {
        if rtcp {
            let again = self.peers[peer].handle_rtcp(self.now, bytes);
            for (at, packet) in again {
                self.at(at, Event::Leave(peer, packet));
            }
        } else {
            self.peers[peer].handle_rtp(self.now, bytes);
        }
    }

    /// False if it is lost on the way.
    fn send_up(&mut self, peer: usize, rtcp: bool, bytes: Vec<u8>) -> bool {
        let paths = &mut self.paths[peer];
        let shared = paths.behind.map(|line| &mut self.lines[line].up);
        let fate = paths
            .up
            .carry(shared, self.now, bytes.len() + OVERHEAD_BYTES, &mut self.rng);
        let bytes = Bytes::from(bytes);
        for at in fate.arrivals() {
            let bytes = bytes.clone();
            self.at(at, Event::Up { peer, rtcp, bytes });
        }
        matches!(fate, Fate::Arrives { .. })
    }

    fn send_down(&mut self, peer: usize, rtcp: bool, bytes: Vec<u8>) {
        let paths = &mut self.paths[peer];
        let shared = paths.behind.map(|line| &mut self.lines[line].down);
        let fate = paths
            .down
            .carry(shared, self.now, bytes.len() + OVERHEAD_BYTES, &mut self.rng);
        let bytes = Bytes::from(bytes);
        for at in fate.arrivals() {
            let bytes = bytes.clone();
            self.at(at, Event::Down { peer, rtcp, bytes });
        }
    }

    fn send_forward(&mut self, forward: &Forward) {
        let peer = self.indices[&forward.to];
        if forward.purpose == Purpose::Repeat {
            return self.send_down(peer, false, self.sealed.again(forward));
        }
        let payload = match forward.payload {
            Some(at) => match self.room.payload(at) {
                Some(payload) => payload,
                None => return,
            },
            None => &[],
        };
        let mut bytes = vec![0; 1_500];
        let length = forward
            .write(payload, |at| self.room.payload(at), &mut bytes)
            .expect("a forwarded packet fits 1,500 bytes");
        bytes.truncate(length);
        self.sealed.seal(forward, &bytes);
        self.send_down(peer, false, bytes);
    }

    fn drain(&mut self) {
        self.is_stirred = true;
        let mut forwards = std::mem::take(&mut self.forwards);
        loop {
            let more = self.room.poll_forwards(FORWARDS_AT_ONCE, &mut forwards);
            forwards.drain(..).for_each(|forward| self.send_forward(&forward));
            if !more {
                break;
            }
        }
        self.forwards = forwards;
        while let Some(output) = self.room.poll_output() {
            match output {
                Output::Rtcp { to, bytes } => {
                    if let Some(&peer) = self.indices.get(&to) {
                        self.send_down(peer, true, bytes);
                    }
                }
                Output::Slots { endpoint, changes } => {
                    let Some(&peer) = self.indices.get(&endpoint) else {
                        continue;
                    };
                    self.peers[peer].handle_changes(self.now, changes);
                }
                Output::Quality { endpoint, slots } => {
                    let (at, Some(&peer)) = (self.now, self.indices.get(&endpoint)) else {
                        continue;
                    };
                    self.grades.push(Grades { at, peer, slots });
                }
                Output::Send {
                    endpoint,
                    sources,
                    voice_ms,
                } => self.tell(endpoint, sources, voice_ms),
                Output::Speaker(number) => self.speakers.push((self.now, number)),
            }
        }
    }

    /// An order travels to its point.
    fn tell(&mut self, endpoint: EndpointId, sources: Vec<SourceGrade>, voice_ms: u8) {
        let (at, Some(&peer)) = (self.now, self.indices.get(&endpoint)) else {
            return;
        };
        self.orders.push(Orders {
            at,
            peer,
            sources: sources.clone(),
            voice_ms,
        });
        let arrives = at + ORDER_TIME + self.paths[peer].down.link.delay;
        self.at(
            arrives,
            Event::Obey {
                peer,
                sources,
                voice_ms,
            },
        );
    }
}
