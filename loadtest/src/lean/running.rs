//! Whether a picture runs on while others join: the longest time between two pictures of a stream that ran steadily before.
//!
//! Much in a meeting is no gap of a running stream: a slot that is given to another source, a layer that gives way to another, a small
//! picture that has few pictures a second by its nature. So a stream is watched from the moment when the storm begins, if it ran
//! steadily up to then, until something else is wanted or shown in its slot. Told the time, it has no clock.

/// Longest time between two pictures of what runs steadily: it holds fifteen pictures a second, and not seven.
const STEADY_US: u64 = 100_000;
/// So many of them in a row.
const STEADY_PICTURES: u32 = 10;
/// A stream that shows nothing for this long at the end stands still. Below it, its sender may only have ended a little earlier.
pub(super) const OPEN_US: u64 = 250_000;

/// How the picture of one slot runs.
#[derive(Debug, Default)]
pub(super) struct Running {
    /// Pictures in a row that came steadily, before the storm.
    steady: u32,
    /// When the last of them came.
    came_us: u64,
    /// Of the last picture that told it: before the storm one in some, in it each.
    layer: Option<u8>,
    watch: Option<Watch>,
}

/// A stream that ran when the storm began.
#[derive(Debug)]
struct Watch {
    /// The slot is still its own.
    on: bool,
    /// The last picture, or the beginning of the storm: of a gap that began before only what lies behind counts.
    last_us: u64,
    longest_us: u64,
}

impl Running {
    /// A picture came so long after the one before it, of the same source.
    pub(super) fn approach(&mut self, passed_us: u64, at_us: u64) {
        self.came_us = at_us;
        self.steady = match passed_us <= STEADY_US {
            true => self.steady.saturating_add(1),
            false => 0,
        };
    }

    /// The storm begins. What stands still already has not the storm to thank for it.
    pub(super) fn begin(&mut self, now_us: u64) {
        let runs = self.steady >= STEADY_PICTURES && now_us.saturating_sub(self.came_us) <= STEADY_US;
        self.watch = runs.then_some(Watch {
            on: true,
            last_us: now_us,
            longest_us: 0,
        });
    }

    /// Pictures are to be told of.
    pub(super) fn is_watched(&self) -> bool {
        self.watch.as_ref().is_some_and(|watch| watch.on)
    }

    /// A picture of that layer is shown.
    pub(super) fn show(&mut self, layer: Option<u8>, at_us: u64) {
        let before = std::mem::replace(&mut self.layer, layer);
        let Some(watch) = self.watch.as_mut().filter(|watch| watch.on) else {
            return;
        };
        if before == layer {
            watch.longest_us = watch.longest_us.max(at_us.saturating_sub(watch.last_us));
        }
        watch.last_us = watch.last_us.max(at_us);
    }

    /// A picture of the same layer, which came before and waited for a repair, is shown.
    pub(super) fn go_on(&mut self, at_us: u64) {
        self.show(self.layer, at_us);
    }

    /// The slot shows nothing now. In a storm that is a gap like any other, if the stream is still wanted: a node that is short of time may
    /// have left it out.
    pub(super) fn pause(&mut self) {
        self.steady = 0;
    }

    /// Something else is wanted or shown in the slot: what this stream showed until now stands.
    pub(super) fn switch(&mut self) {
        (self.steady, self.layer) = (0, None);
        if let Some(watch) = &mut self.watch {
            watch.on = false;
        }
    }

    /// Nothing more is sent: whoever has stood still for long has done so until now.
    pub(super) fn end(&mut self, now_us: u64) {
        if let Some(watch) = self.watch.as_mut().filter(|watch| watch.on) {
            let open_us = now_us.saturating_sub(watch.last_us);
            if open_us >= OPEN_US {
                watch.longest_us = watch.longest_us.max(open_us);
            }
        }
        self.switch();
    }

    /// The longest time between two pictures since the storm began; nothing if the stream did not run then.
    pub(super) fn longest_gap_us(&self) -> Option<u64> {
        self.watch.as_ref().map(|watch| watch.longest_us)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAME_US: u64 = 66_667;
    const STORM_US: u64 = 10_000_000;

    /// A stream of that layer that has so many pictures at that distance, the last a frame before the storm.
    fn stream(pictures: u32, distance_us: u64) -> Running {
        let mut running = Running::default();
        running.show(Some(1), 1_000_000);
        for back in (1..=pictures).rev() {
            running.approach(
                distance_us,
                STORM_US - FRAME_US - u64::from(back - 1) * distance_us,
            );
        }
        running
    }

    /// A stream that ran steadily until the storm began.
    fn running() -> Running {
        let mut running = stream(STEADY_PICTURES, FRAME_US);
        running.begin(STORM_US);
        running
    }

    #[test]
    fn only_what_ran_steadily_before_is_watched() {
        let begun = |mut running: Running| {
            running.begin(STORM_US);
            running.longest_gap_us()
        };
        assert_eq!(begun(stream(10, FRAME_US)), Some(0));
        assert_eq!(begun(stream(9, FRAME_US)), None, "it has just begun");
        assert_eq!(begun(stream(40, 133_333)), None, "7.5 pictures a second");
        let mut stumbled = stream(10, FRAME_US);
        stumbled.approach(400_000, STORM_US - 6 * FRAME_US);
        (1..6).for_each(|back| stumbled.approach(FRAME_US, STORM_US - back * FRAME_US));
        assert_eq!(begun(stumbled), None);
        let mut switched = stream(10, FRAME_US);
        switched.switch();
        assert_eq!(begun(switched), None, "another source");
        let mut still = stream(10, FRAME_US);
        still.begin(STORM_US + 2 * FRAME_US);
        assert_eq!(still.longest_gap_us(), None, "it stood still before the storm");
    }

    #[test]
    fn what_is_left_out_in_the_storm_is_a_gap_and_what_was_before_is_none() {
        let mut paused = running();
        paused.pause();
        paused.show(Some(1), STORM_US + 2_000_000);
        assert_eq!(paused.longest_gap_us(), Some(2_000_000));
        let mut before = stream(10, FRAME_US);
        before.pause();
        before.begin(STORM_US);
        assert_eq!(before.longest_gap_us(), None);
    }

    #[test]
    fn the_longest_gap_since_the_storm_began_is_told_and_what_lay_before_is_not() {
        let mut running = running();
        running.show(Some(1), STORM_US + 30_000);
        assert_eq!(running.longest_gap_us(), Some(30_000));
        running.show(Some(1), STORM_US + 100_000);
        running.show(Some(1), STORM_US + 280_000);
        running.show(Some(1), STORM_US + 346_000);
        assert_eq!(running.longest_gap_us(), Some(180_000));
    }

    #[test]
    fn neither_another_layer_nor_what_comes_after_a_switch_is_a_gap() {
        let mut running = running();
        running.show(Some(1), STORM_US + 50_000);
        running.show(Some(2), STORM_US + 900_000);
        assert_eq!(running.longest_gap_us(), Some(50_000));
        running.show(Some(2), STORM_US + 960_000);
        assert_eq!(running.longest_gap_us(), Some(60_000));
        assert!(running.is_watched());
        running.switch();
        running.show(Some(2), STORM_US + 2_000_000);
        running.end(STORM_US + 9_000_000);
        assert_eq!(running.longest_gap_us(), Some(60_000));
        assert!(!running.is_watched());
    }

    #[test]
    fn a_stream_that_never_came_back_stood_still_to_the_end() {
        let mut still = running();
        still.show(Some(1), STORM_US + 10_000);
        still.end(STORM_US + 3_010_000);
        assert_eq!(still.longest_gap_us(), Some(3_000_000));
        let mut ended = running();
        ended.show(Some(1), STORM_US + 10_000);
        ended.end(STORM_US + 120_000);
        assert_eq!(ended.longest_gap_us(), Some(10_000), "others ended before it");
    }

    #[test]
    fn what_waited_for_a_repair_is_shown_when_that_comes() {
        let mut running = running();
        running.show(Some(1), STORM_US + 10_000);
        running.go_on(STORM_US + 150_000);
        assert_eq!(running.longest_gap_us(), Some(140_000));
    }
}
