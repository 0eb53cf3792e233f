//! What a person at a point saw and heard in a span of time, in the figures a user would recognise.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use sfu::engine::id::{MediaKind, SlotId};

use crate::{
    decoder::{Receiver, Seen},
    world::World,
};

/// Voices and pictures of one point.
#[derive(Debug, Clone, Default)]
pub struct Experience {
    /// All voices together.
    pub voices: Heard,
    /// Each video slot in which anything was shown.
    pub pictures: BTreeMap<SlotId, Watched>,
}

/// What was heard.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Heard {
    /// Sound as it was spoken.
    pub played: Duration,
    /// Sound that had to be made up.
    pub concealed: Duration,
    /// Times that more than 100 ms on end had to be made up.
    pub gaps: u32,
    /// The longest of them, or of shorter ones.
    pub longest_gap: Duration,
    /// Whose voices.
    pub sources: BTreeSet<u32>,
}

/// What was seen in a slot.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Watched {
    /// Pictures shown.
    pub frames: u32,
    /// Times that the picture stood still, as browsers count: longer than three usual intervals, and than one and 150 ms.
    pub freezes: u32,
    /// How long all of them were, and the longest.
    pub frozen: Duration,
    /// The longest of them.
    pub longest_freeze: Duration,
    /// Changes of the simulcast layer of one source.
    pub layer_changes: u32,
    /// Times that the slot was emptied.
    pub emptied: u32,
    /// Height of what stood on the screen when the span began.
    pub standing: Option<u16>,
    /// Heights over time: each with when it began; 0: the slot was emptied.
    pub heights: Vec<(Instant, u16)>,
}

/// A gap in a voice that a listener notices.
const GAP: Duration = Duration::from_millis(100);
/// Intervals of which the usual one is the mean.
const USUAL_OF: usize = 30;
/// More than this above the usual interval is a freeze.
const FREEZE_MIN: Duration = Duration::from_millis(150);

impl Heard {
    /// Share of the sound that was heard as it was spoken; nothing if nobody was heard: whoever asks expects a voice.
    pub fn playable(&self) -> f64 {
        let all = self.played + self.concealed;
        if all.is_zero() {
            return 0.0;
        }
        self.played.as_secs_f64() / all.as_secs_f64()
    }
}

impl World {
    /// What a point saw and heard from `from` to `to`.
    pub fn experience(&self, peer: usize, from: Instant, to: Instant) -> Experience {
        let mut experience = Experience::default();
        for (slot, receiver) in &self.peers[peer].receivers {
            match slot.kind {
                MediaKind::Audio => experience.voices.add(receiver, from, to),
                MediaKind::Video if receiver.seen.is_empty() => {}
                MediaKind::Video => {
                    experience.pictures.insert(*slot, Watched::of(receiver, from, to));
                }
            }
        }
        experience
    }

    /// What was shown in a slot; nothing if it never showed anything.
    pub fn watched(&self, peer: usize, slot: u8, from: Instant, to: Instant) -> Watched {
        Watched::of(self.peers[peer].receiver(SlotId::video(slot)), from, to)
    }
}

impl Heard {
    fn add(&mut self, receiver: &Receiver, from: Instant, to: Instant) {
        for run in &receiver.voice.runs {
            let end = (run.at + run.length).min(to);
            let length = end.saturating_duration_since(run.at.max(from));
            if run.concealed {
                self.concealed += length;
                self.gaps += u32::from(length > GAP);
                self.longest_gap = self.longest_gap.max(length);
            } else {
                self.played += length;
            }
        }
        let spoken = between(receiver, from, to).filter(|seen| !seen.stamp.silent);
        self.sources.extend(spoken.map(|seen| seen.stamp.source));
    }
}

fn between(receiver: &Receiver, from: Instant, to: Instant) -> impl Iterator<Item = &Seen> {
    receiver
        .seen
        .iter()
        .filter(move |seen| seen.shown >= from && seen.shown < to)
}

impl Watched {
    fn of(receiver: &Receiver, from: Instant, to: Instant) -> Self {
        let mut watched = Self::default();
        let emptied =
            |after: Instant, before: Instant| receiver.emptied.iter().any(|at| (after..before).contains(at));
        let standing = receiver.seen.iter().rfind(|seen| seen.shown < from);
        watched.standing = standing
            .filter(|standing| !emptied(standing.at, from))
            .map(|standing| standing.height);
        // What a picture is used to, and since when it stands, begins before the span.
        let mut before: Vec<&Seen> = receiver.seen.iter().filter(|seen| seen.shown < from).collect();
        before.drain(..before.len().saturating_sub(USUAL_OF + 1));
        let pairs = before.windows(2).map(|pair| (pair[0], pair[1]));
        let mut intervals: Vec<Duration> = pairs
            .filter(|(a, b)| !emptied(a.at, b.shown))
            .map(|(a, b)| b.shown - a.shown)
            .collect();
        let mut last = before.pop().filter(|last| !emptied(last.at, from));
        for seen in between(receiver, from, to) {
            watched.frames += 1;
            if let Some(last) = last.replace(seen) {
                let same = last.stamp.source == seen.stamp.source;
                watched.layer_changes += u32::from(same && last.stamp.layer != seen.stamp.layer);
                if !emptied(last.at, seen.shown) {
                    watched.interval(from, [last.shown, seen.shown], &mut intervals);
                }
            }
        }
        if let Some(last) = last.filter(|last| !emptied(last.at, to)) {
            watched.interval(from, [last.shown, to.max(last.shown)], &mut intervals);
        }
        let empty = receiver.emptied.iter().filter(|at| (from..to).contains(*at));
        watched.emptied = empty.clone().count() as u32;
        // What was emptied before a picture's time to be shown does not show it.
        let shown = between(receiver, from, to).filter(|seen| !emptied(seen.at, seen.shown));
        let shown = shown.map(|seen| (seen.shown, seen.height));
        watched.heights = shown.chain(empty.map(|at| (*at, 0))).collect();
        watched.heights.sort_by_key(|(at, _)| *at);
        watched.heights.dedup_by_key(|(_, height)| *height);
        watched
    }

    /// Between two pictures. Of a stand that began before the span counts what lies in it.
    fn interval(&mut self, from: Instant, [last, next]: [Instant; 2], intervals: &mut Vec<Duration>) {
        let (interval, within) = (next - last, next - last.max(from).min(next));
        let recent = &intervals[intervals.len().saturating_sub(USUAL_OF)..];
        if recent.len() >= 5 {
            let usual = recent.iter().sum::<Duration>() / recent.len() as u32;
            if interval >= (3 * usual).max(usual + FREEZE_MIN) && within >= FREEZE_MIN {
                self.freezes += 1;
                self.frozen += within;
                self.longest_freeze = self.longest_freeze.max(within);
            }
        }
        intervals.push(interval);
    }

    /// Pictures a second over that span.
    pub fn fps(&self, span: Duration) -> f64 {
        f64::from(self.frames) / span.as_secs_f64().max(0.001)
    }

    /// Share of the span, which ends at `to`, in which the picture was at least that high.
    pub fn share_at(&self, height: u16, from: Instant, to: Instant) -> f64 {
        let standing = self.standing.map(|height| (from, height));
        let heights = || standing.into_iter().chain(self.heights.iter().copied());
        let ends = heights().skip(1).map(|(at, _)| at).chain([to]);
        let high: Duration = heights()
            .zip(ends)
            .filter(|((_, shown), _)| *shown >= height)
            .map(|((at, _), end)| end.saturating_duration_since(at))
            .sum();
        high.as_secs_f64() / (to - from).as_secs_f64()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encoder::Stamp;

    fn seen(shown: Instant) -> Seen {
        let stamp = Stamp {
            source: 1,
            layer: 0,
            frame: 0,
            index: 0,
            count: 1,
            key: false,
            silent: false,
            refers_back: [0; 2],
            temporal: 0,
        };
        Seen {
            at: shown,
            shown,
            stamp,
            timestamp: 0,
            named: 1,
            height: 360,
        }
    }

    #[test]
    fn a_picture_that_stops_where_the_span_begins_stands_still() {
        let start = Instant::now();
        let at = |ms: u64| start + Duration::from_millis(ms);
        let mut receiver = Receiver::new(SlotId::video(0), false);
        receiver.seen.extend((0..30).map(|n| seen(at(67 * n))));
        let (from, to) = (at(67 * 29 + 10), at(8_000));
        let whole = Watched::of(&receiver, from, to);
        assert_eq!(
            (whole.freezes, whole.longest_freeze),
            (1, to - from),
            "nothing came"
        );
        receiver.seen.extend([seen(at(2_010)), seen(at(6_010))]);
        let watched = Watched::of(&receiver, from, at(6_020));
        assert_eq!(
            (watched.freezes, watched.longest_freeze),
            (1, Duration::from_secs(4))
        );
        receiver.emptied.push(at(2_020));
        assert_eq!(
            Watched::of(&receiver, from, at(6_020)).freezes,
            0,
            "nothing stood there"
        );
    }

    #[test]
    fn a_slot_that_is_emptied_has_no_height_until_something_is_shown_again() {
        let start = Instant::now();
        let at = |ms: u64| start + Duration::from_millis(ms);
        let mut receiver = Receiver::new(SlotId::video(0), false);
        receiver.seen.extend((0..15).map(|n| seen(at(67 * n))));
        receiver.emptied.push(at(1_000));
        // Decoded, but not yet on the screen.
        let last = Seen {
            at: at(990),
            ..seen(at(1_050))
        };
        receiver.seen.push(last);
        let percent = |receiver: &Receiver, from: Instant| {
            let watched = Watched::of(receiver, from, at(10_000));
            (watched.share_at(360, from, at(10_000)) * 100.0).round()
        };
        assert_eq!(percent(&receiver, start), 10.0);
        assert_eq!(percent(&receiver, at(500)), 5.0, "it stood there before");
        receiver.seen.extend((0..15).map(|n| seen(at(9_000 + 67 * n))));
        assert_eq!(percent(&receiver, start), 20.0);
        receiver.emptied.push(at(9_500));
        assert_eq!(percent(&receiver, start), 20.0, "pictures go on");
    }

    #[test]
    fn a_voice_that_never_came_is_not_playable() {
        assert_eq!(Heard::default().playable(), 0.0);
    }
}
