//! What the node decides, as pure state machines.
//!
//! Told the time, packets and commands, the engine answers with packets to send, events, and the next time it wants to
//! be told. It has no clock, socket, thread, lock, task or random source.
//!
//! # Invariants
//! 1. **One owner.** A [`room::Room`] is `&mut` in one shard; nothing in it is shared.
//! 2. **Time is an argument** and never goes back: a `now` before the last one counts as the last one.
//! 3. **A slot is one straight stream** for as long as its endpoint lives: outgoing numbers grow by one per packet first
//!    sent, RTP time never goes back over any switch of source or layer, VP8 picture ids and TL0PICIDX have no invented gap.
//! 4. **A slot changes source or layer only at a key frame** of the new one; until then the old one goes on.
//! 5. **A packet is forwarded at most once per slot**, however often it arrives (duplicates, repairs). Sent again it
//!    travels as RTX with numbers of its own, or as a repeat: byte for byte what was sealed the first time.
//! 6. **A number is never given to a packet that came too late for it**: after a switch, late packets of the former
//!    source are dropped.
//! 7. **Audio before video**, in every queue and every shortage.
//! 8. **Network input never panics** and costs bounded work; whatever is refused is counted in [`stats`].
//! 9. **Every list has a limit** and a sentence for what happens at it.
//!
//! # Shape
//! One mutation or a batch of RTP packets, then drain: [`room::Room::poll_forwards`] and [`room::Room::poll_output`], with links also
//! [`room::Room::poll_cascade`], then ask [`room::Room::poll_timeout`].
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

pub mod ahead;
pub mod allocate;
pub mod arrival;
mod bottleneck;
pub mod bwe;
pub mod cascade;
mod clock;
mod continued;
pub mod descriptor;
mod drops;
pub mod emodel;
pub mod history;
pub mod id;
mod inbound;
mod keyframe;
pub mod names;
mod numbered;
pub mod outbound;
mod overload;
pub mod pacer;
pub mod packet;
pub mod page;
mod pictures;
pub mod policy;
pub mod quality;
mod reception;
pub mod redundancy;
pub mod repeats;
pub mod rewriter;
mod ring;
pub mod room;
pub mod selector;
pub mod seq;
pub mod shortfall;
pub mod silence;
pub mod slot;
mod source_packet;
pub mod speaker;
pub mod stats;
mod streams;
#[cfg(test)]
pub(crate) mod testing;
mod thinning;
mod twcc_receiver;
pub mod units;
pub mod uplink;
mod wanted;
