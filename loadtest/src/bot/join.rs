//! How a point joins: from nothing to media connected.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr},
};

use anyhow::{Context as _, anyhow, bail};
use rand::rngs::StdRng;
use tokio::sync::watch;
use tracing::{debug, info};

use super::{Bot, rejoin};
use crate::{
    address::Address,
    check::SlotKind,
    lean::{LeanPoint, Pattern, Sections},
    media_path::{MediaPath, SlotLines},
    peer::{Path, Peer},
    protocol::{ClientMessage, Kind, Profile, ServerMessage, VERSION},
    scenario::Sends,
    sdp,
    sender::{Outgoing, Sender, Ssrcs},
    signal::{Incoming, Signal},
    stack::{Outgoings, Stack},
};

impl Bot {
    /// From nothing to media connected.
    pub(super) async fn join(&mut self) -> anyhow::Result<Signal> {
        let mut rng = self.scenario.rng((self.index, self.life));
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
        let Some(lean) = &self.shared.lean else {
            let media = MediaPath::new(self.clock, self.ours.clone());
            let local = self.scenario.url.is_loopback();
            let peer = Peer::new(media.stage(), ssrcs, self.scenario.slots, local).await?;
            let offer = peer.offer().await?;
            self.stack = Some(Stack::Full(peer, media));
            return Ok(offer);
        };
        let point = LeanPoint::new(lean, host(&self.scenario.url), self.scenario.joined, rng)?;
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

    /// An open socket on which the server has welcomed the token.
    async fn greet(&self) -> anyhow::Result<Signal> {
        let mut signal = Signal::open(&self.scenario.url, self.scenario.trust.as_ref()).await?;
        let token = self.scenario.token(self.index).to_owned();
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
            if let Incoming::Closed(code) = incoming {
                let error = anyhow!("the socket closed ({code:?}) before the media path opened");
                return Err(rejoin::marked(error, rejoin::of_close(code)));
            }
            self.handle(incoming);
        }
    }
}

/// Where a lean point's socket is bound: on the loopback for a server there.
pub(crate) fn host(server: &Address) -> IpAddr {
    IpAddr::V4(if server.is_loopback() {
        Ipv4Addr::LOCALHOST
    } else {
        Ipv4Addr::UNSPECIFIED
    })
}

/// The next message, whatever it is.
async fn expect(signal: &mut Signal) -> anyhow::Result<ServerMessage> {
    match signal.next().await {
        Incoming::Message(message) => match *message {
            ServerMessage::Error { code, .. } => {
                let error = anyhow!("the server refused: {code}");
                Err(rejoin::marked(error, rejoin::of_code(&code)))
            }
            ServerMessage::Bye { code } => bail!("the server said goodbye: {code}"),
            message => Ok(message),
        },
        Incoming::Foreign(reason) => bail!("the server sent something that is not of the protocol: {reason}"),
        Incoming::Closed(code) => {
            let error = anyhow!("the socket closed ({code:?})");
            Err(rejoin::marked(error, rejoin::of_close(code)))
        }
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
