//! The estimate for receivers without transport-wide feedback: report loss is the law, REMB a cap.

use super::{Micros, RATE_MAX, RATE_MIN};

/// Less loss than this and the rate grows, more than that and it shrinks (draft-ietf-rmcat-gcc-02 §6), in 256ths.
const CALM: u8 = 5;
const HEAVY: u8 = 26;
/// Growth with each report (§6).
const GROWTH: f64 = 1.05;
/// Never above this multiple of what is sent: beyond it nothing was ever tried.
const TRIED: f64 = 1.5;
/// Reports count at most so often: a receiver of many streams reports each of them.
const REPORT_EVERY: Micros = 900_000;
/// A REMB is worth so much time; senders of it repeat it every second.
const REMB_KEPT: Micros = 10_000_000;

/// What reports and REMB allow.
#[derive(Debug)]
pub(super) struct Reported {
    target: f64,
    changed: Option<Micros>,
    /// Greatest share lost in the reports since then.
    worst: u8,
    remb: Option<(f64, Micros)>,
}

impl Reported {
    pub(super) fn new(start: f64) -> Self {
        Self {
            target: start,
            changed: None,
            worst: 0,
            remb: None,
        }
    }

    pub(super) fn target(&self) -> f64 {
        self.target
    }

    /// A report of one stream: so many 256ths were lost since the last one, while so much was sent a second.
    pub(super) fn handle_loss(&mut self, at: Micros, lost: u8, sent: Option<f64>) {
        self.worst = self.worst.max(lost);
        if self.changed.is_some_and(|changed| at - changed < REPORT_EVERY) {
            return;
        }
        self.changed = Some(at);
        let worst = std::mem::take(&mut self.worst);
        if worst >= HEAVY {
            self.target *= 1.0 - f64::from(worst) / 512.0;
        } else if worst < CALM {
            let tried = sent.unwrap_or(0.0) * TRIED;
            self.target = self.target.max((self.target * GROWTH).min(tried));
        }
        self.target = self.target.clamp(RATE_MIN, RATE_MAX);
    }

    pub(super) fn handle_remb(&mut self, at: Micros, rate: f64) {
        self.remb = Some((rate.clamp(RATE_MIN, RATE_MAX), at));
    }

    /// What the receiver allows, as long as it says so.
    pub(super) fn cap(&self, at: Micros) -> Option<f64> {
        let (cap, said) = self.remb?;
        (at - said < REMB_KEPT).then_some(cap)
    }
}
