//! Bytes into values and back: views over network bytes, without allocation.
//!
//! Nothing here panics on any bytes, keeps state between packets (but for SRTP's indices) or decides anything. Numbers
//! are plain integers as they stand on the wire: the engine gives them their types.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

mod be;
mod bits;
pub mod codec;
pub mod ext;
pub mod red;
pub mod rtcp;
pub mod rtp;
pub mod sdpfrag;
pub mod srtp;
pub mod stun;

pub use stun::{Class, classify};
