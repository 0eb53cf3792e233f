//! Signaling of Điểm Cầu: rooms, people and policy, the API and the web page.
//!
//! - [`protocol`] and [`names`] are what clients say and are told: parsed once, at the door,
//! - `engine` decides: pure state machines that know neither sockets nor clocks,
//! - `driver` does: HTTP, WebSockets, tokens, the media node as a child.
//!
//! Signaling keeps people, the node keeps media: each can be started again without the other noticing for long.

pub mod driver;
pub mod engine;
pub mod json;
pub mod names;
pub mod protocol;
