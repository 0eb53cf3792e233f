//! The course of a run: points join, meet, fall silent and leave, and the server is looked at meanwhile.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
    time::Instant,
};

use crate::{
    bot::{Bot, rejoin},
    lean::Lean,
    media_path::{Clock, OurPoints},
    report::{PointReport, Report},
    scenario::Scenario,
    server::Look,
    shared::{Joins, Phase, Shared, until},
    whip,
};

/// Longer than a repair may take and a slot message may be late.
const DRAIN: Duration = Duration::from_millis(1_500);
/// A point that has not joined after this long will not.
const JOIN_TIMEOUT: Duration = Duration::from_secs(20);
/// A point that does not say goodbye is left behind.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(5);
/// Pause between the joins of those who are there before the others.
const STANDING_PAUSE: Duration = Duration::from_millis(20);
/// Time that those have to settle before the others come.
const STANDING_WARM: Duration = Duration::from_secs(3);
/// Share of what should come that is enough.
const ENOUGH: f64 = 0.97;
/// Seconds in a row that enough came: what grew a moment ago may wait in the node still, or be taken away once more.
const STEADY: u32 = 4;
/// Samples of the server's memory in a meeting, and their least distance.
const SAMPLES: u32 = 200;
const SAMPLE_PAUSE_MIN: Duration = Duration::from_secs(1);

/// Plays the scenario. Ends early, with a whole report, when `stop` turns true.
pub(crate) async fn run(scenario: Scenario, stop: watch::Receiver<bool>) -> Report {
    let (clock, ours) = (Clock::new(), OurPoints::default());
    let lean = scenario.lean.then(|| Lean::start(clock, ours.clone()));
    match lean.transpose() {
        Ok(lean) => {
            let joins = Joins::default();
            let shared = Shared {
                clock,
                ours,
                lean,
                joins,
            };
            Course::new(scenario, shared, stop).run().await
        }
        Err(error) => Report {
            points: scenario.points,
            reports: vec![failed(format!("could not begin: {error:#}"))],
            ..Report::default()
        },
    }
}

/// A run on its way.
struct Course {
    scenario: Arc<Scenario>,
    shared: Shared,
    phase: watch::Sender<Phase>,
    stop: watch::Receiver<bool>,
    points: Vec<JoinHandle<PointReport>>,
}

impl Course {
    fn new(scenario: Scenario, shared: Shared, stop: watch::Receiver<bool>) -> Self {
        Self {
            scenario: Arc::new(scenario),
            shared,
            phase: watch::channel(Phase::Joining).0,
            stop,
            points: Vec::new(),
        }
    }

    async fn run(mut self) -> Report {
        let scenario = self.scenario.clone();
        let before = scenario.watched.look().await;
        self.join(scenario.standing, STANDING_PAUSE).await;
        if scenario.standing > 0 {
            // What the others' coming does to those who are there is measured too.
            self.raise(Phase::Meeting);
            self.sleep(STANDING_WARM).await;
            self.raise(Phase::Measured);
        }
        let (joining, heard_joining) = (scenario.watched.look().await, self.heard());
        let joins_before = self.shared.joins.so_far();
        let others = scenario.points.saturating_sub(scenario.standing);
        self.join(others, scenario.join_pause).await;
        let joins = joins_between(joins_before, self.shared.joins.so_far());
        let (joined, heard_joined) = (scenario.watched.look_last().await, self.heard());
        self.sleep(scenario.hold).await;
        self.raise(Phase::Meeting);
        self.warm().await;
        self.raise(Phase::Measured);
        let (first, began, heard_first) = (scenario.watched.look().await, Instant::now(), self.heard());
        let began_us = self.shared.clock.now().us;
        let rss_kb = self.meet().await;
        let ended_us = self.shared.clock.now().us;
        let (seconds, heard) = (began.elapsed().as_secs_f64(), self.heard());
        let last = scenario.watched.look_last().await;
        self.raise(Phase::Draining);
        tokio::time::sleep(DRAIN).await;
        let lean = self.shared.lean.as_ref();
        // The kernel forgets what a socket dropped when it is closed.
        let tester_drops = lean.and_then(|lean| lean.dropped());
        let node_drops = lean.and_then(|lean| lean.dropped_by_nodes());
        let latency_course = match lean {
            Some(lean) => Some(lean.latency([began_us, ended_us]).await),
            None => None,
        };
        self.raise(Phase::Leaving);
        let reports = gather(std::mem::take(&mut self.points)).await;
        let spent = joined.since(&joining).cpu_seconds;
        let join_cpu = spent.into_iter().reduce(|all, each| all + each);
        Report {
            points: scenario.points,
            standing: scenario.standing,
            seconds,
            reports,
            server: last.since(&first),
            heard: came(heard_first, heard),
            join_heard: came(heard_joining, heard_joined)
                .zip(joins)
                .map(|(packets, joins)| packets as f64 / joins),
            join_cpu: join_cpu.zip(joins).map(|(spent, joins)| spent / joins),
            rss_kb_grown: grown(&before, &last),
            rss_kb,
            latency_course,
            tester_drops,
            node_drops,
        }
    }

    /// The run is as far as this; it never goes back.
    fn raise(&self, phase: Phase) {
        self.phase.send_if_modified(|known| {
            let later = phase > *known;
            *known = (*known).max(phase);
            later
        });
    }

    /// Lets so many more points join, and waits until each has or has failed to.
    async fn join(&mut self, count: u32, pause: Duration) {
        let (settled_sender, mut settled) = mpsc::channel(count.max(1) as usize);
        let (began, first) = (Instant::now(), self.points.len() as u32);
        for index in first..first + count {
            let point = live(
                self.scenario.clone(),
                index,
                self.shared.clone(),
                self.phase.subscribe(),
                settled_sender.clone(),
            );
            self.points.push(tokio::spawn(point));
            // Each by its own time and not by a wait of its own: waits end a little late, and that would add up.
            if self.sleep_until(began + pause * (index + 1 - first)).await {
                break;
            }
        }
        drop(settled_sender);
        let everybody = async { while settled.recv().await.is_some() {} };
        tokio::select! {
            _ = tokio::time::timeout(JOIN_TIMEOUT, everybody) => {}
            _ = self.stop.wait_for(|&stop| stop) => {}
        }
    }

    /// Waits until what should come does, for some seconds, or the time for it is over.
    async fn warm(&mut self) {
        let Some(expected) = self.scenario.expected else {
            self.sleep(self.scenario.warm).await;
            return;
        };
        let end = Instant::now() + self.scenario.warm;
        let (mut before, mut steady) = (self.heard(), 0);
        while steady < STEADY && Instant::now() < end && !self.sleep(Duration::from_secs(1)).await {
            let now = self.heard();
            let is_enough = came(before, now).unwrap_or(0) as f64 >= expected * ENOUGH;
            steady = if is_enough { steady + 1 } else { 0 };
            before = now;
        }
    }

    /// Waits for the end of the meeting. The server's memory in its course.
    async fn meet(&mut self) -> Vec<u64> {
        let scenario = self.scenario.clone();
        let (end, pause) = (
            Instant::now() + scenario.meeting,
            (scenario.meeting / SAMPLES).max(SAMPLE_PAUSE_MIN),
        );
        let mut samples = Some(Vec::new());
        loop {
            let rest = end.saturating_duration_since(Instant::now());
            if rest.is_zero() || self.sleep(rest.min(pause)).await {
                return samples.unwrap_or_default();
            }
            samples = sampled(samples, scenario.watched.rss_kb());
        }
    }

    /// RTP packets that lean points heard so far.
    fn heard(&self) -> Option<u64> {
        self.shared.lean.as_ref().map(|lean| lean.heard())
    }

    /// Waits; whether it was told to stop.
    async fn sleep(&mut self, time: Duration) -> bool {
        self.sleep_until(Instant::now() + time).await
    }

    /// Waits until then, and not at all if that is over; whether it was told to stop.
    async fn sleep_until(&mut self, end: Instant) -> bool {
        if end <= Instant::now() {
            return *self.stop.borrow();
        }
        tokio::select! {
            () = tokio::time::sleep_until(end) => false,
            _ = self.stop.wait_for(|&stop| stop) => true,
        }
    }
}

/// Samples with one more; nothing for good once a process was not there to be seen: the rest would be those of others.
fn sampled(samples: Option<Vec<u64>>, sample: Option<u64>) -> Option<Vec<u64>> {
    let (mut samples, sample) = samples.zip(sample)?;
    samples.push(sample);
    Some(samples)
}

/// Packets between two looks.
fn came(first: Option<u64>, last: Option<u64>) -> Option<u64> {
    Some(last? - first?)
}

/// Joins between two counts; nothing if nobody joined.
fn joins_between(first: u64, last: u64) -> Option<f64> {
    Some((last - first) as f64).filter(|&joins| joins > 0.0)
}

fn grown(before: &Look, last: &Look) -> Option<u64> {
    Some(last.rss_kb()?.saturating_sub(before.rss_kb()?))
}

/// The seat of a point: whoever leaves before the end is followed by another, and who was refused or lost comes back as a page does.
async fn live(
    scenario: Arc<Scenario>,
    index: u32,
    shared: Shared,
    mut phases: watch::Receiver<Phase>,
    settled: mpsc::Sender<()>,
) -> PointReport {
    let mut settled = Some(settled);
    let mut all = PointReport::default();
    let (mut attempt, mut opened_us) = (0, shared.clock.now().us);
    for life in 0.. {
        let (seat, phase) = ((index, life), phases.clone());
        let mut report = match &scenario.entry {
            Some(entry) => whip::play(&scenario, entry, seat, opened_us, &shared, phase, &mut settled).await,
            None => {
                let bot = Bot::new(scenario.clone(), seat, opened_us, shared.clone());
                bot.run(phase, &mut settled).await
            }
        };
        let has_joined = report.join_us.is_some();
        if has_joined {
            (attempt, opened_us) = (0, shared.clock.now().us);
        }
        let Some(for_now) = report.come_back.take() else {
            let is_last =
                scenario.stay.is_none() || report.failure.is_some() || *phases.borrow() >= Phase::Draining;
            all.add(report);
            if is_last {
                break;
            }
            continue;
        };
        all.told_later |= for_now.is_told;
        let pause = rejoin::delay(attempt, rand::random(), for_now.stay_away);
        let is_over = tokio::select! {
            () = tokio::time::sleep(pause) => false,
            () = until(&mut phases, Phase::Draining) => true,
        };
        if !is_over && !has_joined {
            // Whoever was refused and comes in later has joined, only late.
            report.failure = None;
        }
        all.add(report);
        if is_over {
            break;
        }
        (all.rejoins, attempt) = (all.rejoins + 1, attempt + 1);
    }
    all
}

async fn gather(points: Vec<JoinHandle<PointReport>>) -> Vec<PointReport> {
    let mut reports = Vec::new();
    for point in points {
        let report = match tokio::time::timeout(LEAVE_TIMEOUT, point).await {
            Ok(Ok(report)) => report,
            Ok(Err(error)) => failed(format!("a fault of the load tester: {error}")),
            Err(_) => failed("did not end in time".to_owned()),
        };
        reports.push(report);
    }
    reports
}

fn failed(failure: String) -> PointReport {
    PointReport {
        failure: Some(failure),
        ..PointReport::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_was_not_there_once_has_no_samples() {
        let course = |looks: &[Option<u64>]| looks.iter().copied().fold(Some(Vec::new()), sampled);
        assert_eq!(course(&[Some(5), Some(6)]), Some(vec![5, 6]));
        assert_eq!(course(&[Some(5), None, Some(6)]), None);
    }

    #[test]
    fn what_joins_cost_is_shared_by_those_of_that_time() {
        let joins = Joins::default();
        joins.count();
        let first = joins.so_far();
        assert_eq!(joins_between(first, joins.so_far()), None);
        let in_another_task = joins.clone();
        in_another_task.count();
        in_another_task.count();
        assert_eq!(joins_between(first, joins.so_far()), Some(2.0));
    }
}
