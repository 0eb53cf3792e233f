//! What a point expects of a slot: numbers without holes, whole frames of the clip that the mark names, key frame first,
//! time that never goes back, and the name that the slot message gave.
//!
//! A [`SlotCheck`] is told packets in the order they came; it puts them in the order of their numbers, waits for repairs,
//! and judges the stream as a decoder and a page would. It is told the time and has no clock.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::{Bytes, BytesMut};

use crate::{
    clip::{Clips, FRAME_TICKS, SOUND_TICKS, is_key_frame},
    media::{CLIP_SPEECH, Mark, read_descriptor, unmark_frame, unmark_sound},
    report::Histogram,
};

/// A number that has not come after this long is lost.
pub(crate) const REPAIR_US: u64 = 1_000_000;
/// A slot message may come this much later than the first packet it speaks of.
const NAME_US: u64 = 1_000_000;
/// A hole of more numbers than this is no loss but another stream.
const JUMP_MAX: u64 = 3_000;
/// Pause between two requests for the same packet, and how many there are at most.
const NACK_PAUSE_US: u64 = 50_000;
const NACKS_MAX: u8 = 15;
/// Pause between two requests for a key frame.
const PLI_PAUSE_US: u64 = 500_000;
/// A pause of a voice of at least so many packets is one that the node made (the slot was empty); a shorter one is a
/// hole that the numbers do not show.
const VOICE_PAUSE: u32 = 10;
/// Announcements and observations kept per slot; the oldest are dropped.
const NAMES_MAX: usize = 64;
/// Observations of an unchanging source are at least this far apart.
const OBSERVE_US: u64 = 500_000;
/// A frame of more bytes than this is torn.
const FRAME_BYTES_MAX: usize = 1 << 20;

/// What can be wrong with a slot. Each is one continuity error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Violation {
    /// The same number came twice, other than by repair.
    Duplicate,
    /// The numbers went on somewhere else.
    Jump,
    /// RTP time went back, stood still, or left the pace of the source.
    Time,
    /// VP8 picture id or TL0PICIDX with an invented gap.
    Picture,
    /// A frame without beginning or end, or a payload that is none.
    Torn,
    /// The first frame of a source or layer is no key frame.
    NoKeyFrame,
    /// Not the bytes that were sent.
    Damaged,
    /// CSRC names another source than the one that sent it, or none.
    WrongSource,
    /// A unit of the source is missing or repeated although the numbers are straight.
    Skipped,
    /// The slot message named another source for this time, or none.
    WrongName,
}

impl Violation {
    /// All, in the order of the report.
    pub(crate) const ALL: [Self; 10] = [
        Self::Duplicate,
        Self::Jump,
        Self::Time,
        Self::Picture,
        Self::Torn,
        Self::NoKeyFrame,
        Self::Damaged,
        Self::WrongSource,
        Self::Skipped,
        Self::WrongName,
    ];
}

/// What a slot received.
#[derive(Debug, Clone, Default)]
pub(crate) struct SlotCounts {
    /// Packets, each number once.
    pub(crate) packets: u64,
    /// Of these, those that came as RTX.
    pub(crate) repaired: u64,
    /// Numbers that never came.
    pub(crate) lost: u64,
    /// Whole frames or sound packets.
    pub(crate) units: u64,
    /// Of the frames, those that a decoder had to drop because something before them was lost.
    pub(crate) undecodable: u64,
    /// Changes of source or layer.
    pub(crate) switches: u64,
    /// How often each violation was seen.
    pub(crate) violations: [u64; Violation::ALL.len()],
}

impl SlotCounts {
    /// All violations together.
    pub(crate) fn errors(&self) -> u64 {
        self.violations.iter().sum()
    }

    /// How often one was seen.
    #[cfg(test)]
    pub(crate) fn seen(&self, violation: Violation) -> u64 {
        self.violations[violation as usize]
    }

    /// Adds another slot's.
    pub(crate) fn add(&mut self, other: &Self) {
        self.packets += other.packets;
        self.repaired += other.repaired;
        self.lost += other.lost;
        self.units += other.units;
        self.undecodable += other.undecodable;
        self.switches += other.switches;
        for (mine, theirs) in self.violations.iter_mut().zip(other.violations) {
            *mine += theirs;
        }
    }
}

/// Sound or picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SlotKind {
    Voice,
    Picture,
}

/// A packet of a slot, decapsulated if it came as RTX.
#[derive(Debug, Clone)]
pub(crate) struct Arrived {
    pub(crate) sequence: u16,
    pub(crate) time: u32,
    pub(crate) marker: bool,
    pub(crate) csrc: Option<u32>,
    pub(crate) payload: Bytes,
    pub(crate) at_us: u64,
    pub(crate) repair: bool,
}

/// The judge of one slot.
#[derive(Debug)]
pub(crate) struct SlotCheck {
    kind: SlotKind,
    order: Option<Order>,
    frame: Option<Frame>,
    last: Option<Last>,
    /// Something was lost since the last whole unit.
    hole: bool,
    /// A decoder could go on: nothing was lost since the last key frame.
    decodable: bool,
    last_pli_us: u64,
    names: Names,
    counts: SlotCounts,
    latency: Histogram,
    log: Vec<String>,
}

/// Most lines kept of what was wrong; the counts go on.
const LOG_MAX: usize = 4;

#[derive(Debug)]
struct Order {
    start: u64,
    next: u64,
    highest: u64,
    held: BTreeMap<u64, Arrived>,
    missing: BTreeMap<u64, Missing>,
    /// Numbers that came as RTX, whose late original is no duplicate.
    restored: BTreeSet<u64>,
    /// Numbers that were given up: if they come after all, they are late.
    lost: BTreeSet<u64>,
}

#[derive(Debug)]
struct Missing {
    since_us: u64,
    nack_us: u64,
    nacks: u8,
}

/// A frame that is being put together.
#[derive(Debug)]
struct Frame {
    time: u32,
    csrc: Option<u32>,
    picture_id: u16,
    tl0_picture: u8,
    unit: BytesMut,
    arrivals_us: Vec<u64>,
}

/// The last whole unit.
#[derive(Debug, Clone, Copy)]
struct Last {
    time: u32,
    csrc: Option<u32>,
    picture: (u16, u8),
    mark: Option<Mark>,
}

#[derive(Debug, Default)]
struct Names {
    announced: VecDeque<(u32, u32)>,
    observed: VecDeque<(Option<u32>, u32, u64)>,
}

impl SlotCheck {
    /// A slot that nothing came in yet.
    pub(crate) fn new(kind: SlotKind) -> Self {
        Self {
            kind,
            order: None,
            frame: None,
            last: None,
            hole: false,
            decodable: true,
            last_pli_us: 0,
            names: Names::default(),
            counts: SlotCounts::default(),
            latency: Histogram::default(),
            log: Vec::new(),
        }
    }

    /// What it received so far.
    pub(crate) fn counts(&self) -> &SlotCounts {
        &self.counts
    }

    /// Microseconds from sender to here, per packet.
    pub(crate) fn latency(&self) -> &Histogram {
        &self.latency
    }

    /// What was wrong, in words, the first few.
    pub(crate) fn log(&self) -> &[String] {
        &self.log
    }

    /// The slot message said: from `time` on the slot shows `source`.
    pub(crate) fn announce(&mut self, source: u32, time: u32) {
        if self.names.announced.len() == NAMES_MAX {
            self.names.announced.pop_front();
        }
        self.names.announced.push_back((source, time));
    }

    /// A packet came. `ours` says whether a point (its number) is one of this load tester, so that a mark is due.
    pub(crate) fn handle(&mut self, packet: Arrived, ours: &dyn Fn(u32) -> bool) {
        let wire = packet.sequence;
        let order = self.order.get_or_insert_with(|| {
            let first = (1 << 32) | u64::from(wire);
            Order {
                start: first,
                next: first,
                highest: first - 1,
                held: BTreeMap::new(),
                missing: BTreeMap::new(),
                restored: BTreeSet::new(),
                lost: BTreeSet::new(),
            }
        });
        let sequence = order.unwrap(wire);
        if sequence.abs_diff(order.highest) > JUMP_MAX {
            self.order = None;
            self.hole = true;
            self.frame = None;
            self.violate(Violation::Jump, || format!("number {wire} is far from the last"));
            return;
        }
        if !order.take(sequence, packet, &mut self.counts) {
            self.violate(Violation::Duplicate, || format!("number {wire} came twice"));
        }
        self.drain(ours);
    }

    /// Gives up what is too old and compares names. To be called every few ten milliseconds.
    pub(crate) fn handle_timeout(&mut self, now_us: u64, ours: &dyn Fn(u32) -> bool) {
        if let Some(order) = &mut self.order {
            let before = order.missing.len();
            order
                .missing
                .retain(|_, missing| now_us.saturating_sub(missing.since_us) < REPAIR_US);
            let lost = before - order.missing.len();
            if lost > 0 {
                self.counts.lost += lost as u64;
                self.drain(ours);
            }
        }
        self.compare_names(now_us.saturating_sub(NAME_US));
    }

    /// Whether a repair is still awaited.
    #[cfg(test)]
    pub(crate) fn is_waiting(&self) -> bool {
        self.order.as_ref().is_some_and(|order| !order.missing.is_empty())
    }

    /// Numbers to ask for now.
    pub(crate) fn poll_nacks(&mut self, now_us: u64) -> Vec<u16> {
        let Some(order) = &mut self.order else {
            return Vec::new();
        };
        let due = order
            .missing
            .iter_mut()
            .filter(|(_, missing)| missing.nack_us <= now_us && missing.nacks < NACKS_MAX);
        due.map(|(&sequence, missing)| {
            missing.nack_us = now_us + NACK_PAUSE_US;
            missing.nacks += 1;
            sequence as u16
        })
        .collect()
    }

    /// Whether to ask for a key frame now.
    pub(crate) fn poll_key_frame_request(&mut self, now_us: u64) -> bool {
        let due = !self.decodable && now_us.saturating_sub(self.last_pli_us) >= PLI_PAUSE_US;
        if due {
            self.last_pli_us = now_us;
        }
        due
    }

    /// The end: what is still missing is lost, what has no name yet gets none.
    pub(crate) fn finish(&mut self, ours: &dyn Fn(u32) -> bool) {
        if let Some(order) = &mut self.order {
            self.counts.lost += order.missing.len() as u64;
            order.missing.clear();
            self.drain(ours);
        }
        self.compare_names(u64::MAX);
    }

    fn violate(&mut self, violation: Violation, words: impl FnOnce() -> String) {
        self.counts.violations[violation as usize] += 1;
        if self.log.len() < LOG_MAX {
            self.log.push(format!("{violation:?}: {}", words()));
        }
    }

    fn drain(&mut self, ours: &dyn Fn(u32) -> bool) {
        while let Some(order) = &mut self.order {
            let mut hole = false;
            let packet = order.poll(&mut hole);
            if hole {
                // Decoding stops at a hole, whatever the frame was that it is in.
                self.hole = true;
                self.frame = None;
                self.decodable = false;
            }
            let Some(packet) = packet else { return };
            match (packet.payload.is_empty(), self.kind) {
                (true, _) => {} // padding alone: only its number counts
                (false, SlotKind::Voice) => self.judge_sound(packet, ours),
                (false, SlotKind::Picture) => self.assemble(packet, ours),
            }
        }
    }

    fn assemble(&mut self, packet: Arrived, ours: &dyn Fn(u32) -> bool) {
        let Some((descriptor, data)) = read_descriptor(&packet.payload) else {
            return self.violate(Violation::Torn, || {
                format!("no VP8 descriptor at {}", packet.time)
            });
        };
        if let Some(frame) = &self.frame
            && (descriptor.start || frame.time != packet.time || frame.picture_id != descriptor.picture_id)
        {
            let time = frame.time;
            self.frame = None;
            self.violate(Violation::Torn, || format!("the frame at {time} has no end"));
        }
        if self.frame.is_none() {
            if !descriptor.start {
                if self.last.is_none() && !self.hole {
                    // The slot began before the first packet that came.
                    self.counts.lost += 1;
                    self.hole = true;
                    self.decodable = false;
                }
                if !self.hole {
                    self.violate(Violation::Torn, || {
                        format!("the frame at {} has no beginning", packet.time)
                    });
                }
                return;
            }
            self.frame = Some(Frame {
                time: packet.time,
                csrc: packet.csrc,
                picture_id: descriptor.picture_id,
                tl0_picture: descriptor.tl0_picture,
                unit: BytesMut::new(),
                arrivals_us: Vec::new(),
            });
        }
        let frame = self.frame.as_mut().expect("made above if there was none");
        if frame.unit.len() + data.len() <= FRAME_BYTES_MAX {
            frame.unit.extend_from_slice(data);
            frame.arrivals_us.push(packet.at_us);
        }
        if packet.marker
            && let Some(frame) = self.frame.take()
        {
            self.judge_frame(frame, packet.at_us, ours);
        }
    }

    fn judge_frame(&mut self, frame: Frame, now_us: u64, ours: &dyn Fn(u32) -> bool) {
        let hole = std::mem::take(&mut self.hole);
        let key = is_key_frame(&frame.unit);
        let mark = match unmark_frame(&frame.unit) {
            Some((data, mark)) => {
                let layer = Clips::builtin().layers.get(usize::from(mark.clip));
                let sent = layer.and_then(|frames| frames.get(usize::from(mark.index)));
                self.judge_mark(&mark, frame.csrc, sent.is_some_and(|sent| sent == data));
                Some(mark)
            }
            None => {
                self.judge_unmarked(frame.csrc, ours);
                None
            }
        };
        let picture = (frame.picture_id, frame.tl0_picture);
        let last = self.last.replace(Last {
            time: frame.time,
            csrc: frame.csrc,
            picture,
            mark,
        });
        let started = self.judge_succession(last, frame.time, frame.csrc, mark, key, hole, FRAME_TICKS);
        if let Some(last) = last
            && !hole
            && picture != ((last.picture.0 + 1) & 0x7fff, last.picture.1.wrapping_add(1))
        {
            self.violate(Violation::Picture, || {
                format!("picture {picture:?} after {:?}", last.picture)
            });
        }
        if key {
            self.decodable = true;
        } else if started && self.decodable && !hole {
            self.decodable = false;
            self.violate(Violation::NoKeyFrame, || {
                format!("frame at {} of {:?}", frame.time, frame.csrc)
            });
        }
        self.counts.undecodable += u64::from(!self.decodable);
        self.counts.units += 1;
        if let Some(mark) = mark {
            for at_us in &frame.arrivals_us {
                self.latency.record(at_us.saturating_sub(mark.sent_us));
            }
        }
        self.names.observe(frame.csrc, frame.time, now_us);
    }

    fn judge_sound(&mut self, packet: Arrived, ours: &dyn Fn(u32) -> bool) {
        let hole = std::mem::take(&mut self.hole);
        let mark = match unmark_sound(&packet.payload) {
            Some((toc, frame, mark)) => {
                let sent = Clips::builtin().speech.get(usize::from(mark.index));
                let same = sent.is_some_and(|sent| sent.payload[0] == toc && &sent.payload[1..] == frame);
                self.judge_mark(&mark, packet.csrc, same && mark.clip == CLIP_SPEECH);
                self.latency.record(packet.at_us.saturating_sub(mark.sent_us));
                Some(mark)
            }
            None => {
                self.judge_unmarked(packet.csrc, ours);
                None
            }
        };
        let last = self.last.replace(Last {
            time: packet.time,
            csrc: packet.csrc,
            picture: (0, 0),
            mark,
        });
        self.judge_succession(last, packet.time, packet.csrc, mark, false, hole, SOUND_TICKS);
        self.counts.units += 1;
        self.names.observe(packet.csrc, packet.time, packet.at_us);
    }

    fn judge_mark(&mut self, mark: &Mark, csrc: Option<u32>, same_bytes: bool) {
        if csrc != Some(mark.source) {
            self.violate(Violation::WrongSource, || {
                format!("CSRC {csrc:?}, sent by {}", mark.source)
            });
        }
        if !same_bytes {
            self.violate(Violation::Damaged, || {
                format!("unit {} of {}", mark.counter, mark.source)
            });
        }
    }

    /// Other people may be in the room; their units have no mark, ours must.
    fn judge_unmarked(&mut self, csrc: Option<u32>, ours: &dyn Fn(u32) -> bool) {
        match csrc {
            None => self.violate(Violation::WrongSource, || "no CSRC".to_owned()),
            Some(source) if ours(source / 4) => {
                self.violate(Violation::Damaged, || format!("a unit of {source} has no mark"));
            }
            Some(_) => {}
        }
    }

    /// How a unit follows the one before. Returns whether it is the first of a source or layer.
    #[expect(
        clippy::too_many_arguments,
        reason = "the parts of one comparison, used in two places"
    )]
    fn judge_succession(
        &mut self,
        last: Option<Last>,
        time: u32,
        csrc: Option<u32>,
        mark: Option<Mark>,
        key: bool,
        hole: bool,
        ticks: u32,
    ) -> bool {
        let Some(last) = last else { return true };
        let passed = time.wrapping_sub(last.time);
        if passed == 0 || passed > i32::MAX as u32 {
            self.violate(Violation::Time, || format!("{time} after {}", last.time));
        }
        let started = last.csrc != csrc || last.mark.map(|mark| mark.clip) != mark.map(|mark| mark.clip);
        if started {
            self.counts.switches += 1;
            return true;
        }
        let (Some(mark), Some(before)) = (mark, last.mark) else {
            return false;
        };
        let units = mark.counter.wrapping_sub(before.counter);
        let resumed = match self.kind {
            SlotKind::Picture => key && units > 1,
            SlotKind::Voice => units >= VOICE_PAUSE,
        };
        if units == 0 || units > i32::MAX as u32 || (units != 1 && !hole && !resumed) {
            self.violate(Violation::Skipped, || {
                format!(
                    "unit {} of {} after {}",
                    mark.counter, mark.source, before.counter
                )
            });
        } else if !resumed && passed.abs_diff(units.wrapping_mul(ticks)) > ticks / 2 {
            self.violate(Violation::Time, || {
                format!("{passed} ticks for {units} units of {}", mark.source)
            });
        }
        resumed
    }

    fn compare_names(&mut self, until_us: u64) {
        while let Some(&(csrc, time, at_us)) = self.names.observed.front() {
            if at_us > until_us {
                return;
            }
            self.names.observed.pop_front();
            let named = self.names.at(time);
            if named != csrc {
                self.violate(Violation::WrongName, || {
                    format!("{named:?} announced, {csrc:?} came at {time}")
                });
            }
        }
    }
}

impl Order {
    fn unwrap(&self, wire: u16) -> u64 {
        let ahead = wire.wrapping_sub(self.highest as u16);
        if ahead < 0x8000 {
            self.highest + u64::from(ahead)
        } else {
            self.highest - u64::from(0u16.wrapping_sub(ahead))
        }
    }

    /// Puts a packet in its place. False if its number came before and this is no repair.
    fn take(&mut self, sequence: u64, packet: Arrived, counts: &mut SlotCounts) -> bool {
        let now_us = packet.at_us;
        let is_new = if sequence > self.highest {
            for hole in self.highest + 1..sequence {
                self.missing.insert(
                    hole,
                    Missing {
                        since_us: now_us,
                        nack_us: now_us,
                        nacks: 0,
                    },
                );
            }
            self.highest = sequence;
            true
        } else {
            self.missing.remove(&sequence).is_some()
        };
        if is_new {
            counts.packets += 1;
            counts.repaired += u64::from(packet.repair);
            if packet.repair {
                self.restored.insert(sequence);
                self.restored = self.restored.split_off(&sequence.saturating_sub(JUMP_MAX));
            }
            self.held.insert(sequence, packet);
            return true;
        }
        // Before the first, after it was given up, or the original of something repaired: late, but no duplicate.
        let late = sequence < self.start || self.lost.contains(&sequence);
        packet.repair || late || self.restored.contains(&sequence)
    }

    /// The next packet in order. Sets `hole` if numbers before it were given up.
    fn poll(&mut self, hole: &mut bool) -> Option<Arrived> {
        while self.next <= self.highest {
            if let Some(packet) = self.held.remove(&self.next) {
                self.next += 1;
                return Some(packet);
            }
            if self.missing.contains_key(&self.next) {
                return None;
            }
            *hole = true;
            self.lost.insert(self.next);
            self.lost = self.lost.split_off(&self.next.saturating_sub(JUMP_MAX));
            self.next += 1;
        }
        None
    }
}

impl Names {
    fn observe(&mut self, csrc: Option<u32>, time: u32, at_us: u64) {
        let fresh = self
            .observed
            .back()
            .is_none_or(|&(last, _, last_us)| last != csrc || at_us.saturating_sub(last_us) >= OBSERVE_US);
        if fresh {
            if self.observed.len() == NAMES_MAX {
                self.observed.pop_front();
            }
            self.observed.push_back((csrc, time, at_us));
        }
    }

    /// The page's rule: the last announcement whose time is not later.
    fn at(&self, time: u32) -> Option<u32> {
        let mut announced = self.announced.iter().rev();
        announced
            .find(|(_, from)| time.wrapping_sub(*from) <= i32::MAX as u32)
            .map(|&(source, _)| source)
    }
}

#[cfg(test)]
mod tests;
