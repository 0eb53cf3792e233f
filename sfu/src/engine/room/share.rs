//! Lines that are planned for: how fast each point behind one may be sent to, so that all of them together do not exceed it.
//!
//! One picture goes to all points of a site at the same moment. Each of their ways could carry it at once, the line that
//! they share could not: what is sent at once would wait in the line's queue, before the voices. So each leaves at its part of the line.

use std::time::Instant;

use super::{
    super::{
        id::{EndpointId, LineIndex},
        shortfall::Cause,
        units::Bitrate,
    },
    Room,
    endpoint::Endpoint,
    way::Share,
};

/// Even who hears one voice only may be sent to so fast, bits a second: a picture can begin before the next plan.
const PART_MIN: u64 = 150_000;

/// What is given out of a line.
struct Given {
    line: LineIndex,
    down: u64,
    /// Sum of the parts.
    parts: u64,
    /// An equal part of it: so much everybody may find out about.
    fair: u64,
    /// Nobody has it.
    left: u64,
    /// The first of those who would get more of it if their own way were known to carry it.
    next: Option<EndpointId>,
}

impl Room {
    /// After a plan: everybody's part of the lines on the way.
    pub(super) fn share_lines(&mut self, now: Instant) {
        let given: Vec<Given> = self
            .plan
            .lines
            .iter()
            .map(|line| self.given(line.line, line.down))
            .collect();
        let shares: Vec<(EndpointId, Option<Share>)> = self
            .endpoints
            .values()
            .map(|endpoint| (endpoint.id, self.share_of(endpoint, &given)))
            .collect();
        for (id, share) in shares {
            if let Some(endpoint) = self.endpoints.get_mut(id) {
                endpoint.way.set_share(now, share);
            }
        }
    }

    fn given(&self, line: LineIndex, down: Bitrate) -> Given {
        let behind = || {
            self.endpoints
                .values()
                .filter(|endpoint| endpoint.lines.contains(&line))
        };
        let used: u64 = behind().map(|endpoint| self.used(endpoint)).sum();
        let waiting = behind().filter(|endpoint| self.waits_for_its_way(endpoint));
        Given {
            line,
            down: down.as_bps(),
            parts: behind()
                .map(|endpoint| self.used(endpoint).max(PART_MIN))
                .sum::<u64>()
                .max(1),
            fair: down.as_bps() / (behind().count() as u64).max(1),
            left: down.as_bps().saturating_sub(used),
            next: waiting
                .max_by_key(|endpoint| (endpoint.rank, std::cmp::Reverse(endpoint.number)))
                .map(|endpoint| endpoint.id),
        }
    }

    fn share_of(&self, endpoint: &Endpoint, given: &[Given]) -> Option<Share> {
        let used = self.used(endpoint);
        let mine = given.iter().filter(|given| endpoint.lines.contains(&given.line));
        let shares = mine.map(|given| {
            let part = u128::from(given.down) * u128::from(used.max(PART_MIN)) / u128::from(given.parts);
            let pace = u64::try_from(part).unwrap_or(u64::MAX);
            let left = if given.next == Some(endpoint.id) {
                given.left
            } else {
                0
            };
            let most = pace.max(given.fair).max(used + left);
            Share {
                pace: Bitrate::bps(pace),
                most: Bitrate::bps(most),
            }
        });
        shares.reduce(|a, b| Share {
            pace: a.pace.min(b.pace),
            most: a.most.min(b.most),
        })
    }

    fn used(&self, endpoint: &Endpoint) -> u64 {
        self.plan
            .allocation
            .receiver(endpoint.id)
            .map_or(0, |grant| grant.used.as_bps())
    }

    fn waits_for_its_way(&self, endpoint: &Endpoint) -> bool {
        let mut slots = self.plan.allocation.slots_of(endpoint.id).iter();
        slots.any(|grant| {
            grant
                .shortfall
                .is_some_and(|short| matches!(short.cause, Cause::Path | Cause::VoicesOnly | Cause::OneVoice))
        })
    }
}
