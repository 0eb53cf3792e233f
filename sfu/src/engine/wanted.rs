//! How much of a stream somebody is to get.

/// What is wanted of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Wanted {
    /// Highest temporal layer.
    pub(super) temporal: u8,
    /// Highest spatial layer.
    pub(super) spatial: u8,
}
