//! What a point expects of a slot: numbers without holes, whole frames of the clip that the mark names, key frame first,
//! time that never goes back, and the name that the slot message gave.
//!
//! A [`SlotCheck`] is told packets in the order they came; it puts them in the order of their numbers, waits for repairs,
//! and judges the stream as a decoder and a page would. It is told the time and has no clock.

mod counts;
mod names;
mod order;
mod succession;

use bytes::{Bytes, BytesMut};

pub(crate) use self::counts::{SlotCounts, Violation};
use self::{
    names::{Compared, Names},
    order::Order,
    succession::{Follows, Stretch, Unit},
};
use crate::{
    clip::{Clips, is_key_frame},
    histogram::Histogram,
    media::{CLIP_SPEECH, Mark, read_descriptor, unmark_frame, unmark_sound},
};

/// A slot message may come this much later than the first packet it speaks of.
const NAME_US: u64 = 1_000_000;
/// Pause between two requests for a key frame.
const PLI_PAUSE_US: u64 = 500_000;
/// A frame of more bytes than this is torn.
const FRAME_BYTES_MAX: usize = 1 << 20;

/// Sound or picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SlotKind {
    Voice,
    Picture,
}

/// A packet of a slot, decapsulated if it came as RTX.
#[derive(Debug, Clone)]
pub(crate) struct Arrived {
    pub(crate) sequence: u16,
    pub(crate) time: u32,
    pub(crate) marker: bool,
    pub(crate) csrc: Option<u32>,
    pub(crate) payload: Bytes,
    pub(crate) at_us: u64,
    pub(crate) repair: bool,
}

/// The judge of one slot.
#[derive(Debug)]
pub(crate) struct SlotCheck {
    kind: SlotKind,
    order: Option<Order>,
    frame: Option<Frame>,
    stretch: Stretch,
    /// PictureID and TL0PICIDX of the last whole frame.
    picture: Option<(u16, u8)>,
    /// Something was lost since the last whole unit.
    hole: bool,
    /// A decoder could go on: nothing was lost since the last key frame.
    decodable: bool,
    last_pli_us: u64,
    /// Its pictures have no numbers.
    is_blind: bool,
    names: Names,
    counts: SlotCounts,
    latency: Histogram,
    /// Of the last frame, as long as the next has not told whether it was served from what the node had kept.
    latencies_us: Vec<u64>,
    log: Vec<String>,
}

/// Most lines kept of what was wrong; the counts go on.
const LOG_MAX: usize = 4;

/// A frame that is being put together.
#[derive(Debug)]
struct Frame {
    time: u32,
    csrc: Option<u32>,
    picture_id: u16,
    tl0_picture: u8,
    unit: BytesMut,
    arrivals_us: Vec<u64>,
}

/// Whether one picture follows another. Frames of upper temporal layers keep TL0PICIDX (RFC 7741 §4.2): browsers send them,
/// the points of this load tester do not.
fn follows_picture((last_id, last_tl0): (u16, u8), (id, tl0): (u16, u8), layered: bool) -> bool {
    id == (last_id + 1) & 0x7fff && (tl0 == last_tl0.wrapping_add(1) || layered && tl0 == last_tl0)
}

impl SlotCheck {
    /// A slot that nothing came in yet.
    pub(crate) fn new(kind: SlotKind) -> Self {
        Self {
            kind,
            order: None,
            frame: None,
            stretch: Stretch::default(),
            picture: None,
            hole: false,
            decodable: true,
            last_pli_us: 0,
            is_blind: false,
            names: Names::default(),
            counts: SlotCounts::default(),
            latency: Histogram::default(),
            latencies_us: Vec::new(),
            log: Vec::new(),
        }
    }

    /// Of sources with so many pictures a second.
    pub(crate) fn with_fps(mut self, fps: u32) -> Self {
        self.stretch = Stretch::new(fps);
        self
    }

    pub(crate) fn is_of_pictures(&self) -> bool {
        self.kind == SlotKind::Picture
    }

    /// What it received so far.
    pub(crate) fn counts(&self) -> &SlotCounts {
        &self.counts
    }

    /// Microseconds from sender to here, per packet.
    pub(crate) fn latency(&self) -> &Histogram {
        &self.latency
    }

    /// What was wrong, in words, the first few.
    pub(crate) fn log(&self) -> &[String] {
        &self.log
    }

    /// The slot message said: from `time` on the slot shows `source`.
    pub(crate) fn announce(&mut self, source: u32, time: u32) {
        self.names.announce(source, time);
    }

    /// A packet came. `ours` says whether a point (its number) is one of this load tester, so that a mark is due.
    pub(crate) fn handle(&mut self, packet: Arrived, ours: &dyn Fn(u32) -> bool) {
        let wire = packet.sequence;
        let order = self.order.get_or_insert_with(|| Order::new(wire));
        let Some(sequence) = order.unwrap(wire) else {
            self.order = None;
            self.hole = true;
            self.frame = None;
            return self.violate(Violation::Jump, || format!("number {wire} is far from the last"));
        };
        if !order.take(sequence, packet, &mut self.counts) {
            self.violate(Violation::Duplicate, || format!("number {wire} came twice"));
        }
        self.drain(ours);
    }

    /// Gives up what is too old and compares names. To be called every few ten milliseconds.
    pub(crate) fn handle_timeout(&mut self, now_us: u64, ours: &dyn Fn(u32) -> bool) {
        self.give_up(now_us, ours);
        self.compare_names(now_us.saturating_sub(NAME_US));
    }

    /// Whether a repair is still awaited.
    #[cfg(test)]
    pub(crate) fn is_waiting(&self) -> bool {
        self.order.as_ref().is_some_and(Order::is_waiting)
    }

    /// Numbers to ask for now.
    pub(crate) fn poll_nacks(&mut self, now_us: u64) -> Vec<u16> {
        self.order
            .as_mut()
            .map(|order| order.poll_nacks(now_us))
            .unwrap_or_default()
    }

    /// Whether to ask for a key frame now.
    pub(crate) fn poll_key_frame_request(&mut self, now_us: u64) -> bool {
        let due = !self.decodable && now_us.saturating_sub(self.last_pli_us) >= PLI_PAUSE_US;
        if due {
            self.last_pli_us = now_us;
        }
        due
    }

    /// The end: what is missing for too long is lost, and what has no name though its time for that is over gets none. What may still be
    /// on its way is nobody's fault.
    pub(crate) fn finish(&mut self, now_us: u64, ours: &dyn Fn(u32) -> bool) {
        self.give_up(now_us, ours);
        self.note_latencies(false, Vec::new());
        self.compare_names(now_us.saturating_sub(NAME_US));
    }

    fn give_up(&mut self, now_us: u64, ours: &dyn Fn(u32) -> bool) {
        let lost = self.order.as_mut().map_or(0, |order| order.give_up(now_us));
        if lost > 0 {
            self.counts.lost += lost;
            self.drain(ours);
        }
    }

    fn violate(&mut self, violation: Violation, words: impl FnOnce() -> String) {
        self.counts.violations[violation as usize] += 1;
        if self.log.len() < LOG_MAX {
            self.log.push(format!("{violation:?}: {}", words()));
        }
    }

    fn drain(&mut self, ours: &dyn Fn(u32) -> bool) {
        while let Some(order) = &mut self.order {
            let mut hole = false;
            let packet = order.poll(&mut hole);
            if hole {
                // Decoding stops at a hole, whatever the frame was that it is in.
                self.hole = true;
                self.frame = None;
                self.decodable = false;
            }
            let Some(packet) = packet else { return };
            match (packet.payload.is_empty(), self.kind) {
                (true, _) => {} // padding alone: only its number counts
                (false, SlotKind::Voice) => self.judge_sound(packet, ours),
                (false, SlotKind::Picture) => self.assemble(packet, ours),
            }
        }
    }

    fn assemble(&mut self, packet: Arrived, ours: &dyn Fn(u32) -> bool) {
        let Some((descriptor, data)) = read_descriptor(&packet.payload) else {
            return self.violate(Violation::Torn, || {
                format!("no VP8 descriptor at {}", packet.time)
            });
        };
        let Some((picture_id, tl0_picture)) = descriptor.picture_id.zip(descriptor.tl0_picture) else {
            return self.go_blind();
        };
        if let Some(frame) = &self.frame
            && (descriptor.start || frame.time != packet.time || frame.picture_id != picture_id)
        {
            let (time, picture) = (frame.time, (frame.picture_id, frame.tl0_picture));
            self.frame = None;
            if descriptor.start && is_key_frame(data) {
                // A switch went between the packets of a frame of the former source or layer: a decoder drops that frame.
                if self.picture.is_some() {
                    self.picture = Some(picture);
                }
            } else {
                self.violate(Violation::Torn, || format!("the frame at {time} has no end"));
            }
        }
        if self.frame.is_none() {
            if !descriptor.start {
                if self.stretch.is_new() && !self.hole {
                    // The slot began before the first packet that came.
                    self.counts.lost += 1;
                    self.hole = true;
                    self.decodable = false;
                }
                if !self.hole {
                    self.violate(Violation::Torn, || {
                        format!("the frame at {} has no beginning", packet.time)
                    });
                }
                return;
            }
            self.frame = Some(Frame {
                time: packet.time,
                csrc: packet.csrc,
                picture_id,
                tl0_picture,
                unit: BytesMut::new(),
                arrivals_us: Vec::new(),
            });
        }
        let frame = self.frame.as_mut().expect("made above if there was none");
        if frame.unit.len() + data.len() <= FRAME_BYTES_MAX {
            frame.unit.extend_from_slice(data);
            frame.arrivals_us.push(packet.at_us);
        }
        if packet.marker
            && let Some(frame) = self.frame.take()
        {
            self.judge_frame(frame, packet.at_us, ours);
        }
    }

    /// Without the numbers of pictures nothing can be said of frames: that is told, once.
    fn go_blind(&mut self) {
        if !std::mem::replace(&mut self.is_blind, true) {
            self.violate(Violation::Picture, || {
                "no picture id or no TL0PICIDX in the VP8 descriptors: these pictures cannot be checked"
                    .to_owned()
            });
        }
    }

    fn judge_frame(&mut self, frame: Frame, now_us: u64, ours: &dyn Fn(u32) -> bool) {
        let hole = std::mem::take(&mut self.hole);
        let key = is_key_frame(&frame.unit);
        let mark = match unmark_frame(&frame.unit) {
            Some((data, mark)) => {
                let layer = Clips::builtin().layers.get(usize::from(mark.clip));
                let sent = layer.and_then(|frames| frames.get(usize::from(mark.index)));
                self.judge_mark(&mark, frame.csrc, sent.is_some_and(|sent| sent == data));
                Some(mark)
            }
            None => {
                self.judge_unmarked(frame.csrc, ours);
                None
            }
        };
        let picture = (frame.picture_id, frame.tl0_picture);
        let unit = Unit {
            time: frame.time,
            csrc: frame.csrc,
            mark,
            key,
        };
        let follows = self.follow(unit, hole);
        if let Some(last) = self.picture.replace(picture)
            && !hole
            && !follows_picture(last, picture, mark.is_none())
        {
            self.violate(Violation::Picture, || {
                format!("picture {picture:?} after {last:?}")
            });
        }
        if key {
            self.decodable = true;
        } else if follows == Follows::Begins && self.decodable && !hole {
            self.decodable = false;
            self.violate(Violation::NoKeyFrame, || {
                format!("frame at {} of {:?}", frame.time, frame.csrc)
            });
        }
        self.counts.undecodable += u64::from(!self.decodable);
        self.counts.units += 1;
        let latency = |at_us: &u64| mark.map(|mark| at_us.saturating_sub(mark.sent_us));
        let latencies_us = frame.arrivals_us.iter().filter_map(latency).collect();
        self.note_latencies(follows == Follows::Served, latencies_us);
        let resumes = follows == Follows::Resumes;
        self.names.observe(frame.csrc, frame.time, now_us, resumes);
    }

    /// What was kept tells how old it is and not how long the way took; the frame before a served one was served too.
    fn note_latencies(&mut self, served: bool, latencies_us: Vec<u64>) {
        let before = std::mem::replace(&mut self.latencies_us, latencies_us);
        if served {
            self.latencies_us.clear();
        } else {
            before.into_iter().for_each(|us| self.latency.record(us));
        }
    }

    fn judge_sound(&mut self, packet: Arrived, ours: &dyn Fn(u32) -> bool) {
        let hole = std::mem::take(&mut self.hole);
        let mark = match unmark_sound(&packet.payload) {
            Some((toc, frame, mark)) => {
                let sent = Clips::builtin().speech.get(usize::from(mark.index));
                let same = sent.is_some_and(|sent| sent.payload[0] == toc && &sent.payload[1..] == frame);
                self.judge_mark(&mark, packet.csrc, same && mark.clip == CLIP_SPEECH);
                self.latency.record(packet.at_us.saturating_sub(mark.sent_us));
                Some(mark)
            }
            None => {
                self.judge_unmarked(packet.csrc, ours);
                None
            }
        };
        let unit = Unit {
            time: packet.time,
            csrc: packet.csrc,
            mark,
            key: false,
        };
        let follows = self.follow(unit, hole);
        self.counts.units += 1;
        let resumes = follows == Follows::Resumes;
        self.names
            .observe(packet.csrc, packet.time, packet.at_us, resumes);
    }

    fn judge_mark(&mut self, mark: &Mark, csrc: Option<u32>, same_bytes: bool) {
        if csrc != Some(mark.source) {
            self.violate(Violation::WrongSource, || {
                format!("CSRC {csrc:?}, sent by {}", mark.source)
            });
        }
        if !same_bytes {
            self.violate(Violation::Damaged, || {
                format!("unit {} of {}", mark.counter, mark.source)
            });
        }
    }

    /// Other people may be in the room; their units have no mark, ours must.
    fn judge_unmarked(&mut self, csrc: Option<u32>, ours: &dyn Fn(u32) -> bool) {
        match csrc {
            None => self.violate(Violation::WrongSource, || "no CSRC".to_owned()),
            Some(source) if ours(source / 4) => {
                self.violate(Violation::Damaged, || format!("a unit of {source} has no mark"));
            }
            Some(_) => {}
        }
    }

    fn follow(&mut self, unit: Unit, hole: bool) -> Follows {
        let (first, mut faults) = (self.stretch.is_new(), Vec::new());
        let follows = self.stretch.follow(self.kind, unit, hole, |violation, words| {
            faults.push((violation, words))
        });
        for (violation, words) in faults {
            self.violate(violation, || words);
        }
        self.counts.switches += u64::from(follows == Follows::Begins && !first);
        follows
    }

    fn compare_names(&mut self, until_us: u64) {
        while let Some(compared) = self.names.poll(until_us) {
            let Compared {
                csrc,
                time,
                named,
                unexplained,
            } = compared;
            if unexplained {
                self.violate(Violation::Skipped, || {
                    format!("{csrc:?} left something out before {time}")
                });
            }
            if named != csrc {
                self.violate(Violation::WrongName, || {
                    format!("{named:?} announced, {csrc:?} came at {time}")
                });
            }
        }
    }
}

#[cfg(test)]
mod tests;
