//! The test kit: whole meetings in virtual time, from a seed.
//!
//! A [`world::World`] holds one real [`sfu::engine::room::Room`], scripted peers and simulated links. Nothing in it waits: time moves from event to event,
//! so that a minute of meeting takes milliseconds and a seed replays it exactly. `SIM_SEED=7 cargo test` runs one seed alone.

pub mod bottleneck;
pub mod camera;
pub mod decoder;
pub mod encoder;
mod event;
pub mod experience;
pub mod feedback;
pub mod link;
pub mod mic;
mod negotiate;
pub mod peer;
pub mod picture;
mod record;
pub mod report;
pub mod scenario;
mod sealed;
pub mod seeds;
mod tell;
pub mod trace;
pub mod uplink;
pub mod voice;
pub mod world;
