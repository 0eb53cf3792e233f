//! How a receiver plays the voice of a slot: an adaptive jitter buffer as browsers have one, and what it has to make up.
//!
//! Whatever is not there when its time has come is made up ("concealed"). If later sound is there already, the missing one is given up; if nothing is
//! there, playing waits, and all later sound is played later by that much until the buffer has shrunk again.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::{Duration, Instant},
};

use crate::decoder::{Packet, Seen};

/// A stretch of time in which sound was played, or had to be made up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    /// When it began.
    pub at: Instant,
    /// How long it is.
    pub length: Duration,
    /// It was made up.
    pub concealed: bool,
}

/// The buffer, and what was heard.
#[derive(Debug, Default)]
pub struct Playout {
    /// What was heard, in order. Time in which nobody spoke is not in it.
    pub runs: Vec<Run>,
    /// The buffer's length over time, each time it was learnt anew.
    pub targets: Vec<(Instant, Duration)>,
    /// Packets that came after their time.
    pub late: u32,
    origin: Option<(Instant, u32)>,
    buffer: BTreeMap<i64, Packet>,
    /// RTP time (unwrapped ticks since the origin) to be played next.
    head: Option<i64>,
    /// RTP time t is played at the origin + t + this, in microseconds.
    delay: i64,
    /// Arrival against RTP time of the last two seconds, in microseconds.
    offsets: VecDeque<(Instant, i64)>,
    /// How much later than the fastest the last packets came, in microseconds.
    lateness: VecDeque<i64>,
    target: i64,
    /// The page asked for no less, in microseconds.
    least: i64,
    since_learnt: u32,
    last: Option<Packet>,
    /// The slot was emptied then: what is waited for will not come.
    ended: Option<Instant>,
    numbers: BTreeMap<u64, i64>,
    /// What was passed over lately.
    holes: BTreeSet<i64>,
}

/// What is made up at a time.
const CONCEAL: i64 = 20_000;
/// Time without any sound after which the slot counts as silent.
const EXPAND_MAX: Duration = Duration::from_secs(2);
/// Bounds of the buffer, in microseconds.
const TARGET_MIN: i64 = 40_000;
const TARGET_MAX: i64 = 250_000;
/// Room above what 97 % of packets need.
const TARGET_ROOM: i64 = 20_000;
/// The fastest packet of so long is what others are late against.
const FASTEST_OF: Duration = Duration::from_secs(2);
/// Packets that the buffer learns from, some ten seconds.
const LEARN_FROM: usize = 500;
/// Passed over packets that are remembered.
const HOLES_MAX: usize = 64;
/// Packets between two looks at them.
const LEARN_EVERY: u32 = 25;

impl Playout {
    fn ticks(&self, timestamp: u32) -> i64 {
        self.origin
            .map_or(0, |(_, first)| i64::from(timestamp.wrapping_sub(first) as i32))
    }

    fn micros(&self, at: Instant) -> i64 {
        self.origin.map_or(0, |(origin, _)| {
            at.saturating_duration_since(origin).as_micros() as i64
        })
    }

    fn due(&self, head: i64) -> i64 {
        head * 1_000 / 48 + self.delay
    }

    fn instant(&self, micros: i64) -> Option<Instant> {
        let (origin, _) = self.origin?;
        Some(origin + Duration::from_micros(micros.max(0) as u64))
    }

    /// A packet with its unwrapped number. False if its RTP time does not fit between those of its neighbours.
    pub(crate) fn put(&mut self, now: Instant, number: u64, packet: Packet, seen: &mut Vec<Seen>) -> bool {
        self.play(now, seen);
        if self.origin.is_none() {
            self.origin = Some((now, packet.timestamp));
        }
        let ticks = self.ticks(packet.timestamp);
        let below = self.numbers.range(..number).next_back();
        let above = self.numbers.range(number + 1..).next();
        let fits = below.is_none_or(|(_, &t)| t < ticks) && above.is_none_or(|(_, &t)| t > ticks);
        self.numbers.insert(number, ticks);
        if self.numbers.len() > 64 {
            self.numbers.pop_first();
        }
        self.learn(now, ticks);
        self.insert(now, ticks, packet);
        self.play(now, seen);
        fits
    }

    /// A packet that came again inside a later one. Where it fills a hole the buffer learns how long to wait for such.
    pub(crate) fn put_redundant(&mut self, now: Instant, packet: Packet) {
        let ticks = self.ticks(packet.timestamp);
        let Some(head) = self.head else { return };
        if self.holes.remove(&ticks) {
            self.learn(now, ticks);
        } else if ticks >= head && !self.buffer.contains_key(&ticks) {
            self.learn(now, ticks);
            self.buffer.insert(ticks, Packet { came: now, ..packet });
        }
    }

    /// The page asks for a buffer of no less from now on (`jitterBufferTarget`); it grows as it does by itself.
    pub(crate) fn set_least(&mut self, least: Duration) {
        self.least = least.as_micros() as i64;
    }

    fn insert(&mut self, now: Instant, ticks: i64, packet: Packet) {
        let idle = self.buffer.is_empty() && self.last.is_none();
        if idle {
            // A voice begins: nothing is waited for, so the buffer is as long as it should be.
            self.head = Some(ticks);
            self.delay = self.fastest() + self.target.max(TARGET_MIN).max(self.least);
            let late = self.micros(now) - self.due(ticks);
            self.delay += late.max(0);
        }
        match self.head {
            Some(head) if ticks < head => self.late += 1,
            _ => {
                self.buffer.entry(ticks).or_insert(packet);
            }
        }
    }

    fn fastest(&self) -> i64 {
        self.offsets.iter().map(|(_, offset)| *offset).min().unwrap_or(0)
    }

    fn learn(&mut self, now: Instant, ticks: i64) {
        let offset = self.micros(now) - ticks * 1_000 / 48;
        while self.offsets.front().is_some_and(|(at, _)| now - *at > FASTEST_OF) {
            self.offsets.pop_front();
        }
        // Only what may still become the fastest is kept.
        while self.offsets.back().is_some_and(|(_, other)| *other >= offset) {
            self.offsets.pop_back();
        }
        self.offsets.push_back((now, offset));
        self.lateness.push_back(offset - self.fastest());
        if self.lateness.len() > LEARN_FROM {
            self.lateness.pop_front();
        }
        self.since_learnt += 1;
        if self.since_learnt >= LEARN_EVERY || self.target == 0 {
            self.since_learnt = 0;
            let mut sorted: Vec<i64> = self.lateness.iter().copied().collect();
            sorted.sort_unstable();
            let most = sorted[(sorted.len() - 1) * 97 / 100];
            self.target = (most + TARGET_ROOM).clamp(TARGET_MIN, TARGET_MAX);
            self.targets
                .push((now, Duration::from_micros(self.target as u64)));
        }
    }

    /// Plays all that is due.
    pub(crate) fn play(&mut self, now: Instant, seen: &mut Vec<Seen>) {
        let until = self.micros(now);
        while let Some(head) = self.head {
            let due = self.due(head);
            if due > until || self.origin.is_none() {
                return;
            }
            let Some(at) = self.instant(due) else { return };
            if let Some(packet) = self.buffer.remove(&head) {
                self.play_packet(at, head, packet, seen);
                continue;
            }
            let next = self
                .buffer
                .first_key_value()
                .map(|(ticks, packet)| (*ticks, *packet));
            match next {
                Some((ticks, _)) if ticks < head => {
                    self.late += 1;
                    self.buffer.pop_first();
                }
                Some((ticks, packet)) => self.pass_over(at, head, ticks, &packet),
                None if !self.expand(at) => return,
                None => {}
            }
        }
    }

    fn play_packet(&mut self, at: Instant, head: i64, packet: Packet, seen: &mut Vec<Seen>) {
        let length = packet.length.as_micros() as i64;
        self.head = Some(head + length * 48 / 1_000);
        if !packet.stamp.silent {
            self.run(at, packet.length, false);
        }
        // The buffer grows and shrinks by an eighth of what is played, as time-stretching does.
        let wanted = self.fastest() + self.target.max(self.least);
        let step = length / 8;
        if self.delay > wanted + 20_000 {
            self.delay -= step.min(self.delay - wanted);
        } else if self.delay + 10_000 < wanted {
            self.delay += step.min(wanted - self.delay);
        }
        self.last = Some(packet);
        seen.push(Seen {
            at,
            shown: at,
            stamp: packet.stamp,
            timestamp: packet.timestamp,
            named: packet.named,
            height: 0,
        });
    }

    /// Later sound is there: what is missing before it is made up, or is a pause that nobody hears.
    fn pass_over(&mut self, at: Instant, head: i64, ticks: i64, next: &Packet) {
        let pause = self
            .last
            .is_none_or(|last| last.stamp.silent || last.stamp.source != next.stamp.source);
        let missing = (ticks - head) * 1_000 / 48;
        let step = missing.min(CONCEAL);
        self.head = Some(if missing <= CONCEAL {
            ticks
        } else {
            head + step * 48 / 1_000
        });
        if !pause {
            self.holes.insert(head);
            if self.holes.len() > HOLES_MAX {
                self.holes.pop_first();
            }
            self.run(at, Duration::from_micros(step as u64), true);
        }
    }

    /// Nothing is there: playing waits. False if the slot is silent.
    fn expand(&mut self, at: Instant) -> bool {
        let waited = self.runs.last().map_or(Duration::ZERO, |run| {
            if run.concealed { run.length } else { Duration::ZERO }
        });
        let over = self.ended.is_some_and(|ended| at >= ended);
        if over || self.last.is_none_or(|last| last.stamp.silent) || waited >= EXPAND_MAX {
            self.last = None;
            return false;
        }
        self.delay += CONCEAL;
        self.run(at, Duration::from_micros(CONCEAL as u64), true);
        true
    }

    fn run(&mut self, at: Instant, length: Duration, concealed: bool) {
        match self.runs.last_mut() {
            // A seam of a little time-stretching is none.
            Some(run)
                if run.concealed == concealed
                    && at.saturating_duration_since(run.at + run.length) < Duration::from_millis(15) =>
            {
                run.length += length;
            }
            _ => self.runs.push(Run {
                at,
                length,
                concealed,
            }),
        }
    }

    /// The slot is empty from now on, or shows something again.
    pub(crate) fn set_empty(&mut self, at: Option<Instant>) {
        self.ended = at;
    }
}
