//! A small world: flows of estimators through one bottleneck, in steps of a millisecond of virtual time.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use super::super::{Estimator, Probe, Sent};
use crate::{
    engine::{
        testing::{base, ms},
        units::Bitrate,
    },
    wire::rtcp::{self, Builder, Rtcp, TICK_MICROS},
};

/// What endpoints want here: more than any of these lines takes.
pub(super) const WANTED: Bitrate = Bitrate::mbps(10);

/// So many seconds.
pub(super) const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Numbers that look like chance, the same for the same seed.
pub(super) struct Chance(u64);

impl Chance {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ 0xD1B5_4A32_D192_ED03)
    }

    /// Below `end`.
    pub(super) fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed >> 33) % end.max(1)
    }

    pub(super) fn happens(&mut self, share: f64) -> bool {
        (self.below(1 << 30) as f64) < share * f64::from(1 << 30)
    }
}

/// How packets are lost besides a full queue.
#[derive(Clone, Copy)]
pub(super) enum Losses {
    /// Each with this chance.
    Random(f64),
    /// In bursts: chance of a burst to begin, and to end, at each packet.
    Bursts(f64, f64),
}

/// The bottleneck, and the way to it and back.
#[derive(Clone, Copy)]
pub(super) struct Link {
    pub(super) rate: Bitrate,
    /// What waits longer is dropped.
    pub(super) queue: Duration,
    pub(super) one_way: Duration,
    /// Up to so much more for each packet, without reordering.
    pub(super) jitter: Duration,
    pub(super) losses: Losses,
}

impl Link {
    pub(super) fn new(rate: Bitrate, round_trip: u64) -> Self {
        Self {
            rate,
            queue: ms(1_000),
            one_way: ms(round_trip / 2),
            jitter: Duration::ZERO,
            losses: Losses::Random(0.0),
        }
    }
}

/// What a flow sends.
#[derive(Clone, Copy)]
pub(super) enum App {
    /// As much as the target allows.
    Greedy,
    /// No more than that.
    Limited(Bitrate),
    /// As much as the target allows, in pictures: all packets of one at once, so many a second.
    Pictures(u64),
}

pub(super) struct Flow {
    pub(super) estimator: Estimator,
    pub(super) app: App,
    pub(super) starts: Duration,
    /// The receiver's clock is ahead by that, in ticks.
    pub(super) clock: i64,
    /// It runs so many millionths too fast.
    pub(super) drift: i64,
    /// Share of feedback that does not come through.
    pub(super) deaf: f64,
    /// Bits that arrived in each second.
    pub(super) seconds: Vec<u64>,
    pub(super) targets: Vec<u64>,
    credit: f64,
    probe: Option<Probing>,
    /// (number, ticks) not told yet.
    arrivals: Vec<(u16, i64)>,
    next_feedback: Duration,
    told: Option<u16>,
    count: u8,
}

struct Probing {
    probe: Probe,
    bytes: u32,
    packets: u8,
}

impl Flow {
    fn new(estimator: Estimator, starts: Duration) -> Self {
        Self {
            estimator,
            app: App::Greedy,
            starts,
            clock: 0,
            drift: 0,
            deaf: 0.0,
            seconds: Vec::new(),
            targets: Vec::new(),
            credit: 0.0,
            probe: None,
            arrivals: Vec::new(),
            next_feedback: Duration::ZERO,
            told: None,
            count: 0,
        }
    }
}

enum Event {
    Arrives(usize, Option<u16>, u16),
    Told(usize, Vec<u8>),
}

pub(super) struct World {
    pub(super) link: Link,
    pub(super) flows: Vec<Flow>,
    /// Since the beginning.
    pub(super) now: Duration,
    /// Greatest wait in the bottleneck of each 100 ms.
    pub(super) waits: Vec<Duration>,
    pub(super) dropped: u64,
    begun: Instant,
    free_at: Duration,
    /// Packets arrive in order.
    arrives_after: Duration,
    in_burst: bool,
    events: VecDeque<(Duration, Event)>,
    chance: Chance,
}

impl World {
    /// `flows` begin together, each wants `wanted`.
    pub(super) fn new(seed: u64, link: Link, flows: usize, wanted: Bitrate) -> Self {
        let begun = base();
        let mut world = Self {
            link,
            flows: Vec::new(),
            now: Duration::ZERO,
            waits: Vec::new(),
            dropped: 0,
            begun,
            free_at: Duration::ZERO,
            arrives_after: Duration::ZERO,
            in_burst: false,
            events: VecDeque::new(),
            chance: Chance::new(seed),
        };
        for _ in 0..flows {
            world.join(wanted);
        }
        world
    }

    /// One more flow begins within the next 50 ms.
    pub(super) fn join(&mut self, wanted: Bitrate) {
        let at = self.now();
        let mut estimator = Estimator::new(at);
        estimator.set_wanted(at, wanted);
        estimator.handle_round_trip(at, 2 * self.link.one_way);
        let starts = self.now + ms(self.chance.below(50));
        let mut flow = Flow::new(estimator, starts);
        flow.clock = self.chance.below(1 << 32) as i64;
        self.flows.push(flow);
    }

    pub(super) fn now(&self) -> Instant {
        self.begun + self.now
    }

    pub(super) fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            self.step();
            self.now += ms(1);
        }
    }

    /// Nothing leaves the bottleneck for so long: what comes meanwhile waits there.
    pub(super) fn stop(&mut self, time: Duration) {
        self.free_at = self.free_at.max(self.now) + time;
    }

    fn step(&mut self) {
        let second = self.now.as_secs() as usize;
        let tenth = (self.now.as_millis() / 100) as usize;
        self.waits.resize(tenth + 1, Duration::ZERO);
        for index in 0..self.flows.len() {
            self.flows[index].seconds.resize(second + 1, 0);
            let target = self.flows[index].estimator.target().as_bps();
            self.flows[index].targets.resize(second + 1, target);
            self.flows[index].targets[second] = target;
            if self.now >= self.flows[index].starts {
                self.send(index);
                self.feed_back(index);
            }
        }
        while let Some((at, _)) = self.events.front()
            && *at <= self.now
        {
            let Some((_, event)) = self.events.pop_front() else {
                break;
            };
            self.happen(event);
        }
    }

    fn send(&mut self, index: usize) {
        let now = self.now();
        let flow = &mut self.flows[index];
        flow.estimator.handle_timeout(now);
        if flow.probe.is_none() {
            flow.probe = flow.estimator.poll_probe(now).map(|probe| Probing {
                probe,
                bytes: 0,
                packets: 0,
            });
        }
        let target = flow.estimator.target();
        let media = match flow.app {
            App::Greedy | App::Pictures(_) => target,
            App::Limited(rate) => rate.min(target),
        };
        let rate = flow
            .probe
            .as_ref()
            .map_or(media, |probing| probing.probe.rate.max(media));
        let size = (rate.as_bps() as f64 * 0.010 / 8.0).clamp(200.0, 1_200.0);
        flow.credit = (flow.credit + rate.as_bps() as f64 / 8_000.0).min(60_000.0);
        let mut sizes = Vec::new();
        let holds = match flow.app {
            App::Pictures(a_second) => !(self.now.as_millis() as u64).is_multiple_of(1_000 / a_second),
            _ => false,
        };
        while flow.credit >= size && !(holds && flow.probe.is_none()) {
            flow.credit -= size;
            let kind = match &mut flow.probe {
                Some(probing) => {
                    probing.bytes += size as u32;
                    probing.packets += 1;
                    Sent::Padding(probing.probe.id)
                }
                None => Sent::Media,
            };
            if flow.probe.as_ref().is_some_and(|probing| {
                probing.bytes >= probing.probe.bytes && probing.packets >= probing.probe.packets
            }) {
                flow.probe = None;
                flow.credit = flow.credit.min(0.0);
            }
            let number = if flow.estimator.wants_number(now, kind) {
                Some(flow.estimator.handle_sent(now, size as u16, kind))
            } else {
                flow.estimator.handle_unnumbered(now, size as u16);
                None
            };
            sizes.push((number, size as u16));
        }
        for (number, size) in sizes {
            self.carry(index, number, size);
        }
    }

    /// Through the bottleneck.
    fn carry(&mut self, index: usize, number: Option<u16>, size: u16) {
        let lost = match self.link.losses {
            Losses::Random(share) => self.chance.happens(share),
            Losses::Bursts(begin, end) => {
                let change = if self.in_burst { end } else { begin };
                self.in_burst ^= self.chance.happens(change);
                self.in_burst
            }
        };
        let wait = self.free_at.saturating_sub(self.now);
        if let Some(greatest) = self.waits.last_mut() {
            *greatest = (*greatest).max(wait);
        }
        if wait > self.link.queue {
            self.dropped += 1;
            return;
        }
        let takes = Duration::from_nanos(u64::from(size) * 8_000_000_000 / self.link.rate.as_bps());
        self.free_at = self.free_at.max(self.now) + takes;
        if lost {
            return;
        }
        let jitter = Duration::from_micros(self.chance.below(self.link.jitter.as_micros() as u64 + 1));
        self.arrives_after = self.arrives_after.max(self.free_at + self.link.one_way + jitter);
        self.plan(self.arrives_after, Event::Arrives(index, number, size));
    }

    fn plan(&mut self, at: Duration, event: Event) {
        let place = self.events.partition_point(|(other, _)| *other <= at);
        self.events.insert(place, (at, event));
    }

    fn happen(&mut self, event: Event) {
        let now = self.now();
        match event {
            Event::Arrives(index, number, size) => {
                let second = self.now.as_secs() as usize;
                let flow = &mut self.flows[index];
                let micros = self.now.as_micros() as i64;
                let micros = micros + micros * flow.drift / 1_000_000;
                let ticks = micros / TICK_MICROS as i64 + flow.clock;
                flow.arrivals.extend(number.map(|number| (number, ticks)));
                flow.seconds[second] += u64::from(size) * 8;
            }
            Event::Told(index, compound) => {
                for packet in rtcp::packets(&compound) {
                    if let Ok(Rtcp::TransportFeedback(feedback)) = packet {
                        self.flows[index].estimator.handle_feedback(now, &feedback, 1_000);
                    }
                }
            }
        }
    }

    /// The receiver tells every 50 to 100 ms.
    fn feed_back(&mut self, index: usize) {
        let flow = &mut self.flows[index];
        if self.now < flow.next_feedback || flow.arrivals.is_empty() {
            return;
        }
        flow.next_feedback = self.now + ms(50 + self.chance.below(51));
        let mut arrivals = std::mem::take(&mut flow.arrivals);
        let mut compound = Vec::new();
        while !arrivals.is_empty() {
            let first = flow.told.map_or(arrivals[0].0, |told| told.wrapping_add(1));
            let written = Builder::new(&mut compound, 100_000)
                .transport_feedback(1, 2, flow.count, first, &arrivals)
                .unwrap();
            flow.count = flow.count.wrapping_add(1);
            flow.told = Some(arrivals[written - 1].0);
            arrivals.drain(..written);
        }
        if !self.chance.happens(flow.deaf) {
            let at = self.now + self.link.one_way;
            self.plan(at, Event::Told(index, compound));
        }
    }

    /// Mean bits per second that arrived at a flow in these seconds.
    pub(super) fn mean(&self, flow: usize, seconds: std::ops::Range<usize>) -> f64 {
        let len = seconds.len() as f64;
        self.flows[flow].seconds[seconds].iter().sum::<u64>() as f64 / len
    }

    /// Least bits per second that arrived at a flow in one of these seconds.
    pub(super) fn least(&self, flow: usize, seconds: std::ops::Range<usize>) -> f64 {
        let least = self.flows[flow].seconds[seconds].iter().copied().min();
        least.unwrap_or_default() as f64
    }

    /// What happened to a flow, second by second, for a test that fails.
    pub(super) fn tell(&self, flow: usize) -> String {
        let flow = &self.flows[flow];
        let mut told = format!("dropped {}, {:?}\n", self.dropped, flow.estimator.state());
        for (second, (arrived, target)) in flow.seconds.iter().zip(&flow.targets).enumerate() {
            let tenths = second * 10..(second * 10 + 10).min(self.waits.len());
            let waited = self.waits[tenths].iter().max();
            told += &format!("{second:3} s: arrived {arrived:8} target {target:8} waited {waited:?}\n");
        }
        told
    }

    /// Greatest wait between two times.
    pub(super) fn wait(&self, from: Duration, to: Duration) -> Duration {
        let tenth = |time: Duration| (time.as_millis() / 100) as usize;
        self.waits[tenth(from)..tenth(to)]
            .iter()
            .copied()
            .max()
            .unwrap_or_default()
    }
}
