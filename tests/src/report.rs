//! Goals as scenarios: each runs from a seed and gives figures, each figure has a goal. Tests and the printed table use the same ones.

use std::{
    fmt::Write,
    sync::atomic::{AtomicUsize, Ordering},
};

/// What a figure should be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Goal {
    /// That or more.
    AtLeast(f64),
    /// That or less.
    AtMost(f64),
}

impl Goal {
    /// Whether a figure is as it should be. What is not a number never is.
    pub fn is_met(self, figure: f64) -> bool {
        match self {
            Self::AtLeast(least) => figure >= least,
            Self::AtMost(most) => figure <= most,
        }
    }

    fn worse(self, a: f64, b: f64) -> f64 {
        match self {
            _ if a.is_nan() || b.is_nan() => f64::NAN,
            Self::AtLeast(_) => a.min(b),
            Self::AtMost(_) => a.max(b),
        }
    }
}

/// A figure of a scenario.
#[derive(Debug, Clone, Copy)]
pub struct Measure {
    /// What it is, with its unit.
    pub name: &'static str,
    /// What it should be.
    pub goal: Goal,
}

/// Shorthand for tables of measures.
pub const fn at_least(name: &'static str, figure: f64) -> Measure {
    Measure {
        name,
        goal: Goal::AtLeast(figure),
    }
}

/// Shorthand for tables of measures.
pub const fn at_most(name: &'static str, figure: f64) -> Measure {
    Measure {
        name,
        goal: Goal::AtMost(figure),
    }
}

/// A meeting with what it should come to.
#[derive(Debug, Clone, Copy)]
pub struct Scenario {
    /// One line that tells what happens.
    pub name: &'static str,
    /// What is measured.
    pub measures: &'static [Measure],
    /// Plays it; the figures in the order of the measures.
    pub run: fn(u64) -> Vec<f64>,
}

/// A figure over all seeds.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// Which measure, by its place.
    pub measure: usize,
    /// How many seeds were run.
    pub seeds: usize,
    /// The figure in the middle.
    pub median: f64,
    /// The figure farthest from the goal.
    pub worst: f64,
    /// Every seed met the goal.
    pub held: bool,
    /// Seeds that did not, the farthest from it first.
    pub missed: Vec<u64>,
}

/// So many seeds that missed a goal are named in the table.
const NAMED_MAX: usize = 8;

impl Scenario {
    /// Plays it with each seed, several at a time.
    pub fn play(&self, seeds: &[u64]) -> Vec<Row> {
        let next = AtomicUsize::new(0);
        let workers = std::thread::available_parallelism()
            .map_or(1, usize::from)
            .min(seeds.len());
        let play_some = || {
            let mut results = Vec::new();
            while let Some(&seed) = seeds.get(next.fetch_add(1, Ordering::Relaxed)) {
                results.push((seed, (self.run)(seed)));
            }
            results
        };
        let mut results: Vec<(u64, Vec<f64>)> = std::thread::scope(|scope| {
            let handles: Vec<_> = (0..workers).map(|_| scope.spawn(play_some)).collect();
            handles
                .into_iter()
                .flat_map(|handle| handle.join().expect("a seed panicked: see above"))
                .collect()
        });
        results.sort_by_key(|(seed, _)| *seed);
        (0..self.measures.len())
            .map(|place| self.row(place, &results))
            .collect()
    }

    fn row(&self, place: usize, results: &[(u64, Vec<f64>)]) -> Row {
        let goal = self.measures[place].goal;
        let figures: Vec<(u64, f64)> = results
            .iter()
            .map(|(seed, figures)| (*seed, figures.get(place).copied().unwrap_or(f64::NAN)))
            .collect();
        let worst = figures
            .iter()
            .map(|(_, figure)| *figure)
            .reduce(|a, b| goal.worse(a, b))
            .unwrap_or(f64::NAN);
        let mut sorted: Vec<f64> = figures.iter().map(|(_, figure)| *figure).collect();
        sorted.sort_by(f64::total_cmp);
        let mut missed: Vec<(u64, f64)> = figures.clone();
        missed.retain(|(_, figure)| !goal.is_met(*figure));
        missed.sort_by(|(_, a), (_, b)| a.total_cmp(b));
        if matches!(goal, Goal::AtMost(_)) {
            missed.reverse();
        }
        Row {
            measure: place,
            seeds: results.len(),
            median: sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN),
            worst,
            held: !figures.is_empty() && missed.is_empty(),
            missed: missed.into_iter().map(|(seed, _)| seed).collect(),
        }
    }

    /// The rows as a table for people: a line for the scenario, then one for each measure.
    pub fn table(&self, rows: &[Row]) -> String {
        let mut out = format!("{}\n", self.name);
        for row in rows {
            let measure = &self.measures[row.measure];
            let goal = match measure.goal {
                Goal::AtLeast(figure) => format!(">= {}", number(figure)),
                Goal::AtMost(figure) => format!("<= {}", number(figure)),
            };
            let verdict = row.verdict();
            let (median, worst) = (number(row.median), number(row.worst));
            let _ = writeln!(
                out,
                "  {:<58} {goal:>9} {:>5} {median:>9} {worst:>9}  {verdict}",
                measure.name, row.seeds
            );
        }
        out
    }
}

impl Row {
    /// `held`, or `short` with how many seeds missed the goal, and which to replay.
    fn verdict(&self) -> String {
        if self.held {
            return String::from("held");
        }
        let seeds: Vec<String> = self.missed.iter().take(NAMED_MAX).map(u64::to_string).collect();
        format!(
            "short  {} of {}: seeds {}",
            self.missed.len(),
            self.seeds,
            seeds.join(" ")
        )
    }
}

/// The head of the table.
pub fn head() -> String {
    format!(
        "{:<60} {:>9} {:>5} {:>9} {:>9}  verdict\n",
        "scenario and figure", "goal", "seeds", "median", "worst"
    )
}

fn number(figure: f64) -> String {
    if figure.fract().abs() < 1e-9 {
        format!("{figure:.0}")
    } else if figure.abs() < 10.0 {
        format!("{figure:.2}")
    } else {
        format!("{figure:.1}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_goal_is_held_only_if_every_seed_meets_it() {
        const MEASURES: &[Measure] = &[at_most("the seed", 2.0), at_least("one more", 1.0)];
        let scenario = Scenario {
            name: "seeds",
            measures: MEASURES,
            run: |seed| vec![seed as f64, seed as f64 + 1.0],
        };
        let rows = scenario.play(&[1, 2, 3]);
        assert!(!rows[0].held && rows[1].held);
        assert_eq!((rows[0].median, rows[0].worst, rows[1].worst), (2.0, 3.0, 2.0));
        let table = scenario.table(&scenario.play(&[1, 5, 4, 2]));
        assert!(table.contains("short  2 of 4: seeds 5 4\n"), "{table}");
        assert!(scenario.play(&[1]).iter().all(|row| row.held));
    }

    #[test]
    fn a_figure_that_is_missing_is_short() {
        const MEASURES: &[Measure] = &[at_most("a figure", 2.0)];
        let scenario = Scenario {
            name: "nothing",
            measures: MEASURES,
            run: |_| Vec::new(),
        };
        assert!(!scenario.play(&[1]).iter().any(|row| row.held));
    }
}
