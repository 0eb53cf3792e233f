//! Which temporal and spatial layers of one stream pass.
//!
//! A picture is judged once, at the first of its packets that comes. All spatial layers up to the wanted one pass, so that
//! going down is possible at any picture: nothing leans on a higher layer.
//!
//! Up one temporal layer at a time, and only at a picture of that layer that leans on the layers below alone (layer sync),
//! or where the sender says that all may come back (a switching point of the base layer, a key frame). Up one spatial layer
//! at a frame of it that leans on no earlier picture, which mostly is in a key picture. Until then the lower layer stays:
//! anything else would show what leans on a picture that the decoder never had.

use super::{arrival::Picture, pictures::Pictures, seq::RtpTime, wanted::Wanted};

/// Decides picture by picture, for all packets of a picture alike.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Thinning {
    /// Highest layers that pass from the newest picture on.
    level: Wanted,
    /// Pictures judged. Packets of older ones do not pass.
    judged: Pictures<Judged>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Judged {
    passes: bool,
    /// The levels at it.
    level: Wanted,
    /// One above the highest spatial layer of which a packet came.
    seen: u8,
}

impl Default for Thinning {
    fn default() -> Self {
        Self {
            level: Wanted {
                temporal: 0,
                spatial: 0,
            },
            judged: Pictures::new(),
        }
    }
}

impl Thinning {
    /// A stretch begins at a key frame: everything up to `wanted` passes.
    pub(super) fn begin(&mut self, time: RtpTime, wanted: Wanted) {
        self.level = wanted;
        self.judged.clear();
        let first = Judged {
            passes: true,
            level: wanted,
            seen: 1,
        };
        self.judged.insert(0, time, first);
    }

    /// Highest layers that pass from the newest picture on.
    pub(super) fn level(&self) -> Wanted {
        self.level
    }

    /// The newest picture judged.
    pub(super) fn newest(&self) -> Option<RtpTime> {
        self.judged.newest()
    }

    /// May this packet of what is shown pass?
    pub(super) fn judge(&mut self, time: RtpTime, picture: &Picture, wanted: Wanted) -> bool {
        let mut at = self.judged.end_before(time);
        if self.judged.get(at).is_none_or(|(known, _)| known != time) {
            let Some(judged) = self.first_seen(at, picture, wanted) else {
                // From before the stretch, which its numbers tell, or older than all that is remembered.
                return !self.judged.is_full();
            };
            at = self.judged.insert(at, time, judged);
        }
        let newest = at + 1 == self.judged.len();
        let Some(judged) = self.judged.get_mut(at) else {
            return false;
        };
        // Only its first packet tells a key frame, and that may come after others of the picture.
        if newest && picture.key_frame {
            judged.level.temporal = wanted.temporal;
            if judged.seen == 0 {
                judged.level.spatial = wanted.spatial;
            }
        }
        let Some(spatial) = picture.spatial else {
            self.level = if newest { judged.level } else { self.level };
            return judged.passes;
        };
        let next = judged.level.spatial.checked_add(1) == Some(spatial.layer);
        // A frame of which a part was left out already cannot be gone up to.
        if newest
            && next
            && spatial.layer <= wanted.spatial
            && spatial.stands_alone
            && judged.seen <= spatial.layer
        {
            judged.level.spatial = spatial.layer;
        }
        judged.seen = judged.seen.max(spatial.layer.saturating_add(1));
        if newest {
            self.level = judged.level;
        }
        judged.passes && spatial.layer <= judged.level.spatial
    }

    /// A picture newer than all before begins and is left out, and with it its temporal layer until a decoder may step up again; it alone where nothing
    /// leans on it. Without effect on one of the base layer that others lean on.
    pub(super) fn leave_out(&mut self, time: RtpTime, picture: &Picture) {
        // Who counts base pictures (VP8, VP9) marks where a decoder may step up. Of H.264 also what stands before a picture says that nothing leans on it.
        let is_marked = picture.tl0_pic_idx.is_some() && !picture.key_frame;
        let Some(temporal) = picture.temporal.filter(|_| is_marked) else {
            return;
        };
        if !picture.disposable {
            let Some(below) = temporal.checked_sub(1) else {
                return;
            };
            self.level.temporal = self.level.temporal.min(below);
        }
        let judged = Judged {
            passes: false,
            level: self.level,
            seen: u8::MAX, // no layer of it can be gone up to
        };
        self.judged.insert(self.judged.len(), time, judged);
    }

    /// This packet is the last one of its picture that passes.
    pub(super) fn ends(&self, time: RtpTime, picture: &Picture) -> bool {
        let Some(spatial) = picture.spatial.filter(|spatial| spatial.ends_frame) else {
            return false;
        };
        let judged = self.judged.get(self.judged.end_before(time));
        let judged = judged.filter(|(known, _)| *known == time);
        judged.is_some_and(|(_, judged)| spatial.layer == judged.level.spatial)
    }

    fn first_seen(&self, at: usize, picture: &Picture, wanted: Wanted) -> Option<Judged> {
        let temporal = picture.temporal.unwrap_or(0);
        let mut level = self.level;
        if at < self.judged.len() {
            // Older than others: what held after its elder neighbour holds for it.
            level = self.judged.get(at.checked_sub(1)?)?.1.level;
        } else {
            level.temporal = level.temporal.min(wanted.temporal);
            level.spatial = level.spatial.min(wanted.spatial);
            let up = picture.layer_sync && temporal.checked_sub(1) == Some(level.temporal);
            if up && temporal <= wanted.temporal {
                level.temporal = temporal;
            }
            if picture.switch_up && temporal <= level.temporal {
                level.temporal = wanted.temporal;
            }
        }
        Some(Judged {
            passes: temporal <= level.temporal,
            level,
            seen: 0,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{arrival::Spatial, selector::ALL_TEMPORAL},
        *,
    };

    fn picture(temporal: u8, layer_sync: bool) -> Picture {
        Picture {
            temporal: Some(temporal),
            layer_sync,
            ..Picture::default()
        }
    }

    const fn temporal(temporal: u8) -> Wanted {
        Wanted { temporal, spatial: 0 }
    }

    #[test]
    fn down_at_the_next_picture_up_one_layer_at_each_sync() {
        let mut filter = Thinning::default();
        filter.begin(RtpTime(0), temporal(ALL_TEMPORAL));
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
        for (n, (layer, sync, wanted, passes)) in table.into_iter().enumerate() {
            let time = RtpTime(n as u64 * 3_000 + 1);
            for _ in 0..2 {
                let judged = filter.judge(time, &picture(layer, sync), temporal(wanted));
                assert_eq!(judged, passes, "{n}");
            }
        }
    }

    #[test]
    fn a_late_picture_is_judged_as_its_elder_neighbour_left_it() {
        let mut filter = Thinning::default();
        filter.begin(RtpTime(0), temporal(2));
        assert!(filter.judge(RtpTime(0), &picture(0, false), temporal(2)));
        assert!(filter.judge(RtpTime(4), &picture(0, false), temporal(0)));
        assert!(filter.judge(RtpTime(2), &picture(2, false), temporal(0)));
        assert!(!filter.judge(RtpTime(6), &picture(2, false), temporal(0)));
        assert!(!filter.judge(RtpTime(5), &picture(1, true), temporal(0)));
    }

    #[test]
    fn a_key_frame_or_a_switching_point_lets_everything_in() {
        let key = Picture {
            key_frame: true,
            ..picture(0, false)
        };
        let point = Picture {
            switch_up: true,
            ..picture(0, false)
        };
        for opens in [key, point] {
            let mut filter = Thinning::default();
            filter.begin(RtpTime(0), temporal(0));
            assert!(!filter.judge(RtpTime(1), &picture(1, false), temporal(2)));
            assert!(filter.judge(RtpTime(2), &opens, temporal(2)));
            assert!(filter.judge(RtpTime(3), &picture(2, false), temporal(2)));
        }
    }

    fn frame(layer: u8, stands_alone: bool, key_frame: bool) -> Picture {
        Picture {
            key_frame,
            spatial: Some(Spatial {
                layer,
                stands_alone,
                ends_frame: true,
            }),
            ..Picture::default()
        }
    }

    #[test]
    fn spatial_layers_go_down_at_a_picture_and_up_at_a_frame_that_stands_alone() {
        let wanted = |spatial| Wanted { temporal: 0, spatial };
        let mut filter = Thinning::default();
        filter.begin(RtpTime(0), wanted(2));
        // Time, layer, stands alone, key picture begins, wanted: passes, ends the picture?
        let table = [
            (0, 1, true, false, 2, true, false),
            (0, 2, true, false, 2, true, true),
            (1, 0, false, false, 2, true, false),
            (1, 1, false, false, 0, true, false), // in the midst of a picture nothing changes
            (1, 2, false, false, 0, true, true),
            (2, 0, false, false, 0, true, true),
            (2, 1, false, false, 0, false, false),
            (3, 0, false, false, 2, true, true),
            (3, 1, false, false, 2, false, false),
            (4, 0, false, false, 2, true, true),
            (4, 1, true, false, 2, true, true),
            (4, 2, false, false, 2, false, false),
            (5, 0, true, true, 2, true, false),
            (5, 1, true, false, 2, true, false),
            (5, 2, true, false, 2, true, true),
        ];
        for (n, (time, layer, alone, key, up_to, passes, ends)) in table.into_iter().enumerate() {
            let picture = frame(layer, alone, key);
            assert_eq!(
                filter.judge(RtpTime(time), &picture, wanted(up_to)),
                passes,
                "{n}"
            );
            assert_eq!(filter.ends(RtpTime(time), &picture), ends, "{n}");
        }
    }

    #[test]
    fn a_frame_left_out_in_part_is_not_gone_up_to() {
        let wanted = Wanted {
            temporal: 0,
            spatial: 1,
        };
        let mut filter = Thinning::default();
        filter.begin(RtpTime(0), Wanted { spatial: 0, ..wanted });
        assert!(!filter.judge(RtpTime(1), &frame(1, false, false), wanted));
        assert!(filter.judge(RtpTime(1), &frame(0, true, true), wanted));
        assert!(!filter.judge(RtpTime(1), &frame(1, true, false), wanted));
        assert_eq!(filter.level().spatial, 0);
    }
}
