//! What the environment says of a run.

/// Seeds to run: `SIM_SEED` alone if it is set, else `SIM_SEEDS` of them, else `count`.
pub fn seeds(count: u64) -> Vec<u64> {
    match (number("SIM_SEED"), number("SIM_SEEDS")) {
        (Some(one), _) => vec![one],
        (None, many) => (1..=many.unwrap_or(count)).collect(),
    }
}

/// A number in the environment.
pub(crate) fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}
