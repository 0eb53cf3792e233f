//! What the node does: sockets, threads, handshakes, the control socket.

pub mod addresses;
pub mod api;
pub mod client;
pub mod config;
mod demux;
mod frames;
mod front;
pub mod gate;
mod gather;
mod metrics;
mod news;
pub mod node;
pub mod peer;
mod placement;
mod quality;
mod relay;
mod rooms;
mod shard;
mod shards;
pub mod system;
mod tally;
mod timers;
mod udp;
