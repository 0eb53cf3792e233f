//! What the sealing contexts of the points' transports let out.

use std::collections::{BTreeMap, VecDeque};

use sfu::engine::{
    id::EndpointId,
    packet::{Forward, OutgoingHeader},
};

/// Of all points.
#[derive(Debug, Default)]
pub(crate) struct Sealed {
    last: BTreeMap<(EndpointId, u32), u16>,
    /// Packets that will go again, the oldest first.
    kept: VecDeque<(EndpointId, OutgoingHeader, Vec<u8>)>,
}

/// Packets kept, of all points together: more than any scenario has in the 200 ms that a repeat may be late.
const KEPT_MAX: usize = 4_096;

impl Sealed {
    /// It takes only a greater number of a stream: no index is ever used twice under one key.
    pub(crate) fn seal(&mut self, forward: &Forward, bytes: &[u8]) {
        let (stream, number) = ((forward.to, forward.header.ssrc.0), forward.header.sequence);
        if let Some(last) = self.last.insert(stream, number) {
            let step = number.wrapping_sub(last);
            assert!(
                (1..0x8000).contains(&step),
                "{forward:?} could not be sealed after number {last}"
            );
        }
        if forward.again {
            if self.kept.len() >= KEPT_MAX {
                self.kept.pop_front();
            }
            self.kept.push_back((forward.to, forward.header, bytes.to_vec()));
        }
    }

    /// What was sealed under that very header.
    pub(crate) fn again(&self, forward: &Forward) -> Vec<u8> {
        let is_it = |(to, header, _): &&(EndpointId, OutgoingHeader, Vec<u8>)| {
            (*to, *header) == (forward.to, forward.header)
        };
        let found = self.kept.iter().rev().find(is_it);
        found.expect("what goes again was kept as it went").2.clone()
    }
}
