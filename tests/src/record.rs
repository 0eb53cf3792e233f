//! Where points stand, and what the room told them.

use std::time::Instant;

use sfu::engine::{
    id::{LineIndex, Rank},
    packet::{SlotGrade, SourceGrade},
};

use crate::link::Bottleneck;

/// A line that several points are behind, in both directions.
#[derive(Debug)]
pub struct SharedLine {
    /// From the points towards the node.
    pub up: Bottleneck,
    /// From the node towards the points.
    pub down: Bottleneck,
}

/// Where a point stands.
#[derive(Debug, Clone, Default)]
pub struct Place {
    /// How much it counts.
    pub rank: Rank,
    /// The lines that the node knows to be on its way.
    pub known: Vec<LineIndex>,
    /// The shared line that it truly is behind, by its place in [`World::lines`].
    pub behind: Option<usize>,
}

/// What the slots of a point got.
#[derive(Debug, Clone)]
pub struct Grades {
    /// When it was told.
    pub at: Instant,
    /// Whose, by index.
    pub peer: usize,
    /// All slots that something is wanted in.
    pub slots: Vec<SlotGrade>,
}

/// What a point was told to send.
#[derive(Debug, Clone)]
pub struct Orders {
    /// When it was told.
    pub at: Instant,
    /// Who, by index.
    pub peer: usize,
    /// All its pictures.
    pub sources: Vec<SourceGrade>,
    /// Length of its voice packets.
    pub voice_ms: u8,
}
