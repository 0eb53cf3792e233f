//! How much is wanted behind each line.

use super::{
    super::id::LineIndex,
    outcome::Allocation,
    problem::{Line, Problem, VOICES_MAX},
};

/// What is wanted behind one line.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Claim {
    pub(super) receivers: u64,
    /// Pictures and voices.
    pub(super) wants: u32,
}

/// What is wanted behind each line that has a limit.
#[derive(Debug, Clone)]
pub(super) struct Claims(Vec<Claim>);

impl Claims {
    pub(super) fn new(problem: &Problem<'_>) -> Self {
        let mut claims: Vec<Claim> = by_line(problem.lines);
        for receiver in problem.receivers {
            let wants = receiver.demands.len() as u32 + u32::from(receiver.voices.min(VOICES_MAX));
            for line in receiver.lines {
                if let Some(claim) = claims.get_mut(usize::from(line.0)) {
                    *claim = Claim {
                        receivers: claim.receivers + 1,
                        wants: claim.wants.saturating_add(wants),
                    };
                }
            }
        }
        Self(claims)
    }

    pub(super) fn on(&self, line: LineIndex) -> Claim {
        self.0.get(usize::from(line.0)).copied().unwrap_or_default()
    }

    /// Lines that have more to give than the last time, or less to give it to.
    pub(super) fn freed(&self, problem: &Problem<'_>, previous: &Allocation) -> Vec<LineIndex> {
        let is_freed = |line: &&Line| {
            previous.line(line.line).is_some_and(|former| {
                line.down > former.budget_down || self.on(line.line).wants < former.claims
            })
        };
        let freed = problem.lines.iter().filter(is_freed);
        freed.map(|line| line.line).collect()
    }
}

/// A list with a place for the index of each line.
pub(super) fn by_line<T: Clone + Default>(lines: &[Line]) -> Vec<T> {
    let length = lines.iter().map(|line| usize::from(line.line.0) + 1).max();
    vec![T::default(); length.unwrap_or(0)]
}
