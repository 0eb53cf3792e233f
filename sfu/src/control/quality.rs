//! Lines and their budgets, and the figures of a room.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::engine::{id::LineIndex, names::LineId, quality::PointReport, units::Bitrate};

/// Most lines of a [`Network`].
pub const LINES_MAX: usize = 4_096;
/// Most sites of a [`Network`].
pub const SITES_MAX: usize = 16_384;
/// Most lines between the node and a site.
pub const LINES_ON_WAY_MAX: usize = 8;

/// The lines that meetings share, as this node sees them.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Network {
    /// All lines that lie between the node and any site, at most [`LINES_MAX`].
    pub lines: Vec<LineBudget>,
    /// For each site the lines on its way, the nearest to the node first, at most [`LINES_ON_WAY_MAX`], none of
    /// them twice. A site that is not here has none. At most [`SITES_MAX`].
    pub sites: BTreeMap<String, Vec<LineIndex>>,
}

/// What meetings may take of a line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LineBudget {
    /// Which.
    pub id: LineId,
    /// From the node towards the site.
    pub down: Bitrate,
    /// From the site towards the node.
    pub up: Bitrate,
}

/// What is known of a room, for operators. No names and no addresses.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct RoomReport {
    /// By number.
    pub points: Vec<PointReport>,
    /// Lines that anybody of the room is behind.
    pub lines: Vec<LineReport>,
}

/// What is known of a line in a room.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LineReport {
    /// Which.
    pub id: LineId,
    /// What this room may take of it downward.
    pub budget_down: Bitrate,
    /// What it takes downward.
    pub used_down: Bitrate,
    /// What this room may take of it upward.
    pub budget_up: Bitrate,
    /// What it takes upward.
    pub used_up: Bitrate,
}
