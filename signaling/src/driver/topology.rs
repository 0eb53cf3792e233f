//! Reads the province's network from two CSV files (`deploy/examples/`), each error with its file, line and column.

use std::{collections::BTreeMap, fs::File, io::Read, path::Path};

use csv::StringRecord;
use serde::Deserialize;
use sfu::{
    engine::units::Bitrate,
    topology::{Line, Site, Topology},
};

use crate::names::SiteId;

/// Most rows of a file.
const ROWS_MAX: usize = 10_000;

/// Where and why a file was refused.
#[derive(Debug, thiserror::Error)]
#[error("{file}, line {line}{}: {reason}", column.map(|column| format!(", column {column}")).unwrap_or_default())]
pub struct TopologyError {
    file: String,
    line: u64,
    column: Option<usize>,
    reason: String,
}

#[derive(Deserialize)]
struct SiteRow {
    id: SiteId,
    name: String,
    tier: String,
    parent: Option<SiteId>,
    points: u16,
}

#[derive(Deserialize)]
struct LineRow {
    id: String,
    from: SiteId,
    to: SiteId,
    down_mbps: f64,
    up_mbps: f64,
    budget_pct: u8,
    /// `primary` or `backup`; no column: all are primary.
    role: Option<String>,
}

/// Reads both files and checks them against each other: ids are unique, parents and ends exist, parents form a tree,
/// shares are at most 100.
///
/// # Errors
/// The first thing wrong, with its place.
pub fn read(sites: &Path, lines: &Path) -> Result<Topology, TopologyError> {
    let open = |path: &Path| {
        File::open(path).map_err(|error| place(&path.display().to_string(), 0, None, error.to_string()))
    };
    parse(
        &sites.display().to_string(),
        open(sites)?,
        &lines.display().to_string(),
        open(lines)?,
    )
}

fn parse(
    sites_name: &str,
    sites: impl Read,
    lines_name: &str,
    lines: impl Read,
) -> Result<Topology, TopologyError> {
    let mut topology = Topology::default();
    let mut parents: BTreeMap<String, (Option<String>, u64)> = BTreeMap::new();
    for row in rows::<SiteRow>(sites_name, sites)? {
        let (at, row, column) = row;
        let id = String::from(row.id);
        let parent = row.parent.map(String::from);
        if parents.insert(id.clone(), (parent.clone(), at)).is_some() {
            return Err(place(
                sites_name,
                at,
                column("id"),
                format!("site {id} is there twice"),
            ));
        }
        topology.sites.push(Site {
            id,
            name: row.name,
            tier: row.tier,
            parent,
            points: row.points,
        });
    }
    check_tree(sites_name, &parents)?;
    let mut ids = std::collections::BTreeSet::new();
    for (at, row, column) in rows::<LineRow>(lines_name, lines)? {
        let wrong = |key: &str, reason: String| place(lines_name, at, column(key), reason);
        for (key, end) in [("from", &row.from), ("to", &row.to)] {
            if !parents.contains_key(end.as_str()) {
                return Err(wrong(key, format!("no site {}", end.as_str())));
            }
        }
        if row.budget_pct > 100 {
            return Err(wrong("budget_pct", "a share is at most 100".into()));
        }
        if !ids.insert(row.id.clone()) {
            return Err(wrong("id", format!("line {} is there twice", row.id)));
        }
        let is_backup = match row.role.as_deref() {
            None | Some("primary") => false,
            Some("backup") => true,
            Some(_) => return Err(wrong("role", "a line is primary or backup".into())),
        };
        let rate = |key: &str, mbps: f64| match mbps {
            _ if mbps.is_finite() && (0.0..=1_000_000.0).contains(&mbps) => {
                Ok(Bitrate::bps((mbps * 1e6) as u64))
            }
            _ => Err(wrong(key, "a rate is 0 to 1,000,000".into())),
        };
        topology.lines.push(Line {
            down: rate("down_mbps", row.down_mbps)?,
            up: rate("up_mbps", row.up_mbps)?,
            id: row.id,
            from: row.from.into(),
            to: row.to.into(),
            budget_percent: row.budget_pct,
            is_backup,
        });
    }
    Ok(topology)
}

/// Every parent exists, and no site stands above itself.
fn check_tree(file: &str, parents: &BTreeMap<String, (Option<String>, u64)>) -> Result<(), TopologyError> {
    for (id, (_, at)) in parents {
        let mut above = id;
        for steps in 0.. {
            let Some((parent, at_above)) = parents.get(above) else {
                break;
            };
            let Some(parent) = parent else { break };
            if !parents.contains_key(parent) {
                return Err(place(
                    file,
                    *at_above,
                    None,
                    format!("no site {parent} to be the parent of {above}"),
                ));
            }
            if steps > parents.len() {
                return Err(place(file, *at, None, format!("site {id} stands above itself")));
            }
            above = parent;
        }
    }
    Ok(())
}

type Row<T> = (u64, T, Box<dyn Fn(&str) -> Option<usize>>);

/// All rows with their line, and a way to number their columns from 1.
fn rows<T: for<'de> Deserialize<'de>>(file: &str, source: impl Read) -> Result<Vec<Row<T>>, TopologyError> {
    let mut reader = csv::Reader::from_reader(source);
    let headers: StringRecord = reader.headers().map_err(|error| of_csv(file, &error))?.clone();
    let mut rows = Vec::new();
    for record in reader.records() {
        let record = record.map_err(|error| of_csv(file, &error))?;
        let at = record.position().map_or(0, csv::Position::line);
        if rows.len() == ROWS_MAX {
            return Err(place(file, at, None, format!("more than {ROWS_MAX} rows")));
        }
        let row = record
            .deserialize(Some(&headers))
            .map_err(|error| of_csv(file, &error))?;
        let names = headers.clone();
        let column = move |key: &str| names.iter().position(|name| name == key).map(|index| index + 1);
        rows.push((at, row, Box::new(column) as Box<dyn Fn(&str) -> Option<usize>>));
    }
    Ok(rows)
}

fn of_csv(file: &str, error: &csv::Error) -> TopologyError {
    let line = error.position().map_or(0, csv::Position::line);
    let (column, reason) = match error.kind() {
        csv::ErrorKind::Deserialize { err, .. } => (
            err.field()
                .and_then(|field| usize::try_from(field).ok())
                .map(|f| f + 1),
            err.kind().to_string(),
        ),
        _ => (None, error.to_string()),
    };
    place(file, line, column, reason)
}

fn place(file: &str, line: u64, column: Option<usize>, reason: String) -> TopologyError {
    TopologyError {
        file: file.to_owned(),
        line,
        column,
        reason,
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    #[test]
    fn both_examples_are_networks() {
        for (name, sites, points) in [("two-tier", None, None), ("three-tier", Some(342), Some(239))] {
            let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
                .join("../deploy/examples")
                .join(name);
            let topology = read(&folder.join("sites.csv"), &folder.join("lines.csv")).expect("a network");
            assert!(!topology.lines.is_empty());
            let counted: usize = topology.sites.iter().map(|site| usize::from(site.points)).sum();
            assert!(
                sites.is_none_or(|sites| topology.sites.len() == sites),
                "{name}: {}",
                topology.sites.len()
            );
            assert!(points.is_none_or(|points| counted == points), "{name}: {counted}");
        }
    }

    #[test]
    fn errors_name_line_and_column() {
        let sites = "id,name,tier,parent,lat,lon,points\na,A,x,,1,1,0\nb,B,x,a,1,1,1\n";
        let lines = "id,from,to,kind,role,down_mbps,up_mbps,budget_pct,rtt_ms,loss_pct,jitter_ms\nl,a,b,k,primary,1,0.5,50,1,0,0\n";
        let parse = |sites: &str, lines: &str| parse("s", sites.as_bytes(), "l", lines.as_bytes());
        let good = parse(sites, lines).expect("a network");
        assert_eq!(good.lines[0].up, Bitrate::kbps(500));
        for (sites, lines, expected) in [
            (
                sites.replace("B,x,a", "B,x,q"),
                lines.into(),
                "s, line 3: no site q to be the parent of b",
            ),
            (
                sites.replace("b,B,x,a", "a,B,x,a"),
                lines.into(),
                "s, line 3, column 1: site a is there twice",
            ),
            (
                sites.replace("A,x,,", "A,x,b,"),
                lines.into(),
                "s, line 2: site a stands above itself",
            ),
            (
                sites.replace("1,1,1\n", "1,1,many\n"),
                lines.into(),
                "s, line 3, column 7: ",
            ),
            (
                sites.into(),
                lines.replace("l,a,b", "l,a,c"),
                "l, line 2, column 3: no site c",
            ),
            (
                sites.into(),
                lines.replace("primary", "r"),
                "l, line 2, column 5: a line is primary or backup",
            ),
            (
                sites.into(),
                lines.replace(",50,", ",101,"),
                "l, line 2, column 8: a share is at most 100",
            ),
            (
                sites.into(),
                lines.replace("primary,1,", "primary,-1,"),
                "l, line 2, column 6: a rate is 0 to 1,000,000",
            ),
            (
                sites.into(),
                lines.replace("primary,1,", "primary,nan,"),
                "l, line 2, column 6: a rate",
            ),
        ] {
            let error = parse(&sites, &lines).expect_err(expected).to_string();
            assert!(error.starts_with(expected), "{error} / {expected}");
        }
    }
}
