//! What a node that has more to do than it can sends less of, so that what it does send comes in time.
//!
//! A thread that is behind sends everything late, loses what comes in meanwhile, and is asked for it again on top: it does not
//! catch up by itself. So each receiver gets less, everybody by the same limit, until there is time left; then step by step
//! more again. Voices are never part of it.

use super::units::Bitrate;

/// A second of which so much was spent working, in thousandths, was too short ...
const HIGH: u16 = 900;
/// ... and one below that has time to spare.
const LOW: u16 = 700;
/// One of less work is nothing to a room without a limit, unless the one before was too short.
const TELLING: u16 = 600;
/// So many seconds in a row must be too short: one may be a page flip or many who join.
const SHORT: u8 = 2;
/// And so many have time to spare before there is more again.
const SPARE: u8 = 5;
/// What remains of the limit with each step down, in percent, and what becomes of it with each step up.
const DOWN_PERCENT: u64 = 75;
const UP_PERCENT: u64 = 125;
/// A limit that so much of is used, in percent, or less, holds nobody back.
const LOOSE_PERCENT: u64 = 75;
/// No lower: voices and one small picture.
const LEAST: Bitrate = Bitrate::kbps(350);

/// The limit of one room, looked at once a second.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Overload {
    most: Option<Bitrate>,
    /// Seconds in a row that were too short.
    short: u8,
    /// That had time to spare.
    spare: u8,
}

impl Overload {
    /// What a receiver may get at most; none while there is time for everything.
    pub(super) fn most(&self) -> Option<Bitrate> {
        self.most
    }

    /// Another second of so much work is news: it is busy, or ends what is counted.
    pub(super) fn minds(&self, busy: u16) -> bool {
        busy >= TELLING || self.most.is_some() || self.short > 0
    }

    /// Another second, of which `busy` thousandths were work. `greatest`: what the receiver that gets most gets. True if the limit is
    /// another one now.
    pub(super) fn look(&mut self, busy: u16, greatest: Bitrate) -> bool {
        let count = |so_far: u8, goes_on: bool| if goes_on { so_far.saturating_add(1) } else { 0 };
        self.short = count(self.short, busy >= HIGH);
        self.spare = count(self.spare, busy < LOW);
        let former = self.most;
        if self.short >= SHORT {
            // Where nobody gets more than the least there is nothing to take away.
            if former.is_some() || greatest > LEAST {
                let from = former.unwrap_or(greatest).min(greatest.max(LEAST));
                self.most = Some(percent(from, DOWN_PERCENT).max(LEAST));
            }
            self.short = 0;
        } else if self.spare >= SPARE {
            let is_loose = |most: &Bitrate| greatest <= percent(*most, LOOSE_PERCENT);
            self.most = former
                .filter(|most| !is_loose(most))
                .map(|most| percent(most, UP_PERCENT));
            self.spare = 0;
        }
        self.most != former
    }
}

fn percent(of: Bitrate, percent: u64) -> Bitrate {
    Bitrate::bps(of.as_bps().saturating_mul(percent) / 100)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the limit is after each of these seconds, in kb/s. Whoever gets most gets all that the limit allows, up to `wanted`.
    fn play(busy: &[u16], wanted: u64) -> Vec<u64> {
        let mut overload = Overload::default();
        let limit = |overload: &Overload| overload.most().map_or(u64::MAX, |most| most.as_bps() / 1_000);
        busy.iter()
            .map(|&busy| {
                let greatest = Bitrate::kbps(limit(&overload).min(wanted));
                if overload.minds(busy) {
                    overload.look(busy, greatest);
                }
                limit(&overload)
            })
            .collect()
    }

    #[test]
    fn one_short_second_is_none() {
        assert_eq!(play(&[1_000, 899, 1_000, 500, 900, 0], 3_000), [u64::MAX; 6]);
        let apart = [[950].as_slice(), &[300; 600], &[950]].concat();
        assert_eq!(play(&apart, 3_000), [u64::MAX; 602], "ten minutes between them");
    }

    #[test]
    fn it_goes_down_until_there_is_time_and_stays_while_there_is_none_to_spare() {
        let all = u64::MAX;
        let limits = play(&[1_000, 1_000, 990, 950, 800, 800, 800, 800, 800, 800], 3_200);
        assert_eq!(
            limits,
            [all, 2_400, 2_400, 1_800, 1_800, 1_800, 1_800, 1_800, 1_800, 1_800]
        );
    }

    #[test]
    fn it_never_takes_the_voices_and_the_smallest_picture() {
        assert_eq!(play(&[1_000; 20], 3_000).last(), Some(&350));
    }

    #[test]
    fn a_room_where_there_is_nothing_to_take_away_has_no_limit_then_or_later() {
        assert_eq!(play(&[1_000; 20], 350), [u64::MAX; 20]);
        let mut overload = Overload::default();
        for _ in 0..2 {
            overload.look(1_000, Bitrate::kbps(120));
        }
        assert_eq!(overload.most(), None);
        for _ in 0..100 {
            overload.look(800, Bitrate::mbps(2));
        }
        assert_eq!(overload.most(), None, "nobody is held back by what was before");
    }

    #[test]
    fn it_comes_back_step_by_step_and_is_gone_when_it_holds_nobody_back() {
        let busy: Vec<u16> = [[1_000; 4].as_slice(), &[500; 40]].concat();
        let mut limits = play(&busy, 3_200);
        limits.dedup();
        assert_eq!(
            limits,
            [u64::MAX, 2_400, 1_800, 2_250, 2_812, 3_515, 4_394, u64::MAX]
        );
    }
}
