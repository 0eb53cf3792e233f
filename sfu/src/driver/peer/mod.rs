//! The transport of one endpoint: ICE-lite, DTLS, SRTP, without a socket or a clock.
//!
//! A [`Peer`] is told datagrams and the time; it answers with datagrams to send, events, and the next time it wants to
//! be told. It is the only place that names `rtc`. After each input drain [`Peer::poll_transmit`] and
//! [`Peer::poll_event`], then ask [`Peer::poll_timeout`].
//!
//! `rtc` logs a line for bad input that anybody can send. The binary must set the targets `rtc_dtls`, `rtc_stun`,
//! `rtc_sdp` and `rtc_shared` to `error`: what happens is counted by the errors returned here instead.
//!
//! # Invariants
//! - Nothing but STUN is taken from a path that has not passed an integrity-checked binding request of this peer.
//! - Packets go to one path at a time. It moves only to a validated path, and once media has flowed only after an
//!   authenticated, non-replayed SRTP or SRTCP packet came from there.
//! - The DTLS association never learns addresses: moves and ICE restarts do not touch it.
//! - SRTP contexts exist only after the handshake, with the certificate that the offer's fingerprint names.

pub mod dtls;
mod dtls_front;
pub mod ice;
pub mod sdp;

use std::{
    collections::VecDeque,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use self::{
    dtls::{Dtls, DtlsEvent, Identity},
    ice::{Checked, Ice, IceCredentials, StunRefused},
};
use crate::{
    driver::gate::DtlsRefused,
    engine::packet::soonest,
    wire::srtp::{OpenError, Opener, Profile, SealError, Sealer},
};

/// A peer whose handshake is not done by then is lost.
pub const HANDSHAKE_TIME_MAX: Duration = Duration::from_secs(30);

/// Datagrams that wait to be sent. One flight has four at most; overflow: the newest is dropped, handshakes repeat.
const TRANSMITS_MAX: usize = 64;

/// The two ends of a way a datagram takes: our socket's address and the client's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Path {
    /// Address our socket is bound to.
    pub local: SocketAddr,
    /// Address of the client, as seen here.
    pub remote: SocketAddr,
}

/// A datagram to send.
#[derive(Clone, PartialEq, Eq)]
pub struct Transmit {
    /// From where to where.
    pub path: Path,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// SHA-256 of a certificate (RFC 8122 §5). Public by nature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// Of a certificate in DER.
    pub fn of(der: &[u8]) -> Self {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(ring::digest::digest(&ring::digest::SHA256, der).as_ref());
        Self(bytes)
    }

    /// From 32 pairs of hex digits with colons between.
    pub fn parse(text: &str) -> Option<Self> {
        let mut bytes = [0; 32];
        let mut pairs = text.split(':');
        for byte in &mut bytes {
            let pair = pairs
                .next()
                .filter(|p| p.len() == 2 && p.bytes().all(|b| b.is_ascii_hexdigit()))?;
            *byte = u8::from_str_radix(pair, 16).ok()?;
        }
        pairs.next().is_none().then_some(Self(bytes))
    }
}

impl std::fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (i, byte) in self.0.iter().enumerate() {
            let colon = if i == 0 { "" } else { ":" };
            write!(f, "{colon}{byte:02X}")?;
        }
        Ok(())
    }
}

/// Something happened to the transport.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PeerEvent {
    /// The handshake is done and the client is who its offer says: media may flow.
    Connected,
    /// The end. The peer does nothing more; drop it.
    Lost(LostReason),
}

/// Why a peer is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LostReason {
    /// No handshake within [`HANDSHAKE_TIME_MAX`], or it failed.
    Handshake,
    /// The client's certificate is not the one its offer names.
    Fingerprint,
    /// The client offers no SRTP profile that we speak.
    Profile,
    /// The client closed the association.
    Closed,
    /// No valid check and no authentic packet for [`ice::CONSENT`].
    Consent,
}

/// Why a packet was not opened, or not sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MediaRefused {
    /// The path is not validated (any more).
    #[error("path is not validated")]
    Unverified,
    /// There are no keys: before the handshake, or after the end.
    #[error("no keys")]
    NotConnected,
    /// SRTP would not open it.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// SRTP would not seal it.
    #[error(transparent)]
    Seal(#[from] SealError),
}

/// The transport of one endpoint.
#[repr(C)] // what each packet asks lies together
pub struct Peer {
    /// After the handshake: what we send with, and what we receive with.
    srtp: Option<Box<(Sealer, Opener)>>,
    is_lost: bool,
    ice: Ice,
    dtls: Dtls,
    /// Where the last DTLS datagram came from: answers go there. Chromium begins before it has chosen a path.
    dtls_path: Option<Path>,
    /// When an unfinished handshake ends the peer; none when it is done.
    handshake_ends: Option<Instant>,
    transmits: VecDeque<Transmit>,
    events: VecDeque<PeerEvent>,
}

impl Peer {
    /// A peer that waits for its first check. `remote` is the certificate its offer names.
    pub fn new(
        now: Instant,
        identity: &Arc<Identity>,
        credentials: IceCredentials,
        remote: Fingerprint,
    ) -> Self {
        Self {
            ice: Ice::new(now, identity.crypto(), credentials),
            dtls: Dtls::new(identity.clone(), remote),
            srtp: None,
            dtls_path: None,
            handshake_ends: Some(now + HANDSHAKE_TIME_MAX),
            is_lost: false,
            transmits: VecDeque::new(),
            events: VecDeque::new(),
        }
    }

    /// ICE restart: from now on checks with the new credentials count, and those with the former ones until the first
    /// of the new. DTLS and SRTP go on.
    pub fn restart(&mut self, credentials: IceCredentials) {
        self.ice.restart(credentials);
    }

    /// Whether keys are there and the client consents.
    pub fn is_connected(&self) -> bool {
        self.srtp.is_some() && !self.is_lost
    }

    /// How packets are protected; none before the handshake is done, or after the end.
    pub fn profile(&self) -> Option<Profile> {
        self.dtls.profile()
    }

    /// Where packets go now; none before the first check.
    pub fn path(&self) -> Option<Path> {
        self.ice.selected()
    }

    /// Whether datagrams by that path are taken.
    pub fn is_validated(&self, path: Path) -> bool {
        self.ice.is_validated(path)
    }

    /// When a valid check or an authentic packet came by that path last.
    pub fn heard(&self, path: Path) -> Option<Instant> {
        self.ice.heard(path)
    }

    /// All validated paths, at most [`ice::PATHS_MAX`]: what a table of paths must forget with this peer.
    pub fn paths(&self) -> impl Iterator<Item = Path> {
        self.ice.paths()
    }

    /// Takes a STUN datagram. The answer waits in [`Peer::poll_transmit`].
    pub fn handle_stun(
        &mut self,
        now: Instant,
        path: Path,
        datagram: &[u8],
    ) -> Result<Admitted, StunRefused> {
        let Checked {
            answer,
            valid,
            evicted,
        } = self.ice.handle_request(now, path, datagram)?;
        if let Some(bytes) = answer {
            self.push(Transmit { path, bytes });
        }
        Ok(Admitted { valid, evicted })
    }

    /// Takes a DTLS datagram.
    pub fn handle_dtls(&mut self, now: Instant, path: Path, datagram: &[u8]) -> Result<(), DtlsRefused> {
        if !self.ice.is_validated(path) {
            return Err(DtlsRefused::Unverified);
        }
        // Of no use or not: a client that repeats itself by another path has lost the former one, and hears nothing there.
        self.dtls_path = Some(path);
        let event = self.dtls.handle(now, datagram);
        if event.is_err() {
            self.drain_dtls();
        }
        self.handle_dtls_event(event?);
        Ok(())
    }

    /// Opens an SRTP packet in place: the length of the RTP packet at the beginning of `packet`.
    pub fn open_rtp(&mut self, now: Instant, path: Path, packet: &mut [u8]) -> Result<usize, MediaRefused> {
        self.open(now, path, |opener| opener.open_rtp(packet))
    }

    /// Opens an SRTCP packet in place: the length of the RTCP compound at the beginning of `packet`.
    pub fn open_rtcp(&mut self, now: Instant, path: Path, packet: &mut [u8]) -> Result<usize, MediaRefused> {
        self.open(now, path, |opener| opener.open_rtcp(packet))
    }

    /// Seals the RTP packet in the first `length` bytes of `buffer` in place; the length of the SRTP packet.
    /// `buffer` needs [`RTP_OVERHEAD_MAX`](crate::wire::srtp::RTP_OVERHEAD_MAX) bytes more than the packet has.
    pub fn seal_rtp(&mut self, buffer: &mut [u8], length: usize) -> Result<usize, MediaRefused> {
        let (sealer, _) = self.srtp.as_deref_mut().ok_or(MediaRefused::NotConnected)?;
        Ok(sealer.seal_rtp(buffer, length)?)
    }

    /// As [`Peer::seal_rtp`], for an RTCP compound and [`RTCP_OVERHEAD_MAX`](crate::wire::srtp::RTCP_OVERHEAD_MAX).
    pub fn seal_rtcp(&mut self, buffer: &mut [u8], length: usize) -> Result<usize, MediaRefused> {
        let (sealer, _) = self.srtp.as_deref_mut().ok_or(MediaRefused::NotConnected)?;
        Ok(sealer.seal_rtcp(buffer, length)?)
    }

    /// Tells the client goodbye, for a shutdown. Drain [`Peer::poll_transmit`] and drop the peer.
    pub fn close(&mut self, now: Instant) {
        self.dtls.close(now);
        // Media may have moved since the handshake, and where that was is not tried any more.
        self.dtls_path = self.ice.selected();
        self.drain_dtls();
        self.end();
    }

    /// The next datagram to send.
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        self.transmits.pop_front()
    }

    /// What happened.
    pub fn poll_event(&mut self) -> Option<PeerEvent> {
        self.events.pop_front()
    }

    /// When [`Peer::handle_timeout`] is wanted; none when the peer is lost.
    pub fn poll_timeout(&self) -> Option<Instant> {
        if self.is_lost {
            return None;
        }
        let handshake = soonest(self.handshake_ends, self.dtls.poll_timeout());
        soonest(handshake, Some(self.ice.poll_timeout()))
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.is_lost {
            return;
        }
        if !self.ice.handle_timeout(now) {
            return self.lose(LostReason::Consent);
        }
        if self.handshake_ends.is_some_and(|end| now >= end) {
            return self.lose(LostReason::Handshake);
        }
        let event = self.dtls.handle_timeout(now);
        self.handle_dtls_event(event);
    }

    /// Opens a packet of a validated path; an authentic one may move the peer there.
    fn open(
        &mut self,
        now: Instant,
        path: Path,
        open: impl FnOnce(&mut Opener) -> Result<usize, OpenError>,
    ) -> Result<usize, MediaRefused> {
        if !self.ice.is_validated(path) {
            return Err(MediaRefused::Unverified);
        }
        let (_, opener) = self.srtp.as_deref_mut().ok_or(MediaRefused::NotConnected)?;
        let length = open(opener)?;
        self.ice.handle_media(now, path);
        Ok(length)
    }

    fn handle_dtls_event(&mut self, event: Option<DtlsEvent>) {
        self.drain_dtls();
        match event {
            None => {}
            Some(DtlsEvent::Connected(contexts)) => {
                self.srtp = Some(contexts);
                self.handshake_ends = None;
                self.events.push_back(PeerEvent::Connected);
            }
            Some(DtlsEvent::Lost(reason)) => self.lose(reason),
        }
    }

    /// Datagrams of the association go where its last one came from, else where packets go.
    fn drain_dtls(&mut self) {
        let known = self.dtls_path.filter(|&path| self.ice.is_validated(path));
        let path = known.or(self.ice.selected());
        while let Some(bytes) = self.dtls.poll_transmit() {
            if let Some(path) = path {
                self.push(Transmit { path, bytes });
            }
        }
    }

    fn push(&mut self, transmit: Transmit) {
        if self.transmits.len() < TRANSMITS_MAX {
            self.transmits.push_back(transmit);
        }
    }

    fn lose(&mut self, reason: LostReason) {
        if !self.is_lost {
            self.end();
            self.events.push_back(PeerEvent::Lost(reason));
        }
    }

    /// Keys die with the association.
    fn end(&mut self) {
        self.is_lost = true;
        self.srtp = None;
    }
}

/// An authentic check: what a table of paths has to learn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Admitted {
    /// The path leads to this peer now, until it is told as evicted or is not among [`Peer::paths`] any more.
    pub valid: bool,
    /// A path that leads here no more.
    pub evicted: Option<Path>,
}

#[cfg(test)]
mod tests;
