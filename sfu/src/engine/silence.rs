//! Silence is not forwarded (`docs/speakers.md`).
//!
//! A microphone that hears nothing says so for a moment, so that decoders go over to their comfort noise, and then takes no
//! more of anybody's line until there is sound again.

use super::{arrival::Arrival, seq::RtpTime};
use crate::wire::codec::opus;

/// Silence is forwarded for so long, in ticks of sound (48 kHz): 300 ms, longer than the gaps between words, so that speech
/// is one piece; and long enough for the packet that begins a pause of the encoder.
const TOLD: u64 = 14_400;
/// RFC 6464 §3: digital silence.
const SILENT: u8 = 127;

/// What is to become of a packet of sound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It goes on.
    Forward,
    /// It goes on, the first one after silence that was not forwarded.
    Resume,
    /// Silence that need not be told any more.
    Withhold,
}

/// Whether one stream of sound is silent. Judged in its own RTP time, so that a bunch of packets that was held up on the
/// way counts as long as it sounds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Silence {
    /// Of the uplink's streams, and the newest time in it.
    newest: Option<(u32, RtpTime)>,
    /// Since when all was silent.
    since: Option<RtpTime>,
    /// Something was withheld since the last packet that went on.
    withholds: bool,
}

impl Silence {
    /// Nothing of it goes on at the moment.
    pub fn is_withholding(&self) -> bool {
        self.withholds
    }

    /// Another half of the room judged it: nothing of it goes on, or something does.
    pub fn tell(&mut self, withholds: bool) {
        self.withholds = withholds;
    }

    /// Judges a packet. Each goes on as long as its stream has not been silent for 300 ms.
    pub fn judge(&mut self, arrival: &Arrival<'_>) -> Verdict {
        let (stream, time) = (arrival.stream, arrival.timestamp);
        let newest = self.newest.filter(|(same, _)| *same == stream).map(|(_, t)| t);
        if newest.is_none() {
            *self = Self {
                withholds: self.withholds,
                ..Self::default()
            };
        }
        let quiet = is_silent(arrival);
        if newest.is_some_and(|newest| time < newest) {
            // Late: it belongs to what was before, whose end it does not change.
            let within = self.withholds && self.since.is_some_and(|since| time >= since);
            return if within {
                Verdict::Withhold
            } else {
                Verdict::Forward
            };
        }
        self.newest = Some((stream, time));
        if !quiet {
            self.since = None;
            return if std::mem::take(&mut self.withholds) {
                Verdict::Resume
            } else {
                Verdict::Forward
            };
        }
        let since = *self.since.get_or_insert(time);
        self.withholds |= time.0 - since.0 > TOLD;
        if self.withholds {
            Verdict::Withhold
        } else {
            Verdict::Forward
        }
    }
}

/// An encoder's pause (DTX), or level 127. The sender's word on whether it is speech is not asked: browsers say so of
/// everything, and nothing at that level can be heard.
fn is_silent(arrival: &Arrival<'_>) -> bool {
    opus::is_dtx(arrival.payload) || arrival.level.is_some_and(|level| level.level >= SILENT)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{
        super::{arrival::AudioLevel, id::SourceKind, packet::Codec, seq::Seq},
        *,
    };

    const SPEECH: (&[u8], u8) = (&[0x78; 40], 30);
    const NOTHING: (&[u8], u8) = (&[0x78; 40], 127);
    const PAUSE: (&[u8], u8) = (&[0x78], 60);

    fn packet(stream: u32, n: u64, (payload, level): (&'static [u8], u8)) -> Arrival<'static> {
        Arrival {
            heights: None,
            descriptor: None,
            source: SourceKind::Mic,
            layer: 0,
            layers: 1,
            stream,
            sequence: Seq(n),
            timestamp: RtpTime(1_000_000 + n * 960),
            capture: Duration::ZERO,
            marker: false,
            codec: Codec::Opus,
            payload,
            video: None,
            level: Some(AudioLevel { voice: true, level }),
            repaired: false,
        }
    }

    fn judge(silence: &mut Silence, range: std::ops::Range<u64>, sound: (&'static [u8], u8)) -> Vec<Verdict> {
        range.map(|n| silence.judge(&packet(0, n, sound))).collect()
    }

    #[test]
    fn silence_is_told_for_300_ms_and_speech_resumes_at_once() {
        for silent in [NOTHING, PAUSE] {
            let mut silence = Silence::default();
            assert_eq!(judge(&mut silence, 0..50, SPEECH), [Verdict::Forward; 50]);
            assert_eq!(judge(&mut silence, 50..66, silent), [Verdict::Forward; 16]);
            assert_eq!(judge(&mut silence, 66..500, silent), [Verdict::Withhold; 434]);
            let again = judge(&mut silence, 500..503, SPEECH);
            assert_eq!(again, [Verdict::Resume, Verdict::Forward, Verdict::Forward]);
            // Between words nothing is cut.
            assert_eq!(judge(&mut silence, 503..518, silent), [Verdict::Forward; 15]);
            assert_eq!(judge(&mut silence, 518..519, SPEECH), [Verdict::Forward]);
        }
    }

    #[test]
    fn a_pause_of_the_encoder_is_one_packet_then_nothing_and_the_next_refresh_is_withheld() {
        let mut silence = Silence::default();
        judge(&mut silence, 0..10, SPEECH);
        assert_eq!(silence.judge(&packet(0, 10, PAUSE)), Verdict::Forward);
        assert_eq!(silence.judge(&packet(0, 30, PAUSE)), Verdict::Withhold);
        assert_eq!(silence.judge(&packet(0, 50, SPEECH)), Verdict::Resume);
    }

    #[test]
    fn late_packets_and_new_streams_do_not_break_it() {
        let mut silence = Silence::default();
        judge(&mut silence, 0..10, SPEECH);
        judge(&mut silence, 11..60, NOTHING);
        assert_eq!(silence.judge(&packet(0, 10, SPEECH)), Verdict::Forward);
        assert_eq!(silence.judge(&packet(0, 40, SPEECH)), Verdict::Withhold);
        assert_eq!(silence.judge(&packet(0, 60, NOTHING)), Verdict::Withhold);
        // Another stream of the same microphone, its times have nothing to do with the former ones.
        assert_eq!(silence.judge(&packet(1, 5, NOTHING)), Verdict::Withhold);
        assert_eq!(silence.judge(&packet(1, 6, SPEECH)), Verdict::Resume);
    }
}
