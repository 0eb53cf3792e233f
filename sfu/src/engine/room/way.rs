//! The way to one endpoint: what it carries, when packets leave, and the bursts that find out whether it carries more.

use std::time::{Duration, Instant};

use super::super::{
    bottleneck::Waits,
    bwe::{Estimator, EstimatorState, PathLoss, Probe, ProbeId, Sent},
    id::Ssrc,
    pacer::{Class, Headroom, Pacer, Passes},
    packet::{Forward, Purpose, soonest},
    units::Bitrate,
};
use crate::wire::rtcp::TransportFeedback;

/// Estimate, queue and probe of one endpoint.
#[derive(Debug)]
#[repr(C)] // what each packet asks lies together
pub(super) struct Way {
    /// Id of the transport-wide number's extension.
    transport: Option<u8>,
    /// See [`Way::take_sooner`].
    sooner: bool,
    /// The estimate that was planned with last.
    planned: Bitrate,
    probe: Option<Running>,
    /// With the size of each packet on the wire.
    pacer: Pacer<(Forward, u16)>,
    estimator: Estimator,
    share: Option<Share>,
    /// How long packets waited lately.
    waits: Waits,
}

/// Its part of the thinnest line that it shares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Share {
    /// Pictures leave no faster.
    pub(super) pace: Bitrate,
    /// More than that is not probed for: the line has no room for it.
    pub(super) most: Bitrate,
    /// The line is planned for.
    pub(super) is_planned: bool,
    /// Ways that found out that they share it, if it is not.
    pub(super) sharers: usize,
}

/// What a way carries differs from what was planned with by more than an estimate breathes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    /// It is to be acted on at once.
    Fell,
    /// It is to be acted on soon.
    Rose,
}

/// See [`Change`]: below and above these shares of what was planned with, in percent.
const FELL_PERCENT: u64 = 95;
const ROSE_PERCENT: u64 = 105;

/// A probe that is being sent.
#[derive(Debug, Clone, Copy)]
struct Running {
    id: ProbeId,
    rate: Bitrate,
    begun: Instant,
    bytes: u64,
    bytes_min: u64,
    packets: u32,
    packets_min: u32,
    is_first: bool,
}

/// Bytes around a payload on the wire: IP and UDP (28), RTP header with CSRC and extensions, SRTP tag (16).
pub(super) const WIRE_OVERHEAD: u16 = 28 + 36 + 16;
/// Bytes of padding in a packet (RFC 3550 §5.1: the last byte counts them).
const PADDING: u8 = 255;
/// A probe that could not be sent by then is given up.
const PROBE_TIME: Duration = Duration::from_millis(200);
/// A wait that is more than jitter.
const QUEUEING: Duration = Duration::from_millis(40);
/// A wait that is more than one picture sent a little too fast.
const QUEUE_LONG: Duration = Duration::from_millis(60);
/// See [`Way::breath`].
const OPEN_PERCENT: u64 = 50;
/// Padding goes out so often.
const PROBE_TURN: Duration = Duration::from_millis(1);

impl Way {
    /// To an endpoint just joined, taken to carry `start`.
    pub(super) fn new(now: Instant, start: Bitrate, transport: Option<u8>) -> Self {
        let estimator = Estimator::starting_at(now, start);
        Self {
            pacer: Pacer::new(now, estimator.target()),
            planned: estimator.target(),
            estimator,
            probe: None,
            share: None,
            waits: Waits::new(),
            transport,
            sooner: false,
        }
    }

    /// True if the packet may go now, as it is then; else it waits for [`Self::poll`].
    pub(super) fn pace(&mut self, now: Instant, class: Class, forward: &mut Forward, size: u16) -> bool {
        let (stream, bytes) = (forward.header.ssrc.0, size.saturating_add(WIRE_OVERHEAD));
        match self.pacer.passes(now, class, stream, bytes) {
            Passes::Now => self.depart(now, forward, bytes),
            Passes::Behind(place) => {
                self.pacer.wait(now, place, stream, bytes, (*forward, bytes));
                self.sooner = true;
                return false;
            }
        }
        true
    }

    /// The next packet whose time to go has come. What waits while a probe is sent goes out as part of it, at its rate: more slowly it
    /// would show nothing but the pace that it was sent at.
    pub(super) fn poll(&mut self, now: Instant) -> Option<Forward> {
        let is_owed = self
            .probe
            .is_some_and(|probe| probe.is_first && probe.is_owed(now));
        let next = match is_owed {
            true => self.pacer.take(),
            false => self.pacer.poll(now),
        };
        let (mut forward, bytes) = next?;
        self.depart(now, &mut forward, bytes);
        Some(forward)
    }

    /// What waits of a stream is not wanted any more: how many packets that was.
    pub(super) fn forget(&mut self, stream: Ssrc) -> usize {
        self.pacer.forget(stream.0)
    }

    /// A picture that begins now would wait too long.
    pub(super) fn is_full(&self) -> bool {
        self.pacer.is_full()
    }

    /// The same if what waits of that stream were not there.
    pub(super) fn is_full_without(&self, stream: Ssrc) -> bool {
        self.pacer.is_full_without(stream.0)
    }

    /// A queue grows or stands on the way, or here before it.
    pub(super) fn is_congested(&self) -> bool {
        self.is_queueing() || !self.pacer.is_empty()
    }

    /// Packets wait on the way.
    pub(super) fn is_queueing(&self) -> bool {
        self.estimator.is_congested() || self.is_waiting()
    }

    /// The same by what was measured alone, whatever losses pass for.
    pub(super) fn is_waiting(&self) -> bool {
        self.estimator.wait() > QUEUEING
    }

    /// Something is told of what is sent.
    pub(super) fn is_heard(&self) -> bool {
        self.estimator.is_heard()
    }

    /// Its round trip is that of a satellite.
    pub(super) fn is_long(&self) -> bool {
        self.estimator.is_long()
    }

    /// So many packets with so many bytes of payload may go together, behind what waits: what they add up to takes no longer than that.
    pub(super) fn takes(&self, packets: usize, payload: u64, within: Duration) -> bool {
        let around = u64::from(WIRE_OVERHEAD) * u64::try_from(packets).unwrap_or(u64::MAX >> 16);
        self.pacer.takes_within(payload + around, within)
    }

    /// The transport's number is given when a packet leaves, if it has one. While a probe runs all have.
    fn depart(&mut self, now: Instant, forward: &mut Forward, bytes: u16) {
        let kind = match (forward.purpose, self.probe) {
            (Purpose::Padding, Some(probe)) => Sent::Padding(probe.id),
            (_, Some(probe)) => Sent::Probing(probe.id),
            (Purpose::Repair, None) => Sent::Repair,
            (_, None) => Sent::Media,
        };
        if !self.estimator.wants_number(now, kind) {
            self.estimator.handle_unnumbered(now, bytes);
            return;
        }
        let number = self.estimator.handle_sent(now, bytes, kind);
        self.sooner |= self.probe.is_some() || self.estimator.is_unheard();
        forward.header.transport_sequence = self.transport.map(|id| (id, number));
        if let Some(probe) = &mut self.probe {
            probe.bytes += u64::from(bytes);
            probe.packets += 1;
            if probe.bytes >= probe.bytes_min && probe.packets >= probe.packets_min {
                self.probe = None;
            }
        }
    }

    /// Sound that went out before goes out once more, with the number that it had.
    pub(super) fn depart_again(&mut self, now: Instant, forward: &Forward) {
        let bytes = forward.size.saturating_add(WIRE_OVERHEAD);
        self.pacer.spend(bytes);
        let number = forward.header.transport_sequence.map(|(_, number)| number);
        self.estimator.handle_repeated(now, number, bytes);
    }

    /// The receiver has told that it has that packet.
    pub(super) fn is_there(&self, forward: &Forward) -> bool {
        let number = forward.header.transport_sequence;
        number.is_some_and(|(_, number)| self.estimator.is_there(number))
    }

    /// How much padding a packet should have that goes out now for a probe; none if none should. `can`: there is a stream
    /// that takes padding. Whatever waits goes first.
    pub(super) fn padding(&mut self, now: Instant, can: bool) -> Option<u8> {
        if !can {
            return None;
        }
        if self.probe.is_none()
            && let Some(probe) = self.estimator.poll_probe(now)
        {
            self.probe = Some(Running::new(now, probe));
        }
        let probe = self.probe?;
        if now.saturating_duration_since(probe.begun) > PROBE_TIME {
            self.probe = None;
            return None;
        }
        (self.pacer.is_empty() && probe.is_owed(now)).then_some(PADDING)
    }

    /// Padding made after [`Self::padding`] leaves.
    pub(super) fn depart_padding(&mut self, now: Instant, mut forward: Forward) -> Forward {
        let bytes = u16::from(forward.header.padding) + WIRE_OVERHEAD;
        self.pacer.spend(bytes);
        self.depart(now, &mut forward, bytes);
        forward
    }

    /// What transport-wide feedback told at that age of the room; returns how many statuses were read, at most `statuses`.
    pub(super) fn handle_feedback(
        &mut self,
        (now, age): (Instant, Duration),
        feedback: &TransportFeedback<'_>,
        statuses: usize,
    ) -> usize {
        let read = self.estimator.handle_feedback(now, feedback, statuses);
        self.waits.add(age, self.estimator.wait());
        read
    }

    /// A receiver's own estimate.
    pub(super) fn handle_remb(&mut self, now: Instant, rate: Bitrate) {
        self.estimator.handle_remb(now, rate);
    }

    /// RTCP came. True if a plan has to follow.
    pub(super) fn heard(&mut self) -> bool {
        self.estimator.heard()
    }

    /// Loss in a report block.
    pub(super) fn handle_report_loss(&mut self, now: Instant, fraction_lost: u8) {
        self.estimator.handle_report_loss(now, fraction_lost);
    }

    /// Round trip of a report block.
    pub(super) fn handle_round_trip(&mut self, now: Instant, round_trip: Duration) {
        self.estimator.handle_round_trip(now, round_trip);
    }

    /// What the endpoint could use in all, and what it is expected to. `can`: there is a stream that takes padding, else nothing is probed.
    pub(super) fn set_wanted(&mut self, now: Instant, wanted: Bitrate, expected: Bitrate, can: bool) {
        let most = match (can && self.transport.is_some(), self.share) {
            (false, _) => Bitrate::ZERO,
            (true, None) => Estimator::MAX,
            (true, Some(share)) => share.most,
        };
        self.estimator.set_expected(expected.min(most));
        self.estimator.set_wanted(now, wanted.min(most));
    }

    /// The estimate is planned with from now on.
    pub(super) fn plan(&mut self) {
        self.planned = self.estimator.target();
    }

    /// What was planned with.
    pub(super) fn planned(&self) -> Bitrate {
        self.planned
    }

    /// What goes on may take so much more than what was planned with. An estimate that nothing has contradicted says what was seen to arrive, not what
    /// the way carries: a picture that outgrows it is tried, not taken away, as long as nothing waits.
    pub(super) fn breath(&self) -> Bitrate {
        let nothing_waits = self.is_heard() && !self.is_queueing();
        let is_open = !self.estimator.knows_limit() && nothing_waits && !self.is_long();
        if is_open && self.share.is_none() {
            Bitrate::bps(self.planned.as_bps() * OPEN_PERCENT / 100)
        } else {
            Bitrate::ZERO
        }
    }

    /// See [`Estimator::even`].
    pub(super) fn even(&self) -> Option<Bitrate> {
        self.estimator.even()
    }

    /// The estimate as it is now; the queue follows it.
    fn follow_estimate(&mut self, now: Instant) -> Bitrate {
        let target = self.estimator.target();
        let headroom = match (self.estimator.knows_limit(), self.estimator.is_long()) {
            (_, false) if self.estimator.wait_lately() > QUEUE_LONG => Headroom::Queued,
            (false, false) => Headroom::Open,
            (false, true) => Headroom::Usual,
            (true, false) => Headroom::Full,
            (true, true) => Headroom::FullLong,
        };
        self.pacer.set_rate(now, target, headroom);
        target
    }

    /// The same, and whether a plan has to follow.
    pub(super) fn follow(&mut self, now: Instant) -> Option<Change> {
        let (target, planned) = (self.follow_estimate(now).as_bps(), self.planned.as_bps());
        if target * 100 < planned * FELL_PERCENT {
            Some(Change::Fell)
        } else {
            (target * 100 > planned * ROSE_PERCENT).then_some(Change::Rose)
        }
    }

    /// Its part of a line that it shares; none if it has none.
    pub(super) fn set_share(&mut self, now: Instant, share: Option<Share>) {
        self.share = share;
        self.pacer.set_share(now, share.map(|share| share.pace));
        self.estimator
            .set_planned(share.is_some_and(|share| share.is_planned));
        self.estimator.set_sharers(share.map_or(1, |share| share.sharers));
    }

    /// How long packets waited lately.
    pub(super) fn waits(&self) -> &Waits {
        &self.waits
    }

    /// It is taken to carry its part of what all who share its line found out.
    pub(super) fn level(&mut self, now: Instant, part: Bitrate) {
        self.estimator.level(part);
        self.follow_estimate(now);
    }

    /// What it is taken to carry now.
    pub(super) fn target(&self) -> Bitrate {
        self.estimator.target()
    }

    /// All of the estimate.
    pub(super) fn state(&self) -> EstimatorState {
        self.estimator.state()
    }

    /// What feedback said of all packets so far.
    pub(super) fn loss(&self) -> PathLoss {
        self.estimator.loss()
    }

    /// What left or waits since the last call may bring [`Self::poll_timeout`] nearer.
    pub(super) fn take_sooner(&mut self) -> bool {
        std::mem::take(&mut self.sooner)
    }

    /// What of the estimator is due.
    pub(super) fn handle_timeout(&mut self, now: Instant) {
        self.estimator.handle_timeout(now);
    }

    /// When it next wants to be told the time. `can`: there is a stream that takes padding, as for [`Self::padding`];
    /// without one no probe is due.
    pub(super) fn poll_timeout(&self, can: bool) -> Option<Instant> {
        let pads = can && self.transport.is_some();
        let probe = self
            .probe
            .filter(|probe| pads && (probe.is_first || self.pacer.is_empty()));
        let estimator = if pads && self.probe.is_none() {
            self.estimator.poll_timeout()
        } else {
            self.estimator.poll_timeout_without_probes()
        };
        soonest(
            soonest(self.pacer.poll_timeout(), probe.map(|probe| probe.next())),
            estimator,
        )
    }
}

impl Running {
    fn new(now: Instant, probe: Probe) -> Self {
        Self {
            id: probe.id,
            rate: probe.rate,
            begun: now,
            bytes: 0,
            bytes_min: probe.bytes.into(),
            packets: 0,
            packets_min: probe.packets.into(),
            is_first: probe.is_first,
        }
    }

    /// The time of its next packet has come.
    fn is_owed(&self, now: Instant) -> bool {
        let owed = self.rate.over(now.saturating_duration_since(self.begun));
        owed.as_bytes() >= self.bytes
    }

    /// When the next of its packets goes.
    fn next(&self) -> Instant {
        // Rounded up: at the time told it is owed.
        let micros = (self.bytes * 8_000_000).div_ceil(self.rate.as_bps().max(1));
        self.begun + Duration::from_micros(micros).max(PROBE_TURN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{
        id::{EndpointId, PointNumber, SlotId, SourceKind, Ssrc},
        packet::{OutgoingHeader, PayloadPatch},
        testing::{base, ms},
    };

    fn picture() -> Forward {
        let number = PointNumber::try_from(7).expect("in range");
        Forward {
            to: EndpointId(1),
            slot: SlotId::video(0),
            purpose: Purpose::Video,
            header: OutgoingHeader {
                marker: false,
                payload_type: 96,
                sequence: 0,
                timestamp: 0,
                ssrc: Ssrc(5),
                source: number.source(SourceKind::Camera),
                mid: None,
                transport_sequence: None,
                playout_delay: None,
                dependency: None,
                original_sequence: None,
                padding: 0,
            },
            payload: None,
            size: 1_000,
            patch: PayloadPatch::None,
            redundancy: None,
            again: false,
            base: false,
        }
    }

    #[test]
    fn only_a_short_way_that_nobody_shares_may_be_outgrown() {
        let breath = |tell: fn(&mut Way)| {
            let mut way = Way::new(base(), Bitrate::mbps(2), Some(3));
            tell(&mut way);
            way.breath()
        };
        let share = Share {
            pace: Bitrate::mbps(4),
            most: Bitrate::mbps(4),
            is_planned: true,
            sharers: 1,
        };
        assert_eq!(breath(|_| {}), Bitrate::mbps(1));
        assert_eq!(
            breath(|way| way.handle_round_trip(base(), ms(600))),
            Bitrate::ZERO
        );
        let mut shared = Way::new(base(), Bitrate::mbps(2), Some(3));
        shared.set_share(base(), Some(share));
        assert_eq!(shared.breath(), Bitrate::ZERO);
        shared.set_share(base(), None);
        assert_eq!(shared.breath(), Bitrate::mbps(1));
    }

    /// Packets of a burst of pictures that leave within 20 ms on a way that is taken to carry 2 Mb/s, `wanted` of it.
    fn leave_within_20_ms(wanted: Bitrate) -> usize {
        let t0 = base();
        let mut way = Way::new(t0, Bitrate::mbps(2), Some(3));
        way.set_wanted(t0, wanted, Bitrate::ZERO, true);
        let start = t0 + ms(1_000); // nothing was sent until now: padding alone would begin the first probe
        assert_eq!(way.padding(start, true).is_some(), wanted > Bitrate::mbps(2));
        let push = |way: &mut Way| way.pace(start, Class::Stage, &mut picture(), 1_000);
        let mut left = (0..30).filter(|_| push(&mut way)).count();
        let mut now = start;
        while let Some(at) = way.poll_timeout(true).filter(|&at| at <= start + ms(20)) {
            now = now.max(at);
            left += std::iter::from_fn(|| way.poll(now)).count();
        }
        left
    }

    #[test]
    fn what_waits_goes_out_with_the_first_probe_at_its_rate() {
        // 2.4 Mb/s, for a large picture waits, and what may go at once; then three times the estimate.
        assert_eq!(leave_within_20_ms(Bitrate::mbps(2)), 9);
        assert_eq!(leave_within_20_ms(Bitrate::mbps(10)), 14);
    }
}
