//! The ICE-lite responder of one peer (RFC 8445 §2.5, RFC 8489, consent of RFC 7675).
//!
//! The node never sends a check. It answers integrity-checked binding requests, remembers the paths they came by, and
//! knows which of them packets go to. A request without valid integrity gets no answer at all, so nobody without a seat can
//! use the node to reflect traffic; a valid one gets at most [`GROWTH_MAX`] bytes more than it had.
//!
//! Whoever has a seat can forge the address of another host in a check, and media goes there. That falls to one voice when nothing is
//! told of it ([`crate::engine::bwe`]); who forges what is told, too, is not found out.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use rand::{CryptoRng, RngExt};
use rtc::{
    crypto::RTCCryptoProvider,
    shared::error::Result as RtcResult,
    stun::{
        attributes::{
            ATTR_FINGERPRINT, ATTR_ICE_CONTROLLED, ATTR_ICE_CONTROLLING, ATTR_MESSAGE_INTEGRITY,
            ATTR_PRIORITY, ATTR_USE_CANDIDATE, ATTR_USERNAME, AttrType,
        },
        error_code::{CODE_UNKNOWN_ATTRIBUTE, ErrorCodeAttribute},
        fingerprint::FINGERPRINT,
        integrity::MessageIntegrity,
        message::{
            BINDING_ERROR, BINDING_REQUEST, BINDING_SUCCESS, MAGIC_COOKIE, MESSAGE_HEADER_SIZE, Message,
            Setter,
        },
        uattrs::UnknownAttributes,
        xoraddr::XorMappedAddress,
    },
};

use super::Path;

/// A path without a valid check and without an authentic packet for this long is no path any more; a peer without any is lost
/// (RFC 7675 §5.1). Packets count too, because some that are no browsers never check again once they are connected
/// (GStreamer); nobody else can make one.
pub const CONSENT: Duration = Duration::from_secs(30);

/// Most validated paths of a peer. Overflow: the one checked longest ago goes, never the one packets are sent to.
pub const PATHS_MAX: usize = 16;

/// Longest binding request that is looked at, in bytes: browsers send about 120.
pub const REQUEST_BYTES_MAX: usize = 1_024;

/// An answer has at most this many bytes more than its request.
pub const GROWTH_MAX: usize = 32;

/// Hex characters of [`IceCredentials::ufrag`] that name the peer.
const NAME_LENGTH: usize = 8;

/// Most unknown attributes named in a 420 answer: more would make it longer than its request.
const UNKNOWN_MAX: usize = 4;

/// Our short-term credentials for one peer (RFC 8445 §5.3). The ufrag begins with the peer's number, so that the first
/// request from a new address finds its peer. The password is in no `Debug` and no log.
#[derive(Clone, PartialEq, Eq)]
pub struct IceCredentials {
    /// 8 hex characters of the peer's number and 4 random ones.
    pub ufrag: String,
    password: String,
}

impl std::fmt::Debug for IceCredentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("IceCredentials")
            .field("ufrag", &self.ufrag)
            .finish_non_exhaustive()
    }
}

impl IceCredentials {
    /// New ones for the peer of that number. The password has 144 random bits (RFC 8445 asks for 128).
    pub fn new(peer: u32, rng: &mut impl CryptoRng) -> Self {
        Self {
            ufrag: format!("{peer:08x}{}", random_text(rng, 4)),
            password: random_text(rng, 24),
        }
    }

    /// The password, for the answer.
    pub fn password(&self) -> &str {
        &self.password
    }
}

/// `length` characters of the ice-char alphabet (RFC 8839 §5.4), 6 bits each.
fn random_text(rng: &mut impl CryptoRng, length: usize) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    (0..length)
        .map(|_| char::from(ALPHABET[usize::from(rng.random::<u8>() & 63)]))
        .collect()
}

/// The number of the peer a binding request is for, read from its USERNAME without checking anything else.
/// `None` for anything that cannot be a request for one of our peers.
pub fn addressed_to(datagram: &[u8]) -> Option<u32> {
    let (header, mut rest) = datagram.split_at_checked(MESSAGE_HEADER_SIZE)?;
    let is_request = header.starts_with(&[0, 1]) && header.get(4..8)? == MAGIC_COOKIE.to_be_bytes();
    if !is_request || datagram.len() > REQUEST_BYTES_MAX {
        return None;
    }
    while let Some((&[t0, t1, l0, l1], after)) = rest.split_first_chunk() {
        let length = usize::from(u16::from_be_bytes([l0, l1]));
        if u16::from_be_bytes([t0, t1]) == ATTR_USERNAME.value() {
            let name = after.get(..length)?.get(..NAME_LENGTH)?;
            let lowercase_hex = name.iter().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
            return lowercase_hex.then(|| u32::from_str_radix(std::str::from_utf8(name).ok()?, 16).ok())?;
        }
        rest = after.get(length.next_multiple_of(4)..)?;
    }
    None
}

/// Why a STUN datagram was dropped without an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, thiserror::Error)]
pub enum StunRefused {
    /// Not a binding request that can be read, too long, or without FINGERPRINT.
    #[error("not a binding request")]
    Malformed,
    /// USERNAME names other credentials.
    #[error("unknown credentials")]
    Username,
    /// MESSAGE-INTEGRITY is missing or wrong.
    #[error("integrity")]
    Integrity,
}

/// What a valid binding request came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checked {
    /// The answer, to go back the way the request came.
    pub answer: Option<Vec<u8>>,
    /// The path leads to this peer. Not after a request that was answered with 420: a table of paths would keep what no peer knows to forget.
    pub valid: bool,
    /// A path that is known no more.
    pub evicted: Option<Path>,
}

/// A path that passed a check.
#[derive(Debug, Clone, Copy)]
struct Validated {
    path: Path,
    /// Last check, or authentic packet.
    checked: Instant,
}

/// ICE state of one peer.
#[repr(C)] // what each packet asks lies together
pub(super) struct Ice {
    /// Where packets go.
    selected: Option<Path>,
    /// Media chose `selected`: from then on only media moves it.
    settled: bool,
    /// Last valid check or authentic packet, or the beginning.
    alive: Instant,
    crypto: Arc<dyn RTCCryptoProvider>,
    current: IceCredentials,
    /// Those before the last restart, until the first valid check with the current ones.
    former: Option<IceCredentials>,
    /// In no order; at most [`PATHS_MAX`].
    validated: Vec<Validated>,
}

impl Ice {
    pub(super) fn new(now: Instant, crypto: Arc<dyn RTCCryptoProvider>, credentials: IceCredentials) -> Self {
        Self {
            crypto,
            current: credentials,
            former: None,
            validated: Vec::new(),
            selected: None,
            settled: false,
            alive: now,
        }
    }

    /// ICE restart: the former credentials stay good until the first valid check with the new ones.
    ///
    /// If there are former ones still, nobody ever used those that are replaced: the answer may have been lost.
    pub(super) fn restart(&mut self, credentials: IceCredentials) {
        let replaced = std::mem::replace(&mut self.current, credentials);
        self.former.get_or_insert(replaced);
    }

    /// Where packets go now.
    pub(super) fn selected(&self) -> Option<Path> {
        self.selected
    }

    /// Whether a valid check came by that path, and consent has not ended since.
    pub(super) fn is_validated(&self, path: Path) -> bool {
        self.validated.iter().any(|v| v.path == path)
    }

    /// When a valid check or an authentic packet came by that path last.
    pub(super) fn heard(&self, path: Path) -> Option<Instant> {
        let known = self.validated.iter().find(|v| v.path == path);
        known.map(|known| known.checked)
    }

    /// All validated paths.
    pub(super) fn paths(&self) -> impl Iterator<Item = Path> {
        self.validated.iter().map(|v| v.path)
    }

    /// When consent ends, of a path or altogether.
    pub(super) fn poll_timeout(&self) -> Instant {
        self.validated
            .iter()
            .map(|v| v.checked)
            .min()
            .unwrap_or(self.alive)
            + CONSENT
    }

    /// Forgets paths without consent. False: the peer has none left.
    pub(super) fn handle_timeout(&mut self, now: Instant) -> bool {
        let consents = |since: Instant| now.saturating_duration_since(since) < CONSENT;
        self.validated.retain(|v| consents(v.checked));
        if !self.selected.is_some_and(|path| self.is_validated(path)) {
            self.selected = self.validated.iter().max_by_key(|v| v.checked).map(|v| v.path);
        }
        consents(self.alive)
    }

    /// An authenticated, non-replayed SRTP or SRTCP packet came by `path`: if it is validated, packets go there now.
    ///
    /// Following USE-CANDIDATE instead would never move Firefox, which sets it on its first check only.
    pub(super) fn handle_media(&mut self, now: Instant, path: Path) {
        if let Some(known) = self.validated.iter_mut().find(|v| v.path == path) {
            known.checked = now;
            self.selected = Some(path);
            self.alive = now;
        }
        self.settled = true;
    }

    /// Checks a binding request and makes its answer.
    pub(super) fn handle_request(
        &mut self,
        now: Instant,
        path: Path,
        datagram: &[u8],
    ) -> Result<Checked, StunRefused> {
        let mut request = parse(datagram)?;
        let credentials = self.credentials_for(&request)?;
        let password = credentials.password.clone();
        let is_current = credentials.ufrag == self.current.ufrag;
        MessageIntegrity::check(&mut request, password.as_bytes(), self.crypto.crypto())
            .map_err(|_| StunRefused::Integrity)?;

        let unknown = unknown_attributes(&request);
        if !unknown.is_empty() {
            let answer = self.write(&request, &password, |m| refuse(m, unknown));
            return Ok(Checked {
                answer: bounded(answer, datagram),
                valid: false,
                evicted: None,
            });
        }
        if is_current {
            self.former = None;
        }
        self.alive = now;
        let evicted = self.validate(now, path);
        if self.selected.is_none() || (!self.settled && has_authenticated(&request, ATTR_USE_CANDIDATE)) {
            self.selected = Some(path);
        }
        let mapped = XorMappedAddress {
            ip: path.remote.ip(),
            port: path.remote.port(),
        };
        let answer = self.write(&request, &password, |m| {
            m.set_type(BINDING_SUCCESS);
            mapped.add_to(m)
        });
        Ok(Checked {
            answer: bounded(answer, datagram),
            valid: true,
            evicted,
        })
    }

    /// Ours, if the part of USERNAME before the colon names them (RFC 8445 §7.2.2).
    fn credentials_for(&self, request: &Message) -> Result<&IceCredentials, StunRefused> {
        let username = request.get(ATTR_USERNAME).map_err(|_| StunRefused::Username)?;
        let ufrag = username.split(|&b| b == b':').next().unwrap_or_default();
        [Some(&self.current), self.former.as_ref()]
            .into_iter()
            .flatten()
            .find(|c| c.ufrag.as_bytes() == ufrag)
            .ok_or(StunRefused::Username)
    }

    /// Remembers the path; which one had to go for it.
    fn validate(&mut self, now: Instant, path: Path) -> Option<Path> {
        if let Some(known) = self.validated.iter_mut().find(|v| v.path == path) {
            known.checked = now;
            return None;
        }
        let mut evicted = None;
        if self.validated.len() >= PATHS_MAX {
            let candidates = self
                .validated
                .iter()
                .enumerate()
                .filter(|(_, v)| Some(v.path) != self.selected);
            if let Some((oldest, _)) = candidates.min_by_key(|(_, v)| v.checked) {
                evicted = Some(self.validated.swap_remove(oldest).path);
            }
        }
        self.validated.push(Validated { path, checked: now });
        evicted
    }

    /// An answer to `request`, signed.
    fn write(
        &self,
        request: &Message,
        password: &str,
        body: impl FnOnce(&mut Message) -> RtcResult<()>,
    ) -> RtcResult<Vec<u8>> {
        let mut answer = Message::new();
        answer.transaction_id = request.transaction_id;
        answer.write_header();
        body(&mut answer)?;
        MessageIntegrity::new_short_term_integrity_with_provider(password.to_owned(), self.crypto.crypto())
            .add_to(&mut answer)?;
        FINGERPRINT.add_to(&mut answer)?;
        Ok(answer.raw)
    }
}

/// A binding request with a right FINGERPRINT.
fn parse(datagram: &[u8]) -> Result<Message, StunRefused> {
    if datagram.len() > REQUEST_BYTES_MAX {
        return Err(StunRefused::Malformed);
    }
    let mut message = Message::new();
    message
        .unmarshal_binary(datagram)
        .map_err(|_| StunRefused::Malformed)?;
    let last = message.attributes.0.last().map(|a| a.typ);
    if message.typ != BINDING_REQUEST || last != Some(ATTR_FINGERPRINT) {
        return Err(StunRefused::Malformed);
    }
    FINGERPRINT.check(&message).map_err(|_| StunRefused::Malformed)?;
    Ok(message)
}

/// Attributes that the integrity covers: what stands behind MESSAGE-INTEGRITY is ignored (RFC 8489 §14.5).
fn authenticated(request: &Message) -> impl Iterator<Item = AttrType> {
    request
        .attributes
        .0
        .iter()
        .map(|a| a.typ)
        .take_while(|&t| t != ATTR_MESSAGE_INTEGRITY)
}

fn has_authenticated(request: &Message, attribute: AttrType) -> bool {
    authenticated(request).any(|t| t == attribute)
}

/// Comprehension-required attributes (below 0x8000, RFC 8489 §14) that a binding request of ICE does not have.
fn unknown_attributes(request: &Message) -> Vec<AttrType> {
    let known = [
        ATTR_USERNAME,
        ATTR_PRIORITY,
        ATTR_USE_CANDIDATE,
        ATTR_ICE_CONTROLLED,
        ATTR_ICE_CONTROLLING,
    ];
    authenticated(request)
        .filter(|t| t.value() < 0x8000 && !known.contains(t))
        .take(UNKNOWN_MAX)
        .collect()
}

/// 420 (RFC 8489 §6.3.1).
fn refuse(answer: &mut Message, unknown: Vec<AttrType>) -> RtcResult<()> {
    answer.set_type(BINDING_ERROR);
    ErrorCodeAttribute {
        code: CODE_UNKNOWN_ATTRIBUTE,
        reason: Vec::new(),
    }
    .add_to(answer)?;
    UnknownAttributes(unknown).add_to(answer)
}

/// The answer, if it was made and does not amplify.
fn bounded(answer: RtcResult<Vec<u8>>, request: &[u8]) -> Option<Vec<u8>> {
    answer
        .ok()
        .filter(|bytes| bytes.len() <= request.len() + GROWTH_MAX)
}
