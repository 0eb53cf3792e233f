//! How a receiver puts pictures together: whole frames in their order, those that miss something passed over when it can be.

use std::{
    collections::{BTreeMap, VecDeque},
    time::{Duration, Instant},
};

use crate::decoder::{Faults, Packet, Seen};

/// Packets of a slot that are not decoded yet, and what was decoded last.
#[derive(Debug, Default)]
pub struct Assembler {
    packets: BTreeMap<u64, Packet>,
    next: Option<u64>,
    last: Option<Last>,
    /// Frames decoded of the stream that is shown, from its last key frame on.
    decoded: VecDeque<u32>,
    /// Frames of it that were there and could not be decoded, because they miss what was lost.
    undecoded: VecDeque<u32>,
    /// The first frame after the last hole: what refers to one before it may miss it.
    after_hole: u32,
    has_key: bool,
    least_delay: Duration,
    timing: Timing,
}

/// What came of a look at the packets.
#[derive(Debug)]
pub enum Step {
    /// Nothing can be done before more arrives.
    Wait,
    /// A frame was decoded.
    Decoded(Seen, Faults),
    /// A frame was passed over.
    Passed(Faults),
}

#[derive(Debug, Clone, Copy)]
struct Last {
    packet: Packet,
    /// The number after it.
    next: u64,
}

/// A frame among the packets.
#[derive(Debug, Clone, Copy)]
struct Frame {
    start: u64,
    end: u64,
    first: Packet,
    is_whole: bool,
    /// It ends, but without a marker: the slot went on with something else.
    is_cut: bool,
    /// The packet behind it belongs to the same frame or is not there yet.
    is_open: bool,
}

/// Decoded frames that are remembered, more than any frame refers back.
const DECODED_MAX: usize = 64;
/// A receiver holds frames so long by itself.
const HOLD_MIN: Duration = Duration::from_millis(15);
/// Most it holds because arrivals are uneven.
const HOLD_MAX: Duration = Duration::from_millis(300);

impl Assembler {
    pub(crate) fn set_least_delay(&mut self, delay: Duration) {
        self.least_delay = delay;
    }

    pub(crate) fn has(&self, number: u64) -> bool {
        self.packets.contains_key(&number)
    }

    /// The first number that is still of use.
    pub(crate) fn next(&self) -> Option<u64> {
        self.next
    }

    /// Packets arrive, but nothing can be made of them without a key frame.
    pub(crate) fn needs_key(&self) -> bool {
        !self.has_key && (self.next.is_some() || !self.packets.is_empty())
    }

    pub(crate) fn put(&mut self, number: u64, packet: Packet) {
        if self.next.is_some_and(|next| number < next) {
            return; // passed over before it came
        }
        self.next.get_or_insert(number);
        self.timing.note(packet.came, packet.timestamp);
        self.packets.insert(number, packet);
    }

    /// Decodes or passes over the next frame, if that is possible. `missing` is the lowest number that may still come.
    pub(crate) fn step(&mut self, now: Instant, missing: Option<u64>) -> Step {
        let Some((&first, _)) = self.packets.first_key_value() else {
            return Step::Wait;
        };
        let Some(frame) = self.frame_at(first) else {
            return Step::Wait;
        };
        let may_come = missing.is_some_and(|missing| missing < frame.start);
        let in_order = self.next == Some(frame.start);
        let ends = !frame.is_open || self.is_dead(&frame, missing);
        if frame.is_whole && in_order {
            return self.finish(now, &frame);
        }
        if !may_come && ends {
            return if frame.is_whole {
                self.finish(now, &frame)
            } else {
                self.pass(&frame)
            };
        }
        // Something is missing before it or in it: a later frame that needs none of that may go first when its time has come.
        match self.ready_behind(now, frame.start) {
            Some(later) => self.finish(now, &later),
            None => Step::Wait,
        }
    }

    /// The rest of an open frame will not come any more: nothing that is missing lies before what came behind it.
    fn is_dead(&self, frame: &Frame, missing: Option<u64>) -> bool {
        let behind = self.packets.range(frame.end + 1..).next();
        behind.is_some_and(|(&number, _)| missing.is_none_or(|missing| missing >= number))
    }

    fn frame_at(&self, start: u64) -> Option<Frame> {
        let mut run = self.packets.range(start..);
        let (_, &first) = run.next()?;
        let (mut end, mut last) = (start, first);
        let (mut is_cut, mut is_open) = (false, true);
        loop {
            if last.marker {
                is_open = false;
                break;
            }
            match run.next() {
                Some((&number, packet)) if number == end + 1 => {
                    if packet.timestamp != first.timestamp {
                        (is_cut, is_open) = (true, false);
                        break;
                    }
                    end = number;
                    last = *packet;
                }
                _ => break,
            }
        }
        let is_whole =
            !is_open && !is_cut && first.stamp.index == 0 && u64::from(first.stamp.count) == end - start + 1;
        Some(Frame {
            start,
            end,
            first,
            is_whole,
            is_cut,
            is_open,
        })
    }

    fn ready_behind(&self, now: Instant, start: u64) -> Option<Frame> {
        let mut at = start;
        loop {
            let frame = self.frame_at(at)?;
            let is_due = || self.timing.is_due(now, frame.first.timestamp, self.least_delay);
            if at > start && frame.is_whole && is_due() && self.is_decodable(&frame.first) {
                return Some(frame);
            }
            at = *self.packets.range(frame.end + 1..).next()?.0;
        }
    }

    fn is_decodable(&self, first: &Packet) -> bool {
        let stamp = first.stamp;
        let same_stream = self.last.is_some_and(|last| {
            last.packet.stamp.source == stamp.source && last.packet.stamp.layer == stamp.layer
        });
        stamp.key
            || self.has_key && same_stream && stamp.refers_to().all(|frame| self.decoded.contains(&frame))
    }

    /// The frame misses something that was neither lost nor undecodable: the node left out what it should not have.
    fn is_broken(&self, first: &Packet) -> bool {
        let stamp = first.stamp;
        let follows = self.last.is_some_and(|last| {
            last.packet.stamp.source == stamp.source && last.packet.stamp.layer == stamp.layer
        });
        let is_missing = |frame: u32| {
            frame >= self.after_hole && !self.decoded.contains(&frame) && !self.undecoded.contains(&frame)
        };
        !stamp.key && (!follows || stamp.refers_to().any(is_missing))
    }

    /// Passes over a frame that is not whole and never will be.
    fn pass(&mut self, frame: &Frame) -> Step {
        let next_is_key = self
            .packets
            .get(&(frame.end + 1))
            .is_some_and(|packet| packet.stamp.key && packet.stamp.index == 0);
        let follows = self.has_key && self.last.is_some_and(|last| last.next == frame.start);
        let faults = Faults {
            time_back: frame.is_cut && self.next == Some(frame.start) && !next_is_key,
            broken_reference: follows && !frame.is_cut && !frame.is_open,
            ..Faults::default()
        };
        if self.last.is_none() {
            return self.leave(
                frame,
                Faults {
                    began_without_key: true,
                    ..faults
                },
            );
        }
        if frame.first.stamp.temporal == 0 && !next_is_key {
            self.has_key = false;
        }
        self.leave(frame, faults)
    }

    fn leave(&mut self, frame: &Frame, faults: Faults) -> Step {
        self.after_hole = frame.first.stamp.frame + 1;
        self.forget(frame);
        Step::Passed(faults)
    }

    fn forget(&mut self, frame: &Frame) {
        self.packets = self.packets.split_off(&(frame.end + 1));
        self.next = Some(frame.end + 1);
        // A frame that was passed over still tells where picture ids are.
        self.last = Some(Last {
            packet: frame.first,
            next: frame.end + 1,
        });
    }

    fn finish(&mut self, now: Instant, frame: &Frame) -> Step {
        let first = frame.first;
        let decodable = self.is_decodable(&first);
        let mut faults = Faults::default();
        if let Some(last) = self.last {
            let step = first.timestamp.wrapping_sub(last.packet.timestamp) as i32;
            faults.time_back = step <= 0;
            // Only where no number is missing between them is a jump the node's.
            if last.next == frame.start && self.has_key {
                faults.broken_reference = self.is_broken(&first);
                faults.picture_id_jump = jumps(last.packet.picture, &first);
            }
        } else if !first.stamp.key {
            faults.began_without_key = true; // the path may have lost the first packets; on a good one it must not be
        }
        if self.next != Some(frame.start) {
            self.after_hole = first.stamp.frame;
        }
        self.forget(frame);
        if !decodable {
            self.undecoded.push_back(first.stamp.frame);
            if self.undecoded.len() > DECODED_MAX {
                self.undecoded.pop_front();
            }
            // A picture of an upper temporal layer that misses something is left out; below it all waits for a key frame.
            self.has_key &= first.stamp.temporal > 0;
            return Step::Passed(faults);
        }
        if first.stamp.key {
            self.has_key = true;
            self.decoded.clear();
            self.undecoded.clear();
            self.after_hole = first.stamp.frame;
        }
        self.decoded.push_back(first.stamp.frame);
        if self.decoded.len() > DECODED_MAX {
            self.decoded.pop_front();
        }
        let seen = Seen {
            at: now,
            shown: self.timing.show(now, first.timestamp, self.least_delay),
            stamp: first.stamp,
            timestamp: first.timestamp,
            named: first.named,
            height: first.height,
        };
        Step::Decoded(seen, faults)
    }
}

fn jumps(last: Option<(u16, u8)>, first: &Packet) -> bool {
    let (Some((last_id, last_tl0)), Some((id, tl0))) = (last, first.picture) else {
        return false;
    };
    let expected_tl0 = last_tl0.wrapping_add(u8::from(first.stamp.temporal == 0));
    id != (last_id + 1) & 0x7FFF || tl0 != expected_tl0
}

/// When frames are due to be shown: a constant delay behind their RTP time, that follows how uneven they arrive.
#[derive(Debug, Default)]
struct Timing {
    origin: Option<(Instant, u32)>,
    /// Least delay of arrival against RTP time, in microseconds since the origin; rises slowly, so that it follows a longer path.
    least: i64,
    /// How much later than that the latest of the last seconds came, in microseconds.
    spread: f64,
    shown: Option<Instant>,
}

impl Timing {
    fn offset(&self, at: Instant, timestamp: u32) -> Option<i64> {
        let (origin, first) = self.origin?;
        let ticks = i64::from(timestamp.wrapping_sub(first) as i32);
        Some((at - origin).as_micros() as i64 - ticks * 100 / 9)
    }

    fn note(&mut self, at: Instant, timestamp: u32) {
        if self.origin.is_none() {
            self.origin = Some((at, timestamp));
        }
        let offset = self.offset(at, timestamp).unwrap_or(0);
        self.least = if offset < self.least {
            offset
        } else {
            self.least + (offset - self.least) / 5_000
        };
        let late = (offset - self.least).max(0) as f64;
        self.spread = if late > self.spread {
            late
        } else {
            self.spread * 0.9985
        };
    }

    fn hold(&self, least_delay: Duration) -> Duration {
        let spread = Duration::from_micros(self.spread as u64);
        spread.clamp(HOLD_MIN, HOLD_MAX).max(least_delay)
    }

    /// The time to show a frame has come: one that is late already waits no more for what is missing before it.
    fn is_due(&self, now: Instant, timestamp: u32, least_delay: Duration) -> bool {
        let hold = self.hold(least_delay).as_micros() as i64;
        self.offset(now, timestamp)
            .is_none_or(|offset| offset >= self.least + hold)
    }

    /// When a frame that could be decoded at `now` is shown.
    fn show(&mut self, now: Instant, timestamp: u32, least_delay: Duration) -> Instant {
        let hold = self.hold(least_delay).as_micros() as i64;
        let early = self
            .offset(now, timestamp)
            .map_or(0, |offset| self.least + hold - offset);
        let due = now + Duration::from_micros(early.clamp(0, 1_000_000) as u64);
        let shown = self.shown.map_or(due, |last| due.max(last));
        self.shown = Some(shown);
        shown
    }
}
