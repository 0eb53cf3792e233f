//! Redundancy of sound, made anew for each slot (RFC 2198; `docs/speakers.md`).
//!
//! A packet of a slot carries copies of two or three of the slot's own former packets, spaced so that a burst of losses rarely takes
//! a packet and all its copies. They are always of the same stretch: after a change of voice nothing of the former
//! speaker comes again. Payloads stay where they are; what is made here is only which of them go along.

use std::{
    num::NonZeroU16,
    time::{Duration, Instant},
};

use super::{history::PacketRef, seq::Seq};
use crate::wire::red::{self, Block, HEADER_LEN, LENGTH_MAX, OFFSET_MAX, PRIMARY_HEADER_LEN};

/// Which former packets go along where there are two copies, in packets back, the oldest first. Of each row the first that is there.
const BACK: [&[u64]; 3] = [&[9, 5], &[], &[3]];
/// The same for three copies, which are nearer: losses are so heavy that a receiver's buffer must grow at once.
const BACK_THREE: [&[u64]; 3] = [&[7], &[5], &[3]];
/// The same of long packets: as far back in time. What is older than 200 ms comes too late to be played, and nine back would not fit the offset's 14 bits.
const BACK_LONG: [&[u64]; 3] = [&[3], &[], &[1]];
const BACK_LONG_THREE: [&[u64]; 3] = [&[3], &[2], &[1]];
/// Packets are long from 40 ms on, in ticks.
const LONG: u64 = 40 * 48;
/// Longest payload with its redundancy: above it blocks are left out, the farther one first.
const PAYLOAD_MAX: usize = 1_200;
/// Packets remembered: more than the farthest that is looked for. A power of two.
const RECENT: usize = 16;

/// Former packets that go along with one, as seen from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Redundancy {
    /// Of all blocks, the primary included.
    payload_type: u8,
    /// The oldest first.
    older: [Option<Older>; BACK.len()],
    /// Bytes it adds to the payload.
    pub extra: u16,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Older {
    /// Places back in the history of the primary.
    back: NonZeroU16,
    /// RTP time back.
    offset: u16,
}

impl Redundancy {
    /// Writes the RED payload of a packet whose own payload is `primary`, kept at `at`. `find` gives what is kept elsewhere in
    /// the same history; what is gone is left out. Returns the length; none if `out` is too short.
    pub fn write<'p>(
        &self,
        at: PacketRef,
        primary: &'p [u8],
        find: impl Fn(PacketRef) -> Option<&'p [u8]>,
        out: &mut [u8],
    ) -> Option<usize> {
        let block = |offset, payload| Block {
            payload_type: self.payload_type,
            offset,
            payload,
        };
        let mut blocks = [Block::default(); BACK.len()];
        let mut count = 0;
        for older in self.older.iter().flatten() {
            let position = at.position.checked_sub(older.back.get().into());
            let found = position.and_then(|position| find(PacketRef { position, ..at }));
            if let Some(payload) = found {
                blocks[count] = block(older.offset, payload);
                count += 1;
            }
        }
        red::write(&blocks[..count], &block(0, primary), out)
    }
}

/// What a slot of sound sent last in the present stretch.
#[derive(Debug)]
pub struct Recent {
    /// Payload type of RED; none if the receiver does not take it. Then nothing is remembered.
    payload_type: Option<u8>,
    copies: u8,
    /// As many as are remembered, where any are.
    packets: Box<[Option<Piece>]>,
}

/// A packet with its place in the slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece {
    /// Number in the slot.
    pub sequence: Seq,
    /// RTP time in the slot, as on the wire.
    pub timestamp: u32,
    /// What it is encoded as.
    pub payload_type: u8,
    /// Place in the history of the stretch's source.
    pub position: u64,
    /// Bytes of payload.
    pub size: u16,
}

impl Recent {
    /// Of a slot that has sent nothing. `payload_type` is that of RED, where the receiver takes it.
    pub fn new(payload_type: Option<u8>) -> Self {
        Self {
            payload_type,
            copies: 0,
            packets: vec![None; payload_type.map_or(0, |_| RECENT)].into_boxed_slice(),
        }
    }

    /// From now on packets carry so many copies of former ones: none, two, or three. Without effect where the receiver does not take it.
    pub fn set(&mut self, copies: u8) {
        self.copies = if self.payload_type.is_some() { copies } else { 0 };
    }

    /// The receiver takes it.
    pub fn is_possible(&self) -> bool {
        self.payload_type.is_some()
    }

    /// Whether packets carry redundancy.
    pub fn is_on(&self) -> bool {
        self.copies > 0
    }

    /// Another stretch begins: nothing of the former one goes along any more.
    pub fn begin(&mut self) {
        self.packets.fill(None);
    }

    /// Remembers a packet of the stretch. Also one that came too late to be sent: it can still go along with others.
    pub fn note(&mut self, piece: Piece) {
        if let Some(place) = self.packets.get_mut(index(piece.sequence.0)) {
            *place = Some(piece);
        }
    }

    /// What goes along with a packet of the stretch, and the payload type it then has. None when redundancy is off, or there
    /// is nothing yet.
    pub fn of(&self, piece: &Piece) -> Option<(u8, Redundancy)> {
        let red = self.payload_type.filter(|_| self.copies > 0)?;
        let mut older = [None; BACK.len()];
        let mut size = PRIMARY_HEADER_LEN + usize::from(piece.size);
        let rows = match (self.is_long(piece), self.copies > 2) {
            (false, false) => BACK,
            (false, true) => BACK_THREE,
            (true, false) => BACK_LONG,
            (true, true) => BACK_LONG_THREE,
        };
        for (place, row) in older.iter_mut().zip(rows).rev() {
            let found = row.iter().find_map(|&back| self.back(piece, back));
            let fits = |&(_, length): &(Older, usize)| size + HEADER_LEN + length <= PAYLOAD_MAX;
            if let Some((block, length)) = found.filter(fits) {
                *place = Some(block);
                size += HEADER_LEN + length;
            }
        }
        older.iter().any(Option::is_some).then(|| {
            let redundancy = Redundancy {
                payload_type: piece.payload_type,
                older,
                extra: (size - usize::from(piece.size)) as u16,
            };
            (red, redundancy)
        })
    }

    /// By the distance to the nearest packet before it.
    fn is_long(&self, piece: &Piece) -> bool {
        let step = |back: u64| Some(u64::from(self.back(piece, back)?.0.offset) / back);
        (1..=3).find_map(step).is_some_and(|step| step >= LONG)
    }

    /// The packet so many numbers back, if it can be named as a block of `piece`.
    fn back(&self, piece: &Piece, back: u64) -> Option<(Older, usize)> {
        let sequence = Seq(piece.sequence.0.checked_sub(back)?);
        let former = self.packets.get(index(sequence.0)).copied().flatten()?;
        if former.sequence != sequence {
            return None;
        }
        let offset = u16::try_from(piece.timestamp.wrapping_sub(former.timestamp)).ok()?;
        let length = usize::from(former.size);
        let places = u16::try_from(piece.position.checked_sub(former.position)?).ok()?;
        let named = (1..=OFFSET_MAX).contains(&offset)
            && length <= LENGTH_MAX
            && former.payload_type == piece.payload_type;
        let older = Older {
            back: NonZeroU16::new(places)?,
            offset,
        };
        named.then_some((older, length))
    }
}

fn index(sequence: u64) -> usize {
    (sequence % RECENT as u64) as usize
}

/// Whether a path needs redundancy, from what it loses.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Need {
    on: bool,
    heavy: bool,
    lost: u64,
    all: u64,
    since: Option<Instant>,
    calm: Option<Instant>,
    /// When it ended last while nobody could see whether there still was need.
    ended: Option<Instant>,
    /// How often it ended so and was wrong: each time it stays twice as long.
    wrong: u32,
}

/// Loss is looked at over so long and so many packets at least.
const SPAN: Duration = Duration::from_secs(1);
const PACKETS_MIN: u64 = 25;
/// Loss that is heavy is seen sooner.
const SOON: Duration = Duration::from_millis(300);
/// From 15 % on it is heavy: a third copy is worth its room. In 1/256; until half of it.
const LOSS_HEAVY: u64 = 38;
/// In-band FEC and concealment hide single losses: redundancy begins at 3 %, in 1/256.
const LOSS_ON: u64 = 8;
/// ... and ends when there was less than 1 % for so long, so that it does not come and go with each burst.
const LOSS_OFF: u64 = 3;
const CALM: Duration = Duration::from_secs(10);
/// An end was wrong if the need begins again within so many times that.
const CALM_WRONG: u32 = 2;
/// It stays at most 2 to that as long.
const WRONG_MAX: u32 = 4;

impl Need {
    /// Of `all` packets more `lost` were lost. `is_hidden`: what was lost and came again does not count as lost, so that calm tells nothing. True if the
    /// need began or ended.
    pub fn note(&mut self, now: Instant, lost: u64, all: u64, is_hidden: bool) -> bool {
        self.lost += lost.min(all);
        self.all += all;
        let since = *self.since.get_or_insert(now);
        if self.all < PACKETS_MIN {
            return false;
        }
        let share = self.lost * 256 / self.all;
        let span = if share >= LOSS_HEAVY { SOON } else { SPAN };
        if now.saturating_duration_since(since) < span {
            return false;
        }
        (self.lost, self.all, self.since) = (0, 0, Some(now));
        if share >= LOSS_OFF {
            self.calm = None;
        }
        let calm = *self.calm.get_or_insert(now);
        let on = if self.on {
            let patience = if is_hidden { CALM * (1 << self.wrong) } else { CALM };
            share >= LOSS_OFF || now.saturating_duration_since(calm) < patience
        } else {
            share >= LOSS_ON
        };
        let heavy = on && (share >= LOSS_HEAVY || self.heavy && (is_hidden || share >= LOSS_HEAVY / 2));
        let was = (self.on, self.heavy);
        (self.on, self.heavy) = (on, heavy);
        self.learn(now, was.0, is_hidden);
        was != (on, heavy)
    }

    /// From ends that were wrong.
    fn learn(&mut self, now: Instant, was: bool, is_hidden: bool) {
        match (was, self.on) {
            (true, false) => self.ended = is_hidden.then_some(now),
            (false, true) => {
                let since = self.ended.map(|ended| now.saturating_duration_since(ended));
                let is_wrong = since.is_some_and(|since| since < CALM * CALM_WRONG);
                self.wrong = if is_wrong {
                    (self.wrong + 1).min(WRONG_MAX)
                } else {
                    0
                };
            }
            _ => {}
        }
    }

    /// Losses are so heavy that two copies leave holes.
    pub fn is_heavy(&self) -> bool {
        self.heavy
    }

    /// Whether there is need.
    pub fn is_on(&self) -> bool {
        self.on
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{
        super::testing::{base, ms},
        *,
    };
    use crate::wire::red::Red;

    const OPUS: u8 = 111;
    const RED: u8 = 63;

    fn piece(n: u64, step: u32, size: u16) -> Piece {
        Piece {
            sequence: Seq(1_000 + n),
            timestamp: (u32::MAX - 5_000).wrapping_add(n as u32 * step),
            payload_type: OPUS,
            position: 70_000 + n,
            size,
        }
    }

    fn run(count: u64, step: u32, size: u16) -> Recent {
        let mut recent = Recent::new(Some(RED));
        recent.set(2);
        (0..count).for_each(|n| recent.note(piece(n, step, size)));
        recent
    }

    /// (offset, first byte) of the blocks written, each payload being full of its own number.
    fn blocks(recent: &Recent, piece: &Piece) -> Vec<(u16, u8)> {
        let Some((payload_type, redundancy)) = recent.of(piece) else {
            return Vec::new();
        };
        let history: Vec<Vec<u8>> = (0..256).map(|n| vec![n as u8; piece.size.into()]).collect();
        let at = PacketRef {
            history: 5,
            position: piece.position,
        };
        let find = |at: PacketRef| history.get(at.position as usize - 70_000).map(Vec::as_slice);
        let mut out = [0; PAYLOAD_MAX];
        let primary = find(at).expect("kept");
        let length = redundancy.write(at, primary, find, &mut out).expect("fits");
        assert_eq!(length, usize::from(piece.size + redundancy.extra));
        let red = Red::parse(&out[..length]).expect("RED");
        assert_eq!((payload_type, red.primary().payload), (RED, primary));
        let blocks = red.redundant().iter();
        blocks.map(|b| (b.offset, b.payload[0])).collect()
    }

    #[test]
    fn the_third_and_the_ninth_packet_back_go_along_the_oldest_first() {
        let recent = run(12, 960, 40);
        assert_eq!(blocks(&recent, &piece(12, 960, 40)), [(8_640, 3), (2_880, 9)]);
        assert_eq!(blocks(&run(4, 960, 40), &piece(4, 960, 40)), [(2_880, 1)]);
        assert_eq!(blocks(&run(2, 960, 40), &piece(2, 960, 40)), []);
        // Of 60 ms the first and the third, which are as far back in time.
        let recent = run(12, 2_880, 40);
        assert_eq!(blocks(&recent, &piece(12, 2_880, 40)), [(8_640, 9), (2_880, 11)]);
        // After a pause of a second nothing near enough is left.
        let late = Piece {
            timestamp: piece(12, 960, 40).timestamp.wrapping_add(48_000),
            ..piece(12, 960, 40)
        };
        assert_eq!(blocks(&run(12, 960, 40), &late), []);
    }

    #[test]
    fn nothing_goes_along_when_off_not_taken_too_large_or_of_another_stretch() {
        let next = piece(12, 960, 40);
        let mut recent = run(12, 960, 40);
        recent.set(0);
        assert_eq!(recent.of(&next), None);
        recent.set(2);
        assert!(recent.of(&next).is_some());
        recent.begin();
        assert_eq!(recent.of(&next), None);
        let mut without = Recent::new(None);
        without.set(2);
        (0..12).for_each(|n| without.note(piece(n, 960, 40)));
        assert!(!without.is_on() && without.of(&next).is_none());
        assert_eq!(blocks(&run(12, 960, 500), &piece(12, 960, 500)), [(2_880, 9)]);
        assert_eq!(blocks(&run(12, 960, 700), &piece(12, 960, 700)), []);
    }

    #[test]
    fn a_third_copy_lies_between_the_others_which_are_nearer_then() {
        let mut recent = run(12, 960, 40);
        recent.set(3);
        assert_eq!(
            blocks(&recent, &piece(12, 960, 40)),
            [(6_720, 5), (4_800, 7), (2_880, 9)]
        );
        // Of 60 ms the three before.
        let mut recent = run(12, 2_880, 40);
        recent.set(3);
        assert_eq!(
            blocks(&recent, &piece(12, 2_880, 40)),
            [(8_640, 9), (5_760, 10), (2_880, 11)]
        );
    }

    #[test]
    fn heavy_loss_is_seen_within_a_third_of_a_second() {
        let (t0, mut need) = (base(), Need::default());
        let seen = (0..20u64).find(|tenth| need.note(t0 + ms(tenth * 100), 3, 10, false));
        assert_eq!((seen, need.is_on(), need.is_heavy()), (Some(3), true, true));
        // A tenth is still heavy once it was; less is not.
        let changed = (20..100u64).find(|tenth| need.note(t0 + ms(tenth * 100), 1, 10, false));
        assert_eq!((changed, need.is_heavy()), (None, true));
        let changed = (100..120u64).find(|tenth| need.note(t0 + ms(tenth * 100), 1, 20, false));
        assert!(changed.is_some() && need.is_on() && !need.is_heavy());
    }

    #[test]
    fn the_need_begins_with_a_second_of_loss_and_ends_after_ten_without() {
        let (t0, mut need) = (base(), Need::default());
        let mut changes = Vec::new();
        for second in 0..40u64 {
            let lost = if (5..8).contains(&second) { 4 } else { 0 };
            for tenth in 0..10u64 {
                if need.note(
                    t0 + ms(second * 1_000 + tenth * 100),
                    u64::from(tenth < lost),
                    5,
                    false,
                ) {
                    changes.push((second, need.is_on()));
                }
            }
        }
        assert!(
            matches!(changes[..], [(5..=6, true), (17..=19, false)]),
            "{changes:?}"
        );
    }

    #[test]
    fn where_repeats_hide_what_is_lost_the_need_stays_longer_each_time_that_its_end_was_wrong() {
        let (mut need, mut began, mut stretches) = (Need::default(), 0, Vec::new());
        for tenth in 0..6_000 {
            let was = need.is_on();
            need.note(base() + ms(100 * tenth), if was { 0 } else { 2 }, 10, was);
            assert_eq!(need.is_heavy(), need.is_on());
            match (was, need.is_on()) {
                (false, true) => began = tenth,
                (true, false) => stretches.push((tenth - began) / 10),
                _ => {}
            }
        }
        let rounded: Vec<u64> = stretches.iter().map(|seconds| seconds / 10 * 10).collect();
        assert_eq!(rounded, [10, 20, 40, 80, 160, 160], "{stretches:?}");
    }

    proptest! {
        #[test]
        fn any_holes_and_pauses_make_blocks_that_say_the_truth(
            copies in 2u8..4, steps in prop::collection::vec((1u64..4, 1u32..30_000, 1u16..1_200), 1..60)
        ) {
            let mut recent = Recent::new(Some(RED));
            recent.set(copies);
            let (mut n, mut time) = (0, 0);
            let mut all: Vec<Piece> = Vec::new();
            for (gap, ticks, size) in steps {
                n += gap;
                time += ticks * gap as u32;
                let piece = Piece { timestamp: time, ..piece(n, 0, size) };
                if let Some((_, redundancy)) = recent.of(&piece) {
                    let mut extra = 1;
                    for older in redundancy.older.iter().flatten() {
                        let former = all.iter().find(|p| p.position + u64::from(older.back.get()) == piece.position);
                        let former = former.expect("one that was noted");
                        prop_assert_eq!(time - former.timestamp, u32::from(older.offset));
                        prop_assert!((1..=OFFSET_MAX).contains(&older.offset));
                        extra += 4 + former.size;
                    }
                    prop_assert_eq!(redundancy.extra, extra);
                    prop_assert!(usize::from(size + extra) <= PAYLOAD_MAX);
                }
                recent.note(piece);
                all.push(piece);
            }
        }
    }
}
