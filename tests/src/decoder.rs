//! What a receiver's jitter buffer and decoder would make of one slot.
//!
//! The model takes packets as they arrive, asks for lost ones again, and decodes a frame when it is whole and everything it refers to was decoded. It knows
//! from each packet's [`Stamp`] what the packet truly is, so that a slot which only looks continuous is found out.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use sfu::{
    engine::id::{MediaKind, SlotId},
    wire::{codec::vp8, rtp::RtpPacket},
};

use crate::encoder::Stamp;

/// One frame that was decoded, or one voice packet that was played.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// When it was whole.
    pub at: Instant,
    /// What it was.
    pub stamp: Stamp,
    /// RTP time in the slot.
    pub timestamp: u32,
    /// Source number the packets carried as CSRC.
    pub named: u32,
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
    /// Highest number seen, unwrapped, and how many different ones arrived.
    pub highest: Option<u64>,
    /// Different numbers that arrived, first time or repaired.
    pub received: u64,
    /// First number seen.
    pub first: Option<u64>,
    packets: BTreeMap<u64, Packet>,
    missing: BTreeMap<u64, Missing>,
    next: Option<u64>,
    last: Option<Decoded>,
    needs_key: bool,
    last_pli: Option<Instant>,
    path_doubles: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Packet {
    stamp: Stamp,
    timestamp: u32,
    marker: bool,
    named: u32,
    picture: Option<(u16, u8)>,
}

#[derive(Debug, Clone, Copy)]
struct Missing {
    since: Instant,
    asked: Option<Instant>,
    tries: u32,
}

#[derive(Debug, Clone, Copy)]
struct Decoded {
    stamp: Stamp,
    timestamp: u32,
    picture: Option<(u16, u8)>,
}

/// A number missing for longer is given up, and a key frame asked for.
const GIVE_UP: Duration = Duration::from_millis(1_000);
/// A lost packet is asked for again after this much more than a round trip.
const RETRY_MARGIN: Duration = Duration::from_millis(20);
/// Key frames are asked for at most this often.
const PLI_INTERVAL: Duration = Duration::from_millis(300);

impl Receiver {
    /// `path_doubles`: the path itself duplicates packets, so that doubles are not the node's fault.
    pub fn new(slot: SlotId, path_doubles: bool) -> Self {
        Self {
            slot,
            seen: Vec::new(),
            violations: Violations::default(),
            nacks_sent: 0,
            gaps: 0,
            repaired: 0,
            redundant_repairs: 0,
            given_up: 0,
            plis_sent: 0,
            began_without_key: false,
            highest: None,
            received: 0,
            first: None,
            packets: BTreeMap::new(),
            missing: BTreeMap::new(),
            next: None,
            last: None,
            needs_key: true,
            last_pli: None,
            path_doubles,
        }
    }

    /// A packet on the slot's media SSRC.
    pub fn handle_media(&mut self, now: Instant, rtp: &RtpPacket<'_>) {
        let number = self.unwrap(rtp.sequence());
        if self.was_seen(number) {
            self.violations.duplicates += u32::from(!self.path_doubles);
            return;
        }
        let Some(packet) = self.read(rtp, rtp.payload()) else {
            return;
        };
        self.note_gap(now, number);
        self.accept(now, number, packet);
    }

    /// A packet on the slot's RTX SSRC: two bytes of original number, then the payload. Padding alone is ignored.
    pub fn handle_repair(&mut self, now: Instant, rtp: &RtpPacket<'_>) {
        let Some((number, payload)) = rtp.payload().split_first_chunk::<2>() else {
            return;
        };
        let number = self.unwrap(u16::from_be_bytes(*number));
        if self.was_seen(number) {
            self.redundant_repairs += 1;
            return;
        }
        let Some(packet) = self.read(rtp, payload) else {
            self.violations.bad_repairs += 1;
            return;
        };
        self.repaired += 1;
        self.note_gap(now, number);
        self.accept(now, number, packet);
    }

    fn was_seen(&self, number: u64) -> bool {
        let before = self.first.is_some_and(|first| number < first);
        let done =
            self.highest.is_some_and(|highest| number <= highest) && !self.missing.contains_key(&number);
        self.packets.contains_key(&number) || done && !before
    }

    fn unwrap(&self, sequence: u16) -> u64 {
        let Some(highest) = self.highest else {
            return 65_536 + u64::from(sequence);
        };
        let step = sequence.wrapping_sub(highest as u16) as i16;
        highest.saturating_add_signed(i64::from(step))
    }

    fn read(&mut self, rtp: &RtpPacket<'_>, payload: &[u8]) -> Option<Packet> {
        let video = self.slot.kind == MediaKind::Video;
        let stamp = Stamp::read(payload, video)?;
        let named = rtp.csrcs().next().unwrap_or(0);
        self.violations.wrong_names += u32::from(named != stamp.source);
        let picture = if video {
            let descriptor = vp8::Descriptor::parse(payload)?;
            descriptor
                .picture_id
                .map(|id| id.get())
                .zip(descriptor.tl0_pic_idx)
        } else {
            None
        };
        Some(Packet {
            stamp,
            timestamp: rtp.timestamp(),
            marker: rtp.marker(),
            named,
            picture,
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
        if self.next.is_some_and(|next| number < next) {
            return; // given up before it came
        }
        self.next.get_or_insert(number);
        self.packets.insert(number, packet);
        self.decode(now);
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
        let key = self.needs_key
            && !self.packets.is_empty()
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
        let late: Vec<u64> = self
            .missing
            .iter()
            .filter(|(_, m)| now.saturating_duration_since(m.since) >= GIVE_UP)
            .map(|(number, _)| *number)
            .collect();
        for number in late {
            self.missing.remove(&number);
            self.given_up += 1;
            if self.next.is_some_and(|next| number >= next) {
                self.needs_key = self.slot.kind == MediaKind::Video;
                self.next = Some(number + 1);
                self.packets = self.packets.split_off(&(number + 1));
            }
        }
        self.decode(now);
    }

    fn decode(&mut self, now: Instant) {
        while let Some(next) = self.next {
            let Some(first) = self.packets.get(&next).copied() else {
                return;
            };
            let Some((end, cut)) = self.frame_end(next, first) else {
                return;
            };
            if cut {
                self.last = Some(Decoded {
                    stamp: first.stamp,
                    timestamp: first.timestamp,
                    picture: first.picture,
                });
            } else {
                self.finish(now, next, end, first);
            }
            self.packets = self.packets.split_off(&(end + 1));
            self.next = Some(end + 1);
        }
    }

    /// The last packet of the frame that begins at `start`, once it is there, and whether a switch cut the frame short: its end was still on its way
    /// when the slot went on with a key frame.
    fn frame_end(&mut self, start: u64, first: Packet) -> Option<(u64, bool)> {
        let mut end = start;
        loop {
            let packet = self.packets.get(&end)?;
            if packet.timestamp != first.timestamp {
                let key_frame_begins = packet.stamp.key && packet.stamp.index == 0;
                self.violations.time_back += u32::from(!key_frame_begins);
                return Some((end - 1, true));
            }
            if packet.marker || self.slot.kind == MediaKind::Audio {
                return Some((end, false));
            }
            end += 1;
        }
    }

    fn finish(&mut self, now: Instant, start: u64, end: u64, first: Packet) {
        let video = self.slot.kind == MediaKind::Video;
        let whole = !video || first.stamp.index == 0 && u64::from(first.stamp.count) == end - start + 1;
        let key = first.stamp.key && whole;
        if let Some(last) = self.last {
            let step = first.timestamp.wrapping_sub(last.timestamp) as i32;
            self.violations.time_back += u32::from(step <= 0);
            let follows = last.stamp.source == first.stamp.source
                && last.stamp.layer == first.stamp.layer
                && last.stamp.frame + 1 == first.stamp.frame;
            if video && !self.needs_key {
                self.violations.broken_references += u32::from(!(key || follows && whole));
                self.check_picture(last.picture, first.picture);
            }
        } else if video && !key {
            self.began_without_key = true; // the path may have lost the first packets; on a good one it must not be
        }
        if key || !video {
            self.needs_key = false;
        }
        self.last = Some(Decoded {
            stamp: first.stamp,
            timestamp: first.timestamp,
            picture: first.picture,
        });
        if !self.needs_key {
            self.seen.push(Seen {
                at: now,
                stamp: first.stamp,
                timestamp: first.timestamp,
                named: first.named,
            });
        }
    }

    fn check_picture(&mut self, last: Option<(u16, u8)>, this: Option<(u16, u8)>) {
        let (Some((last_id, last_tl0)), Some((id, tl0))) = (last, this) else {
            return;
        };
        let follows = id == (last_id + 1) & 0x7FFF && tl0 == last_tl0.wrapping_add(1);
        self.violations.picture_id_jumps += u32::from(!follows);
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
