//! One lean point: its socket, its path, what it sends and what it hears.

mod hear;
mod say;

use std::{
    io,
    net::SocketAddr,
    time::{Duration, Instant},
};

use mio::net::UdpSocket;
use quinn_udp::{UdpSockRef, UdpSocketState};
use rtc::{rtcp::sender_report::SenderReport, rtp::Packet};
use tokio::sync::watch;

use super::{
    egress::{Egress, Way, give},
    feedback::Feedback,
    pattern::Pattern,
    tally::Tally,
    transport::Transport,
};
use crate::{
    check::{SlotCheck, SlotKind},
    histogram::Histogram,
    media_path::{MediaReport, OurPoints},
    peer::Path,
    sender::{Now, PT_RTX, Sender},
};

/// The SSRC that feedback comes from.
pub(super) const OWN_SSRC: u32 = 1;
/// Longest compound, before it is sealed.
const COMPOUND_MAX: usize = 1_200;
/// Pause between reports, as libwebrtc's for video.
const REPORT_PAUSE: Duration = Duration::from_secs(1);
/// How often repairs are looked at while something is missing.
const TICK: Duration = Duration::from_millis(20);
/// Of each socket; the kernel gives what its limits allow.
const BUFFER_BYTES: usize = 2 << 20;

/// What a point sends.
#[derive(Debug)]
pub(crate) enum Source {
    /// Real pictures and speech.
    Clips(Box<Sender>),
    /// Packets of a pattern.
    Pattern(Box<Pattern>),
}

/// A slot as the answer describes it.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) name: String,
    pub(super) ssrc: u32,
    pub(super) rtx_ssrc: Option<u32>,
    pub(super) judge: Judge,
    /// Middle of the NTP time of the last sender report, and when it came.
    last_report: Option<(u32, Instant)>,
}

/// Who judges what comes.
#[derive(Debug)]
pub(super) enum Judge {
    Headers(Box<Tally>),
    Whole(Box<SlotCheck>),
}

impl Judge {
    fn is_of_pictures(&self) -> bool {
        match self {
            Self::Headers(tally) => tally.is_of_pictures(),
            Self::Whole(check) => check.is_of_pictures(),
        }
    }
}

impl Slot {
    pub(super) fn new(
        name: String,
        ssrc: u32,
        rtx_ssrc: Option<u32>,
        kind: SlotKind,
        whole: Option<u32>,
    ) -> Self {
        let judge = match whole {
            Some(fps) => Judge::Whole(Box::new(SlotCheck::new(kind).with_fps(fps))),
            None => Judge::Headers(Box::new(Tally::new(kind, rtx_ssrc.is_some()))),
        };
        Self {
            name,
            ssrc,
            rtx_ssrc,
            judge,
            last_report: None,
        }
    }

    fn tally(&mut self) -> Option<&mut Tally> {
        match &mut self.judge {
            Judge::Headers(tally) => Some(tally),
            Judge::Whole(_) => None,
        }
    }
}

/// A point in the loop.
pub(super) struct Point {
    pub(super) socket: UdpSocket,
    state: UdpSocketState,
    ours: OurPoints,
    pub(super) transport: Option<Transport>,
    transport_id: Option<u8>,
    slots: Vec<Slot>,
    /// Place of a slot, and whether it is its repairs, by SSRC.
    by_ssrc: Vec<(u32, usize, bool)>,
    source: Option<Source>,
    sending: bool,
    judging: bool,
    feedback: Feedback,
    next_report: Instant,
    next_tick: Option<Instant>,
    path: watch::Sender<Path>,
    packets: Vec<Packet>,
    reports: Vec<SenderReport>,
    latency: Histogram,
    /// Of them, those that are not told to the loop yet.
    pub(super) latest: Vec<u64>,
    first_key: Histogram,
    first_packet_us: Option<u64>,
    nacks: u64,
    key_frame_requests: u64,
    not_sent: u64,
}

impl Point {
    /// A point with a socket and no path yet; with `joined` the kernel gives it whole runs, and tells when they came.
    pub(super) fn new(
        local: SocketAddr,
        joined: bool,
        ours: OurPoints,
        now: Instant,
    ) -> io::Result<(Self, watch::Receiver<Path>)> {
        let socket = UdpSocket::bind(local)?;
        let buffers = socket2::SockRef::from(&socket);
        buffers.set_recv_buffer_size(BUFFER_BYTES)?;
        buffers.set_send_buffer_size(BUFFER_BYTES)?;
        // What is asked of the kernel for that is asked of the socket at hand: another one leaves this as it is.
        let other = UdpSocket::bind(SocketAddr::new(local.ip(), 0))?;
        let state = UdpSocketState::new(UdpSockRef::from(if joined { &socket } else { &other }))?;
        let (path, changes) = watch::channel(Path::Opening);
        let point = Self {
            socket,
            state,
            ours,
            transport: None,
            transport_id: None,
            slots: Vec::new(),
            by_ssrc: Vec::new(),
            source: None,
            sending: false,
            judging: false,
            feedback: Feedback::default(),
            next_report: now + REPORT_PAUSE,
            next_tick: None,
            path,
            packets: Vec::new(),
            reports: Vec::new(),
            latency: Histogram::default(),
            latest: Vec::new(),
            first_key: Histogram::default(),
            first_packet_us: None,
            nacks: 0,
            key_frame_requests: 0,
            not_sent: 0,
        };
        Ok((point, changes))
    }

    /// The answer came: the path opens, and what comes is judged.
    pub(super) fn open(&mut self, transport: Transport, transport_id: Option<u8>, slots: Vec<Slot>) {
        self.transport = Some(transport);
        self.transport_id = transport_id;
        self.by_ssrc = by_ssrc(&slots);
        self.slots = slots;
        self.judging = true;
    }

    /// A stream that no line of the answer named: the first of its kind is the only slot's, or its repairs.
    fn bind(&mut self, ssrc: u32, payload_type: u8) {
        let [slot] = &mut self.slots[..] else {
            return;
        };
        match (payload_type == PT_RTX, &mut slot.judge) {
            (false, _) if slot.ssrc == 0 => slot.ssrc = ssrc,
            (true, judge) if slot.rtx_ssrc.is_none() && judge.is_of_pictures() => {
                slot.rtx_ssrc = Some(ssrc);
                if let Judge::Headers(tally) = judge {
                    tally.part_repairs();
                }
            }
            _ => return,
        }
        self.by_ssrc = by_ssrc(&self.slots);
    }

    /// Begins to send.
    pub(super) fn start(&mut self, source: Source) {
        self.source = Some(source);
        self.sending = true;
    }

    /// A pattern grows to its full rate.
    pub(super) fn grow(&mut self, now: Instant) {
        if let Some(Source::Pattern(pattern)) = &mut self.source {
            pattern.grow(now);
        }
    }

    /// What comes from now on is measured. `standing`: others come from now on, and what runs here may not feel it.
    pub(super) fn measure(&mut self, now_us: u64, standing: bool) {
        self.latency = Histogram::default();
        for tally in self.slots.iter_mut().filter_map(Slot::tally) {
            tally.motion.measure(now_us);
            if standing {
                tally.running.begin(now_us);
            }
        }
    }

    pub(super) fn stop_sending(&mut self, now_us: u64) {
        self.sending = false;
        for tally in self.slots.iter_mut().filter_map(Slot::tally) {
            tally.end(now_us);
        }
    }

    /// The real source, if it has one.
    pub(super) fn sender(&mut self) -> Option<&mut Sender> {
        match &mut self.source {
            Some(Source::Clips(sender)) => Some(sender),
            _ => None,
        }
    }

    /// Somebody wants a picture in that slot, since then.
    pub(super) fn want(&mut self, slot: &str, since_us: u64) {
        if let Some(Judge::Headers(tally)) = self.judge(slot) {
            tally.want(since_us);
        }
    }

    /// A picture is to come in that slot, and nobody will announce it.
    pub(super) fn expect(&mut self, slot: &str, now_us: u64) {
        if let Some(Judge::Headers(tally)) = self.judge(slot) {
            tally.expect(now_us);
        }
    }

    /// Something else is wanted in that slot.
    pub(super) fn switch(&mut self, slot: &str, now_us: u64) {
        if let Some(Judge::Headers(tally)) = self.judge(slot) {
            tally.switch(now_us);
        }
    }

    /// A slot message.
    pub(super) fn announce(&mut self, slot: &str, (source, time): (u32, u32), now_us: u64) {
        match self.judge(slot) {
            Some(Judge::Whole(check)) => check.announce(source, time),
            Some(Judge::Headers(tally)) => tally.announce(source, now_us),
            None => {}
        }
    }

    /// Nothing is shown in that slot now: what comes next is no picture that stood still.
    pub(super) fn empty(&mut self, slot: &str) {
        if let Some(Judge::Headers(tally)) = self.judge(slot) {
            tally.empty();
        }
    }

    fn judge(&mut self, slot: &str) -> Option<&mut Judge> {
        let slot = self.slots.iter_mut().find(|candidate| candidate.name == slot)?;
        Some(&mut slot.judge)
    }

    /// Stops judging and tells what was seen.
    pub(super) fn finish(&mut self, now: Now) -> MediaReport {
        (self.judging, self.sending) = (false, false);
        let mut report = MediaReport {
            nacks: self.nacks,
            key_frame_requests: self.key_frame_requests,
            first_packet_us: self.first_packet_us,
            not_sent: self.not_sent,
            ..MediaReport::default()
        };
        let mut gaps = 0;
        report.sent = match &self.source {
            Some(Source::Clips(sender)) => sender.counts(),
            Some(Source::Pattern(pattern)) => pattern.counts(),
            None => Default::default(),
        };
        report.latency.add(&self.latency);
        report.first_key.add(&self.first_key);
        let ours = |point| self.ours.contains(point);
        for slot in &mut self.slots {
            match &mut slot.judge {
                Judge::Headers(tally) => {
                    tally.give_up(now.us);
                    tally.end(now.us);
                    if tally.counts.lost > 0 {
                        let (lost, all) = (tally.counts.lost, tally.counts.packets);
                        report
                            .log
                            .push(format!("{}: {lost} numbers never came, {all} did", slot.name));
                    }
                    report.received.add(&tally.counts);
                    gaps += tally.gaps;
                    if tally.is_of_pictures() {
                        *report.freezes.get_or_insert(0) += tally.motion.freezes;
                    }
                    report.longest_gap_us = report.longest_gap_us.max(tally.motion.longest_gap_us);
                    let gap_us = tally.running.longest_gap_us();
                    report.running += u64::from(gap_us.is_some());
                    report.running_gap_us = report.running_gap_us.max(gap_us);
                }
                Judge::Whole(check) => {
                    check.finish(now.us, &ours);
                    report.received.add(check.counts());
                    gaps += check.counts().lost + check.counts().repaired;
                    report.latency.add(check.latency());
                    let lines = check.log().iter();
                    report
                        .log
                        .extend(lines.map(|line| format!("{}: {line}", slot.name)));
                }
            }
        }
        report.gaps = Some(gaps);
        report
    }

    /// When it wants to be told the time next.
    pub(super) fn poll_timeout(&self) -> Instant {
        let source = match &self.source {
            Some(Source::Clips(sender)) => Some(sender.poll_timeout()),
            Some(Source::Pattern(pattern)) => Some(pattern.poll_timeout()),
            None => None,
        };
        let transport = self.transport.as_ref().map(Transport::poll_timeout);
        [
            source.filter(|_| self.sending),
            transport,
            self.feedback.due(),
            self.next_tick,
        ]
        .into_iter()
        .flatten()
        .fold(self.next_report, Instant::min)
    }

    /// Does what is due.
    pub(super) fn handle_timeout(&mut self, now: Now, egress: &mut Egress) {
        self.keep_path(now);
        if self.sending {
            match &mut self.source {
                Some(Source::Clips(sender)) => {
                    sender.handle_timeout(now, &mut self.packets, &mut self.reports)
                }
                Some(Source::Pattern(pattern)) => {
                    pattern.handle_timeout(now, &mut self.packets, &mut self.reports);
                }
                None => {}
            }
        }
        self.flush(egress);
        if self.next_tick.is_some_and(|tick| tick <= now.instant) {
            self.next_tick = None;
            self.give_up(now);
            self.ask(now, egress);
        }
        self.say(now, egress);
    }

    fn keep_path(&mut self, now: Now) {
        let Some(transport) = self
            .transport
            .as_mut()
            .filter(|t| t.poll_timeout() <= now.instant)
        else {
            return;
        };
        let mut checks = Vec::new();
        transport.handle_timeout(now.instant, &mut checks);
        let way = Way {
            socket: &self.socket,
            state: &self.state,
            to: transport.remote(),
        };
        for check in checks {
            give(&way, &check, None);
        }
        self.flush_handshake();
    }

    fn give_up(&mut self, now: Now) {
        if !self.judging {
            return;
        }
        let ours = |point| self.ours.contains(point);
        for slot in &mut self.slots {
            match &mut slot.judge {
                Judge::Headers(tally) => tally.give_up(now.us),
                Judge::Whole(check) => check.handle_timeout(now.us, &ours),
            }
        }
    }

    /// Says goodbye.
    pub(super) fn close(&mut self, now: Instant) {
        if let Some(transport) = &mut self.transport {
            transport.close(now);
        }
        self.flush_handshake();
    }
}

/// Place of each slot, and whether it is its repairs, by SSRC.
fn by_ssrc(slots: &[Slot]) -> Vec<(u32, usize, bool)> {
    let streams = slots.iter().enumerate().flat_map(|(at, slot)| {
        let media = Some((slot.ssrc, at, false)).filter(|&(ssrc, ..)| ssrc != 0);
        media.into_iter().chain(slot.rtx_ssrc.map(|rtx| (rtx, at, true)))
    });
    let mut by_ssrc: Vec<_> = streams.collect();
    by_ssrc.sort_unstable();
    by_ssrc
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{lean::tally::Heading, sender::PT_VP8};

    #[test]
    fn the_first_stream_of_each_kind_is_the_slot_that_no_answer_named_and_its_repairs() {
        let local = SocketAddr::from(([127, 0, 0, 1], 0));
        let (mut point, _path) = Point::new(local, true, OurPoints::default(), Instant::now()).unwrap();
        point.slots = vec![Slot::new("v0".to_owned(), 0, None, SlotKind::Picture, None)];
        for (ssrc, payload_type) in [(8, PT_RTX), (7, PT_VP8), (9, PT_VP8), (10, PT_RTX)] {
            point.bind(ssrc, payload_type);
        }
        assert_eq!(point.by_ssrc, [(7, 0, false), (8, 0, true)]);
        assert_eq!((point.slots[0].ssrc, point.slots[0].rtx_ssrc), (7, Some(8)));
    }

    #[test]
    fn what_is_missing_is_asked_for_whether_or_not_repairs_have_a_stream_of_their_own() {
        for (kind, asked) in [(SlotKind::Picture, 1), (SlotKind::Voice, 0)] {
            let clock = crate::media_path::Clock::new();
            let local = SocketAddr::from(([127, 0, 0, 1], 0));
            let (mut point, _path) =
                Point::new(local, true, OurPoints::default(), clock.now().instant).unwrap();
            point.judging = true;
            point.slots = vec![Slot::new("s".to_owned(), 7, None, kind, None)];
            for sequence in [1, 3] {
                let heading = Heading {
                    sequence,
                    time: 0,
                    marker: false,
                    source: None,
                    at_us: 1,
                };
                point.slots[0].tally().unwrap().handle(heading);
            }
            point.ask(clock.now(), &mut Egress::new());
            assert_eq!(point.nacks, asked, "{kind:?}");
        }
    }
}
