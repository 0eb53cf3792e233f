//! What a meeting decides, apart from how it is carried: pure state machines that are told the time, messages and what
//! the node says, and answer with effects.
//!
//! Invariants:
//! - nothing here knows a clock, a socket, a task, a lock or chance: seat ids and session ids are given by drivers;
//! - a refused input changes nothing but the `error` it answers with;
//! - roster sequences have no gap, and a point's number is never used for another seat while the room lives;
//! - signaling is the truth about people, the node about media: after either was away [`meeting::Meeting`] reconciles.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

pub mod admission;
pub mod effect;
mod floor;
pub mod id;
pub mod meeting;
pub mod network;
pub mod permissions;
mod request;
pub mod roster;
pub mod seat;
pub mod whep;
pub mod whip;

mod node;
mod quality;
mod resume;
mod tell;
