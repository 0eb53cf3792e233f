//! What AV1 streams tell of themselves by dependency descriptors.

use super::super::{arrival::Picture, seq::Seq};
use crate::wire::ext::dependency_descriptor::{self, Structure};

/// How a stream with dependency descriptors is made, as the newest packet that told it says.
#[derive(Debug, Default)]
pub(super) struct Described {
    structure: Option<(Seq, Box<Structure>)>,
}

impl Described {
    /// What a packet says of its picture. Without a descriptor, or with one that names nothing known, only what the payload
    /// tells.
    pub(super) fn read(
        &mut self,
        sequence: Seq,
        value: Option<&[u8]>,
        payload: &[u8],
        svc: bool,
    ) -> Option<Picture> {
        let known = self.structure.as_ref().map(|(_, structure)| &**structure);
        let Some((frame, fresh)) = value.and_then(|value| dependency_descriptor::read(value, known)) else {
            return Picture::of_av1(payload, None, svc);
        };
        let structure = fresh.as_ref().or(known)?;
        let picture = Picture::of_av1(payload, Some((&frame, structure)), svc);
        let newer = self.structure.as_ref().is_none_or(|(at, _)| *at < sequence);
        if let Some(fresh) = fresh.filter(|_| newer) {
            self.structure = Some((sequence, Box::new(fresh)));
        }
        picture
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A key frame that tells of two temporal layers: indications `SS` and `-D`, the second leaning on the frame before it.
    const KEY: [u8; 8] = [0xC0, 0, 1, 0x80, 0x01, 0x7A, 0x14, 0x00];
    const UPPER: [u8; 3] = [0xC1, 0, 2];
    /// Aggregation header of a frame that begins a sequence, and of another; an OBU of a frame.
    const BEGINS: [u8; 2] = [0x18, 0x30];
    const GOES_ON: [u8; 2] = [0x10, 0x30];

    #[test]
    fn the_structure_of_a_key_frame_explains_what_follows() {
        let mut described = Described::default();
        let unknown = described
            .read(Seq(1), Some(&UPPER), &GOES_ON, false)
            .expect("read");
        assert_eq!((unknown.temporal, unknown.key_frame), (None, false));
        let key = described.read(Seq(2), Some(&KEY), &BEGINS, false).expect("read");
        assert!(key.key_frame && key.starts_picture && key.switch_up);
        let upper = described
            .read(Seq(3), Some(&UPPER), &GOES_ON, true)
            .expect("read");
        assert_eq!((upper.temporal, upper.switch_up), (Some(1), false));
        let spatial = upper.spatial.expect("one stream for all");
        assert!(spatial.layer == 0 && spatial.ends_frame && !spatial.stands_alone);
        let plain = described.read(Seq(4), None, &GOES_ON, false).expect("read");
        assert_eq!(plain.temporal, None);
    }

    #[test]
    fn a_late_structure_does_not_take_the_place_of_a_newer_one() {
        let mut described = Described::default();
        let mut other = KEY;
        other[3] |= 0x01; // the ids of its templates begin at 32 and more
        described.read(Seq(9), Some(&KEY), &BEGINS, false);
        described.read(Seq(5), Some(&other), &BEGINS, false);
        let upper = described
            .read(Seq(10), Some(&UPPER), &GOES_ON, false)
            .expect("read");
        assert_eq!(upper.temporal, Some(1));
    }
}
