//! What a packet of sound tells of its sender.

use std::time::Instant;

use super::{
    super::{
        arrival::{Arrival, AudioLevel},
        id::{MediaKind, PointNumber},
        silence::Verdict,
    },
    Room, SPEAKER_EVERY,
    source::Source,
};

/// Level of a sound whose sender tells none: speech of usual loudness.
const LEVEL_UNKNOWN: u8 = 40;

impl Source {
    /// Nothing of it goes on at the moment, for it is silent.
    pub(super) fn is_withheld(&self) -> bool {
        self.silence.is_withholding()
    }

    /// Whether a packet is silence that need not be forwarded. Pictures never are.
    pub(super) fn judge_sound(&mut self, arrival: &Arrival<'_>) -> Verdict {
        match arrival.source.media() {
            MediaKind::Audio => self.silence.judge(arrival),
            MediaKind::Video => Verdict::Forward,
        }
    }
}

impl Room {
    /// A voice's loudness counts, whether it is forwarded or not.
    pub(super) fn hear(&mut self, now: Instant, point: PointNumber, level: Option<AudioLevel>) {
        let (level, voice) = level.map_or((LEVEL_UNKNOWN, true), |level| (level.level, level.voice));
        self.speaker.feed(now, point, level, voice);
        match self.speaker_at {
            Some(at) if at <= now => self.look_for_speaker(now),
            Some(_) => {}
            None => self.speaker_at = Some(now + SPEAKER_EVERY),
        }
    }
}
