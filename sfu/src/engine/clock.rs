//! From a sender's clock to the node's.
//!
//! A sender report ties a stream's RTP time to the sender's wall clock (RFC 3550 §6.4.1). One offset per endpoint, that of the
//! report that was fastest on its way, ties that wall clock to the node's; so voice and picture of one sender keep their distance.
//! No report speaks of the future, and no packet was taken after it came. All times here are nanoseconds since the room's epoch.
//!
//! A stream's capture times run along its RTP times. Before its first report the arrival of its first packet stands in.
//! What a report then says is not jumped to but approached by at most a fiftieth of the time that passes (20 ms
//! a second), so times never go back and never jump. Behind a rest of hours, in which the clocks drifted apart, it is where the reports of
//! the sender's other streams say, at once. Three rules keep out nonsense:
//! 1. A report without wall clock (NTP 0) says nothing.
//! 2. A report whose wall clock is off by more than [`OFF_MAX`] is not believed. Three of them in a row mean that the
//!    sender's clock was set: a new offset is taken.
//! 3. A report that would move a stream by more than [`OFF_MAX`] is not believed. Three of them in a row that say how far a stream
//!    is behind its arrival mean that its RTP time stood still, as that of a device that gave nothing for a while. A stream that by its RTP times
//!    falls [`BEHIND_MAX`] behind its arrival or goes [`AHEAD_MAX`] before it has another RTP origin: it is tied to its arrival
//!    again. So is one whose RTP time goes back by more than [`BACK_MAX`]: behind a pause of hours nobody knows how often it began
//!    again. Those alone are steps, and forwards only.

use std::{collections::VecDeque, time::Duration};

use super::seq::{RtpTime, end_of};

/// What is believed of a report; network delays and clock drift of hours are far below.
const OFF_MAX: Nanos = 3 * SECOND;
/// A queue that holds packets longer than this holds no meeting.
const BEHIND_MAX: Nanos = 5 * SECOND;
/// Nothing that comes late, or again, is so old.
const BACK_MAX: Nanos = 10 * SECOND;
/// As much may the first packet have been late when it stood in.
const AHEAD_MAX: Nanos = 2 * SECOND;
/// Unbelieved reports in a row that mean a clock was set.
const UNBELIEVED_MAX: u8 = 3;
/// Share of a report's lateness that is taken off at each: clocks drift, and one may have been ahead for a moment.
const FADE: Nanos = 256;
/// Share of the time passed by which a capture may approach what reports say.
const SLEW: Nanos = 50;
/// A stream that sends nothing for longer rests.
const REST_SECONDS: u64 = 10;
/// Share of a rest by which clocks drift apart: each may be off by 100 millionths.
const DRIFT: Nanos = 5_000;
/// RTP times remembered, so that a repaired packet has the capture of its picture: 2 s at 30 pictures a second.
/// At the limit the oldest is forgotten.
const SEEN_MAX: usize = 64;

/// Nanoseconds since the room's epoch, or a difference of such.
pub(super) type Nanos = i64;
const SECOND: Nanos = 1_000_000_000;

/// The wall clock of one sender.
#[derive(Debug, Default)]
pub(super) struct SenderClock {
    /// An NTP time and when it was here.
    tied: Option<(u64, Nanos)>,
    /// By how much that was moved so far, but for clocks that were set.
    drifted: Nanos,
    unbelieved: u8,
}

impl SenderClock {
    /// A report that arrived `now`; on the node's clock, the time it speaks of. None if it is not believed.
    pub(super) fn handle_report(&mut self, now: Nanos, ntp: u64) -> Option<Nanos> {
        if ntp == 0 {
            return None;
        }
        let (tied_ntp, tied_at) = *self.tied.get_or_insert((ntp, now));
        let at = tied_at.saturating_add(ntp_difference(ntp, tied_ntp));
        let late = now.saturating_sub(at);
        if late.saturating_abs() <= OFF_MAX {
            self.unbelieved = 0;
            // If the one that it is tied to was slower on its way, it is tied to this one.
            let moved = late.min(0) + late.max(0) / FADE;
            self.tied = Some((ntp, at + moved));
            self.drifted += moved;
            return Some(at.min(now));
        }
        self.unbelieved += 1;
        if self.unbelieved < UNBELIEVED_MAX {
            return None;
        }
        self.unbelieved = 0;
        self.tied = Some((ntp, now));
        Some(now)
    }
}

/// NTP times have 32 bits of seconds and begin again in 2036: their difference is signed and does not mind.
fn ntp_difference(a: u64, b: u64) -> Nanos {
    let difference = i128::from(a.wrapping_sub(b).cast_signed());
    Nanos::try_from((difference * i128::from(SECOND)) >> 32).unwrap_or(0)
}

/// Capture times of one stream.
#[derive(Debug)]
pub(super) struct StreamClock {
    clock_rate: u32,
    /// RTP times and their captures, both ascending, never empty. The last one is the stream's newest.
    seen: VecDeque<(RtpTime, Nanos)>,
    /// By how much captures are still to be moved; more than [`OFF_MAX`] at once, the rest bit by bit.
    owed: Nanos,
    /// How far the sender's clock had drifted when that was told; none before the first report.
    drifted: Option<Nanos>,
    unbelieved: u8,
}

impl StreamClock {
    /// A stream whose first packet has that RTP time and arrives now.
    pub(super) fn new(clock_rate: u32, now: Nanos, first: RtpTime) -> Self {
        Self {
            clock_rate,
            seen: VecDeque::from([(first, now.max(0))]),
            owed: 0,
            drifted: None,
            unbelieved: 0,
        }
    }

    /// A report of this stream that arrived `now`: its RTP time at `at`, which `sender` said. False if it is not believed.
    pub(super) fn handle_report(&mut self, now: Nanos, sender: &SenderClock, at: Nanos, rtp: u32) -> bool {
        let (newest, capture) = self.newest();
        let wanted = at.saturating_add(self.ticks(newest, newest.nearest(rtp)));
        let owed = wanted.saturating_sub(capture);
        let possible = owed.min(now.saturating_sub(capture)); // the packet is here
        if owed.saturating_abs() <= OFF_MAX {
            self.unbelieved = 0;
            (self.owed, self.drifted) = (possible, Some(sender.drifted));
            return true;
        }
        // What is nowhere near its arrival either is nonsense.
        let stood = possible > OFF_MAX && owed - possible <= AHEAD_MAX;
        self.unbelieved = if stood { self.unbelieved + 1 } else { 0 };
        if self.unbelieved < UNBELIEVED_MAX {
            return false;
        }
        self.unbelieved = 0;
        (self.owed, self.drifted) = (possible, Some(sender.drifted));
        true
    }

    /// Before the capture of a packet with that RTP time: if the stream rested, what `sender` said of other streams meanwhile counts for it.
    pub(super) fn resume(&mut self, sender: &SenderClock, time: RtpTime) {
        let (newest, _) = self.newest();
        if time.0 <= newest.0 + u64::from(self.clock_rate) * REST_SECONDS {
            return;
        }
        let most = self.ticks(time, newest) / DRIFT;
        if let Some(drifted) = self.drifted.replace(sender.drifted) {
            self.owed += (sender.drifted - drifted).clamp(-most, most);
        }
    }

    /// Capture of a packet with that RTP time that arrives now.
    pub(super) fn capture(&mut self, now: Nanos, time: RtpTime) -> Duration {
        let (newest, last) = self.newest();
        let capture = if time > newest {
            self.next(now, time)
        } else if self.ticks(newest, time) > BACK_MAX {
            let capture = now.max(last);
            self.seen.clear();
            self.seen.push_back((time, capture));
            self.owed = 0;
            capture
        } else {
            self.former(time)
        };
        Duration::from_nanos(u64::try_from(capture).unwrap_or(0))
    }

    fn next(&mut self, now: Nanos, time: RtpTime) -> Nanos {
        let (newest, last) = self.newest();
        let passed = self.ticks(time, newest);
        let mut capture = last.saturating_add(passed);
        if self.owed > OFF_MAX {
            capture = capture.saturating_add(self.owed).min(now.max(capture));
            self.owed = 0;
        }
        let moved = self.owed.clamp(-passed / SLEW, passed / SLEW);
        capture = capture.saturating_add(moved);
        self.owed -= moved;
        if capture < now - BEHIND_MAX || capture > now.saturating_add(AHEAD_MAX) {
            capture = now.max(last);
            self.owed = 0;
        }
        if self.seen.len() >= SEEN_MAX {
            self.seen.pop_front();
        }
        self.seen.push_back((time, capture));
        capture
    }

    /// An RTP time that is not new: what was said before, else what lies between its neighbours.
    fn former(&mut self, time: RtpTime) -> Nanos {
        let index = end_of(&self.seen, |&(seen, _)| seen < time);
        let (after, bound) = self.seen[index]; // not newer than the newest, so there is one at or after it
        if after == time {
            return bound;
        }
        let capture = match index.checked_sub(1) {
            Some(before) => {
                let (before, capture) = self.seen[before];
                capture.saturating_add(self.ticks(time, before)).min(bound)
            }
            None => bound.saturating_sub(self.ticks(after, time)).max(0),
        };
        if self.seen.len() < SEEN_MAX {
            self.seen.insert(index, (time, capture));
        } else if index > 0 {
            self.seen.pop_front();
            self.seen.insert(index - 1, (time, capture));
        }
        capture
    }

    fn newest(&self) -> (RtpTime, Nanos) {
        *self
            .seen
            .back()
            .expect("it begins with one and never loses the last")
    }

    /// Time from `b` to `a`.
    fn ticks(&self, a: RtpTime, b: RtpTime) -> Nanos {
        let difference = i128::from(a.0) - i128::from(b.0);
        let nanos = difference * i128::from(SECOND) / i128::from(self.clock_rate.max(1));
        Nanos::try_from(nanos).unwrap_or(if nanos < 0 {
            -OFF_MAX * 1_000
        } else {
            OFF_MAX * 1_000
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MS: Nanos = 1_000_000;
    const NTP_SECOND: u64 = 1 << 32;

    fn at(capture: Duration) -> Nanos {
        capture.as_nanos() as Nanos
    }

    #[test]
    fn voice_and_picture_of_one_sender_come_to_the_same_clock() {
        let mut sender = SenderClock::default();
        let (audio0, video0) = (RtpTime::first(7), RtpTime::first(u32::MAX - 5));
        // Both begin at 10 s; the picture's first packet is 200 ms late.
        let mut audio = StreamClock::new(48_000, 10_000 * MS, audio0);
        let mut video = StreamClock::new(90_000, 10_200 * MS, video0);
        let ntp = 3_900_000_000 * NTP_SECOND;
        let mut apart = Vec::new();
        for second in 0..30u64 {
            let now = 10_000 * MS + second as Nanos * SECOND;
            let (a, v) = (
                RtpTime(audio0.0 + second * 48_000),
                RtpTime(video0.0 + second * 90_000),
            );
            let heard = at(audio.capture(now, a));
            let seen = at(video.capture(now + 200 * MS, v));
            apart.push((seen - heard) / MS);
            let here = sender
                .handle_report(now, ntp + second * NTP_SECOND)
                .expect("believed");
            assert!(audio.handle_report(now, &sender, here, a.wire()));
            assert!(video.handle_report(now, &sender, here, v.wire()));
        }
        assert_eq!(apart[0], 200);
        assert!(
            apart.windows(2).all(|w| w[0] - w[1] <= 20 && w[1] <= w[0]),
            "{apart:?}"
        );
        assert_eq!(apart[29], 0);
    }

    #[test]
    fn all_packets_of_a_picture_have_one_capture_also_repaired_ones() {
        let mut clock = StreamClock::new(90_000, SECOND, RtpTime::first(0));
        let first = RtpTime::first(0).0;
        let captures: Vec<_> = (0..10)
            .map(|n| clock.capture(SECOND + n as Nanos * 40 * MS, RtpTime(first + n * 3_600)))
            .collect();
        let sender = SenderClock::default();
        clock.handle_report(3 * SECOND, &sender, 3 * SECOND, (9 * 3_600u64) as u32);
        for (n, capture) in captures.iter().enumerate() {
            assert_eq!(
                clock.capture(9 * SECOND, RtpTime(first + n as u64 * 3_600)),
                *capture
            );
        }
        let between = clock.capture(9 * SECOND, RtpTime(first + 1_800));
        assert!(captures[0] < between && between < captures[1]);
        assert_eq!(clock.capture(9 * SECOND, RtpTime(first + 1_800)), between);
    }

    #[test]
    fn a_lying_wall_clock_is_not_believed_and_a_set_one_is_after_three_reports() {
        let mut sender = SenderClock::default();
        assert_eq!(sender.handle_report(0, 0), None);
        assert_eq!(sender.handle_report(SECOND, 100 * NTP_SECOND), Some(SECOND));
        assert_eq!(sender.handle_report(2 * SECOND, 3_700 * NTP_SECOND), None);
        assert_eq!(
            sender.handle_report(3 * SECOND, 102 * NTP_SECOND),
            Some(3 * SECOND)
        );
        assert_eq!(sender.handle_report(4 * SECOND, 3_703 * NTP_SECOND), None);
        assert_eq!(sender.handle_report(5 * SECOND, 3_704 * NTP_SECOND), None);
        assert_eq!(
            sender.handle_report(6 * SECOND, 3_705 * NTP_SECOND),
            Some(6 * SECOND)
        );
        assert_eq!(
            sender.handle_report(7 * SECOND, 3_706 * NTP_SECOND),
            Some(7 * SECOND)
        );
    }

    #[test]
    fn a_first_report_that_waited_makes_nobody_early() {
        let (mut sender, first) = (SenderClock::default(), RtpTime::first(0));
        let ntp = 3_900_000_000 * NTP_SECOND;
        let mut clock = StreamClock::new(48_000, SECOND, first);
        for n in 0..1_500u64 {
            let now = SECOND + n as Nanos * 20 * MS;
            // A report each five seconds; the first one comes 1.5 s late.
            let sent = match n {
                75 => Some(0),
                250.. if n % 250 == 0 => Some(n / 50),
                _ => None,
            };
            if let Some(sent) = sent {
                let here = sender.handle_report(now, ntp + sent * NTP_SECOND);
                let rtp = (first.0 + sent * 48_000) as u32;
                assert!(clock.handle_report(now, &sender, here.expect("believed"), rtp));
            }
            let capture = at(clock.capture(now, RtpTime(first.0 + n * 960)));
            // A voice that is 30 ms beside its line tears a hole.
            let early = capture - now;
            assert!((0..=20 * MS).contains(&early), "{n}: {early}");
            assert!(n < 400 || early <= MS, "{n}: {early}");
        }
    }

    /// A capture device gives nothing for a while, and its RTP time stands still.
    #[test]
    fn a_stream_whose_time_stood_still_is_where_reports_say_again() {
        for stood in [3_100, 4_000, 4_900].map(|stood| stood * MS) {
            let (mut sender, first) = (SenderClock::default(), RtpTime::first(0));
            let mut clock = StreamClock::new(48_000, SECOND, first);
            let mut last = 0;
            for n in 0..1_000u64 {
                let sent = SECOND + n as Nanos * 20 * MS + if n < 500 { 0 } else { stood };
                let (now, time) = (sent + 30 * MS, RtpTime(first.0 + n * 960));
                let capture = at(clock.capture(now, time));
                assert!(last <= capture && capture <= now, "{n}: {capture}");
                last = capture;
                if n % 50 == 0 {
                    let ntp = 3_900_000_000 * NTP_SECOND + (sent as u64) * (NTP_SECOND / 1_000) / 1_000_000;
                    let here = sender.handle_report(now, ntp).expect("believed");
                    clock.handle_report(now, &sender, here, time.wire());
                }
            }
            let behind = SECOND + 999 * 20 * MS + stood + 30 * MS - last;
            assert!(behind < 100 * MS, "{stood}: {behind}");
        }
    }

    /// The sender's clock is fast or slow by 50 millionths, and its camera off for two hours.
    #[test]
    fn a_picture_keeps_to_its_voice_behind_a_rest_of_hours() {
        for fast in [50, -50] {
            let (mut sender, first) = (SenderClock::default(), RtpTime::first(0));
            let mut audio = StreamClock::new(48_000, SECOND, first);
            let mut video = StreamClock::new(90_000, SECOND, first);
            let mut apart = 0;
            for second in 0..7_320u64 {
                let now = SECOND + second as Nanos * SECOND;
                // Nanoseconds of the sender's clock.
                let sent = second as Nanos * (SECOND + fast * 1_000);
                let ticks =
                    |rate: i128| RtpTime(first.0 + (i128::from(sent) * rate / i128::from(SECOND)) as u64);
                let ntp = 3_900_000_000 * NTP_SECOND + ((i128::from(sent) << 32) / i128::from(SECOND)) as u64;
                let (heard, seen) = (ticks(48_000), ticks(90_000));
                let is_on = !(60..7_260).contains(&second);
                audio.resume(&sender, heard);
                let voice = at(audio.capture(now, heard));
                if is_on {
                    video.resume(&sender, seen);
                    let picture = at(video.capture(now, seen));
                    apart = apart.max((picture - voice).abs());
                }
                let here = sender.handle_report(now, ntp).expect("believed");
                assert!(audio.handle_report(now, &sender, here, heard.wire()));
                assert!(!is_on || video.handle_report(now, &sender, here, seen.wire()));
            }
            assert!(apart < 40 * MS, "{fast}: {apart}");
        }
    }

    #[test]
    fn a_stream_that_is_not_behind_its_arrival_takes_no_step() {
        let (sender, first) = (SenderClock::default(), RtpTime::first(0));
        let mut clock = StreamClock::new(48_000, SECOND, first);
        for n in 1..10u64 {
            let now = SECOND + n as Nanos * 20 * MS + 15 * MS;
            let time = RtpTime(first.0 + n * 960);
            assert_eq!(at(clock.capture(now, time)), now - 15 * MS);
            // Of an RTP time seconds before it, or hours from it.
            for other in [time.wire().wrapping_sub(48_000 * 5), time.wire() ^ (1 << 30)] {
                assert!(!clock.handle_report(now, &sender, now, other));
            }
        }
    }

    #[test]
    fn what_a_clock_said_that_was_ahead_for_a_moment_fades() {
        let mut sender = SenderClock::default();
        let mut late = Vec::new();
        for second in 0..1_200 {
            let ahead = if second == 10 { 2 } else { 0 };
            let ntp = (1_000 + second + ahead) * NTP_SECOND;
            let now = second as Nanos * SECOND;
            late.push(now - sender.handle_report(now, ntp).expect("believed"));
        }
        assert_eq!(late[10], 0);
        assert!(late[11] > SECOND && late[1_199] < 30 * MS, "{late:?}");
    }

    #[test]
    fn the_year_2036_is_a_second_like_any_other() {
        let mut sender = SenderClock::default();
        assert_eq!(
            sender.handle_report(SECOND, u64::MAX - NTP_SECOND / 2 + 1),
            Some(SECOND)
        );
        assert_eq!(sender.handle_report(2 * SECOND, NTP_SECOND / 2), Some(2 * SECOND));
    }

    #[test]
    fn another_rtp_origin_is_tied_to_its_arrival() {
        let mut clock = StreamClock::new(90_000, SECOND, RtpTime::first(0));
        let jumped = RtpTime(RtpTime::first(0).0 + 1_000_000_000);
        assert_eq!(at(clock.capture(2 * SECOND, jumped)), 2 * SECOND);
        assert_eq!(
            at(clock.capture(2 * SECOND, RtpTime(jumped.0 + 90))),
            2 * SECOND + MS
        );
        // Seven hours later 32 bits of ticks have gone more than half way round, and it looks as if time went back.
        let hours = 7 * 3_600 * SECOND;
        let back = RtpTime(jumped.0 - 2_000_000_000);
        assert_eq!(at(clock.capture(hours, back)), hours);
        assert_eq!(at(clock.capture(hours, RtpTime(back.0 + 90))), hours + MS);
        // What comes late is still where it was.
        assert_eq!(at(clock.capture(hours + SECOND, back)), hours);
    }

    proptest! {
        #[test]
        fn captures_grow_with_rtp_times_whatever_reports_say(
            steps in prop::collection::vec((0i64..2_000, 0u32..400_000, any::<Option<(u64, u32)>>()), 1..300)
        ) {
            let mut sender = SenderClock::default();
            let mut time = RtpTime::first(0);
            let mut now = SECOND;
            let mut clock = StreamClock::new(90_000, now, time);
            let mut last = clock.capture(now, time);
            for (later, ticks, report) in steps {
                now += later * MS;
                time = RtpTime(time.0 + u64::from(ticks));
                if let Some((ntp, rtp)) = report && let Some(here) = sender.handle_report(now, ntp) {
                    clock.handle_report(now, &sender, here, rtp);
                }
                clock.resume(&sender, time);
                let capture = clock.capture(now, time);
                prop_assert!(capture >= last);
                prop_assert!(at(capture) <= now.max(at(last)) + AHEAD_MAX);
                last = capture;
            }
        }
    }
}
