//! What comes in: gate, owner, then the peer's or the room's door.

use std::time::{Duration, Instant};

use super::{Key, Shard};
use crate::{
    driver::peer::{Path, ice},
    engine::id::EndpointId,
    wire::{Class, classify},
};

/// DTLS datagrams worked on in one turn, some 0.6 ms for a whole handshake: many joins at once must not stall streams.
const HANDSHAKES_PER_TURN: usize = 4;

/// DTLS datagrams that wait for their turn. Above it they are dropped; both sides of DTLS repeat themselves.
const HANDSHAKES_MAX: usize = 1_024;

/// ... of one endpoint, so that none takes the places of the others.
const HANDSHAKES_EACH_MAX: u8 = 16;

/// A path is its owner's for so long after something authentic came by it: longer than a page that sends nothing is silent between its reports.
const HELD: Duration = Duration::from_secs(3);

/// A DTLS datagram that waits for its turn.
pub(super) struct Handshake {
    endpoint: EndpointId,
    path: Path,
    datagram: Vec<u8>,
}

impl Shard {
    /// One datagram from the network.
    pub(super) fn handle_datagram(&mut self, now: Instant, path: Path, datagram: &mut [u8]) {
        let class = classify(datagram);
        self.tally.received[class as usize] += 1;
        self.tally.bytes_received += datagram.len() as u64;
        let owner = self.demux.owner(&path);
        let admitted = self
            .gate
            .admit(now, path.remote, class, datagram.len(), owner.is_some());
        if let Err(refused) = admitted {
            self.tally.gate_refused[refused as usize] += 1;
            return;
        }
        if let Some(seat) = owner.and_then(|owner| self.seats.get_mut(&owner)) {
            seat.received.add(path.remote, datagram.len());
        }
        match (class, owner) {
            (Class::Stun, _) => self.handle_stun(now, path, datagram),
            (Class::Dtls, Some(endpoint)) => self.queue_handshake(endpoint, path, datagram),
            (Class::Rtp, Some(endpoint)) => self.handle_rtp(now, endpoint, path, datagram),
            (Class::Rtcp, Some(endpoint)) => self.handle_rtcp(now, endpoint, path, datagram),
            // The gate lets none of these in.
            (Class::Other, _) | (_, None) => {}
        }
    }

    fn handle_stun(&mut self, now: Instant, path: Path, datagram: &[u8]) {
        // A name of nobody costs one look-up and gets no answer; after a restart honest clients send many of them.
        let endpoint = ice::addressed_to(datagram)
            .map(EndpointId)
            .filter(|endpoint| self.seats.contains_key(endpoint));
        if self.is_held(now, path, endpoint) {
            self.tally.stun_refused += 1;
            return; // and no failure of that address, for whoever is really there would have to answer for it
        }
        let checked = endpoint
            .and_then(|endpoint| self.with_peer(endpoint, |peer| peer.handle_stun(now, path, datagram)));
        let (Some(endpoint), Some(Ok(admitted))) = (endpoint, checked) else {
            self.tally.stun_refused += 1;
            if endpoint.is_some() {
                self.gate.handle_stun_failure(now, path.remote);
            }
            return;
        };
        if admitted.valid && self.demux.owner(&path) != Some(endpoint) {
            self.demux.claim(path, endpoint);
        }
        if let Some(evicted) = admitted.evicted {
            self.demux.release(&evicted, endpoint);
        }
        self.touch(Key::Seat(endpoint));
    }

    /// Another endpoint is heard by that path: a check from there has a forged address, or comes some seconds before the path is free.
    fn is_held(&self, now: Instant, path: Path, endpoint: Option<EndpointId>) -> bool {
        let owner = self.demux.owner(&path).filter(|&owner| Some(owner) != endpoint);
        let heard = owner.and_then(|owner| self.seats.get(&owner)?.peer.heard(path));
        heard.is_some_and(|at| now.saturating_duration_since(at) < HELD)
    }

    fn queue_handshake(&mut self, endpoint: EndpointId, path: Path, datagram: &[u8]) {
        let Some(seat) = self.seats.get_mut(&endpoint) else {
            return;
        };
        if self.handshakes.len() >= HANDSHAKES_MAX || seat.handshakes >= HANDSHAKES_EACH_MAX {
            self.tally.handshakes_dropped += 1;
            return;
        }
        seat.handshakes += 1;
        self.handshakes.push_back(Handshake {
            endpoint,
            path,
            datagram: datagram.to_vec(),
        });
    }

    /// Works on some of the DTLS datagrams that wait.
    pub(super) fn shake_hands(&mut self, now: Instant) {
        for _ in 0..HANDSHAKES_PER_TURN {
            let Some(Handshake {
                endpoint,
                path,
                datagram,
            }) = self.handshakes.pop_front()
            else {
                return;
            };
            let Some(seat) = self.seats.get_mut(&endpoint) else {
                continue;
            };
            seat.handshakes -= 1;
            match self.with_peer(endpoint, |peer| peer.handle_dtls(now, path, &datagram)) {
                Some(Ok(())) => {}
                Some(Err(_)) => self.tally.dtls_refused += 1,
                None => self.lose(now, endpoint),
            }
            self.touch(Key::Seat(endpoint));
        }
    }

    fn handle_rtp(&mut self, now: Instant, endpoint: EndpointId, path: Path, datagram: &mut [u8]) {
        let Some(seat) = self.seats.get_mut(&endpoint) else {
            return;
        };
        let key = seat.room;
        match seat.peer.open_rtp(now, path, datagram) {
            Ok(length) => {
                self.with_room(key, |room| room.handle_rtp(now, endpoint, &datagram[..length]));
                self.touch(Key::Room(key));
            }
            Err(refused) => self.tally.count_refused(refused),
        }
    }

    fn handle_rtcp(&mut self, now: Instant, endpoint: EndpointId, path: Path, datagram: &mut [u8]) {
        let Some(seat) = self.seats.get_mut(&endpoint) else {
            return;
        };
        let key = seat.room;
        match seat.peer.open_rtcp(now, path, datagram) {
            Ok(length) => {
                self.with_room(key, |room| room.handle_rtcp(now, endpoint, &datagram[..length]));
                self.touch(Key::Room(key));
            }
            Err(refused) => self.tally.count_refused(refused),
        }
    }
}
