//! A scripted camera: VP8 in simulcast layers with temporal layers, that obeys what it is told to send.

use std::time::Duration;

use rand::RngExt;
use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};
use sfu::{
    control::LayerOrder,
    engine::{id::SourceNumber, units::Bitrate},
    wire::rtp,
};

use crate::encoder::{DESCRIPTOR_BYTES, FRAME_HEADER_BYTES, Outgoing, STAMP_BYTES, Sender, Stamp};

/// Largest payload that keeps a packet below 1,200 bytes with its extensions.
const PAYLOAD_MAX: usize = 1_100;
/// A key frame is so many times as large as another.
const KEY_FRAME_FACTOR: f64 = 5.0;
/// ... but never more than this of its rate, seconds, or than three of the others where that is more: libwebrtc bounds what its VP8 encoder may spend on one (half of its
/// rate control's buffer of 600 ms).
const KEY_FRAME_TIME: f64 = 0.3;
const KEY_FRAME_LEAST: f64 = 3.0;
/// An encoder whose parameters change makes so much less than it may until it has shown how well it keeps to its rate: libwebrtc then sets up a new `EncoderBitrateAdjuster`,
/// which waits for thirty pictures, and looks at it about once a second.
const CAUTION: f64 = 1.2;
const CAUTION_TIME: Duration = Duration::from_secs(1);
/// From the order to send a layer to its first frame: browsers set up an encoder.
const START_TIME: Duration = Duration::from_millis(100);
/// A layer that its own path stopped begins again only where so much more than its least fits, so that it does not flap.
const RESTART_SHARE: f64 = 1.25;

/// Temporal layers of eight frames from a key frame on, as browsers send L1T3, and whether the frame refers to layer 0 alone.
const PATTERN: [(u8, bool); 8] = [
    (0, false),
    (2, true),
    (1, true),
    (2, false),
    (0, false),
    (2, false),
    (1, false),
    (2, false),
];
/// Size of a frame of each temporal layer, as a share of the mean: layers 0, 1 and 2 take 40, 20 and 40 % of the bits.
const TEMPORAL_SHARE: [f64; 3] = [1.6, 0.8, 0.8];

/// One simulcast layer.
#[derive(Debug, Clone)]
pub struct Layer {
    /// Its stream.
    pub sender: Sender,
    /// Restriction id.
    pub rid: &'static str,
    /// Frames are made.
    pub is_running: bool,
    /// Bits a second it makes, packet headers not counted.
    pub rate: Bitrate,
    /// Key frames made.
    pub key_frames: u32,
    /// Height of its pictures.
    pub height: u16,
    width: u16,
    /// Bits a second without orders, least and most.
    usual: Bitrate,
    least: Bitrate,
    most: Bitrate,
    order: Option<LayerOrder>,
    stopped_by_path: bool,
    starts_at: Option<Duration>,
    picture_id: u16,
    tl0_pic_idx: u8,
    frame: u32,
    /// Frames since the last key frame, and where the last of temporal layers 0 and 1 were.
    since_key: u32,
    last: [u32; 2],
    /// Shares of a frame that are due, for frame rates below the camera's.
    credit: f64,
    /// Bytes made above the rate, to be saved by the next frames.
    debt: f64,
}

/// A camera with three layers. A request for a key frame on one makes one on all, as browsers do.
#[derive(Debug, Clone)]
pub struct Camera {
    /// Its number in the room.
    pub source: SourceNumber,
    /// Lowest first.
    pub layers: Vec<Layer>,
    /// A key frame is due with the next frame.
    pub key_wanted: bool,
    /// Frames a second it captures.
    pub fps: u8,
    /// Makes three temporal layers.
    pub temporal: bool,
    /// When it makes key frames.
    pub keys: Keys,
    payload_type: u8,
    timestamp_origin: u32,
    budget: Option<Bitrate>,
    /// When an order last changed something.
    ordered_at: Duration,
    rng: ChaCha8Rng,
}

/// When a camera makes key frames.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Keys {
    /// At the beginning and when asked.
    #[default]
    Asked,
    /// Never: a broken sender.
    Never,
    /// Every frame is one.
    Always,
}

impl Camera {
    /// 180p, 360p and 720p at 120, 450 and 1,500 kb/s, as long as nothing else is ordered.
    pub fn new(source: SourceNumber, first_ssrc: u32, payload_type: u8, seed: u64) -> Self {
        let layer = |i: u32, rid, width: u16, height, kbps: [u64; 3]| Layer {
            sender: Sender::new(
                first_ssrc + 2 * i,
                Some(first_ssrc + 2 * i + 1),
                65_500_u16.wrapping_add(i as u16 * 30),
            ),
            rid,
            is_running: true,
            rate: Bitrate::kbps(kbps[1]),
            key_frames: 0,
            height,
            width,
            least: Bitrate::kbps(kbps[0]),
            usual: Bitrate::kbps(kbps[1]),
            most: Bitrate::kbps(kbps[2]),
            order: None,
            stopped_by_path: false,
            starts_at: None,
            picture_id: 0x7FF0 + i as u16,
            tl0_pic_idx: 0xF0 + i as u8,
            frame: 0,
            since_key: 0,
            last: [0; 2],
            credit: 1.0,
            debt: 0.0,
        };
        let layers = vec![
            layer(0, "q", 320, 180, [30, 120, 200]),
            layer(1, "h", 640, 360, [120, 450, 700]),
            layer(2, "f", 1280, 720, [500, 1_500, 2_500]),
        ];
        Self {
            source,
            layers,
            key_wanted: true,
            fps: 15,
            temporal: false,
            keys: Keys::Asked,
            payload_type,
            timestamp_origin: first_ssrc.wrapping_mul(7_919),
            budget: None,
            ordered_at: Duration::ZERO,
            rng: ChaCha8Rng::seed_from_u64(seed),
        }
    }

    /// It makes its highest layer alone.
    pub fn keep_highest(&mut self) {
        self.layers.drain(..self.layers.len().saturating_sub(1));
    }

    /// What a layer makes as long as nothing else is ordered.
    pub fn set_usual(&mut self, layer: usize, rate: Bitrate) {
        (self.layers[layer].usual, self.layers[layer].rate) = (rate, rate);
    }

    /// Its RTP clock jumps by that many ticks.
    pub fn step_clock(&mut self, ticks: u32) {
        self.timestamp_origin = self.timestamp_origin.wrapping_add(ticks);
    }

    /// Time between frames.
    pub fn frame_time(&self) -> Duration {
        Duration::from_nanos(1_000_000_000 / u64::from(self.fps.max(1)))
    }

    /// What it is to send from now on, lowest layer first.
    pub fn obey(&mut self, age: Duration, orders: &[LayerOrder]) {
        for (layer, order) in self.layers.iter_mut().zip(orders) {
            let former = layer.order.replace(*order);
            if former != Some(*order) {
                self.ordered_at = age;
            }
        }
        self.adapt(age);
    }

    /// What its own path takes for pictures.
    pub fn set_budget(&mut self, age: Duration, budget: Bitrate) {
        self.budget = Some(budget);
        self.adapt(age);
    }

    /// Bits a second that it would send if its path took it.
    pub fn wanted(&self) -> Bitrate {
        Bitrate::bps(self.layers.iter().map(|layer| layer.wanted().as_bps()).sum())
    }

    /// Gives each layer its bitrate, the lowest first; where the path takes less than a layer's least, it and those above stop.
    fn adapt(&mut self, age: Duration) {
        let mut left = self.budget.unwrap_or(Bitrate::bps(u64::MAX)).as_bps();
        let mut is_full = false;
        for layer in &mut self.layers {
            let wanted = layer.wanted().as_bps();
            let least = wanted.min(layer.least.as_bps()) as f64;
            let needed = if layer.stopped_by_path {
                least * RESTART_SHARE
            } else {
                least
            };
            let fits = !is_full && left as f64 >= needed;
            layer.stopped_by_path = wanted > 0 && !fits;
            is_full |= layer.stopped_by_path;
            let given = if fits { wanted.min(left) } else { 0 };
            left -= given;
            layer.run(age, Bitrate::bps(given));
        }
    }

    /// The packets of the frame captured at `age` after the camera's start.
    pub fn frame(&mut self, age: Duration) -> Vec<Outgoing> {
        let mut key = std::mem::take(&mut self.key_wanted);
        for layer in &mut self.layers {
            if layer.starts_at.is_some_and(|at| at <= age) {
                layer.starts_at = None;
                layer.is_running = true;
                layer.debt = 0.0;
                key = true;
            }
        }
        let key = match self.keys {
            Keys::Asked => key,
            Keys::Never => false,
            Keys::Always => true,
        };
        let timestamp = self
            .timestamp_origin
            .wrapping_add((age.as_micros() * 90 / 1_000) as u32);
        let mut out = Vec::new();
        for index in 0..self.layers.len() {
            let layer = &mut self.layers[index];
            if !layer.is_running || !layer.is_due(self.fps, key) {
                continue;
            }
            let noise = 0.75 + 0.5 * self.rng.random::<f64>();
            let stamp = layer.next_stamp(self.source, index as u8, key, self.temporal);
            let is_new = age < self.ordered_at + CAUTION_TIME;
            let caution = if is_new { CAUTION } else { 1.0 };
            let size = layer.size(stamp, self.fps, self.temporal, noise / caution);
            layer.packets(stamp, size, timestamp, self.payload_type, &mut out);
        }
        out
    }
}

impl Layer {
    fn wanted(&self) -> Bitrate {
        match self.order {
            Some(order) if order.active => order.bitrate_max.clamp(Bitrate::kbps(15), self.most),
            Some(_) => Bitrate::ZERO,
            None => self.usual,
        }
    }

    fn run(&mut self, age: Duration, rate: Bitrate) {
        self.rate = rate;
        if rate == Bitrate::ZERO {
            self.is_running = false;
            self.starts_at = None;
        } else if !self.is_running && self.starts_at.is_none() {
            self.starts_at = Some(age + START_TIME);
        }
    }

    fn fps(&self, camera: u8) -> f64 {
        f64::from(self.order.map_or(camera, |order| order.fps_max.clamp(1, camera)))
    }

    /// Whether the camera's next frame is one of this layer too.
    fn is_due(&mut self, camera_fps: u8, key: bool) -> bool {
        self.credit += self.fps(camera_fps) / f64::from(camera_fps.max(1));
        if self.credit < 0.999 && !key {
            return false;
        }
        self.credit = (self.credit - 1.0).clamp(0.0, 1.0);
        true
    }

    fn next_stamp(&mut self, source: SourceNumber, index: u8, key: bool, temporal: bool) -> Stamp {
        let is_first = self.frame == 0;
        if key {
            self.since_key = 0;
        }
        let place = if temporal {
            self.since_key as usize % PATTERN.len()
        } else {
            0
        };
        let (tid, sync) = PATTERN[place];
        let back = |last: u32| (self.frame - last).min(255) as u8;
        let refers_back = match (key || is_first, tid) {
            (true, _) => [0, 0],
            (_, 0) => [back(self.last[0]), 0],
            _ if sync => [back(self.last[0]), 0],
            _ => [back(self.last[0]), back(self.last[1])],
        };
        let stamp = Stamp {
            source: source.get(),
            layer: index,
            frame: self.frame,
            key,
            temporal: tid,
            refers_back,
            ..Stamp::default()
        };
        if tid < 2 {
            self.last[usize::from(tid)] = self.frame;
        }
        if key {
            self.last[1] = self.frame;
        }
        self.tl0_pic_idx = self.tl0_pic_idx.wrapping_add(u8::from(tid == 0));
        self.frame += 1;
        self.since_key += 1;
        self.key_frames += u32::from(key);
        self.picture_id = (self.picture_id + 1) & 0x7FFF;
        stamp
    }

    /// Bytes of a frame: what the rate allows, by temporal layer, with chance; what a key frame took too much is saved by those after it.
    fn size(&mut self, stamp: Stamp, camera_fps: u8, temporal: bool, noise: f64) -> usize {
        let fps = self.fps(camera_fps);
        let mean = self.rate.as_bps() as f64 / 8.0 / fps;
        let share = if temporal {
            TEMPORAL_SHARE[usize::from(stamp.temporal)]
        } else {
            1.0
        };
        let planned = mean * share;
        let size = if stamp.key {
            let most = (KEY_FRAME_TIME * fps).max(KEY_FRAME_LEAST);
            mean * KEY_FRAME_FACTOR.min(most) * noise.min(1.1)
        } else {
            (planned * noise - self.debt.min(planned * 0.3)).max(planned * 0.3)
        };
        self.debt = (self.debt + size - planned).max(0.0);
        size as usize
    }

    fn packets(
        &mut self,
        stamp: Stamp,
        bytes: usize,
        timestamp: u32,
        payload_type: u8,
        out: &mut Vec<Outgoing>,
    ) {
        let count = bytes.div_ceil(PAYLOAD_MAX).clamp(1, 250);
        let least = DESCRIPTOR_BYTES + FRAME_HEADER_BYTES + STAMP_BYTES;
        let size = (bytes / count).clamp(least, PAYLOAD_MAX);
        for index in 0..count {
            let stamp = Stamp {
                index: index as u8,
                count: count as u8,
                ..stamp
            };
            let payload = self.payload(stamp, size);
            let header = rtp::HeaderFields {
                marker: index + 1 == count,
                payload_type,
                sequence: self.sender.next_sequence(),
                timestamp,
                ssrc: self.sender.ssrc,
                padding: false,
            };
            out.push(self.sender.send(header, payload, Some(self.rid), None));
        }
    }

    fn payload(&self, stamp: Stamp, size: usize) -> Vec<u8> {
        let start = if stamp.index == 0 { 0x10 } else { 0 };
        let [id_high, id_low] = self.picture_id.to_be_bytes();
        let only_base = stamp.temporal == 0 || stamp.refers_back[1] == 0;
        let mut payload = Vec::with_capacity(size);
        // X | S, then I L T, a 15-bit picture id, TL0PICIDX, TID and Y (RFC 7741 §4.2).
        payload.extend_from_slice(&[
            0x80 | start,
            0xE0,
            0x80 | id_high,
            id_low,
            self.tl0_pic_idx,
            stamp.temporal << 6 | u8::from(only_base) << 5,
        ]);
        // RFC 6386 §9.1: bit 0 of the frame tag is 0 in a key frame, then start code, width and height.
        payload.extend_from_slice(&[u8::from(!stamp.key) | 0x10, 0, 0, 0x9D, 0x01, 0x2A]);
        payload.extend_from_slice(&self.width.to_le_bytes());
        payload.extend_from_slice(&self.height.to_le_bytes());
        stamp.write(&mut payload);
        payload.resize(size, stamp.frame as u8 ^ stamp.index);
        payload
    }
}
