//! What is let in: the decision about each datagram before anybody parses it.
//!
//! 1. Nothing but STUN reaches a peer by a path that has not passed an integrity-checked binding request of that peer
//!    ([`Gate::admit`]). So strangers cannot race a handshake, close one, or make SRTP state.
//! 2. A source whose STUN keeps failing its integrity is not listened to for the rest of the second.
//! 3. Each DTLS association has a budget **for its whole life** ([`DtlsBudget`]), so that a validated client cannot make
//!    the handshake code queue or reassemble without limit either.
//!
//! Pure: told the time, no socket. Every refusal has a reason to count and none is logged.

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

use crate::wire::Class;

/// Failed STUN requests of one source within [`STUN_WINDOW`] after which it is not listened to. A check costs two microseconds, so these cost half a percent of a
/// core; with fewer, whoever sends some from an address keeps out everybody who joins from there.
pub const STUN_FAILURES_MAX: u32 = 2_000;

/// See [`STUN_FAILURES_MAX`].
pub const STUN_WINDOW: Duration = Duration::from_secs(1);

/// Sources whose failures are remembered. Overflow: those of past windows go; if none is, a further source is not
/// limited. A check costs some microseconds, and forgetting is better than letting made-up sources lock out true ones.
pub const STUN_SOURCES_MAX: usize = 1_024;

/// Longest datagram that is taken, in bytes. Browsers stay below 1,500; Firefox's first DTLS datagram has 1,408.
pub const DATAGRAM_BYTES_MAX: usize = 2_048;

/// Why a datagram was dropped at the gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum GateRefused {
    /// No protocol of ours, empty, or longer than [`DATAGRAM_BYTES_MAX`].
    NotOurs,
    /// DTLS, RTP or RTCP by a path that is validated for no peer.
    Unverified,
    /// STUN of a source with too many failures.
    StunRate,
}

/// The gate of one shard.
#[derive(Debug, Default)]
pub struct Gate {
    failures: HashMap<IpAddr, Failures>,
}

/// Failures of one source in the window that began at `since`.
#[derive(Debug)]
struct Failures {
    since: Instant,
    count: u32,
}

impl Gate {
    /// With nothing remembered.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether a datagram may go to the parsers. `verified`: its path is validated for a living peer.
    pub fn admit(
        &self,
        now: Instant,
        source: SocketAddr,
        class: Class,
        bytes: usize,
        verified: bool,
    ) -> Result<(), GateRefused> {
        match class {
            _ if bytes > DATAGRAM_BYTES_MAX => Err(GateRefused::NotOurs),
            Class::Other => Err(GateRefused::NotOurs),
            Class::Stun if verified => Ok(()),
            Class::Stun if self.is_muted(now, source) => Err(GateRefused::StunRate),
            Class::Stun => Ok(()),
            Class::Dtls | Class::Rtp | Class::Rtcp if verified => Ok(()),
            Class::Dtls | Class::Rtp | Class::Rtcp => Err(GateRefused::Unverified),
        }
    }

    /// A STUN datagram of that source was for nobody, or failed its check. Many clients may share an address, so only
    /// failures count against it.
    pub fn handle_stun_failure(&mut self, now: Instant, source: SocketAddr) {
        let key = source_of(source.ip());
        if !self.failures.contains_key(&key) && self.failures.len() >= STUN_SOURCES_MAX {
            self.failures.retain(|_, f| f.is_current(now));
            if self.failures.len() >= STUN_SOURCES_MAX {
                return;
            }
        }
        let failures = self
            .failures
            .entry(key)
            .or_insert(Failures { since: now, count: 0 });
        if !failures.is_current(now) {
            *failures = Failures { since: now, count: 0 };
        }
        failures.count = failures.count.saturating_add(1);
    }

    fn is_muted(&self, now: Instant, source: SocketAddr) -> bool {
        let failures = self.failures.get(&source_of(source.ip()));
        failures.is_some_and(|f| f.is_current(now) && f.count >= STUN_FAILURES_MAX)
    }
}

impl Failures {
    fn is_current(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.since) < STUN_WINDOW
    }
}

/// What counts as one source: an IPv4 address, or the /64 that an IPv6 host may choose its addresses from.
pub fn source_of(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(ip) => IpAddr::V6((ip.to_bits() & !u128::from(u64::MAX)).into()),
        ip => ip,
    }
}

/// Why DTLS of a validated path was dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, thiserror::Error)]
pub enum DtlsRefused {
    /// The path is not validated (any more).
    #[error("path is not validated")]
    Unverified,
    /// Not records of DTLS 1.0 or 1.2, or lengths that lie.
    #[error("malformed record")]
    Malformed,
    /// A record that nobody needs: plaintext alert or data, a repeated ClientHello, application data.
    #[error("record of no use")]
    Useless,
    /// Fragments beyond [`reassembly`](crate::driver::peer)'s bounds.
    #[error("fragments beyond the bound")]
    Fragments,
    /// A budget of [`DtlsBudget`] is spent.
    #[error("budget is spent")]
    Budget,
    /// The association is over.
    #[error("association is over")]
    Over,
}

/// DTLS datagrams an association takes before its handshake ends.
pub const HANDSHAKE_DATAGRAMS_MAX: u32 = 200;

/// Bytes of them.
pub const HANDSHAKE_BYTES_MAX: usize = 256_000;

/// Records of the next epoch that may wait for the end of the handshake. A client sends one, its Finished, per repeat.
pub const EARLY_RECORDS_MAX: u32 = 32;

/// Bytes of them.
pub const EARLY_BYTES_MAX: usize = 48_000;

/// Longest encrypted handshake record: a Finished has 48 bytes with AES-GCM, 96 with AES-CBC. A longer one could hide a
/// chain of fragments that cannot be seen here.
pub const FINISHED_BYTES_MAX: usize = 128;

/// Encrypted handshake records taken after the handshake: a client that missed our last flight repeats its Finished. The first seven
/// repeats are answered (`peer/dtls.rs`).
/// Plaintext ones are not taken at all then.
pub const LATE_RECORDS_MAX: u32 = 64;

/// Alerts taken after the handshake. A client sends one, when it closes.
pub const ALERTS_MAX: u32 = 64;

/// What one association may still cost, for its whole life. Nothing ever fills it up again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DtlsBudget {
    datagrams: u32,
    bytes: usize,
    early_records: u32,
    early_bytes: usize,
    late_records: u32,
    alerts: u32,
}

impl Default for DtlsBudget {
    fn default() -> Self {
        Self {
            datagrams: HANDSHAKE_DATAGRAMS_MAX,
            bytes: HANDSHAKE_BYTES_MAX,
            early_records: EARLY_RECORDS_MAX,
            early_bytes: EARLY_BYTES_MAX,
            late_records: LATE_RECORDS_MAX,
            alerts: ALERTS_MAX,
        }
    }
}

impl DtlsBudget {
    /// Takes a datagram before the handshake has ended.
    pub fn take_handshake_datagram(&mut self, bytes: usize) -> Result<(), DtlsRefused> {
        take(&mut self.datagrams, 1)?;
        take(&mut self.bytes, bytes)
    }

    /// Takes a record that may have to wait for keys: one of the next epoch, or a ChangeCipherSpec.
    pub fn take_early_record(&mut self, bytes: usize) -> Result<(), DtlsRefused> {
        take(&mut self.early_records, 1)?;
        take(&mut self.early_bytes, bytes)
    }

    /// Takes an encrypted handshake record after the handshake.
    pub fn take_late_record(&mut self) -> Result<(), DtlsRefused> {
        take(&mut self.late_records, 1)
    }

    /// Takes an encrypted alert after the handshake.
    pub fn take_alert(&mut self) -> Result<(), DtlsRefused> {
        take(&mut self.alerts, 1)
    }
}

/// `left -= cost`, or nothing and an error.
fn take<N: Copy + PartialOrd + std::ops::SubAssign>(left: &mut N, cost: N) -> Result<(), DtlsRefused> {
    if *left < cost {
        return Err(DtlsRefused::Budget);
    }
    *left -= cost;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(last: u8, port: u16) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, last], port))
    }

    #[test]
    fn only_stun_passes_by_an_unverified_path() {
        let (gate, now) = (Gate::new(), Instant::now());
        for class in [Class::Dtls, Class::Rtp, Class::Rtcp] {
            assert_eq!(
                gate.admit(now, source(1, 1), class, 100, false),
                Err(GateRefused::Unverified)
            );
            assert_eq!(gate.admit(now, source(1, 1), class, 100, true), Ok(()));
        }
        assert_eq!(gate.admit(now, source(1, 1), Class::Stun, 100, false), Ok(()));
        for verified in [false, true] {
            assert_eq!(
                gate.admit(now, source(1, 1), Class::Other, 100, verified),
                Err(GateRefused::NotOurs)
            );
            assert_eq!(
                gate.admit(now, source(1, 1), Class::Stun, 2_049, verified),
                Err(GateRefused::NotOurs)
            );
        }
    }

    #[test]
    fn a_source_whose_stun_fails_is_not_listened_to_until_the_second_is_over() {
        let (mut gate, now) = (Gate::new(), Instant::now());
        for port in 0..STUN_FAILURES_MAX {
            assert_eq!(gate.admit(now, source(1, 9), Class::Stun, 100, false), Ok(()));
            gate.handle_stun_failure(now, source(1, port as u16)); // ports are free for the asking: they do not count apart
        }
        assert_eq!(
            gate.admit(now, source(1, 9), Class::Stun, 100, false),
            Err(GateRefused::StunRate)
        );
        assert_eq!(
            gate.admit(now, source(1, 9), Class::Stun, 100, true),
            Ok(()),
            "a true client there goes on"
        );
        assert_eq!(gate.admit(now, source(2, 9), Class::Stun, 100, false), Ok(()));
        assert_eq!(
            gate.admit(now + STUN_WINDOW, source(1, 9), Class::Stun, 100, false),
            Ok(())
        );
    }

    #[test]
    fn the_table_of_sources_is_bounded_and_forgets_past_seconds() {
        let (mut gate, now) = (Gate::new(), Instant::now());
        for ip in 0..100_000u32 {
            gate.handle_stun_failure(now, SocketAddr::from((ip.to_be_bytes(), 1)));
        }
        assert_eq!(gate.failures.len(), STUN_SOURCES_MAX);
        gate.handle_stun_failure(now + STUN_WINDOW, source(1, 1));
        assert_eq!(gate.failures.len(), 1);
    }

    #[test]
    fn an_ipv6_host_is_one_source_whatever_address_it_chooses() {
        let ip = |text: &str| source_of(text.parse().expect("an address"));
        assert_eq!(ip("2001:db8::1"), ip("2001:db8::ffff"));
        assert_ne!(ip("2001:db8:0:1::1"), ip("2001:db8::1"));
        assert_eq!(ip("::ffff:10.0.0.1"), ip("10.0.0.1"));
    }

    #[test]
    fn hosts_of_one_ipv6_network_are_one_source() {
        let (mut gate, now) = (Gate::new(), Instant::now());
        let host = |low: u16| SocketAddr::from(([0x2001, 0xdb8, 0, 7, 0, 0, 0, low], 1));
        (0..STUN_FAILURES_MAX).for_each(|low| gate.handle_stun_failure(now, host(low as u16)));
        assert_eq!(
            gate.admit(now, host(999), Class::Stun, 100, false),
            Err(GateRefused::StunRate)
        );
    }

    #[test]
    fn a_budget_is_never_filled_up_again() {
        let mut budget = DtlsBudget::default();
        let taken = (0..1_000)
            .filter(|_| budget.take_handshake_datagram(1_400).is_ok())
            .count();
        assert_eq!(taken, 256_000 / 1_400);
        let taken = (0..1_000).filter(|_| budget.take_late_record().is_ok()).count();
        assert_eq!(taken, LATE_RECORDS_MAX as usize);
        assert_eq!(budget.take_late_record(), Err(DtlsRefused::Budget));
    }
}
