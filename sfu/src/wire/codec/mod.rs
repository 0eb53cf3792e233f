//! The first bytes of payloads: as much of the codecs as forwarding needs.

pub mod opus;
pub mod vp8;
