//! How much the way to one endpoint takes: an estimate from the feedback of everything that is sent to it.
//!
//! [`Estimator`] gives outgoing packets their transport-wide numbers when they are sent, all of them or on a calm way few
//! ([`samples`]), so the loss of a publisher's own uplink never appears here. From what the receiver tells it takes the acknowledged rate ([`acked`]), what passes
//! while the line is busy ([`busy`]), whether a queue grows ([`delay`], [`queue`]), whether packets are lost because of it or just so
//! ([`loss`]), and from these ([`decide`]) the rate ([`rate`]); where more is wanted it asks for probes ([`probe`]). `docs/estimation.md` tells the whole of it.
//!
//! Like all of the engine it is told the time; a `now` before the last one counts as the last one. Whatever a receiver
//! claims, the target stays within [`Estimator::MIN`] and [`Estimator::MAX`], and memory is bounded.

mod acked;
mod busy;
mod decide;
mod delay;
mod idle;
mod learn;
mod loss;
mod probe;
mod queue;
mod rate;
mod repeated;
mod reported;
mod samples;
mod sent;
mod silence;
#[cfg(test)]
mod tests;

use std::time::{Duration, Instant};

use acked::Acked;
use delay::Delay;
use idle::{UNTRIED, UNTRIED_PAUSE};
use loss::Loss;
use probe::{Line, Probes};
use rate::Rate;
use repeated::Repeated;
use reported::Reported;
use samples::Samples;
use sent::SentLog;
use silence::Silence;

pub use delay::Trend;
pub use probe::Probe;
pub use sent::{PathLoss, ProbeId};

use crate::{engine::units::Bitrate, wire::rtcp::TransportFeedback};

/// Millionths of a second since some fixed point of a clock.
type Micros = i64;

/// Bits per second: one voice on the thinnest line; below it there is nothing left to give up.
const RATE_MIN: f64 = 30e3;
/// Bits per second: more than the best stage, screen and page of thumbnails together, and as much as a room gives to anybody.
const RATE_MAX: f64 = 20e6;
/// Bits per second: carries voices and one small picture, and does no harm to the thinnest lines of a WAN.
const RATE_START: f64 = 300e3;
/// What is sent and what is acknowledged in ordinary times is taken over this long.
const ACKED_SPAN: Micros = 500_000;
/// From this wait on the rate does not grow.
const WAIT_GROW_MAX: Micros = 40_000;
/// The receiver's wait until its next feedback.
const FEEDBACK_WAIT: Micros = 100_000;
/// Round trip before one is known, and its bounds.
const ROUND_TRIP: Micros = 100_000;
const ROUND_TRIP_MAX: Micros = 5_000_000;
/// From here on a path is long: geostationary satellites have 500 ms and more, the rest of a WAN less than 200.
const ROUND_TRIP_LONG: Micros = 300_000;
/// Packets are out and nothing is told for so long and three round trips: nobody hears, or nobody can answer.
const SILENCE: Micros = 700_000;
/// To that share the rate falls with each step of it.
const SILENCE_SHARE: f64 = 0.7;
/// What is sent, below this share of the target: the application, not the line, is the limit.
const LIMITED_BELOW: f64 = 0.65;

/// What a packet is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sent {
    /// Sent for the first time, at its own pace.
    Media,
    /// Sent again.
    Repair,
    /// Padding, as part of a probe.
    Padding(ProbeId),
    /// Media or a repair sent at the pace of a probe, as part of it.
    Probing(ProbeId),
}

/// What the estimator knows, for inspection.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct EstimatorState {
    /// See [`Estimator::target`].
    pub target: Bitrate,
    /// What arrives, by the receiver's clock; none before it was measured.
    pub acked: Option<Bitrate>,
    /// Share of packets lost in the last second, 0 to 1.
    pub loss: f64,
    /// See [`Estimator::wait`].
    pub wait: Duration,
    /// What that wait does.
    pub trend: Trend,
    /// Its slope, on the scale of the detector's threshold, ms.
    pub slope: f64,
    /// See [`Estimator::is_congested`].
    pub is_congested: bool,
    /// Packets are lost, but not because of what is sent.
    pub is_random_loss: bool,
    /// Less is sent than the target allows: the target does not grow by itself.
    pub is_app_limited: bool,
    /// A probe is under way.
    pub is_probing: bool,
    /// The receiver tells what arrives. Otherwise its reports and REMB are the law.
    pub is_transport_wide: bool,
}

/// The estimate of one way.
#[derive(Debug)]
#[repr(C)] // what each packet asks lies together
pub struct Estimator {
    epoch: Instant,
    /// The latest time told.
    now: Instant,
    /// How long that is behind the epoch.
    at: Micros,
    round_trip: Micros,
    /// When feedback last told something new; none for receivers that never did.
    told: Option<Micros>,
    congested: bool,
    /// Somebody plans for the thinnest line, that all of it stays within.
    planned: bool,
    silence: Silence,
    samples: Samples,
    sent: SentLog,
    sent_rate: Acked,
    delay: Delay,
    loss: Loss,
    rate: Rate,
    acked: Acked,
    /// The wait at the last feedback.
    waited: Micros,
    /// Since when packets wait too long to grow.
    standing: Option<Micros>,
    /// Since when less is sent than may be.
    limited: Option<Micros>,
    repeated: Repeated,
    probes: Probes,
    reported: Reported,
    /// When an application-limited rate was lowered last.
    softened: Option<Micros>,
    /// The queue that does not answer to a lower rate.
    stubborn: Option<Stubborn>,
    /// While nothing but padding was sent: when it is tried next, and the pause behind that.
    untried: Option<(Micros, Micros)>,
}

/// A wait that stands although less is sent.
#[derive(Debug, Clone, Copy)]
struct Stubborn {
    since: Micros,
    wait: Micros,
}

impl Estimator {
    /// The least target.
    pub const MIN: Bitrate = Bitrate::bps(RATE_MIN as u64);
    /// The greatest target.
    pub const MAX: Bitrate = Bitrate::bps(RATE_MAX as u64);
    /// The target before anything is known.
    pub const START: Bitrate = Bitrate::bps(RATE_START as u64);

    /// Nothing known yet.
    pub fn new(now: Instant) -> Self {
        Self::starting_at(now, Self::START)
    }

    /// The same with another target than [`Estimator::START`] before anything is known.
    pub fn starting_at(now: Instant, start: Bitrate) -> Self {
        let start = (start.as_bps() as f64).clamp(RATE_MIN, RATE_MAX);
        Self {
            epoch: now,
            now,
            at: 0,
            sent: SentLog::new(),
            repeated: Repeated::default(),
            sent_rate: Acked::new(),
            acked: Acked::new(),
            delay: Delay::new(),
            loss: Loss::new(),
            rate: Rate::new(start),
            probes: Probes::new(),
            reported: Reported::new(start),
            round_trip: ROUND_TRIP,
            told: None,
            silence: Silence::default(),
            samples: Samples::default(),
            congested: false,
            waited: 0,
            standing: None,
            limited: None,
            planned: false,
            softened: None,
            stubborn: None,
            untried: Some((UNTRIED, UNTRIED_PAUSE)),
        }
    }

    /// A packet of so many bytes on the wire (IP and UDP headers and the SRTP tag included) goes out now: its
    /// transport-wide number.
    pub fn handle_sent(&mut self, now: Instant, bytes: u16, kind: Sent) -> u16 {
        let at = self.tick(now);
        self.sent_rate.add(at, bytes);
        let probe = match kind {
            Sent::Media | Sent::Repair => None,
            Sent::Padding(id) | Sent::Probing(id) => Some(id),
        };
        if let Some(id) = probe {
            self.probes.sent(at, id, bytes);
        }
        if self.told.is_some() {
            self.silence.sent(at);
        } else if probe.is_none() {
            self.untried = None;
            self.reported.sent(at);
        }
        self.sent.number(at, bytes, probe)
    }

    /// One feedback. At most `statuses` of the packets it speaks of are looked at; returns how many were. Numbers never
    /// given are counted as [`PathLoss::unknown`].
    pub fn handle_feedback(
        &mut self,
        now: Instant,
        feedback: &TransportFeedback<'_>,
        statuses: usize,
    ) -> usize {
        let at = self.tick(now);
        let mut news = Vec::with_capacity(statuses.min(feedback.status_count.into()));
        let read = self.sent.read(feedback, statuses, &mut news);
        if !news.is_empty() {
            self.hear(at);
            self.learn_untold(&news);
            if self.samples.are_few() {
                self.watch(&news);
            } else {
                for report in &news {
                    self.learn(report);
                }
                self.outlast_silence(at, &news);
                self.decide(at);
                self.grow_calm(at, &news);
            }
        }
        read
    }

    /// The round trip as reports tell it. It says how fast a change can be seen; above 5 s it is not believed.
    pub fn handle_round_trip(&mut self, now: Instant, round_trip: Duration) {
        let at = self.tick(now);
        if let Ok(round_trip) = Micros::try_from(round_trip.as_micros())
            && round_trip <= ROUND_TRIP_MAX
        {
            self.round_trip = round_trip;
            self.reported.handle_round_trip(at, round_trip);
            self.stay_calm();
        }
    }

    /// The receiver allows no more than that, for ten seconds; it says so again each second. Counts only for receivers without
    /// transport-wide feedback.
    pub fn handle_remb(&mut self, now: Instant, rate: Bitrate) {
        let at = self.tick(now);
        self.sent_rate.add(at, 0);
        let sent = self.sent_rate.rate(ACKED_SPAN).filter(|_| self.told.is_none());
        self.reported.handle_remb(at, rate.as_bps() as f64, sent);
    }

    /// RTCP came: also a report without a block, of whom nothing was sent lately, shows that somebody is there. True if the target rose by it.
    pub fn heard(&mut self) -> bool {
        self.reported.hear()
    }

    /// A report block told so many 256ths as lost. Counts only for receivers without transport-wide feedback.
    pub fn handle_report_loss(&mut self, now: Instant, fraction_lost: u8) {
        let at = self.tick(now);
        self.sent_rate.add(at, 0);
        let sent = self.sent_rate.rate(ACKED_SPAN);
        if f64::from(fraction_lost) >= loss::NOTABLE * 256.0 {
            self.number_all();
        }
        if self.told.is_none() {
            self.reported.handle_loss(at, fraction_lost, sent);
        }
    }

    /// What the receiver could use in all. Probes look for that, and for twice as much on a way without a limit.
    pub fn set_wanted(&mut self, now: Instant, wanted: Bitrate) {
        self.tick(now);
        self.probes.set_wanted(wanted.as_bps() as f64);
        self.stay_calm();
    }

    /// What it may come to want. The first probes look for that too, so that the way is known when it does.
    pub fn set_expected(&mut self, expected: Bitrate) {
        self.probes.set_expected(expected.as_bps() as f64);
    }

    /// Whether somebody plans for the thinnest line that everything in it together stays within what it takes.
    pub fn set_planned(&mut self, planned: bool) {
        self.planned = planned;
    }

    /// So many ways, this one included, share a line that nobody declared: together they grow as one would.
    pub fn set_sharers(&mut self, sharers: usize) {
        self.rate.set_sharers(sharers.max(1) as f64);
        self.stay_calm();
    }

    /// Its part of what those found out together. Nothing while it tells nothing of its own.
    pub fn level(&mut self, part: Bitrate) {
        if self.told.is_some() && self.is_heard() {
            self.rate.level(part.as_bps() as f64);
        }
    }

    /// What may be sent in all, within [`Estimator::MIN`] and [`Estimator::MAX`].
    pub fn target(&self) -> Bitrate {
        let rate = if self.told.is_some() {
            self.rate.target()
        } else {
            self.reported.target()
        };
        // Chromium tells its own guess even where nobody asked for it, and makes it from packets without a number alone.
        let cap = self.reported.cap(self.at).filter(|_| self.told.is_none());
        let rate = cap.map_or(rate, |cap| rate.min(cap));
        Bitrate::bps(rate.clamp(RATE_MIN, RATE_MAX) as u64)
    }

    /// A queue grows now or stands too long, or packets are lost in one. Not when nothing was told for a while: what was true
    /// then says nothing of now.
    pub fn is_congested(&self) -> bool {
        self.congested && self.told.is_some_and(|told| self.at - told < self.patience())
    }

    /// How long packets wait in the queue of the line. Not at all where nothing is under way, or nothing is told of it: what the last one waited says
    /// nothing of now.
    pub fn wait(&self) -> Duration {
        if self.is_old() {
            return Duration::ZERO;
        }
        Duration::from_micros(self.delay.queue.wait().unsigned_abs())
    }

    /// The same on a thin line, where it takes long to be sure: of the last few packets.
    pub fn wait_lately(&self) -> Duration {
        if self.is_old() {
            return Duration::ZERO;
        }
        Duration::from_micros(self.delay.queue.wait_lately().unsigned_abs())
    }

    /// Nothing is out of which nothing was told for too long.
    pub fn is_heard(&self) -> bool {
        !self.silence.lasts(self.at, self.patience())
    }

    /// The line was seen full not far above the target: the target is what it takes.
    pub fn knows_limit(&self) -> bool {
        self.rate.is_near()
    }

    /// Its round trip is that of a satellite; a queue on a short way is none.
    pub fn is_long(&self) -> bool {
        let least = self.reported.least_trip();
        least.is_some_and(|least| least >= ROUND_TRIP_LONG)
    }

    /// What feedback said of all packets so far.
    pub fn loss(&self) -> PathLoss {
        self.sent.loss()
    }

    /// All of it, for inspection.
    pub fn state(&self) -> EstimatorState {
        let verdict = self.loss.verdict();
        let sent = self.sent_rate.rate(ACKED_SPAN).unwrap_or(0.0);
        EstimatorState {
            target: self.target(),
            acked: self.acked.rate(ACKED_SPAN).map(|rate| Bitrate::bps(rate as u64)),
            loss: verdict.share,
            wait: self.wait(),
            trend: self.delay.trend(),
            slope: self.delay.slope(),
            is_congested: self.is_congested(),
            is_random_loss: verdict.random,
            is_app_limited: sent < self.rate.target() * LIMITED_BELOW,
            is_probing: self.probes.running(),
            is_transport_wide: self.told.is_some(),
        }
    }

    /// The next probe to send, if more is wanted than the target and it is time for one.
    pub fn poll_probe(&mut self, now: Instant) -> Option<Probe> {
        let at = self.tick(now);
        if !self.may_probe() {
            return None;
        }
        let probe = self.probes.poll(at, self.rate.target(), self.line())?;
        self.try_again(at);
        Some(probe)
    }

    /// Every deadline that is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        let at = self.tick(now);
        self.sent_rate.add(at, 0); // time passes for it, too
        self.judge_probes(at);
        self.move_on(at);
        self.doubt_samples(at);
        self.reported.doubt();
        // After a long sleep of the caller one step for each that passed, as far as it goes.
        let patience = self.patience();
        while self.silence.step(at, patience, self.rate.target() <= RATE_MIN) {
            self.rate.doubt(SILENCE_SHARE);
        }
    }

    /// When [`Estimator::handle_timeout`] or [`Estimator::poll_probe`] has something to do.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.deadline(true)
    }

    /// The same where no probe can be sent: [`Estimator::poll_probe`] will not be called.
    pub fn poll_timeout_without_probes(&self) -> Option<Instant> {
        self.deadline(false)
    }

    /// Nothing is told for so long that [`Estimator::handle_timeout`] has something to do now. Beside a probe nothing else that sending does brings a time nearer.
    pub(crate) fn is_unheard(&self) -> bool {
        let floor = self.rate.target() <= RATE_MIN;
        self.silence.is_due(self.at, self.patience(), floor) || self.reported.is_unheard()
    }

    fn deadline(&self, probes: bool) -> Option<Instant> {
        let untried = self.untried_from();
        let due = (probes && (untried.is_some() || self.may_probe()))
            .then(|| self.probes.due(self.rate.target(), self.line()))
            .flatten();
        let probe = due.map(|at| untried.map_or(at, |untried| at.max(untried)));
        let judged = self.probes.deadline(self.response());
        let moves = self.moves_on().filter(|_| probes);
        [probe, judged, moves, self.is_unheard().then_some(self.at)]
            .into_iter()
            .flatten()
            .min()
            .map(|at| self.epoch + Duration::from_micros(at.max(0).unsigned_abs()))
    }

    fn tick(&mut self, now: Instant) -> Micros {
        if now <= self.now {
            return self.at; // as for all packets of a turn but its first
        }
        self.now = now;
        let at = now.saturating_duration_since(self.epoch).as_micros();
        self.at = self.at.max(
            Micros::try_from(at)
                .unwrap_or(Micros::MAX / 4)
                .min(Micros::MAX / 4),
        );
        self.at
    }

    /// After so long a change of the rate is seen in feedback.
    fn response(&self) -> Micros {
        self.round_trip + FEEDBACK_WAIT
    }

    /// Nothing told for so long: nobody hears, or nobody can answer.
    fn patience(&self) -> Micros {
        if self.samples.are_few() {
            return self.samples_patience();
        }
        SILENCE + 3 * self.round_trip
    }

    fn line(&self) -> Line {
        self.rate.line(self.is_long() || self.planned)
    }

    /// Not before a rate is known, with what was shown used up, and never into a queue: on a line that is full already even
    /// the first probes only make it longer.
    fn may_probe(&self) -> bool {
        // Who wants one picture that is larger than a way is taken to carry at first, and no voice, is sent nothing to tell of.
        let untried = self.untried_from().is_some_and(|from| self.at >= from);
        let is_old = self.is_old();
        (untried || is_old || self.acked.is_known(ACKED_SPAN))
            && !self.rate.is_striding()
            && (is_old
                || !self.congested && !self.silence.is_told() && self.delay.queue.wait() <= WAIT_GROW_MAX)
    }
}
