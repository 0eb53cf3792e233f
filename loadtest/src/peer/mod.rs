//! The peer connection of one point: crate `webrtc` with our stage at the end of its chain of interceptors.

use std::sync::Arc;

use anyhow::Context as _;
use rtc::{
    interceptor::{ReceiverReportBuilder, Registry, Slot, TwccReceiverBuilder},
    media_stream::MediaStreamTrack,
    peer_connection::{
        configuration::{
            RTCConfigurationBuilder,
            media_engine::{MIME_TYPE_OPUS, MIME_TYPE_RTX, MIME_TYPE_VP8, MediaEngine},
            setting_engine::SettingEngineBuilder,
        },
        sdp::RTCSessionDescription,
        state::RTCPeerConnectionState,
    },
    rtp_transceiver::{
        RTCRtpTransceiverDirection, RTCRtpTransceiverInit,
        rtp_sender::{
            RTCPFeedback, RTCRtpCodec, RTCRtpCodecParameters, RTCRtpCodingParameters,
            RTCRtpEncodingParameters, RTCRtpHeaderExtensionCapability, RTCRtpRtxParameters, RtpCodecKind,
        },
    },
};
use tokio::sync::watch;
use webrtc::{
    media_stream::track_local::{TrackLocal, static_rtp::TrackLocalStaticRTP},
    peer_connection::{PeerConnection, PeerConnectionBuilder, PeerConnectionEventHandler},
};

use crate::{
    clip::RIDS,
    media_path::Stage,
    sdp::{URI_AUDIO_LEVEL, URI_MID, URI_RID, URI_RRID, URI_TRANSPORT_CC},
    sender::{PT_OPUS, PT_RTX, PT_VP8, Ssrcs},
};

/// Voices a point can hear at once (`docs/PROTOCOL.md`: `a0` to `a5`).
pub(crate) const VOICES: usize = 6;
/// Distance of our stage from the wire: behind every interceptor of the crate.
const STAGE_SLOT: usize = 50_000;

/// The state of a media path, as far as a point cares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Path {
    Opening,
    Connected,
    Lost,
}

/// One peer connection.
pub(crate) struct Peer {
    connection: Arc<dyn PeerConnection>,
    path: watch::Receiver<Path>,
}

struct Handler(watch::Sender<Path>);

#[async_trait::async_trait]
impl PeerConnectionEventHandler for Handler {
    async fn on_connection_state_change(&self, state: RTCPeerConnectionState) {
        match state {
            RTCPeerConnectionState::Connected => self.0.send_replace(Path::Connected),
            RTCPeerConnectionState::Failed | RTCPeerConnectionState::Closed => {
                self.0.send_replace(Path::Lost)
            }
            _ => return,
        };
    }
}

impl Peer {
    /// A connection with its m-sections in the protocol's order: microphone, camera, voices, pictures.
    pub(crate) async fn new(
        stage: Stage,
        ssrcs: &Ssrcs,
        pictures: usize,
        local: bool,
    ) -> anyhow::Result<Self> {
        let (sender, path) = watch::channel(Path::Opening);
        let registry = Registry::new()
            .with(Slot::TwccReceiver, TwccReceiverBuilder::new().build())
            .with(Slot::ReceiverReport, ReceiverReportBuilder::new().build())
            .with(Slot::Custom(STAGE_SLOT), stage);
        // Towards a server on this machine its candidate may be the loopback or an own address.
        let mut addresses = vec!["0.0.0.0:0".to_owned()];
        if local {
            addresses.push("127.0.0.1:0".to_owned());
        }
        let connection = PeerConnectionBuilder::new()
            .with_configuration(RTCConfigurationBuilder::new().build())
            .with_media_engine(media_engine()?)
            .with_setting_engine(
                SettingEngineBuilder::new()
                    .with_include_loopback_candidate(local)
                    .build(),
            )
            .with_interceptor_registry(registry)
            .with_handler(Arc::new(Handler(sender)))
            .with_udp_addrs(addresses)
            .build()
            .await
            .context("peer connection")?;
        let peer = Self {
            connection: Arc::new(connection),
            path,
        };
        peer.add_sections(ssrcs, pictures).await.context("m-sections")?;
        Ok(peer)
    }

    async fn add_sections(&self, ssrcs: &Ssrcs, pictures: usize) -> anyhow::Result<()> {
        let mic = vec![encoding(ssrcs.mic, None, "", opus())];
        let camera = ssrcs.layers.iter().zip(RIDS).map(|(&(media, rtx), rid)| {
            let rid = if ssrcs.layers.len() > 1 { rid } else { "" };
            encoding(media, Some(rtx), rid, vp8())
        });
        self.add_source(RtpCodecKind::Audio, "mic", mic).await?;
        self.add_source(RtpCodecKind::Video, "camera", camera.collect())
            .await?;
        let kinds = [RtpCodecKind::Audio; VOICES].into_iter();
        for kind in kinds.chain(std::iter::repeat_n(RtpCodecKind::Video, pictures)) {
            self.connection
                .add_transceiver_from_kind(kind, init(RTCRtpTransceiverDirection::Recvonly))
                .await?;
        }
        Ok(())
    }

    async fn add_source(
        &self,
        kind: RtpCodecKind,
        name: &str,
        encodings: Vec<RTCRtpEncodingParameters>,
    ) -> anyhow::Result<()> {
        let track = MediaStreamTrack::new(
            "point".to_owned(),
            name.to_owned(),
            name.to_owned(),
            kind,
            encodings,
        );
        let track: Arc<dyn TrackLocal> = Arc::new(TrackLocalStaticRTP::new(track));
        self.connection
            .add_transceiver_from_track(track, init(RTCRtpTransceiverDirection::Sendonly))
            .await?;
        Ok(())
    }

    /// The offer, without candidates: the node is ICE-lite and needs none.
    pub(crate) async fn offer(&self) -> anyhow::Result<String> {
        let offer = self.connection.create_offer(None).await.context("offer")?;
        let sdp = offer.sdp.clone();
        self.connection
            .set_local_description(offer)
            .await
            .context("offer")?;
        Ok(sdp)
    }

    /// Takes the answer: the connection opens by itself.
    pub(crate) async fn set_answer(&self, sdp: &str) -> anyhow::Result<()> {
        let answer = RTCSessionDescription::answer(sdp.to_owned()).context("answer")?;
        self.connection
            .set_remote_description(answer)
            .await
            .context("answer")
    }

    /// Changes of the path's state.
    pub(crate) fn path(&self) -> watch::Receiver<Path> {
        self.path.clone()
    }

    /// Closes.
    pub(crate) async fn close(&self) {
        if let Err(error) = self.connection.close().await {
            tracing::debug!(%error, "peer connection did not close cleanly");
        }
    }
}

fn init(direction: RTCRtpTransceiverDirection) -> Option<RTCRtpTransceiverInit> {
    Some(RTCRtpTransceiverInit {
        direction,
        ..RTCRtpTransceiverInit::default()
    })
}

fn encoding(ssrc: u32, rtx: Option<u32>, rid: &str, codec: RTCRtpCodec) -> RTCRtpEncodingParameters {
    RTCRtpEncodingParameters {
        rtp_coding_parameters: RTCRtpCodingParameters {
            rid: rid.to_owned(),
            ssrc: Some(ssrc),
            rtx: rtx.map(|ssrc| RTCRtpRtxParameters { ssrc }),
            fec: None,
        },
        active: true,
        codec,
        ..RTCRtpEncodingParameters::default()
    }
}

/// Codecs and header extensions as the browsers offer them, but only those that are used.
fn media_engine() -> anyhow::Result<MediaEngine> {
    let mut engine = MediaEngine::default();
    let codec = |rtp_codec, payload_type| RTCRtpCodecParameters {
        rtp_codec,
        payload_type,
    };
    engine.register_codec(codec(opus(), PT_OPUS), RtpCodecKind::Audio)?;
    engine.register_codec(codec(vp8(), PT_VP8), RtpCodecKind::Video)?;
    engine.register_codec(codec(rtx(), PT_RTX), RtpCodecKind::Video)?;
    let both = [RtpCodecKind::Audio, RtpCodecKind::Video];
    let audio = [RtpCodecKind::Audio];
    let video = [RtpCodecKind::Video];
    let extensions: [(&str, &[RtpCodecKind]); 5] = [
        (URI_AUDIO_LEVEL, &audio),
        (URI_TRANSPORT_CC, &both),
        (URI_MID, &both),
        (URI_RID, &video),
        (URI_RRID, &video),
    ];
    for (uri, kinds) in extensions {
        for &kind in kinds {
            let capability = RTCRtpHeaderExtensionCapability { uri: uri.to_owned() };
            engine.register_header_extension(capability, kind, None)?;
        }
    }
    Ok(engine)
}

fn opus() -> RTCRtpCodec {
    RTCRtpCodec {
        mime_type: MIME_TYPE_OPUS.to_owned(),
        clock_rate: 48_000,
        channels: 2,
        sdp_fmtp_line: "minptime=10;useinbandfec=1".to_owned(),
        rtcp_feedback: vec![feedback("transport-cc", "")],
    }
}

fn vp8() -> RTCRtpCodec {
    RTCRtpCodec {
        mime_type: MIME_TYPE_VP8.to_owned(),
        clock_rate: 90_000,
        channels: 0,
        sdp_fmtp_line: String::new(),
        rtcp_feedback: vec![
            feedback("transport-cc", ""),
            feedback("ccm", "fir"),
            feedback("nack", ""),
            feedback("nack", "pli"),
        ],
    }
}

fn rtx() -> RTCRtpCodec {
    RTCRtpCodec {
        mime_type: MIME_TYPE_RTX.to_owned(),
        clock_rate: 90_000,
        channels: 0,
        sdp_fmtp_line: format!("apt={PT_VP8}"),
        rtcp_feedback: Vec::new(),
    }
}

fn feedback(typ: &str, parameter: &str) -> RTCPFeedback {
    RTCPFeedback {
        typ: typ.to_owned(),
        parameter: parameter.to_owned(),
    }
}

#[cfg(test)]
mod tests;
