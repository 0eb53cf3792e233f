//! What comes in a slot, judged by headers alone: numbers, frames, who is shown. Told the time, it has no clock.
//!
//! A packet costs so little that one thread hears hundreds of points. What is inside is looked at where it must be: the first packets
//! of a picture until a key frame has come, and a sample for the latency. The points of `--verify` look at everything (`check`).

use std::collections::BTreeMap;

use super::{motion::Motion, running::Running};
use crate::check::{SlotCounts, SlotKind, Violation};

/// A number that has not come after this long is lost.
const REPAIR_US: u64 = 1_000_000;
/// Pause between two requests for the same packet, and how many there are at most.
const NACK_PAUSE_US: u64 = 50_000;
const NACKS_MAX: u8 = 10;
/// A hole of more numbers than this is another stream.
const JUMP_MAX: u64 = 3_000;
/// Pause between two requests for a key frame.
const PLI_PAUSE_US: u64 = 500_000;

/// The header of a packet that may still be sealed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Heading {
    pub(super) sequence: u16,
    pub(super) time: u32,
    pub(super) marker: bool,
    pub(super) source: Option<u32>,
    pub(super) at_us: u64,
}

/// What is wanted of a packet beyond its header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Look {
    /// Nothing: it was counted.
    No,
    /// Whether a key frame begins in it.
    Key,
    /// When it was sent.
    Latency,
    /// Of which layer it is: the picture that it ends is one of a stream that ran before a storm.
    Layer,
}

/// The figures of one slot.
#[derive(Debug)]
pub(super) struct Tally {
    kind: SlotKind,
    /// Repairs come in a stream of their own; else what was asked for comes under its number like any other.
    parted: bool,
    greatest: Option<u64>,
    missing: BTreeMap<u64, Missing>,
    /// The picture on show began with this number: no decoder waits for one before it.
    from: u64,
    /// Frames that came whole behind a hole: a decoder has them and waits.
    held: u64,
    /// Number of the packet that is looked at for a key frame.
    looked: u64,
    source: Option<u32>,
    /// The next packet begins a frame.
    at_start: bool,
    /// The time of the newest packet.
    unit_time: Option<u32>,
    /// The packet that is looked at for a key frame is a whole picture, and counts as one that cannot be decoded as long as nothing is found.
    is_whole: bool,
    needs_key: bool,
    last_pli_us: u64,
    /// Since when the slot is wanted, and whether its first key frame has come.
    wanted_us: Option<u64>,
    shown: bool,
    /// Packets that pass until the next one is looked at for its latency.
    until_look: u32,
    /// Until when what comes may be served from what the node had kept.
    settled_us: u64,
    /// RTP time of the last unit.
    last_time: Option<u32>,
    /// The latency of the last unit, as long as the next has not told whether both were served from what the node had kept.
    doubtful_us: Option<u64>,
    certain_us: Option<u64>,
    pub(super) counts: SlotCounts,
    /// Numbers that did not come the first time.
    pub(super) gaps: u64,
    /// How the picture moves.
    pub(super) motion: Motion,
    /// How the picture runs through a storm.
    pub(super) running: Running,
    loss: Loss,
}

/// Where a number belongs.
enum Place {
    /// Behind all that came.
    Next,
    /// Into a hole, with that number; whether it was asked for.
    Late(u64, bool),
    /// It came before, or nobody waits for it any more.
    Known,
    /// It is of another stream.
    Elsewhere,
}

#[derive(Debug)]
struct Missing {
    since_us: u64,
    nack_us: u64,
    nacks: u8,
}

/// What a receiver report says (RFC 3550 section 6.4.1).
#[derive(Debug, Default)]
struct Loss {
    first: u64,
    received: u64,
    told_expected: u64,
    told_received: u64,
}

/// One packet in so many is opened for its latency.
const LOOK_EACH: u32 = 16;
/// Frames closer than this (5 ms at 90 kHz) are served from what the node had kept.
const HASTY_TICKS: u32 = 450;
/// After a change of source no latency is taken for this long: the node serves what it had kept.
const SETTLE_US: u64 = 2_000_000;

impl Tally {
    /// A slot that nothing came in. `parted`: repairs come in a stream of their own.
    pub(super) fn new(kind: SlotKind, parted: bool) -> Self {
        Self {
            kind,
            parted,
            greatest: None,
            missing: BTreeMap::new(),
            from: 0,
            held: 0,
            looked: 0,
            source: None,
            at_start: true,
            unit_time: None,
            is_whole: false,
            needs_key: kind == SlotKind::Picture,
            last_pli_us: 0,
            wanted_us: None,
            shown: false,
            until_look: 0,
            settled_us: 0,
            last_time: None,
            doubtful_us: None,
            certain_us: None,
            counts: SlotCounts::default(),
            gaps: 0,
            motion: Motion::default(),
            running: Running::default(),
            loss: Loss::default(),
        }
    }

    /// A stream of repairs was found.
    pub(super) fn part_repairs(&mut self) {
        self.parted = true;
    }

    /// Somebody wants a picture here, since then.
    pub(super) fn want(&mut self, since_us: u64) {
        self.wanted_us.get_or_insert(since_us);
    }

    /// A packet of the slot's stream. What else is wanted of it.
    pub(super) fn handle(&mut self, heading: Heading) -> Look {
        let before = self.greatest;
        match self.number(heading.sequence, heading.at_us) {
            Place::Next => {}
            Place::Known => return Look::No,
            Place::Late(number, asked) => {
                // What nobody asked for was overtaken by others on its way, and no loss.
                let repaired = asked && !self.parted && self.kind == SlotKind::Picture;
                self.counts.repaired += u64::from(repaired);
                self.gaps -= u64::from(!repaired);
                self.loss.received += 1;
                return self.fill(number, heading.marker, heading.at_us);
            }
            Place::Elsewhere => {
                self.counts.violations[Violation::Jump as usize] += 1;
                (self.greatest, self.from, self.held) = (None, 0, 0);
                self.missing.clear();
                return Look::No;
            }
        }
        if self.counts.packets == 0 {
            // The key frame that every picture begins with may be the next packet.
            self.last_pli_us = heading.at_us;
        }
        self.counts.packets += 1;
        self.loss.received += 1;
        self.looked = self.greatest.unwrap_or_default();
        if heading.source != self.source {
            self.change_source(heading, before);
        }
        let ends = heading.marker || self.kind == SlotKind::Voice;
        // A picture that was cut short has no end: the time tells that the next has begun.
        let another = self.unit_time.replace(heading.time) != Some(heading.time);
        let starts = std::mem::replace(&mut self.at_start, ends) || another;
        if ends {
            self.end_unit(heading.at_us, heading.time);
        }
        if self.needs_key && starts {
            self.is_whole = ends;
            return Look::Key;
        }
        self.until_look = self.until_look.saturating_sub(1);
        if ends && self.until_look == 0 && heading.at_us >= self.settled_us && !self.needs_key {
            self.until_look = LOOK_EACH;
            return Look::Latency;
        }
        match ends && !self.needs_key && self.running.is_watched() {
            true => Look::Layer,
            false => Look::No,
        }
    }

    fn change_source(&mut self, heading: Heading, before: Option<u64>) {
        self.counts.switches += u64::from(self.source.is_some());
        self.source = heading.source;
        self.settled_us = heading.at_us + SETTLE_US;
        self.needs_key = self.kind == SlotKind::Picture;
        self.last_pli_us = heading.at_us;
        // What is missing right before it may be its own.
        (self.from, self.held) = (before.map_or(0, |before| before + 1), 0);
        if self.kind == SlotKind::Picture {
            self.motion.begin(heading.at_us);
        }
        self.running.switch();
    }

    /// A packet came as a repair, under its own number. What else is wanted of it.
    pub(super) fn handle_repair(&mut self, sequence: u16, marker: bool, at_us: u64) -> Look {
        let Some(number) = self.greatest.map(|greatest| nearest(greatest, sequence)) else {
            return Look::No;
        };
        if self.missing.remove(&number).is_none() {
            return Look::No;
        }
        self.counts.repaired += 1;
        self.fill(number, marker, at_us)
    }

    /// A number that was missed came after all.
    fn fill(&mut self, number: u64, marker: bool, at_us: u64) -> Look {
        self.counts.packets += 1;
        let ends = marker || self.kind == SlotKind::Voice;
        self.counts.units += u64::from(ends);
        self.held += u64::from(ends && self.kind == SlotKind::Picture);
        if self.needs_key {
            (self.looked, self.is_whole) = (number, false);
            return Look::Key;
        }
        if self.settle(at_us) {
            // What waited for it can be shown now.
            self.running.go_on(at_us);
        }
        Look::No
    }

    /// A key frame begins in the packet that was asked about. If it is the first of the slot: how long it was wanted.
    pub(super) fn tell_key(&mut self, at_us: u64) -> Option<u64> {
        let is_newest = self.greatest == Some(self.looked);
        if is_newest {
            // What waited is older and shown no more, but for the key frame itself if it is whole.
            let whole = u64::from(std::mem::take(&mut self.is_whole));
            self.counts.undecodable = self.counts.undecodable + self.held - whole;
            self.held = whole;
        }
        (self.needs_key, self.from) = (false, self.looked);
        if self.settle(at_us) && !is_newest {
            self.running.go_on(at_us);
        }
        let wanted = self.wanted_us.filter(|_| !self.shown)?;
        self.shown = true;
        Some(at_us.saturating_sub(wanted))
    }

    /// None begins there.
    pub(super) fn tell_no_key(&mut self, at_us: u64) {
        self.settle(at_us);
    }

    /// Puts a number in its place.
    fn number(&mut self, sequence: u16, at_us: u64) -> Place {
        let Some(greatest) = self.greatest else {
            // Far from zero, so that a number before the first is a number too.
            let first = (1 << 32) | u64::from(sequence);
            self.greatest = Some(first);
            (self.loss.first, self.loss.received) = (first, 0);
            (self.loss.told_expected, self.loss.told_received) = (0, 0);
            return Place::Next;
        };
        let number = nearest(greatest, sequence);
        if number.abs_diff(greatest) > JUMP_MAX {
            return Place::Elsewhere;
        }
        if number <= greatest {
            return match self.missing.remove(&number) {
                Some(missing) => Place::Late(number, missing.nacks > 0),
                None => Place::Known,
            };
        }
        for hole in greatest + 1..number {
            self.gaps += 1;
            self.missing.insert(
                hole,
                Missing {
                    since_us: at_us,
                    nack_us: at_us,
                    nacks: 0,
                },
            );
        }
        self.greatest = Some(number);
        Place::Next
    }

    /// The packet that was looked at was so long on its way.
    pub(super) fn tell_latency(&mut self, us: u64) {
        self.doubtful_us = Some(us);
    }

    /// A latency of what was not served from what the node had kept.
    pub(super) fn take_latency(&mut self) -> Option<u64> {
        self.certain_us.take()
    }

    /// A picture of that layer, of a stream that ran before a storm, is whole: it is shown, unless something before it is missing.
    pub(super) fn tell_layer(&mut self, layer: Option<u8>, at_us: u64) {
        if !self.is_held_up() && !self.needs_key {
            self.running.show(layer, at_us);
        }
    }

    /// The slot shows that source from then on, or will at once.
    pub(super) fn announce(&mut self, source: u32, at_us: u64) {
        if self.source.is_some_and(|shown| shown != source) {
            self.switch(at_us);
        }
        self.expect(at_us);
    }

    /// A picture is to be here from now on.
    pub(super) fn expect(&mut self, at_us: u64) {
        if self.kind == SlotKind::Picture {
            self.motion.expect(at_us);
        }
    }

    /// Something else is wanted here.
    pub(super) fn switch(&mut self, now_us: u64) {
        self.motion.switch(now_us);
        self.running.switch();
    }

    /// Nothing is shown here now.
    pub(super) fn empty(&mut self) {
        self.motion.empty();
        self.running.pause();
    }

    fn end_unit(&mut self, at_us: u64, time: u32) {
        self.counts.units += 1;
        let ticks = self.last_time.replace(time).map(|last| time.wrapping_sub(last));
        let doubtful = self.doubtful_us.take();
        if self.kind == SlotKind::Picture && ticks.is_some_and(|ticks| ticks < HASTY_TICKS) {
            self.settled_us = at_us + SETTLE_US;
        } else if at_us >= self.settled_us {
            self.certain_us = doubtful;
        }
        if self.kind == SlotKind::Voice {
            return;
        }
        self.held += 1;
        self.settle(at_us);
    }

    /// Whether a decoder waits for something that is missing.
    fn is_held_up(&self) -> bool {
        self.missing.range(self.from..).next().is_some()
    }

    /// Judges what came whole, once nothing is missing before it. Whether something is shown.
    fn settle(&mut self, at_us: u64) -> bool {
        if self.held == 0 || self.is_held_up() {
            return false;
        }
        let held = std::mem::take(&mut self.held);
        if self.needs_key {
            self.counts.undecodable += held;
            return false;
        }
        if let Some(passed) = self.motion.show(at_us) {
            self.running.approach(passed, at_us);
        }
        true
    }

    pub(super) fn is_of_pictures(&self) -> bool {
        self.kind == SlotKind::Picture
    }

    /// Pictures are judged no more: their senders end.
    pub(super) fn end(&mut self, now_us: u64) {
        self.motion.end(now_us);
        self.running.end(now_us);
    }

    /// Whether it waits for something.
    pub(super) fn is_waiting(&self) -> bool {
        !self.missing.is_empty() || (self.needs_key && self.greatest.is_some())
    }

    /// Gives up what is too old.
    pub(super) fn give_up(&mut self, now_us: u64) {
        let is_old = |missing: &Missing| now_us.saturating_sub(missing.since_us) >= REPAIR_US;
        let (before, from) = (self.missing.len(), self.from);
        let mut breaks = false;
        self.missing.retain(|&number, missing| {
            breaks |= is_old(missing) && number >= from;
            !is_old(missing)
        });
        self.counts.lost += (before - self.missing.len()) as u64;
        self.needs_key |= breaks && self.kind == SlotKind::Picture;
        self.settle(now_us);
    }

    /// Numbers to ask for now.
    pub(super) fn poll_nacks(&mut self, now_us: u64, out: &mut Vec<u16>) {
        for (&number, missing) in &mut self.missing {
            if missing.nack_us <= now_us && missing.nacks < NACKS_MAX {
                missing.nack_us = now_us + NACK_PAUSE_US;
                missing.nacks += 1;
                out.push(number as u16);
            }
        }
    }

    /// Whether to ask for a key frame now: frames come and none can be shown.
    pub(super) fn poll_key_frame_request(&mut self, now_us: u64) -> bool {
        let due = self.needs_key
            && self.counts.packets > 0
            && now_us.saturating_sub(self.last_pli_us) >= PLI_PAUSE_US;
        if due {
            self.last_pli_us = now_us;
        }
        due
    }

    /// Share lost since the last report in 1/256, lost in all, greatest number with its wraps; nothing if nothing came.
    pub(super) fn poll_report(&mut self) -> Option<(u8, i32, u32)> {
        let greatest = self.greatest?;
        let loss = &mut self.loss;
        let expected = greatest + 1 - loss.first;
        let (new_expected, new_received) = (
            expected - loss.told_expected,
            loss.received.saturating_sub(loss.told_received),
        );
        (loss.told_expected, loss.told_received) = (expected, loss.received);
        if new_expected == 0 {
            return None;
        }
        let lost = new_expected.saturating_sub(new_received);
        let fraction = (lost * 256 / new_expected).min(255) as u8;
        let all = expected as i64 - loss.received as i64;
        Some((fraction, all as i32, (greatest - (1 << 32)) as u32))
    }
}

/// The number nearest to the greatest that ends with these bits.
fn nearest(greatest: u64, sequence: u16) -> u64 {
    let ahead = sequence.wrapping_sub(greatest as u16);
    if ahead < 0x8000 {
        greatest + u64::from(ahead)
    } else {
        greatest - u64::from(0u16.wrapping_sub(ahead))
    }
}

#[cfg(test)]
mod tests;
