//! What a datagram is, by its first two bytes.

/// What shares the one UDP port of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Class {
    /// A STUN message (RFC 8489): first byte 0 to 3.
    Stun,
    /// A DTLS record: first byte 20 to 63.
    Dtls,
    /// RTP or SRTP: first byte 128 to 191.
    Rtp,
    /// RTCP or SRTCP: as RTP, but the second byte is 192 to 223 (RFC 5761 §4).
    Rtcp,
    /// Anything else, the empty datagram too. To be dropped.
    Other,
}

/// Tells what a datagram is (RFC 7983 §7, RFC 5761 §4). Says nothing about its being well formed.
pub fn classify(datagram: &[u8]) -> Class {
    match datagram {
        [0..=3, ..] => Class::Stun,
        [20..=63, ..] => Class::Dtls,
        [128..=191, 192..=223, ..] => Class::Rtcp,
        [128..=191, _, ..] => Class::Rtp,
        _ => Class::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_first_byte_has_its_class() {
        for first in 0..=u8::MAX {
            let expected = match first {
                0..=3 => Class::Stun,
                20..=63 => Class::Dtls,
                128..=191 => Class::Rtp,
                _ => Class::Other,
            };
            assert_eq!(classify(&[first, 96, 0, 0]), expected, "{first}");
        }
        assert_eq!(classify(&[]), Class::Other);
        assert_eq!(classify(&[128]), Class::Other);
    }

    #[test]
    fn rtcp_is_told_from_rtp_by_its_packet_type() {
        for (second, expected) in [
            (191, Class::Rtp),
            (192, Class::Rtcp),
            (200, Class::Rtcp),
            (223, Class::Rtcp),
            (224, Class::Rtp),
        ] {
            assert_eq!(classify(&[0x80, second]), expected, "{second}");
        }
    }
}
