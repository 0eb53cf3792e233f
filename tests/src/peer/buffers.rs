//! What a page asks of the buffers of its voices, once a second (`web-client/src/engine/voice-buffer.ts`).

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use sfu::engine::id::{MediaKind, SlotId};

use crate::decoder::Receiver;

/// Shares of fewer packets are chance.
const PACKETS_MIN: u64 = 20;
/// From this loss on, in percent, voices wait so long at least where they come with copies.
const LEAST: [(u64, Duration); 2] = [(10, Duration::from_millis(200)), (3, Duration::from_millis(100))];
/// The same where packets come again as they were, and those lost are those that no repeat brought.
const LEAST_REPEATED: [(u64, Duration); 1] = [(3, Duration::from_millis(200))];
/// The buffer is as it was after so long without need.
const HOLD: Duration = Duration::from_secs(10);

/// The page's memory of it.
#[derive(Debug, Default)]
pub(super) struct Buffers {
    /// Per slot what was there at the last look: highest number, received in time.
    before: BTreeMap<SlotId, (u64, u64)>,
    least: Duration,
    needed: Option<Instant>,
}

impl Buffers {
    /// Looks at what was lost since the last look, and sets the buffers.
    pub(super) fn adjust(&mut self, now: Instant, receivers: &mut BTreeMap<SlotId, Receiver>, copies: bool) {
        let loss = self.loss(receivers, copies);
        let least: &[_] = if copies { &LEAST } else { &LEAST_REPEATED };
        let level = least.iter().find(|(from, _)| loss >= *from);
        let least = level.map_or(Duration::ZERO, |(_, least)| *least);
        let is_over = self
            .needed
            .is_none_or(|at| now.saturating_duration_since(at) >= HOLD);
        if least >= self.least || is_over {
            (self.least, self.needed) = (least, Some(now));
        }
        let voices = receivers
            .iter_mut()
            .filter(|(slot, _)| slot.kind == MediaKind::Audio);
        voices.for_each(|(_, receiver)| receiver.voice.set_least(self.least));
    }

    /// Of all voices together, in percent.
    fn loss(&mut self, receivers: &BTreeMap<SlotId, Receiver>, copies: bool) -> u64 {
        let (mut expected, mut received) = (0, 0);
        for (slot, receiver) in receivers {
            let Some(highest) = receiver.highest.filter(|_| slot.kind == MediaKind::Audio) else {
                continue;
            };
            // A repeat that came too late helped nobody.
            let late = if copies { 0 } else { u64::from(receiver.voice.late) };
            let now = (highest, receiver.received - late);
            let before = self.before.insert(*slot, now).unwrap_or(now);
            expected += now.0 - before.0;
            received += now.1.saturating_sub(before.1);
        }
        if expected < PACKETS_MIN {
            return 0;
        }
        expected.saturating_sub(received) * 100 / expected
    }
}
