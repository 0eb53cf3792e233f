//! A scripted client against a [`Peer`], in memory and in virtual time.

mod attacks;
mod connectivity;
mod handshake;

use rand::{RngExt, SeedableRng, rngs::StdRng};
use rtc::{
    crypto::default_provider,
    dtls::{
        config::{ClientAuthType, ConfigBuilder, HandshakeConfig},
        crypto::Certificate,
        endpoint::{Endpoint, EndpointEvent},
        extension::extension_use_srtp::SrtpProtectionProfile,
    },
    shared::TransportProtocol,
    stun::{
        attributes::{ATTR_USE_CANDIDATE, ATTR_USERNAME, AttrType},
        fingerprint::FINGERPRINT,
        integrity::MessageIntegrity,
        message::{BINDING_REQUEST, Message, Setter, TransactionId},
    },
};

use super::*;
use crate::wire::srtp::{self, EXPORTER_LABEL, Profile, Side};

/// The node's end, as the client's endpoint knows it.
pub(super) const NODE: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 9);

/// A way from the client's port `port`.
pub(super) fn path(port: u16) -> Path {
    Path {
        local: SocketAddr::from(([192, 0, 2, 1], 7882)),
        remote: SocketAddr::from(([198, 51, 100, 7], port)),
    }
}

pub(super) fn credentials(seed: u64) -> IceCredentials {
    IceCredentials::new(7, &mut StdRng::seed_from_u64(seed))
}

/// A binding request as a client of these credentials sends it.
pub(super) fn check(credentials: &IceCredentials, password: &str, extra: &[AttrType]) -> Vec<u8> {
    let crypto = default_provider().expect("built in");
    let mut message = Message::new();
    message.set_type(BINDING_REQUEST);
    message.transaction_id = TransactionId([5; 12]);
    message.write_header();
    message.add(ATTR_USERNAME, format!("{}:abcd", credentials.ufrag).as_bytes());
    extra.iter().for_each(|&attribute| message.add(attribute, &[]));
    MessageIntegrity::new_short_term_integrity_with_provider(password.to_owned(), crypto.crypto())
        .add_to(&mut message)
        .expect("room");
    FINGERPRINT.add_to(&mut message).expect("room");
    message.raw
}

/// The client's DTLS: as a browser it repeats what it sent until the answer is whole.
///
/// `rtc-dtls` as a client stops its timer at every repeat of the server, so those are dropped before it.
pub(super) struct Client {
    endpoint: Endpoint,
    seen: u32,
    repeats: u32,
    repeat_at: Option<Instant>,
    pub(super) contexts: Option<(Sealer, Opener)>,
    pub(super) closed: bool,
}

/// Waits before each repeat, in milliseconds, as Chromium's.
const REPEATS_MS: [u64; 7] = [50, 60, 90, 200, 400, 400, 400];

impl Client {
    pub(super) fn config(
        profiles: &[SrtpProtectionProfile],
        mtu: usize,
    ) -> (Arc<HandshakeConfig>, Fingerprint) {
        let crypto = default_provider().expect("built in");
        let certificate = Certificate::generate_self_signed(vec!["client".to_owned()], crypto.crypto())
            .expect("a certificate");
        let fingerprint = Fingerprint::of(certificate.certificate[0].as_ref());
        let config = ConfigBuilder::default()
            .with_crypto_provider(crypto)
            .with_certificates(vec![certificate])
            .with_srtp_protection_profiles(profiles.to_vec())
            .with_client_auth(ClientAuthType::RequireAnyClientCert)
            .with_insecure_skip_verify(true)
            .with_mtu(mtu)
            .build(true, Some(NODE))
            .expect("a configuration");
        (Arc::new(config), fingerprint)
    }

    pub(super) fn connect(now: Instant, config: Arc<HandshakeConfig>) -> Self {
        let mut endpoint = Endpoint::new(path(1).remote, TransportProtocol::UDP, None);
        endpoint.connect(now, NODE, config, None).expect("begins");
        let mut client = Self {
            endpoint,
            seen: 0,
            repeats: 0,
            repeat_at: None,
            contexts: None,
            closed: false,
        };
        client.arm(now);
        client
    }

    pub(super) fn handle(&mut self, now: Instant, datagram: &[u8]) {
        if self.is_repeat(datagram) {
            return;
        }
        let events = self
            .endpoint
            .read(now, NODE, None, datagram.into())
            .unwrap_or_default();
        for event in events {
            match event {
                EndpointEvent::HandshakeComplete => self.contexts = self.export(),
                EndpointEvent::PeerClosed => self.closed = true,
                _ => {}
            }
        }
        self.arm(now);
    }

    /// Whether all plaintext handshake messages of the datagram were seen before.
    fn is_repeat(&mut self, datagram: &[u8]) -> bool {
        let [22, _, _, 0, 0, .., _] = datagram else {
            return false;
        };
        let bit = 1 << (datagram[18] & 31); // message_seq of the first
        let was_seen = self.seen & bit != 0;
        self.seen |= bit;
        was_seen
    }

    fn export(&self) -> Option<(Sealer, Opener)> {
        let state = self.endpoint.get_connection_state(NODE)?;
        let profile = Profile::from_dtls(state.srtp_protection_profile() as u16)?;
        let length = profile.keying_material_len();
        let material = state.export_keying_material(EXPORTER_LABEL, &[], length).ok()?;
        srtp::contexts(profile, material.as_ref(), Side::Client).ok()
    }

    /// A timer of its own: the endpoint's gives up after eight equal waits.
    fn arm(&mut self, now: Instant) {
        let wait = REPEATS_MS
            .get(self.repeats as usize)
            .filter(|_| self.contexts.is_none());
        self.repeat_at = wait.map(|&ms| now + Duration::from_millis(ms));
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) {
        if self.repeat_at.is_some_and(|at| now >= at) {
            self.repeats += 1;
            self.arm(now);
            // The endpoint's own second is not over: tell it that it is.
            let _ = self
                .endpoint
                .handle_timeout(NODE, now + 60 * self.repeats * Duration::from_secs(1));
        }
    }

    pub(super) fn poll_transmit(&mut self) -> Option<Vec<u8>> {
        self.endpoint.poll_transmit().map(|t| t.message.to_vec())
    }

    pub(super) fn close(&mut self, now: Instant) {
        let _ = self.endpoint.close(now);
    }
}

/// A client and its peer, joined by a line that loses DTLS datagrams.
pub(super) struct Call {
    pub(super) now: Instant,
    pub(super) peer: Peer,
    pub(super) credentials: IceCredentials,
    pub(super) client: Client,
    pub(super) events: Vec<PeerEvent>,
    rng: StdRng,
    loss: f64,
    /// (arrival, to the peer, bytes)
    line: Vec<(Instant, bool, Vec<u8>)>,
}

const DELAY: Duration = Duration::from_millis(10);
const STEP: Duration = Duration::from_millis(5);

impl Call {
    pub(super) fn new(seed: u64, loss: f64, mtu: usize) -> Self {
        Self::with(seed, loss, &[SrtpProtectionProfile::Srtp_Aead_Aes_128_Gcm], mtu)
    }

    pub(super) fn with(seed: u64, loss: f64, profiles: &[SrtpProtectionProfile], mtu: usize) -> Self {
        let (config, fingerprint) = Client::config(profiles, mtu);
        let (now, credentials) = (Instant::now(), credentials(seed));
        let identity = Arc::new(Identity::new(true).expect("a certificate"));
        Self {
            now,
            peer: Peer::new(now, &identity, credentials.clone(), fingerprint),
            credentials,
            client: Client::connect(now, config),
            events: Vec::new(),
            rng: StdRng::seed_from_u64(seed),
            loss,
            line: Vec::new(),
        }
    }

    /// Another node, which lets weak clients in or not.
    pub(super) fn replace_peer(&mut self, weak_srtp: bool) {
        let identity = Arc::new(Identity::new(weak_srtp).expect("a certificate"));
        self.peer = Peer::new(
            self.now,
            &identity,
            self.credentials.clone(),
            self.peer.dtls.remote(),
        );
    }

    /// A check by that path; the answer is thrown away.
    pub(super) fn check(&mut self, path: Path) {
        let request = check(
            &self.credentials,
            self.credentials.password(),
            &[ATTR_USE_CANDIDATE],
        );
        self.peer
            .handle_stun(self.now, path, &request)
            .expect("a valid check");
        while self.peer.poll_transmit().is_some() {}
    }

    fn send(&mut self, to_peer: bool, bytes: Vec<u8>) {
        if self.rng.random::<f64>() >= self.loss {
            self.line.push((self.now + DELAY, to_peer, bytes));
        }
    }

    /// 5 ms of virtual time.
    pub(super) fn step(&mut self) {
        self.now += STEP;
        self.client.handle_timeout(self.now);
        self.peer.handle_timeout(self.now);
        let (due, later) = std::mem::take(&mut self.line)
            .into_iter()
            .partition(|(at, ..)| *at <= self.now);
        self.line = later;
        let due: Vec<(Instant, bool, Vec<u8>)> = due;
        for (_, to_peer, bytes) in due {
            match to_peer {
                true => _ = self.peer.handle_dtls(self.now, path(1), &bytes),
                false => self.client.handle(self.now, &bytes),
            }
        }
        while let Some(bytes) = self.client.poll_transmit() {
            self.send(true, bytes);
        }
        while let Some(transmit) = self.peer.poll_transmit() {
            assert_eq!(transmit.path, path(1));
            self.send(false, transmit.bytes);
        }
        while let Some(event) = self.peer.poll_event() {
            self.events.push(event);
        }
    }

    pub(super) fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            self.step();
        }
    }

    /// Joins without loss.
    pub(super) fn connected(seed: u64) -> Self {
        let mut call = Self::new(seed, 0.0, 1_200);
        call.check(path(1));
        call.run(Duration::from_millis(500));
        assert!(call.both_are_connected());
        call
    }

    pub(super) fn both_are_connected(&self) -> bool {
        self.peer.is_connected() && self.client.contexts.is_some()
    }
}
