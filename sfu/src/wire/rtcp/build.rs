//! Writing compounds.

use super::{ReportBlock, SenderInfo, format, packet_type};

/// The packet would not fit the compound's limit. Nothing of it was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no room in the compound")]
pub struct NoRoom;

/// Appends packets to a compound that never gets longer than its limit.
///
/// A method either writes its packet or leaves the compound as it was. Lists that may be long are written as far as they
/// fit, and the number of entries written is returned: go on with the rest in the next packet or compound. That is at
/// least one entry, but for reports and REMB, which stand without one where none fits. An empty list is refused with
/// [`NoRoom`] where its document asks for an entry.
#[derive(Debug)]
pub struct Builder<'o> {
    pub(super) out: &'o mut Vec<u8>,
    /// Length of `out` that is not to be exceeded.
    pub(super) end: usize,
}

impl<'o> Builder<'o> {
    /// Begins a compound of at most `limit` bytes at the end of `out`.
    pub fn new(out: &'o mut Vec<u8>, limit: usize) -> Self {
        let end = out.len().saturating_add(limit);
        Self { out, end }
    }

    /// Bytes that the compound may still grow by.
    pub fn room(&self) -> usize {
        self.end.saturating_sub(self.out.len())
    }

    /// Sender report (RFC 3550 §6.4.1) with as many blocks as fit, at most 31.
    pub fn sender_report(
        &mut self,
        ssrc: u32,
        info: &SenderInfo,
        blocks: &[ReportBlock],
    ) -> Result<usize, NoRoom> {
        let blocks = self.fitting(28, 24, 31, blocks);
        self.header(packet_type::SENDER_REPORT, blocks.len(), 24 + 24 * blocks.len())?;
        self.u32(ssrc);
        self.out.extend_from_slice(&info.ntp.to_be_bytes());
        self.u32(info.rtp);
        self.u32(info.packets);
        self.u32(info.octets);
        self.blocks(blocks);
        Ok(blocks.len())
    }

    /// Receiver report (RFC 3550 §6.4.2) with as many blocks as fit, at most 31.
    pub fn receiver_report(&mut self, ssrc: u32, blocks: &[ReportBlock]) -> Result<usize, NoRoom> {
        let blocks = self.fitting(8, 24, 31, blocks);
        self.header(packet_type::RECEIVER_REPORT, blocks.len(), 4 + 24 * blocks.len())?;
        self.u32(ssrc);
        self.blocks(blocks);
        Ok(blocks.len())
    }

    /// Source description with a canonical name (RFC 3550 §6.5.1), cut at 255 bytes.
    pub fn source_description(&mut self, ssrc: u32, cname: &[u8]) -> Result<(), NoRoom> {
        let cname = cname.get(..255).unwrap_or(cname);
        let len = (4 + 2 + cname.len() + 1).next_multiple_of(4);
        self.header(packet_type::SOURCE_DESCRIPTION, 1, len)?;
        let padded = self.out.len() + len;
        self.u32(ssrc);
        self.out.extend_from_slice(&[1, cname.len() as u8]);
        self.out.extend_from_slice(cname);
        self.out.resize(padded, 0);
        Ok(())
    }

    /// Asks for lost packets again (RFC 4585 §6.2.1). Numbers in ascending order, wrapping, pack best: up to 17 go into
    /// four bytes.
    pub fn nack(&mut self, sender: u32, media: u32, lost: &[u16]) -> Result<usize, NoRoom> {
        let start = self.out.len();
        self.feedback(packet_type::TRANSPORT_FEEDBACK, format::NACK, sender, media, 4)?;
        let head = self.out.len();
        let mut rest = lost;
        while let Some((&first, following)) = rest.split_first() {
            if self.room() < 4 {
                break;
            }
            let mut mask = 0_u16;
            rest = following;
            while let Some((next, after)) = rest.split_first() {
                match next.wrapping_sub(first) {
                    0 => {}
                    ahead @ 1..=16 => mask |= 1 << (ahead - 1),
                    _ => break,
                }
                rest = after;
            }
            self.u32(u32::from(first) << 16 | u32::from(mask));
        }
        if self.out.len() == head {
            self.out.truncate(start);
            return Err(NoRoom);
        }
        self.finish(start);
        Ok(lost.len() - rest.len())
    }

    /// Asks for a key frame (RFC 4585 §6.3.1).
    pub fn picture_loss(&mut self, sender: u32, media: u32) -> Result<(), NoRoom> {
        self.feedback(
            packet_type::PAYLOAD_FEEDBACK,
            format::PICTURE_LOSS,
            sender,
            media,
            0,
        )
    }

    /// Tells what the path carries (draft-alvestrand-rmcat-remb-03 §2.2), in bits per second, rounded down to 18
    /// significant bits; for up to 255 streams.
    pub fn remb(&mut self, sender: u32, bitrate: u64, ssrcs: &[u32]) -> Result<usize, NoRoom> {
        let ssrcs = self.fitting(20, 4, 255, ssrcs);
        self.feedback(
            packet_type::PAYLOAD_FEEDBACK,
            format::APPLICATION,
            sender,
            0,
            8 + 4 * ssrcs.len(),
        )?;
        let exponent = (u64::BITS - bitrate.leading_zeros()).saturating_sub(18);
        let mantissa = (bitrate >> exponent) as u32;
        self.out.extend_from_slice(b"REMB");
        self.u32((ssrcs.len() as u32) << 24 | exponent << 18 | mantissa);
        ssrcs.iter().for_each(|ssrc| self.u32(*ssrc));
        Ok(ssrcs.len())
    }

    /// As many of `list` as fit behind `head` bytes at `each` bytes; none if not even one does.
    fn fitting<'l, T>(&self, head: usize, each: usize, most: usize, list: &'l [T]) -> &'l [T] {
        let count = (self.room().saturating_sub(head) / each)
            .min(most)
            .min(list.len());
        list.get(..count).unwrap_or_default()
    }

    fn blocks(&mut self, blocks: &[ReportBlock]) {
        for block in blocks {
            self.out.extend_from_slice(&block.write());
        }
    }

    /// A feedback header with its SSRCs, if `len` more bytes fit.
    pub(super) fn feedback(
        &mut self,
        packet_type: u8,
        format: u8,
        sender: u32,
        media: u32,
        len: usize,
    ) -> Result<(), NoRoom> {
        self.header(packet_type, format.into(), 8 + len)?;
        self.u32(sender);
        self.u32(media);
        Ok(())
    }

    /// A header for a body of `len` bytes, a multiple of 4, if that fits.
    fn header(&mut self, packet_type: u8, count: usize, len: usize) -> Result<(), NoRoom> {
        let words = u16::try_from(len / 4).map_err(|_| NoRoom)?;
        if self.room() < 4 + len {
            return Err(NoRoom);
        }
        self.out
            .extend_from_slice(&[0x80 | count as u8 & 0x1F, packet_type]);
        self.out.extend_from_slice(&words.to_be_bytes());
        Ok(())
    }

    /// Corrects the length of the packet that begins at `start` and is now complete.
    pub(super) fn finish(&mut self, start: usize) {
        let words = self.out.len().saturating_sub(start) / 4;
        let words = words.saturating_sub(1).min(usize::from(u16::MAX)) as u16;
        if let Some(slot) = self
            .out
            .get_mut(start + 2..)
            .and_then(|rest| rest.first_chunk_mut())
        {
            *slot = words.to_be_bytes();
        }
    }

    fn u32(&mut self, value: u32) {
        self.out.extend_from_slice(&value.to_be_bytes());
    }
}
