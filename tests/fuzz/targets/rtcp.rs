//! Any bytes as a compound RTCP packet.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sfu::wire::rtcp::{self, Rtcp};

fuzz_target!(|bytes: &[u8]| {
    for packet in rtcp::packets(bytes).flatten() {
        let items = match packet {
            Rtcp::SenderReport(report) => report.reports().count(),
            Rtcp::ReceiverReport(report) => report.reports().count(),
            Rtcp::SourceDescription(description) => description.cnames().count(),
            Rtcp::Goodbye(goodbye) => goodbye.ssrcs().count(),
            Rtcp::Nack(nack) => nack.lost().count(),
            Rtcp::Fir(fir) => fir.entries().count(),
            Rtcp::Remb(remb) => remb.ssrcs().count(),
            Rtcp::TransportFeedback(feedback) => feedback.statuses().count().min(bytes.len()),
            Rtcp::PictureLoss(_) | Rtcp::Other { .. } => 0,
        };
        assert!(
            items <= bytes.len() * 5,
            "17 lost numbers in four bytes is the most"
        );
    }
});
