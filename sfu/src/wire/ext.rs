//! Values of the RTP header extensions in use. Readers take a value as [`RtpPacket::extension`] gives it and answer
//! `None` where its length or content is wrong; writers give the bytes for [`write_header`].
//!
//! [`RtpPacket::extension`]: super::rtp::RtpPacket::extension
//! [`write_header`]: super::rtp::write_header

pub mod dependency_descriptor;

use super::be;

/// Longest mid or rid taken. No browser's is longer than 4; a longer one is refused, as it could name nothing of ours.
pub const STREAM_ID_LEN_MAX: usize = 16;

/// Media id (`urn:ietf:params:rtp-hdrext:sdes:mid`, RFC 8843 §15): a token.
pub fn mid(value: &[u8]) -> Option<&str> {
    let known = (1..=STREAM_ID_LEN_MAX).contains(&value.len()) && value.iter().all(u8::is_ascii_graphic);
    if known {
        std::str::from_utf8(value).ok()
    } else {
        None
    }
}

/// Restriction id, or repaired restriction id (`…:rtp-stream-id`, `…:repaired-rtp-stream-id`, RFC 8852 §3): letters,
/// digits, `-` and `_` (RFC 8851 §10).
pub fn rid(value: &[u8]) -> Option<&str> {
    mid(value).filter(|id| {
        id.bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    })
}

/// Audio level of a packet (`urn:ietf:params:rtp-hdrext:ssrc-audio-level`, RFC 6464 §3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AudioLevel {
    /// The sender believes that it is speech.
    pub voice: bool,
    /// Loudness as dB below overload: 0 is the loudest, 127 is silence.
    pub level: u8,
}

impl AudioLevel {
    /// Reads one byte; the two-byte form may pad it (RFC 6464 §3.2).
    pub fn read(value: &[u8]) -> Option<Self> {
        let (&byte, _) = value.split_first()?;
        Some(Self {
            voice: byte & 0x80 != 0,
            level: byte & 0x7F,
        })
    }

    /// As it goes out; a level above 127 is silence.
    pub fn write(self) -> [u8; 1] {
        [u8::from(self.voice) << 7 | self.level.min(127)]
    }
}

/// Transport-wide sequence number (`http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01`).
/// The two bytes after it in version 02 of the extension are left unread.
pub fn transport_sequence(value: &[u8]) -> Option<u16> {
    be::u16(value, 0)
}

/// Writes a transport-wide sequence number.
pub fn write_transport_sequence(sequence: u16) -> [u8; 2] {
    sequence.to_be_bytes()
}

/// Absolute send time (`http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time`) in units of 2^-18 s, 24 bits: it
/// wraps every 64 s.
pub fn abs_send_time(value: &[u8]) -> Option<u32> {
    if value.len() == 3 { be::u24(value, 0) } else { None }
}

/// How a picture is to be turned before it is shown (`urn:3gpp:video-orientation`, 3GPP TS 26.114 §7.4.5).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Orientation {
    /// The camera faces away from the user.
    pub back_camera: bool,
    /// Mirrored left to right.
    pub flipped: bool,
    /// Quarter turns clockwise that the receiver makes, 0 to 3.
    pub quarter_turns: u8,
}

impl Orientation {
    /// Reads one byte.
    pub fn read(value: &[u8]) -> Option<Self> {
        let &[byte] = value else { return None };
        Some(Self {
            back_camera: byte & 8 != 0,
            flipped: byte & 4 != 0,
            quarter_turns: byte & 3,
        })
    }

    /// As it goes out; whole turns are cut off.
    pub fn write(self) -> [u8; 1] {
        [u8::from(self.back_camera) << 3 | u8::from(self.flipped) << 2 | self.quarter_turns & 3]
    }
}

/// Bounds of the receiver's playout delay (`http://www.webrtc.org/experiments/rtp-hdrext/playout-delay`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PlayoutDelay {
    /// Least delay in units of 10 ms, 0 to 4095.
    pub min: u16,
    /// Greatest delay in units of 10 ms, 0 to 4095, not below `min`.
    pub max: u16,
}

impl PlayoutDelay {
    /// Reads three bytes. A least delay above the greatest is refused.
    pub fn read(value: &[u8]) -> Option<Self> {
        let &[a, b, c] = value else { return None };
        let (min, max) = (u16::from_be_bytes([a, b]) >> 4, u16::from_be_bytes([b & 0x0F, c]));
        (min <= max).then_some(Self { min, max })
    }

    /// As it goes out; a delay above 4095 counts as 4095.
    pub fn write(self) -> [u8; 3] {
        let both = u32::from(self.min.min(0xFFF)) << 12 | u32::from(self.max.min(0xFFF));
        let [_, a, b, c] = both.to_be_bytes();
        [a, b, c]
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ids_are_short_tokens() {
        assert_eq!(mid(b"0"), Some("0"));
        assert_eq!(rid(b"q-1_a"), Some("q-1_a"));
        assert_eq!(rid(b"q;h"), None);
        assert_eq!(mid(b"a;b"), Some("a;b"));
        for refused in [&b""[..], b"a b", b"\0", b"\xC3\xA9", b"12345678901234567"] {
            assert_eq!((mid(refused), rid(refused)), (None, None));
        }
    }

    #[test]
    fn values_stand_as_their_documents_draw_them() {
        assert_eq!(
            AudioLevel::read(&[0x85]),
            Some(AudioLevel {
                voice: true,
                level: 5
            })
        );
        assert_eq!(
            AudioLevel {
                voice: false,
                level: 200
            }
            .write(),
            [127]
        );
        assert_eq!(transport_sequence(&[0x12, 0x34]), Some(0x1234));
        assert_eq!(abs_send_time(&[0x04, 0, 0]), Some(1 << 18));
        assert_eq!(
            Orientation::read(&[0b1001]),
            Some(Orientation {
                back_camera: true,
                flipped: false,
                quarter_turns: 1
            })
        );
        assert_eq!(
            PlayoutDelay::read(&[0x01, 0x40, 0x28]),
            Some(PlayoutDelay { min: 20, max: 40 })
        );
        assert_eq!(PlayoutDelay { min: 20, max: 40 }.write(), [0x01, 0x40, 0x28]);
        assert_eq!(PlayoutDelay::read(&[0x02, 0x80, 0x14]), None);
    }

    proptest! {
        #[test]
        fn any_value_is_read_without_panic_and_written_back(value in proptest::collection::vec(any::<u8>(), 0..20)) {
            let _ = (mid(&value), rid(&value));
            if let Some(read) = AudioLevel::read(&value) {
                prop_assert_eq!(&read.write()[..], &value[..1]);
            }
            if let Some(read) = transport_sequence(&value) {
                prop_assert_eq!(&write_transport_sequence(read)[..], &value[..2]);
            }
            if let Some(read) = abs_send_time(&value) {
                prop_assert_eq!(&read.to_be_bytes()[1..], &value[..]);
            }
            if let Some(read) = Orientation::read(&value) {
                prop_assert_eq!(read.write(), [value[0] & 0x0F]);
            }
            if let Some(read) = PlayoutDelay::read(&value) {
                prop_assert_eq!(&read.write()[..], &value[..]);
            }
        }
    }
}
