//! Streams that begin.

use std::time::Duration;

use super::{
    super::{
        arrival::Arrival,
        id::Ssrc,
        inbound::{First, Inbound},
        streams::{Identity, Role},
    },
    Layer, Uplink, feedback,
};
use crate::wire::rtp::RtpPacket;

/// A layer may begin anew under another SSRC no sooner than this: each time costs its receivers a history. Packets of a
/// sender that changes faster are refused.
const RESTART_MIN: Duration = Duration::from_millis(500);

impl Uplink {
    /// The first packet of a stream. It takes the place of the one its layer had. `head`: the number of one before it that was not
    /// passed on. Padding alone begins nothing: it has any time.
    pub(super) fn begin<'p>(
        &mut self,
        packet: &RtpPacket<'p>,
        identity: Identity,
        payload: &'p [u8],
        head: Option<u16>,
    ) -> Option<Arrival<'p>> {
        if payload.is_empty() {
            self.stats.padding += 1;
            return None;
        }
        let nanos = self.nanos();
        let layer = &mut self.layers[identity.layer];
        if layer
            .begun
            .is_some_and(|at| self.now.saturating_duration_since(at) < RESTART_MIN)
        {
            self.stats.unknown += 1;
            return None;
        }
        let id = self.streams.layers()[identity.layer];
        let first = First {
            ssrc: Ssrc(packet.ssrc()),
            stream: self.streams_begun,
            codec: identity.codec,
            repairable: id.repairable,
            sequence: packet.sequence(),
            time: packet.timestamp(),
            now_nanos: nanos,
        };
        let mut inbound = Box::new(Inbound::new(self.now, first));
        if let Some(head) = head {
            inbound.miss_head(self.now, head);
        }
        let seq = inbound.first();
        if let Some(former) = &layer.inbound {
            self.stats.add_counts(former);
        }
        *layer = Layer {
            inbound: Some(inbound),
            begun: Some(self.now),
            ..Layer::default()
        };
        self.streams_begun += 1;
        self.is_moved = true;
        self.streams
            .learn(Ssrc(packet.ssrc()), identity.layer, Role::Media);
        self.brokers[id.source as usize].handle_beginning(self.now);
        self.report_due
            .get_or_insert(self.now + feedback::report_interval(self.own, 0) / 2);
        self.arrive(packet, identity, seq, payload, false)
    }
}
