//! The DTLS association of one peer: passive server, one certificate for the process, keys exported for SRTP.
//!
//! The endpoint of `rtc-dtls` is keyed by one constant address, so that address moves never touch it. Before it stands
//! the front ([`super::dtls_front`]); beside it this file keeps the time between repeats of our flight: the endpoint
//! allows seven and then gives up, so they are spread over some five seconds instead of one. A client that asks again
//! is answered at any time (RFC 6347 §4.2.4), from a copy of that flight: it may have been away for longer. Our last
//! flight the endpoint repeats itself for each Finished that comes again, seven times at most, and then never.

use std::{
    collections::VecDeque,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::BytesMut;
use rtc::{
    crypto::{RTCCryptoProvider, default_provider},
    dtls::{
        cipher_suite::CipherSuiteId,
        config::{ClientAuthType, ConfigBuilder, HandshakeConfig},
        crypto::Certificate,
        endpoint::{Endpoint, EndpointEvent},
    },
    shared::{TransportProtocol, error::Error as RtcError},
};

use super::{
    Fingerprint, LostReason,
    dtls_front::{Front, srtp_profiles},
};
use crate::{
    driver::gate::DtlsRefused,
    wire::srtp::{self, EXPORTER_LABEL, Opener, Profile, Sealer, Side},
};

/// First wait before our flight is sent again.
const FLIGHT_INTERVAL: Duration = Duration::from_millis(100);

/// Milliseconds added to [`FLIGHT_INTERVAL`] before the first to seventh repeat: quick on a lossy line, patient on a
/// satellite one.
const REPEAT_PAUSES_MS: [u64; 7] = [0, 0, 100, 300, 700, 1_100, 1_700];

/// Datagrams of our flight that are kept for a client that asks again: it has two or three. Overflow: those are sent again by time alone.
const FLIGHT_DATAGRAMS_MAX: usize = 4;

/// Largest DTLS datagram we send, in bytes.
const MTU: usize = 1_200;

/// The address the endpoint knows its only client by.
const CLIENT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 1);

/// Fatal alert handshake_failure in a first plaintext record (RFC 5246 §7.2), for a client without a profile of ours:
/// sent at most once an association, before there is an endpoint.
const HANDSHAKE_FAILURE: [u8; 15] = [21, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 2, 40];

/// Profiles we speak, best first: the 128-bit key is quicker, and a longer one protects nothing that is at risk here. The
/// last is for clients that have nothing newer, where they are let in.
const PROFILES: [Profile; 3] = [
    Profile::AeadAes128Gcm,
    Profile::AeadAes256Gcm,
    Profile::Aes128CmSha1,
];

/// The node's identity: one certificate for all peers of the process, made when it starts.
pub struct Identity {
    crypto: Arc<dyn RTCCryptoProvider>,
    fingerprint: Fingerprint,
    /// One configuration per profile, the best first, so that the endpoint cannot fall back to another.
    configs: Vec<(Profile, Arc<HandshakeConfig>)>,
}

/// The certificate could not be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cannot make the DTLS certificate: {0}")]
pub struct IdentityError(String);

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Identity")
            .field("fingerprint", &self.fingerprint)
            .finish_non_exhaustive()
    }
}

impl Identity {
    /// A new self-signed certificate with an ECDSA key on P-256. Takes about a millisecond. Clients that offer nothing
    /// better than AES-CM with HMAC-SHA1 are refused unless `weak_srtp` lets them in.
    pub fn new(weak_srtp: bool) -> Result<Self, IdentityError> {
        let explain = |error: RtcError| IdentityError(error.to_string());
        let crypto = default_provider().map_err(|error| IdentityError(error.to_string()))?;
        let certificate =
            Certificate::generate_self_signed(vec!["WebRTC".to_owned()], crypto.crypto()).map_err(explain)?;
        let der = certificate
            .certificate
            .first()
            .ok_or_else(|| IdentityError("no certificate".to_owned()))?;
        let fingerprint = Fingerprint::of(der.as_ref());
        let config = |profile: Profile| {
            ConfigBuilder::default()
                .with_crypto_provider(crypto.clone())
                .with_certificates(vec![certificate.clone()])
                .with_cipher_suites(vec![CipherSuiteId::Tls_Ecdhe_Ecdsa_With_Aes_128_Gcm_Sha256])
                .with_srtp_protection_profiles(vec![profile.dtls().into()])
                // The certificate is compared with the offer's fingerprint when the handshake is done.
                .with_client_auth(ClientAuthType::RequireAnyClientCert)
                .with_insecure_skip_verify(true)
                .with_flight_interval(FLIGHT_INTERVAL)
                .with_mtu(MTU)
                .build(false, None)
                .map(|config| (profile, Arc::new(config)))
                .map_err(explain)
        };
        let spoken = PROFILES.into_iter().filter(|p| weak_srtp || !p.is_weak());
        Ok(Self {
            fingerprint,
            configs: spoken.map(config).collect::<Result<_, _>>()?,
            crypto,
        })
    }

    /// For the answers.
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    pub(super) fn crypto(&self) -> Arc<dyn RTCCryptoProvider> {
        self.crypto.clone()
    }
}

/// What became of an association.
pub(super) enum DtlsEvent {
    /// Handshake done with the right certificate: what we send with, and what we receive with.
    Connected(Box<(Sealer, Opener)>),
    /// It is over.
    Lost(LostReason),
}

enum Phase {
    /// No whole ClientHello yet.
    Waiting,
    Handshaking(Profile),
    Connected(Profile),
    Over,
}

/// The association of one peer.
pub(super) struct Dtls {
    identity: Arc<Identity>,
    remote: Fingerprint,
    endpoint: Endpoint,
    front: Front,
    phase: Phase,
    /// How often our flight was sent again.
    repeats: usize,
    /// Our flight as it went out first, during the handshake, and when it went out last.
    flight: Vec<Vec<u8>>,
    flown: Option<Instant>,
    /// Datagrams that are sent before those of the endpoint: a refusal, or the flight once more.
    own: VecDeque<Vec<u8>>,
}

impl Dtls {
    pub(super) fn new(identity: Arc<Identity>, remote: Fingerprint) -> Self {
        Self {
            identity,
            remote,
            endpoint: Endpoint::new(CLIENT, TransportProtocol::UDP, None),
            front: Front::default(),
            phase: Phase::Waiting,
            repeats: 0,
            flight: Vec::new(),
            flown: None,
            own: VecDeque::new(),
        }
    }

    /// How packets are protected, once the handshake is done.
    pub(super) fn profile(&self) -> Option<Profile> {
        match self.phase {
            Phase::Connected(profile) => Some(profile),
            Phase::Waiting | Phase::Handshaking(_) | Phase::Over => None,
        }
    }

    /// Takes a datagram from a validated path.
    pub(super) fn handle(&mut self, now: Instant, datagram: &[u8]) -> Result<Option<DtlsEvent>, DtlsRefused> {
        if matches!(self.phase, Phase::Over) {
            return Err(DtlsRefused::Over);
        }
        let passed = self.front.handle(datagram);
        if self.front.take_asked() {
            self.fly_again(now);
        }
        let passed = passed?;
        if passed.bytes.is_empty() {
            return Ok(None); // a piece of something
        }
        if matches!(self.phase, Phase::Waiting) {
            let hello = passed.hello.as_deref().ok_or(DtlsRefused::Useless)?;
            if !self.begin(hello) {
                return Ok(Some(self.lost(LostReason::Profile)));
            }
        }
        let events = self
            .endpoint
            .read(now, CLIENT, None, BytesMut::from(passed.bytes.as_slice()));
        if self.front.greeted() {
            self.flown.get_or_insert(now);
        }
        Ok(self.handle_events(events))
    }

    /// The client has not heard our flight: it goes out once more, unless it did a moment ago. What the client has it drops by its number.
    fn fly_again(&mut self, now: Instant) {
        let rests = |since: Instant| now.saturating_duration_since(since) >= FLIGHT_INTERVAL;
        if matches!(self.phase, Phase::Handshaking(_)) && self.flown.is_some_and(rests) {
            self.flown = Some(now);
            self.own.extend(self.flight.iter().cloned());
        }
    }

    /// Chooses the profile by the first ClientHello. False: none of ours is offered.
    fn begin(&mut self, hello: &[u8]) -> bool {
        // Ours, not the client's order: clients list slow profiles first.
        let offered = srtp_profiles(hello);
        let config = self
            .identity
            .configs
            .iter()
            .find(|(profile, _)| offered.contains(&profile.dtls()));
        let Some((profile, config)) = config else {
            self.own.push_back(HANDSHAKE_FAILURE.to_vec());
            return false;
        };
        self.endpoint.set_server_config(Some(config.clone()));
        self.phase = Phase::Handshaking(*profile);
        true
    }

    fn handle_events(&mut self, events: Result<Vec<EndpointEvent>, RtcError>) -> Option<DtlsEvent> {
        let events = match (events, &self.phase) {
            (Ok(events), _) => events,
            // After the handshake the front lets through nothing but what is authenticated before it is acted on.
            (Err(RtcError::ErrAlertFatalOrClose), Phase::Connected(_)) => {
                return Some(self.lost(LostReason::Closed));
            }
            (Err(_), Phase::Connected(_)) => return None,
            (Err(_), _) => return Some(self.lost(LostReason::Handshake)),
        };
        for event in events {
            match event {
                EndpointEvent::HandshakeComplete => return Some(self.complete()),
                EndpointEvent::PeerClosed => return Some(self.lost(LostReason::Closed)),
                _ => {} // no data channel: application data has no receiver
            }
        }
        None
    }

    /// The handshake is done: is it with whom the offer names?
    fn complete(&mut self) -> DtlsEvent {
        let Phase::Handshaking(profile) = self.phase else {
            return self.lost(LostReason::Handshake);
        };
        let Some(state) = self.endpoint.get_connection_state(CLIENT) else {
            return self.lost(LostReason::Handshake);
        };
        let is_named = state
            .peer_certificates
            .first()
            .is_some_and(|der| Fingerprint::of(der) == self.remote);
        if !is_named {
            return self.lost(LostReason::Fingerprint);
        }
        let agreed = state.srtp_protection_profile() as u16 == profile.dtls();
        let material = state.export_keying_material(EXPORTER_LABEL, &[], profile.keying_material_len());
        let contexts = material
            .ok()
            .and_then(|m| srtp::contexts(profile, m.as_ref(), Side::Server).ok());
        match contexts {
            Some(contexts) if agreed => {
                self.phase = Phase::Connected(profile);
                self.front.set_connected();
                self.flight = Vec::new();
                DtlsEvent::Connected(Box::new(contexts))
            }
            _ => self.lost(LostReason::Handshake),
        }
    }

    fn lost(&mut self, reason: LostReason) -> DtlsEvent {
        self.phase = Phase::Over;
        DtlsEvent::Lost(reason)
    }

    /// Says goodbye (close_notify) if there is somebody to say it to. The association is over.
    pub(super) fn close(&mut self, now: Instant) {
        if matches!(self.phase, Phase::Connected(_)) {
            self.endpoint.stop(now, CLIENT);
        }
        self.phase = Phase::Over;
    }

    /// The next datagram to send.
    pub(super) fn poll_transmit(&mut self) -> Option<Vec<u8>> {
        if let Some(own) = self.own.pop_front() {
            return Some(own);
        }
        let datagram = self.endpoint.poll_transmit()?.message.to_vec();
        let is_flight = self.front.greeted() && matches!(self.phase, Phase::Handshaking(_));
        if is_flight && self.repeats == 0 && self.flight.len() < FLIGHT_DATAGRAMS_MAX {
            self.flight.push(datagram.clone());
        }
        Some(datagram)
    }

    /// When our flight is sent again. The endpoint re-arms its timer for a HelloVerifyRequest too, but sends nothing.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        if !self.front.greeted() || !matches!(self.phase, Phase::Handshaking(_)) {
            return None;
        }
        let pause = *REPEAT_PAUSES_MS.get(self.repeats)?;
        Some(self.endpoint.poll_timeout(&CLIENT)? + Duration::from_millis(pause))
    }

    /// Sends our flight again if its time has come.
    pub(super) fn handle_timeout(&mut self, now: Instant) -> Option<DtlsEvent> {
        if self.poll_timeout().is_none_or(|due| now < due) {
            return None;
        }
        self.repeats += 1;
        self.flown = Some(now);
        match self.endpoint.handle_timeout(CLIENT, now) {
            Ok(()) => None,
            Err(_) => Some(self.lost(LostReason::Handshake)),
        }
    }
}

#[cfg(test)]
pub(super) mod tests_support {
    //! What tests need to show what happens without the front.

    use super::*;

    impl Dtls {
        pub(in super::super) fn remote(&self) -> Fingerprint {
            self.remote
        }
    }

    /// A server as `rtc-dtls` makes it, with the same configuration.
    pub(in super::super) fn bare_endpoint() -> Endpoint {
        let identity = Identity::new(true).expect("a certificate");
        Endpoint::new(
            CLIENT,
            TransportProtocol::UDP,
            Some(identity.configs[0].1.clone()),
        )
    }
}
