//! The estimate for receivers without transport-wide feedback: report loss is the law, REMB a cap, and who tells nothing gets the least.

use super::{
    Micros, RATE_MAX, RATE_MIN, WAIT_GROW_MAX,
    decide::{WAIT_MAX, WAIT_PROBED},
};

/// Less loss than this and the rate grows, more than that and it shrinks (draft-ietf-rmcat-gcc-02 §6), in 256ths.
const CALM: u8 = 5;
const HEAVY: u8 = 26;
/// Growth with each report (§6).
const GROWTH: f64 = 1.05;
/// Never above this multiple of what is sent, and not above that much more: beyond it nothing was ever tried. The latter, so that who gets
/// one voice is tried with a second one and a small picture.
const TRIED: f64 = 1.25;
const TRIED_MORE: f64 = 150e3;
/// What was sent while reports told of nothing is tried again, whatever is sent now, so long after the last step down: a picture that was taken away
/// for it, and obeys no orders, would never be. If that was wrong, after twice as long the next time.
const AGAIN: Micros = 10_000_000;
const AGAIN_MAX: Micros = 320_000_000;
/// It was right if nothing was lowered for so long behind that.
const AGAIN_HELD: Micros = 120_000_000;
/// Reports count at most so often: a receiver of many streams reports each of them.
const REPORT_EVERY: Micros = 900_000;
/// A round trip that is longer than the least by [`WAIT_MAX`] is a queue of ours, and it takes so much of the rate, and at first a whole for each
/// second above [`WAIT_PROBED`]: without it the queue is kept full, at the few percent of loss that the law of loss leaves as they are.
const QUEUED: f64 = 0.85;
const QUEUED_MOST: f64 = 0.4;
/// What it came to is seen after so long: a report speaks of a second ago.
const ANSWER: Micros = 1_500_000;
/// If it did not get shorter after so many steps, the path is longer than it was.
const STEPS_IN_VAIN: u8 = 3;
/// A round trip that no later one was told after says so much time that a queue stands: of what is sent no more, none is told.
const TRIP_KEPT: Micros = 15_000_000;
/// The least round trip is that of the last one to two of these.
const GROUND_KEPT: Micros = 30_000_000;
/// A REMB is worth so much time; senders of it repeat it every second.
const REMB_KEPT: Micros = 10_000_000;
/// A receiver estimates no more than 1.5 times what arrives. One that allows more than this multiple of what is sent speaks of what we send, not of
/// the line, unless it spoke of the line within [`OF_LINE_KEPT`].
const OF_LINE: f64 = 1.25;
const OF_LINE_KEPT: Micros = 30_000_000;
/// Packets went out for so long and no report came: nobody hears, or somebody who never asked for them gets them. Receivers report at least each 7.5 s
/// (half more than the 5 s of RFC 3550 §6.2, in libwebrtc for sound), and one report may be lost.
const UNHEARD: Micros = 15_000_000;
/// A longer time between two packets is a pause, of which there was nothing to tell.
const UNHEARD_PAUSE: Micros = 1_000_000;

/// What reports and REMB allow.
#[derive(Debug)]
pub(super) struct Reported {
    target: f64,
    changed: Option<Micros>,
    /// Greatest share lost in the reports since then.
    worst: u8,
    /// The most that was sent while they told of nothing.
    carried: f64,
    /// When it was last lowered, and how long it waits until `carried` is tried again.
    lowered: Option<Micros>,
    again: Micros,
    trips: Trips,
    /// The wait when the rate was lowered for it first, and how often it was since.
    queued: Option<(Micros, u8)>,
    /// When it was lowered for it last.
    shortened: Option<Micros>,
    remb: Option<(f64, Micros)>,
    /// When a REMB last spoke of the line.
    of_line: Option<Micros>,
    /// When a packet last went out, and for how long some did since anything was told.
    sent: Micros,
    unheard: Micros,
    /// That was too long.
    is_silent: bool,
}

/// Round trips: the last one, and the least of one to two [`GROUND_KEPT`].
#[derive(Debug, Default)]
struct Trips {
    last: Micros,
    told: Micros,
    /// No step was taken for the last one: it counts for one.
    fresh: bool,
    least: Option<Micros>,
    former: Option<Micros>,
    since: Micros,
}

impl Trips {
    fn add(&mut self, at: Micros, trip: Micros) {
        if at - self.since > GROUND_KEPT {
            (self.former, self.least, self.since) = (self.least, None, at);
        }
        self.least = Some(self.least.map_or(trip, |least| least.min(trip)));
        (self.last, self.told, self.fresh) = (trip, at, true);
    }

    fn wait(&self, at: Micros) -> Micros {
        if at - self.told > TRIP_KEPT {
            return 0;
        }
        self.last - self.ground().unwrap_or(self.last)
    }

    fn ground(&self) -> Option<Micros> {
        self.former.into_iter().chain(self.least).min()
    }

    fn rebase(&mut self) {
        (self.former, self.least) = (None, Some(self.last));
    }
}

impl Reported {
    pub(super) fn new(start: f64) -> Self {
        Self {
            target: start,
            changed: None,
            worst: 0,
            carried: 0.0,
            lowered: None,
            again: AGAIN,
            trips: Trips::default(),
            queued: None,
            shortened: None,
            remb: None,
            of_line: None,
            sent: 0,
            unheard: 0,
            is_silent: false,
        }
    }

    /// What it came to stays for the time after a silence.
    pub(super) fn target(&self) -> f64 {
        if self.is_silent { RATE_MIN } else { self.target }
    }

    /// A packet goes out.
    pub(super) fn sent(&mut self, at: Micros) {
        self.unheard += (at - self.sent).min(UNHEARD_PAUSE);
        self.sent = at;
    }

    /// Something was told. True if the receiver was taken for gone.
    pub(super) fn hear(&mut self) -> bool {
        self.unheard = 0;
        std::mem::take(&mut self.is_silent)
    }

    /// [`Self::doubt`] has something to do.
    pub(super) fn is_unheard(&self) -> bool {
        !self.is_silent && self.unheard >= UNHEARD
    }

    /// Nothing was told for too long.
    pub(super) fn doubt(&mut self) {
        self.is_silent |= self.is_unheard();
    }

    /// A report of one stream: so many 256ths were lost since the last one, while so much was sent a second.
    pub(super) fn handle_loss(&mut self, at: Micros, lost: u8, sent: Option<f64>) {
        self.hear();
        self.worst = self.worst.max(lost);
        if self.changed.is_some_and(|changed| at - changed < REPORT_EVERY) {
            return;
        }
        self.changed = Some(at);
        let worst = std::mem::take(&mut self.worst);
        let wait = self.trips.wait(at);
        if worst >= HEAVY {
            self.fell(at);
            self.target *= 1.0 - f64::from(worst) / 512.0;
        } else if wait > WAIT_MAX {
            self.shorten_queue(at, wait, sent.unwrap_or(0.0));
        } else if worst < CALM && wait <= WAIT_GROW_MAX {
            self.queued = None;
            let sent = sent.unwrap_or(0.0);
            self.carried = self.carried.max(sent);
            let is_capped = self.cap(at).is_some_and(|cap| cap < self.target);
            let may_again = !is_capped && self.lowered.is_some_and(|lowered| at - lowered >= self.again);
            let sent = if may_again { self.carried } else { sent };
            let tried = (sent * TRIED).max(sent + TRIED_MORE);
            self.target = self.target.max((self.target * GROWTH).min(tried));
        }
        self.target = self.target.clamp(RATE_MIN, RATE_MAX);
    }

    /// A step down: if what was carried before was tried again not long ago, that was wrong.
    fn fell(&mut self, at: Micros) {
        let passed = self.lowered.map_or(Micros::MAX, |lowered| at - lowered);
        if passed >= self.again + AGAIN_HELD {
            self.again = AGAIN;
        } else if passed >= self.again {
            self.again = (self.again * 2).min(AGAIN_MAX);
        }
        self.lowered = Some(at);
    }

    /// From what is sent, if that is less than the target: it is what the line does not take. A moment's rate is not believed below a half.
    fn shorten_queue(&mut self, at: Micros, wait: Micros, sent: f64) {
        if !self.trips.fresh || self.shortened.is_some_and(|last| at - last < ANSWER) {
            return;
        }
        self.trips.fresh = false;
        let steps = match self.queued {
            Some((first, steps)) if wait * 5 > first * 4 => {
                self.queued = Some((first, steps + 1));
                steps + 1
            }
            _ => {
                self.queued = Some((wait, 1));
                1
            }
        };
        if steps > STEPS_IN_VAIN {
            self.queued = None;
            return self.trips.rebase();
        }
        let more = if steps == 1 {
            (wait - WAIT_PROBED) as f64 / 1e6
        } else {
            0.0
        };
        self.target = self.target.min(sent.max(self.target / 2.0)) * (QUEUED - more).max(QUEUED_MOST);
        self.shortened = Some(at);
        self.fell(at);
    }

    /// The least round trip lately, without what waits on the way.
    pub(super) fn least_trip(&self) -> Option<Micros> {
        self.trips.ground()
    }

    /// A round trip that a report told of.
    pub(super) fn handle_round_trip(&mut self, at: Micros, trip: Micros) {
        self.trips.add(at, trip);
    }

    /// The receiver allows `rate` while so much is sent a second; none where other things tell of the line.
    pub(super) fn handle_remb(&mut self, at: Micros, rate: f64, sent: Option<f64>) {
        self.hear();
        let mut cap = rate;
        if let Some(sent) = sent.filter(|sent| *sent > 0.0) {
            if rate <= sent * OF_LINE {
                self.of_line = Some(at);
            }
            if self.of_line.is_none_or(|said| at - said > OF_LINE_KEPT) {
                cap = cap.max(sent + TRIED_MORE);
            }
        }
        self.remb = Some((cap.clamp(RATE_MIN, RATE_MAX), at));
    }

    /// What the receiver allows, as long as it says so.
    pub(super) fn cap(&self, at: Micros) -> Option<f64> {
        let (cap, said) = self.remb?;
        (at - said < REMB_KEPT).then_some(cap)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Micros = 1_000_000;

    /// Reports of that share lost, one each second, while so much is sent; the time after them.
    fn reports(reported: &mut Reported, at: Micros, count: i64, lost: u8, sent: f64) -> Micros {
        (1..=count).for_each(|step| reported.handle_loss(at + step * SECOND, lost, Some(sent)));
        at + count * SECOND
    }

    /// One picture of 2.4 Mb/s that obeys no orders, to a player without transport-wide feedback; 12 % of it get lost for ten seconds.
    #[test]
    fn what_was_sent_without_loss_is_tried_again_after_a_while_without() {
        let mut reported = Reported::new(3e6);
        let mut at = reports(&mut reported, 0, 30, 0, 2.4e6);
        at = reports(&mut reported, at, 10, 31, 2.4e6);
        assert!(reported.target() < 2e6, "{}", reported.target());
        // It is gone, and a voice is all that is sent.
        at = reports(&mut reported, at, 5, 0, 56e3);
        assert!(reported.target() < 2e6, "not at once: {}", reported.target());
        reports(&mut reported, at, 55, 0, 56e3);
        assert!(
            (2.99e6..=3.01e6).contains(&reported.target()),
            "{}",
            reported.target()
        );
    }

    /// A receiver that allows next to nothing is why next to nothing is sent.
    #[test]
    fn what_a_receiver_does_not_allow_is_not_tried_again() {
        let mut reported = Reported::new(3e6);
        let mut at = reports(&mut reported, 0, 30, 0, 2.4e6);
        at = reports(&mut reported, at, 10, 31, 2.4e6);
        for _ in 0..60 {
            reported.of_line = Some(at);
            reported.handle_remb(at, 50e3, Some(56e3));
            at = reports(&mut reported, at, 1, 0, 56e3);
        }
        assert!(reported.target() < 2e6, "{}", reported.target());
    }

    /// A line that has become too thin for it: each time it is tried the next time comes later.
    #[test]
    fn what_is_lost_again_each_time_is_tried_ever_less_often() {
        let mut reported = Reported::new(3e6);
        let mut at = reports(&mut reported, 0, 30, 0, 2.4e6);
        let (mut heavy, mut tries) = (10, 0);
        let end = at + 1_800 * SECOND;
        while at < end {
            if heavy > 0 {
                at = reports(&mut reported, at, 1, 40, 2.4e6);
                heavy -= 1;
            } else if reported.target() > 2.83e6 {
                (heavy, tries) = (10, tries + 1);
            } else {
                at = reports(&mut reported, at, 1, 0, 56e3);
            }
        }
        assert!((5..=14).contains(&tries), "{tries} in half an hour");
    }

    #[test]
    fn a_round_trip_takes_one_step_and_is_no_queue_for_ever() {
        let mut reported = Reported::new(3e6);
        let mut at = 0;
        for _ in 0..30 {
            at = reports(&mut reported, at, 1, 0, 2.4e6);
            reported.handle_round_trip(at, 60_000);
        }
        let before = reported.target();
        reported.handle_round_trip(at, 300_000);
        at = reports(&mut reported, at, 6, 0, 0.0);
        let after = reported.target();
        assert!(
            after < before && after >= before * 0.5 * (QUEUED - 0.2),
            "{before} then {after}"
        );
        reports(&mut reported, at, 60, 0, 56e3);
        assert!(reported.target() >= 2.9e6, "{}", reported.target());
    }
}
