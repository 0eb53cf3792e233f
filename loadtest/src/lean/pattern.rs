//! A source without pictures: packets of a given size at a given rate, as frames or evenly spaced, for measurements of forwarding.
//!
//! They are VP8 to whoever looks at their heads, or sound; every packet carries a mark, so each tells its latency.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use bytes::{BufMut, Bytes, BytesMut};
use rand::{Rng, RngExt as _};
use rtc::{
    rtcp::sender_report::SenderReport,
    rtp::{Packet, header::Header},
};

use crate::{
    media::{CLIP_SPEECH, MARK_BYTES, Mark, marked_frame},
    protocol::{Kind, source_number},
    sender::{Now, Outgoing, PT_OPUS, PT_RTX, PT_VP8, SenderCounts, ntp},
};

/// Bytes of a forwarded packet that are not payload: header, source, transport-wide number, tag.
pub(crate) const OVERHEAD: usize = 12 + 4 + 8 + 16;
/// Least bytes of a forwarded packet: its overhead, the heads of VP8 and the mark.
pub(crate) const BYTES_MIN: usize = OVERHEAD + HEAD_MAX + MARK_BYTES;
/// The descriptor and the head of a key frame.
const HEAD_MAX: usize = 6 + 10;
/// Most bytes that a packet is shorter than those of the largest frame, and that the first of a frame is shorter than the others.
const SHORTER_MAX: u32 = 64;
const FIRST_SHORTER: u32 = 12;
/// Packets kept for repair.
const HISTORY: usize = 1_024;
/// Time between the reports of a stream.
const REPORT_PAUSE: Duration = Duration::from_secs(1);
/// What is sent until the meeting begins, in bits a second: what a node that knows nothing of a path yet lets through.
const FIRST_BPS: f64 = 120_000.0;
/// Time in which the rate doubles afterwards: estimates follow it.
const DOUBLING: f64 = 1.0;
/// Packets that carry the names of their stream, before the far side can be taken to know it.
const NAMED: u32 = 50;

/// What is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PatternPlan {
    /// Sound instead of pictures: every packet is one of its own.
    pub(crate) sound: bool,
    /// Packets a second.
    pub(crate) rate: u32,
    /// Packets of a frame.
    pub(crate) frame: u32,
    /// A frame's packets leave one by one over its time, instead of all at once.
    pub(crate) even: bool,
    /// Bytes of a packet as it is forwarded, sealed; of the longest where they differ.
    pub(crate) bytes: usize,
    pub(crate) sizes: Sizes,
}

/// How a frame is parted into packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Sizes {
    /// All are equally long.
    Equal,
    /// As libwebrtc does it: about equally long, the later ones a byte longer where it does not come out even, the first shorter by its
    /// extensions; and no two frames are equally large.
    #[value(name = "libwebrtc")]
    Parted,
}

impl PatternPlan {
    /// Packets a second that come when each of `points` hears all of `senders` but himself; of voices one at least.
    pub(crate) fn expected(&self, senders: u32, points: u32) -> f64 {
        let heard = if self.sound {
            senders.min(VOICES_HEARD)
        } else {
            senders
        };
        let pairs = heard * points.saturating_sub(1);
        f64::from(pairs) * f64::from(self.rate)
    }
}

/// Voices that a node sends at least of those who speak.
const VOICES_HEARD: u32 = 1;

/// The source at work.
#[derive(Debug)]
pub(crate) struct Pattern {
    plan: PatternPlan,
    outgoing: Outgoing,
    ssrc: u32,
    rtx_ssrc: Option<u32>,
    sequence: u16,
    rtx_sequence: u16,
    transport_sequence: u16,
    first_time: u32,
    /// Packets that had their time, sent or left out.
    place: u32,
    /// Packets of the frame that has its time, and of those before it that may yet be sent.
    of_this: u32,
    credit: f64,
    /// Since when the rate grows; nothing: not yet.
    grows: Option<Instant>,
    /// Packets sent.
    sent: u32,
    frames: u32,
    octets: u32,
    began: Instant,
    next_report: Instant,
    last: Option<(u32, Instant)>,
    key_wanted: bool,
    key: bool,
    history: VecDeque<Packet>,
    counts: SenderCounts,
}

impl Pattern {
    /// A source that begins at `now`.
    pub(crate) fn new(plan: PatternPlan, outgoing: Outgoing, now: Now, rng: &mut impl Rng) -> Self {
        let layer = outgoing.ssrcs.layers.first().copied();
        let (ssrc, rtx_ssrc) = match layer.filter(|_| !plan.sound) {
            Some((media, rtx)) => (media, Some(rtx)),
            None => (outgoing.ssrcs.mic, None),
        };
        let frame = Duration::from_secs(1) * plan.frame / plan.rate;
        let phase = Duration::from_nanos(rng.random_range(0..frame.as_nanos().max(1) as u64));
        Self {
            plan,
            outgoing,
            ssrc,
            rtx_ssrc,
            sequence: rng.random::<u16>() >> 1,
            rtx_sequence: rng.random::<u16>() >> 1,
            transport_sequence: rng.random(),
            first_time: rng.random(),
            place: 0,
            of_this: 0,
            credit: 1.0,
            grows: None,
            sent: 0,
            frames: 0,
            octets: 0,
            began: now.instant + phase,
            next_report: now.instant + phase + REPORT_PAUSE / 10,
            last: None,
            key_wanted: true,
            key: false,
            history: VecDeque::new(),
            counts: SenderCounts::default(),
        }
    }

    pub(crate) fn counts(&self) -> SenderCounts {
        self.counts
    }

    /// All are there: the rate grows to that of the plan.
    pub(crate) fn grow(&mut self, now: Instant) {
        self.grows.get_or_insert(now);
    }

    /// Share of the plan's packets that is sent now.
    fn share(&self, now: Instant) -> f64 {
        let full = f64::from(self.plan.rate) * self.plan.bytes as f64 * 8.0;
        let since = self
            .grows
            .map_or(0.0, |since| now.saturating_duration_since(since).as_secs_f64());
        let bps = FIRST_BPS * (since / DOUBLING).exp2();
        if self.plan.sound {
            1.0
        } else {
            (bps / full).min(1.0)
        }
    }

    /// The next frame is a key frame, if the stream is this one.
    pub(crate) fn handle_key_frame_request(&mut self, ssrc: u32) {
        self.key_wanted |= ssrc == self.ssrc;
    }

    /// Sends again what is missed.
    pub(crate) fn handle_nack(&mut self, ssrc: u32, missing: &[u16], out: &mut Vec<Packet>) {
        let Some(rtx_ssrc) = self.rtx_ssrc.filter(|_| ssrc == self.ssrc) else {
            return;
        };
        for &sequence in missing {
            let kept = self
                .history
                .iter()
                .find(|kept| kept.header.sequence_number == sequence);
            let Some(kept) = kept else { continue };
            let mut payload = BytesMut::with_capacity(2 + kept.payload.len());
            payload.put_u16(sequence);
            payload.put_slice(&kept.payload);
            let header = Header {
                payload_type: PT_RTX,
                ssrc: rtx_ssrc,
                sequence_number: self.rtx_sequence,
                timestamp: kept.header.timestamp,
                marker: kept.header.marker,
                version: 2,
                ..Header::default()
            };
            self.rtx_sequence = self.rtx_sequence.wrapping_add(1);
            self.counts.repairs += 1;
            out.push(Packet {
                header: self.number(header),
                payload: payload.freeze(),
            });
        }
    }

    /// When it wants to be told the time next.
    pub(crate) fn poll_timeout(&self) -> Instant {
        self.due(self.place).min(self.next_report)
    }

    /// When the packet of that place leaves.
    fn due(&self, place: u32) -> Instant {
        let place = match self.plan.even {
            true => place,
            false => place - place % self.plan.frame,
        };
        self.began + Duration::from_secs(1) * place / self.plan.rate
    }

    /// Sends what is due.
    pub(crate) fn handle_timeout(
        &mut self,
        now: Now,
        out: &mut Vec<Packet>,
        reports: &mut Vec<SenderReport>,
    ) {
        // Never more than a second's worth at once, or a frame where that is more.
        let mut budget = self.plan.rate.max(self.plan.frame);
        while self.due(self.place) <= now.instant && budget > 0 {
            let of_frame = self.place % self.plan.frame;
            if of_frame == 0 {
                self.begin_frame(now);
            }
            if of_frame < self.of_this {
                let packet = self.packet(now, of_frame);
                out.push(packet);
            }
            self.place += 1;
            budget -= 1;
        }
        self.counts.late += u64::from(self.due(self.place) <= now.instant);
        if self.next_report <= now.instant {
            self.next_report = now.instant + REPORT_PAUSE;
            reports.extend(self.report(now));
        }
    }

    fn clock_rate(&self) -> u64 {
        if self.plan.sound { 48_000 } else { 90_000 }
    }

    /// Decides how much of a frame is sent.
    fn begin_frame(&mut self, now: Now) {
        self.credit = (self.credit + self.share(now.instant) * f64::from(self.plan.frame))
            .min(f64::from(self.plan.frame));
        self.of_this = self.credit as u32;
        self.credit -= f64::from(self.of_this);
        if self.of_this > 0 {
            self.key = std::mem::take(&mut self.key_wanted);
            self.counts.key_frames += u64::from(self.key && self.frames > 0 && !self.plan.sound);
            self.frames += 1;
        }
    }

    fn packet(&mut self, now: Now, of_frame: u32) -> Packet {
        let first = u64::from(self.place - self.place % self.plan.frame);
        let ticks = first * self.clock_rate() / u64::from(self.plan.rate);
        let timestamp = self.first_time.wrapping_add(ticks as u32);
        let marker = match self.plan.sound {
            true => self.sent == 0,
            false => of_frame + 1 == self.of_this,
        };
        let header = Header {
            version: 2,
            marker,
            payload_type: if self.plan.sound { PT_OPUS } else { PT_VP8 },
            sequence_number: self.sequence,
            timestamp,
            ssrc: self.ssrc,
            ..Header::default()
        };
        let payload = self.payload(now, of_frame);
        self.sequence = self.sequence.wrapping_add(1);
        self.last = Some((timestamp, now.instant));
        self.octets = self.octets.wrapping_add(payload.len() as u32);
        let header = self.number(header);
        self.sent += 1;
        self.counts.packets += 1;
        let packet = Packet { header, payload };
        if self.rtx_ssrc.is_some() {
            self.history.push_back(packet.clone());
            if self.history.len() > HISTORY {
                self.history.pop_front();
            }
        }
        packet
    }

    /// Bytes of that packet of the present frame, as it is forwarded.
    fn bytes(&self, of_frame: u32) -> usize {
        if self.plan.sizes == Sizes::Equal || self.plan.frame < 2 {
            return self.plan.bytes;
        }
        // What a frame lacks of the largest one, in all its packets: any of these numbers would do.
        let lack = self.frames.wrapping_mul(37) % (SHORTER_MAX * self.plan.frame);
        let (each, rest) = (lack / self.plan.frame, lack % self.plan.frame);
        let first = if of_frame == 0 { FIRST_SHORTER } else { 0 };
        let shorter = each + u32::from(of_frame < rest) + first;
        self.plan.bytes.saturating_sub(shorter as usize).max(BYTES_MIN)
    }

    fn payload(&self, now: Now, of_frame: u32) -> Bytes {
        let (starts, frame) = (of_frame == 0, self.frames);
        let length = self.bytes(of_frame).saturating_sub(OVERHEAD + MARK_BYTES);
        let mut bytes = BytesMut::with_capacity(length);
        if self.plan.sound {
            bytes.put_u8(0x78); // Opus, 20 ms, full band, one frame
        } else {
            bytes.put_u8(0x80 | if starts { 0x10 } else { 0 });
            bytes.put_u8(0b1110_0000); // I, L, T
            bytes.put_u16(0x8000 | (frame as u16 & 0x7fff));
            bytes.put_u8(frame as u8);
            bytes.put_u8(0);
            match (starts, self.key) {
                // RFC 6386 section 9.1: a key frame of 1280 by 720.
                (true, true) => bytes.put_slice(&[0x10, 2, 0, 0x9d, 1, 0x2a, 0, 5, 0xd0, 2]),
                (true, false) => bytes.put_slice(&[0x11, 2, 0]),
                (false, _) => {}
            }
        }
        bytes.resize(length.max(bytes.len()), 0x5a);
        let mark = Mark {
            source: source_number(
                self.outgoing.point,
                if self.plan.sound { Kind::Mic } else { Kind::Camera },
            ),
            counter: self.sent,
            clip: CLIP_SPEECH,
            is_back: false,
            index: 0,
            sent_us: now.us,
        };
        marked_frame(&bytes, &mark)
    }

    /// Gives a packet its transport-wide number, its level and, at the beginning, its name.
    fn number(&mut self, mut header: Header) -> Header {
        let (ids, mid) = match self.plan.sound {
            true => (&self.outgoing.mic_extensions, &self.outgoing.mic_mid),
            false => (&self.outgoing.camera_extensions, &self.outgoing.camera_mid),
        };
        let number = self.transport_sequence.to_be_bytes();
        // A loud voice, all the time.
        let level = ids.audio_level.filter(|_| self.plan.sound);
        let named = ids.mid.filter(|_| self.sent < NAMED);
        let values: [(Option<u8>, &[u8]); 3] = [
            (ids.transport_cc, &number),
            (level, &[0x80 | 20]),
            (named, mid.as_bytes()),
        ];
        for (id, value) in values {
            if let Some(id) = id {
                // Values of up to 16 bytes under ids of 1 to 14 always fit.
                let _ = header.set_extension(id, Bytes::copy_from_slice(value));
            }
        }
        self.transport_sequence = self.transport_sequence.wrapping_add(1);
        header
    }

    fn report(&self, now: Now) -> Option<SenderReport> {
        let (time, at) = self.last?;
        let since = now.instant.saturating_duration_since(at).as_micros() as u64;
        Some(SenderReport {
            ssrc: self.ssrc,
            ntp_time: ntp(now.us),
            rtp_time: time.wrapping_add((since * self.clock_rate() / 1_000_000) as u32),
            packet_count: self.sent,
            octet_count: self.octets,
            ..SenderReport::default()
        })
    }
}

#[cfg(test)]
mod tests;
