//! One lean point: its socket, its path, what it sends and what it hears.

use std::{
    io,
    net::SocketAddr,
    time::{Duration, Instant},
};

use bytes::Bytes;
use mio::net::UdpSocket;
use quinn_udp::{UdpSockRef, UdpSocketState};
use rtc::{rtcp::sender_report::SenderReport, rtp::Packet};
use sfu::wire::{
    Class, classify,
    rtcp::{self, Builder, ReportBlock, Rtcp, SenderInfo},
    rtp::RtpPacket,
};
use tokio::sync::watch;

use super::{
    batch::Batch,
    egress::{Egress, Way, give},
    feedback::Feedback,
    pattern::Pattern,
    tally::{Heading, Look, Tally},
    transport::Transport,
};
use crate::{
    check::{Arrived, SlotCheck, SlotKind},
    clip::is_key_frame,
    media::{read_descriptor, unmark_frame},
    media_path::{MediaReport, OurPoints},
    peer::Path,
    report::Histogram,
    sender::{Now, Sender},
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
            None => Judge::Headers(Box::new(Tally::new(kind))),
        };
        Self {
            name,
            ssrc,
            rtx_ssrc,
            judge,
            last_report: None,
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
    first_key: Histogram,
    first_packet_us: Option<u64>,
    nacks: u64,
    key_frame_requests: u64,
    not_sent: u64,
}

impl Point {
    /// A point with a socket and no path yet.
    pub(super) fn new(
        local: SocketAddr,
        ours: OurPoints,
        now: Instant,
    ) -> io::Result<(Self, watch::Receiver<Path>)> {
        let socket = UdpSocket::bind(local)?;
        let buffers = socket2::SockRef::from(&socket);
        buffers.set_recv_buffer_size(BUFFER_BYTES)?;
        buffers.set_send_buffer_size(BUFFER_BYTES)?;
        let state = UdpSocketState::new(UdpSockRef::from(&socket))?;
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
        self.by_ssrc = slots
            .iter()
            .enumerate()
            .flat_map(|(at, slot)| {
                let repairs = slot.rtx_ssrc.map(|rtx| (rtx, at, true));
                [Some((slot.ssrc, at, false)), repairs]
            })
            .flatten()
            .collect();
        self.by_ssrc.sort_unstable();
        self.slots = slots;
        self.judging = true;
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

    pub(super) fn stop_sending(&mut self) {
        self.sending = false;
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

    /// A slot message.
    pub(super) fn announce(&mut self, slot: &str, source: u32, time: u32) {
        if let Some(Judge::Whole(check)) = self.judge(slot) {
            check.announce(source, time);
        }
    }

    fn judge(&mut self, slot: &str) -> Option<&mut Judge> {
        let slot = self.slots.iter_mut().find(|candidate| candidate.name == slot)?;
        Some(&mut slot.judge)
    }

    /// Stops judging and tells what was seen.
    pub(super) fn finish(&mut self) -> MediaReport {
        (self.judging, self.sending) = (false, false);
        let mut report = MediaReport {
            nacks: self.nacks,
            key_frame_requests: self.key_frame_requests,
            first_packet_us: self.first_packet_us,
            not_sent: self.not_sent,
            ..MediaReport::default()
        };
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
                    tally.give_up(None);
                    report.received.add(&tally.counts);
                    report.gaps += tally.gaps;
                    report.freezes += tally.freezes;
                    report.longest_gap_us = report.longest_gap_us.max(tally.longest_gap_us);
                }
                Judge::Whole(check) => {
                    check.finish(&ours);
                    report.received.add(check.counts());
                    report.gaps += check.counts().lost + check.counts().repaired;
                    report.latency.add(check.latency());
                    let lines = check.log().iter();
                    report
                        .log
                        .extend(lines.map(|line| format!("{}: {line}", slot.name)));
                }
            }
        }
        report
    }

    /// Takes what came. How many RTP packets those were.
    pub(super) fn receive(&mut self, now: Now, batch: &mut Batch, egress: &mut Egress) -> u64 {
        let mut heard = 0;
        while batch.fill(&self.socket, &self.state) {
            for datagram in batch.datagrams() {
                heard += u64::from(classify(datagram) == Class::Rtp);
                self.handle(now, datagram, egress);
            }
            if !batch.is_full() {
                break;
            }
        }
        self.ask(now, egress);
        heard
    }

    fn handle(&mut self, now: Now, datagram: &mut [u8], egress: &mut Egress) {
        let Some(transport) = &mut self.transport else {
            return;
        };
        match classify(datagram) {
            Class::Stun => transport.handle_stun(now.instant, datagram),
            Class::Dtls => transport.handle_dtls(now.instant, datagram),
            Class::Rtp => return self.handle_rtp(now, datagram),
            Class::Rtcp => return self.handle_rtcp(now, datagram, egress),
            Class::Other => return,
        }
        self.flush_handshake();
    }

    /// Sends what the handshake has to say, and tells how far it is.
    fn flush_handshake(&mut self) {
        let Some(transport) = &mut self.transport else {
            return;
        };
        let way = Way {
            socket: &self.socket,
            state: &self.state,
            to: transport.remote(),
        };
        while let Some(datagram) = transport.poll_transmit() {
            give(&way, &datagram, None);
        }
        let path = transport.path();
        self.path.send_if_modified(|known| {
            let changed = *known != path;
            *known = path;
            changed
        });
    }

    fn handle_rtp(&mut self, now: Now, datagram: &mut [u8]) {
        // Sealed padding is no padding yet: the flag would be looked at together with bytes of the tag.
        let flags = datagram[0];
        datagram[0] = flags & !0x20;
        let Ok(packet) = RtpPacket::parse(datagram) else {
            return;
        };
        let number = self.transport_id.and_then(|id| packet.extension(id));
        if let Some(&[high, low]) = number {
            self.feedback
                .handle(now.instant, u16::from_be_bytes([high, low]), now.us);
        }
        let (ssrc, time) = (packet.ssrc(), packet.timestamp());
        let heading = Heading {
            sequence: packet.sequence(),
            marker: packet.marker(),
            source: packet.csrcs().next(),
            at_us: now.us,
        };
        datagram[0] = flags;
        let found = self.by_ssrc.binary_search_by_key(&ssrc, |&(ssrc, ..)| ssrc);
        let Some(&(_, at, repair)) = found.ok().and_then(|found| self.by_ssrc.get(found)) else {
            return;
        };
        if !self.judging {
            return;
        }
        self.first_packet_us.get_or_insert(now.us);
        let contexts = self.transport.as_mut().and_then(Transport::contexts);
        let Some((_, opener)) = contexts else { return };
        let look = match &mut self.slots[at].judge {
            Judge::Headers(tally) if !repair => tally.handle(heading),
            _ => Look::Key,
        };
        if look == Look::No {
            return;
        }
        let Ok(length) = opener.open_rtp(datagram) else {
            return;
        };
        let Ok(packet) = RtpPacket::parse(&datagram[..length]) else {
            return;
        };
        let payload = packet.payload();
        match &mut self.slots[at].judge {
            Judge::Whole(check) => {
                let Some(arrived) = arrived(heading, time, repair, payload) else {
                    return;
                };
                let ours = |point| self.ours.contains(point);
                check.handle(arrived, &ours);
            }
            Judge::Headers(tally) if repair => {
                // RFC 4588: the original number, then the original payload. Less is padding that probes the path.
                if let [high, low, _, ..] = *payload {
                    tally.handle_repair(u16::from_be_bytes([high, low]));
                }
            }
            Judge::Headers(_) if look == Look::Latency => {
                if let Some((_, mark)) = unmark_frame(payload) {
                    self.latency.record(now.us.saturating_sub(mark.sent_us));
                }
            }
            Judge::Headers(tally) => {
                let begins = read_descriptor(payload)
                    .is_some_and(|(descriptor, frame)| descriptor.start && is_key_frame(frame));
                if begins && let Some(us) = tally.tell_key(now.us) {
                    self.first_key.record(us);
                }
            }
        }
    }

    fn handle_rtcp(&mut self, now: Now, datagram: &mut [u8], egress: &mut Egress) {
        let contexts = self.transport.as_mut().and_then(Transport::contexts);
        let Some((_, opener)) = contexts else { return };
        let Ok(length) = opener.open_rtcp(datagram) else {
            return;
        };
        for packet in rtcp::packets(&datagram[..length]).flatten() {
            match packet {
                Rtcp::SenderReport(report) => {
                    report.reports().for_each(|block| self.know(block.ssrc));
                    let middle = (report.info.ntp >> 16) as u32;
                    if let Some(slot) = self.slots.iter_mut().find(|slot| slot.ssrc == report.ssrc) {
                        slot.last_report = Some((middle, now.instant));
                    }
                }
                Rtcp::ReceiverReport(report) => report.reports().for_each(|block| self.know(block.ssrc)),
                Rtcp::PictureLoss(request) => self.key_frame(request.media_ssrc),
                Rtcp::Fir(request) => request.entries().for_each(|(ssrc, _)| self.key_frame(ssrc)),
                Rtcp::Nack(nack) if self.sending => {
                    let missing: Vec<u16> = nack.lost().collect();
                    match &mut self.source {
                        Some(Source::Clips(sender)) => {
                            sender.handle_nack(now, nack.media_ssrc, &missing, &mut self.packets);
                        }
                        Some(Source::Pattern(pattern)) => {
                            pattern.handle_nack(nack.media_ssrc, &missing, &mut self.packets);
                        }
                        None => {}
                    }
                }
                _ => {}
            }
        }
        self.flush(egress);
    }

    fn know(&mut self, ssrc: u32) {
        if let Some(sender) = self.sender() {
            sender.handle_report(ssrc);
        }
    }

    fn key_frame(&mut self, ssrc: u32) {
        match &mut self.source {
            Some(Source::Clips(sender)) => sender.handle_key_frame_request(ssrc),
            Some(Source::Pattern(pattern)) => pattern.handle_key_frame_request(ssrc),
            None => {}
        }
    }

    /// Asks for what is missing.
    fn ask(&mut self, now: Now, egress: &mut Egress) {
        let mut compound = Vec::new();
        let mut missing = Vec::new();
        let mut waits = false;
        for slot in self.slots.iter_mut().filter(|_| self.judging) {
            missing.clear();
            let key = match &mut slot.judge {
                Judge::Headers(tally) => {
                    if !tally.is_waiting() {
                        continue;
                    }
                    waits = true;
                    tally.poll_nacks(now.us, &mut missing);
                    tally.poll_key_frame_request(now.us)
                }
                Judge::Whole(check) => {
                    waits = true;
                    missing = check.poll_nacks(now.us);
                    check.poll_key_frame_request(now.us)
                }
            };
            let mut builder = Builder::new(&mut compound, COMPOUND_MAX);
            // Voices are not repaired. What does not fit is asked for at the next look.
            if slot.rtx_ssrc.is_some() && !missing.is_empty() {
                self.nacks += u64::from(builder.nack(OWN_SSRC, slot.ssrc, &missing).is_ok());
            }
            if key {
                self.key_frame_requests += u64::from(builder.picture_loss(OWN_SSRC, slot.ssrc).is_ok());
            }
        }
        if waits && self.next_tick.is_none() {
            self.next_tick = Some(now.instant + TICK);
        }
        if !compound.is_empty() {
            self.send_rtcp(egress, &compound);
        }
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
                Judge::Headers(tally) => tally.give_up(Some(now.us)),
                Judge::Whole(check) => check.handle_timeout(now.us, &ours),
            }
        }
    }

    /// Feedback and reports.
    fn say(&mut self, now: Now, egress: &mut Egress) {
        let Some(transport) = &mut self.transport else {
            self.next_report = now.instant + REPORT_PAUSE;
            return;
        };
        let way = Way {
            socket: &self.socket,
            state: &self.state,
            to: transport.remote(),
        };
        let Some((sealer, _)) = transport.contexts() else {
            self.next_report = self.next_report.max(now.instant + REPORT_PAUSE / 2);
            return;
        };
        let media = self.slots.first().map_or(0, |slot| slot.ssrc);
        self.feedback
            .poll(now.instant, media, COMPOUND_MAX, &mut |compound| {
                egress.send_rtcp(&way, sealer, compound);
            });
        if self.next_report <= now.instant {
            self.next_report = now.instant + REPORT_PAUSE;
            let blocks: Vec<ReportBlock> = self
                .slots
                .iter_mut()
                .filter_map(|slot| block(slot, now))
                .collect();
            let mut compound = Vec::new();
            let written = Builder::new(&mut compound, COMPOUND_MAX).receiver_report(OWN_SSRC, &blocks);
            if written.is_ok() && !blocks.is_empty() {
                egress.send_rtcp(&way, sealer, &compound);
            }
        }
    }

    /// Sends media and the reports about it.
    fn flush(&mut self, egress: &mut Egress) {
        if self.packets.is_empty() && self.reports.is_empty() {
            return;
        }
        let mut compound = Vec::new();
        let mut builder = Builder::new(&mut compound, COMPOUND_MAX);
        for report in self.reports.drain(..) {
            let info = SenderInfo {
                ntp: report.ntp_time,
                rtp: report.rtp_time,
                packets: report.packet_count,
                octets: report.octet_count,
            };
            // At most four of 28 bytes and their names fit.
            let _ = builder.sender_report(report.ssrc, &info, &[]);
            let _ = builder.source_description(report.ssrc, b"point");
        }
        let packets = std::mem::take(&mut self.packets);
        if let Some(transport) = &mut self.transport {
            let way = Way {
                socket: &self.socket,
                state: &self.state,
                to: transport.remote(),
            };
            if let Some((sealer, _)) = transport.contexts() {
                self.not_sent += egress.send_rtp(&way, sealer, &packets);
                if !compound.is_empty() {
                    egress.send_rtcp(&way, sealer, &compound);
                }
            }
        }
        self.packets = packets;
        self.packets.clear();
    }

    fn send_rtcp(&mut self, egress: &mut Egress, compound: &[u8]) {
        let Some(transport) = &mut self.transport else {
            return;
        };
        let way = Way {
            socket: &self.socket,
            state: &self.state,
            to: transport.remote(),
        };
        if let Some((sealer, _)) = transport.contexts() {
            egress.send_rtcp(&way, sealer, compound);
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

/// A packet for the judge of everything, decapsulated if it is a repair; nothing if it is padding.
fn arrived(heading: Heading, time: u32, repair: bool, payload: &[u8]) -> Option<Arrived> {
    let (sequence, payload) = match (repair, payload) {
        (false, payload) => (heading.sequence, payload),
        (true, [high, low, original @ ..]) if !original.is_empty() => {
            (u16::from_be_bytes([*high, *low]), original)
        }
        _ => return None,
    };
    Some(Arrived {
        sequence,
        time,
        marker: heading.marker,
        csrc: heading.source,
        payload: Bytes::copy_from_slice(payload),
        at_us: heading.at_us,
        repair,
    })
}

/// What is reported of a slot; nothing if nothing came since the last report.
fn block(slot: &mut Slot, now: Now) -> Option<ReportBlock> {
    let Judge::Headers(tally) = &mut slot.judge else {
        return None;
    };
    let (fraction_lost, lost, highest_sequence) = tally.poll_report()?;
    let since = |at: Instant| now.instant.saturating_duration_since(at);
    let (last_sr, delay) = slot.last_report.map_or((0, 0), |(middle, at)| {
        (middle, (since(at).as_micros() * 65_536 / 1_000_000) as u32)
    });
    Some(ReportBlock {
        ssrc: slot.ssrc,
        fraction_lost,
        lost,
        highest_sequence,
        jitter: 0,
        last_sr,
        delay_since_sr: delay,
    })
}
