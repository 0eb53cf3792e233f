//! The lines between a media node and the sites, made of the topology.
//!
//! Every site hangs on at most one primary line; the way to a site goes from the node up to the line's upper end they
//! have in common, then down. Backup lines carry nothing here: which of them is in use is not known yet.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use sfu::{
    control::{LINES_MAX, LINES_ON_WAY_MAX, LineBudget, LineId, Network},
    engine::id::LineIndex,
    topology::{Line, Topology},
};

/// What lines are called by people: the site at the lower end.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LineNames(Arc<BTreeMap<LineId, String>>);

impl LineNames {
    /// The name of a line, if the topology has it.
    pub fn get(&self, line: &LineId) -> Option<&str> {
        self.0.get(line).map(String::as_str)
    }
}

/// Why a topology gives no ways.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoWays {
    /// The node's site is not in the topology.
    #[error("topology.node_site: no site {0}")]
    UnknownSite(String),
    /// No site is named for the node, and not exactly one site has none above it.
    #[error("topology.node_site: say where the media node stands: {0} sites have none above them")]
    NoRoot(usize),
    /// A line has an id that is no name of a line.
    #[error("line {0}: an id has 1 to 200 of a-z, 0-9, \".\" and \"-\"")]
    BadLine(String),
    /// Primary lines go round in a circle.
    #[error("site {0}: its primary lines go round in a circle")]
    Circle(String),
    /// Primary lines join it to others than the node is joined to.
    #[error("site {0}: no primary lines join it to the media node's site {1}")]
    NoWay(String, String),
    /// More lines between the node and a site than are served.
    #[error("site {0}: more than {LINES_ON_WAY_MAX} lines between it and the media node")]
    TooFar(String),
    /// More lines in use than are served.
    #[error("more than {LINES_MAX} primary lines")]
    TooMany,
}

/// The network as the node at `node_site` sees it (none: at the one site that has none above it), and what its lines
/// are called. Of several primary lines down to one site the first counts.
///
/// # Errors
/// See [`NoWays`].
pub fn seen_from(topology: &Topology, node_site: Option<&str>) -> Result<(Network, LineNames), NoWays> {
    let node_site = match node_site {
        Some(site) if topology.site(site).is_none() => return Err(NoWays::UnknownSite(site.to_owned())),
        Some(site) => site,
        None => root(topology)?,
    };
    let mut above: BTreeMap<&str, &Line> = BTreeMap::new();
    for line in topology.lines.iter().filter(|line| !line.is_backup) {
        above.entry(&line.to).or_insert(line);
    }
    let up = climb(&above, node_site)?;
    let end = top(&up, node_site);
    let mut table = Table::default();
    let mut network = Network::default();
    for site in &topology.sites {
        let down = climb(&above, &site.id)?;
        if top(&down, &site.id) != end {
            return Err(NoWays::NoWay(site.id.clone(), node_site.to_owned()));
        }
        let shared: BTreeSet<&str> = down.iter().map(|line| line.id.as_str()).collect();
        let leaving: Vec<&Line> = up
            .iter()
            .copied()
            .take_while(|l| !shared.contains(l.id.as_str()))
            .collect();
        let own: BTreeSet<&str> = up.iter().map(|line| line.id.as_str()).collect();
        let mut arriving: Vec<&Line> = down
            .iter()
            .copied()
            .take_while(|l| !own.contains(l.id.as_str()))
            .collect();
        arriving.reverse();
        let mut way = Vec::new();
        for line in leaving {
            way.push(table.place(line, true)?);
        }
        for line in arriving {
            way.push(table.place(line, false)?);
        }
        if way.len() > LINES_ON_WAY_MAX {
            return Err(NoWays::TooFar(site.id.clone()));
        }
        if !way.is_empty() {
            network.sites.insert(site.id.clone(), way);
        }
    }
    let name = |line: &&Line| {
        let site = topology.site(&line.to)?;
        Some((LineId::try_from(line.id.clone()).ok()?, site.name.clone()))
    };
    let names = above.values().filter_map(name).collect();
    network.lines = table.lines;
    Ok((network, LineNames(Arc::new(names))))
}

/// The one site that has none above it.
fn root(topology: &Topology) -> Result<&str, NoWays> {
    let roots: Vec<_> = topology
        .sites
        .iter()
        .filter(|site| site.parent.is_none())
        .collect();
    match roots[..] {
        [root] => Ok(&root.id),
        _ => Err(NoWays::NoRoot(roots.len())),
    }
}

/// The lines from a site upward.
fn climb<'a>(above: &BTreeMap<&str, &'a Line>, site: &str) -> Result<Vec<&'a Line>, NoWays> {
    let mut lines: Vec<&Line> = Vec::new();
    let mut next = above.get(site);
    while let Some(line) = next {
        if lines.len() > above.len() {
            return Err(NoWays::Circle(site.to_owned()));
        }
        lines.push(line);
        next = above.get(line.from.as_str());
    }
    Ok(lines)
}

/// Where a climb from a site ends.
fn top<'a>(lines: &[&'a Line], site: &'a str) -> &'a str {
    lines.last().map_or(site, |line| &line.from)
}

/// The lines met so far, each once.
#[derive(Default)]
struct Table<'a> {
    places: BTreeMap<&'a str, LineIndex>,
    lines: Vec<LineBudget>,
}

impl<'a> Table<'a> {
    /// The place of a line; `upward` if the way from the node goes up it. A line is met in one direction only: it has the
    /// node on one side.
    fn place(&mut self, line: &'a Line, upward: bool) -> Result<LineIndex, NoWays> {
        if let Some(&place) = self.places.get(line.id.as_str()) {
            return Ok(place);
        }
        if self.lines.len() == LINES_MAX {
            return Err(NoWays::TooMany);
        }
        let id = LineId::try_from(line.id.clone()).map_err(|_| NoWays::BadLine(line.id.clone()))?;
        let (mut down, mut up) = (line.budget_down(), line.budget_up());
        if upward {
            (down, up) = (up, down);
        }
        let place = LineIndex(self.lines.len() as u16);
        self.lines.push(LineBudget { id, down, up });
        self.places.insert(&line.id, place);
        Ok(place)
    }
}

#[cfg(test)]
mod tests {
    use sfu::{engine::units::Bitrate, topology::Site};

    use super::*;

    fn site(id: &str, parent: Option<&str>) -> Site {
        Site {
            id: id.into(),
            name: format!("Name of {id}"),
            tier: "x".into(),
            parent: parent.map(str::to_owned),
            points: 1,
        }
    }

    fn line(from: &str, to: &str) -> Line {
        Line {
            id: format!("{to}--{from}"),
            from: from.into(),
            to: to.into(),
            down: Bitrate::mbps(8),
            up: Bitrate::mbps(2),
            budget_percent: 50,
            is_backup: false,
        }
    }

    /// A root, two districts, a commune in one of them, an island whose primary line goes to the root.
    fn province() -> Topology {
        Topology {
            sites: vec![
                site("t", None),
                site("a", Some("t")),
                site("b", Some("t")),
                site("a1", Some("a")),
                site("dao", Some("a")),
            ],
            lines: vec![
                line("t", "a"),
                line("t", "b"),
                line("a", "a1"),
                line("t", "dao"),
                Line {
                    is_backup: true,
                    id: "dao--a-backup".into(),
                    ..line("a", "dao")
                },
            ],
        }
    }

    fn way(network: &Network, site: &str) -> Vec<(String, u64, u64)> {
        let indices = network.sites.get(site).cloned().unwrap_or_default();
        let told = |index: LineIndex| {
            let line = &network.lines[usize::from(index.0)];
            (line.id.to_string(), line.down.as_bps(), line.up.as_bps())
        };
        indices.into_iter().map(told).collect()
    }

    const DOWN: u64 = 4_000_000;
    const UP: u64 = 1_000_000;

    #[test]
    fn from_the_root_every_way_goes_down() {
        let (network, names) = seen_from(&province(), None).expect("ways");
        assert_eq!(way(&network, "t"), []);
        assert_eq!(
            way(&network, "a1"),
            [("a--t".into(), DOWN, UP), ("a1--a".into(), DOWN, UP)]
        );
        assert_eq!(way(&network, "dao"), [("dao--t".into(), DOWN, UP)]);
        assert_eq!(network.lines.len(), 4, "backup lines carry nothing");
        assert_eq!(names.get(&network.lines[0].id), Some("Name of a"));
    }

    #[test]
    fn from_below_a_way_goes_up_and_down_and_never_over_a_line_that_both_share() {
        let (network, _) = seen_from(&province(), Some("a1")).expect("ways");
        assert_eq!(way(&network, "a1"), []);
        assert_eq!(way(&network, "a"), [("a1--a".into(), UP, DOWN)]);
        assert_eq!(
            way(&network, "b"),
            [
                ("a1--a".into(), UP, DOWN),
                ("a--t".into(), UP, DOWN),
                ("b--t".into(), DOWN, UP)
            ]
        );
    }

    #[test]
    fn what_gives_no_ways_is_refused_with_its_place() {
        let refused = |change: fn(&mut Topology), from| {
            let mut topology = province();
            change(&mut topology);
            seen_from(&topology, from).expect_err("refused")
        };
        assert_eq!(refused(|_| {}, Some("q")), NoWays::UnknownSite("q".into()));
        assert_eq!(
            refused(|t| t.sites.push(site("t2", None)), None),
            NoWays::NoRoot(2)
        );
        assert_eq!(
            refused(|t| t.lines[0].id = "Ü".into(), None),
            NoWays::BadLine("Ü".into())
        );
        assert_eq!(
            refused(|t| t.lines[0].from = "a1".into(), None),
            NoWays::Circle("a".into())
        );
        let no_way = |site: &str, node_site: &str| NoWays::NoWay(site.to_owned(), node_site.to_owned());
        assert_eq!(refused(|t| drop(t.lines.remove(0)), None), no_way("a", "t"));
        let cut_off = |t: &mut Topology| t.lines[3].is_backup = true;
        assert_eq!(refused(cut_off, None), no_way("dao", "t"));
        assert_eq!(refused(cut_off, Some("dao")), no_way("t", "dao"));
        let deep = |t: &mut Topology| {
            for depth in 1..=9 {
                let (from, to) = (format!("a{depth}"), format!("a{}", depth + 1));
                t.sites.push(site(&to, Some(&from)));
                t.lines.push(line(&from, &to));
            }
        };
        assert_eq!(refused(deep, None), NoWays::TooFar("a8".into()));
    }
}
