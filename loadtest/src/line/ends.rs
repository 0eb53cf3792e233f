//! What the loop asks of the ends of a line, whatever they are made of.

use std::time::Instant;

use bytes::Bytes;

use super::{setting::Direction, state::Transmit};

/// Packets taken in at once before others are sent on.
pub(crate) const BATCH: usize = 64;

/// A packet as it came in.
#[derive(Debug)]
pub(crate) struct Arrival<F> {
    pub(crate) direction: Direction,
    pub(crate) flow: F,
    pub(crate) bytes: Bytes,
    /// With the headers that are not in `bytes`.
    pub(crate) wire_bytes: usize,
}

/// The ends of a line.
pub(crate) trait Ends {
    /// Which conversation a packet belongs to.
    type Flow: Clone;

    /// Waits for packets and puts at most [`BATCH`] of them to the list. May be dropped while it waits; no packet is lost by that.
    fn receive(
        &mut self,
        arrivals: &mut Vec<Arrival<Self::Flow>>,
    ) -> impl Future<Output = anyhow::Result<()>>;
    /// Sends a packet on; one that cannot be sent at once is lost, as at any full interface.
    fn send(&mut self, packet: Transmit<Self::Flow>);
    /// Forgets flows that have been silent for long.
    fn tidy(&mut self, now: Instant);
    /// Where it can be reached, for the first line of the output.
    fn describe(&self) -> serde_json::Value;
    /// How many flows there are.
    fn flows(&self) -> usize;
    /// Packets that could not be sent on, and packets of clients beyond the limit, since the last call.
    fn take_refused(&mut self) -> u64;
}
