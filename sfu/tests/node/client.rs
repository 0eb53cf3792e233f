//! A client of the node on a real socket, no more than the tests need: ICE, DTLS, SRTP, one offer.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use rtc::{
    crypto::{RTCCryptoProvider, default_provider},
    dtls::{
        config::{ClientAuthType, ConfigBuilder},
        crypto::Certificate,
        endpoint::{Endpoint, EndpointEvent},
        extension::extension_use_srtp::SrtpProtectionProfile,
    },
    shared::TransportProtocol,
    stun::{
        attributes::{ATTR_USE_CANDIDATE, ATTR_USERNAME},
        fingerprint::FINGERPRINT,
        integrity::MessageIntegrity,
        message::{BINDING_REQUEST, Message, Setter, TransactionId},
    },
};
use sfu::{
    driver::peer::Fingerprint,
    wire::{
        Class, classify,
        rtcp::{Rtcp, packets},
        rtp::{HeaderFields, write_header},
        srtp::{EXPORTER_LABEL, Opener, Profile, RTP_OVERHEAD_MAX, Sealer, Side, contexts},
    },
};
use tokio::{
    net::UdpSocket,
    time::{Instant, timeout},
};

/// Ids of the header extensions in the offer.
const EXTENSIONS: &str = "a=extmap:1 urn:ietf:params:rtp-hdrext:sdes:mid\r\n\
    a=extmap:3 http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01\r\n";

/// A client on a loopback socket.
pub(crate) struct Client {
    crypto: Arc<dyn RTCCryptoProvider>,
    certificate: Certificate,
    /// On loopback.
    pub(crate) socket: UdpSocket,
    node: SocketAddr,
    ufrag: &'static str,
    endpoint: Endpoint,
    contexts: Option<(Sealer, Opener)>,
    /// The node answered a check.
    pub(crate) checked: bool,
    /// The node said goodbye.
    pub(crate) closed: bool,
    /// Key frames that the node asked for.
    pub(crate) asked: usize,
    /// RTP packets in plaintext.
    pub(crate) received: Vec<Vec<u8>>,
}

impl Client {
    /// A client that has made no offer yet.
    pub(crate) async fn new(node: SocketAddr) -> Self {
        let crypto = default_provider().expect("built in");
        let certificate = Certificate::generate_self_signed(vec!["client".to_owned()], crypto.crypto());
        let socket = UdpSocket::bind("127.0.0.1:0").await.expect("bound");
        let local = socket.local_addr().expect("bound");
        Self {
            crypto,
            certificate: certificate.expect("a certificate"),
            socket,
            node,
            ufrag: "abcd",
            endpoint: Endpoint::new(local, TransportProtocol::UDP, None),
            contexts: None,
            checked: false,
            closed: false,
            asked: 0,
            received: Vec::new(),
        }
    }

    /// Sends a microphone (mid 0) and a camera (mid 1), receives a voice (mid 2) and a picture (mid 3).
    pub(crate) fn offer(&self) -> String {
        let fingerprint = Fingerprint::of(self.certificate.certificate[0].as_ref());
        let common = format!(
            "c=IN IP4 0.0.0.0\r\na=rtcp-mux\r\na=ice-ufrag:{}\r\na=ice-pwd:0123456789abcdef01234567\r\n\
             a=fingerprint:sha-256 {fingerprint}\r\na=setup:actpass\r\n{EXTENSIONS}",
            self.ufrag
        );
        let opus = "a=rtpmap:111 opus/48000/2\r\na=rtcp-fb:111 transport-cc\r\n";
        let vp8 = "a=rtpmap:96 VP8/90000\r\na=rtcp-fb:96 transport-cc\r\na=rtcp-fb:96 nack\r\n\
                   a=rtcp-fb:96 nack pli\r\na=rtpmap:97 rtx/90000\r\na=fmtp:97 apt=96\r\n";
        let section = |mid: u8, direction: &str| {
            let (media, codecs) = if mid.is_multiple_of(2) {
                ("audio 9 UDP/TLS/RTP/SAVPF 111", opus)
            } else {
                ("video 9 UDP/TLS/RTP/SAVPF 96 97", vp8)
            };
            format!("m={media}\r\n{common}a=mid:{mid}\r\na={direction}\r\n{codecs}")
        };
        format!(
            "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0 1 2 3\r\n{}{}{}{}",
            section(0, "sendonly"),
            section(1, "sendonly"),
            section(2, "recvonly"),
            section(3, "recvonly"),
        )
    }

    /// Moves to another address, as after a change of network. The next offer is that of an ICE restart.
    pub(crate) async fn move_away(&mut self) {
        self.socket = UdpSocket::bind("127.0.0.1:0").await.expect("bound");
        self.ufrag = "efgh";
    }

    /// What an offer says of ICE (RFC 8840 §9).
    pub(crate) fn fragment(&self) -> String {
        format!(
            "a=ice-ufrag:{}\r\na=ice-pwd:0123456789abcdef01234567\r\n",
            self.ufrag
        )
    }

    /// Sends a nominating check with the credentials of the answer.
    pub(crate) async fn check(&self, answer: &str) {
        let ufrag = line(answer, "a=ice-ufrag:");
        let request = self.request(ufrag, line(answer, "a=ice-pwd:"));
        self.send_raw(&request).await;
    }

    /// A nominating check for whoever has that ufrag, with that password.
    pub(crate) fn request(&self, ufrag: &str, password: &str) -> Vec<u8> {
        let mut check = Message::new();
        check.set_type(BINDING_REQUEST);
        check.transaction_id = TransactionId([5; 12]);
        check.write_header();
        let name = format!("{ufrag}:{}", self.ufrag);
        check.add(ATTR_USERNAME, name.as_bytes());
        check.add(ATTR_USE_CANDIDATE, &[]);
        MessageIntegrity::new_short_term_integrity_with_provider(password.to_owned(), self.crypto.crypto())
            .add_to(&mut check)
            .expect("room");
        FINGERPRINT.add_to(&mut check).expect("room");
        check.raw
    }

    /// Connects as the answer says, to where it says.
    pub(crate) async fn connect(&mut self, answer: &str) {
        self.node = candidate(answer);
        self.check(answer).await;
        let config = ConfigBuilder::default()
            .with_crypto_provider(self.crypto.clone())
            .with_certificates(vec![self.certificate.clone()])
            .with_srtp_protection_profiles(vec![SrtpProtectionProfile::Srtp_Aead_Aes_128_Gcm])
            .with_client_auth(ClientAuthType::RequireAnyClientCert)
            .with_insecure_skip_verify(true)
            .build(true, Some(self.node))
            .expect("a configuration");
        let now = std::time::Instant::now();
        self.endpoint
            .connect(now, self.node, Arc::new(config), None)
            .expect("begins");
        while self.contexts.is_none() {
            self.turn().await;
        }
    }

    /// Sends what waits, takes what comes within a short while.
    pub(crate) async fn turn(&mut self) {
        while let Some(transmit) = self.endpoint.poll_transmit() {
            self.socket
                .send_to(&transmit.message, self.node)
                .await
                .expect("sent");
        }
        let end = Instant::now() + Duration::from_millis(20);
        let mut buffer = [0; 2_048];
        while let Ok(received) = timeout(end - Instant::now(), self.socket.recv_from(&mut buffer)).await {
            let (length, _) = received.expect("a datagram");
            self.handle(&mut buffer[..length]);
            while let Some(transmit) = self.endpoint.poll_transmit() {
                self.socket
                    .send_to(&transmit.message, self.node)
                    .await
                    .expect("sent");
            }
        }
    }

    fn handle(&mut self, datagram: &mut [u8]) {
        match (classify(datagram), &mut self.contexts) {
            (Class::Dtls, _) => {
                let now = std::time::Instant::now();
                let events = self.endpoint.read(now, self.node, None, (&*datagram).into());
                for event in events.unwrap_or_default() {
                    match event {
                        EndpointEvent::HandshakeComplete => self.contexts = Some(self.export()),
                        EndpointEvent::PeerClosed => self.closed = true,
                        _ => {}
                    }
                }
            }
            (Class::Stun, _) => self.checked = true,
            (Class::Rtp, Some((_, opener))) => {
                let length = opener.open_rtp(datagram).expect("authentic");
                self.received.push(datagram[..length].to_vec());
            }
            (Class::Rtcp, Some((_, opener))) => {
                let length = opener.open_rtcp(datagram).expect("authentic");
                let asked = packets(&datagram[..length]);
                self.asked += asked.filter(|p| matches!(p, Ok(Rtcp::PictureLoss(_)))).count();
            }
            _ => {}
        }
    }

    fn export(&self) -> (Sealer, Opener) {
        let state = self.endpoint.get_connection_state(self.node).expect("connected");
        let profile = Profile::from_dtls(state.srtp_protection_profile() as u16).expect("one of ours");
        let length = profile.keying_material_len();
        let material = state
            .export_keying_material(EXPORTER_LABEL, &[], length)
            .expect("exported");
        contexts(profile, material.as_ref(), Side::Client).expect("right length")
    }

    /// Where it sends to.
    pub(crate) fn node(&self) -> SocketAddr {
        self.node
    }

    /// Sends bytes as they are, by the path of its media.
    pub(crate) async fn send_raw(&self, datagram: &[u8]) {
        self.socket.send_to(datagram, self.node).await.expect("sent");
    }

    /// Sends an RTP packet of the m-section `mid`; if that is empty one that names none.
    pub(crate) async fn send(&mut self, mid: &str, fields: &HeaderFields, payload: &[u8]) {
        let mut packet = vec![0; 256 + payload.len() + RTP_OVERHEAD_MAX];
        let named = [(1, mid.as_bytes())];
        let named = &named[..usize::from(!mid.is_empty())];
        let head = write_header(fields, None, named, &mut packet).expect("room");
        packet[head..head + payload.len()].copy_from_slice(payload);
        let (sealer, _) = self.contexts.as_mut().expect("connected");
        let length = sealer
            .seal_rtp(&mut packet, head + payload.len())
            .expect("ascending");
        self.socket
            .send_to(&packet[..length], self.node)
            .await
            .expect("sent");
    }
}

/// Where the first candidate of an answer is (RFC 8839 §5.1).
pub(crate) fn candidate(answer: &str) -> SocketAddr {
    let mut words = line(answer, "a=candidate:").split(' ').skip(4);
    let mut word = || words.next().expect("in a candidate");
    let (address, port) = (word(), word());
    SocketAddr::new(
        address.parse().expect("an address"),
        port.parse().expect("a port"),
    )
}

/// What stands behind that in an answer.
pub(crate) fn line<'a>(answer: &'a str, name: &str) -> &'a str {
    answer
        .lines()
        .find_map(|line| line.strip_prefix(name))
        .expect("in the answer")
}
