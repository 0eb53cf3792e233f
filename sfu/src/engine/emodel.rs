//! How good a voice sounds, as a figure: the E-model of ITU-T G.107, simplified.
//!
//! `R = 93.2 - Idd - Ie,eff`: everything that loss and delay do not touch stands at its default, so that a voice over a
//! perfect way scores 93.2, a mean opinion score of 4.41. Echo is the browsers' matter and is taken as cancelled.

use std::time::Duration;

/// R of a connection that is at its defaults (G.107 §7).
const R_DEFAULT: f32 = 93.2;

/// What of a voice is made up by the decoder, and how well that goes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Impairment {
    /// Impairment of the codec without loss, `Ie` (G.113 Appendix I).
    pub codec: f32,
    /// Robustness against loss in percent, `Bpl` (G.113 Appendix I): the loss that costs half of what is left.
    pub robustness: f32,
}

impl Impairment {
    /// Opus as meetings send it, loss made up by its decoder alone. ITU-T has published no values for Opus: the codec is
    /// taken as free of impairment on this scale, which ends at narrow-band telephony, and as less robust than
    /// G.711 with concealment (25.1), because each of its packets leans on the one before.
    pub const OPUS: Self = Self {
        codec: 0.0,
        robustness: 10.0,
    };
    /// Opus with in-band FEC: a single loss is repaired at a lower quality, the second in a row is made up.
    pub const OPUS_FEC: Self = Self {
        codec: 0.0,
        robustness: 20.0,
    };

    /// `Ie,eff` at that random loss in millionths (G.107 §7.5, `BurstR` = 1).
    pub fn effective(self, loss_ppm: u32) -> f32 {
        let percent = loss_ppm.min(1_000_000) as f32 / 10_000.0;
        self.codec + (95.0 - self.codec) * percent / (percent + self.robustness)
    }
}

/// `Idd`, the impairment by mere delay, mouth to ear (G.107 §7.4): nothing up to 100 ms.
pub fn delay_impairment(one_way: Duration) -> f32 {
    let ms = one_way.as_millis().min(10_000) as f32;
    if ms <= 100.0 {
        return 0.0;
    }
    let x = (ms / 100.0).log2();
    let root = |x: f32| (1.0 + x.powi(6)).powf(1.0 / 6.0);
    25.0 * (root(x) - 3.0 * root(x / 3.0) + 2.0)
}

/// Mean opinion score of a rating `R`, 1.0 to 4.5 (G.107 Annex B).
pub fn opinion(rating: f32) -> f32 {
    if rating <= 0.0 {
        return 1.0;
    }
    if rating >= 100.0 {
        return 4.5;
    }
    // Below R = 6.5 the polynomial falls under 1.
    (1.0 + 0.035 * rating + rating * (rating - 60.0) * (100.0 - rating) * 7e-6).max(1.0)
}

/// Mean opinion score of a voice, 1.0 to 4.5: `loss_ppm` in millionths is what the impairment stands for, `one_way` is from
/// mouth to ear, the jitter buffer in it.
pub fn voice(loss_ppm: u32, one_way: Duration, impairment: Impairment) -> f32 {
    opinion(R_DEFAULT - delay_impairment(one_way) - impairment.effective(loss_ppm))
}

#[cfg(test)]
mod tests {
    use super::{super::testing::ms, *};

    fn near(a: f32, b: f32, within: f32) -> bool {
        (a - b).abs() <= within
    }

    #[test]
    fn opinions_are_those_of_annex_b() {
        // G.107 Table B.1: R and MOS at the limits of the categories of satisfaction, rounded up there.
        for (rating, score) in [
            (90.0, 4.34),
            (80.0, 4.03),
            (70.0, 3.60),
            (60.0, 3.10),
            (50.0, 2.58),
        ] {
            assert!(
                near(opinion(rating), score, 0.007),
                "{rating}: {}",
                opinion(rating)
            );
        }
        assert!(near(opinion(R_DEFAULT), 4.41, 0.005));
        assert_eq!((opinion(-3.0), opinion(100.0), opinion(2.0)), (1.0, 4.5, 1.0));
    }

    #[test]
    fn loss_impairs_as_the_tables_of_known_codecs_say() {
        // G.113 Appendix I: G.729A with VAD, Ie 11 and Bpl 19, at random loss in percent.
        let g729a = Impairment {
            codec: 11.0,
            robustness: 19.0,
        };
        for (percent, impairment) in [(0, 11.0), (1, 15.0), (2, 19.0), (4, 26.0), (8, 36.0), (16, 49.0)] {
            let seen = g729a.effective(percent * 10_000);
            assert!(near(seen, impairment, 0.7), "{percent} %: {seen}");
        }
    }

    #[test]
    fn delay_impairs_from_100_ms_on() {
        for (delay, impairment) in [
            (0, 0.0),
            (100, 0.0),
            (150, 0.16),
            (200, 3.04),
            (300, 14.76),
            (400, 24.07),
        ] {
            let seen = delay_impairment(ms(delay));
            assert!(near(seen, impairment, 0.05), "{delay} ms: {seen}");
        }
        assert!(delay_impairment(Duration::MAX).is_finite());
    }

    #[test]
    fn a_voice_never_gets_better_by_more_loss_or_delay() {
        let scores = |impairment| {
            let at = move |(loss, delay)| voice(loss, ms(delay), impairment);
            let losses = (0..=1_000_000).step_by(10_000).map(|loss| (loss, 60)).map(at);
            let delays = (0..2_000).step_by(20).map(|delay| (10_000, delay)).map(at);
            [losses.collect::<Vec<_>>(), delays.collect()]
        };
        for impairment in [Impairment::OPUS, Impairment::OPUS_FEC] {
            for list in scores(impairment) {
                assert!(list.is_sorted_by(|a, b| a >= b), "{list:?}");
                assert!(list.iter().all(|score| (1.0..=4.5).contains(score)));
            }
        }
        let at_ten_percent = |impairment| voice(100_000, ms(100), impairment);
        assert!(at_ten_percent(Impairment::OPUS) < at_ten_percent(Impairment::OPUS_FEC));
    }
}
