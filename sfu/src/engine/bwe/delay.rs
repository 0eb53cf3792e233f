//! Whether a queue grows on the way, from the times at which packets were sent and arrived
//! (draft-ietf-rmcat-gcc-02 §5, with a line fitted to the delay in place of its Kalman filter).

use super::{Micros, busy::Busy, queue::Queue, sent::Report};
use crate::engine::seq::Seq;

/// Packets sent within this time are one group: a burst of the pacer or of the driver's batch arrives spread by the line,
/// and that spread is no growing queue (§5.1 has the same 5 ms).
const BURST: Micros = 5_000;
/// Groups that the line is fitted to. Fewer see noise, more react late.
const WINDOW: usize = 20;
/// Weight of the past in the smoothed delay.
const SMOOTHING: f64 = 0.9;
/// The slope is multiplied by the number of groups known, up to this: a young line is trusted less.
const GROUPS_MAX: u32 = 60;
/// Brings the slope to the scale of the threshold.
const GAIN: f64 = 4.0;
/// Threshold at the start, ms, and its bounds (§5.4). It has to adapt: with a fixed one a flow starves beside flows that
/// fill the queue, as TCP does.
const THRESHOLD: f64 = 12.5;
const THRESHOLD_MIN: f64 = 6.0;
const THRESHOLD_MAX: f64 = 600.0;
/// How fast it follows a trend above it, and one below it, per ms.
const FOLLOW_UP: f64 = 0.0087;
const FOLLOW_DOWN: f64 = 0.039;
/// A trend so far above the threshold is a spike that must not teach it, ms.
const SPIKE: f64 = 15.0;
/// The trend must stay above the threshold for so long (§5.4 `overuse_time_th`), ms.
const OVERUSE_TIME: f64 = 10.0;
/// A delay that changes so much from one group to the next is a clock that was set, or an outage: all is measured anew.
const JUMP: Micros = 5_000_000;

/// What the delay does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Trend {
    /// Nothing of note.
    #[default]
    Steady,
    /// A queue grows.
    Growing,
    /// A queue drains.
    Draining,
}

/// The delay of one way.
#[derive(Debug)]
pub(super) struct Delay {
    newest: Option<Seq>,
    group: Option<Group>,
    before: Option<Group>,
    line: Line,
    detector: Detector,
    pub(super) queue: Queue,
    busy: Busy,
}

/// Packets sent in one burst.
#[derive(Debug, Clone, Copy)]
struct Group {
    first_sent: Micros,
    sent: Micros,
    arrived: Micros,
}

/// Whether the receiver's clock jumped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Clock {
    /// It runs.
    Runs,
    /// It was set: what was measured before it is worth nothing.
    Jumped,
}

impl Delay {
    pub(super) fn new() -> Self {
        Self {
            newest: None,
            group: None,
            before: None,
            line: Line::default(),
            detector: Detector::new(),
            queue: Queue::new(),
            busy: Busy::default(),
        }
    }

    /// Not all packets are told of from now on: what comes between two of them tells nothing of how a queue grows.
    pub(super) fn pause(&mut self) {
        (self.group, self.before) = (None, None);
    }

    /// One of few packets that are told of arrived: only how long it waited is noted.
    pub(super) fn watch(&mut self, report: &Report, arrived: Micros) -> Clock {
        let Some(delay) = arrived.checked_sub(report.sent) else {
            return Clock::Runs;
        };
        if self.queue.is_jump(delay, JUMP) {
            *self = Self::new();
            self.newest = Some(report.number);
            return Clock::Jumped;
        }
        self.queue.add(report.sent, delay);
        Clock::Runs
    }

    /// A packet arrived. Those of a probe tell how long the queue is, but not how it grows: they are sent faster than
    /// the estimate on purpose, and the result of their probe judges them.
    pub(super) fn add(&mut self, report: &Report, arrived: Micros) -> Clock {
        let (number, sent, probing) = (report.number, report.sent, report.probe.is_some());
        let Some(delay) = arrived.checked_sub(sent) else {
            return Clock::Runs;
        };
        if self.watch(report, arrived) == Clock::Jumped {
            return Clock::Jumped;
        }
        let queued = sent + self.queue.base().unwrap_or(delay);
        self.busy.add(queued, arrived, report.bytes);
        if self.newest.is_some_and(|newest| number <= newest) {
            return Clock::Runs; // out of order: it tells of the past
        }
        self.newest = Some(number);
        if !probing {
            self.grow(sent, arrived);
        }
        Clock::Runs
    }

    /// Counts the packet to the running group, or closes that and begins another.
    fn grow(&mut self, sent: Micros, arrived: Micros) {
        let fresh = Group {
            first_sent: sent,
            sent,
            arrived,
        };
        let Some(group) = &mut self.group else {
            self.group = Some(fresh);
            return;
        };
        // Packets that wait behind one another in a device and arrive together say nothing of the line.
        let bunched = arrived - group.arrived <= BURST && arrived - group.arrived < sent - group.sent;
        if sent - group.first_sent <= BURST || (bunched && arrived - group.arrived >= 0) {
            group.sent = sent;
            group.arrived = group.arrived.max(arrived);
            return;
        }
        let closed = *group;
        self.group = Some(fresh);
        if let Some(before) = self.before.replace(closed) {
            let apart = (closed.sent - before.sent) as f64 / 1e3;
            let change = (closed.arrived - before.arrived) as f64 / 1e3 - apart;
            let trend = self.line.add(closed.arrived as f64 / 1e3, change);
            self.detector.add(trend, apart, closed.arrived as f64 / 1e3);
        }
    }

    /// What passes while the line is busy, bits per second.
    pub(super) fn busy_rate(&self) -> Option<f64> {
        self.busy.rate()
    }

    /// The same lately, bits per second.
    pub(super) fn busy_lately(&self) -> Option<f64> {
        self.busy.lately()
    }

    pub(super) fn trend(&self) -> Trend {
        self.detector.trend
    }

    /// Slope of the delay as it is compared with the threshold, ms.
    pub(super) fn slope(&self) -> f64 {
        self.detector.last
    }
}

/// A straight line fitted to the smoothed delay of the last groups.
#[derive(Debug, Default)]
struct Line {
    /// Arrivals, ms behind the first of all, and smoothed delays, ms: the next place first. A fit does not ask for their order.
    arrivals: [f64; WINDOW],
    delays: [f64; WINDOW],
    next: usize,
    first: Option<f64>,
    sum: f64,
    smoothed: f64,
    groups: u32,
}

impl Line {
    /// A group arrived at that time with so much more delay than the last one; the slope, scaled, in ms.
    fn add(&mut self, at: f64, change: f64) -> f64 {
        self.sum += change;
        self.smoothed = SMOOTHING * self.smoothed + (1.0 - SMOOTHING) * self.sum;
        self.groups = (self.groups + 1).min(GROUPS_MAX);
        self.arrivals[self.next] = at - *self.first.get_or_insert(at);
        self.delays[self.next] = self.smoothed;
        self.next = (self.next + 1) % WINDOW;
        if self.groups < WINDOW as u32 {
            return 0.0;
        }
        self.slope() * f64::from(self.groups) * GAIN
    }

    /// Least squares, ms per ms; 0 where all points have one time.
    fn slope(&self) -> f64 {
        let (arrivals, delays) = (&self.arrivals, &self.delays);
        let n = WINDOW as f64;
        let (x, y) = (sum(|at| arrivals[at]) / n, sum(|at| delays[at]) / n);
        let top = sum(|at| (arrivals[at] - x) * (delays[at] - y));
        let bottom = sum(|at| (arrivals[at] - x) * (arrivals[at] - x));
        if bottom > f64::EPSILON { top / bottom } else { 0.0 }
    }
}

/// Over the window, in lanes: a sum in one row waits for each addition before the next.
fn sum(of: impl Fn(usize) -> f64) -> f64 {
    const LANES: usize = 4;
    const _: () = assert!(WINDOW.is_multiple_of(LANES));
    let mut sums = [0.0; LANES];
    for at in (0..WINDOW).step_by(LANES) {
        for (lane, sum) in sums.iter_mut().enumerate() {
            *sum += of(at + lane);
        }
    }
    (sums[0] + sums[1]) + (sums[2] + sums[3])
}

/// Compares the slope with a threshold that follows it (§5.4).
#[derive(Debug)]
struct Detector {
    trend: Trend,
    threshold: f64,
    last: f64,
    over_since: Option<f64>,
    at: Option<f64>,
}

impl Detector {
    fn new() -> Self {
        Self {
            trend: Trend::Steady,
            threshold: THRESHOLD,
            last: 0.0,
            over_since: None,
            at: None,
        }
    }

    fn add(&mut self, slope: f64, apart: f64, at: f64) {
        if slope > self.threshold {
            let since = *self.over_since.get_or_insert(at - apart.max(0.0));
            // Not while the slope falls: the queue is about to drain by itself.
            if at - since > OVERUSE_TIME && slope >= self.last {
                self.trend = Trend::Growing;
            }
        } else {
            self.over_since = None;
            self.trend = if slope < -self.threshold {
                Trend::Draining
            } else {
                Trend::Steady
            };
        }
        self.last = slope;
        self.adapt(slope.abs(), at);
    }

    fn adapt(&mut self, slope: f64, at: f64) {
        let passed = (at - self.at.unwrap_or(at)).clamp(0.0, 100.0);
        self.at = Some(at);
        if slope > self.threshold + SPIKE {
            return;
        }
        let follow = if slope < self.threshold {
            FOLLOW_DOWN
        } else {
            FOLLOW_UP
        };
        self.threshold += follow * (slope - self.threshold) * passed;
        self.threshold = self.threshold.clamp(THRESHOLD_MIN, THRESHOLD_MAX);
    }
}
