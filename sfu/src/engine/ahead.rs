//! Pictures sent again before anybody asks, over long paths that lose packets (`docs/repair.md`).
//!
//! A packet of the base temporal layer that is lost holds up all pictures behind it for as long as a request and its answer take: over a satellite two thirds of a second.
//! So those of the stage go once more a moment later, as RTX (RFC 4588), within what was given for that.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use super::{
    id::SlotId,
    packet::{Forward, Purpose},
    units::Bitrate,
};

/// How long after a packet it goes once more: so far that a short burst of losses does not take both, and nobody sees the picture wait.
const AFTER: Duration = Duration::from_millis(40);
/// What could not go until then (the node was held up) does not go any more: it is asked for.
const TOO_LATE: Duration = Duration::from_millis(200);
/// Packets that wait: more than a key frame of the stage has. Full: the oldest does not go again.
const WAITING_MAX: usize = 128;
/// More goes than was given, in percent: that is a mean, and pictures take more in one second than in another.
const MOST_PERCENT: u64 = 134;
/// What was not used is kept for so long: for a key frame.
const SAVED: Duration = Duration::from_secs(1);

/// What of one endpoint's stage is to go once more.
#[derive(Debug, Default)]
pub struct Ahead {
    /// What may go.
    rate: Bitrate,
    /// Bytes that may go now.
    credit: u64,
    earned: Option<Instant>,
    /// The oldest first.
    waiting: VecDeque<Waiting>,
}

#[derive(Debug, Clone, Copy)]
struct Waiting {
    sent: Instant,
    sequence: u16,
}

impl Ahead {
    /// So much was given from now on; zero: nothing goes, and what waits is forgotten.
    pub fn set(&mut self, given: Bitrate) {
        self.rate = Bitrate::bps(given.as_bps().saturating_mul(MOST_PERCENT) / 100);
        if !self.is_on() {
            *self = Self::default();
        }
    }

    /// Some of what leaves goes again.
    pub fn is_on(&self) -> bool {
        self.rate > Bitrate::ZERO
    }

    /// A packet leaves for the first time.
    pub fn note(&mut self, now: Instant, forward: &Forward) {
        let is_stage = forward.purpose == Purpose::Video && forward.slot == SlotId::video(0);
        if !self.is_on() || !is_stage || !forward.base {
            return;
        }
        if self.waiting.len() >= WAITING_MAX {
            self.waiting.pop_front();
        }
        self.waiting.push_back(Waiting {
            sent: now,
            sequence: forward.header.sequence,
        });
    }

    /// The number of the next packet of the stage that is to go once more now.
    pub fn poll(&mut self, now: Instant) -> Option<u16> {
        while let Some(first) = self.waiting.front().filter(|first| first.sent + AFTER <= now) {
            let (sequence, sent) = (first.sequence, first.sent);
            self.waiting.pop_front();
            if now.saturating_duration_since(sent) <= TOO_LATE {
                return Some(sequence);
            }
        }
        None
    }

    /// May so many bytes on the wire go once more now? Takes them off what was given if so.
    pub fn spend(&mut self, now: Instant, bytes: u16) -> bool {
        let since = |at: Instant| now.saturating_duration_since(at).min(SAVED);
        let earned = self.rate.over(self.earned.map_or(SAVED, since)).as_bytes();
        if earned > 0 {
            self.earned = Some(now); // less than a byte: the time is kept for later
        }
        self.credit = (self.credit + earned).min(self.rate.over(SAVED).as_bytes());
        let left = self.credit.checked_sub(bytes.into());
        self.credit = left.unwrap_or(self.credit);
        left.is_some()
    }

    /// When the next one is due.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.waiting.front().map(|first| first.sent + AFTER)
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{
            id::EndpointId,
            packet::PayloadPatch,
            testing::{base, ms, voice_header},
        },
        *,
    };

    fn packet(sequence: u16) -> Forward {
        Forward {
            to: EndpointId(1),
            slot: SlotId::video(0),
            purpose: Purpose::Video,
            header: voice_header(5, sequence),
            payload: None,
            size: 1_000,
            patch: PayloadPatch::None,
            redundancy: None,
            again: false,
            base: true,
        }
    }

    fn on(kbps: u64) -> Ahead {
        let mut ahead = Ahead::default();
        ahead.set(Bitrate::kbps(kbps));
        ahead
    }

    #[test]
    fn what_the_rest_leans_on_goes_again_a_moment_later_and_nothing_else() {
        let (mut ahead, t0) = (on(100), base());
        let others = [
            Forward {
                base: false,
                ..packet(1)
            },
            Forward {
                slot: SlotId::video(1),
                ..packet(2)
            },
            Forward {
                purpose: Purpose::Repair,
                ..packet(3)
            },
        ];
        others.iter().for_each(|other| ahead.note(t0, other));
        assert_eq!(ahead.poll_timeout(), None);
        ahead.note(t0, &packet(4));
        ahead.note(t0 + ms(10), &packet(5));
        assert_eq!(ahead.poll_timeout(), Some(t0 + AFTER));
        let polled = [39, 40, 41, 50, 51].map(|at| ahead.poll(t0 + ms(at)));
        assert_eq!(polled, [None, Some(4), None, Some(5), None]);
        ahead.note(t0, &packet(6));
        ahead.note(t0 + ms(300), &packet(7));
        assert_eq!(ahead.poll(t0 + ms(340)), Some(7), "the other is too late");
    }

    #[test]
    fn when_it_ends_what_waits_is_forgotten_and_before_it_begins_nothing_waits() {
        let (mut ahead, t0) = (Ahead::default(), base());
        ahead.note(t0, &packet(1));
        assert_eq!(ahead.poll_timeout(), None);
        ahead.set(Bitrate::kbps(100));
        ahead.note(t0, &packet(2));
        ahead.set(Bitrate::kbps(50));
        assert!(ahead.poll_timeout().is_some());
        ahead.set(Bitrate::ZERO);
        assert_eq!((ahead.poll_timeout(), ahead.poll(t0 + ms(100))), (None, None));
    }

    #[test]
    fn it_stays_within_what_was_given_and_saves_up_a_second_of_it() {
        let (mut ahead, t0) = (on(60), base()); // ten packets a second and some bytes
        let spent = |ahead: &mut Ahead, at| (0..100).filter(|_| ahead.spend(at, 1_000)).count();
        assert_eq!(spent(&mut ahead, t0), 10);
        assert_eq!(spent(&mut ahead, t0 + ms(60_000)), 10);
        // Asked every tenth of a millisecond, each worth a byte.
        let all = (0..20_000).filter(|tenth| ahead.spend(t0 + ms(60_000) + ms(1) * *tenth / 10, 1_000));
        assert_eq!(all.count(), 20);
        ahead.set(Bitrate::kbps(7));
        assert_eq!(spent(&mut ahead, t0 + ms(70_000)), 1);
    }

    #[test]
    fn what_waits_is_bounded() {
        let (mut ahead, t0) = (on(100), base());
        (0..1_000).for_each(|sequence| ahead.note(t0, &packet(sequence)));
        let out: Vec<u16> = std::iter::from_fn(|| ahead.poll(t0 + AFTER)).collect();
        assert_eq!(out, (1_000 - WAITING_MAX as u16..1_000).collect::<Vec<_>>());
    }
}
