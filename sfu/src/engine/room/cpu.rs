//! Whether an endpoint's machine is fast enough, by what its page says.

use std::time::{Duration, Instant};

use super::super::page::ClientState;

/// Decoding and encoding of one endpoint.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Cpu {
    pub(super) decoding: Strain,
    pub(super) encoding: Strain,
}

/// By how many layers a machine is too slow.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Strain {
    steps: u8,
    changed: Option<Instant>,
}

/// More steps down than there are layers change nothing.
const STEPS_MAX: u8 = 2;
/// One step shows its effect after so long; then another may follow.
const WORSE_AFTER: Duration = Duration::from_secs(5);
/// A machine that had to give up something gets it back no sooner.
const BETTER_AFTER: Duration = Duration::from_secs(20);

impl Cpu {
    /// What a page says. True if a step was taken.
    pub(super) fn handle(&mut self, now: Instant, client: &ClientState) -> bool {
        let decoding = self.decoding.handle(now, client.cpu_limited);
        let encoding = self.encoding.handle(now, client.encoder_limited);
        decoding || encoding
    }
}

impl Strain {
    /// Layers to give up.
    pub(super) fn steps(&self) -> u8 {
        self.steps
    }

    fn handle(&mut self, now: Instant, limited: bool) -> bool {
        let since = self.changed.map(|at| now.saturating_duration_since(at));
        let steps = if limited && since.is_none_or(|since| since >= WORSE_AFTER) {
            (self.steps + 1).min(STEPS_MAX)
        } else if !limited && since.is_some_and(|since| since >= BETTER_AFTER) {
            self.steps.saturating_sub(1)
        } else {
            return false;
        };
        if steps == self.steps {
            return false;
        }
        (self.steps, self.changed) = (steps, Some(now));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::super::testing::{base, ms},
        *,
    };

    #[test]
    fn a_slow_machine_gives_up_a_layer_at_a_time_and_gets_it_back_slowly() {
        let (t0, mut strain) = (base(), Strain::default());
        let mut steps = Vec::new();
        for second in 0..70 {
            strain.handle(t0 + ms(second * 1_000), second < 12);
            steps.push(strain.steps());
        }
        assert_eq!((steps[0], steps[4], steps[5], steps[11]), (1, 1, 2, 2));
        assert_eq!((steps[24], steps[25], steps[44], steps[45]), (2, 1, 1, 0));
    }
}
