//! The slot's own numbers, time and picture ids, straight over every change of what it shows.

use std::time::Duration;

use super::{
    arrival::Picture,
    continued::Continued,
    descriptor::Frame,
    drops::{self, Drops},
    id::MediaKind,
    packet::{Codec, PayloadPatch, StreamOrigin},
    pictures::Pictures,
    seq::{RtpTime, Seq},
};

/// What is rewritten of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Original {
    /// RTP time in its own stream.
    pub timestamp: RtpTime,
    /// When it was taken, on the node's clock.
    pub capture: Duration,
    /// Marker bit.
    pub marker: bool,
    /// How long its sound lasts, in ticks; of a picture nobody asks.
    pub lasts: u16,
    /// Its codec.
    pub codec: Codec,
    /// Of a picture's packet.
    pub video: Option<Picture>,
    /// Of a packet that is kept with its dependency descriptor.
    pub frame: Option<Frame>,
}

/// The slot's side of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rewritten {
    /// Number in the slot.
    pub sequence: Seq,
    /// RTP time in the slot, unwrapped.
    pub timestamp: RtpTime,
    /// What to change in the payload.
    pub patch: PayloadPatch,
    /// Frame number in the slot, for a dependency descriptor.
    pub frame: Option<u16>,
}

/// Why a packet gets no number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Skip {
    /// From before the stretch.
    BeforeStretch,
    /// Older than all that is remembered, or its number was left out.
    TooLate,
    /// Sound that lies under what was sent already.
    Overlap,
    /// So far ahead that it cannot be the same stream: begin a new stretch.
    Jump,
}

/// Numbers of one slot.
#[derive(Debug)]
#[repr(C)] // what each packet asks lies together
pub struct Rewriter {
    /// One above the highest number given.
    next: Seq,
    stretch: Option<Stretch>,
    time: TimeLine,
    picture: Continued,
    tl0: Continued,
    frame: Continued,
}

/// A run of packets of one layer stream.
#[derive(Debug, Clone)]
struct Stretch {
    first: Seq,
    highest: Seq,
    first_out: Seq,
    drops: Drops,
}

/// Farther ahead is no loss: receivers would ask for hundreds of packets that never were.
const JUMP_PACKETS: u64 = 512;

impl Rewriter {
    /// Of a slot that has sent nothing yet. `rate` in ticks a second.
    pub fn new(kind: MediaKind, rate: u32, origin: StreamOrigin) -> Self {
        Self {
            next: Seq::first(origin.sequence),
            stretch: None,
            time: TimeLine::new(kind, rate, origin.timestamp),
            picture: Continued::starting_at(origin.picture_id & 0x7fff),
            tl0: Continued::starting_at(origin.tl0_pic_idx.into()),
            frame: Continued::starting_at(origin.picture_id),
        }
    }

    /// The first packet of a stretch.
    pub fn begin(&mut self, sequence: Seq, packet: &Original) -> Result<Rewritten, Skip> {
        let timestamp = self.time.begin(packet)?;
        Ok(self.start(sequence, packet, timestamp))
    }

    /// The first packet after silence that was not sent, of the stream that is shown: numbers begin anew, time goes on.
    pub fn resume(&mut self, sequence: Seq, packet: &Original) -> Result<Rewritten, Skip> {
        let timestamp = match self.stretch {
            Some(_) => self.time.resume(packet)?,
            None => self.time.begin(packet)?,
        };
        Ok(self.start(sequence, packet, timestamp))
    }

    fn start(&mut self, sequence: Seq, packet: &Original, timestamp: u64) -> Rewritten {
        self.picture.interrupt();
        self.tl0.interrupt();
        self.frame.interrupt();
        let mut drops = Drops::from(sequence.0);
        drops.give(sequence.0);
        self.stretch = Some(Stretch {
            first: sequence,
            highest: sequence,
            first_out: self.next,
            drops,
        });
        self.number(self.next, timestamp, packet)
    }

    /// A further packet of it.
    pub fn follow(&mut self, sequence: Seq, packet: &Original) -> Result<Rewritten, Skip> {
        let stretch = self.stretch.as_mut().ok_or(Skip::BeforeStretch)?;
        let distance = sequence
            .0
            .checked_sub(stretch.first.0)
            .ok_or(Skip::BeforeStretch)?;
        if sequence.0 > stretch.highest.0 + JUMP_PACKETS {
            return Err(Skip::Jump);
        }
        let shift = stretch
            .drops
            .shift(sequence.0)
            .map_err(|drops::NoPlace| Skip::TooLate)?;
        let ahead = sequence.0.saturating_sub(stretch.highest.0);
        let timestamp = self.time.follow(packet, ahead)?;
        stretch.highest = stretch.highest.max(sequence);
        stretch.drops.give(sequence.0);
        let number = Seq(stretch.first_out.0 + distance - shift);
        Ok(self.number(number, timestamp, packet))
    }

    /// A packet of the stretch is not sent, on purpose: its number and the id of its picture are given to the next one.
    /// If a later one has been sent already, its place stays empty. False if it is from before the stretch.
    pub fn leave_out(&mut self, sequence: Seq, packet: &Original) -> bool {
        let Some(stretch) = &mut self.stretch else {
            return false;
        };
        if sequence < stretch.first || sequence.0 > stretch.highest.0 + JUMP_PACKETS {
            return sequence >= stretch.first;
        }
        stretch.highest = stretch.highest.max(sequence);
        stretch.drops.leave_out(sequence.0);
        // Ids of VP9 keep their distances: frames name by them what they lean on.
        let counted = packet.video.filter(|_| packet.codec == Codec::Vp8);
        if let Some(id) = counted.and_then(|video| video.picture_id) {
            self.picture.leave_out(id.value, id.bits());
        }
        true
    }

    /// Nothing is shown; what comes next begins a stretch.
    pub fn end(&mut self) {
        self.stretch = None;
    }

    /// The first number of the stretch.
    pub fn began(&self) -> Option<Seq> {
        self.stretch.as_ref().map(|stretch| stretch.first_out)
    }

    /// One above the highest number given.
    pub fn next(&self) -> Seq {
        self.next
    }

    /// The slot's RTP time at `time` on the node's clock, for sender reports.
    pub fn time_at(&self, time: Duration) -> RtpTime {
        RtpTime(self.time.line(time).saturating_add_signed(self.time.skew))
    }

    fn number(&mut self, sequence: Seq, timestamp: u64, packet: &Original) -> Rewritten {
        self.next = self.next.max(Seq(sequence.0 + 1));
        let video = packet.video.unwrap_or_default();
        let picture_id = video
            .picture_id
            .map(|id| self.picture.next(id.value, id.bits()) & 0x7fff);
        let tl0_pic_idx = video
            .tl0_pic_idx
            .map(|index| self.tl0.next(index.into(), 8) as u8);
        let patch = match packet.codec {
            Codec::Vp8 => PayloadPatch::Vp8 {
                picture_id,
                tl0_pic_idx,
            },
            Codec::Vp9 => PayloadPatch::Vp9 {
                picture_id,
                tl0_pic_idx,
            },
            Codec::Opus | Codec::H264 | Codec::Av1 => PayloadPatch::None,
        };
        Rewritten {
            sequence,
            timestamp: RtpTime(timestamp),
            patch,
            frame: packet.frame.map(|frame| self.frame.next(frame.number, 16)),
        }
    }
}

/// RTP time of a slot: the node's clock x rate + origin, bent as little as continuity asks for.
#[derive(Debug)]
struct TimeLine {
    kind: MediaKind,
    /// Sound: how long the newest packet lasts.
    lasts: u16,
    rate: u32,
    origin: u64,
    /// Greatest time given.
    last: Option<u64>,
    /// How far the stretch lies beside the node's line: sound keeps its sender's ticks.
    skew: i64,
    /// Sound: greatest time of the stretch, in and out, and where the present run on the sender's ticks began.
    newest: (RtpTime, u64),
    run_began: RtpTime,
    /// Pictures by their time in, and of the time out the bits on the wire.
    pictures: Pictures<u32>,
}

impl TimeLine {
    fn new(kind: MediaKind, rate: u32, origin: u32) -> Self {
        Self {
            kind,
            lasts: 0,
            rate,
            origin: RtpTime::first(origin).0,
            last: None,
            skew: 0,
            newest: (RtpTime(0), 0),
            run_began: RtpTime(0),
            pictures: Pictures::new(),
        }
    }

    /// Time on the straight line.
    fn line(&self, time: Duration) -> u64 {
        let ticks = time.as_nanos() * u128::from(self.rate) / 1_000_000_000;
        self.origin
            .saturating_add(u64::try_from(ticks).unwrap_or(u64::MAX / 2))
    }

    fn ms(&self, milliseconds: u64) -> u64 {
        u64::from(self.rate) * milliseconds / 1_000
    }

    fn begin(&mut self, packet: &Original) -> Result<u64, Skip> {
        match self.kind {
            MediaKind::Audio => {
                let out = self.join(packet.capture)?;
                self.run(packet, out);
                Ok(out)
            }
            MediaKind::Video => {
                self.pictures.clear();
                Ok(self.append(packet))
            }
        }
    }

    /// `ahead`: how many numbers above the highest one; 0 if it is late.
    fn follow(&mut self, packet: &Original, ahead: u64) -> Result<u64, Skip> {
        match self.kind {
            MediaKind::Audio => self.follow_sound(packet, ahead),
            MediaKind::Video => self.follow_picture(packet),
        }
    }

    /// A voice goes on by its sender's ticks, unless they have parted from the line meanwhile.
    fn resume(&mut self, packet: &Original) -> Result<u64, Skip> {
        let (newest_in, newest_out) = self.newest;
        let passed = packet
            .timestamp
            .0
            .checked_sub(newest_in.0)
            .filter(|&passed| passed > 0);
        let kept = passed.map(|passed| newest_out + passed);
        match kept.filter(|out| out.abs_diff(self.line(packet.capture)) <= self.ms(DRIFT_MS)) {
            Some(out) => {
                self.run(packet, out);
                Ok(out)
            }
            None => self.begin(packet),
        }
    }

    /// Where a new voice begins, so that it neither tears a hole nor lies under the former one.
    fn join(&self, capture: Duration) -> Result<u64, Skip> {
        let line = self.line(capture);
        let Some(last) = self.last else { return Ok(line) };
        let end = last + u64::from(self.lasts);
        if line.abs_diff(end) <= self.ms(JOIN_MS) {
            return Ok(end);
        }
        if line > end {
            return Ok(line);
        }
        if end - line <= self.ms(OVERLAP_MS) {
            Err(Skip::Overlap)
        } else {
            Ok(end)
        }
    }

    /// From this packet on the sender's ticks count.
    fn run(&mut self, packet: &Original, out: u64) {
        self.run_began = packet.timestamp;
        self.go_on(packet, out);
    }

    fn go_on(&mut self, packet: &Original, out: u64) {
        self.newest = (packet.timestamp, out);
        self.lasts = packet.lasts;
        self.skew = out.wrapping_sub(self.line(packet.capture)).cast_signed();
        self.last = Some(out);
    }

    fn follow_sound(&mut self, packet: &Original, ahead: u64) -> Result<u64, Skip> {
        let (newest_in, newest_out) = self.newest;
        let out = newest_out.wrapping_add(packet.timestamp.0.wrapping_sub(newest_in.0));
        if ahead == 0 || packet.timestamp <= newest_in {
            return if packet.timestamp >= self.run_began {
                Ok(out)
            } else {
                Err(Skip::TooLate)
            };
        }
        let (line, lasts) = (self.line(packet.capture), u64::from(self.lasts));
        let end = newest_out + lasts;
        let step = packet.timestamp.0 - newest_in.0;
        // Some senders mark every packet, and what was lost on the way is no pause.
        let pause = step > lasts * ahead && (packet.marker || step > self.ms(PAUSE_MS));
        let placed = if pause || line > out + self.ms(DRIFT_MS) {
            line.max(end)
        } else if out > line + self.ms(DRIFT_MS) {
            line.max(end).min(out)
        } else {
            out
        };
        if placed != out {
            self.run_began = packet.timestamp;
        }
        self.go_on(packet, placed);
        Ok(placed)
    }

    fn follow_picture(&mut self, packet: &Original) -> Result<u64, Skip> {
        if let Some(out) = self
            .last
            .filter(|_| self.pictures.newest() == Some(packet.timestamp))
        {
            return Ok(out); // as for all packets of a picture but its first
        }
        let at = self.pictures.end_before(packet.timestamp);
        let before = at.checked_sub(1).and_then(|i| self.picture(i));
        match (before, self.picture(at)) {
            (_, Some((time, out))) if time == packet.timestamp => Ok(out),
            (_, None) => Ok(self.append(packet)),
            (None, Some(_)) => Err(Skip::TooLate),
            (Some(before), Some(after)) => {
                let out = between(before, after, packet.timestamp).ok_or(Skip::TooLate)?;
                self.pictures.insert(at, packet.timestamp, out as u32);
                Ok(out)
            }
        }
    }

    /// Time in and out.
    fn picture(&self, at: usize) -> Option<(RtpTime, u64)> {
        let (time, out) = self.pictures.get(at)?;
        Some((time, RtpTime(self.last?).nearest(out).0))
    }

    /// A picture newer than all before.
    fn append(&mut self, packet: &Original) -> u64 {
        let line = self.line(packet.capture);
        let out = self.last.map_or(line, |last| line.max(last + self.ms(1)));
        self.last = Some(out);
        self.pictures
            .insert(self.pictures.len(), packet.timestamp, out as u32);
        out
    }
}

/// A new voice that begins so near the end of the former one follows it without a gap.
const JOIN_MS: u64 = 20;
/// A longer step between two packets is a pause of the sender (DTX), unless lost ones fill it.
const PAUSE_MS: u64 = 60;
/// So far beside the node's line lips and voice begin to part.
const DRIFT_MS: u64 = 30;
/// More of a voice than this is not cut off when it takes over a slot.
const OVERLAP_MS: u64 = 200;

/// A time strictly between two pictures for one that came late.
fn between(before: (RtpTime, u64), after: (RtpTime, u64), time: RtpTime) -> Option<u64> {
    let room = after.1.saturating_sub(before.1);
    if room < 2 {
        return None;
    }
    let share = u128::from(room) * u128::from(time.0 - before.0.0) / u128::from(after.0.0 - before.0.0);
    Some(before.1 + (share as u64).clamp(1, room - 1))
}

#[cfg(test)]
#[path = "rewriter_tests.rs"]
mod tests;
