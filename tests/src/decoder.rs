//! What a receiver's jitter buffer and decoder would make of one slot.
//!
//! The model takes packets as they arrive, asks for lost ones again, and decodes a frame when it is whole and everything it refers to was decoded. It knows
//! from each packet's [`Stamp`] what the packet truly is, so that a slot which only looks continuous is found out. Pictures are put together by
//! [`crate::picture`], voices are played by [`crate::voice`].

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use sfu::{
    engine::id::{MediaKind, SlotId},
    wire::{
        codec::{opus, vp8},
        ext::PlayoutDelay,
        red::Red,
        rtp::RtpPacket,
    },
};

use crate::{
    encoder::Stamp,
    picture::{Assembler, Step},
    voice::Playout,
};

/// One frame that was decoded, or one voice packet that was played.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// When it could be decoded; of a voice, when it was played.
    pub at: Instant,
    /// When it was shown: not before its time, which smooths what came late.
    pub shown: Instant,
    /// What it was.
    pub stamp: Stamp,
    /// RTP time in the slot.
    pub timestamp: u32,
    /// Source number the packets carried as CSRC.
    pub named: u32,
    /// Height of the picture, 0 of a voice.
    pub height: u16,
}

/// What must never happen in a slot, with the number of times it did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Violations {
    /// The same number arrived twice although the path doubled nothing.
    pub duplicates: u32,
    /// RTP time went back between frames, or differs within one.
    pub time_back: u32,
    /// Picture id or TL0PICIDX jumped although no number is missing.
    pub picture_id_jumps: u32,
    /// A frame followed, number by number, one that it does not refer to.
    pub broken_references: u32,
    /// The CSRC is missing or names another source than the packet is of.
    pub wrong_names: u32,
    /// A repair differs from what was lost, or does not parse.
    pub bad_repairs: u32,
}

/// Receiver of one slot.
#[derive(Debug)]
pub struct Receiver {
    /// Which slot.
    pub slot: SlotId,
    /// Everything decoded or played.
    pub seen: Vec<Seen>,
    /// Of a sound: what was played and what was made up.
    pub voice: Playout,
    /// What must stay zero.
    pub violations: Violations,
    /// Numbers asked for again, each time counted.
    pub nacks_sent: u32,
    /// Numbers that were missing at some time.
    pub gaps: u32,
    /// Repairs that filled a hole.
    pub repaired: u32,
    /// Repairs of something that was there already.
    pub redundant_repairs: u32,
    /// Packets given up.
    pub given_up: u32,
    /// Key frames asked for.
    pub plis_sent: u32,
    /// The first frame that arrived was not a whole key frame.
    pub began_without_key: bool,
    /// Times that the slot was emptied: what comes after is no freeze.
    pub emptied: Vec<Instant>,
    /// Highest number seen, unwrapped, and how many different ones arrived.
    pub highest: Option<u64>,
    /// Different numbers that arrived, first time or repaired.
    pub received: u64,
    /// First number seen.
    pub first: Option<u64>,
    pictures: Assembler,
    missing: BTreeMap<u64, Missing>,
    /// Numbers that are not waited for any more; they may still come.
    lost: BTreeSet<u64>,
    last_pli: Option<Instant>,
    path_doubles: bool,
}

/// What the model keeps of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packet {
    pub(crate) came: Instant,
    pub(crate) stamp: Stamp,
    pub(crate) timestamp: u32,
    pub(crate) marker: bool,
    pub(crate) named: u32,
    pub(crate) height: u16,
    pub(crate) picture: Option<(u16, u8)>,
    /// Of a sound: how long it is.
    pub(crate) length: Duration,
}

#[derive(Debug, Clone, Copy)]
struct Missing {
    since: Instant,
    asked: Option<Instant>,
    tries: u32,
}

/// A number missing for longer is given up, and a key frame asked for.
const GIVE_UP: Duration = Duration::from_millis(1_000);
/// A lost packet is asked for again after this much more than a round trip.
const RETRY_MARGIN: Duration = Duration::from_millis(20);
/// Numbers not waited for that are remembered.
const LOST_MAX: usize = 4_096;
/// Key frames are asked for at most this often.
const PLI_INTERVAL: Duration = Duration::from_millis(300);

impl Receiver {
    /// `path_doubles`: the path itself duplicates packets, so that doubles are not the node's fault.
    pub fn new(slot: SlotId, path_doubles: bool) -> Self {
        Self {
            slot,
            seen: Vec::new(),
            voice: Playout::default(),
            violations: Violations::default(),
            nacks_sent: 0,
            gaps: 0,
            repaired: 0,
            redundant_repairs: 0,
            given_up: 0,
            plis_sent: 0,
            began_without_key: false,
            emptied: Vec::new(),
            highest: None,
            received: 0,
            first: None,
            pictures: Assembler::default(),
            missing: BTreeMap::new(),
            lost: BTreeSet::new(),
            last_pli: None,
            path_doubles,
        }
    }

    fn is_video(&self) -> bool {
        self.slot.kind == MediaKind::Video
    }

    /// A packet on the slot's media SSRC. `playout_delay` is what it says of that.
    pub fn handle_media(&mut self, now: Instant, rtp: &RtpPacket<'_>, playout_delay: Option<PlayoutDelay>) {
        let number = self.unwrap(rtp.sequence());
        if self.was_seen(number) {
            let is_late = self.lost.remove(&number);
            self.violations.duplicates += u32::from(!self.path_doubles && !is_late);
            return;
        }
        if let Some(delay) = playout_delay {
            self.pictures
                .set_least_delay(Duration::from_millis(u64::from(delay.min) * 10));
        }
        self.handle_new(now, number, rtp, rtp.payload());
    }

    fn handle_new(&mut self, now: Instant, number: u64, rtp: &RtpPacket<'_>, payload: &[u8]) {
        let Some(packet) = self.read(now, rtp, payload) else {
            return;
        };
        self.note_gap(now, number);
        self.accept(now, number, packet);
    }

    /// A packet of voices with former packets in it. They are of the same source, or the slot mixes voices up.
    pub fn handle_red(&mut self, now: Instant, rtp: &RtpPacket<'_>) {
        let number = self.unwrap(rtp.sequence());
        if self.was_seen(number) {
            self.violations.duplicates += u32::from(!self.path_doubles);
            return;
        }
        let Some(red) = Red::parse(rtp.payload()) else {
            self.violations.bad_repairs += 1;
            return;
        };
        for block in red.redundant().iter().filter(|block| !block.payload.is_empty()) {
            match self.read(now, rtp, block.payload) {
                Some(packet) => {
                    let timestamp = packet.timestamp.wrapping_sub(u32::from(block.offset));
                    self.voice.put_redundant(now, Packet { timestamp, ..packet });
                }
                None => self.violations.bad_repairs += 1,
            }
        }
        self.handle_new(now, number, rtp, red.primary().payload);
    }

    /// A packet on the slot's RTX SSRC: two bytes of original number, then the payload. Padding alone is ignored.
    pub fn handle_repair(&mut self, now: Instant, rtp: &RtpPacket<'_>) {
        let Some((number, payload)) = rtp.payload().split_first_chunk::<2>() else {
            return;
        };
        if payload.is_empty() {
            return;
        }
        let number = self.unwrap(u16::from_be_bytes(*number));
        if self.was_seen(number) {
            self.redundant_repairs += 1;
            return;
        }
        let Some(packet) = self.read(now, rtp, payload) else {
            self.violations.bad_repairs += 1;
            return;
        };
        self.repaired += 1;
        self.note_gap(now, number);
        self.accept(now, number, packet);
    }

    /// The slot shows something else from now on, or nothing.
    pub fn handle_change(&mut self, now: Instant, is_empty: bool) {
        self.voice.set_empty(is_empty.then_some(now));
        if is_empty {
            self.emptied.push(now);
        }
    }

    /// That number arrived, lately.
    pub(crate) fn has(&self, sequence: u16) -> bool {
        let number = self.unwrap(sequence);
        self.highest.is_some() && self.was_seen(number) && !self.lost.contains(&number)
    }

    fn was_seen(&self, number: u64) -> bool {
        let before = self.first.is_some_and(|first| number < first);
        let done =
            self.highest.is_some_and(|highest| number <= highest) && !self.missing.contains_key(&number);
        self.pictures.has(number) || done && !before
    }

    fn unwrap(&self, sequence: u16) -> u64 {
        let Some(highest) = self.highest else {
            return 65_536 + u64::from(sequence);
        };
        let step = sequence.wrapping_sub(highest as u16) as i16;
        highest.saturating_add_signed(i64::from(step))
    }

    fn read(&mut self, now: Instant, rtp: &RtpPacket<'_>, payload: &[u8]) -> Option<Packet> {
        let video = self.is_video();
        let stamp = Stamp::read(payload, video)?;
        let named = rtp.csrcs().next().unwrap_or(0);
        self.violations.wrong_names += u32::from(named != stamp.source);
        let (mut picture, mut height, mut length) = (None, 0, Duration::ZERO);
        if video {
            let descriptor = vp8::Descriptor::parse(payload)?;
            picture = descriptor
                .picture_id
                .map(|id| id.get())
                .zip(descriptor.tl0_pic_idx);
            height = u16::from_le_bytes([payload[14], payload[15]]);
        } else {
            length = opus::Toc::parse(payload)?.duration();
        }
        Some(Packet {
            came: now,
            stamp,
            timestamp: rtp.timestamp(),
            marker: rtp.marker(),
            named,
            height,
            picture,
            length,
        })
    }

    fn note_gap(&mut self, now: Instant, number: u64) {
        let Some(highest) = self.highest else { return };
        for lost in highest + 1..number.min(highest + 1_000) {
            self.gaps += 1;
            self.missing.insert(
                lost,
                Missing {
                    since: now,
                    asked: None,
                    tries: 0,
                },
            );
        }
    }

    fn accept(&mut self, now: Instant, number: u64, packet: Packet) {
        self.missing.remove(&number);
        self.received += 1;
        self.first.get_or_insert(number);
        self.highest = Some(self.highest.map_or(number, |highest| highest.max(number)));
        if self.is_video() {
            self.pictures.put(number, packet);
            self.decode(now);
        } else {
            self.violations.time_back += u32::from(!self.voice.put(now, number, packet, &mut self.seen));
        }
    }

    /// Numbers to ask for now, and whether a key frame is needed.
    pub fn ask(&mut self, now: Instant, rtt: Duration) -> (Vec<u16>, bool) {
        self.give_up(now);
        let mut numbers = Vec::new();
        for (number, missing) in &mut self.missing {
            let due = missing
                .asked
                .is_none_or(|asked| now.saturating_duration_since(asked) >= rtt + RETRY_MARGIN);
            if due && missing.tries < 10 {
                missing.asked = Some(now);
                missing.tries += 1;
                numbers.push(*number as u16);
            }
        }
        self.nacks_sent += numbers.len() as u32;
        let key = self.is_video()
            && self.pictures.needs_key()
            && self
                .last_pli
                .is_none_or(|last| now.saturating_duration_since(last) >= PLI_INTERVAL);
        if key {
            self.last_pli = Some(now);
            self.plis_sent += 1;
        }
        (numbers, key)
    }

    fn give_up(&mut self, now: Instant) {
        let (late, kept) = std::mem::take(&mut self.missing)
            .into_iter()
            .partition(|(_, missing)| now.saturating_duration_since(missing.since) >= GIVE_UP);
        self.missing = kept;
        self.lose(&late);
        if self.is_video() {
            self.decode(now);
        } else {
            self.voice.play(now, &mut self.seen);
        }
    }

    fn decode(&mut self, now: Instant) {
        loop {
            let missing = self.missing.first_key_value().map(|(number, _)| *number);
            match self.pictures.step(now, missing) {
                Step::Wait => return,
                Step::Decoded(seen, faults) => {
                    self.add(faults);
                    self.seen.push(seen);
                }
                Step::Passed(faults) => self.add(faults),
            }
            // What lies before that is of no use any more.
            if let Some(next) = self.pictures.next() {
                let kept = self.missing.split_off(&next);
                let passed = std::mem::replace(&mut self.missing, kept);
                self.lose(&passed);
            }
        }
    }

    fn lose(&mut self, numbers: &BTreeMap<u64, Missing>) {
        self.given_up += numbers.len() as u32;
        self.lost.extend(numbers.keys());
        while self.lost.len() > LOST_MAX {
            self.lost.pop_first();
        }
    }

    fn add(&mut self, faults: Faults) {
        self.violations.time_back += u32::from(faults.time_back);
        self.violations.picture_id_jumps += u32::from(faults.picture_id_jump);
        self.violations.broken_references += u32::from(faults.broken_reference);
        self.began_without_key |= faults.began_without_key;
    }

    /// Longest time between two frames (or from `from` to the first, and from the last to `to`).
    pub fn longest_gap(&self, from: Instant, to: Instant) -> Duration {
        let mut last = from;
        let mut longest = Duration::ZERO;
        for seen in self.seen.iter().filter(|seen| seen.at >= from && seen.at <= to) {
            longest = longest.max(seen.at - last);
            last = seen.at;
        }
        longest.max(to.saturating_duration_since(last))
    }
}

/// What was wrong with a frame that the node alone can have caused.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Faults {
    pub(crate) time_back: bool,
    pub(crate) picture_id_jump: bool,
    pub(crate) broken_reference: bool,
    pub(crate) began_without_key: bool,
}
