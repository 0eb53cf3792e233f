//! One layer stream on its way in: what was received, what is missing, what is asked for again.
//! `docs/repair.md` has the reasons.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use super::{
    clock::StreamClock,
    id::Ssrc,
    packet::{Codec, soonest},
    reception::Reception,
    seq::{RtpTime, Seq},
};
use crate::wire::rtcp::ReportBlock;

/// Numbers remembered below the highest one; 4 s at 500 packets a second. What is older was given up long ago.
const WINDOW: u64 = 2_048;
/// A number further ahead than this is taken only when its follower comes too (RFC 3550 A.1, MAX_DROPOUT).
const DROPOUT_MAX: u64 = 3_000;
/// A later packet whose RTP time lies further back than this is taken only when the next one comes from there too. Sound goes on,
/// and so do pictures, but for those of H.264 that lean on later ones and are sent behind them: by some pictures, of few a second.
const BACK_MAX: Duration = Duration::from_millis(500);
const BACK_MAX_H264: Duration = Duration::from_secs(2);
/// Missing numbers at a time. At the limit those before the newest key frame are forgotten, else all.
const MISSING_MAX: usize = 512;
/// How often and for how long a number is asked for. Later nobody could play it.
const TRIES_MAX: u8 = 10;
const GIVE_UP: Duration = Duration::from_millis(1_500);
/// Waited beyond the repair time before a number is asked for again.
const SLACK: Duration = Duration::from_millis(15);
/// How late a packet may be before it counts as missing: at least, and at most.
const TOLERANCE_MIN: Duration = Duration::from_millis(8);
const TOLERANCE_MAX: Duration = Duration::from_millis(50);

/// How long repairs take, over all streams of an endpoint.
#[derive(Debug, Clone, Copy)]
pub(super) struct RepairTime {
    smoothed: Duration,
    measured: bool,
}

impl Default for RepairTime {
    fn default() -> Self {
        Self {
            smoothed: Duration::from_millis(100),
            measured: false,
        }
    }
}

impl RepairTime {
    /// From request to repair.
    pub(super) fn get(self) -> Duration {
        self.smoothed
    }

    /// A repair after `tries` requests, of which the first went out that long ago. After several it may answer any of
    /// them, so a repair time never learnt too short is bought with one a little too long.
    fn sample(&mut self, time: Duration, tries: u8) {
        let time = time.clamp(Duration::from_millis(5), Duration::from_secs(1));
        let weight = match (self.measured, tries) {
            (false, 1) => 1,
            (false, _) => 2,
            (true, _) => 8,
        };
        self.smoothed = (self.smoothed * (weight - 1) + time) / weight;
        self.measured = true;
    }

    /// How long to wait for an answer to request number `tries`.
    fn wait(self, tries: u8) -> Duration {
        let doubled = if self.measured {
            0
        } else {
            u32::from(tries.saturating_sub(1)).min(3)
        };
        self.smoothed * (1 << doubled) + SLACK
    }
}

/// Why a packet is not passed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// Seen before.
    Duplicate,
    /// Older than the window, or too far ahead or back in time without a follower.
    Stray,
    /// The second packet of another sequence: this stream is over, another begins with the first one, which had that number on
    /// the wire and was not passed on.
    Restart(u16),
}

/// A layer stream, from its first media packet on.
#[derive(Debug)]
pub(super) struct Inbound {
    pub(super) ssrc: Ssrc,
    /// Its index in the uplink.
    pub(super) stream: u32,
    pub(super) clock: StreamClock,
    pub(super) last_packet: Instant,
    /// When a packet was last asked for.
    pub(super) last_loss: Option<Instant>,
    /// A packet was lost for good and no key frame has begun since.
    broken: bool,
    clock_rate: u32,
    /// In ticks, how far back in time later packets may lie.
    back_max: u64,
    repairable: bool,
    highest: Seq,
    time: RtpTime,
    seen: Window,
    stray: Option<u16>,
    /// The number of the last media packet, if that lay too far back in time.
    back: Option<u16>,
    key_frame: Option<Seq>,
    missing: VecDeque<Missing>,
    tolerance: Duration,
    reception: Reception,
}

#[derive(Debug, Clone, Copy)]
struct Missing {
    seq: Seq,
    since: Instant,
    asked: Option<Instant>,
    tries: u8,
    due: Instant,
}

impl Inbound {
    /// Begins with its first packet, which counts as received.
    pub(super) fn new(now: Instant, first: First) -> Self {
        let First {
            ssrc,
            stream,
            sequence,
            codec,
            repairable,
            time,
            ..
        } = first;
        let clock_rate = codec.clock_rate();
        let back_max = match codec {
            Codec::Opus => Duration::ZERO,
            Codec::H264 => BACK_MAX_H264,
            Codec::Vp8 | Codec::Vp9 | Codec::Av1 => BACK_MAX,
        };
        let back_max = u64::from(clock_rate) * back_max.as_millis() as u64 / 1_000;
        let highest = Seq::first(sequence);
        let mut seen = Window::default();
        seen.insert(highest);
        Self {
            ssrc,
            stream,
            clock: StreamClock::new(clock_rate, first.now_nanos, RtpTime::first(time)),
            last_packet: now,
            last_loss: None,
            broken: false,
            clock_rate,
            back_max,
            repairable,
            highest,
            time: RtpTime::first(time),
            seen,
            stray: None,
            back: None,
            key_frame: None,
            missing: VecDeque::new(),
            tolerance: TOLERANCE_MIN,
            reception: Reception::new(highest),
        }
    }

    /// The first number of the stream.
    pub(super) fn first(&self) -> Seq {
        self.reception.base
    }

    /// A media packet with that number and RTP time on the wire; padding alone has no time that counts.
    pub(super) fn accept(&mut self, now: Instant, wire: u16, time: Option<u32>) -> Result<Seq, Refusal> {
        let seq = self.highest.nearest(wire);
        if seq.0 > self.highest.0 + DROPOUT_MAX || seq.0 + WINDOW <= self.highest.0 {
            let follows = self.stray.replace(wire.wrapping_add(1)) == Some(wire);
            return Err(restart_or_stray(follows.then(|| wire.wrapping_sub(1))));
        }
        if seq > self.highest
            && let Some(time) = time
        {
            let back = self.is_back(time).then_some(wire);
            let former = std::mem::replace(&mut self.back, back);
            if back.is_some() {
                return Err(restart_or_stray(former));
            }
        }
        self.stray = None;
        if seq <= self.highest {
            if !self.seen.insert(seq) {
                return Err(Refusal::Duplicate);
            }
            self.handle_late(now, seq);
        } else {
            let gap = self.highest.0 + 1..seq.0;
            self.seen.advance(self.highest, seq);
            self.seen.insert(seq);
            self.highest = seq;
            if self.repairable {
                self.miss(now, gap);
            }
        }
        self.last_packet = now;
        self.reception.received += 1;
        Ok(seq)
    }

    /// Does a later packet come from so long before that it is of another encoder? Slots would take all that follows for
    /// late.
    fn is_back(&self, time: u32) -> bool {
        self.time.nearest(time).0 + self.back_max < self.time.0
    }

    /// The stream began with that number already, and its packet was not passed on: it is asked for again.
    pub(super) fn miss_head(&mut self, now: Instant, wire: u16) {
        let seq = self.highest.nearest(wire);
        if self.repairable && seq < self.highest {
            self.missing.push_back(Missing {
                seq,
                since: now,
                asked: None,
                tries: 0,
                due: now,
            });
        }
    }

    /// A packet restored from RTX with that original number; none unless it is missing now.
    pub(super) fn accept_repair(
        &mut self,
        now: Instant,
        wire: u16,
        repair_time: &mut RepairTime,
    ) -> Option<Seq> {
        let seq = self.highest.nearest(wire);
        let index = self.missing.binary_search_by_key(&seq, |m| m.seq).ok()?;
        let missing = self.missing.remove(index)?;
        if let Some(asked) = missing.asked {
            repair_time.sample(now.saturating_duration_since(asked), missing.tries);
        }
        self.seen.insert(seq);
        Some(seq)
    }

    /// A packet restored from the redundancy of a later one; false if it is not missing. For the figures of reports it stays
    /// lost.
    pub(super) fn recover(&mut self, seq: Seq) -> bool {
        let known = seq < self.first() || seq > self.highest || seq.0 + WINDOW <= self.highest.0;
        if known || !self.seen.insert(seq) {
            return false;
        }
        if let Ok(index) = self.missing.binary_search_by_key(&seq, |m| m.seq) {
            self.missing.remove(index);
        }
        true
    }

    /// The RTP time of an accepted packet.
    pub(super) fn unwrap_time(&mut self, seq: Seq, wire: u32) -> RtpTime {
        let time = self.time.nearest(wire);
        if seq == self.highest {
            self.time = time;
        }
        time
    }

    /// Jitter of an accepted packet that came by itself (RFC 3550 A.8); `since` counts from any fixed point.
    pub(super) fn note_arrival(&mut self, since: Duration, time: RtpTime) {
        let ticks = since.as_micros() * u128::from(self.clock_rate) / 1_000_000;
        self.reception.arrived(ticks as i64, time);
    }

    /// Interarrival jitter (RFC 3550 §6.4.1).
    pub(super) fn jitter(&self) -> Duration {
        let ticks = u64::try_from(self.reception.jitter / 16).unwrap_or(0);
        Duration::from_micros(ticks * 1_000_000 / u64::from(self.clock_rate.max(1)))
    }

    /// The packet with that number begins a key frame.
    pub(super) fn handle_key_frame(&mut self, seq: Seq) {
        self.key_frame = self.key_frame.max(Some(seq));
        self.broken = false;
    }

    /// A sender report of this stream, for the next receiver report.
    pub(super) fn handle_sender_report(&mut self, now: Instant, ntp: u64) {
        self.reception.last_report = Some(((ntp >> 16) as u32, now));
    }

    /// Adds the numbers to be asked for now, at most `limit`, in ascending order.
    pub(super) fn ask(
        &mut self,
        now: Instant,
        repair_time: RepairTime,
        limit: usize,
        numbers: &mut Vec<u16>,
    ) {
        let due = self
            .missing
            .iter_mut()
            .filter(|m| m.due <= now && m.tries < TRIES_MAX && now < m.since + GIVE_UP);
        for missing in due.take(limit) {
            numbers.push(missing.seq.wire());
            missing.tries += 1;
            missing.asked.get_or_insert(now);
            missing.due = (now + repair_time.wait(missing.tries)).min(missing.since + GIVE_UP);
            self.last_loss = Some(now);
        }
    }

    /// Forgets what was asked for too often or too long; how many.
    pub(super) fn give_up(&mut self, now: Instant) -> u64 {
        let before = self.missing.len();
        let (key_frame, mut broken) = (self.key_frame, false);
        self.missing.retain(|m| {
            let keep = now < m.due || (m.tries < TRIES_MAX && now < m.since + GIVE_UP);
            broken |= !keep && key_frame.is_none_or(|key| m.seq > key);
            keep
        });
        self.broken |= broken;
        (before - self.missing.len()) as u64
    }

    /// Whether it became broken since the last call of [`Self::take_broken`].
    pub(super) fn is_broken(&self) -> bool {
        self.broken
    }

    /// Whether it became broken since the last call.
    pub(super) fn take_broken(&mut self) -> bool {
        std::mem::take(&mut self.broken)
    }

    /// Something is missing.
    pub(super) fn lacks(&self) -> bool {
        !self.missing.is_empty()
    }

    /// When something is to be asked for or given up.
    pub(super) fn due(&self) -> Option<Instant> {
        self.missing.iter().map(|m| Some(m.due)).fold(None, soonest)
    }

    /// How many packets of it should have come so far, and how many came by themselves.
    pub(super) fn counts(&self) -> (u64, u64) {
        (self.reception.expected(self.highest), self.reception.received)
    }

    /// A report block for the time since the last one (RFC 3550 A.3); none if nothing was received in it.
    pub(super) fn report(&mut self, now: Instant) -> Option<ReportBlock> {
        // Paths calm down: what was learnt of reordering fades unless it goes on.
        self.tolerance = (self.tolerance * 15 / 16).max(TOLERANCE_MIN);
        self.reception.report(now, self.ssrc, self.highest)
    }

    /// A packet that is not the highest came by itself.
    fn handle_late(&mut self, now: Instant, seq: Seq) {
        let Ok(index) = self.missing.binary_search_by_key(&seq, |m| m.seq) else {
            return;
        };
        let Some(missing) = self.missing.remove(index) else {
            return;
        };
        let late = now.saturating_duration_since(missing.since) * 5 / 4;
        self.tolerance = self.tolerance.max(late.min(TOLERANCE_MAX));
    }

    fn miss(&mut self, now: Instant, gap: std::ops::Range<u64>) {
        let length = (gap.end - gap.start) as usize;
        if self.missing.len() + length > MISSING_MAX {
            let key_frame = self.key_frame.unwrap_or(Seq(0));
            self.missing.retain(|m| m.seq > key_frame);
        }
        if self.missing.len() + length > MISSING_MAX {
            self.missing.clear();
            self.broken = true;
            return;
        }
        let due = now + self.tolerance;
        self.missing.extend(gap.map(|n| Missing {
            seq: Seq(n),
            since: now,
            asked: None,
            tries: 0,
            due,
        }));
    }
}

fn restart_or_stray(head: Option<u16>) -> Refusal {
    head.map_or(Refusal::Stray, Refusal::Restart)
}

/// What is known of a stream at its first packet.
#[derive(Debug, Clone, Copy)]
pub(super) struct First {
    pub(super) ssrc: Ssrc,
    pub(super) stream: u32,
    pub(super) codec: Codec,
    /// Lost packets are asked for.
    pub(super) repairable: bool,
    pub(super) sequence: u16,
    pub(super) time: u32,
    /// Nanoseconds since the epoch.
    pub(super) now_nanos: i64,
}

/// Which of the last [`WINDOW`] numbers were received.
#[derive(Debug)]
struct Window([u64; (WINDOW / 64) as usize]);

impl Default for Window {
    fn default() -> Self {
        Self([0; (WINDOW / 64) as usize])
    }
}

impl Window {
    /// False if it was in.
    fn insert(&mut self, seq: Seq) -> bool {
        let (word, bit) = ((seq.0 % WINDOW / 64) as usize, 1 << (seq.0 % 64));
        let new = self.0[word] & bit == 0;
        self.0[word] |= bit;
        new
    }

    /// Takes out what makes room for the numbers after `highest` up to `seq`.
    fn advance(&mut self, highest: Seq, seq: Seq) {
        for n in highest.0 + 1..=seq.0.min(highest.0 + WINDOW) {
            self.0[(n % WINDOW / 64) as usize] &= !(1 << (n % 64));
        }
    }
}
