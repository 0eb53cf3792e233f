//! Who is loudest.
//!
//! Levels come with the sound (RFC 6464), some fifty a second from each point. Each is smoothed, up fast and down slowly,
//! and never falls below a floor: neither the gaps between syllables nor a tone that pulses count as silence. A first
//! speaker is found within [`FIRST`]. Another point takes over when it has been louder by a margin for [`TAKE_OVER`] with no
//! break longer than [`GAP`], never within [`HOLD`] of the last change: a cough or a laugh changes nothing. One who pauses
//! has no loudness to beat any more. When nobody has spoken for [`SILENCE`] there is no speaker.
//!
//! The sender's own word on whether a packet is voice only rules out: a browser says so of everything.

use std::time::{Duration, Instant};

use super::id::PointNumber;

/// How long the first speaker of all, or after silence, must have been loud.
const FIRST: Duration = Duration::from_millis(100);
/// How long another point must be louder before it is the speaker.
const TAKE_OVER: Duration = Duration::from_millis(400);
/// The same while the speaker pauses, which is so long after its last loud packet.
const TAKE_OVER_PAUSED: Duration = Duration::from_millis(300);
const PAUSED: Duration = Duration::from_millis(250);
/// A challenger may fall back for so long: between words.
const GAP: Duration = Duration::from_millis(200);
/// How long a speaker stays one at least: a frame that jumps faster cannot be followed by the eye.
const HOLD: Duration = Duration::from_millis(1_500);
/// After so long without speech there is no speaker.
const SILENCE: Duration = Duration::from_secs(3);
/// A point not heard from for so long counts as silent (it muted, its packets are lost or it left).
const STALE: Duration = Duration::from_millis(600);
/// Weight of a new level that is louder than the smoothed one, and of one that is not, in 1/256: time constants of
/// some 120 ms and 500 ms at 50 levels a second. A shorter rise lets a cough win, a shorter fall loses a speaker between
/// words.
const ATTACK: i32 = 40;
const DECAY: i32 = 10;
/// A challenger must be this much louder (dB), so that two equal voices do not alternate.
const MARGIN: i32 = 5;
/// Loudness (dB above silence, 0 to 127) from which a level counts as speech: -55 dBov. Room noise lies below.
const SPEECH: i32 = 72;
/// Quieter than this is all the same (-77 dBov): a browser that suppresses noise sends digital silence between words.
const FLOOR: i32 = 50;
/// Louder than this is all the same (-15 dBov): else a cough into the microphone outlasts itself.
const CEILING: i32 = 112;
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
    /// What [`Speaker::update`] gave last: whoever mutes is not the speaker at once, and that is yet to be told.
    told: Option<PointNumber>,
    changed: Option<Instant>,
    challenger: Option<Challenger>,
    last_speech: Option<Instant>,
}

/// Who has been louder than the speaker, since when, and when last.
#[derive(Debug, Clone, Copy)]
struct Challenger {
    point: PointNumber,
    since: Instant,
    seen: Instant,
}

#[derive(Debug)]
struct Voice {
    point: PointNumber,
    /// Smoothed loudness in 1/256 dB above silence.
    loudness: i32,
    heard: Instant,
    /// Last packet that was loud by itself.
    loud: Option<Instant>,
    /// Last time that its loudness was that of speech.
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
        let loudness = i32::from(127 - level.min(127)).clamp(FLOOR, CEILING) * 256;
        let entry = self.entry(now, point);
        let weight = if loudness > entry.loudness { ATTACK } else { DECAY };
        entry.loudness += (loudness - entry.loudness) * weight / 256;
        entry.heard = now;
        if voice && loudness >= SPEECH * 256 {
            entry.loud = Some(now);
        }
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
        if next != self.current {
            self.current = next;
            self.changed = Some(now);
            self.challenger = None;
        }
        if next == self.told {
            return None;
        }
        self.told = next;
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
        let present = self
            .current
            .and_then(|c| self.points.iter().find(|p| p.point == c));
        let (threshold, take_over) = match present {
            None => (SPEECH * 256, FIRST),
            Some(p) if !within(now, p.loud, PAUSED) => (SPEECH * 256, TAKE_OVER_PAUSED),
            Some(p) => (level_of(now, p).max(SPEECH * 256) + MARGIN * 256, TAKE_OVER),
        };
        let best = self
            .points
            .iter()
            .filter(|p| {
                Some(p.point) != self.current && within(now, p.spoke, STALE) && level_of(now, p) >= threshold
            })
            .max_by_key(|p| (level_of(now, p), std::cmp::Reverse(p.point)))
            .map(|p| p.point);
        let challenger = self
            .challenger
            .filter(|c| now.saturating_duration_since(c.seen) <= GAP);
        let Some(best) = best else {
            self.challenger = challenger;
            return self.current;
        };
        let since = challenger.filter(|c| c.point == best).map_or(now, |c| c.since);
        self.challenger = Some(Challenger {
            point: best,
            since,
            seen: now,
        });
        let proven = now.saturating_duration_since(since) >= take_over;
        let held = present.is_some()
            && self
                .changed
                .is_some_and(|at| now.saturating_duration_since(at) < HOLD);
        if proven && !held { Some(best) } else { self.current }
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
                        loudness: FLOOR * 256,
                        heard: now,
                        loud: None,
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

fn within(now: Instant, at: Option<Instant>, span: Duration) -> bool {
    at.is_some_and(|at| now.saturating_duration_since(at) <= span)
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
        assert!(matches!(first[..], [(at, Some(1))] if at <= ms(500)), "{first:?}");
        let second = talk(&mut speaker, t0 + ms(2_000), ms(3_000), &[(1, 127), (2, 25)]);
        assert!(
            matches!(second[..], [(at, Some(2))] if at <= ms(600)),
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

    /// The beep of Chromium's fake microphone as its levels came: twice a second, 240 ms of falling sound, then nothing,
    /// and all of it called voice.
    const BEEP: [u8; 25] = [
        8, 12, 29, 35, 40, 45, 48, 53, 57, 61, 66, 69, 74, 79, 83, 89, 94, 127, 127, 127, 127, 127, 127, 127,
        127,
    ];

    /// Changes while the points with the given phases (in packets) beep and the others send silence.
    fn beeps(
        speaker: &mut Speaker,
        from: Instant,
        packets: u64,
        phases: &[(u32, Option<usize>)],
    ) -> Vec<(Duration, u32)> {
        let mut changes = Vec::new();
        for step in 0..packets {
            let now = from + ms(step * 20);
            for &(n, phase) in phases {
                let level = phase.map_or(127, |phase| BEEP[(step as usize + phase) % BEEP.len()]);
                speaker.feed(now, point(n), level, true);
            }
            if step % 5 == 0
                && let Some(next) = speaker.update(now)
            {
                changes.push((now - from, next.map_or(0, PointNumber::get)));
            }
        }
        changes
    }

    #[test]
    fn a_pulsing_tone_is_the_speaker_within_half_a_second_and_stays_it() {
        for phase in 0..BEEP.len() {
            let (t0, mut speaker) = (base(), Speaker::new());
            let alone = beeps(&mut speaker, t0, 1_000, &[(1, Some(phase)), (2, None)]);
            assert!(
                matches!(alone[..], [(at, 1)] if at <= ms(700)),
                "{phase}: {alone:?}"
            );
            // Another with the same tone at any phase does not take the frame; one that is left alone has it at once.
            let t1 = t0 + ms(20_000);
            assert_eq!(
                beeps(&mut speaker, t1, 1_000, &[(1, Some(phase)), (2, Some(0))]),
                []
            );
            let t2 = t0 + ms(40_000);
            speaker.forget(point(1));
            assert_eq!(speaker.update(t2), Some(None));
            let other = beeps(&mut speaker, t2, 1_000, &[(2, Some(0))]);
            assert!(
                matches!(other[..], [(at, 2)] if at <= ms(500)),
                "{phase}: {other:?}"
            );
        }
    }

    #[test]
    fn after_silence_the_next_speaker_does_not_wait() {
        let (t0, mut speaker) = (base(), Speaker::new());
        talk(&mut speaker, t0, ms(1_000), &[(1, 25)]);
        let silence = talk(&mut speaker, t0 + ms(1_000), ms(10_000), &[(1, 127)]);
        let [(ended, None)] = silence[..] else {
            panic!("{silence:?}")
        };
        let mut speaker = Speaker::new();
        talk(&mut speaker, t0, ms(1_000), &[(1, 25)]);
        talk(&mut speaker, t0 + ms(1_000), ended + ms(20), &[(1, 127)]);
        assert_eq!(speaker.current(), None);
        let next = talk(&mut speaker, t0 + ms(1_020) + ended, ms(1_000), &[(2, 30)]);
        assert!(matches!(next[..], [(at, Some(2))] if at <= ms(500)), "{next:?}");
    }

    #[test]
    fn that_a_speaker_muted_or_left_is_told_at_once() {
        let (t0, mut speaker) = (base(), Speaker::new());
        talk(&mut speaker, t0, ms(1_000), &[(1, 25)]);
        let now = t0 + ms(1_000);
        speaker.forget(point(1));
        assert_eq!((speaker.update(now), speaker.update(now)), (Some(None), None));
        // Whoever is back at once is told anew.
        let again = talk(&mut speaker, now, ms(1_000), &[(1, 25)]);
        assert!(matches!(again[..], [(_, Some(1))]), "{again:?}");
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
                if let Some(Some(_)) = speaker.update(now) {
                    prop_assert!(last.is_none_or(|at| now - at >= HOLD));
                    last = Some(now);
                }
            }
        }
    }
}
