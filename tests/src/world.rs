//! A meeting in virtual time: one real room, scripted peers, simulated paths.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap},
    time::{Duration, Instant},
};

use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};
use sfu::{
    control::{RoomPolicy, Want},
    engine::{
        id::{EndpointId, PointNumber, SlotId, SourceKind},
        packet::{Forward, Input, Output},
        room::Room,
    },
};

use crate::{
    encoder::{Camera, Mic},
    link::{Link, Path},
    peer::{Peer, Script},
};

/// Time between a peer's looks for lost packets.
const ASK_INTERVAL: Duration = Duration::from_millis(20);
/// Time between a peer's reports.
const REPORT_INTERVAL: Duration = Duration::from_secs(1);
/// Bytes of SRTP tag, UDP and IP header that travel with each packet.
const OVERHEAD_BYTES: usize = 16 + 28;

/// A meeting.
#[derive(Debug)]
pub struct World {
    /// The room under test.
    pub room: Room,
    /// Everybody, in the order of joining.
    pub peers: Vec<Peer>,
    /// The loudest point, as told, with the time it was told.
    pub speakers: Vec<(Instant, Option<PointNumber>)>,
    /// The time.
    pub now: Instant,
    paths: Vec<Paths>,
    rng: ChaCha8Rng,
    queue: BinaryHeap<Reverse<(Instant, u64, Event)>>,
    order: u64,
    forwards: Vec<Forward>,
    sealed: BTreeMap<(EndpointId, u32), u16>,
}

#[derive(Debug)]
struct Paths {
    up: Path,
    down: Path,
    gone: bool,
    pictures_lost: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Frame(usize),
    Voice(usize),
    Ask(usize),
    Report(usize),
    Up { peer: usize, rtcp: bool, bytes: Vec<u8> },
    Down { peer: usize, rtcp: bool, bytes: Vec<u8> },
}

/// Seeds to run: `SIM_SEED` alone if it is set, else `SIM_SEEDS` of them, else `count`.
pub fn seeds(count: u64) -> Vec<u64> {
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    match (number("SIM_SEED"), number("SIM_SEEDS")) {
        (Some(one), _) => vec![one],
        (None, many) => (1..=many.unwrap_or(count)).collect(),
    }
}

impl World {
    /// An empty room.
    pub fn new(seed: u64) -> Self {
        let now = Instant::now();
        Self {
            room: Room::new(now, RoomPolicy::default()),
            peers: Vec::new(),
            speakers: Vec::new(),
            now,
            paths: Vec::new(),
            rng: ChaCha8Rng::seed_from_u64(seed),
            queue: BinaryHeap::new(),
            order: 0,
            forwards: Vec::new(),
            sealed: BTreeMap::new(),
        }
    }

    /// A point joins over the given links (up, down); its index.
    pub fn join(&mut self, script: Script, up: Link, down: Link) -> usize {
        let index = self.peers.len();
        let number = PointNumber::try_from(index as u32 + 1).expect("a small number");
        let mut peer = Peer::new(
            self.now,
            number,
            script,
            down.duplicate > 0.0 || up.duplicate > 0.0,
        );
        self.room.handle(self.now, Input::Join(Box::new(peer.newcomer())));
        self.room.handle(self.now, Input::Connected(peer.endpoint));
        peer.rtt = up.delay + down.delay + up.jitter + down.jitter + Duration::from_millis(5);
        self.peers.push(peer);
        self.paths.push(Paths {
            up: Path::new(up),
            down: Path::new(down),
            gone: false,
            pictures_lost: 0,
        });
        // Points are out of step with each other, by their index.
        let phase = Duration::from_micros(1_700 * index as u64);
        self.at(self.now + phase, Event::Frame(index));
        self.at(self.now + phase, Event::Voice(index));
        self.at(self.now + phase + ASK_INTERVAL, Event::Ask(index));
        self.at(
            self.now + phase + Duration::from_millis(300),
            Event::Report(index),
        );
        self.drain();
        index
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

    /// Camera packets, sent first time, that the way up lost.
    pub fn pictures_lost(&self, peer: usize) -> u32 {
        self.paths[peer].pictures_lost
    }

    /// Lets time pass.
    pub fn run_for(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            let event = self.queue.peek().map(|Reverse((at, ..))| *at);
            let timeout = self.room.poll_timeout().map(|at| at.max(self.now));
            let next = [event, timeout].into_iter().flatten().min().unwrap_or(end);
            if next > end {
                self.now = end;
                return;
            }
            self.now = next;
            if timeout == Some(next) {
                self.room.handle_timeout(next);
                self.drain();
            } else if let Some(Reverse((_, _, event))) = self.queue.pop() {
                self.happen(event);
            } else {
                return;
            }
        }
    }

    fn at(&mut self, when: Instant, event: Event) {
        self.order += 1;
        self.queue.push(Reverse((when, self.order, event)));
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Up { peer, rtcp, bytes } => self.arrive_at_node(peer, rtcp, &bytes),
            Event::Down { peer, rtcp, bytes } => self.arrive_at_peer(peer, rtcp, &bytes),
            Event::Frame(peer) | Event::Voice(peer) | Event::Ask(peer) | Event::Report(peer)
                if self.paths[peer].gone => {}
            Event::Frame(peer) => {
                let packets = self.peers[peer].camera_frame(self.now);
                let lost_before = self.paths[peer].up.lost;
                packets
                    .into_iter()
                    .for_each(|bytes| self.send_up(peer, false, bytes));
                self.paths[peer].pictures_lost += (self.paths[peer].up.lost - lost_before) as u32;
                self.at(self.now + Camera::FRAME_TIME, event);
            }
            Event::Voice(peer) => {
                if let Some(bytes) = self.peers[peer].voice() {
                    self.send_up(peer, false, bytes);
                }
                self.at(self.now + Mic::FRAME_TIME, event);
            }
            Event::Ask(peer) => {
                if let Some(bytes) = self.peers[peer].ask(self.now) {
                    self.send_up(peer, true, bytes);
                }
                self.at(self.now + ASK_INTERVAL, event);
            }
            Event::Report(peer) => {
                let bytes = self.peers[peer].report(self.now);
                self.send_up(peer, true, bytes);
                self.at(self.now + REPORT_INTERVAL, event);
            }
        }
    }

    fn arrive_at_node(&mut self, peer: usize, rtcp: bool, bytes: &[u8]) {
        if self.paths[peer].gone {
            return;
        }
        let endpoint = self.peers[peer].endpoint;
        let mut forwards = std::mem::take(&mut self.forwards);
        if rtcp {
            self.room.handle_rtcp(self.now, endpoint, bytes, &mut forwards);
        } else {
            self.room.handle_rtp(self.now, endpoint, bytes, &mut forwards);
        }
        forwards.drain(..).for_each(|forward| self.send_forward(&forward));
        self.forwards = forwards;
        self.drain();
    }

    fn arrive_at_peer(&mut self, peer: usize, rtcp: bool, bytes: &[u8]) {
        if rtcp {
            let again = self.peers[peer].handle_rtcp(self.now, bytes);
            again
                .into_iter()
                .for_each(|bytes| self.send_up(peer, false, bytes));
        } else {
            self.peers[peer].handle_rtp(self.now, bytes);
        }
    }

    fn send_up(&mut self, peer: usize, rtcp: bool, bytes: Vec<u8>) {
        for at in self.paths[peer]
            .up
            .send(self.now, bytes.len() + OVERHEAD_BYTES, &mut self.rng)
        {
            self.at(
                at,
                Event::Up {
                    peer,
                    rtcp,
                    bytes: bytes.clone(),
                },
            );
        }
    }

    fn send_down(&mut self, peer: usize, rtcp: bool, bytes: Vec<u8>) {
        for at in self.paths[peer]
            .down
            .send(self.now, bytes.len() + OVERHEAD_BYTES, &mut self.rng)
        {
            self.at(
                at,
                Event::Down {
                    peer,
                    rtcp,
                    bytes: bytes.clone(),
                },
            );
        }
    }

    fn send_forward(&mut self, forward: &Forward) {
        self.seal(forward);
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
        let peer = self
            .peers
            .iter()
            .position(|peer| peer.endpoint == forward.to)
            .expect("forwarded to a point of the room");
        self.send_down(peer, false, bytes);
    }

    /// The sealing context takes only a greater number of a stream (no index is ever used twice under one key).
    fn seal(&mut self, forward: &Forward) {
        let (stream, number) = ((forward.to, forward.header.ssrc.0), forward.header.sequence);
        if let Some(last) = self.sealed.insert(stream, number) {
            let step = number.wrapping_sub(last);
            assert!(
                (1..0x8000).contains(&step),
                "{forward:?} could not be sealed after number {last}"
            );
        }
    }

    fn drain(&mut self) {
        while let Some(output) = self.room.poll_output() {
            match output {
                Output::Forward(forward) => self.send_forward(&forward),
                Output::Rtcp { to, bytes } => {
                    let Some(peer) = self.peers.iter().position(|peer| peer.endpoint == to) else {
                        continue;
                    };
                    self.send_down(peer, true, bytes);
                }
                Output::Slots { endpoint, changes } => {
                    if let Some(peer) = self.peers.iter_mut().find(|peer| peer.endpoint == endpoint) {
                        peer.announced.extend(changes);
                    }
                }
                Output::Quality { .. } | Output::Send { .. } => {}
                Output::Speaker(number) => self.speakers.push((self.now, number)),
            }
        }
    }
}
