//! What was sent to an endpoint under which transport-wide number, and what its feedback says of it
//! (draft-holmer-rmcat-transport-wide-cc-extensions-01).

use std::{collections::VecDeque, num::NonZeroU8};

use super::Micros;
use crate::{
    engine::seq::Seq,
    wire::rtcp::{TICK_MICROS, TransportFeedback},
};

/// Two seconds of 1,000 packets a second; feedback comes ten times a second. The oldest number is forgotten first: what
/// is told of it later counts as unknown.
const SENT_PACKETS: usize = 2_048;
/// What was sent so long before the newest is forgotten too: no round trip is as long.
const AGE_MAX: Micros = 10_000_000;
/// What was sent so long before it is forgotten when later ones were told: no correction comes so late.
const TOLD_AGE_MAX: Micros = 3_000_000;
/// Where the log has room for so many times what it holds, it gives room back: it was long while nothing was told.
const ROOM_MAX: usize = 8;
/// Packets between two looks at the oldest, which lies elsewhere in memory than the newest.
const FORGOTTEN_EVERY: u64 = 16;
/// That much room is kept in any case.
const ROOM_MIN: usize = 128;
/// Probes that are told apart: more than there are in that time.
const PROBES: u32 = 255;
/// Bits of the reference time of a feedback packet.
const REFERENCE_BITS: u32 = 24;
/// Ticks of a unit of the reference time: 64 ms.
const REFERENCE_TICKS: i64 = 256;
/// Two thousand years of units of 64 ms.
const REFERENCE_MAX: i64 = 1 << 40;

/// What feedback said of all packets so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PathLoss {
    /// Arrived, as the first that was said of them.
    pub arrived: u64,
    /// Said to be missing at first.
    pub lost: u64,
    /// Of those, arrived after all.
    pub late: u64,
    /// Numbers that were never given, or are forgotten.
    pub unknown: u64,
}

/// Names one probe of one endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProbeId(pub u32);

/// A packet of which feedback said something new.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Report {
    pub(super) number: Seq,
    /// On the node's clock.
    pub(super) sent: Micros,
    /// On the wire.
    pub(super) bytes: u16,
    pub(super) probe: Option<ProbeId>,
    pub(super) news: News,
}

/// What is new about a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum News {
    /// It arrived, at that time of the receiver's clock.
    Arrived(Micros),
    /// It was told as lost and arrived after all, at that time of the receiver's clock.
    Late(Micros),
    /// It is told as lost.
    Lost,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Unknown,
    Arrived,
    Lost,
}

/// Every endpoint has thousands of them, so of time and probe there is only what tells them apart within [`AGE_MAX`].
#[derive(Debug, Clone, Copy)]
struct SentPacket {
    at: u32,
    bytes: u16,
    /// One and the probe's number modulo [`PROBES`].
    probe: Option<NonZeroU8>,
    fate: Fate,
}

const _: () = assert!(size_of::<SentPacket>() == 8);

/// The numbers given to one endpoint, the last [`SENT_PACKETS`] with what became of them. Those told as arrived, of which nothing new can be
/// said, are given up from the oldest on: where nothing is lost there are as many as are on their way, and [`FORGOTTEN_EVERY`] more.
#[derive(Debug)]
pub(super) struct SentLog {
    next: Seq,
    /// When the newest was sent, and the last probe that any was part of.
    newest: Micros,
    probe: ProbeId,
    packets: VecDeque<SentPacket>,
    /// From this number up to the packets all were told as arrived.
    settled: Seq,
    loss: PathLoss,
    /// Reference time of the last feedback, unwrapped.
    reference: Option<i64>,
    /// The number after the greatest one told.
    untold: Option<Seq>,
    /// Bytes of numbers that feedback passed over, until they are taken.
    passed_over: u64,
}

impl SentLog {
    pub(super) fn new() -> Self {
        Self {
            next: Seq::first(0),
            newest: 0,
            probe: ProbeId(0),
            packets: VecDeque::new(),
            settled: Seq::first(0),
            loss: PathLoss::default(),
            reference: None,
            untold: None,
            passed_over: 0,
        }
    }

    /// The number of a packet that goes out now.
    pub(super) fn number(&mut self, at: Micros, bytes: u16, probe: Option<ProbeId>) -> u16 {
        let number = self.next;
        self.next = Seq(number.0 + 1);
        self.newest = self.newest.max(at);
        self.probe = probe.unwrap_or(self.probe);
        if number.0.is_multiple_of(FORGOTTEN_EVERY) || self.packets.len() == SENT_PACKETS {
            self.forget();
        }
        self.packets.push_back(SentPacket {
            at: self.newest as u32,
            bytes,
            probe: probe.and_then(|probe| NonZeroU8::new((probe.0 % PROBES + 1) as u8)),
            fate: Fate::Unknown,
        });
        number.wire()
    }

    /// Gives up what nothing new can be said of, or what is too old to be spoken of.
    fn forget(&mut self) {
        while let Some(first) = self.packets.front() {
            let age = self.newest - self.time(first);
            let number = self.next.0 - 1 - self.packets.len() as u64;
            let is_told = self.untold.is_some_and(|untold| number < untold.0);
            let age_max = if is_told { TOLD_AGE_MAX } else { AGE_MAX };
            let is_old = self.packets.len() == SENT_PACKETS || age > age_max;
            let is_settled = first.fate == Fate::Arrived;
            if !is_old && !is_settled {
                break;
            }
            self.packets.pop_front();
            if !is_settled {
                self.settled = Seq(number + 1);
            }
        }
        if self.packets.capacity() > ROOM_MIN.max(ROOM_MAX * self.packets.len()) {
            self.packets.shrink_to(ROOM_MIN.max(2 * self.packets.len()));
        }
    }

    /// When it was sent.
    fn time(&self, packet: &SentPacket) -> Micros {
        self.newest - Micros::from((self.newest as u32).wrapping_sub(packet.at))
    }

    /// The probe that it was part of: the last one that is told like it.
    fn probe(&self, packet: &SentPacket) -> Option<ProbeId> {
        let low = u32::from(packet.probe?.get()) - 1;
        let back = (self.probe.0 % PROBES + PROBES - low) % PROBES;
        self.probe.0.checked_sub(back).map(ProbeId)
    }

    pub(super) fn loss(&self) -> PathLoss {
        self.loss
    }

    /// The number that those 16 bits stand for.
    pub(super) fn number_of(&self, wire: u16) -> Seq {
        self.next.nearest(wire)
    }

    /// It is told to have arrived.
    pub(super) fn is_there(&self, wire: u16) -> bool {
        let number = self.next.nearest(wire);
        let oldest = self.oldest();
        if number.0 < oldest {
            return self.is_settled(number);
        }
        let packet = self.packets.get((number.0 - oldest) as usize);
        packet.is_some_and(|packet| packet.fate == Fate::Arrived)
    }

    /// The oldest number that is remembered.
    fn oldest(&self) -> u64 {
        self.next.0 - self.packets.len() as u64
    }

    /// It is given up because it was told as arrived.
    fn is_settled(&self, number: Seq) -> bool {
        let settled = self
            .settled
            .0
            .max(self.next.0.saturating_sub(SENT_PACKETS as u64));
        (settled..self.oldest()).contains(&number.0)
    }

    /// A number that was told to have arrived was lost the first time that it went out.
    pub(super) fn lost_at_first(&mut self) {
        self.loss.arrived = self.loss.arrived.saturating_sub(1);
        self.loss.lost += 1;
        self.loss.late += 1;
    }

    /// Reads at most `statuses` of a feedback and appends what is new, in order of the numbers; returns how many were
    /// read. A number that was never given, or is forgotten, is counted and changes nothing.
    pub(super) fn read(
        &mut self,
        feedback: &TransportFeedback<'_>,
        statuses: usize,
        news: &mut Vec<Report>,
    ) -> usize {
        let mut ticks = self
            .reference(feedback.reference_time)
            .wrapping_mul(REFERENCE_TICKS);
        let mut read = 0;
        for (number, delta) in feedback.statuses().take(statuses) {
            read += 1;
            if let Some(delta) = delta {
                ticks = ticks.wrapping_add(delta.into());
            }
            let arrival = delta.map(|_| ticks.wrapping_mul(TICK_MICROS.cast_signed()));
            news.extend(self.told(number, arrival));
        }
        read
    }

    /// The reference time nearest to the last one.
    fn reference(&mut self, wire: i32) -> i64 {
        let shift = 64 - REFERENCE_BITS;
        let last = self.reference.unwrap_or_else(|| wire.into());
        let ahead = (i64::from(wire).wrapping_sub(last) << shift) >> shift;
        let reference = last.wrapping_add(ahead);
        // Only one that lies gets there: it begins anew, so that differences of times always fit.
        let reference = if reference.abs() < REFERENCE_MAX {
            reference
        } else {
            wire.into()
        };
        self.reference = Some(reference);
        reference
    }

    /// Bytes of the packets since the last call that no feedback spoke of, though it spoke of later ones: a feedback was
    /// lost, and what it would have said is not known.
    pub(super) fn take_passed_over(&mut self) -> u64 {
        std::mem::take(&mut self.passed_over)
    }

    /// A number is told: those between it and the greatest one before are passed over.
    fn pass_over(&mut self, number: Seq, oldest: u64) {
        if let Some(untold) = self.untold.filter(|untold| untold.0 < number.0) {
            let from = untold.0.max(oldest).min(number.0) - oldest;
            let between = self.packets.range(from as usize..(number.0 - oldest) as usize);
            self.passed_over += between.map(|packet| u64::from(packet.bytes)).sum::<u64>();
        }
        self.untold = self.untold.max(Some(Seq(number.0 + 1)));
    }

    fn told(&mut self, wire: u16, arrival: Option<Micros>) -> Option<Report> {
        let number = self.next.nearest(wire);
        let oldest = self.oldest();
        if !(oldest..self.next.0).contains(&number.0) {
            self.loss.unknown += u64::from(!self.is_settled(number));
            return None;
        }
        self.pass_over(number, oldest);
        let entry = self.packets.get_mut((number.0 - oldest) as usize)?;
        let news = match (entry.fate, arrival) {
            (Fate::Arrived, _) | (Fate::Lost, None) => return None,
            (Fate::Unknown, Some(at)) => {
                self.loss.arrived += 1;
                News::Arrived(at)
            }
            (Fate::Unknown, None) => {
                self.loss.lost += 1;
                News::Lost
            }
            (Fate::Lost, Some(at)) => {
                self.loss.late += 1;
                News::Late(at)
            }
        };
        entry.fate = if arrival.is_some() {
            Fate::Arrived
        } else {
            Fate::Lost
        };
        let packet = *entry;
        Some(Report {
            number,
            sent: self.time(&packet),
            bytes: packet.bytes,
            probe: self.probe(&packet),
            news,
        })
    }
}
