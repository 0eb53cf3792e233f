//! The media node of Điểm Cầu: a selective forwarding unit.
//!
//! - [`wire`] turns bytes into values and back,
//! - [`engine`] decides: pure state machines that are told time, packets and commands,
//! - `driver` does: sockets, threads, handshakes, the control socket (feature `driver`),
//! - [`control`] is what signaling and the node say to each other.
//!
//! `docs/ARCHITECTURE.md` has the picture and the invariants.

pub mod control;
#[cfg(feature = "driver")]
pub mod driver;
pub mod engine;
pub mod topology;
pub mod wire;
