//! From clip to RTP payload and back: the mark, VP8 packets as libwebrtc cuts them (RFC 7741), Opus packets (RFC 7587).
//!
//! Every frame and every sound packet carries a **mark** behind its coded data: who sent it, as which one, when, which
//! piece of which clip it is, and whether its layer was off until then. A receiver so knows what it should have got, byte for byte, from the packet alone.
//! Decoders do not see it: VP8's last partition may be longer than what is coded in it, and Opus has padding of its own
//! (RFC 6716 section 3.2.5), so a browser in the same room shows and plays these points as any other.

use bytes::{BufMut, Bytes, BytesMut};

/// Length of a mark in bytes.
pub(crate) const MARK_BYTES: usize = 27;
/// Most bytes of an RTP payload, so that the packet stays within libwebrtc's 1,200 with its header and extensions.
pub(crate) const PAYLOAD_BYTES_MAX: usize = 1_140;
/// The clip number of speech; 0 to 2 are the camera's layers.
pub(crate) const CLIP_SPEECH: u8 = 3;
/// Beside the clip: [`Mark::is_back`].
const BACK: u8 = 0x80;

const MAGIC: [u8; 4] = *b"DCm1";
/// Bytes put around an Opus frame to make room for the mark: frame count and padding length.
const OPUS_EXTRA: usize = 2;

/// What a frame or sound packet says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mark {
    /// The source's number, as in CSRC.
    pub(crate) source: u32,
    /// Counts the units of this source and clip from 0.
    pub(crate) counter: u32,
    /// 0 to 2: layer of the camera; [`CLIP_SPEECH`].
    pub(crate) clip: u8,
    /// The layer was off until now: what is missing before it was never sent.
    pub(crate) is_back: bool,
    /// Which frame or packet of the clip.
    pub(crate) index: u16,
    /// When it was sent, microseconds of the load tester's clock.
    pub(crate) sent_us: u64,
}

impl Mark {
    fn put(&self, out: &mut BytesMut) {
        let start = out.len();
        out.put_slice(&MAGIC);
        out.put_u32(self.source);
        out.put_u32(self.counter);
        out.put_u8(self.clip | if self.is_back { BACK } else { 0 });
        out.put_u16(self.index);
        out.put_u64(self.sent_us);
        let sum = checksum(&out[start..]);
        out.put_u32(sum);
    }

    /// Splits a unit into its coded data and its mark; nothing if it carries no sound one.
    fn split(unit: &[u8]) -> Option<(&[u8], Self)> {
        let (data, mark) = unit.split_at_checked(unit.len().checked_sub(MARK_BYTES)?)?;
        let word = |at: usize| u32::from_be_bytes([mark[at], mark[at + 1], mark[at + 2], mark[at + 3]]);
        if mark[..4] != MAGIC || word(23) != checksum(&mark[..23]) {
            return None;
        }
        let sent_us = (u64::from(word(15)) << 32) | u64::from(word(19));
        let index = u16::from_be_bytes([mark[13], mark[14]]);
        Some((
            data,
            Self {
                source: word(4),
                counter: word(8),
                clip: mark[12] & !BACK,
                is_back: mark[12] & BACK != 0,
                index,
                sent_us,
            },
        ))
    }
}

/// FNV-1a, 32 bits: tells damage, not malice.
fn checksum(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |sum, &byte| {
        (sum ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    })
}

/// A frame with its mark, ready to be cut.
pub(crate) fn marked_frame(frame: &[u8], mark: &Mark) -> Bytes {
    let mut out = BytesMut::with_capacity(frame.len() + MARK_BYTES);
    out.put_slice(frame);
    mark.put(&mut out);
    out.freeze()
}

/// The frame and mark of a reassembled picture.
pub(crate) fn unmark_frame(unit: &[u8]) -> Option<(&[u8], Mark)> {
    Mark::split(unit)
}

/// An Opus packet of one frame (code 0) as code 3 with the mark as its padding.
pub(crate) fn marked_sound(packet: &[u8], mark: &Mark) -> Bytes {
    let mut out = BytesMut::with_capacity(packet.len() + OPUS_EXTRA + MARK_BYTES);
    let (toc, frame) = packet
        .split_first()
        .map_or((0, packet), |(toc, frame)| (*toc, frame));
    out.put_u8(toc | 3);
    out.put_u8(0b0100_0001); // constant size, padding follows, one frame
    out.put_u8(MARK_BYTES as u8);
    out.put_slice(frame);
    mark.put(&mut out);
    out.freeze()
}

/// The TOC byte, frame and mark of a sound packet made by [`marked_sound`].
pub(crate) fn unmark_sound(payload: &[u8]) -> Option<(u8, &[u8], Mark)> {
    let (data, mark) = Mark::split(payload)?;
    let [toc, 0b0100_0001, padding, frame @ ..] = data else {
        return None;
    };
    (usize::from(*padding) == MARK_BYTES && toc & 3 == 3).then_some((toc & !3, frame, mark))
}

/// What a VP8 payload descriptor says (RFC 7741 section 4.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Vp8Descriptor {
    /// First packet of the frame (S with partition 0).
    pub(crate) start: bool,
    pub(crate) picture_id: Option<u16>,
    pub(crate) tl0_picture: Option<u8>,
}

/// Length of the descriptor that [`cut`] writes, as libwebrtc does with temporal layers off: 15-bit picture id, TL0PICIDX, TID 0.
const DESCRIPTOR_BYTES: usize = 6;

/// Cuts a frame into payloads of nearly equal length, descriptor first.
pub(crate) fn cut(frame: &Bytes, picture_id: u16, tl0_picture: u8) -> Vec<Bytes> {
    let room = PAYLOAD_BYTES_MAX - DESCRIPTOR_BYTES;
    let count = frame.len().div_ceil(room).max(1);
    let (short, longer) = (frame.len() / count, frame.len() % count);
    let mut from = 0;
    (0..count)
        .map(|i| {
            // libwebrtc gives the odd bytes to the last packets.
            let length = short + usize::from(i >= count - longer);
            let mut out = BytesMut::with_capacity(DESCRIPTOR_BYTES + length);
            out.put_u8(0x80 | if i == 0 { 0x10 } else { 0 });
            out.put_u8(0b1110_0000); // I, L, T
            out.put_u16(0x8000 | (picture_id & 0x7fff));
            out.put_u8(tl0_picture);
            out.put_u8(0); // TID 0, no layer sync, no KEYIDX
            out.put_slice(&frame[from..from + length]);
            from += length;
            out.freeze()
        })
        .collect()
}

/// Reads a VP8 descriptor of any form (RFC 7741 section 4.2), and what follows it.
pub(crate) fn read_descriptor(payload: &[u8]) -> Option<(Vp8Descriptor, &[u8])> {
    let (&first, mut rest) = payload.split_first()?;
    let mut next = || {
        let (&byte, behind) = rest.split_first()?;
        rest = behind;
        Some(byte)
    };
    let flags = if first & 0x80 == 0 { 0 } else { next()? };
    let picture_id = match flags & 0x80 {
        0 => None,
        _ => match next()? {
            short if short & 0x80 == 0 => Some(u16::from(short)),
            high => Some(u16::from_be_bytes([high & 0x7f, next()?])),
        },
    };
    let tl0_picture = if flags & 0x40 == 0 { None } else { Some(next()?) };
    if flags & 0b0011_0000 != 0 {
        next()?; // T or K: TID and KEYIDX
    }
    let descriptor = Vp8Descriptor {
        // S, with partition 0.
        start: first & 0x10 != 0 && first & 0x07 == 0,
        picture_id,
        tl0_picture,
    };
    Some((descriptor, rest))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::clip::Clips;

    fn mark() -> Mark {
        Mark {
            source: 49,
            counter: 7,
            clip: 2,
            is_back: true,
            index: 59,
            sent_us: 0x1_0000_0002,
        }
    }

    #[test]
    fn a_frame_comes_back_from_its_packets() {
        for (layer, frames) in Clips::builtin().layers.iter().enumerate() {
            for frame in frames {
                let payloads = cut(&marked_frame(frame, &mark()), 0x7fff, 255);
                let sizes: Vec<_> = payloads.iter().map(Bytes::len).collect();
                assert!(sizes.iter().all(|&size| size <= PAYLOAD_BYTES_MAX));
                assert!(
                    sizes.iter().max().unwrap() - sizes.iter().min().unwrap() <= 1,
                    "{layer}: {sizes:?}"
                );
                let mut unit = Vec::new();
                for (i, payload) in payloads.iter().enumerate() {
                    let (descriptor, data) = read_descriptor(payload).unwrap();
                    assert_eq!(
                        descriptor,
                        Vp8Descriptor {
                            start: i == 0,
                            picture_id: Some(0x7fff),
                            tl0_picture: Some(255)
                        }
                    );
                    unit.extend_from_slice(data);
                }
                assert_eq!(unmark_frame(&unit), Some((&frame[..], mark())));
            }
        }
    }

    #[test]
    fn a_sound_packet_comes_back() {
        for sound in &Clips::builtin().speech {
            let payload = marked_sound(&sound.payload, &mark());
            let (toc, frame, back) = unmark_sound(&payload).unwrap();
            assert_eq!(
                (toc, frame, back),
                (sound.payload[0], &sound.payload[1..], mark())
            );
        }
    }

    #[test]
    fn a_descriptor_of_any_form_is_read() {
        let read = |bytes: &[u8]| {
            let (descriptor, rest) = read_descriptor(bytes)?;
            let Vp8Descriptor {
                start,
                picture_id,
                tl0_picture,
            } = descriptor;
            Some((start, picture_id, tl0_picture, rest.len()))
        };
        for (bytes, expected) in [
            (&[0x10, 9][..], Some((true, None, None, 1))),
            (&[0x00, 9], Some((false, None, None, 1))),
            (&[0x11, 9], Some((false, None, None, 1))),
            (&[0x90, 0x00, 9], Some((true, None, None, 1))),
            (&[0x90, 0x80, 0x05, 9], Some((true, Some(5), None, 1))),
            (&[0x90, 0x80, 0x85, 0x01, 9], Some((true, Some(0x501), None, 1))),
            (&[0x90, 0x40, 7, 9], Some((true, None, Some(7), 1))),
            (&[0x90, 0x20, 0x40, 9], Some((true, None, None, 1))),
            (&[0x90, 0x10, 3, 9], Some((true, None, None, 1))),
            (
                &[0x90, 0xf0, 0xff, 0xff, 7, 0x43, 9],
                Some((true, Some(0x7fff), Some(7), 1)),
            ),
            (&[0x90, 0xc0, 0x85], None),
            (&[0x90], None),
            (&[], None),
        ] {
            assert_eq!(read(bytes), expected, "{bytes:02x?}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = (read_descriptor(&bytes), unmark_frame(&bytes), unmark_sound(&bytes));
        }

        #[test]
        fn one_changed_byte_of_a_mark_shows(at in 0..MARK_BYTES, change in 1..=255u8) {
            let mut unit = marked_frame(b"frame", &mark()).to_vec();
            unit[5 + at] ^= change;
            prop_assert_eq!(unmark_frame(&unit), None);
        }
    }
}
