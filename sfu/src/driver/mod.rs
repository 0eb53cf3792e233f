//! What the node does: sockets, threads, handshakes, the control socket.
