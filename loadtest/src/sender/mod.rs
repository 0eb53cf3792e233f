//! What a point sends: its microphone and the layers of its camera, as a state machine that is told the time.
//!
//! Key frames: the loop's first frame is its only one; asked for one, the loop begins again at once, on all layers, as a
//! browser's encoder does. Repairs: the last packets of each layer are kept and sent again as RTX (RFC 4588) with the
//! repaired layer's name in `rrid`.

use std::{collections::VecDeque, time::Duration, time::Instant};

use bytes::{BufMut, Bytes, BytesMut};
use rand::{Rng, RngExt};
use rtc::{
    rtcp::sender_report::SenderReport,
    rtp::{Packet, header::Header},
};

use crate::{
    clip::{Clips, RIDS, SOUND_TICKS},
    media::{CLIP_SPEECH, Mark, cut, marked_frame, marked_sound},
    protocol::{Kind, source_number},
    sdp::Extensions,
};

/// Payload types of the offer.
pub(crate) const PT_OPUS: u8 = 111;
pub(crate) const PT_VP8: u8 = 96;
pub(crate) const PT_RTX: u8 = 97;

/// Packets kept for repair per layer: more than a second of the largest. Older ones are forgotten first.
const HISTORY_PACKETS: usize = 256;
/// libwebrtc's encoders make no two key frames closer than this.
const KEY_FRAME_PAUSE: Duration = Duration::from_millis(300);
/// A packet is not sent again sooner than this after the last time.
const REPAIR_PAUSE: Duration = Duration::from_millis(5);
/// Repairs for each packet sent, and how many may be saved up: as libwebrtc, a sender never repairs more than it sends.
const REPAIRS_PER_PACKET: f64 = 0.5;
const REPAIRS_MAX: f64 = 100.0;
/// Time between the sender reports of a stream.
const REPORT_INTERVAL: Duration = Duration::from_secs(1);
/// A sender later than this skips what it should have sent; the report says so.
const LATE_MAX: Duration = Duration::from_secs(1);
const SOUND_NANOS: u64 = 20_000_000;

/// SSRCs of a point's streams, chosen before the offer.
#[derive(Debug, Clone)]
pub(crate) struct Ssrcs {
    pub(crate) mic: u32,
    /// Media and repair of each layer, lowest first.
    pub(crate) layers: Vec<(u32, u32)>,
}

impl Ssrcs {
    /// Distinct random ones for `layers` layers.
    pub(crate) fn random(rng: &mut impl Rng, layers: usize) -> Self {
        // A multiple of 16 and a number below it cannot meet.
        let base = rng.random::<u32>() & !0xf;
        let layers = (0..layers as u32)
            .map(|i| (base + 1 + 2 * i, base + 2 + 2 * i))
            .collect();
        Self { mic: base, layers }
    }
}

/// What the answer settled.
#[derive(Debug, Clone)]
pub(crate) struct Outgoing {
    pub(crate) point: u32,
    pub(crate) ssrcs: Ssrcs,
    pub(crate) mic_mid: String,
    pub(crate) camera_mid: String,
    pub(crate) mic_extensions: Extensions,
    pub(crate) camera_extensions: Extensions,
    /// Pictures a second.
    pub(crate) fps: u32,
}

/// The time in the two forms that are needed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Now {
    pub(crate) instant: Instant,
    /// Microseconds of the load tester's clock, since 1970.
    pub(crate) us: u64,
}

/// The sender of one point.
#[derive(Debug)]
pub(crate) struct Sender {
    clips: &'static Clips,
    outgoing: Outgoing,
    mic: Stream,
    layers: Vec<Layer>,
    transport_sequence: u16,
    speaking: bool,
    sound_index: usize,
    frame_index: usize,
    units_sound: u32,
    units_frame: u32,
    next_sound: Instant,
    next_frame: Instant,
    next_report: Instant,
    last_key_frame: Option<Instant>,
    key_frame_wanted: bool,
    /// Repairs that may be sent.
    repairs: f64,
    counts: SenderCounts,
}

/// What a sender did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct SenderCounts {
    /// Media packets first sent.
    pub(crate) packets: u64,
    /// Packets sent again because they were asked for.
    pub(crate) repairs: u64,
    /// Key frames beyond those of the loop.
    pub(crate) key_frames: u64,
    /// Times it was later than [`LATE_MAX`].
    pub(crate) late: u64,
}

#[derive(Debug)]
struct Layer {
    media: Stream,
    repair: Stream,
    rid: &'static str,
    clip: u8,
    picture_id: u16,
    tl0_picture: u8,
    history: VecDeque<(Packet, Option<Instant>)>,
    /// The far side wants it.
    active: bool,
    /// It came back and has had no key frame since: nothing of it is sent.
    waits: bool,
}

#[derive(Debug)]
struct Stream {
    ssrc: u32,
    sequence: u16,
    first_time: u32,
    /// RTP time and clock of the last unit.
    last: Option<(u32, Instant)>,
    packets: u32,
    octets: u32,
    /// The far side has reported about it, so that names are no longer needed (as libwebrtc does).
    known: bool,
}

impl Stream {
    fn new(ssrc: u32, rng: &mut impl Rng) -> Self {
        Self {
            ssrc,
            sequence: rng.random(),
            first_time: rng.random(),
            last: None,
            packets: 0,
            octets: 0,
            known: false,
        }
    }

    fn header(&mut self, payload_type: u8, timestamp: u32, marker: bool) -> Header {
        let sequence_number = self.sequence;
        self.sequence = self.sequence.wrapping_add(1);
        Header {
            version: 2,
            marker,
            payload_type,
            sequence_number,
            timestamp,
            ssrc: self.ssrc,
            ..Header::default()
        }
    }

    fn count(&mut self, payload: &Bytes) {
        self.packets = self.packets.wrapping_add(1);
        self.octets = self.octets.wrapping_add(payload.len() as u32);
    }

    fn report(&self, now: Now, clock_rate: u32) -> Option<SenderReport> {
        let (time, at) = self.last?;
        let since = now.instant.saturating_duration_since(at).as_micros() as u64;
        let ticks = (since * u64::from(clock_rate) / 1_000_000) as u32;
        Some(SenderReport {
            ssrc: self.ssrc,
            ntp_time: ntp(now.us),
            rtp_time: time.wrapping_add(ticks),
            packet_count: self.packets,
            octet_count: self.octets,
            ..SenderReport::default()
        })
    }
}

/// NTP time (RFC 3550 section 4) of microseconds since 1970.
pub(crate) fn ntp(us: u64) -> u64 {
    let seconds = us / 1_000_000 + 2_208_988_800;
    let fraction = ((us % 1_000_000) << 32) / 1_000_000;
    seconds << 32 | fraction
}

impl Sender {
    /// A sender that begins at `now`; points begin at different places of the loops and of the clock tick.
    pub(crate) fn new(outgoing: Outgoing, now: Now, rng: &mut impl Rng) -> Self {
        let clips = Clips::builtin();
        let layers = outgoing
            .ssrcs
            .layers
            .iter()
            .zip(RIDS)
            .zip(0..)
            .map(|(((media, repair), rid), clip)| Layer {
                media: Stream::new(*media, rng),
                repair: Stream::new(*repair, rng),
                rid,
                clip,
                picture_id: rng.random::<u16>() & 0x7fff,
                tl0_picture: rng.random(),
                history: VecDeque::with_capacity(HISTORY_PACKETS),
                active: true,
                waits: false,
            });
        let layers = layers.collect();
        let pause = Duration::from_secs(1) / outgoing.fps;
        let phase = Duration::from_nanos(rng.random_range(0..pause.as_nanos() as u64));
        Self {
            clips,
            mic: Stream::new(outgoing.ssrcs.mic, rng),
            layers,
            transport_sequence: rng.random(),
            speaking: false,
            sound_index: clips.silence_from,
            frame_index: 0,
            units_sound: 0,
            units_frame: 0,
            next_sound: now.instant + phase / 4,
            next_frame: now.instant + phase,
            next_report: now.instant + Duration::from_millis(100),
            last_key_frame: None,
            key_frame_wanted: false,
            repairs: REPAIRS_MAX,
            outgoing,
            counts: SenderCounts::default(),
        }
    }

    /// What it did so far.
    pub(crate) fn counts(&self) -> SenderCounts {
        self.counts
    }

    /// RTP time of the first sound and of the first frame of the lowest layer.
    #[cfg(test)]
    pub(crate) fn first_times(&self) -> (u32, u32) {
        (self.mic.first_time, self.layers[0].media.first_time)
    }

    /// Speaks from the beginning of the speech, or is silent.
    pub(crate) fn set_speaking(&mut self, speaking: bool) {
        if self.speaking != speaking {
            self.speaking = speaking;
            self.sound_index = if speaking { 0 } else { self.clips.silence_from };
        }
    }

    /// Sends these layers alone, lowest first. One that comes back begins with a key frame.
    pub(crate) fn set_layers(&mut self, active: impl IntoIterator<Item = bool>) {
        for (layer, active) in self.layers.iter_mut().zip(active) {
            let back = active && !layer.active;
            self.key_frame_wanted |= back;
            layer.waits |= back;
            layer.active = active;
        }
    }

    /// The far side asks for a key frame. All layers answer, at the next frame.
    pub(crate) fn handle_key_frame_request(&mut self, ssrc: u32) {
        self.key_frame_wanted |= self.layers.iter().any(|layer| layer.media.ssrc == ssrc);
    }

    /// The far side has reported about a stream.
    pub(crate) fn handle_report(&mut self, ssrc: u32) {
        let media = self
            .layers
            .iter_mut()
            .flat_map(|layer| [&mut layer.media, &mut layer.repair]);
        for stream in media.chain([&mut self.mic]) {
            stream.known |= stream.ssrc == ssrc;
        }
    }

    /// The far side misses packets of a layer. Sound is not repaired.
    pub(crate) fn handle_nack(&mut self, now: Now, ssrc: u32, missing: &[u16], out: &mut Vec<Packet>) {
        let Some(at) = self.layers.iter().position(|layer| layer.media.ssrc == ssrc) else {
            return;
        };
        for &sequence in missing {
            let layer = &mut self.layers[at];
            let kept = layer
                .history
                .iter_mut()
                .find(|(packet, _)| packet.header.sequence_number == sequence);
            let Some((packet, again)) = kept.filter(|_| self.repairs >= 1.0) else {
                continue;
            };
            if again.is_some_and(|at| now.instant.saturating_duration_since(at) < REPAIR_PAUSE) {
                continue;
            }
            *again = Some(now.instant);
            let mut payload = BytesMut::with_capacity(2 + packet.payload.len());
            payload.put_u16(sequence);
            payload.put_slice(&packet.payload);
            let (time, marker) = (packet.header.timestamp, packet.header.marker);
            let mut header = layer.repair.header(PT_RTX, time, marker);
            let rid = layer.rid;
            self.name(&mut header, Some((rid, true)), true);
            self.repairs -= 1.0;
            self.counts.repairs += 1;
            out.push(Packet {
                header,
                payload: payload.freeze(),
            });
        }
    }

    /// When it wants to be told the time next.
    pub(crate) fn poll_timeout(&self) -> Instant {
        self.next_sound.min(self.next_frame).min(self.next_report)
    }

    /// Sends what is due.
    pub(crate) fn handle_timeout(
        &mut self,
        now: Now,
        out: &mut Vec<Packet>,
        reports: &mut Vec<SenderReport>,
    ) {
        let latest = now.instant.checked_sub(LATE_MAX).unwrap_or(now.instant);
        if self.next_sound < latest || self.next_frame < latest {
            self.counts.late += 1;
            self.next_sound = self.next_sound.max(now.instant);
            self.next_frame = self.next_frame.max(now.instant);
        }
        while self.next_sound <= now.instant {
            self.send_sound(now, out);
            self.next_sound += Duration::from_nanos(SOUND_NANOS);
        }
        while self.next_frame <= now.instant {
            self.send_frame(now, out);
            self.next_frame += Duration::from_secs(1) / self.outgoing.fps;
        }
        if self.next_report <= now.instant {
            reports.extend(self.mic.report(now, 48_000));
            reports.extend(
                self.layers
                    .iter()
                    .filter_map(|layer| layer.media.report(now, 90_000)),
            );
            self.next_report = now.instant + REPORT_INTERVAL;
        }
    }

    fn send_sound(&mut self, now: Now, out: &mut Vec<Packet>) {
        let sound = &self.clips.speech[self.sound_index];
        let mark = Mark {
            source: source_number(self.outgoing.point, Kind::Mic),
            counter: self.units_sound,
            clip: CLIP_SPEECH,
            is_back: false,
            index: self.sound_index as u16,
            sent_us: now.us,
        };
        let payload = marked_sound(&sound.payload, &mark);
        let time = self
            .mic
            .first_time
            .wrapping_add(self.units_sound.wrapping_mul(SOUND_TICKS));
        let mut header = self.mic.header(PT_OPUS, time, self.units_sound == 0);
        self.mic.last = Some((time, now.instant));
        self.mic.count(&payload);
        self.name(&mut header, None, !self.mic.known);
        if let Some(id) = self.outgoing.mic_extensions.audio_level {
            let voice = if self.speaking && sound.level < 127 {
                0x80
            } else {
                0
            };
            // A one-byte extension of an id within 1 to 14 always fits.
            let _ = header.set_extension(id, Bytes::copy_from_slice(&[voice | sound.level]));
        }
        self.units_sound = self.units_sound.wrapping_add(1);
        self.sound_index += 1;
        if self.sound_index >= self.clips.speech.len() {
            self.sound_index = if self.speaking { 0 } else { self.clips.silence_from };
        }
        self.counts.packets += 1;
        out.push(Packet { header, payload });
    }

    fn send_frame(&mut self, now: Now, out: &mut Vec<Packet>) {
        let pause_over = self
            .last_key_frame
            .is_none_or(|at| now.instant.saturating_duration_since(at) >= KEY_FRAME_PAUSE);
        if self.key_frame_wanted && pause_over {
            self.counts.key_frames += u64::from(self.frame_index != 0);
            self.frame_index = 0;
        }
        if self.frame_index == 0 {
            self.key_frame_wanted = false;
            self.last_key_frame = Some(now.instant);
        }
        for at in 0..self.layers.len() {
            let layer = &mut self.layers[at];
            let is_back = layer.waits && self.frame_index == 0;
            layer.waits &= !is_back;
            if layer.active && !layer.waits {
                self.send_layer(now, at, is_back, out);
            }
        }
        let sent = out.len() as f64;
        self.repairs = (self.repairs + sent * REPAIRS_PER_PACKET).min(REPAIRS_MAX);
        self.units_frame = self.units_frame.wrapping_add(1);
        self.frame_index = (self.frame_index + 1) % self.clips.frames();
    }

    fn send_layer(&mut self, now: Now, at: usize, is_back: bool, out: &mut Vec<Packet>) {
        let layer = &mut self.layers[at];
        let mark = Mark {
            source: source_number(self.outgoing.point, Kind::Camera),
            counter: self.units_frame,
            clip: layer.clip,
            is_back,
            index: self.frame_index as u16,
            sent_us: now.us,
        };
        let frame = &self.clips.layers[usize::from(layer.clip)][self.frame_index];
        let payloads = cut(&marked_frame(frame, &mark), layer.picture_id, layer.tl0_picture);
        layer.picture_id = layer.picture_id.wrapping_add(1) & 0x7fff;
        layer.tl0_picture = layer.tl0_picture.wrapping_add(1);
        let time = layer
            .media
            .first_time
            .wrapping_add(self.units_frame.wrapping_mul(90_000 / self.outgoing.fps));
        layer.media.last = Some((time, now.instant));
        let (rid, named, last) = (
            layer.rid,
            !layer.media.known || self.frame_index == 0,
            payloads.len() - 1,
        );
        for (i, payload) in payloads.into_iter().enumerate() {
            let media = &mut self.layers[at].media;
            let mut header = media.header(PT_VP8, time, i == last);
            media.count(&payload);
            self.name(&mut header, Some((rid, false)), named);
            let packet = Packet { header, payload };
            let history = &mut self.layers[at].history;
            if history.len() == HISTORY_PACKETS {
                history.pop_front();
            }
            history.push_back((packet.clone(), None));
            self.counts.packets += 1;
            out.push(packet);
        }
    }

    /// Gives a packet its transport-wide number and, while the far side may not know the stream yet, its names.
    fn name(&mut self, header: &mut Header, rid: Option<(&'static str, bool)>, named: bool) {
        let (ids, mid) = match rid {
            Some(_) => (&self.outgoing.camera_extensions, &self.outgoing.camera_mid),
            None => (&self.outgoing.mic_extensions, &self.outgoing.mic_mid),
        };
        let mut set = |id: Option<u8>, value: &[u8]| {
            if let Some(id) = id {
                // Names of up to 16 bytes under ids of 1 to 14 always fit.
                let _ = header.set_extension(id, Bytes::copy_from_slice(value));
            }
        };
        set(ids.transport_cc, &self.transport_sequence.to_be_bytes());
        if named {
            set(ids.mid, mid.as_bytes());
            match rid {
                Some((rid, false)) => set(ids.rid, rid.as_bytes()),
                Some((rid, true)) => set(ids.rrid, rid.as_bytes()),
                None => {}
            }
        }
        self.transport_sequence = self.transport_sequence.wrapping_add(1);
    }
}

#[cfg(test)]
mod tests;
