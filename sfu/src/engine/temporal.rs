//! Which temporal layers of a stream pass.
//!
//! Down at the next picture: nothing leans on a picture of a higher layer. Up one layer at a time, and only at a picture
//! of that layer that leans on the base layer alone (layer sync), or at a key frame; until one comes the lower rate stays.
//! Going up at any picture would show one that leans on a picture the decoder never had.

use std::collections::VecDeque;

use super::{arrival::Picture, seq::RtpTime};

/// All temporal layers.
pub const ALL_TEMPORAL: u8 = u8::MAX;

/// Decides picture by picture, and for all packets of a picture alike.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct TemporalFilter {
    /// Highest layer that passes from the newest picture on.
    level: u8,
    /// Pictures judged, ascending; the oldest gives way.
    judged: VecDeque<Judged>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Judged {
    time: RtpTime,
    passes: bool,
    /// The level after it.
    level: u8,
}

/// Pictures remembered: a second at 60 a second. Packets of older ones do not pass.
const PICTURES: usize = 64;

impl TemporalFilter {
    /// A stretch begins at a key frame: everything up to `wanted` passes.
    pub(super) fn begin(&mut self, time: RtpTime, wanted: u8) {
        self.level = wanted;
        self.judged.clear();
        self.judged.push_back(Judged {
            time,
            passes: true,
            level: wanted,
        });
    }

    /// Highest layer that passes from the newest picture on.
    pub(super) fn level(&self) -> u8 {
        self.level
    }

    /// May this packet of what is shown pass?
    pub(super) fn judge(&mut self, time: RtpTime, picture: &Picture, wanted: u8) -> bool {
        let at = self.judged.partition_point(|judged| judged.time < time);
        let newest = at + 1 >= self.judged.len();
        if let Some(judged) = self.judged.get_mut(at).filter(|judged| judged.time == time) {
            // Only its first packet tells a key frame, and that may come late.
            if picture.key_frame && newest {
                (self.level, judged.level) = (wanted, wanted);
            }
            return judged.passes;
        }
        let temporal = picture.temporal.unwrap_or(0);
        if at < self.judged.len() {
            // Older than others: what was true between its neighbours is true of it.
            let Some(before) = at.checked_sub(1).and_then(|i| self.judged.get(i)).copied() else {
                return false;
            };
            let passes = temporal <= before.level;
            self.remember(
                at,
                Judged {
                    time,
                    passes,
                    ..before
                },
            );
            return passes;
        }
        self.level = self.level.min(wanted);
        if picture.key_frame {
            self.level = wanted;
        } else if picture.layer_sync && temporal <= wanted && temporal.checked_sub(1) == Some(self.level) {
            self.level = temporal;
        }
        let judged = Judged {
            time,
            passes: temporal <= self.level,
            level: self.level,
        };
        self.remember(at, judged);
        judged.passes
    }

    fn remember(&mut self, at: usize, judged: Judged) {
        self.judged.insert(at, judged);
        if self.judged.len() > PICTURES {
            self.judged.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picture(temporal: u8, layer_sync: bool) -> Picture {
        Picture {
            temporal: Some(temporal),
            layer_sync,
            ..Picture::default()
        }
    }

    #[test]
    fn down_at_the_next_picture_up_one_layer_at_each_sync() {
        let mut filter = TemporalFilter::default();
        filter.begin(RtpTime(0), ALL_TEMPORAL);
        // Layer, sync, wanted: passes?
        let table = [
            (0, true, 2, true),
            (2, true, 2, true),
            (1, true, 0, false),
            (0, false, 0, true),
            (2, true, 2, false), // two steps at once
            (1, false, 2, false),
            (1, true, 2, true),
            (2, false, 2, false),
            (0, false, 2, true),
            (2, true, 2, true),
            (1, false, 2, true),
            (2, false, 1, false),
        ];
        for (n, (temporal, sync, wanted, passes)) in table.into_iter().enumerate() {
            let time = RtpTime(n as u64 * 3_000 + 1);
            assert_eq!(
                filter.judge(time, &picture(temporal, sync), wanted),
                passes,
                "{n}"
            );
            assert_eq!(
                filter.judge(time, &picture(temporal, sync), wanted),
                passes,
                "{n} again"
            );
        }
    }

    #[test]
    fn a_late_picture_is_judged_as_its_elder_neighbour_left_it() {
        let mut filter = TemporalFilter::default();
        filter.begin(RtpTime(0), 2);
        assert!(filter.judge(RtpTime(0), &picture(0, false), 2));
        assert!(filter.judge(RtpTime(4), &picture(0, false), 0));
        assert!(filter.judge(RtpTime(2), &picture(2, false), 0));
        assert!(!filter.judge(RtpTime(6), &picture(2, false), 0));
        assert!(!filter.judge(RtpTime(5), &picture(1, true), 0));
    }

    #[test]
    fn a_key_frame_lets_everything_in() {
        let mut filter = TemporalFilter::default();
        filter.begin(RtpTime(0), 0);
        let key = Picture {
            key_frame: true,
            ..picture(0, false)
        };
        assert!(!filter.judge(RtpTime(1), &picture(1, false), 2));
        assert!(filter.judge(RtpTime(2), &key, 2));
        assert!(filter.judge(RtpTime(3), &picture(2, false), 2));
    }
}
