//! RTCP: views of the packets in a compound (RFC 3550 §6, RFC 4585, RFC 5104, REMB, transport-wide feedback), and a
//! [`Builder`].
//!
//! ```
//! use sfu::wire::rtcp::{self, Builder, Rtcp};
//!
//! let mut compound = Vec::new();
//! let mut builder = Builder::new(&mut compound, 1_200);
//! builder.receiver_report(1, &[]).unwrap();
//! builder.picture_loss(1, 2).unwrap();
//! let picture_loss = rtcp::packets(&compound).filter_map(Result::ok).find_map(|packet| match packet {
//!     Rtcp::PictureLoss(request) => Some(request.media_ssrc),
//!     _ => None,
//! });
//! assert_eq!(picture_loss, Some(2));
//! ```

mod build;
mod feedback;
mod report;
mod transport;
mod transport_build;

#[cfg(test)]
mod tests;

pub use build::{Builder, NoRoom};
pub use feedback::{Fir, Nack, PictureLoss, Remb};
pub use report::{Goodbye, ReceiverReport, ReportBlock, SenderInfo, SenderReport, SourceDescription};
pub use transport::{TICK_MICROS, TransportFeedback};

/// Packet types (RFC 3550 §12.1, RFC 4585 §6.1).
mod packet_type {
    pub(super) const SENDER_REPORT: u8 = 200;
    pub(super) const RECEIVER_REPORT: u8 = 201;
    pub(super) const SOURCE_DESCRIPTION: u8 = 202;
    pub(super) const GOODBYE: u8 = 203;
    pub(super) const TRANSPORT_FEEDBACK: u8 = 205;
    pub(super) const PAYLOAD_FEEDBACK: u8 = 206;
}

/// Feedback message types, by packet type.
mod format {
    pub(super) const NACK: u8 = 1; // of 205, RFC 4585 §6.2.1
    pub(super) const TRANSPORT_WIDE: u8 = 15; // of 205, draft-holmer-rmcat-transport-wide-cc-extensions-01 §3.1
    pub(super) const PICTURE_LOSS: u8 = 1; // of 206, RFC 4585 §6.3.1
    pub(super) const FULL_INTRA: u8 = 4; // of 206, RFC 5104 §4.3.1
    pub(super) const APPLICATION: u8 = 15; // of 206, draft-alvestrand-rmcat-remb-03 §2.2
}

/// Why bytes are not an RTCP packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RtcpError {
    /// The version is not 2.
    #[error("not RTCP version 2")]
    Version,
    /// A length says that more bytes follow than do.
    #[error("packet is shorter than its lengths say")]
    Truncated,
    /// The padding count is wrong, or the packet is not the last of its compound.
    #[error("padding is wrong")]
    Padding,
    /// A field has a value that its document forbids.
    #[error("a field has a forbidden value")]
    Value,
}

/// One RTCP packet.
#[derive(Debug, Clone, Copy)]
pub enum Rtcp<'p> {
    /// RFC 3550 §6.4.1.
    SenderReport(SenderReport<'p>),
    /// RFC 3550 §6.4.2.
    ReceiverReport(ReceiverReport<'p>),
    /// RFC 3550 §6.5.
    SourceDescription(SourceDescription<'p>),
    /// RFC 3550 §6.6.
    Goodbye(Goodbye<'p>),
    /// RFC 4585 §6.2.1.
    Nack(Nack<'p>),
    /// RFC 4585 §6.3.1.
    PictureLoss(PictureLoss),
    /// RFC 5104 §4.3.1.
    Fir(Fir<'p>),
    /// draft-alvestrand-rmcat-remb-03.
    Remb(Remb<'p>),
    /// draft-holmer-rmcat-transport-wide-cc-extensions-01.
    TransportFeedback(TransportFeedback<'p>),
    /// A well-framed packet that we have no use for.
    Other {
        /// Its type.
        packet_type: u8,
        /// Its count or feedback format, 0 to 31.
        count: u8,
    },
}

/// The packets of a compound, in their order. An error inside a packet is yielded in its place and the next one read;
/// an error of the framing ends the iteration. Reduced-size compounds (RFC 5506) are taken.
pub fn packets(compound: &[u8]) -> Packets<'_> {
    Packets { rest: compound }
}

/// See [`packets`].
#[derive(Debug, Clone, Copy)]
pub struct Packets<'p> {
    rest: &'p [u8],
}

impl<'p> Iterator for Packets<'p> {
    type Item = Result<Rtcp<'p>, RtcpError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        Some(match self.frame() {
            Ok((packet_type, count, body)) => Rtcp::parse(packet_type, count, body),
            Err(error) => {
                self.rest = &[];
                Err(error)
            }
        })
    }
}

impl<'p> Packets<'p> {
    /// Takes one packet off: type, count, and body without padding.
    fn frame(&mut self) -> Result<(u8, u8, &'p [u8]), RtcpError> {
        let (&[first, packet_type, a, b], rest) =
            self.rest.split_first_chunk().ok_or(RtcpError::Truncated)?;
        if first >> 6 != 2 {
            return Err(RtcpError::Version);
        }
        let len = usize::from(u16::from_be_bytes([a, b])) * 4;
        let (mut body, rest) = rest.split_at_checked(len).ok_or(RtcpError::Truncated)?;
        if first & 0x20 != 0 {
            let padding = usize::from(*body.last().ok_or(RtcpError::Padding)?);
            let kept = body.len().checked_sub(padding).ok_or(RtcpError::Padding)?;
            // Padding is a multiple of four and stands at the end of a compound only (RFC 3550 §6.4.1). Transport-wide
            // feedback alone has no natural length of whole words: its document fills the last word with padding of one
            // to three bytes, and where its sender sets the flag the count is that number.
            let fills =
                (packet_type, first & 0x1F) == (packet_type::TRANSPORT_FEEDBACK, format::TRANSPORT_WIDE);
            if padding == 0 || !fills && (!rest.is_empty() || padding % 4 != 0) {
                return Err(RtcpError::Padding);
            }
            body = body.get(..kept).ok_or(RtcpError::Padding)?;
        }
        self.rest = rest;
        Ok((packet_type, first & 0x1F, body))
    }
}

impl<'p> Rtcp<'p> {
    fn parse(packet_type: u8, count: u8, body: &'p [u8]) -> Result<Self, RtcpError> {
        use packet_type::{
            GOODBYE, PAYLOAD_FEEDBACK, RECEIVER_REPORT, SENDER_REPORT, SOURCE_DESCRIPTION, TRANSPORT_FEEDBACK,
        };
        match (packet_type, count) {
            (SENDER_REPORT, _) => SenderReport::parse(count, body).map(Self::SenderReport),
            (RECEIVER_REPORT, _) => ReceiverReport::parse(count, body).map(Self::ReceiverReport),
            (SOURCE_DESCRIPTION, _) => SourceDescription::parse(count, body).map(Self::SourceDescription),
            (GOODBYE, _) => Goodbye::parse(count, body).map(Self::Goodbye),
            (TRANSPORT_FEEDBACK, format::NACK) => Nack::parse(body).map(Self::Nack),
            (TRANSPORT_FEEDBACK, format::TRANSPORT_WIDE) => {
                TransportFeedback::parse(body).map(Self::TransportFeedback)
            }
            (PAYLOAD_FEEDBACK, format::PICTURE_LOSS) => PictureLoss::parse(body).map(Self::PictureLoss),
            (PAYLOAD_FEEDBACK, format::FULL_INTRA) => Fir::parse(body).map(Self::Fir),
            // Other applications' messages share the format: only those that say REMB are ours.
            (PAYLOAD_FEEDBACK, format::APPLICATION) if Remb::is_remb(body) => {
                Remb::parse(body).map(Self::Remb)
            }
            _ => Ok(Self::Other { packet_type, count }),
        }
    }
}
