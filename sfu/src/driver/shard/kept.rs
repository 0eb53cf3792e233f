//! Sealed packets of sound that will be sent again (`docs/speakers.md`).
//!
//! They are kept as they went out and never sealed anew: the nonce of a packet follows from its SSRC and index alone, and a second plaintext under
//! one nonce gives the key away (RFC 3711 §9.1, RFC 7714 §8). What is the very same bytes cannot.

use std::collections::VecDeque;

use crate::engine::packet::OutgoingHeader;

/// More are not kept of one seat: six voices of fifty packets a second for 200 ms, and some more. The oldest gives way.
const PACKETS_MAX: usize = 64;

/// Longer ones are not kept: no packet of sound is.
const BYTES_MAX: usize = 1_500;

/// Of one seat. Takes no memory before something is repeated.
#[derive(Default)]
pub(super) struct Kept {
    /// By SSRC and sequence number, the oldest first.
    packets: VecDeque<(u32, u16, Vec<u8>)>,
}

impl Kept {
    /// A packet went out as `sealed`.
    pub(super) fn keep(&mut self, header: &OutgoingHeader, sealed: &[u8]) {
        if sealed.len() > BYTES_MAX {
            return;
        }
        let full = self.packets.len() >= PACKETS_MAX;
        let oldest = if full { self.packets.pop_front() } else { None };
        let mut bytes = oldest.map_or_else(Vec::new, |(_, _, bytes)| bytes);
        bytes.clear();
        bytes.extend_from_slice(sealed);
        self.packets.push_back((header.ssrc.0, header.sequence, bytes));
    }

    /// What went out under that header; none if it is gone.
    pub(super) fn find(&self, header: &OutgoingHeader) -> Option<&[u8]> {
        let is_it = |&&(ssrc, sequence, _): &&(u32, u16, Vec<u8>)| {
            (ssrc, sequence) == (header.ssrc.0, header.sequence)
        };
        self.packets
            .iter()
            .rev()
            .find(is_it)
            .map(|(_, _, bytes)| bytes.as_slice())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        engine::testing::voice_header as header,
        wire::{
            rtp::{self, HeaderFields},
            srtp::{OpenError, Profile, RTP_OVERHEAD_MAX, SealError, Side, contexts},
        },
    };

    fn plain(header: &OutgoingHeader) -> Vec<u8> {
        let fields = HeaderFields {
            marker: header.marker,
            padding: false,
            payload_type: header.payload_type,
            sequence: header.sequence,
            timestamp: header.timestamp,
            ssrc: header.ssrc.0,
        };
        let mut packet = vec![0; 200];
        let length = rtp::write_header(&fields, Some(7), &[], &mut packet).expect("fits");
        packet.truncate(length);
        packet.extend([0x78; 80]);
        packet
    }

    /// Over the wrap of the numbers: a repeat of before it opens after it, for it never needs another rollover count.
    #[test]
    fn a_repeat_is_the_first_byte_for_byte_opens_once_and_could_not_be_sealed_anew() {
        for profile in [Profile::AeadAes128Gcm, Profile::Aes128CmSha1] {
            let material = vec![7; profile.keying_material_len()];
            let (mut sealer, _) = contexts(profile, &material, Side::Server).expect("keys");
            let (_, mut opener) = contexts(profile, &material, Side::Client).expect("keys");
            let mut kept = Kept::default();
            let mut first = Vec::new();
            for sequence in (32_000..=65_000)
                .step_by(11_000)
                .chain(65_530..65_536)
                .chain(0..4)
            {
                let header = header(5, sequence as u16);
                let mut packet = plain(&header);
                let length = packet.len();
                packet.resize(length + RTP_OVERHEAD_MAX, 0);
                let sealed = sealer.seal_rtp(&mut packet, length).expect("in order");
                kept.keep(&header, &packet[..sealed]);
                first.push((header, packet[..sealed].to_vec()));
                let mut again = plain(&header);
                again.resize(length + RTP_OVERHEAD_MAX, 0);
                let anew = sealer.seal_rtp(&mut again, length);
                assert_eq!(anew, Err(SealError::NotGreater));
            }
            // Of the last ten every other is lost the first time.
            let is_lost = |at: usize| at >= 4 && at % 2 == 1;
            let open = |opener: &mut crate::wire::srtp::Opener, bytes: &[u8]| {
                let mut bytes = bytes.to_vec();
                let length = opener.open_rtp(&mut bytes)?;
                Ok::<_, OpenError>(bytes[..length].to_vec())
            };
            for (at, (_, sealed)) in first.iter().enumerate().filter(|(at, _)| !is_lost(*at)) {
                assert!(open(&mut opener, sealed).is_ok(), "{at}");
            }
            for (at, (header, sealed)) in first.iter().enumerate().skip(4) {
                let again = kept.find(header).expect("kept");
                assert_eq!((again, kept.find(header)), (sealed.as_slice(), Some(again)));
                let expected = if is_lost(at) {
                    Ok(plain(header))
                } else {
                    Err(OpenError::Replayed)
                };
                let opened = open(&mut opener, again);
                assert_eq!(opened, expected, "{at}");
                assert_eq!(open(&mut opener, again), Err(OpenError::Replayed));
            }
        }
    }

    #[test]
    fn no_more_than_a_bound_is_kept_and_nothing_before_it_is_asked_for() {
        let mut kept = Kept::default();
        assert_eq!(kept.packets.capacity(), 0);
        (0..200).for_each(|sequence| {
            kept.keep(&header(5 + u32::from(sequence % 2), sequence), &[sequence as u8])
        });
        let there = |sequence: u16| kept.find(&header(5 + u32::from(sequence % 2), sequence));
        assert_eq!(
            (kept.packets.len(), there(135), there(199)),
            (PACKETS_MAX, None, Some(&[199][..]))
        );
        assert_eq!(kept.find(&header(5, 199)), None, "another stream");
        kept.keep(&header(5, 200), &[0; BYTES_MAX + 1]);
        assert_eq!(kept.find(&header(5, 200)), None);
    }
}
