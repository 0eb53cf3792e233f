//! When packets to one endpoint go out: voices at once, all else no faster than its way carries.
//!
//! A key frame forwarded as it came is a burst that fills the queue of a thin line, and the voices behind it wait. So
//! pictures wait here instead, in order of importance, where voices overtake them. As long as the way carries what comes,
//! nothing waits at all: a packet that finds no queue and a budget passes straight through.
//!
//! Several packets at a time are welcome (they leave in one system call), a standing queue is not: the queue is
//! at most [`DRAIN`] long ([`DRAIN_SHARED`] behind a shared line), faster than the way carries if it must, and pictures are refused at their beginning while it is
//! longer than [`QUEUE_MAX`]. Within a class packets keep their order, and a stream stays in the class it waits in, for
//! a stream is sealed in the order of its numbers.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use super::units::Bitrate;

/// What goes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// Voices: never wait, never dropped.
    Audio,
    /// Sent again: somebody waits for it.
    Repair,
    /// A screen: text has to be readable.
    Screen,
    /// The stage's picture.
    Stage,
    /// All other pictures.
    Other,
}

impl Class {
    /// All that wait, in the order of going out.
    const WAITING: [Self; 4] = [Self::Repair, Self::Screen, Self::Stage, Self::Other];
}

/// The queue before an endpoint. `P` is a packet.
#[derive(Debug)]
#[repr(C)] // what each packet asks lies together
pub struct Pacer<P> {
    /// Bytes that may go now; below zero it has to wait.
    budget: i64,
    updated: Instant,
    rate: Bitrate,
    headroom: Headroom,
    /// Its part of a line that it shares.
    share: Option<Bitrate>,
    bytes: u64,
    /// Of them, of screens and the stage.
    large: u64,
    queues: [VecDeque<Waiting<P>>; Class::WAITING.len()],
}

#[derive(Debug)]
struct Waiting<P> {
    stream: u32,
    bytes: u16,
    since: Instant,
    packet: P,
}

/// How much faster than the estimate pictures go out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Headroom {
    /// Frames are bursts, and what is sent evenly is sent late.
    Usual,
    /// The same on a short path that nothing limits as far as is known: where it is wide a picture leaves whole.
    Open,
    /// The estimate is known to be what the line takes: the burst would wait there instead of here, before the voices and not
    /// behind them, and pass for a line that is too full.
    Full,
    /// Packets wait in the line: what is sent faster than the line takes is dropped there, or waits before the voices.
    Queued,
    /// As [`Self::Full`] on a long path, where it takes half a minute to find again what one such burst lost.
    FullLong,
}

impl Headroom {
    const fn percent(self) -> u64 {
        match self {
            Self::Usual | Self::Open => 150,
            Self::Full => 125,
            Self::Queued => 100,
            Self::FullLong => 105,
        }
    }
}

/// At the pace of any moment a queue is no longer than that, whatever the estimate says.
const DRAIN: Duration = Duration::from_millis(300);
/// A queue that takes longer at the rate of the estimate takes no picture that begins now. A key frame alone is a quarter of a second, and a
/// picture refused behind it asks for the next key frame.
const QUEUE_MAX: Duration = Duration::from_millis(500);
/// What of screens and the stage waits for longer at the rate of the estimate is the key frame of a large picture: it would make a queue of its own, and
/// goes out no faster than [`LONG_PERCENT`].
const LONG: Duration = Duration::from_millis(60);
const LONG_PERCENT: u64 = 125;
/// On thinner ways [`DRAIN`] decides.
const LONG_FROM: Bitrate = Bitrate::mbps(1);
/// What takes no longer than that at the rate of the estimate goes out also where it is not wanted any more: a picture of which so little is
/// left had better be whole.
const SOON_GONE: Duration = Duration::from_millis(100);
/// Behind a line that is planned for, or was found to be shared, it takes longer: all points of a site change their picture in one moment, and what one of them sends
/// faster then is the others' queue.
const DRAIN_SHARED: Duration = Duration::from_millis(600);
/// That much fits in any case: the key frame of a thumbnail.
const QUEUE_BYTES_MIN: u64 = 16 << 10;
/// Packets that may wait, pictures that had begun included. Beyond it packets pass without waiting, for a number once
/// given must go out.
const PACKETS_MAX: usize = 2_048;
/// Room for so many is kept when nothing waits: an entry is large, and each endpoint has a queue for each class.
const KEPT: usize = 16;
/// So much may go at once after a pause.
const BURST: Duration = Duration::from_millis(10);
/// The same on a wide way that is open: a picture of 30 a second leaves whole, in one run.
const BURST_WIDE: Duration = Duration::from_millis(30);
/// From here on a way is wide.
const WIDE: Bitrate = Bitrate::mbps(2);
/// At least two full packets, however thin the way.
const BURST_BYTES_MIN: i64 = 2_400;
/// Voices may push the budget down so far, not farther: pictures come back within a moment.
const DEBT_BYTES_MAX: i64 = 3_000;
/// The timer is not asked for more often.
const TURN: Duration = Duration::from_millis(2);

/// Whether a packet may go at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Passes {
    /// It may.
    Now,
    /// It waits in that queue.
    Behind(usize),
}

impl<P> Pacer<P> {
    /// With an empty queue before a way that carries `rate`.
    pub fn new(now: Instant, rate: Bitrate) -> Self {
        let mut pacer = Self {
            rate,
            headroom: Headroom::Usual,
            share: None,
            budget: 0,
            updated: now,
            queues: std::array::from_fn(|_| VecDeque::new()),
            bytes: 0,
            large: 0,
        };
        pacer.budget = pacer.burst();
        pacer
    }

    /// What the way carries from now on.
    pub fn set_rate(&mut self, now: Instant, rate: Bitrate, headroom: Headroom) {
        self.refill(now);
        (self.rate, self.headroom) = (rate, headroom);
        self.budget = self.budget.min(self.burst());
    }

    /// Not faster than that: others send through the same line, and bursts of all of them together must not exceed it.
    pub fn set_share(&mut self, now: Instant, share: Option<Bitrate>) {
        self.refill(now);
        self.share = share;
    }

    /// May a packet of `stream` go at once? Takes it off the budget if so.
    pub fn passes(&mut self, now: Instant, class: Class, stream: u32, bytes: u16) -> Passes {
        self.refill(now);
        let Some(wished) = Class::WAITING.iter().position(|&c| c == class) else {
            self.spend(bytes);
            return Passes::Now;
        };
        if self.bytes == 0 && self.budget > 0 {
            self.spend(bytes); // nothing waits, as most of the time
            return Passes::Now;
        }
        let place = self.queue_of(stream).unwrap_or(wished);
        let ahead = self.queues[..=place].iter().any(|queue| !queue.is_empty());
        let full = self.len() >= PACKETS_MAX && self.queues[place].iter().all(|w| w.stream != stream);
        if !ahead && self.budget > 0 || full {
            self.spend(bytes);
            return Passes::Now;
        }
        Passes::Behind(place)
    }

    /// A packet that does not pass waits for [`Self::poll`], in the place that it was told.
    pub fn wait(&mut self, now: Instant, place: usize, stream: u32, bytes: u16, packet: P) {
        self.bytes += u64::from(bytes);
        self.large += if is_large(place) { u64::from(bytes) } else { 0 };
        self.queues[place].push_back(Waiting {
            stream,
            bytes,
            since: now,
            packet,
        });
    }

    /// The next packet that may go now.
    pub fn poll(&mut self, now: Instant) -> Option<P> {
        self.refill(now);
        if self.budget <= 0 {
            return None;
        }
        self.take()
    }

    /// The next packet, whether or not it may go yet: a probe goes out at its own rate.
    pub fn take(&mut self) -> Option<P> {
        let mut queues = self.queues.iter_mut().enumerate();
        let (place, queue) = queues.find(|(_, queue)| !queue.is_empty())?;
        let waiting = queue.pop_front()?;
        if queue.is_empty() && queue.capacity() > KEPT {
            *queue = VecDeque::new(); // a burst was long: few come, and each endpoint would keep the room for the longest
        }
        self.bytes -= u64::from(waiting.bytes);
        self.large -= if is_large(place) {
            u64::from(waiting.bytes)
        } else {
            0
        };
        self.spend(waiting.bytes);
        Some(waiting.packet)
    }

    /// What waits of a stream is not wanted any more, and is dropped if it would take long: how many packets that was.
    pub fn forget(&mut self, stream: u32) -> usize {
        let before = self.len();
        let left = self.bytes - self.bytes_without(stream);
        if left <= self.rate.over(SOON_GONE).as_bytes() {
            return 0;
        }
        for queue in &mut self.queues {
            queue.retain(|waiting| waiting.stream != stream);
        }
        self.bytes -= left;
        let large = (0..).zip(&self.queues).filter(|(place, _)| is_large(*place));
        self.large = large
            .flat_map(|(_, queue)| queue)
            .map(|waiting| u64::from(waiting.bytes))
            .sum();
        before - self.len()
    }

    /// When [`Self::poll`] has something; none while nothing waits.
    pub fn poll_timeout(&self) -> Option<Instant> {
        if self.is_empty() {
            return None;
        }
        let missing = u64::try_from(1 - self.budget).unwrap_or(0);
        let wait = Duration::from_micros(missing * 8_000_000 / self.pace().as_bps().max(1));
        Some(self.updated + wait.max(TURN))
    }

    /// A picture that begins now would wait too long.
    pub fn is_full(&self) -> bool {
        self.bytes > 0 && !self.takes(0)
    }

    /// The same if what waits of that stream were not there.
    pub fn is_full_without(&self, stream: u32) -> bool {
        self.bytes_without(stream) > self.most()
    }

    fn bytes_without(&self, stream: u32) -> u64 {
        let waiting = self.queues.iter().flatten();
        let others = waiting.filter(|waiting| waiting.stream != stream);
        others.map(|waiting| u64::from(waiting.bytes)).sum()
    }

    /// With so many bytes more, pictures could still begin.
    fn takes(&self, bytes: u64) -> bool {
        self.bytes + bytes <= self.most() && self.len() < PACKETS_MAX
    }

    /// So many bytes more take no longer than that, together with what waits.
    pub fn takes_within(&self, bytes: u64, within: Duration) -> bool {
        self.bytes + bytes <= self.rate.over(within).as_bytes() && self.takes(bytes)
    }

    /// Bytes that may wait when a picture begins.
    fn most(&self) -> u64 {
        self.rate.over(QUEUE_MAX).as_bytes().max(QUEUE_BYTES_MIN)
    }

    /// Nothing of a class that goes before padding waits.
    pub fn is_empty(&self) -> bool {
        self.queues.iter().all(VecDeque::is_empty)
    }

    /// Packets that wait.
    pub fn len(&self) -> usize {
        self.queues.iter().map(VecDeque::len).sum()
    }

    /// How long the packet that has waited longest has done so.
    pub fn delay(&self, now: Instant) -> Duration {
        let oldest = self.queues.iter().filter_map(|queue| queue.front());
        oldest
            .map(|waiting| now.saturating_duration_since(waiting.since))
            .max()
            .unwrap_or_default()
    }

    /// Bytes a probe sent beside the queue.
    pub fn spend(&mut self, bytes: u16) {
        self.budget = (self.budget - i64::from(bytes)).max(-DEBT_BYTES_MAX);
    }

    fn queue_of(&self, stream: u32) -> Option<usize> {
        if self.bytes == 0 {
            return None;
        }
        let has = |queue: &VecDeque<Waiting<P>>| queue.iter().rev().any(|waiting| waiting.stream == stream);
        self.queues.iter().position(has)
    }

    fn refill(&mut self, now: Instant) {
        if now <= self.updated {
            return;
        }
        let time = now.saturating_duration_since(self.updated);
        let pace = self.pace();
        let earned = pace.over(time).as_bytes();
        if earned == 0 {
            return; // less than a byte: the time is kept for later
        }
        self.updated = now;
        let most = self.burst();
        self.budget = self.budget.saturating_add_unsigned(earned).min(most);
    }

    /// What may go at once after a pause.
    fn burst(&self) -> i64 {
        if self.headroom == Headroom::Queued {
            return 1; // one packet at a time
        }
        let is_wide = self.headroom == Headroom::Open && self.share.is_none() && self.rate >= WIDE;
        let most = if is_wide { BURST_WIDE } else { BURST };
        let bytes = self.pace().over(most).as_bytes();
        i64::try_from(bytes).unwrap_or(i64::MAX).max(BURST_BYTES_MIN)
    }

    /// What goes out: faster than the way if the queue would not be empty in time.
    fn pace(&self) -> Bitrate {
        let is_long =
            self.rate >= LONG_FROM && self.large > self.rate.over(LONG).as_bytes().max(QUEUE_BYTES_MIN);
        let most = if is_long { LONG_PERCENT } else { u64::MAX };
        let wanted = self
            .rate
            .as_bps()
            .saturating_mul(self.headroom.percent().min(most))
            / 100;
        let wanted = self.share.map_or(wanted, |share| wanted.min(share.as_bps()));
        let within = if self.share.is_some() { DRAIN_SHARED } else { DRAIN };
        let draining = self.bytes * 8_000 / within.as_millis() as u64;
        Bitrate::bps(wanted.max(draining).max(1))
    }
}

/// Screens and the stage wait there: one picture alone is a long burst.
fn is_large(place: usize) -> bool {
    matches!(Class::WAITING.get(place), Some(Class::Screen | Class::Stage))
}

#[cfg(test)]
#[path = "pacer_tests.rs"]
mod tests;
