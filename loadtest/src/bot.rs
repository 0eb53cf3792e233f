//! One simulated point: joins, sends, looks at others, and leaves with a report.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context as _, bail};
use rand::{SeedableRng as _, rngs::StdRng};
use tokio::sync::{mpsc, watch};
use tracing::{debug, info, warn};

use crate::{
    check::SlotKind,
    course::Phase,
    lean::{Lean, LeanPoint, Pattern, Sections},
    media_path::{Clock, MediaPath, MediaReport, OurPoints, SlotLines},
    peer::{Path, Peer},
    protocol::{
        Change, ClientMessage, Kind, MediaState, Point, Profile, ServerMessage, SourceOrder, VERSION, View,
    },
    report::PointReport,
    scenario::{Scenario, Sends},
    sdp,
    sender::{Outgoing, Sender, Ssrcs},
    signal::{Incoming, Signal},
    stack::{Outgoings, Stack},
};

/// Longest wait for an answer of the server, and for the media path to open.
const STEP_TIMEOUT: Duration = Duration::from_secs(15);
/// A client may ask whether the server is there; so do we.
const PING_INTERVAL: Duration = Duration::from_secs(5);
/// What the points of a run have in common.
#[derive(Clone)]
pub(crate) struct Shared {
    pub(crate) clock: Clock,
    pub(crate) ours: OurPoints,
    /// The loop of lean points; without it points are full ones.
    pub(crate) lean: Option<Arc<Lean>>,
}

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
    report: PointReport,
}

impl Bot {
    /// The point in the `index`th seat of a run, after `life` others.
    pub(crate) fn new(scenario: Arc<Scenario>, index: u32, life: u32, shared: Shared) -> Self {
        Self {
            scenario,
            index,
            life,
            clock: shared.clock,
            ours: shared.ours.clone(),
            stack: None,
            shared,
            opened_us: 0,
            heights: BTreeMap::new(),
            roster: BTreeMap::new(),
            number: 0,
            sequence: 0,
            turn: 0,
            report: PointReport::default(),
        }
    }

    /// Plays its part to the end. Lets `settled` go when it has joined or failed to.
    pub(crate) async fn run(
        mut self,
        phase: watch::Receiver<Phase>,
        settled: Option<mpsc::Sender<()>>,
    ) -> PointReport {
        self.opened_us = self.clock.now().us;
        let joined = tokio::time::timeout(STEP_TIMEOUT, self.join()).await;
        match joined.context("joining took too long").and_then(|joined| joined) {
            Ok(signal) => {
                let us = self.clock.now().us - self.opened_us;
                self.report.join_us = Some(us);
                self.report.joins.record(us);
                drop(settled);
                self.meet(signal, phase).await
            }
            Err(error) => {
                warn!(point = self.index + 1, "did not join: {error:#}");
                self.fail(&format!("did not join: {error:#}"));
                drop(settled);
                self.close().await;
            }
        }
        self.report
    }

    /// From nothing to media connected.
    async fn join(&mut self) -> anyhow::Result<Signal> {
        let place = u64::from(self.index) + u64::from(self.life) * u64::from(self.scenario.points);
        let mut rng = StdRng::seed_from_u64(self.scenario.seed.wrapping_add(place));
        let kinds = self.scenario.sources(self.index);
        let layers = if kinds.contains(&Kind::Camera) {
            self.scenario.layers
        } else {
            0
        };
        let ssrcs = Ssrcs::random(&mut rng, layers);
        let mut signal = self.greet().await?;
        let offer = self.offer(&ssrcs, kinds, &mut rng).await?;
        let mids = sdp::mids(&offer);
        let mut sources = BTreeMap::new();
        sources.extend(kinds.iter().copied().zip(mids.iter().cloned()));
        let join = ClientMessage::Join {
            id: 1,
            name: format!("Điểm thử {:02}", self.index + 1),
            profile: Profile::Laptop,
            sources: sources.clone(),
            published: kinds.to_vec(),
            offer,
        };
        signal.send(&join).await?;
        let joined = loop {
            match expect(&mut signal).await? {
                joined @ ServerMessage::Joined { .. } => break joined,
                // Whatever comes before the answer, the roster in the answer is newer.
                _ => debug!(point = self.index + 1, "a message before the answer"),
            }
        };
        let ServerMessage::Joined {
            number,
            answer,
            slots,
            points,
            sequence,
            ..
        } = joined
        else {
            bail!("no answer to the join")
        };
        (self.number, self.sequence) = (number, sequence);
        self.ours.insert(number);
        self.roster = points.into_iter().map(|point| (point.number, point)).collect();
        let sections = sdp::sections(&answer);
        let whole = (self.index < self.scenario.verify).then_some(self.scenario.fps);
        let stack = self.stack.as_ref().context("no media")?;
        let mut path = stack.path();
        stack
            .open(&answer, &sections, incoming(&slots, &sections)?, whole)
            .await?;
        self.await_path(&mut signal, &mut path).await?;
        if !kinds.is_empty() {
            let outgoing = outgoing(number, ssrcs, &sources, &sections, self.scenario.fps)?;
            self.start(outgoing, &mut rng);
        }
        info!(point = self.index + 1, number, "joined");
        Ok(signal)
    }

    /// Makes the point's media and its offer.
    async fn offer(&mut self, ssrcs: &Ssrcs, kinds: &[Kind], rng: &mut StdRng) -> anyhow::Result<String> {
        let local = ["127.", "localhost", "[::1]"]
            .iter()
            .any(|host| self.scenario.url.contains(host));
        let Some(lean) = &self.shared.lean else {
            let media = MediaPath::new(self.clock, self.ours.clone());
            let peer = Peer::new(media.stage(), ssrcs, self.scenario.slots, local).await?;
            let offer = peer.offer().await?;
            self.stack = Some(Stack::Full(peer, media));
            return Ok(offer);
        };
        let host = if local {
            Ipv4Addr::LOCALHOST
        } else {
            Ipv4Addr::UNSPECIFIED
        };
        let point = LeanPoint::new(lean, IpAddr::V4(host), rng)?;
        let offer = point.offer(&Sections {
            mic: kinds.contains(&Kind::Mic),
            ssrcs,
            voices: self.scenario.voices,
            pictures: self.scenario.slots,
        });
        self.stack = Some(Stack::Lean(point));
        Ok(offer)
    }

    fn start(&self, outgoing: Outgoing, rng: &mut StdRng) {
        let now = self.clock.now();
        let outgoings = match self.scenario.sends {
            Sends::Clips => Outgoings::Clips(Box::new(Sender::new(outgoing, now, rng))),
            Sends::Pattern(plan) => Outgoings::Pattern(Box::new(Pattern::new(plan, outgoing, now, rng))),
        };
        if let Some(stack) = &self.stack {
            stack.start(outgoings);
        }
    }

    async fn close(&mut self) {
        if let Some(stack) = self.stack.take() {
            stack.close().await;
        }
    }

    /// An open socket on which the server has welcomed the token.
    async fn greet(&self) -> anyhow::Result<Signal> {
        let mut signal = Signal::open(&self.scenario.url).await?;
        let token = self.scenario.token.clone();
        signal
            .send(&ClientMessage::Hello {
                version: VERSION,
                token,
                resume: None,
            })
            .await?;
        match expect(&mut signal).await? {
            ServerMessage::Welcome { .. } => Ok(signal),
            _ => bail!("no welcome"),
        }
    }

    /// Waits for the media path, reading what the server says meanwhile.
    async fn await_path(
        &mut self,
        signal: &mut Signal,
        path: &mut watch::Receiver<Path>,
    ) -> anyhow::Result<()> {
        loop {
            let incoming = tokio::select! {
                state = path.wait_for(|&path| path != Path::Opening) => {
                    return match state.map(|state| *state) {
                        Ok(Path::Connected) => Ok(()),
                        _ => bail!("the media path did not open"),
                    };
                }
                incoming = signal.next() => incoming,
            };
            if !self.handle(incoming) {
                bail!("the socket closed before the media path opened");
            }
        }
    }

    /// The meeting, until everybody leaves.
    async fn meet(&mut self, mut signal: Signal, mut phase: watch::Receiver<Phase>) {
        let Some(mut path) = self.stack.as_ref().map(Stack::path) else {
            return;
        };
        let mut turns = tokio::time::interval(self.scenario.turn);
        let mut pings = tokio::time::interval(PING_INTERVAL);
        let stay = self
            .scenario
            .stay
            .map(|stay| stay.mul_f64(rand::random_range(0.5..1.5)));
        let mut stay = std::pin::pin!(tokio::time::sleep(stay.unwrap_or(FOREVER)));
        let mut all_there = phase.clone();
        let (mut viewed, mut begun) = (Vec::new(), false);
        loop {
            let others = self.others();
            let views = self.scenario.views(self.index, self.turn, &others);
            if views != viewed {
                self.want(&views, viewed.is_empty());
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
                    self.note_heights();
                    if let Some(stack) = &self.stack {
                        stack.set_speaking(self.scenario.speaks(self.index, self.turn));
                    }
                }
                _ = pings.tick() => {
                    let _ = signal.send(&ClientMessage::Ping { id: self.turn as u32 }).await;
                }
                () = &mut stay => return self.part(signal).await,
                () = until(&mut all_there, Phase::Meeting), if !begun => {
                    begun = true;
                    if let Some(stack) = &self.stack {
                        stack.grow();
                    }
                }
                () = until(&mut path, Path::Lost) => {
                    self.fail("the media path was lost");
                    break;
                }
                () = until(&mut phase, Phase::Draining) => {
                    break;
                }
            }
        }
        self.drain(&mut signal, &mut phase).await;
        // The last judgement comes before anybody's leaving changes what is seen.
        until(&mut phase, Phase::Leaving).await;
        self.part(signal).await;
    }

    /// Judges what was seen, and goes.
    async fn part(&mut self, signal: Signal) {
        self.conclude().await;
        signal.leave().await;
        self.close().await;
    }

    /// Notes since when pictures are wanted: those of the first view from the click on.
    fn want(&self, views: &[View], first: bool) {
        let since_us = if first {
            self.opened_us
        } else {
            self.clock.now().us
        };
        if let Some(stack) = &self.stack {
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
        self.note_heights();
        let media = match &self.stack {
            Some(stack) => stack.finish().await,
            None => MediaReport::default(),
        };
        self.report.received = media.received;
        self.report.sent = media.sent;
        self.report.latency = media.latency;
        self.report.nacks = media.nacks;
        self.report.key_frame_requests = media.key_frame_requests;
        self.report.first_packet_us = media.first_packet_us.map(|at| at.saturating_sub(self.opened_us));
        self.report.first_key = media.first_key;
        self.report.gaps = media.gaps;
        self.report.freezes = media.freezes;
        self.report.longest_gap_us = media.longest_gap_us;
        self.report.not_sent = media.not_sent;
        self.report.log.extend(media.log);
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
                        (None, None) => {}
                        _ => self.protocol_error(format!("slot {} with half a change", change.slot)),
                    }
                }
            }
            ServerMessage::Media {
                state: MediaState::Lost,
            } => self.fail("the node lost the media path"),
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

    /// The first failure is the one that is told.
    fn fail(&mut self, words: &str) {
        debug!(point = self.index + 1, "{words}");
        self.report.failure.get_or_insert_with(|| words.to_owned());
    }
}

/// Lines about faults that are kept.
const LOG_MAX: usize = 8;

/// Waits until something has come as far as this, or will not change any more.
async fn until<T: PartialOrd>(state: &mut watch::Receiver<T>, wanted: T) {
    // Without a sender nothing changes any more: as good as the end.
    let _ = state.wait_for(|state| *state >= wanted).await;
}

/// The next message, whatever it is.
async fn expect(signal: &mut Signal) -> anyhow::Result<ServerMessage> {
    match signal.next().await {
        Incoming::Message(message) => match *message {
            ServerMessage::Error { code, .. } => bail!("the server refused: {code}"),
            ServerMessage::Bye { code } => bail!("the server said goodbye: {code}"),
            message => Ok(message),
        },
        Incoming::Foreign(reason) => bail!("the server sent something that is not of the protocol: {reason}"),
        Incoming::Closed(code) => bail!("the socket closed ({code:?})"),
    }
}

/// The slots with the streams that the answer gives them.
fn incoming(
    slots: &BTreeMap<String, String>,
    sections: &BTreeMap<String, sdp::Section>,
) -> anyhow::Result<Vec<SlotLines>> {
    slots
        .iter()
        .map(|(name, mid)| {
            let section = sections.get(mid).filter(|section| section.accepted);
            let section = section.with_context(|| format!("slot {name} has no m-section {mid}"))?;
            let ssrc = section.ssrc.with_context(|| format!("slot {name} has no SSRC"))?;
            let kind = if name.starts_with('a') {
                SlotKind::Voice
            } else {
                SlotKind::Picture
            };
            Ok(SlotLines {
                name: name.clone(),
                kind,
                ssrc,
                rtx_ssrc: section.rtx_ssrc,
            })
        })
        .collect()
}

/// What the answer lets this point send, and how it is to be marked.
fn outgoing(
    point: u32,
    ssrcs: Ssrcs,
    sources: &BTreeMap<Kind, String>,
    sections: &BTreeMap<String, sdp::Section>,
    fps: u32,
) -> anyhow::Result<Outgoing> {
    let section = |kind| {
        let Some(mid) = sources.get(&kind) else {
            return Ok((String::new(), sdp::Extensions::default()));
        };
        let section = sections.get(mid).filter(|section| section.accepted);
        let section = section.with_context(|| format!("the answer refuses {kind:?}"))?;
        anyhow::Ok((mid.clone(), section.extensions.clone()))
    };
    let (mic_mid, mic_extensions) = section(Kind::Mic)?;
    let (camera_mid, camera_extensions) = section(Kind::Camera)?;
    Ok(Outgoing {
        point,
        ssrcs,
        mic_mid,
        camera_mid,
        mic_extensions,
        camera_extensions,
        fps,
    })
}
