//! What a slot sent, for repairs: number to packet.
//!
//! A receiver has a ring for each of its slots, so an entry is small: what packets of one stretch have in common stands once, in the
//! table of stretches, and of a number the 16 bits that a NACK names (RFC 4585 §6.2.1).

use std::{
    num::NonZeroU8,
    time::{Duration, Instant},
};

use super::{
    descriptor::Stamp,
    history::PacketRef,
    id::{MediaKind, SlotId, SourceNumber},
    numbered::Numbered,
    packet::{PayloadPatch, soonest},
    seq::Seq,
};

/// What was sent, by its number. The oldest gives way.
#[derive(Debug)]
pub(super) struct Ring {
    sent: Vec<Option<Sent>>,
    /// Beside each of them, once a packet had one: most codecs have none.
    stamps: Vec<Stamp>,
    most: usize,
    stretches: Vec<Stretch>,
    /// That of the newest entry, with its place among them: the list lies elsewhere in memory.
    current: Option<(u8, Stretch)>,
    newest: Option<Seq>,
    /// Where the newest has its place, and where the part of the ring ends that it lies in. What comes next to it is found from there: a
    /// division by a length that is no power of two costs as much as the rest of looking.
    place: usize,
    part_end: usize,
    /// When each part of the ring was begun last: what it holds was written since.
    begun: [Option<Instant>; PARTS],
    /// Repairs are counted in milliseconds since then.
    since: Option<Instant>,
}

/// A packet. What is missing of [`Numbered`] follows from its place and its stretch.
#[derive(Debug, Clone, Copy)]
struct Sent {
    timestamp: u32,
    /// Places in the history since the stretch began.
    place: u32,
    sequence: u16,
    size: u16,
    /// When it was sent again last, in milliseconds that wrap after a minute, and nothing so old is repaired; 0: not yet.
    resent: u16,
    patch: Patch,
    payload_type: u8,
    marker_and_stretch: u8,
}

const _: () = assert!(size_of::<Option<Sent>>() <= 20);

/// A [`PayloadPatch`] without its stamp, in four bytes.
#[derive(Debug, Clone, Copy)]
struct Patch {
    picture_id: u16,
    tl0_pic_idx: u8,
    /// What there is of it; [`PATCH`] always.
    has: NonZeroU8,
}

const PATCH: NonZeroU8 = NonZeroU8::MIN;
const PICTURE_ID: u8 = 2;
const TL0_PIC_IDX: u8 = 4;
const VP8: u8 = 8;
const VP9: u8 = 16;
const STAMP: u8 = 32;

impl Patch {
    fn new(patch: PayloadPatch) -> Self {
        let (codec, picture_id, tl0_pic_idx) = match patch {
            PayloadPatch::None => (0, None, None),
            PayloadPatch::Vp8 {
                picture_id,
                tl0_pic_idx,
            } => (VP8, picture_id, tl0_pic_idx),
            PayloadPatch::Vp9 {
                picture_id,
                tl0_pic_idx,
            } => (VP9, picture_id, tl0_pic_idx),
            PayloadPatch::Av1(_) => (STAMP, None, None),
        };
        let ids = picture_id.map_or(0, |_| PICTURE_ID) | tl0_pic_idx.map_or(0, |_| TL0_PIC_IDX);
        Self {
            picture_id: picture_id.unwrap_or(0),
            tl0_pic_idx: tl0_pic_idx.unwrap_or(0),
            has: PATCH | codec | ids,
        }
    }

    fn get(self, stamp: Option<&Stamp>) -> PayloadPatch {
        let has = |what: u8| self.has.get() & what != 0;
        let picture_id = Some(self.picture_id).filter(|_| has(PICTURE_ID));
        let tl0_pic_idx = Some(self.tl0_pic_idx).filter(|_| has(TL0_PIC_IDX));
        match stamp {
            Some(&stamp) if has(STAMP) => PayloadPatch::Av1(stamp),
            _ if has(VP8) => PayloadPatch::Vp8 {
                picture_id,
                tl0_pic_idx,
            },
            _ if has(VP9) => PayloadPatch::Vp9 {
                picture_id,
                tl0_pic_idx,
            },
            _ => PayloadPatch::None,
        }
    }
}

/// What its packets have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stretch {
    source: SourceNumber,
    history: u32,
    /// Position of its first packet in the history.
    first: u64,
}

/// Entries of a ring in use: a thumbnail of 15 packets a second.
const RING_LEN: usize = 32;
/// Entries of a ring that had to grow: 2 Mbps for 8 seconds.
const RING_LEN_MAX: usize = 2_048;
/// Entries younger than this are not given up while the ring may grow: two requests over a satellite, and as long as the node itself asks
/// senders again.
const RING_TIME: Duration = Duration::from_millis(1_500);
/// A ring that holds what is older than this was made for a burst, or for more than flows now, and gives room back.
const RING_TIME_MAX: Duration = Duration::from_secs(4);
/// Parts of the ring whose age is known; its length is a multiple of them.
const PARTS: usize = 8;
/// Stretches remembered; with the oldest go its packets. A power of two.
const STRETCHES: usize = 16;
const MARKER: u8 = 0x80;

impl Ring {
    pub(super) fn new(slot: SlotId) -> Self {
        let most = if slot.kind == MediaKind::Video {
            RING_LEN_MAX
        } else {
            0
        };
        Self {
            sent: Vec::new(),
            stamps: Vec::new(),
            most,
            stretches: Vec::new(),
            current: None,
            newest: None,
            place: 0,
            part_end: 0,
            begun: [None; PARTS],
            since: None,
        }
    }

    /// Grows by a quarter, some times at the beginning of a slot's life and when more flows than before; else nothing is allocated.
    pub(super) fn insert(&mut self, now: Instant, packet: &Numbered) {
        if self.most == 0 {
            return;
        }
        if self.sent.is_empty() {
            self.sent.resize(RING_LEN, None);
        }
        self.advance(now, packet.sequence);
        let is_past = |newest: Seq| newest.0.saturating_sub(packet.sequence.0) >= self.sent.len() as u64;
        if self.newest.is_some_and(is_past) {
            return; // so late that its place is a newer one's
        }
        let (stretch, place) = self.stretch(packet);
        let index = self.index(packet.sequence);
        self.sent[index] = Some(Sent {
            timestamp: packet.timestamp,
            place,
            sequence: packet.sequence.wire(),
            size: packet.size,
            resent: 0,
            patch: Patch::new(packet.patch),
            payload_type: packet.payload_type,
            marker_and_stretch: stretch | if packet.marker { MARKER } else { 0 },
        });
        if let PayloadPatch::Av1(stamp) = packet.patch {
            self.stamps.resize(self.sent.len(), Stamp::default());
            self.stamps[index] = stamp;
        }
    }

    /// The packet with that number.
    pub(super) fn find(&self, sequence: Seq) -> Option<Numbered> {
        let sent = self.entry(sequence)?;
        let stretch = self
            .stretches
            .get(usize::from(sent.marker_and_stretch & !MARKER))?;
        Some(Numbered {
            sequence,
            timestamp: sent.timestamp,
            marker: sent.marker_and_stretch & MARKER != 0,
            payload_type: sent.payload_type,
            source: stretch.source,
            at: PacketRef {
                history: stretch.history,
                position: stretch.first + u64::from(sent.place),
            },
            patch: sent.patch.get(self.stamps.get(self.index(sequence))),
            size: sent.size,
            base: false, // only what goes for the first time is asked
        })
    }

    /// The packet was sent again, less than `pause` ago.
    pub(super) fn is_resent(&self, now: Instant, sequence: Seq, pause: Duration) -> bool {
        let resent = self.entry(sequence).map_or(0, |sent| sent.resent);
        let ago = self.millis(now).wrapping_sub(resent);
        resent != 0 && u128::from(ago) < pause.as_millis()
    }

    /// The packet is sent again now. False: there is none with that number.
    pub(super) fn note_resent(&mut self, now: Instant, sequence: Seq) -> bool {
        self.since.get_or_insert(now);
        let resent = self.millis(now);
        let index = self.index(sequence);
        match self.sent.get_mut(index) {
            Some(Some(sent)) if sent.sequence == sequence.wire() => sent.resent = resent,
            _ => return false,
        }
        true
    }

    /// Zero once in a minute: then one repair may go twice.
    fn millis(&self, now: Instant) -> u16 {
        let since = self
            .since
            .map_or(Duration::ZERO, |since| now.saturating_duration_since(since));
        (since.as_millis() as u16).wrapping_add(1)
    }

    fn entry(&self, sequence: Seq) -> Option<&Sent> {
        let entry = self.sent.get(self.index(sequence))?.as_ref();
        entry.filter(|sent| sent.sequence == sequence.wire())
    }

    /// By a quarter: most slots show a thumbnail, and what is more than they need is had a dozen times by every endpoint.
    fn grow(&mut self) {
        let length = (self.sent.len() * 5 / 4 / PARTS).max(self.sent.len() / PARTS + 1) * PARTS;
        self.resize(length.min(self.most));
    }

    /// Another length, with the newest that have a place in it.
    fn resize(&mut self, length: usize) {
        let old = std::mem::replace(&mut self.sent, vec![None; length]);
        let begun = std::mem::take(&mut self.begun);
        let stamps = std::mem::take(&mut self.stamps);
        if !stamps.is_empty() {
            self.stamps.resize(self.sent.len(), Stamp::default());
        }
        let Some(newest) = self.newest else { return };
        self.place = self.lap_index(newest);
        for (at, sent) in old.iter().enumerate() {
            let Some(sent) = sent else { continue };
            let sequence = newest.nearest(sent.sequence);
            if sequence > newest || newest.0 - sequence.0 >= length as u64 {
                continue; // half a lap old, or too old for what is shorter now
            }
            let (index, part) = (self.index(sequence), self.part(sequence));
            let former = begun[at * PARTS / old.len()];
            self.sent[index] = Some(*sent);
            if let Some((place, stamp)) = self.stamps.get_mut(index).zip(stamps.get(at)) {
                *place = *stamp;
            }
            self.begun[part] = soonest(self.begun[part], former);
        }
    }

    /// A part is begun when it may be written over, and the ring grows until one is.
    fn advance(&mut self, now: Instant, sequence: Seq) {
        if self.newest.is_some_and(|newest| sequence <= newest) {
            return;
        }
        let place = self.index(sequence);
        let goes_on = self.is_near(sequence) && (self.place + 1..self.part_end).contains(&place);
        self.place = place;
        let newest = self.newest.replace(sequence);
        if !goes_on {
            let part = self.begin_part(now, newest, sequence);
            self.part_end = (part + 1) * (self.sent.len() / PARTS);
        }
    }

    /// `sequence` is the newest now and may lie in another part than the one before it: which one.
    fn begin_part(&mut self, now: Instant, newest: Option<Seq>, sequence: Seq) -> usize {
        let is_young = |begun: Instant| now.saturating_duration_since(begun) < RING_TIME;
        loop {
            let (part, size) = (self.part(sequence), (self.sent.len() / PARTS) as u64);
            let goes_on = |newest: Seq| self.part(newest) == part && sequence.0 - newest.0 < size;
            if newest.is_some_and(goes_on) {
                return part;
            }
            let former = self.begun[part];
            if self.sent.len() < self.most && former.is_some_and(is_young) {
                self.grow();
                continue;
            }
            let is_long = former.is_some_and(|begun| now.saturating_duration_since(begun) > RING_TIME_MAX);
            if is_long && self.sent.len() > RING_LEN {
                self.resize((self.sent.len() * 3 / 4 / PARTS * PARTS).max(RING_LEN));
            }
            let part = self.part(sequence);
            self.begun[part] = Some(now);
            return part;
        }
    }

    /// The stretch that the packet belongs to, and its place there.
    fn stretch(&mut self, packet: &Numbered) -> (u8, u32) {
        let is_its = |stretch: &Stretch| {
            let known = stretch.source == packet.source && stretch.history == packet.at.history;
            let place = packet.at.position.checked_sub(stretch.first)?;
            u32::try_from(place).ok().filter(|_| known)
        };
        if let Some((at, current)) = &self.current
            && let Some(place) = is_its(current)
        {
            return (*at, place);
        }
        let mut known = (0..).zip(&self.stretches);
        let found = known.find_map(|(at, stretch)| Some((at, *stretch, is_its(stretch)?)));
        if let Some((at, stretch, place)) = found {
            self.current = Some((at, stretch));
            return (at, place);
        }
        let at = self.begin_stretch(Stretch {
            source: packet.source,
            history: packet.at.history,
            first: packet.at.position,
        });
        (at, 0)
    }

    /// Its place. The oldest gives way, and its packets with it.
    fn begin_stretch(&mut self, fresh: Stretch) -> u8 {
        let at = if self.stretches.len() < STRETCHES {
            self.stretches.push(fresh);
            self.stretches.len() as u8 - 1
        } else {
            let gone = self.current.map_or(0, |(at, _)| (at + 1) % STRETCHES as u8);
            self.stretches[usize::from(gone)] = fresh;
            self.sent
                .iter_mut()
                .filter(|entry| entry.is_some_and(|sent| sent.marker_and_stretch & !MARKER == gone))
                .for_each(|entry| *entry = None);
            gone
        };
        self.current = Some((at, fresh));
        at
    }

    /// Less than a lap ahead of the newest.
    fn is_near(&self, sequence: Seq) -> bool {
        let ahead = |newest: Seq| sequence.0.checked_sub(newest.0);
        let ahead = self.newest.and_then(ahead);
        ahead.is_some_and(|ahead| ahead < self.sent.len() as u64)
    }

    fn index(&self, sequence: Seq) -> usize {
        let (length, ahead) = match self.newest {
            Some(newest) => (self.sent.len() as u64, sequence.0.wrapping_sub(newest.0)),
            None => return self.lap_index(sequence),
        };
        let (place, back) = (self.place as u64, ahead.wrapping_neg());
        let index = if ahead < length {
            let index = place + ahead;
            if index < length { index } else { index - length }
        } else if back < length {
            if back <= place {
                place - back
            } else {
                place + length - back
            }
        } else {
            return self.lap_index(sequence);
        };
        index as usize
    }

    fn lap_index(&self, sequence: Seq) -> usize {
        (sequence.0 % self.sent.len().max(1) as u64) as usize
    }

    fn part(&self, sequence: Seq) -> usize {
        self.index(sequence) * PARTS / self.sent.len().max(1)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::{
        super::{
            descriptor::tests::frame,
            testing::{base, ms},
            wanted::Wanted,
        },
        *,
    };

    fn packet(sequence: u64, history: u32, position: u64) -> Numbered {
        Numbered {
            sequence: Seq(sequence),
            timestamp: sequence as u32 * 7,
            marker: sequence.is_multiple_of(3),
            payload_type: 96 + (history % 2) as u8,
            source: SourceNumber::try_from(8 + history).expect("in range"),
            at: PacketRef { history, position },
            patch: patch(sequence, history),
            size: 1 + (sequence % 1_200) as u16,
            base: false,
        }
    }

    #[test]
    fn what_comes_more_than_a_lap_late_takes_nobodys_place() {
        let mut ring = Ring::new(SlotId::video(1));
        (0..64).for_each(|number| ring.insert(base() + ms(200 * number), &packet(number, 0, number)));
        let late = 63 - RING_LEN as u64;
        ring.insert(base() + ms(13_000), &packet(late, 0, late));
        assert_eq!(ring.find(Seq(late)), None);
        assert_eq!(ring.find(Seq(63)), Some(packet(63, 0, 63)));
    }

    /// Of a history as its codec has it.
    fn patch(sequence: u64, history: u32) -> PayloadPatch {
        let picture_id = (!sequence.is_multiple_of(5)).then_some(sequence as u16);
        let tl0_pic_idx = (!sequence.is_multiple_of(7)).then_some(sequence as u8);
        match history {
            0 => PayloadPatch::None,
            1 | 2 => PayloadPatch::Vp8 {
                picture_id,
                tl0_pic_idx,
            },
            3 => PayloadPatch::Vp9 {
                picture_id,
                tl0_pic_idx,
            },
            _ => {
                let level = Wanted {
                    temporal: 1,
                    spatial: 0,
                };
                PayloadPatch::Av1(frame(sequence as u16).stamp(sequence as u16, level))
            }
        }
    }

    #[test]
    fn a_ring_is_as_long_as_what_may_be_asked_for_again_and_no_longer() {
        let second = Duration::from_secs(1);
        for (rate, length) in [(10, 32), (30, 56), (60, 96), (250, 408), (2_000, 2_048)] {
            let mut ring = Ring::new(SlotId::video(0));
            for n in 0..20 * u64::from(rate) {
                let now = base() + second * n as u32 / rate;
                ring.insert(now, &packet(70_000 + n, 1, n));
                let kept = u64::from(rate * 3 / 2).min(2_048).min(n + 1);
                assert!(
                    (0..kept).all(|back| ring.find(Seq(70_000 + n - back)).is_some()),
                    "{rate}/s, {n}"
                );
            }
            assert_eq!(ring.sent.len(), length, "{rate}/s");
        }
    }

    #[test]
    fn a_ring_that_was_made_for_a_burst_gives_room_back() {
        let mut ring = Ring::new(SlotId::video(0));
        let mut put = |from: u64, to: u64, at: &dyn Fn(u64) -> u64| {
            (from..to).for_each(|n| ring.insert(base() + ms(at(n)), &packet(70_000 + n, 1, n)));
            let newest = ring.find(Seq(70_000 + to - 1));
            (
                ring.sent.len(),
                newest.is_some(),
                ring.find(Seq(70_000 + to - 40)).is_some(),
            )
        };
        let (burst, _, _) = put(0, 1_000, &|n| n); // a thousand within a second
        assert!(burst >= 1_000, "{burst}");
        let (length, newest, kept) = put(1_000, 1_600, &|n| 1_000 + (n - 1_000) * 40); // 25 a second
        assert!(length <= 112 && newest && kept, "{length}");
    }

    #[test]
    fn a_repair_is_remembered_for_its_pause_and_sound_is_not_kept() {
        let mut ring = Ring::new(SlotId::video(3));
        ring.insert(base(), &packet(65_600, 1, 5));
        let again = |ring: &Ring, at| ring.is_resent(base() + ms(at), Seq(65_600), ms(20));
        assert!(!again(&ring, 30) && !ring.note_resent(base(), Seq(65_601)));
        assert!(ring.note_resent(base() + ms(30), Seq(65_600)));
        assert_eq!([30, 49, 50].map(|at| again(&ring, at)), [true, true, false]);
        let mut sound = Ring::new(SlotId::audio(0));
        sound.insert(base(), &packet(65_600, 1, 5));
        assert!(sound.find(Seq(65_600)).is_none() && sound.sent.capacity() == 0);
    }

    proptest! {
        /// Over gaps, packets that were overtaken, and more changes of what is shown than are remembered.
        #[test]
        fn what_is_found_is_what_was_put_and_the_newest_is_found(
            steps in prop::collection::vec((0u64..30, 0u64..9, 0u32..40, 0u64..200), 1..400)
        ) {
            let (mut ring, mut put) = (Ring::new(SlotId::video(0)), BTreeMap::new());
            let (mut now, mut sequence) = (base(), 65_530);
            for (wait, back, history, position) in steps {
                now += ms(wait);
                sequence += u64::from(back < 7) * (1 + back / 6 * 20);
                let numbered = packet(sequence - back / 7 * 3, history / 8, (1 << 33) + position);
                ring.insert(now, &numbered);
                put.insert(numbered.sequence, numbered);
                prop_assert_eq!(ring.find(numbered.sequence), Some(numbered));
                for away in 0..3 * ring.sent.len() as u64 {
                    let near = [Seq(sequence - away), Seq(sequence + away)];
                    prop_assert_eq!(near.map(|near| ring.index(near)), near.map(|near| ring.lap_index(near)));
                }
                for (&sequence, numbered) in &put {
                    prop_assert!(ring.find(sequence).is_none_or(|found| found == *numbered));
                }
            }
        }
    }
}
