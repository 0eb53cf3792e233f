//! One simulated point: joins, sends, looks at others, and leaves with a report.

mod join;
pub(crate) mod rejoin;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use anyhow::{Context as _, anyhow};
use tokio::sync::{mpsc, watch};
use tracing::{debug, warn};

use crate::{
    media_path::{Clock, MediaReport, OurPoints},
    peer::Path,
    protocol::{Change, ClientMessage, Kind, MediaState, Point, ServerMessage, SourceOrder, View},
    report::PointReport,
    scenario::Scenario,
    shared::{Phase, STEP_TIMEOUT, Shared, until},
    signal::{Incoming, Signal},
    stack::Stack,
};

pub(crate) use join::host;
use rejoin::ForNow;

/// A client may ask whether the server is there; so do we.
const PING_INTERVAL: Duration = Duration::from_secs(5);
/// How often a page says how it fares.
const REPORT_INTERVAL: Duration = Duration::from_secs(1);
/// What it says: its machine keeps up, and of the rest it tells nothing.
const UNTROUBLED: ClientMessage = ClientMessage::Stats {
    cpu_limited: false,
    encoder_limited: false,
    frames_decoded: 0,
    freezes: 0,
    freeze_ms: 0,
    concealed_ppm: 0,
    audio_delay_ms: 0,
};

/// Longer than any meeting.
const FOREVER: Duration = Duration::from_secs(30 * 86_400);

/// A point before it joins.
pub(crate) struct Bot {
    scenario: Arc<Scenario>,
    index: u32,
    /// How many had this seat before.
    life: u32,
    clock: Clock,
    ours: OurPoints,
    /// Its media, once it has an offer to make.
    stack: Option<Stack>,
    shared: Shared,
    opened_us: u64,
    /// Height of what each slot gets, by the last word of the server.
    heights: BTreeMap<String, Option<u16>>,
    roster: BTreeMap<u32, Point>,
    number: u32,
    sequence: u64,
    turn: u64,
    /// The node has lost its media.
    is_lost: bool,
    report: PointReport,
}

impl Bot {
    /// The point in the `index`th seat of a run, after `life` others, whose join began then.
    pub(crate) fn new(
        scenario: Arc<Scenario>,
        (index, life): (u32, u32),
        opened_us: u64,
        shared: Shared,
    ) -> Self {
        Self {
            scenario,
            index,
            life,
            clock: shared.clock,
            ours: shared.ours.clone(),
            stack: None,
            shared,
            opened_us,
            heights: BTreeMap::new(),
            roster: BTreeMap::new(),
            number: 0,
            sequence: 0,
            turn: 0,
            is_lost: false,
            report: PointReport::default(),
        }
    }

    /// Plays its part to the end. Lets `settled` go when it has joined.
    pub(crate) async fn run(
        mut self,
        phase: watch::Receiver<Phase>,
        settled: &mut Option<mpsc::Sender<()>>,
    ) -> PointReport {
        let mut ending = phase.clone();
        let joined = tokio::select! {
            joined = tokio::time::timeout(STEP_TIMEOUT, self.join()) => {
                joined.context("joining took too long").and_then(|joined| joined)
            }
            () = until(&mut ending, Phase::Leaving) => Err(anyhow!("the meeting was over")),
        };
        match joined {
            Ok(signal) => {
                let us = self.clock.now().us - self.opened_us;
                self.report.join_us = Some(us);
                self.report.joins.record(us);
                self.shared.joins.count();
                *settled = None;
                self.meet(signal, phase).await
            }
            Err(error) => {
                warn!(point = self.index + 1, "did not join: {error:#}");
                self.fail(&format!("did not join: {error:#}"));
                self.come_back(error.downcast_ref().copied());
                self.close().await;
            }
        }
        self.report
    }

    /// A lean point comes back; a full one has told what it was there to tell.
    fn come_back(&mut self, refused: Option<ForNow>) {
        self.report.come_back = refused.filter(|_| self.shared.lean.is_some());
    }

    async fn close(&mut self) {
        if let Some(stack) = self.stack.take() {
            stack.close().await;
        }
    }

    /// The meeting, until everybody leaves.
    async fn meet(&mut self, mut signal: Signal, mut phase: watch::Receiver<Phase>) {
        let Some(mut path) = self.stack.as_ref().map(Stack::path) else {
            return;
        };
        let mut turns = tokio::time::interval(self.scenario.turn);
        let mut pings = tokio::time::interval(PING_INTERVAL);
        let mut reports = tokio::time::interval(REPORT_INTERVAL);
        let stay = self
            .scenario
            .stay
            .map(|stay| stay.mul_f64(rand::random_range(0.5..1.5)));
        let mut stay = std::pin::pin!(tokio::time::sleep(stay.unwrap_or(FOREVER)));
        let (mut steps, mut next) = (phase.clone(), Some(Phase::Meeting));
        let (mut viewed, mut turned): (Vec<View>, u64) = (Vec::new(), 0);
        loop {
            if self.is_lost && self.shared.lean.is_some() {
                self.come_back(Some(ForNow::default()));
                return self.part(signal).await;
            }
            let others = self.others();
            let shown = if turned == self.turn { &viewed[..] } else { &[] };
            let views = self.scenario.views_after(shown, self.index, self.turn, &others);
            turned = self.turn;
            if views != viewed {
                self.want(&viewed, &views);
                viewed.clone_from(&views);
                if signal.send(&ClientMessage::View { slots: views }).await.is_err() {
                    self.fail("the socket is gone");
                    break;
                }
            }
            tokio::select! {
                incoming = signal.next() => {
                    if !self.handle(incoming) {
                        break;
                    }
                }
                _ = turns.tick() => {
                    self.turn += 1;
                    if let Some(stack) = &self.stack {
                        stack.set_speaking(self.scenario.speaks(self.index, self.turn));
                    }
                }
                _ = pings.tick() => {
                    self.note_heights();
                    let _ = signal.send(&ClientMessage::Ping { id: self.turn as u32 }).await;
                }
                _ = reports.tick() => {
                    let _ = signal.send(&UNTROUBLED).await;
                }
                () = &mut stay => return self.part(signal).await,
                () = until(&mut steps, next.unwrap_or(Phase::Draining)), if next.is_some() => {
                    next = self.step(next);
                }
                () = until(&mut path, Path::Lost), if !self.is_lost => self.lose("the media path was lost"),
                () = until(&mut phase, Phase::Draining) => {
                    break;
                }
            }
        }
        self.note_heights();
        self.drain(&mut signal, &mut phase).await;
        // The last judgement comes before anybody's leaving changes what is seen.
        until(&mut phase, Phase::Leaving).await;
        self.part(signal).await;
    }

    /// A phase began; which one is the next to know of.
    fn step(&self, begun: Option<Phase>) -> Option<Phase> {
        let stack = self.stack.as_ref()?;
        match begun {
            Some(Phase::Meeting) => {
                stack.grow();
                Some(Phase::Measured)
            }
            _ => {
                stack.measure(self.index < self.scenario.standing);
                None
            }
        }
    }

    /// Judges what was seen, and goes.
    async fn part(&mut self, signal: Signal) {
        self.conclude().await;
        signal.leave().await;
        self.close().await;
    }

    /// Notes since when pictures are wanted: those of the first view from the click on. What ran where another is wanted now is over.
    fn want(&self, before: &[View], views: &[View]) {
        let since_us = if before.is_empty() {
            self.opened_us
        } else {
            self.clock.now().us
        };
        if let Some(stack) = &self.stack {
            stack.switch(switched(before, views));
            stack.want(views.iter().map(|view| view.slot.clone()).collect(), since_us);
        }
    }

    /// What the slots get now goes into the mix of layers.
    fn note_heights(&mut self) {
        for height in self.heights.values() {
            *self.report.layer_mix.entry(height.unwrap_or(0)).or_default() += 1;
        }
    }

    /// Sends nothing more and hears what is still on its way.
    async fn drain(&mut self, signal: &mut Signal, phase: &mut watch::Receiver<Phase>) {
        if let Some(stack) = &self.stack {
            stack.stop_sending();
        }
        loop {
            tokio::select! {
                incoming = signal.next() => {
                    if !self.handle(incoming) {
                        return;
                    }
                }
                () = until(phase, Phase::Leaving) => return,
            }
        }
    }

    async fn conclude(&mut self) {
        let media = match &self.stack {
            Some(stack) => stack.finish().await,
            None => MediaReport::default(),
        };
        self.report.take(media, self.opened_us);
    }

    /// Takes what came. False when the socket is closed.
    fn handle(&mut self, incoming: Incoming) -> bool {
        match incoming {
            Incoming::Message(message) => self.handle_message(*message),
            Incoming::Foreign(reason) => self.protocol_error(format!("not of the protocol: {reason}")),
            Incoming::Closed(code) => {
                self.fail(&format!("the socket closed ({code:?})"));
                return false;
            }
        }
        true
    }

    fn handle_message(&mut self, message: ServerMessage) {
        match message {
            ServerMessage::Point {
                sequence,
                change,
                point,
            } => {
                if sequence != self.sequence + 1 {
                    self.protocol_error(format!("roster change {sequence} after {}", self.sequence));
                }
                self.sequence = sequence;
                match change {
                    Change::Left => self.roster.remove(&point.number),
                    Change::Joined | Change::Changed => self.roster.insert(point.number, point),
                };
            }
            ServerMessage::Slots { slots } => {
                for change in slots {
                    match (change.source, change.time) {
                        (Some(source), Some(time)) => {
                            if let Some(stack) = &self.stack {
                                stack.announce(&change.slot, source, time);
                            }
                        }
                        (None, None) => {
                            if let Some(stack) = &self.stack {
                                stack.empty(&change.slot);
                            }
                        }
                        _ => self.protocol_error(format!("slot {} with half a change", change.slot)),
                    }
                }
            }
            ServerMessage::Media {
                state: MediaState::Lost,
            } => self.lose("the node lost the media path"),
            ServerMessage::Error { code, .. } => self.protocol_error(format!("refused: {code}")),
            ServerMessage::Bye { code } => self.fail(&format!("the server said goodbye: {code}")),
            ServerMessage::Quality { slots } => {
                self.heights = slots.into_iter().map(|slot| (slot.slot, slot.height)).collect();
            }
            ServerMessage::Send { sources, .. } => self.obey(&sources),
            ServerMessage::Media {
                state: MediaState::Connected,
            }
            | ServerMessage::Queued { .. }
            | ServerMessage::Speaker { .. }
            | ServerMessage::Floor { .. }
            | ServerMessage::Pong { .. } => {}
            other => self.protocol_error(format!("not expected: {other:?}")),
        }
    }

    /// Sends what is ordered, as a page does.
    fn obey(&self, orders: &[SourceOrder]) {
        let camera = orders.iter().find(|order| order.source == Kind::Camera);
        if let (Some(order), Some(stack), false) = (camera, &self.stack, self.scenario.all_layers) {
            stack.set_layers(order.layers.iter().map(|layer| layer.active).collect());
        }
    }

    /// Who else has a camera to look at, by number.
    fn others(&self) -> Vec<u32> {
        let others = self.roster.values().filter(|point| {
            point.number != self.number && point.connected && point.published.contains(&Kind::Camera)
        });
        others.map(|point| point.number).collect()
    }

    fn protocol_error(&mut self, words: String) {
        debug!(point = self.index + 1, "{words}");
        self.report.protocol_errors += 1;
        if self.report.log.len() < LOG_MAX {
            self.report.log.push(words);
        }
    }

    fn lose(&mut self, words: &str) {
        self.fail(words);
        self.is_lost = true;
    }

    /// The first failure is the one that is told.
    fn fail(&mut self, words: &str) {
        debug!(point = self.index + 1, "{words}");
        self.report.failure.get_or_insert_with(|| words.to_owned());
    }
}

/// The slots in which something else is wanted than before.
fn switched(before: &[View], views: &[View]) -> Vec<String> {
    let gone = before.iter().filter(|view| !views.contains(view));
    gone.map(|view| view.slot.clone()).collect()
}

/// Lines about faults that are kept.
const LOG_MAX: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_is_switched_when_its_source_or_height_changes_or_nothing_is_wanted_there() {
        let view = |slot: &str, source, height| View {
            slot: slot.to_owned(),
            source,
            height,
            pinned: false,
        };
        let before = [view("v0", 5, 720), view("v1", 9, 180), view("v2", 13, 180)];
        assert!(switched(&before, &before).is_empty());
        let more = [before.to_vec(), vec![view("v3", 17, 180)]].concat();
        assert!(
            switched(&before, &more).is_empty(),
            "others come into empty slots"
        );
        let after = [view("v0", 5, 360), view("v1", 17, 180)];
        assert_eq!(switched(&before, &after), ["v0", "v1", "v2"]);
    }
}
