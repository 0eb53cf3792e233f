//! One simulated point: joins, sends, looks at others, and leaves with a report.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context as _, bail};
use rand::{SeedableRng as _, rngs::StdRng};
use tokio::sync::{mpsc, watch};
use tracing::{debug, info, warn};

use crate::{
    check::{SlotCheck, SlotKind},
    media_path::{Clock, IncomingSlot, MediaPath, OurPoints},
    peer::{Path, Peer},
    protocol::{Change, ClientMessage, Kind, MediaState, Point, Profile, ServerMessage, VERSION},
    report::PointReport,
    scenario::{Phase, Scenario},
    sdp,
    sender::{Outgoing, Sender, Ssrcs},
    signal::{Incoming, Signal},
};

/// Longest wait for an answer of the server, and for the media path to open.
const STEP_TIMEOUT: Duration = Duration::from_secs(15);
/// A client may ask whether the server is there; so do we.
const PING_INTERVAL: Duration = Duration::from_secs(5);
/// What every point sends, in the order of its offer.
const SOURCES: [Kind; 2] = [Kind::Mic, Kind::Camera];

/// A point before it joins.
pub(crate) struct Bot {
    scenario: Scenario,
    index: u32,
    clock: Clock,
    ours: OurPoints,
    media: MediaPath,
    roster: BTreeMap<u32, Point>,
    number: u32,
    sequence: u64,
    turn: u64,
    report: PointReport,
}

impl Bot {
    /// The `index`th point of a run.
    pub(crate) fn new(scenario: Scenario, index: u32, clock: Clock, ours: OurPoints) -> Self {
        Self {
            media: MediaPath::new(clock, ours.clone()),
            scenario,
            index,
            clock,
            ours,
            roster: BTreeMap::new(),
            number: 0,
            sequence: 0,
            turn: 0,
            report: PointReport::default(),
        }
    }

    /// Plays its part to the end. Tells `settled` when it has joined or failed to.
    pub(crate) async fn run(
        mut self,
        phase: watch::Receiver<Phase>,
        settled: mpsc::Sender<()>,
    ) -> PointReport {
        let opened = self.clock.now().us;
        let joined = tokio::time::timeout(STEP_TIMEOUT, self.join()).await;
        match joined.context("joining took too long").and_then(|joined| joined) {
            Ok((signal, peer)) => {
                self.report.join_us = Some(self.clock.now().us - opened);
                let _ = settled.send(()).await;
                self.meet(signal, peer, phase).await
            }
            Err(error) => {
                warn!(point = self.index + 1, "did not join: {error:#}");
                self.fail(&format!("did not join: {error:#}"));
                let _ = settled.send(()).await;
            }
        }
        self.report
    }

    /// From nothing to media connected.
    async fn join(&mut self) -> anyhow::Result<(Signal, Peer)> {
        let mut rng = StdRng::seed_from_u64(self.scenario.seed.wrapping_add(u64::from(self.index)));
        let ssrcs = Ssrcs::random(&mut rng, self.scenario.layers);
        let mut signal = self.greet().await?;
        let local = ["127.", "localhost", "[::1]"]
            .iter()
            .any(|host| self.scenario.url.contains(host));
        let peer = Peer::new(self.media.stage(), &ssrcs, self.scenario.slots, local).await?;
        let offer = peer.offer().await?;
        let mids = sdp::mids(&offer);
        let mut sources = BTreeMap::new();
        sources.extend(SOURCES.into_iter().zip(mids.iter().cloned()));
        let name = format!("Điểm thử {:02}", self.index + 1);
        let published = SOURCES.to_vec();
        let join = ClientMessage::Join {
            id: 1,
            name,
            profile: Profile::Laptop,
            sources,
            published,
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
        self.media.set_slots(incoming(&slots, &sections)?);
        let mut path = peer.path();
        peer.set_answer(&answer).await?;
        self.await_path(&mut signal, &mut path).await?;
        let outgoing = outgoing(number, ssrcs, &mids, &sections)?;
        self.media
            .start(Sender::new(outgoing, self.clock.now(), &mut rng));
        info!(point = self.index + 1, number, "joined");
        Ok((signal, peer))
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
    async fn meet(&mut self, mut signal: Signal, peer: Peer, mut phase: watch::Receiver<Phase>) {
        let mut path = peer.path();
        let mut turns = tokio::time::interval(self.scenario.turn);
        let mut pings = tokio::time::interval(PING_INTERVAL);
        let mut viewed = Vec::new();
        loop {
            let others = self.others();
            let views = self.scenario.views(self.index, self.turn, &others);
            if views != viewed {
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
                    self.media.set_speaking(self.scenario.speaks(self.index, self.turn));
                }
                _ = pings.tick() => {
                    let _ = signal.send(&ClientMessage::Ping { id: self.turn as u32 }).await;
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
        self.conclude();
        signal.leave().await;
        peer.close().await;
    }

    /// Sends nothing more and hears what is still on its way.
    async fn drain(&mut self, signal: &mut Signal, phase: &mut watch::Receiver<Phase>) {
        self.media.stop_sending();
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

    fn conclude(&mut self) {
        let media = self.media.finish();
        self.report.received = media.received;
        self.report.sent = media.sent;
        self.report.latency = media.latency;
        self.report.nacks = media.nacks;
        self.report.key_frame_requests = media.key_frame_requests;
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
                        (Some(source), Some(time)) => self.media.announce(&change.slot, source, time),
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
            ServerMessage::Media {
                state: MediaState::Connected,
            }
            | ServerMessage::Queued { .. }
            | ServerMessage::Quality { .. }
            | ServerMessage::Send { .. }
            | ServerMessage::Speaker { .. }
            | ServerMessage::Floor { .. }
            | ServerMessage::Pong { .. } => {}
            other => self.protocol_error(format!("not expected: {other:?}")),
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
) -> anyhow::Result<Vec<IncomingSlot>> {
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
            let check = SlotCheck::new(kind);
            Ok(IncomingSlot {
                name: name.clone(),
                ssrc,
                rtx_ssrc: section.rtx_ssrc,
                check,
            })
        })
        .collect()
}

/// What the answer lets this point send, and how it is to be marked.
fn outgoing(
    point: u32,
    ssrcs: Ssrcs,
    mids: &[String],
    sections: &BTreeMap<String, sdp::Section>,
) -> anyhow::Result<Outgoing> {
    let [mic_mid, camera_mid, ..] = mids else {
        bail!("an offer without sources")
    };
    let extensions = |mid: &str| sections.get(mid).map(|section| section.extensions.clone());
    Ok(Outgoing {
        point,
        ssrcs,
        mic_extensions: extensions(mic_mid).context("the answer has no microphone")?,
        camera_extensions: extensions(camera_mid).context("the answer has no camera")?,
        mic_mid: mic_mid.clone(),
        camera_mid: camera_mid.clone(),
    })
}
