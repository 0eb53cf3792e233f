//! What AV1 streams tell of themselves by dependency descriptors.

use super::super::{allocate::LAYERS_MAX, arrival::Picture, descriptor::Carried, seq::Seq};
use crate::wire::ext::dependency_descriptor::{self, Structure};

/// How a stream with dependency descriptors is made, as the newest packet that told it says.
#[derive(Debug, Default)]
pub(super) struct Described {
    structure: Option<(Seq, Box<Structure>)>,
    /// The decode targets that are sent.
    active: Option<(Seq, u32)>,
}

/// What a packet tells.
#[derive(Debug, Default)]
pub(super) struct Told<'p> {
    /// Of its picture; none if it cannot be read.
    pub(super) picture: Option<Picture>,
    /// Of the spatial layers, if it tells them.
    pub(super) heights: Option<Heights>,
    /// Its descriptor, if it can go on.
    pub(super) descriptor: Option<Carried<'p>>,
}

impl Described {
    /// Reads a packet. Without a descriptor, or with one that names nothing known, only what the payload tells; such a one goes on
    /// as it came if there were others before: receivers that have had them hold back what comes without.
    pub(super) fn read<'p>(
        &mut self,
        sequence: Seq,
        value: Option<&'p [u8]>,
        payload: &[u8],
        svc: bool,
    ) -> Told<'p> {
        let known = self.structure.as_ref().map(|(_, structure)| &**structure);
        let read = value.and_then(|value| Some((value, dependency_descriptor::read(value, known)?)));
        let Some((value, (frame, fresh))) = read else {
            return Told {
                picture: Picture::of_av1(payload, None, svc),
                heights: None,
                // The key frame that explains it may still come as a repair, to receivers too.
                descriptor: value.filter(|_| known.is_some()).and_then(Carried::unread),
            };
        };
        let Some(structure) = fresh.as_ref().or(known) else {
            return Told::default();
        };
        let active = frame
            .active_targets
            .or(self.active.map(|(_, active)| active))
            .unwrap_or(u32::MAX);
        let told = Told {
            picture: Picture::of_av1(payload, Some((&frame, structure)), svc),
            heights: fresh.as_ref().and_then(heights),
            descriptor: Carried::new(value, &frame, structure, active),
        };
        let newer = |at: Option<Seq>| at.is_none_or(|at| at < sequence);
        if frame.active_targets.is_some() && newer(self.active.map(|(at, _)| at)) {
            self.active = Some((sequence, active));
        }
        if newer(self.structure.as_ref().map(|(at, _)| *at))
            && let Some(fresh) = fresh
        {
            self.structure = Some((sequence, Box::new(fresh)));
        }
        told
    }
}

/// Of the spatial layers, lowest first; 0 for one that is not there.
pub(super) type Heights = [u16; LAYERS_MAX];

fn heights(structure: &Structure) -> Option<Heights> {
    let mut heights = [0; LAYERS_MAX];
    for (height, size) in heights.iter_mut().zip(structure.sizes()?) {
        *height = size.1;
    }
    Some(heights)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{descriptor::LENGTH_MAX, wanted::Wanted};

    /// A key frame that tells of two temporal layers: indications `SS` and `-D`, the second leaning on the frame before it.
    const KEY: [u8; 8] = [0xC0, 0, 1, 0x80, 0x01, 0x7A, 0x14, 0x00];
    const UPPER: [u8; 3] = [0xC1, 0, 2];
    /// Aggregation header of a frame that begins a sequence, and of another; an OBU of a frame.
    const BEGINS: [u8; 2] = [0x18, 0x30];
    const GOES_ON: [u8; 2] = [0x10, 0x30];

    fn read(
        described: &mut Described,
        sequence: Seq,
        value: Option<&[u8]>,
        payload: &[u8],
        svc: bool,
    ) -> Picture {
        described
            .read(sequence, value, payload, svc)
            .picture
            .expect("read")
    }

    #[test]
    fn the_structure_of_a_key_frame_explains_what_follows() {
        let mut described = Described::default();
        let unknown = read(&mut described, Seq(1), Some(&UPPER), &GOES_ON, false);
        assert_eq!((unknown.temporal, unknown.key_frame), (None, false));
        let key = read(&mut described, Seq(2), Some(&KEY), &BEGINS, false);
        assert!(key.key_frame && key.starts_picture && key.switch_up);
        let upper = read(&mut described, Seq(3), Some(&UPPER), &GOES_ON, true);
        assert_eq!((upper.temporal, upper.switch_up), (Some(1), false));
        let spatial = upper.spatial.expect("one stream for all");
        assert!(spatial.layer == 0 && spatial.ends_frame && !spatial.stands_alone);
        let plain = read(&mut described, Seq(4), None, &GOES_ON, false);
        assert_eq!(plain.temporal, None);
    }

    #[test]
    fn a_late_structure_does_not_take_the_place_of_a_newer_one() {
        let mut described = Described::default();
        let mut other = KEY;
        other[3] |= 0x01; // the ids of its templates begin at 32 and more
        described.read(Seq(9), Some(&KEY), &BEGINS, false);
        described.read(Seq(5), Some(&other), &BEGINS, false);
        let upper = read(&mut described, Seq(10), Some(&UPPER), &GOES_ON, false);
        assert_eq!(upper.temporal, Some(1));
    }

    #[test]
    fn behind_a_lost_key_frame_descriptors_go_on_as_they_came() {
        let mut described = Described::default();
        // Of templates that begin at 8.
        let upper = [0xC9, 0, 3];
        let mut go = |sequence, value: &[u8]| {
            let told = described.read(Seq(sequence), Some(value), &GOES_ON, false);
            told.descriptor.map(|carried| {
                let mut kept = [0; LENGTH_MAX];
                let kept = [carried.write(&mut kept).expect("has room"), b"payload"].concat();
                let level = Wanted {
                    temporal: 0,
                    spatial: 0,
                };
                let mut out = [0; LENGTH_MAX];
                let stamp = carried.frame.stamp(0xBEEF, level);
                let (descriptor, payload) = stamp.part(&kept, &mut out).expect("whole");
                assert_eq!(payload, b"payload");
                (carried.frame.number, descriptor.to_vec())
            })
        };
        assert_eq!(go(1, &upper), None, "nobody has had one");
        assert!(go(2, &KEY).is_some());
        assert_eq!(go(4, &upper), Some((3, vec![0xC9, 0xBE, 0xEF])));
        assert_eq!(go(5, &upper[..2]), None);
    }
}
