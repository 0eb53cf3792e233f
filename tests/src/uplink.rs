//! What a sender learns of its own way up from the node's feedback: crude, but with the habits of a browser. It starts low and doubles, halts when a queue
//! or loss shows, and then grows by some percent a second.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use sfu::{
    engine::units::Bitrate,
    wire::rtcp::{TICK_MICROS, TransportFeedback},
};

/// A sender's estimate.
#[derive(Debug)]
pub struct Uplink {
    estimate: f64,
    doubling: bool,
    /// What is to be sent, and when it was last tried whether that fits.
    wanted: f64,
    tried: Duration,
    /// Share lost, over some second.
    loss: f64,
    sent: BTreeMap<u64, (Instant, u32)>,
    highest: u64,
    began: Instant,
    /// Least (arrival - sending) of each of the last ten seconds, in microseconds of the node's clock against ours.
    least: Vec<(u64, i64)>,
    window: Window,
    arrival_epoch: Option<i64>,
}

/// What feedback told since the last decision.
#[derive(Debug, Default)]
struct Window {
    since: Option<Instant>,
    arrived_bytes: u64,
    arrived: u32,
    lost: u32,
    delay_micros: i64,
}

const START: f64 = 300_000.0;
const MOST: f64 = 6_000_000.0;
const LEAST: f64 = 60_000.0;
/// Time between two decisions.
const DECIDE_EVERY: Duration = Duration::from_millis(150);
/// A queue of that many microseconds is one.
const QUEUE: i64 = 40_000;
/// Loss above this share is congestion, as browsers hold.
const LOSS: f64 = 0.1;
/// Growth in a second.
const GROWTH: f64 = 1.08;
/// Time between two tries of a path that is believed to take less than wanted.
const TRY_EVERY: Duration = Duration::from_secs(5);
/// Packets remembered.
const SENT_MAX: usize = 4_000;
/// Units of the reference time in ticks.
const REFERENCE_TICKS: i64 = 256;

impl Uplink {
    /// Of a path of which nothing is known.
    pub fn new(now: Instant) -> Self {
        Self {
            estimate: START,
            doubling: true,
            wanted: 0.0,
            tried: Duration::ZERO,
            loss: 0.0,
            sent: BTreeMap::new(),
            highest: 65_536,
            began: now,
            least: Vec::new(),
            window: Window::default(),
            arrival_epoch: None,
        }
    }

    /// What the path is believed to take.
    pub fn estimate(&self) -> Bitrate {
        Bitrate::bps(self.estimate as u64)
    }

    /// More is to be sent than is known to fit: the path is tried out, as browsers probe when they are allowed more.
    pub fn try_out(&mut self, wanted: Bitrate) {
        let wanted = wanted.as_bps() as f64;
        self.doubling |= wanted > self.wanted && wanted > self.estimate;
        self.wanted = wanted;
    }

    fn unwrap(&self, number: u16) -> u64 {
        let step = number.wrapping_sub(self.highest as u16) as i16;
        self.highest.saturating_add_signed(i64::from(step))
    }

    /// A packet goes out.
    pub fn handle_sent(&mut self, now: Instant, number: u16, bytes: usize) {
        let number = self.unwrap(number);
        self.highest = self.highest.max(number);
        self.sent.insert(number, (now, bytes as u32));
        if self.sent.len() > SENT_MAX {
            self.sent.pop_first();
        }
    }

    /// The node tells what arrived. True if the estimate changed.
    pub fn handle_feedback(&mut self, now: Instant, feedback: &TransportFeedback<'_>) -> bool {
        let mut ticks = i64::from(feedback.reference_time) * REFERENCE_TICKS;
        for (number, delta) in feedback.statuses() {
            ticks += i64::from(delta.unwrap_or(0));
            let number = self.unwrap(number);
            let Some((sent, bytes)) = self.sent.get(&number).copied() else {
                continue;
            };
            if delta.is_none() {
                self.window.lost += 1;
                continue;
            }
            self.sent.remove(&number);
            self.note(sent, bytes, ticks);
        }
        let since = *self.window.since.get_or_insert(now);
        if now - since < DECIDE_EVERY {
            return false;
        }
        self.decide(now - self.began, now - since);
        self.window = Window {
            since: Some(now),
            ..Window::default()
        };
        true
    }

    fn note(&mut self, sent: Instant, bytes: u32, ticks: i64) {
        let epoch = *self.arrival_epoch.get_or_insert(ticks);
        let sent_micros = (sent - self.began).as_micros() as i64;
        let way = (ticks - epoch) * TICK_MICROS as i64 - sent_micros;
        let second = sent_micros as u64 / 1_000_000;
        match self.least.last_mut() {
            Some((at, least)) if *at == second => *least = way.min(*least),
            _ => self.least.push((second, way)),
        }
        self.least.retain(|(at, _)| at + 10 > second);
        let least = self.least.iter().map(|(_, least)| *least).min().unwrap_or(way);
        self.window.delay_micros += way - least;
        self.window.arrived += 1;
        self.window.arrived_bytes += u64::from(bytes);
    }

    fn decide(&mut self, age: Duration, passed: Duration) {
        let window = &self.window;
        let packets = window.arrived + window.lost;
        if packets < 3 {
            return;
        }
        let received = window.arrived_bytes as f64 * 8.0 / passed.as_secs_f64();
        let queue = window.delay_micros / i64::from(window.arrived.max(1));
        let loss = f64::from(window.lost) / f64::from(packets);
        self.loss += (loss - self.loss) * passed.as_secs_f64().min(1.0);
        if queue > QUEUE {
            self.doubling = false;
            self.estimate = self.estimate.min(received * 0.85);
        } else if self.loss > LOSS {
            self.doubling = false;
            self.estimate *= 1.0 - self.loss / 4.0;
        } else if self.doubling {
            self.estimate *= 2.0;
        } else if self.estimate < self.wanted && age - self.tried >= TRY_EVERY {
            self.tried = age;
            self.estimate = (self.estimate * 1.5).min(self.wanted);
        } else {
            let grown = self.estimate * GROWTH.powf(passed.as_secs_f64()) + 1_000.0;
            // What is not used is not known: growth ends some way above what was seen, far enough for the next layer.
            self.estimate = grown.min((received * 3.0 + 200_000.0).max(self.estimate));
        }
        self.estimate = self.estimate.clamp(LEAST, MOST);
        self.doubling &= self.estimate < MOST;
    }
}
