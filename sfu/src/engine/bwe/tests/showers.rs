//! Losses alone, with no line behind them: chance, showers, limits.

use super::{
    super::{Micros, loss::Loss},
    sim::Chance,
};

/// When it begins.
const BEGINS: Micros = 3_000_000;

/// Eight seconds of packets at rates that swing as pictures do, and that are greater by so much from the third second on; `lost` is told the rate, the
/// time and whether the last packet was lost. Limits that were seen meanwhile, the last verdict's at the end.
fn limits(
    seed: u64,
    more: f64,
    mut lost: impl FnMut(&mut Chance, f64, Micros, bool) -> bool,
) -> Vec<Option<f64>> {
    let (mut loss, mut chance) = (Loss::new(), Chance::new(seed));
    let (mut at, mut before, mut seen) = (0, false, Vec::new());
    while at < 8_000_000 {
        let rate = 500e3 + chance.below(500_000) as f64;
        let rate = if at < BEGINS { rate } else { rate * more };
        let until = at + 250_000;
        while at < until {
            before = lost(&mut chance, rate, at, before);
            if loss.add(at, 1_000, before, 0) {
                seen.push(loss.verdict().limit);
            }
            at += (8e9 / rate) as Micros;
        }
    }
    seen
}

#[test]
fn a_shower_that_begins_is_no_limit_and_a_policer_is_one() {
    let mut named = 0;
    for seed in 0..100 {
        // What is lost is sent again: more goes out just when the shower begins.
        let shower = limits(seed, 1.3, |chance, _, at, before| {
            at > BEGINS && chance.happens(if before { 1.0 - 0.278 } else { 0.119 })
        });
        named += shower.iter().flatten().count();
        let mut debt = 0.0;
        let policer = limits(seed, 1.3, |_, rate, _, _| {
            debt += (1.0 - 700e3 / rate).max(0.0);
            let is_lost = debt >= 1.0;
            debt -= f64::from(u8::from(is_lost));
            is_lost
        });
        let limit = policer.last().copied().flatten().unwrap_or(0.0);
        assert!((560e3..=840e3).contains(&limit), "{seed}: {limit}");
    }
    // Of two thousand verdicts; without the thought of a shower 75 do.
    assert!(named <= 15, "{named} verdicts name a limit");
}
