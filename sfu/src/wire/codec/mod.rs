//! The first bytes of payloads: as much of the codecs as forwarding needs.

pub mod av1;
pub mod h264;
pub mod opus;
pub mod vp8;
pub mod vp9;
