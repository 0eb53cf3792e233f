//! A point against another `webrtc` connection that reflects its voice and its lowest layer into slots: the whole way
//! through SDP, ICE, DTLS and SRTP, with losses on the way up that RTX repairs.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use rand::{SeedableRng as _, rngs::StdRng};
use rtc::{
    interceptor::{AttributedPacket, Interceptor, Packet, StreamInfo, TaggedPacket},
    rtcp::transport_feedbacks::transport_layer_nack::{NackPair, TransportLayerNack},
    rtp,
    sansio::Protocol,
    shared::{TransportContext, error::Error},
};

use super::*;
use crate::{
    check::SlotKind,
    media_path::{Clock, MediaPath, OurPoints, SlotLines},
    protocol::{Kind, source_number},
    sdp,
    sender::{Outgoing, Sender},
};

const VOICE_SSRC: u32 = 0x1000;
const PICTURE_SSRC: u32 = 0x2000;
const POINT: u32 = 4;

/// A node of one point: voice and lowest layer come back, each 40th picture packet only by repair.
struct Reflector {
    ssrcs: Ssrcs,
    seen: u64,
    dropped: BTreeMap<u16, ()>,
    out: VecDeque<Packet>,
    passed: VecDeque<TaggedPacket>,
}

impl Reflector {
    fn reflect(&mut self, mut packet: rtp::Packet) {
        let (camera, repair) = self.ssrcs.layers[0];
        if packet.header.ssrc == repair {
            let number = u16::from_be_bytes([packet.payload[0], packet.payload[1]]);
            assert!(self.dropped.remove(&number).is_some(), "sent again without need");
            packet.header.sequence_number = number;
            packet.header.payload_type = PT_VP8;
            packet.payload = packet.payload.slice(2..);
        } else if packet.header.ssrc == camera {
            self.seen += 1;
            if self.seen % 40 == 20 {
                let number = packet.header.sequence_number;
                self.dropped.insert(number, ());
                self.out.push_back(Packet::Rtcp(vec![Box::new(TransportLayerNack {
                    sender_ssrc: 1,
                    media_ssrc: camera,
                    nacks: vec![NackPair::new(number)],
                })]));
                return;
            }
        } else if packet.header.ssrc != self.ssrcs.mic {
            return;
        }
        let (ssrc, kind) = match packet.header.payload_type {
            PT_OPUS => (VOICE_SSRC, Kind::Mic),
            _ => (PICTURE_SSRC, Kind::Camera),
        };
        let header = rtp::header::Header {
            ssrc,
            csrc: vec![source_number(POINT, kind)],
            extension: false,
            extensions: Vec::new(),
            ..packet.header
        };
        self.out.push_back(Packet::Rtp(rtp::Packet {
            header,
            payload: packet.payload,
        }));
    }
}

impl Protocol<TaggedPacket, TaggedPacket, ()> for Reflector {
    type Rout = TaggedPacket;
    type Wout = TaggedPacket;
    type Eout = ();
    type Error = Error;
    type Time = std::time::Instant;

    fn handle_read(&mut self, message: TaggedPacket) -> Result<(), Error> {
        if let Packet::Rtp(packet) = message.message.packet {
            self.reflect(packet);
        }
        Ok(())
    }

    fn poll_read(&mut self) -> Option<TaggedPacket> {
        None
    }

    fn handle_write(&mut self, message: TaggedPacket) -> Result<(), Error> {
        self.passed.push_back(message);
        Ok(())
    }

    fn poll_write(&mut self) -> Option<TaggedPacket> {
        self.passed.pop_front().or_else(|| {
            let message = AttributedPacket::new(self.out.pop_front()?);
            let now = std::time::Instant::now();
            Some(TaggedPacket {
                now,
                transport: TransportContext::default(),
                message,
            })
        })
    }
}

impl Interceptor for Reflector {
    fn bind_local_stream(&mut self, _info: &StreamInfo) {}
    fn unbind_local_stream(&mut self, _info: &StreamInfo) {}
    fn bind_remote_stream(&mut self, _info: &StreamInfo) {}
    fn unbind_remote_stream(&mut self, _info: &StreamInfo) {}
}

struct Quiet(tokio::sync::mpsc::UnboundedSender<()>);

#[async_trait::async_trait]
impl PeerConnectionEventHandler for Quiet {
    async fn on_ice_gathering_state_change(&self, state: webrtc::peer_connection::RTCIceGatheringState) {
        if state == webrtc::peer_connection::RTCIceGatheringState::Complete {
            let _ = self.0.send(());
        }
    }
}

/// The reflecting connection and its answer.
async fn reflector(offer: String, ssrcs: Ssrcs) -> (Arc<dyn PeerConnection>, String) {
    let stage = Reflector {
        ssrcs,
        seen: 0,
        dropped: BTreeMap::new(),
        out: VecDeque::new(),
        passed: VecDeque::new(),
    };
    let (gathered, mut gathering) = tokio::sync::mpsc::unbounded_channel();
    let connection = PeerConnectionBuilder::new()
        .with_media_engine(media_engine().unwrap())
        .with_setting_engine(
            SettingEngineBuilder::new()
                .with_include_loopback_candidate(true)
                .build(),
        )
        .with_interceptor_registry(Registry::new().with(Slot::Custom(STAGE_SLOT), stage))
        .with_handler(Arc::new(Quiet(gathered)))
        .with_udp_addrs(vec!["127.0.0.1:0".to_owned()])
        .build()
        .await
        .unwrap();
    let sources = [
        (RtpCodecKind::Audio, encoding(VOICE_SSRC, None, "", opus())),
        (
            RtpCodecKind::Video,
            encoding(PICTURE_SSRC, Some(PICTURE_SSRC + 1), "", vp8()),
        ),
    ];
    for (kind, encoding) in sources {
        let name = format!("slot-{kind}");
        let track = MediaStreamTrack::new(name.clone(), name.clone(), name, kind, vec![encoding]);
        let track: Arc<dyn TrackLocal> = Arc::new(TrackLocalStaticRTP::new(track));
        connection.add_track(track).await.unwrap();
    }
    connection
        .set_remote_description(RTCSessionDescription::offer(offer).unwrap())
        .await
        .unwrap();
    let answer = connection.create_answer(None).await.unwrap();
    connection.set_local_description(answer).await.unwrap();
    gathering.recv().await.unwrap();
    let answer = connection.local_description().await.unwrap().sdp;
    (Arc::new(connection), answer)
}

#[tokio::test]
async fn a_reflected_point_finds_its_own_media_whole() {
    let (clock, ours) = (Clock::new(), OurPoints::default());
    ours.insert(POINT);
    let media = MediaPath::new(clock, ours);
    let mut rng = StdRng::seed_from_u64(1);
    let ssrcs = Ssrcs::random(&mut rng, 3);
    let peer = Peer::new(media.stage(), &ssrcs, 2, true).await.unwrap();
    let offer = peer.offer().await.unwrap();
    assert!(offer.contains("a=simulcast:send q;h;f"), "{offer}");
    let mids = sdp::mids(&offer);
    assert_eq!(mids.len(), 2 + VOICES + 2);

    let (far, answer) = reflector(offer, ssrcs.clone()).await;
    let sections = sdp::sections(&answer);
    let slots = [
        ("a0", VOICE_SSRC, None),
        ("v0", PICTURE_SSRC, Some(PICTURE_SSRC + 1)),
    ];
    let slots = slots.map(|(name, ssrc, rtx_ssrc)| {
        assert!(
            sections
                .values()
                .any(|section| section.ssrc == Some(ssrc) && section.rtx_ssrc == rtx_ssrc)
        );
        let kind = if rtx_ssrc.is_some() {
            SlotKind::Picture
        } else {
            SlotKind::Voice
        };
        SlotLines {
            name: name.to_owned(),
            ssrc,
            rtx_ssrc,
            kind,
        }
    });
    media.set_slots(slots.into());
    peer.set_answer(&answer).await.unwrap();
    let mut path = peer.path();
    let connected = path.wait_for(|&path| path == Path::Connected);
    tokio::time::timeout(Duration::from_secs(20), connected)
        .await
        .unwrap()
        .unwrap();

    let outgoing = Outgoing {
        point: POINT,
        ssrcs,
        mic_extensions: sections[&mids[0]].extensions.clone(),
        camera_extensions: sections[&mids[1]].extensions.clone(),
        mic_mid: mids[0].clone(),
        camera_mid: mids[1].clone(),
        fps: crate::clip::FRAMES_PER_SECOND,
    };
    assert!(outgoing.camera_extensions.transport_cc.is_some());
    let sender = Sender::new(outgoing, clock.now(), &mut rng);
    // The reflector keeps the sender's times.
    let (voice, picture) = sender.first_times();
    media.announce("a0", source_number(POINT, Kind::Mic), voice);
    media.announce("v0", source_number(POINT, Kind::Camera), picture);
    media.start(sender);
    let heard = async {
        while media.units() < 150 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), heard)
        .await
        .unwrap();
    media.stop_sending();
    let settled = async {
        while media.units_missing() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), settled)
        .await
        .unwrap();
    let report = media.finish();
    assert_eq!(report.received.errors(), 0, "{:?}", report.log);
    assert_eq!(report.received.lost, 0);
    assert!(report.sent.repairs > 0, "some packets came back by repair alone");
    assert!(report.latency.quantile_ms(0.5).is_some());
    peer.close().await;
    far.close().await.unwrap();
}
