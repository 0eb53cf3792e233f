//! What the node does: sockets, threads, handshakes, the control socket.

pub mod gate;
pub mod peer;
