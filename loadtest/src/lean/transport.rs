//! The path of one lean point: checks of ICE (RFC 8445), DTLS, keys for SRTP. Told the time, it has no socket.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use bytes::BytesMut;
use rtc::{
    crypto::{RTCCryptoProvider, default_provider},
    dtls::{
        config::{ClientAuthType, ConfigBuilder, HandshakeConfig},
        crypto::Certificate,
        endpoint::{Endpoint, EndpointEvent},
        extension::extension_use_srtp::SrtpProtectionProfile,
    },
    shared::TransportProtocol,
    stun::{
        attributes::{ATTR_ICE_CONTROLLING, ATTR_PRIORITY, ATTR_USE_CANDIDATE, ATTR_USERNAME},
        fingerprint::FINGERPRINT,
        integrity::MessageIntegrity,
        message::{BINDING_REQUEST, BINDING_SUCCESS, Message, Setter, TransactionId},
        xoraddr::XorMappedAddress,
    },
};
use sfu::{
    driver::peer::Fingerprint,
    wire::srtp::{EXPORTER_LABEL, Opener, Profile, Sealer, Side, contexts},
};

use super::answer::{Credentials, Remote};
use crate::peer::Path;

/// Pause between checks until one is answered.
const CHECK_PAUSE: Duration = Duration::from_millis(50);
/// Pause between checks afterwards, as libwebrtc makes them of a path in use; they renew consent too (RFC 7675).
const KEEP_PAUSE: Duration = Duration::from_millis(2_500);
/// A path whose checks are not answered for this long is lost (RFC 7675 section 5.1).
const CONSENT: Duration = Duration::from_secs(30);
/// First wait before a flight of DTLS is sent again.
const FLIGHT_INTERVAL: Duration = Duration::from_millis(100);
/// Priority of a host candidate (RFC 8445 section 5.1.2).
const PRIORITY: u32 = 0x6eff_ffff;

/// The certificate that all lean points share: nobody compares them, and one is made in a millisecond.
pub(super) struct Identity {
    crypto: Arc<dyn RTCCryptoProvider>,
    certificate: Certificate,
    fingerprint: Fingerprint,
}

impl Identity {
    pub(super) fn new() -> anyhow::Result<Self> {
        let crypto = default_provider().context("cryptography")?;
        let certificate = Certificate::generate_self_signed(vec!["point".to_owned()], crypto.crypto())
            .context("certificate")?;
        let der = certificate.certificate.first().context("certificate")?;
        let fingerprint = Fingerprint::of(der.as_ref());
        Ok(Self {
            crypto,
            certificate,
            fingerprint,
        })
    }

    /// Of the handshake as one of its two sides.
    fn config(&self, is_client: bool, remote: SocketAddr) -> anyhow::Result<Arc<HandshakeConfig>> {
        let config = ConfigBuilder::default()
            .with_crypto_provider(self.crypto.clone())
            .with_certificates(vec![self.certificate.clone()])
            .with_srtp_protection_profiles(vec![SrtpProtectionProfile::Srtp_Aead_Aes_128_Gcm])
            .with_client_auth(ClientAuthType::RequireAnyClientCert)
            // Whom it speaks to is no question of a load test.
            .with_insecure_skip_verify(true)
            .with_flight_interval(FLIGHT_INTERVAL)
            .build(is_client, Some(remote))?;
        Ok(Arc::new(config))
    }

    /// For offers.
    pub(super) fn fingerprint(&self) -> String {
        self.fingerprint.to_string()
    }
}

/// A path on its way, or in use.
pub(super) struct Transport {
    identity: Arc<Identity>,
    remote: Remote,
    username: String,
    /// Our own, that checks of the other side are sealed with.
    password: String,
    endpoint: Endpoint,
    path: Path,
    next_check: Instant,
    checks: u32,
    answered: Option<Instant>,
    began: Instant,
    contexts: Option<(Sealer, Opener)>,
}

impl Transport {
    /// A path to whom the answer names. The first check is due at once.
    pub(super) fn new(
        identity: Arc<Identity>,
        local: SocketAddr,
        credentials: &Credentials,
        remote: Remote,
        now: Instant,
    ) -> Self {
        let server = remote.begins.then(|| identity.config(false, remote.address));
        let path = match server {
            Some(Err(_)) => Path::Lost,
            _ => Path::Opening,
        };
        Self {
            identity,
            username: format!("{}:{}", remote.ufrag, credentials.ufrag),
            password: credentials.password.clone(),
            remote,
            endpoint: Endpoint::new(local, TransportProtocol::UDP, server.and_then(Result::ok)),
            path,
            next_check: now,
            checks: 0,
            answered: None,
            began: now,
            contexts: None,
        }
    }

    /// Where everything goes.
    pub(super) fn remote(&self) -> SocketAddr {
        self.remote.address
    }

    /// How far it is.
    pub(super) fn path(&self) -> Path {
        self.path
    }

    /// Keys, once the handshake is done.
    pub(super) fn contexts(&mut self) -> Option<&mut (Sealer, Opener)> {
        self.contexts.as_mut()
    }

    /// A STUN message came. What to answer: a full ICE agent checks too.
    pub(super) fn handle_stun(&mut self, now: Instant, datagram: &[u8]) -> Option<Vec<u8>> {
        let mut message = Message::new();
        message.raw = datagram.to_vec();
        message.decode().ok()?;
        if message.typ == BINDING_REQUEST {
            return self.answer(message.transaction_id);
        }
        if message.typ != BINDING_SUCCESS {
            return None;
        }
        let first = self.answered.replace(now).is_none();
        if first {
            self.next_check = now + KEEP_PAUSE;
            if self.begin_handshake(now).is_err() {
                self.path = Path::Lost;
            }
        }
        None
    }

    /// The success response to a check (RFC 8445 section 7.3).
    fn answer(&self, id: TransactionId) -> Option<Vec<u8>> {
        let mut answer = Message::new();
        answer.set_type(BINDING_SUCCESS);
        answer.transaction_id = id;
        answer.write_header();
        let mapped = XorMappedAddress {
            ip: self.remote.address.ip(),
            port: self.remote.address.port(),
        };
        mapped.add_to(&mut answer).ok()?;
        self.seal(answer, &self.password)
    }

    /// Adds integrity and fingerprint (RFC 8489 sections 14.5 and 14.7).
    fn seal(&self, mut message: Message, password: &str) -> Option<Vec<u8>> {
        let crypto = self.identity.crypto.crypto();
        MessageIntegrity::new_short_term_integrity_with_provider(password.to_owned(), crypto)
            .add_to(&mut message)
            .ok()?;
        FINGERPRINT.add_to(&mut message).ok()?;
        Some(message.raw)
    }

    /// A DTLS record came.
    pub(super) fn handle_dtls(&mut self, now: Instant, datagram: &[u8]) {
        let bytes = BytesMut::from(datagram);
        let events = self.endpoint.read(now, self.remote.address, None, bytes);
        for event in events.unwrap_or_default() {
            match event {
                EndpointEvent::HandshakeComplete => {
                    self.contexts = self.export();
                    self.path = match self.contexts {
                        Some(_) => Path::Connected,
                        None => Path::Lost,
                    };
                }
                EndpointEvent::PeerClosed => self.path = Path::Lost,
                _ => {}
            }
        }
    }

    /// Unless the other side does.
    fn begin_handshake(&mut self, now: Instant) -> anyhow::Result<()> {
        if self.remote.begins {
            return Ok(());
        }
        let config = self.identity.config(true, self.remote.address)?;
        Ok(self.endpoint.connect(now, self.remote.address, config, None)?)
    }

    fn export(&self) -> Option<(Sealer, Opener)> {
        let state = self.endpoint.get_connection_state(self.remote.address)?;
        let profile = Profile::from_dtls(state.srtp_protection_profile() as u16)?;
        let length = profile.keying_material_len();
        let material = state.export_keying_material(EXPORTER_LABEL, &[], length).ok()?;
        let side = if self.remote.begins {
            Side::Server
        } else {
            Side::Client
        };
        contexts(profile, material.as_ref(), side).ok()
    }

    /// When it wants to be told the time next.
    pub(super) fn poll_timeout(&self) -> Instant {
        let handshake = self
            .endpoint
            .poll_timeout(&self.remote.address)
            .filter(|_| self.path == Path::Opening && self.answered.is_some());
        handshake.map_or(self.next_check, |due| due.min(self.next_check))
    }

    /// Sends checks, and flights again.
    pub(super) fn handle_timeout(&mut self, now: Instant, out: &mut Vec<Vec<u8>>) {
        if self.path == Path::Lost {
            self.next_check = now + KEEP_PAUSE;
            return;
        }
        if self.next_check <= now {
            let heard = self.answered.unwrap_or(self.began);
            if now.saturating_duration_since(heard) > CONSENT {
                self.path = Path::Lost;
            }
            out.extend(self.check());
            self.next_check = now
                + match self.answered {
                    Some(_) => KEEP_PAUSE,
                    None => CHECK_PAUSE * (1 + self.checks.min(10)),
                };
            self.checks += 1;
        }
        if self.path == Path::Opening
            && self.answered.is_some()
            && self
                .endpoint
                .poll_timeout(&self.remote.address)
                .is_some_and(|due| due <= now)
            && self.endpoint.handle_timeout(self.remote.address, now).is_err()
        {
            self.path = Path::Lost;
        }
    }

    /// What DTLS has to send.
    pub(super) fn poll_transmit(&mut self) -> Option<BytesMut> {
        self.endpoint.poll_transmit().map(|transmit| transmit.message)
    }

    /// Says goodbye.
    pub(super) fn close(&mut self, now: Instant) {
        if self.path == Path::Connected {
            self.endpoint.stop(now, self.remote.address);
        }
        self.path = Path::Lost;
    }

    /// A nominating check (RFC 8445 section 7.2.2): towards an ICE-lite agent every check may be.
    fn check(&self) -> Option<Vec<u8>> {
        let mut check = Message::new();
        check.set_type(BINDING_REQUEST);
        check.transaction_id = TransactionId(rand::random());
        check.write_header();
        check.add(ATTR_USERNAME, self.username.as_bytes());
        check.add(ATTR_ICE_CONTROLLING, &[0x4c, 0, 0, 0, 0, 0, 0, 1]);
        check.add(ATTR_PRIORITY, &PRIORITY.to_be_bytes());
        check.add(ATTR_USE_CANDIDATE, &[]);
        self.seal(check, &self.remote.password)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A handshake with the other side of DTLS as it is made by the library. `begins`: the other side does.
    fn shake_hands(begins: bool) -> (Path, bool) {
        let (ours, theirs) = ("127.0.0.1:1".parse().unwrap(), "127.0.0.1:2".parse().unwrap());
        let (identity, now) = (Arc::new(Identity::new().unwrap()), Instant::now());
        let credentials = Credentials {
            ufrag: "abcd".to_owned(),
            password: "0123456789abcdef01234567".to_owned(),
        };
        let remote = Remote {
            address: theirs,
            ufrag: "ab".to_owned(),
            password: "cd".to_owned(),
            begins,
        };
        let mut point = Transport::new(identity.clone(), ours, &credentials, remote, now);
        let server = (!begins).then(|| identity.config(false, ours).unwrap());
        let mut other = Endpoint::new(theirs, TransportProtocol::UDP, server);
        if begins {
            let config = identity.config(true, ours).unwrap();
            other.connect(now, ours, config, None).unwrap();
        }
        point.begin_handshake(now).unwrap();
        let mut is_complete = false;
        for _ in 0..20 {
            while let Some(sent) = point.poll_transmit() {
                let events = other.read(now, ours, None, sent).unwrap();
                is_complete |= events
                    .iter()
                    .any(|event| matches!(event, EndpointEvent::HandshakeComplete));
            }
            while let Some(sent) = other.poll_transmit() {
                point.handle_dtls(now, &sent.message);
            }
        }
        (point.path(), is_complete)
    }

    #[test]
    fn either_side_may_begin_the_handshake() {
        for begins in [false, true] {
            assert_eq!(shake_hands(begins), (Path::Connected, true), "{begins}");
        }
    }
}
