//! Why a node does not run.

use std::io;

use crate::driver::{config::ConfigError, peer::dtls::IdentityError};

/// Why a node could not start, or failed.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// Settings that cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// There is no address to listen on, or the media port is taken.
    #[error("cannot listen for media: {0}")]
    Listen(#[source] io::Error),
    /// No certificate for the handshakes.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The system refused a thread or a descriptor.
    #[error("cannot start a shard: {0}")]
    Start(#[source] io::Error),
    /// Nothing is left that could say anything.
    #[error("the shards are gone")]
    Shards,
}
