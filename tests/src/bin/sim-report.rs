//! Prints what the simulated meetings come to: a table of goals, with `held` or `short` for each.
//!
//! `SIM_SEEDS` seeds are run (200), or `SIM_SEED` alone; an argument runs only scenarios whose name has it.

use testkit::{
    report::{Scenario, head},
    scenario,
    seeds::seeds,
};

fn main() {
    let wanted = std::env::args().nth(1).unwrap_or_default();
    let seeds = seeds(200);
    print!("{}", head());
    let all = scenario::ALL.iter().copied().chain(scenario::BAD);
    for scenario in all.filter(|scenario: &&Scenario| scenario.name.contains(&wanted)) {
        print!("{}", scenario.table(&scenario.play(&seeds)));
    }
}
