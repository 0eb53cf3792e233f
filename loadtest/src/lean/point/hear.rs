//! What a point hears: datagrams by their kind, packets by their slot.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use sfu::wire::{
    Class, classify,
    rtcp::{self, Rtcp},
    rtp::RtpPacket,
};

use super::{Judge, Point, Source};
use crate::{
    check::Arrived,
    clip::is_key_frame,
    lean::{
        batch::Batch,
        egress::{Egress, Way, give},
        tally::{Heading, Look, Tally},
        transport::Transport,
    },
    media::{read_descriptor, unmark_frame},
    sender::Now,
};

impl Point {
    /// Takes what came. How many RTP packets those were.
    ///
    /// What lay in the socket until this point had its turn is the tester's delay, not the server's: a datagram came when the kernel had it.
    pub(in crate::lean) fn receive(&mut self, now: Now, batch: &mut Batch, egress: &mut Egress) -> u64 {
        let mut heard = 0;
        let day = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let day = micros(day.unwrap_or_default());
        while batch.fill(&self.socket, &self.state) {
            for (came, datagram) in batch.datagrams() {
                heard += u64::from(classify(datagram) == Class::Rtp);
                let us = came.map_or(now.us, |came| (now.us + micros(came)).saturating_sub(day));
                self.handle(Now { us, ..now }, datagram, egress);
            }
            if !batch.is_full() {
                break;
            }
        }
        self.ask(now, egress);
        heard
    }

    fn handle(&mut self, now: Now, datagram: &mut [u8], egress: &mut Egress) {
        let Some(transport) = &mut self.transport else {
            return;
        };
        match classify(datagram) {
            Class::Stun => {
                if let Some(answer) = transport.handle_stun(now.instant, datagram) {
                    let way = Way {
                        socket: &self.socket,
                        state: &self.state,
                        to: transport.remote(),
                    };
                    give(&way, &answer, None);
                }
            }
            Class::Dtls => transport.handle_dtls(now.instant, datagram),
            Class::Rtp => return self.handle_rtp(now, datagram),
            Class::Rtcp => return self.handle_rtcp(now, datagram, egress),
            Class::Other => return,
        }
        self.flush_handshake();
    }

    /// Sends what the handshake has to say, and tells how far it is.
    pub(super) fn flush_handshake(&mut self) {
        let Some(transport) = &mut self.transport else {
            return;
        };
        let way = Way {
            socket: &self.socket,
            state: &self.state,
            to: transport.remote(),
        };
        while let Some(datagram) = transport.poll_transmit() {
            give(&way, &datagram, None);
        }
        let path = transport.path();
        self.path.send_if_modified(|known| {
            let changed = *known != path;
            *known = path;
            changed
        });
    }

    fn handle_rtp(&mut self, now: Now, datagram: &mut [u8]) {
        // Sealed padding is no padding yet: the flag would be looked at together with bytes of the tag.
        let flags = datagram[0];
        datagram[0] = flags & !0x20;
        let Ok(packet) = RtpPacket::parse(datagram) else {
            return;
        };
        let number = self.transport_id.and_then(|id| packet.extension(id));
        if let Some(&[high, low]) = number {
            self.feedback
                .handle(now.instant, u16::from_be_bytes([high, low]), now.us);
        }
        let (ssrc, payload_type) = (packet.ssrc(), packet.payload_type());
        let heading = Heading {
            sequence: packet.sequence(),
            time: packet.timestamp(),
            marker: packet.marker(),
            source: packet.csrcs().next(),
            at_us: now.us,
        };
        datagram[0] = flags;
        let mut found = self.by_ssrc.binary_search_by_key(&ssrc, |&(ssrc, ..)| ssrc);
        if found.is_err() && self.slots.len() == 1 {
            self.bind(ssrc, payload_type);
            found = self.by_ssrc.binary_search_by_key(&ssrc, |&(ssrc, ..)| ssrc);
        }
        let Some(&(_, at, repair)) = found.ok().and_then(|found| self.by_ssrc.get(found)) else {
            return;
        };
        if !self.judging {
            return;
        }
        self.first_packet_us.get_or_insert(now.us);
        let look = match &mut self.slots[at].judge {
            Judge::Headers(tally) if !repair => tally.handle(heading),
            _ => Look::Key,
        };
        if let Judge::Headers(tally) = &mut self.slots[at].judge
            && let Some(us) = tally.take_latency()
        {
            self.latency.record(us);
            self.latest.push(us);
        }
        if look != Look::No {
            self.look(at, look, heading, repair, datagram);
        }
    }

    /// Opens a packet of a slot, and takes what is wanted of it.
    fn look(&mut self, at: usize, look: Look, heading: Heading, repair: bool, datagram: &mut [u8]) {
        let contexts = self.transport.as_mut().and_then(Transport::contexts);
        let Some((_, opener)) = contexts else { return };
        let Ok(length) = opener.open_rtp(datagram) else {
            return;
        };
        let Ok(packet) = RtpPacket::parse(&datagram[..length]) else {
            return;
        };
        let payload = packet.payload();
        match &mut self.slots[at].judge {
            Judge::Whole(check) => {
                let Some(arrived) = arrived(heading, repair, payload) else {
                    return;
                };
                let ours = |point| self.ours.contains(point);
                check.handle(arrived, &ours);
            }
            Judge::Headers(tally) if repair => {
                // RFC 4588: the original number, then the original payload. Less is padding that probes the path.
                let [high, low, original @ ..] = payload else {
                    return;
                };
                let number = u16::from_be_bytes([*high, *low]);
                if !original.is_empty()
                    && tally.handle_repair(number, heading.marker, heading.at_us) == Look::Key
                    && let Some(us) = tell_start(tally, original, heading)
                {
                    self.first_key.record(us);
                }
            }
            Judge::Headers(tally) if matches!(look, Look::Latency | Look::Layer) => {
                let mark = unmark_frame(payload).map(|(_, mark)| mark);
                if let Some(mark) = mark.filter(|_| look == Look::Latency) {
                    tally.tell_latency(heading.at_us.saturating_sub(mark.sent_us));
                }
                tally.tell_layer(mark.map(|mark| mark.clip), heading.at_us);
            }
            Judge::Headers(tally) => {
                if let Some(us) = tell_start(tally, payload, heading) {
                    self.first_key.record(us);
                }
            }
        }
    }

    fn handle_rtcp(&mut self, now: Now, datagram: &mut [u8], egress: &mut Egress) {
        let contexts = self.transport.as_mut().and_then(Transport::contexts);
        let Some((_, opener)) = contexts else { return };
        let Ok(length) = opener.open_rtcp(datagram) else {
            return;
        };
        for packet in rtcp::packets(&datagram[..length]).flatten() {
            match packet {
                Rtcp::SenderReport(report) => {
                    report.reports().for_each(|block| self.know(block.ssrc));
                    let middle = (report.info.ntp >> 16) as u32;
                    if let Some(slot) = self.slots.iter_mut().find(|slot| slot.ssrc == report.ssrc) {
                        slot.last_report = Some((middle, now.instant));
                    }
                }
                Rtcp::ReceiverReport(report) => report.reports().for_each(|block| self.know(block.ssrc)),
                Rtcp::PictureLoss(request) => self.key_frame(request.media_ssrc),
                Rtcp::Fir(request) => request.entries().for_each(|(ssrc, _)| self.key_frame(ssrc)),
                Rtcp::Nack(nack) if self.sending => {
                    let missing: Vec<u16> = nack.lost().collect();
                    match &mut self.source {
                        Some(Source::Clips(sender)) => {
                            sender.handle_nack(now, nack.media_ssrc, &missing, &mut self.packets);
                        }
                        Some(Source::Pattern(pattern)) => {
                            pattern.handle_nack(nack.media_ssrc, &missing, &mut self.packets);
                        }
                        None => {}
                    }
                }
                _ => {}
            }
        }
        self.flush(egress);
    }

    fn know(&mut self, ssrc: u32) {
        if let Some(sender) = self.sender() {
            sender.handle_report(ssrc);
        }
    }

    fn key_frame(&mut self, ssrc: u32) {
        match &mut self.source {
            Some(Source::Clips(sender)) => sender.handle_key_frame_request(ssrc),
            Some(Source::Pattern(pattern)) => pattern.handle_key_frame_request(ssrc),
            None => {}
        }
    }
}

/// Tells whether a key frame begins in the packet that was asked about. If it is the first of the slot: how long it was wanted.
fn tell_start(tally: &mut Tally, payload: &[u8], heading: Heading) -> Option<u64> {
    let begins =
        read_descriptor(payload).is_some_and(|(descriptor, frame)| descriptor.start && is_key_frame(frame));
    if !begins {
        tally.tell_no_key(heading.at_us);
        return None;
    }
    let wanted = tally.tell_key(heading.at_us);
    if heading.marker {
        // The whole picture: nobody looks at it once more for its layer.
        let mark = unmark_frame(payload).map(|(_, mark)| mark);
        tally.tell_layer(mark.map(|mark| mark.clip), heading.at_us);
    }
    wanted
}

fn micros(time: Duration) -> u64 {
    time.as_micros() as u64
}

/// A packet for the judge of everything, decapsulated if it is a repair; nothing if it is padding.
fn arrived(heading: Heading, repair: bool, payload: &[u8]) -> Option<Arrived> {
    let (sequence, payload) = match (repair, payload) {
        (false, payload) => (heading.sequence, payload),
        (true, [high, low, original @ ..]) if !original.is_empty() => {
            (u16::from_be_bytes([*high, *low]), original)
        }
        _ => return None,
    };
    Some(Arrived {
        sequence,
        time: heading.time,
        marker: heading.marker,
        csrc: heading.source,
        payload: Bytes::copy_from_slice(payload),
        at_us: heading.at_us,
        repair,
    })
}
