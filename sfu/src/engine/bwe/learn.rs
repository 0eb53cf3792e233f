//! What feedback tells of each packet, and what follows for those that it tells nothing of.

use super::{
    Estimator,
    delay::Clock,
    sent::{News, Report},
};

impl Estimator {
    /// What a lost feedback would have told is taken to have arrived like what was told of late, otherwise each lost feedback
    /// would pass for a line that takes less; and so is what went without a number.
    pub(super) fn learn_untold(&mut self, news: &[Report]) {
        let bytes = self.sent.take_passed_over() + self.samples.take_skipped();
        let first = news.iter().find_map(|report| match report.news {
            News::Arrived(arrived) => Some(arrived),
            News::Late(_) | News::Lost => None,
        });
        if let Some(first) = first.filter(|_| bytes > 0) {
            let arrived = bytes as f64 * (1.0 - self.loss.verdict().share);
            self.acked.spread(first, arrived as u64);
        }
    }

    pub(super) fn learn(&mut self, report: &Report) {
        if self.learn_repeated(report) {
            return;
        }
        let lost = match report.news {
            News::Lost => true,
            News::Late(_) => {
                self.loss.correct();
                false
            }
            News::Arrived(_) => false,
        };
        if let News::Arrived(arrived) | News::Late(arrived) = report.news {
            if self.delay.add(report, arrived) == Clock::Jumped {
                self.acked.reset();
            }
            self.acked.add(arrived, report.bytes);
        }
        if !matches!(report.news, News::Late(_)) {
            let wait = self.delay.queue.wait();
            self.loss.add(report.sent, report.bytes, lost, wait);
        }
        if let Some(id) = report.probe {
            self.probes.told(id, report.sent, report.bytes, report.news);
        }
    }
}
