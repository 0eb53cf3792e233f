//! Points at the sites of a network: who sits where, and the token that says so.

use std::{collections::BTreeMap, process::Command};

use anyhow::{Context as _, ensure};
use serde::Deserialize;

/// Most sites of a file.
const SITES_MAX: usize = 10_000;

/// A row of `sites.csv`; its other columns are the server's business.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct Site {
    id: String,
    /// Points that sit there.
    points: u32,
}

/// The sites of so many points, in the order of the file; from its beginning again when all its seats are taken.
pub(crate) fn seats(file: &str, points: u32) -> anyhow::Result<Vec<String>> {
    let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {file}"))?;
    parse(&text, points).with_context(|| file.to_owned())
}

fn parse(text: &str, points: u32) -> anyhow::Result<Vec<String>> {
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let sites: Vec<Site> = reader
        .deserialize()
        .take(SITES_MAX + 1)
        .collect::<Result<_, _>>()?;
    ensure!(sites.len() <= SITES_MAX, "more than {SITES_MAX} sites");
    let seats = sites
        .iter()
        .flat_map(|site| std::iter::repeat_n(&site.id, site.points as usize));
    let seats: Vec<String> = seats.cycle().take(points as usize).cloned().collect();
    ensure!(seats.len() == points as usize, "no site has a point");
    Ok(seats)
}

/// The tokens of those seats: `command`, such as `diemcau token --data data --room demo`, is run once for each site with `--site` and its id
/// behind it, and prints one.
pub(crate) fn tokens(command: &str, seats: &[String]) -> anyhow::Result<Vec<String>> {
    let mut words = command.split_ascii_whitespace();
    let program = words.next().context("--token-command is empty")?;
    let arguments: Vec<&str> = words.collect();
    let mut known: BTreeMap<&str, String> = BTreeMap::new();
    for site in seats {
        if known.contains_key(site.as_str()) {
            continue;
        }
        let output = Command::new(program)
            .args(&arguments)
            .args(["--site", site])
            .output()
            .with_context(|| format!("cannot run {program}"))?;
        ensure!(
            output.status.success(),
            "{program} makes no token for {site}: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
        let text = String::from_utf8(output.stdout).context("a token is text")?;
        known.insert(site, text.trim().to_owned());
    }
    let token = |site: &String| known.get(site.as_str()).cloned();
    seats.iter().map(|site| token(site).context("no token")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seats_are_taken_as_the_file_says_and_again_from_the_beginning() {
        let text = "id,name,tier,parent,lat,lon,points\na,A,province,,1,2,2\nb,B,commune,a,1,2,0\nc,C,commune,a,1,2,1\n";
        assert_eq!(parse(text, 5).unwrap(), ["a", "a", "c", "a", "a"]);
        assert!(parse("id,points\n", 1).is_err());
        assert!(parse("id,points\na,0\n", 1).is_err());
        assert!(parse("id,points\na,many\n", 1).is_err());
    }

    #[test]
    fn a_command_is_asked_once_for_each_site() {
        let seats = ["x", "y", "x"].map(str::to_owned);
        let tokens = tokens("echo t", &seats).unwrap();
        assert_eq!(tokens, ["t --site x", "t --site y", "t --site x"]);
        assert!(super::tokens("false", &seats).is_err());
    }
}
