//! The province's network as data: sites in a tree, lines between them.
//!
//! Nothing in the code depends on how many tiers there are or what they are called.

use serde::{Deserialize, Serialize};

use crate::engine::units::Bitrate;

/// An administrative unit with a place in the tree.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Site {
    /// Stable id, such as `tinh.co-to`.
    pub id: String,
    /// Name for people.
    pub name: String,
    /// A label; nothing depends on it.
    pub tier: String,
    /// The site above; none for the root.
    pub parent: Option<String>,
    /// Meeting points at this site.
    pub points: u16,
}

/// The WAN link between a site and one above it. Capacities are per direction.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Line {
    /// Stable id.
    pub id: String,
    /// The upper end.
    pub from: String,
    /// The lower end.
    pub to: String,
    /// Capacity from the upper to the lower end.
    pub down: Bitrate,
    /// Capacity from the lower to the upper end.
    pub up: Bitrate,
    /// Share of the capacity that meetings may take, 0 to 100.
    pub budget_percent: u8,
    /// Carries something only while another one is down.
    pub is_backup: bool,
}

impl Line {
    /// What meetings may take downward.
    pub fn budget_down(&self) -> Bitrate {
        self.down.percent(self.budget_percent)
    }

    /// What meetings may take upward.
    pub fn budget_up(&self) -> Bitrate {
        self.up.percent(self.budget_percent)
    }
}

/// Sites and lines, checked against each other by whoever read them.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Topology {
    /// All sites.
    pub sites: Vec<Site>,
    /// All lines.
    pub lines: Vec<Line>,
}

impl Topology {
    /// The site of that id.
    pub fn site(&self, id: &str) -> Option<&Site> {
        self.sites.iter().find(|site| site.id == id)
    }
}
