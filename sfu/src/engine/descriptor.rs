//! Dependency descriptors on their way through a slot.
//!
//! A receiver of AV1 that gets several spatial layers needs them: without, a browser takes the layers of one picture for one frame.
//! Frame numbers keep their distances within a stretch, because frames name by them what they lean on; what is left out is told by
//! the active decode targets, which every packet names.

use std::num::NonZeroU8;

use super::wanted::Wanted;
use crate::wire::ext::dependency_descriptor::{Descriptor, Place, Structure, patch};

/// Longest descriptor that goes on: what the length of a header extension can say (RFC 8285 §4.3).
pub const LENGTH_MAX: usize = 255;
/// Decode targets that are told apart; no browser has more than nine. With more a descriptor does not go on.
const TARGETS_MAX: usize = 16;
/// Spatial and temporal layers that are told apart; what lies above counts with the highest.
const LAYERS: usize = 3;

/// A packet's descriptor as it arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Carried<'p> {
    value: &'p [u8],
    /// Where place is made for the active targets; none if they have it.
    place: Option<Place>,
    /// What a slot has to know of it.
    pub frame: Frame,
}

/// What a slot has to know of a descriptor that is kept with its packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame {
    /// Bytes, with the active targets in it. Never 0: an option of this takes no more.
    length: NonZeroU8,
    /// The sender's frame number.
    pub number: u16,
    /// Where the active targets stand, how many they may be, and which the sender sends.
    at: u16,
    count: u8,
    active: u16,
    /// The targets that have no layers above each.
    spatial: [u16; LAYERS],
    temporal: [u16; LAYERS],
}

/// What a slot writes into a descriptor.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stamp {
    /// Bytes of the descriptor, which stands before the payload in the history.
    pub length: u8,
    number: u16,
    at: u16,
    count: u8,
    targets: u16,
}

impl<'p> Carried<'p> {
    /// Of a sender that sends the targets `active`. None where it is more than goes on.
    pub(super) fn new(
        value: &'p [u8],
        read: &Descriptor,
        structure: &Structure,
        active: u32,
    ) -> Option<Self> {
        let targets = structure.targets();
        if targets.len() > TARGETS_MAX {
            return None;
        }
        let up_to = |layer_of: fn(&(u8, u8)) -> u8| {
            std::array::from_fn(|highest| {
                let layers = targets.iter().map(|target| (target.spatial, target.temporal));
                let fits =
                    |layers: &(u8, u8)| highest == LAYERS - 1 || usize::from(layer_of(layers)) <= highest;
                (0..)
                    .zip(layers)
                    .fold(0, |mask, (at, layers)| mask | u16::from(fits(&layers)) << at)
            })
        };
        Some(Self {
            value,
            place: Some(read.place),
            frame: Frame {
                length: length(read.place.length(value))?,
                number: read.frame_number,
                at: read.place.stands_at(),
                count: read.place.count(),
                active: (active & u32::from(u16::MAX)) as u16,
                spatial: up_to(|layers| layers.0),
                temporal: up_to(|layers| layers.1),
            },
        })
    }

    /// Of one that cannot be read (yet): it goes on as it came, with the slot's frame number. None if it is too short for one.
    pub(super) fn unread(value: &'p [u8]) -> Option<Self> {
        let &[_, high, low, ..] = value else { return None };
        Some(Self {
            value,
            place: None,
            frame: Frame {
                length: length(value.len())?,
                number: u16::from_be_bytes([high, low]),
                at: 0,
                count: 0,
                active: 0,
                spatial: [0; LAYERS],
                temporal: [0; LAYERS],
            },
        })
    }

    /// Of one that is kept, at the beginning of `kept`, and what comes behind it; none if that is too short.
    pub(super) fn kept(kept: &'p [u8], frame: Frame) -> Option<(Self, &'p [u8])> {
        let (value, rest) = kept.split_at_checked(frame.length().into())?;
        let carried = Self {
            value,
            place: None,
            frame,
        };
        Some((carried, rest))
    }

    /// As it is kept: with place for the active targets.
    pub(super) fn write<'o>(&self, out: &'o mut [u8; LENGTH_MAX]) -> Option<&'o [u8]> {
        let Some(place) = self.place else {
            let out = out.get_mut(..self.value.len())?;
            out.copy_from_slice(self.value);
            return Some(out);
        };
        let length = place.write(self.value, out)?;
        out.get(..length)
    }
}

fn length(bytes: usize) -> Option<NonZeroU8> {
    u8::try_from(bytes).ok().and_then(NonZeroU8::new)
}

impl Frame {
    /// Bytes that are kept.
    pub(super) fn length(&self) -> u8 {
        self.length.get()
    }

    /// With the slot's frame number, where layers above `level` are left out.
    pub(super) fn stamp(&self, number: u16, level: Wanted) -> Stamp {
        let place = |layer: u8| usize::from(layer).min(LAYERS - 1);
        Stamp {
            length: self.length(),
            number,
            at: self.at,
            count: self.count,
            targets: self.active & self.spatial[place(level.spatial)] & self.temporal[place(level.temporal)],
        }
    }
}

impl Stamp {
    /// What is kept, parted into the descriptor as it goes out, at the beginning of `out`, and the payload.
    pub(super) fn part<'o, 'p>(
        &self,
        kept: &'p [u8],
        out: &'o mut [u8; LENGTH_MAX],
    ) -> Option<(&'o [u8], &'p [u8])> {
        let (descriptor, payload) = kept.split_at_checked(self.length.into())?;
        let place = out.get_mut(..descriptor.len())?;
        place.copy_from_slice(descriptor);
        self.write(place).then_some((&*place, payload))
    }

    /// Writes what differs in the slot. False if the descriptor is too short for it.
    fn write(&self, descriptor: &mut [u8]) -> bool {
        patch(descriptor, self.number, self.at, self.count, self.targets.into())
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::{
        engine::{
            id::{EndpointId, PointNumber, SlotId, SourceKind, Ssrc},
            packet::{Forward, OutgoingHeader, PayloadPatch, Purpose},
        },
        wire::{ext::dependency_descriptor, rtp::RtpPacket},
    };

    /// A key frame that tells of two temporal layers, and two decode targets: the base layer, and both.
    const KEY: [u8; 8] = [0xC0, 0, 1, 0x80, 0x01, 0x7A, 0x14, 0x00];
    const UPPER: [u8; 3] = [0xC1, 0, 2];
    const ALL: Wanted = Wanted {
        temporal: u8::MAX,
        spatial: u8::MAX,
    };
    const BASE: Wanted = Wanted { temporal: 0, ..ALL };

    fn carried(value: &[u8], active: u32) -> (Carried<'_>, Structure) {
        let (_, structure) = dependency_descriptor::read(&KEY, None).expect("whole");
        let structure = structure.expect("has one");
        let (read, _) = dependency_descriptor::read(value, Some(&structure)).expect("whole");
        let carried = Carried::new(value, &read, &structure, active).expect("goes on");
        (carried, structure)
    }

    /// Of a packet of frame `number`.
    pub(in crate::engine) fn frame(number: u16) -> Frame {
        Frame {
            number,
            ..carried(&UPPER, u32::MAX).0.frame
        }
    }

    #[test]
    fn every_packet_names_the_targets_that_are_left() {
        // What the sender sends, what flows: what is named.
        let table = [
            (u32::MAX, ALL, 0b11),
            (u32::MAX, BASE, 0b01),
            (0b01, ALL, 0b01),
            (0b10, BASE, 0),
        ];
        for value in [&KEY[..], &UPPER] {
            for (active, level, named) in table {
                let (carried, structure) = carried(value, active);
                let mut kept = [0; LENGTH_MAX];
                let mut kept = carried.write(&mut kept).expect("has room").to_vec();
                assert_eq!(kept.len(), usize::from(carried.frame.length()));
                assert!(carried.frame.stamp(0xBEEF, level).write(&mut kept));
                let (read, _) = dependency_descriptor::read(&kept, Some(&structure)).expect("still one");
                assert_eq!((read.frame_number, read.active_targets), (0xBEEF, Some(named)));
            }
        }
    }

    #[test]
    fn it_goes_into_the_header_of_whoever_takes_it_and_never_into_the_payload() {
        let (carried, structure) = carried(&KEY, u32::MAX);
        let mut kept = [0; LENGTH_MAX];
        let mut kept = carried.write(&mut kept).expect("has room").to_vec();
        kept.extend(*b"payload");
        for dependency in [None, Some(12)] {
            let forward = Forward {
                to: EndpointId(1),
                slot: SlotId::video(0),
                purpose: Purpose::Video,
                header: OutgoingHeader {
                    marker: true,
                    payload_type: 45,
                    sequence: 1,
                    timestamp: 2,
                    ssrc: Ssrc(3),
                    source: PointNumber::try_from(1)
                        .expect("in range")
                        .source(SourceKind::Camera),
                    mid: None,
                    transport_sequence: Some((4, 9)),
                    playout_delay: None,
                    dependency,
                    original_sequence: None,
                    padding: 0,
                },
                payload: None,
                size: 0,
                patch: PayloadPatch::Av1(carried.frame.stamp(7, BASE)),
                redundancy: None,
                again: false,
                base: false,
            };
            let mut out = [0; 200];
            let length = forward.write(&kept, |_| None, &mut out).expect("written");
            let packet = RtpPacket::parse(&out[..length]).expect("RTP");
            assert_eq!(packet.payload(), b"payload");
            let told = packet.extension(12).map(|value| {
                let (read, _) = dependency_descriptor::read(value, Some(&structure)).expect("still one");
                (read.frame_number, read.active_targets)
            });
            assert_eq!(told, dependency.map(|_| (7, Some(0b01))));
            assert!(forward.write(&kept[..4], |_| None, &mut out).is_none());
        }
    }
}
