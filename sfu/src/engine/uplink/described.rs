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
