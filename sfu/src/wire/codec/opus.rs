//! Opus packets (RFC 6716 §3) as RTP payloads (RFC 7587).

use std::time::Duration;

/// Longest packet that is allowed (RFC 6716 §3.1, requirement 5).
const PACKET_MAX: Duration = Duration::from_millis(120);

/// The table-of-contents byte at the head of every packet, and the frame count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Toc {
    /// Number of the configuration, 0 to 31 (RFC 6716 §3.1, table 2).
    pub config: u8,
    /// Two channels.
    pub stereo: bool,
    /// Frames in the packet, 1 to 48.
    pub frames: u8,
}

impl Toc {
    /// Reads the head of a payload. `None` if it is empty, has no or more than 48 frames, or is longer than 120 ms.
    pub fn parse(payload: &[u8]) -> Option<Self> {
        let (&first, rest) = payload.split_first()?;
        let frames = match first & 3 {
            0 => 1,
            1 | 2 => 2,
            _ => rest.first()? & 0x3F,
        };
        let toc = Self {
            config: first >> 3,
            stereo: first & 4 != 0,
            frames,
        };
        (frames > 0 && toc.duration() <= PACKET_MAX).then_some(toc)
    }

    /// Sound in one frame.
    pub fn frame_duration(self) -> Duration {
        let step = u32::from(self.config & 3);
        Duration::from_micros(match self.config {
            0..=11 => [10_000, 20_000, 40_000, 60_000]
                .get(step as usize)
                .copied()
                .unwrap_or(60_000), // SILK
            12..=15 => 10_000 << (step & 1), // hybrid
            _ => 2_500 << step,              // CELT
        })
    }

    /// Sound in the packet.
    pub fn duration(self) -> Duration {
        self.frame_duration() * u32::from(self.frames)
    }

    /// RTP time of the packet: the clock is 48 kHz whatever is coded (RFC 7587 §4.1). At most 5,760.
    pub fn ticks(self) -> u32 {
        (self.duration().as_micros() * 48 / 1_000) as u32
    }
}

/// The sender is silent and sends next to nothing (discontinuous transmission, RFC 6716 §3.1: frames of at most one
/// byte, of code 0).
pub fn is_dtx(payload: &[u8]) -> bool {
    matches!(payload, [first] | [first, _] if first & 3 == 0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn durations_stand_as_in_table_2_of_rfc_6716() {
        let silk = [10_000, 20_000, 40_000, 60_000];
        let celt = [2_500, 5_000, 10_000, 20_000];
        for config in 0..32_u8 {
            let step = usize::from(config % 4);
            let expected = match config {
                0..=11 => silk[step],
                12..=15 => [10_000, 20_000][step % 2],
                _ => celt[step],
            };
            let toc = Toc::parse(&[config << 3]).expect("one frame");
            assert_eq!((toc.config, toc.frames), (config, 1));
            assert_eq!(toc.duration(), Duration::from_micros(expected), "{config}");
        }
    }

    #[test]
    fn frame_counts_follow_the_code() {
        // Configuration 31 (CELT, 20 ms), stereo: what browsers send.
        let toc = Toc::parse(&[0xFC, 1, 2, 3]).expect("one frame");
        assert_eq!((toc.stereo, toc.frames, toc.ticks()), (true, 1, 960));
        assert_eq!(Toc::parse(&[0xFD, 1]).map(|toc| toc.frames), Some(2));
        assert_eq!(Toc::parse(&[0xFE, 1]).map(|toc| toc.frames), Some(2));
        assert_eq!(Toc::parse(&[0xFF, 0x83]).map(Toc::ticks), Some(2_880));
        assert_eq!(Toc::parse(&[0xFF, 6]).map(Toc::ticks), Some(5_760));
        for refused in [&[][..], &[0xFF], &[0xFF, 0], &[0xFF, 7]] {
            assert_eq!(Toc::parse(refused), None);
        }
    }

    #[test]
    fn silence_is_one_or_two_bytes() {
        assert!(is_dtx(&[0xF8]) && is_dtx(&[0xF8, 0xFF]));
        assert!(!is_dtx(&[]) && !is_dtx(&[0xF8, 0xFF, 0xFE]) && !is_dtx(&[0xFB, 3]));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(payload in proptest::collection::vec(any::<u8>(), 0..8)) {
            let _ = is_dtx(&payload);
            if let Some(toc) = Toc::parse(&payload) {
                prop_assert!((1..=48).contains(&toc.frames) && (120..=5_760).contains(&toc.ticks()));
            }
        }
    }
}
