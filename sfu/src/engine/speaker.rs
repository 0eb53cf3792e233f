//! Who is loudest.
//!
//! Levels come with the sound (RFC 6464), some fifty a second from each point. Each is smoothed,
//! up faster than down, so that the gaps between syllables do not count as silence. Another point takes over when it has been louder by
//! a margin for [`TAKE_OVER`] without a break, and never within [`HOLD`] of the last change: a cough or a laugh changes
//! nothing. When nobody has spoken for [`SILENCE`] there is no speaker.

use std::time::{Duration, Instant};

use super::id::PointNumber;

/// How long another point must be louder before it is the speaker.
const TAKE_OVER: Duration = Duration::from_millis(400);
/// How long a speaker stays one at least: a frame that jumps faster cannot be followed by the eye.
const HOLD: Duration = Duration::from_millis(1_500);
/// After so long without speech there is no speaker.
const SILENCE: Duration = Duration::from_secs(3);
/// A point not heard from for so long counts as silent (it muted, its packets are lost or it left).
const STALE: Duration = Duration::from_millis(600);
/// Weight of a new level that is louder than the smoothed one, and of one that is not, in 1/256: time constants of
/// some 120 ms and 200 ms at 50 levels a second. A shorter rise or a longer fall lets a cough win.
const ATTACK: i32 = 40;
const DECAY: i32 = 24;
/// A challenger must be this much louder (dB), so that two equal voices do not alternate.
const MARGIN: i32 = 3;
/// Loudness (dB above silence, 0 to 127) from which a level counts as speech: -55 dBov. Room noise lies below.
const SPEECH: i32 = 72;
/// Points remembered, more than a room has. At the limit the longest unheard is forgotten.
const POINTS_MAX: usize = 512;
/// The speaker's bonus in the ranking (dB): it keeps its place against one that is louder by a hair.
const STICKY: i32 = 6;

/// Finds the loudest point of a room, and ranks the others.
#[derive(Debug, Default)]
pub struct Speaker {
    /// Sorted by point.
    points: Vec<Voice>,
    current: Option<PointNumber>,
    changed: Option<Instant>,
    challenger: Option<(PointNumber, Instant)>,
    last_speech: Option<Instant>,
}

#[derive(Debug)]
struct Voice {
    point: PointNumber,
    /// Smoothed loudness in 1/256 dB above silence.
    loudness: i32,
    heard: Instant,
    spoke: Option<Instant>,
}

impl Speaker {
    /// Nobody speaks.
    pub fn new() -> Self {
        Self::default()
    }

    /// A sound packet of a point: its level in -dBov (0 loudest, 127 silence; greater counts as 127) and whether the
    /// sender takes it for speech. Constant work but for finding the point among those of the room.
    pub fn feed(&mut self, now: Instant, point: PointNumber, level: u8, voice: bool) {
        let loudness = i32::from(127 - level.min(127)) * 256;
        let entry = self.entry(now, point);
        let weight = if loudness > entry.loudness { ATTACK } else { DECAY };
        entry.loudness += (loudness - entry.loudness) * weight / 256;
        entry.heard = now;
        if voice && entry.loudness >= SPEECH * 256 {
            entry.spoke = Some(now);
            self.last_speech = Some(now);
        }
    }

    /// A point left or muted itself: it is not the speaker any more.
    pub fn forget(&mut self, point: PointNumber) {
        self.points.retain(|p| p.point != point);
        if self.current == Some(point) {
            self.current = None; // the next one may take over at once: nobody is left to hold on to
            self.changed = None;
        }
    }

    /// Who is the speaker now.
    pub fn current(&self) -> Option<PointNumber> {
        self.current
    }

    /// Looks again who is loudest. The new speaker (or none) if it changed. Call it some ten times a second.
    pub fn update(&mut self, now: Instant) -> Option<Option<PointNumber>> {
        let next = self.decide(now);
        if next == self.current {
            return None;
        }
        self.current = next;
        self.changed = Some(now);
        self.challenger = None;
        Some(next)
    }

    /// Points that spoke within the last seconds, loudest first; the speaker has a bonus, so that equals do not swap.
    pub fn loudest(&self, now: Instant) -> impl Iterator<Item = PointNumber> + use<> {
        let mut ranking: Vec<_> = self
            .points
            .iter()
            .filter(|p| {
                p.spoke
                    .is_some_and(|at| now.saturating_duration_since(at) < SILENCE)
            })
            .map(|p| (std::cmp::Reverse(self.rank(now, p)), p.point))
            .collect();
        ranking.sort_unstable();
        ranking.into_iter().map(|(_, point)| point)
    }

    fn rank(&self, now: Instant, voice: &Voice) -> i32 {
        let bonus = if self.current == Some(voice.point) {
            STICKY * 256
        } else {
            0
        };
        level_of(now, voice) + bonus
    }

    fn decide(&mut self, now: Instant) -> Option<PointNumber> {
        let silent = self
            .last_speech
            .is_none_or(|at| now.saturating_duration_since(at) >= SILENCE);
        if silent {
            return None;
        }
        let held = self
            .changed
            .is_none_or(|at| now.saturating_duration_since(at) >= HOLD);
        let present = self
            .current
            .and_then(|c| self.points.iter().find(|p| p.point == c));
        let threshold = present.map_or(SPEECH * 256, |p| {
            level_of(now, p).max(SPEECH * 256) + MARGIN * 256
        });
        let best = self
            .points
            .iter()
            .filter(|p| Some(p.point) != self.current && recent(now, p) && level_of(now, p) >= threshold)
            .max_by_key(|p| (level_of(now, p), std::cmp::Reverse(p.point)))
            .map(|p| p.point);
        let Some(best) = best else {
            self.challenger = None;
            return self.current;
        };
        let since = match self.challenger {
            Some((point, since)) if point == best => since,
            _ => now,
        };
        self.challenger = Some((best, since));
        let proven = now.saturating_duration_since(since) >= TAKE_OVER;
        if proven && held { Some(best) } else { self.current }
    }

    fn entry(&mut self, now: Instant, point: PointNumber) -> &mut Voice {
        let index = match self.points.binary_search_by_key(&point, |p| p.point) {
            Ok(index) => index,
            Err(_) => {
                if self.points.len() >= POINTS_MAX
                    && let Some(oldest) = (0..self.points.len()).min_by_key(|&i| self.points[i].heard)
                {
                    self.points.remove(oldest);
                }
                let index = self.points.partition_point(|p| p.point < point);
                self.points.insert(
                    index,
                    Voice {
                        point,
                        loudness: 0,
                        heard: now,
                        spoke: None,
                    },
                );
                index
            }
        };
        &mut self.points[index]
    }
}

/// Loudness now: nothing, when nothing was heard for a while.
fn level_of(now: Instant, voice: &Voice) -> i32 {
    if now.saturating_duration_since(voice.heard) > STALE {
        0
    } else {
        voice.loudness
    }
}

fn recent(now: Instant, voice: &Voice) -> bool {
    voice
        .spoke
        .is_some_and(|at| now.saturating_duration_since(at) <= STALE)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{
        super::testing::{base, ms},
        *,
    };

    fn point(n: u32) -> PointNumber {
        PointNumber::try_from(n).expect("in range")
    }

    /// Feeds levels every 20 ms over `span`, deciding every 100 ms; gives the changes.
    fn talk(
        speaker: &mut Speaker,
        from: Instant,
        span: Duration,
        levels: &[(u32, u8)],
    ) -> Vec<(Duration, Option<u32>)> {
        let mut changes = Vec::new();
        for step in 0..span.as_millis() as u64 / 20 {
            let now = from + ms(step * 20);
            for &(n, level) in levels {
                speaker.feed(now, point(n), level, level < 60);
            }
            if step % 5 == 0
                && let Some(next) = speaker.update(now)
            {
                changes.push((now - from, next.map(PointNumber::get)));
            }
        }
        changes
    }

    #[test]
    fn a_speaker_takes_over_within_half_a_second_and_silence_ends_it() {
        let (t0, mut speaker) = (base(), Speaker::new());
        let first = talk(&mut speaker, t0, ms(2_000), &[(1, 20), (2, 127)]);
        assert!(matches!(first[..], [(at, Some(1))] if at <= ms(700)), "{first:?}");
        let second = talk(&mut speaker, t0 + ms(2_000), ms(3_000), &[(1, 127), (2, 25)]);
        assert!(
            matches!(second[..], [(at, Some(2))] if at <= ms(1_300)),
            "{second:?}"
        );
        let silence = talk(&mut speaker, t0 + ms(5_000), ms(6_000), &[(1, 127), (2, 127)]);
        assert!(matches!(silence[..], [(_, None)]), "{silence:?}");
    }

    #[test]
    fn a_cough_and_an_equal_voice_change_nothing() {
        let (t0, mut speaker) = (base(), Speaker::new());
        talk(&mut speaker, t0, ms(3_000), &[(1, 25)]);
        assert!(talk(&mut speaker, t0 + ms(3_000), ms(300), &[(1, 25), (2, 5)]).is_empty());
        assert!(talk(&mut speaker, t0 + ms(3_300), ms(5_000), &[(1, 25), (2, 25)]).is_empty());
        assert_eq!(speaker.current(), Some(point(1)));
    }

    #[test]
    fn noise_that_the_sender_does_not_call_speech_is_nobody() {
        let (t0, mut speaker) = (base(), Speaker::new());
        for step in 0..200 {
            speaker.feed(t0 + ms(step * 20), point(1), 30, false);
            speaker.feed(t0 + ms(step * 20), point(2), 90, true);
            assert_eq!(speaker.update(t0 + ms(step * 20)), None);
        }
        assert_eq!(speaker.loudest(t0 + ms(4_000)).count(), 0);
    }

    #[test]
    fn the_ranking_is_by_loudness_and_forgets_who_left() {
        let (t0, mut speaker) = (base(), Speaker::new());
        talk(&mut speaker, t0, ms(1_000), &[(1, 40), (2, 10), (3, 30)]);
        let now = t0 + ms(1_000);
        assert_eq!(speaker.loudest(now).collect::<Vec<_>>(), [2, 3, 1].map(point));
        speaker.forget(point(2));
        assert_eq!(speaker.current(), None);
        assert_eq!(speaker.loudest(now).collect::<Vec<_>>(), [3, 1].map(point));
    }

    proptest! {
        #[test]
        fn changes_from_one_point_to_another_are_at_least_the_hold_apart(
            levels in prop::collection::vec((1u32..5, 0u8..=255, any::<bool>()), 1..2_000)
        ) {
            let (t0, mut speaker) = (base(), Speaker::new());
            let mut last: Option<Instant> = None;
            for (step, (n, level, voice)) in levels.into_iter().enumerate() {
                let now = t0 + ms(step as u64 * 10);
                speaker.feed(now, point(n), level, voice);
                if let Some(next) = speaker.update(now) {
                    if next.is_some() {
                        prop_assert!(last.is_none_or(|at| now - at >= HOLD));
                    }
                    last = Some(now);
                }
            }
        }
    }
}
