//! Packets restored from the redundant blocks of a later one (RFC 2198).
//!
//! A block tells its time, not its number. It is taken only if it can be no other packet than the one that is missing: it
//! ends where the later packet begins, or all packets from one before it on to the later one lie evenly in time and are as
//! long, so that no pause of the sender can hide between them. (A sender would have to change the length of its packets to
//! and fro within a third of a second, and pause for just the difference, to deceive this.)

use super::{
    super::{
        arrival::{Arrival, AudioLevel},
        packet::Codec,
        seq::{RtpTime, Seq},
        streams::Identity,
    },
    Uplink,
};
use crate::wire::{
    codec::opus::Toc,
    red::{Block, Red},
    rtp::RtpPacket,
};

/// A packet whose redundant blocks are not all looked at yet.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pending {
    identity: Identity,
    sequence: Seq,
    timestamp: RtpTime,
    level: Option<AudioLevel>,
    /// The next block to look at.
    next: usize,
}

/// Times of the packets of a stream that came last, by number; no room for any where there is no sound.
#[derive(Debug, Default)]
pub(super) struct Times(Box<[Option<Known>]>);

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Known {
    sequence: Seq,
    time: RtpTime,
    /// How long it lasts.
    ticks: u32,
}

/// An offset of 14 bits reaches 17 packets of 20 ms back; as many before it may be missing.
const TIMES: usize = 32;

impl Times {
    fn note(&mut self, sequence: Seq, time: RtpTime, payload: &[u8]) {
        let Some(toc) = Toc::parse(payload) else { return };
        if self.0.is_empty() {
            self.0 = vec![None; TIMES].into();
        }
        let place = &mut self.0[(sequence.0 % TIMES as u64) as usize];
        if place.is_none_or(|newer| newer.sequence < sequence) {
            *place = Some(Known {
                sequence,
                time,
                ticks: toc.ticks(),
            });
        }
    }

    /// The nearest one below that number.
    fn below(&self, sequence: Seq) -> Option<Known> {
        let known = self.0.iter().flatten().copied();
        known.filter(|known| known.sequence < sequence).max()
    }

    /// The number of a block of the packet `at`, which is noted; none if it is not certain.
    fn number(&self, at: Seq, block: &Block<'_>) -> Option<Seq> {
        let ticks = Toc::parse(block.payload)?.ticks();
        let (offset, step) = (u64::from(block.offset), u64::from(ticks));
        let back = offset / step;
        if back == 0 || offset % step != 0 {
            return None;
        }
        let number = Seq(at.0.checked_sub(back)?);
        if back == 1 {
            return Some(number);
        }
        let (last, first) = (self.below(Seq(at.0 + 1))?, self.below(number)?);
        let even = last.time.0.checked_sub(first.time.0)? == (at.0 - first.sequence.0) * step;
        let alike = last.sequence == at && [first, last].iter().all(|known| known.ticks == ticks);
        (even && alike).then_some(number)
    }
}

impl Uplink {
    /// The media payload of a packet: of RED its primary block. None if it is no RED, or not of sound that was negotiated.
    pub(super) fn primary<'p>(&self, packet: &RtpPacket<'p>, identity: Identity) -> Option<&'p [u8]> {
        if !identity.redundant {
            return Some(packet.payload());
        }
        let red = Red::parse(packet.payload())?;
        let primary = red.primary();
        self.streams
            .is_opus(identity.layer, primary.payload_type)
            .then_some(primary.payload)
    }

    /// Its redundant blocks may be asked for; its time serves to tell those of others.
    pub(super) fn note_sound(&mut self, identity: Identity, arrival: &Arrival<'_>) {
        if arrival.codec != Codec::Opus {
            return;
        }
        let layer = &mut self.layers[identity.layer];
        layer
            .times
            .note(arrival.sequence, arrival.timestamp, arrival.payload);
        self.pending = identity.redundant.then_some(Pending {
            identity,
            sequence: arrival.sequence,
            timestamp: arrival.timestamp,
            level: arrival.level,
            next: 0,
        });
    }

    /// A missing packet that `packet` brought besides itself, `packet` being the one given to [`Self::handle_rtp`] last. Call
    /// until none, and pass these on before the packet's own arrival: they are older. Its level is that of the packet it came
    /// with, the nearest that is known.
    pub fn poll_recovered<'p>(&mut self, packet: &RtpPacket<'p>) -> Option<Arrival<'p>> {
        let mut pending = self.pending.take()?;
        let red = Red::parse(packet.payload())?;
        while let Some(block) = red.redundant().get(pending.next) {
            pending.next += 1;
            if let Some(arrival) = self.recover(&pending, block) {
                self.pending = Some(pending);
                return Some(arrival);
            }
        }
        None
    }

    fn recover<'p>(&mut self, pending: &Pending, block: &Block<'p>) -> Option<Arrival<'p>> {
        let Pending {
            identity,
            sequence: at,
            timestamp: time,
            ..
        } = *pending;
        if !self.streams.is_opus(identity.layer, block.payload_type) {
            return None;
        }
        let nanos = self.nanos();
        let layer = &mut self.layers[identity.layer];
        let sequence = layer.times.number(at, block)?;
        let inbound = layer.inbound.as_mut()?;
        self.is_moved |= inbound.lacks();
        if !inbound.recover(sequence) {
            return None;
        }
        let timestamp = RtpTime(time.0.checked_sub(block.offset.into())?);
        layer.times.note(sequence, timestamp, block.payload);
        self.stats.packets += 1;
        self.stats.recovered += 1;
        let id = self.streams.layers()[identity.layer];
        Some(Arrival {
            heights: None,
            descriptor: None,
            source: id.source,
            layer: id.layer,
            layers: id.layers,
            stream: inbound.stream,
            sequence,
            timestamp,
            capture: inbound.clock.capture(nanos, timestamp),
            marker: false,
            codec: Codec::Opus,
            payload: block.payload,
            video: None,
            level: pending.level,
            repaired: true,
        })
    }
}

#[cfg(test)]
#[path = "recovery_tests.rs"]
mod tests;
