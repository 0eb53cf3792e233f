//! What a shard counts beside its rooms: plain numbers that only grow.

use std::ops::AddAssign;

use super::peer::MediaRefused;
use crate::wire::srtp::OpenError;

/// What a shard counts of its datagrams. The engine counts what is in them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tally {
    /// Datagrams by [`Class`](crate::wire::Class).
    pub(crate) received: [u64; 5],
    pub(crate) bytes_received: u64,
    /// By [`GateRefused`](super::gate::GateRefused).
    pub(crate) gate_refused: [u64; 3],
    pub(crate) stun_refused: u64,
    pub(crate) dtls_refused: u64,
    /// By [`Tally::count_refused`].
    pub(crate) media_refused: [u64; 7],
    pub(crate) handshakes_dropped: u64,
    pub(crate) connected: u64,
    /// Of these, those that have no better protection than AES-CM with HMAC-SHA1.
    pub(crate) connected_weak: u64,
    /// By [`LostReason`](super::peer::LostReason).
    pub(crate) lost: [u64; 5],
    pub(crate) peer_panics: u64,
    pub(crate) room_panics: u64,
    /// RTP packets by [`Purpose`](crate::engine::packet::Purpose).
    pub(crate) rtp_sent: [u64; 5],
    pub(crate) rtcp_sent: u64,
    pub(crate) handshake_datagrams_sent: u64,
    pub(crate) datagrams_sent: u64,
    pub(crate) bytes_sent: u64,
    /// System calls that were to send something.
    pub(crate) send_calls: u64,
    /// Messages that the kernel took: single datagrams, and runs of them to one receiver.
    pub(crate) runs_sent: u64,
    /// Of these, those that begin with media, taken or not.
    pub(crate) media_runs: u64,
    pub(crate) send_full: u64,
    pub(crate) send_failed: u64,
    pub(crate) no_path: u64,
    pub(crate) payload_gone: u64,
    pub(crate) not_written: u64,
    pub(crate) not_sealed: u64,
    /// Packets for other shards that found no place on the way.
    pub(crate) cascade_dropped: u64,
}

impl Tally {
    /// A packet that was not opened.
    pub(crate) fn count_refused(&mut self, refused: MediaRefused) {
        let place = match refused {
            MediaRefused::Unverified => 0,
            MediaRefused::NotConnected => 1,
            MediaRefused::Open(OpenError::Malformed) => 2,
            MediaRefused::Open(OpenError::Replayed) => 3,
            MediaRefused::Open(OpenError::NotAuthentic) => 4,
            MediaRefused::Open(OpenError::NotEncrypted) => 5,
            MediaRefused::Open(OpenError::TooManyStreams) => 6,
            MediaRefused::Seal(_) => {
                self.not_sealed += 1;
                return;
            }
        };
        self.media_refused[place] += 1;
    }
}

impl AddAssign<&Self> for Tally {
    fn add_assign(&mut self, other: &Self) {
        add_each(&mut self.received, &other.received);
        add_each(&mut self.gate_refused, &other.gate_refused);
        add_each(&mut self.media_refused, &other.media_refused);
        add_each(&mut self.lost, &other.lost);
        add_each(&mut self.rtp_sent, &other.rtp_sent);
        let Self {
            bytes_received,
            stun_refused,
            dtls_refused,
            handshakes_dropped,
            connected,
            connected_weak,
            peer_panics,
            room_panics,
            rtcp_sent,
            handshake_datagrams_sent,
            datagrams_sent,
            bytes_sent,
            send_calls,
            runs_sent,
            media_runs,
            send_full,
            send_failed,
            no_path,
            payload_gone,
            not_written,
            not_sealed,
            cascade_dropped,
            received: _,
            gate_refused: _,
            media_refused: _,
            lost: _,
            rtp_sent: _,
        } = other;
        self.bytes_received += bytes_received;
        self.stun_refused += stun_refused;
        self.dtls_refused += dtls_refused;
        self.handshakes_dropped += handshakes_dropped;
        self.connected += connected;
        self.connected_weak += connected_weak;
        self.peer_panics += peer_panics;
        self.room_panics += room_panics;
        self.rtcp_sent += rtcp_sent;
        self.handshake_datagrams_sent += handshake_datagrams_sent;
        self.datagrams_sent += datagrams_sent;
        self.bytes_sent += bytes_sent;
        self.send_calls += send_calls;
        self.runs_sent += runs_sent;
        self.media_runs += media_runs;
        self.send_full += send_full;
        self.send_failed += send_failed;
        self.no_path += no_path;
        self.payload_gone += payload_gone;
        self.not_written += not_written;
        self.not_sealed += not_sealed;
        self.cascade_dropped += cascade_dropped;
    }
}

fn add_each<const N: usize>(all: &mut [u64; N], more: &[u64; N]) {
    all.iter_mut().zip(more).for_each(|(all, more)| *all += more);
}
