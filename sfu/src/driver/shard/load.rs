//! How busy the shard's thread is, and what rooms are told of it.

use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::{RoomKey, Shard};
use crate::engine::packet::Input;

/// A look every so often. One that has nothing to do does not look.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What was longer ago counts for little.
const WINDOW: Duration = Duration::from_secs(4);

/// Less than this, in thousandths of a core, is nothing: the looks themselves.
const NOTHING: u16 = 5;

/// How busy a shard is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Load {
    /// Its thread's time on a processor over the last seconds, in thousandths.
    pub(crate) busy: u16,
}

/// Measures the load of the thread it lives on.
pub(super) struct Meter {
    load: watch::Sender<Load>,
    looked: Instant,
    used: Duration,
    /// Spent in turns since the last look, by the clock: also what other processes took of it.
    worked: Duration,
}

impl Meter {
    /// Nothing measured.
    pub(super) fn new(now: Instant, load: watch::Sender<Load>) -> Self {
        Self {
            load,
            looked: now,
            used: thread_time(),
            worked: Duration::ZERO,
        }
    }

    /// A turn is over.
    pub(super) fn worked(&mut self, time: Duration) {
        self.worked += time;
    }

    /// When to look if nothing happens until then; none: it is known that nothing does.
    pub(super) fn due(&self) -> Option<Instant> {
        (self.load.borrow().busy > 0).then_some(self.looked + LOOK_EVERY)
    }

    /// Once a turn; does something once a second, and then tells how much of that time was spent in turns, in thousandths.
    fn look(&mut self, now: Instant) -> Option<u16> {
        let passed = now.saturating_duration_since(self.looked);
        if passed < LOOK_EVERY {
            return None;
        }
        let used = thread_time();
        let busy = smooth(self.busy(), passed, used.saturating_sub(self.used));
        (self.looked, self.used) = (now, used);
        self.load.send_replace(Load { busy });
        Some(thousandths(std::mem::take(&mut self.worked), passed))
    }

    /// As measured last.
    pub(super) fn busy(&self) -> u16 {
        self.load.borrow().busy
    }
}

impl Shard {
    /// Once a second rooms are told of a load that they should do something about, or have.
    pub(super) fn mind_load(&mut self, now: Instant) {
        let Some(busy) = self.load.look(now) else { return };
        let rooms: Vec<RoomKey> = self.rooms.keys().copied().collect();
        for key in rooms {
            let Some(entry) = self.rooms.get(&key).filter(|entry| entry.room.minds(busy)) else {
                continue;
            };
            let before = entry.room.overload();
            self.tell_room(key, |room| room.handle(now, Input::Busy(busy)));
            let Some(entry) = self.rooms.get(&key) else {
                continue;
            };
            match (before, entry.room.overload()) {
                (before, Some(most)) if before != Some(most) => {
                    tracing::warn!(room = %entry.id, busy, most_kbps = most.as_bps() / 1_000, "too much to do: receivers get no more than this");
                }
                (Some(_), None) => tracing::info!(room = %entry.id, "time for everything again"),
                _ => {}
            }
        }
    }
}

/// The former figure and the newest share, by how much of the window each is of.
fn smooth(former: u16, passed: Duration, used: Duration) -> u16 {
    let share = u128::from(thousandths(used, passed));
    let (newest, window) = (passed.min(WINDOW).as_micros(), WINDOW.as_micros());
    let busy = (u128::from(former) * (window - newest) + share * newest) / window;
    let busy = u16::try_from(busy).unwrap_or(1_000);
    if busy < NOTHING { 0 } else { busy }
}

fn thousandths(part: Duration, whole: Duration) -> u16 {
    let share = part.as_micros() * 1_000 / whole.as_micros().max(1);
    u16::try_from(share).unwrap_or(1_000).min(1_000)
}

/// How long this thread has been on a processor.
#[cfg(target_os = "linux")]
fn thread_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::try_from(time).unwrap_or_default()
}

/// Not known here: placement goes by the number of endpoints alone.
#[cfg(not(target_os = "linux"))]
fn thread_time() -> Duration {
    Duration::ZERO
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_load_follows_within_seconds_and_an_idle_shard_has_none() {
        let second = Duration::from_secs(1);
        let mut busy = 0;
        let mut seen = Vec::new();
        for used_ms in [800, 800, 800, 800, 800, 0, 0] {
            busy = smooth(busy, second, Duration::from_millis(used_ms));
            seen.push(busy);
        }
        assert_eq!(seen, [200, 350, 462, 546, 609, 456, 342]);
        assert_eq!(
            smooth(900, WINDOW, Duration::from_millis(4)),
            0,
            "long idle, then a turn"
        );
        assert_eq!(smooth(0, second, second * 2), 250, "no more than all of the time");
    }

    #[test]
    fn an_idle_shard_is_not_woken_to_look() {
        let now = Instant::now();
        let mut meter = Meter::new(now, watch::channel(Load::default()).0);
        assert_eq!(meter.due(), None);
        meter.load.send_replace(Load { busy: 300 });
        assert_eq!(meter.due(), Some(now + LOOK_EVERY));
        for look in 1..60 {
            meter.look(now + LOOK_EVERY * look);
        }
        assert_eq!((meter.busy(), meter.due()), (0, None));
    }
}
