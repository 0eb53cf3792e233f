//! Sound sent again before anybody asks, to receivers that take no RED (`docs/speakers.md`).
//!
//! A repeat is the packet that went out, byte for byte, some packets later: the same number, the same transport-wide number. So it is
//! never sealed anew (one index under one key must never protect two packets, RFC 3711 §9.1): the driver keeps the sealed bytes of what is
//! marked [`Forward::again`] and sends those. A receiver that got the first one drops the second as a replay (RFC 3711 §3.3.2).

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use super::packet::{Forward, Purpose, soonest};

/// Repeats of a packet at most.
const TIMES: usize = 3;
/// How long after the packet a single repeat goes: three packets of 20 ms, so that a burst of losses seldom takes both.
const ONCE: [Duration; TIMES] = [Duration::from_millis(60); TIMES];
/// The same of several: losses are so heavy that the first has to come before the receiver's buffer has grown, and the last no later than
/// that buffer may be asked to be long.
const OFTEN: [Duration; TIMES] = [
    Duration::from_millis(40),
    Duration::from_millis(100),
    Duration::from_millis(160),
];
/// What could not go until then comes too late to be played.
const TOO_LATE: Duration = Duration::from_millis(200);
/// Packets that wait for each of their repeats: those of six voices for 160 ms, and some more. Full: the oldest is not repeated any more.
const WAITING_MAX: usize = 64;

/// Repeats of one endpoint's sound.
#[derive(Debug, Default)]
pub struct Repeats {
    /// Of each packet.
    times: usize,
    /// What waits for its first repeat, its second, its third; the oldest first.
    waiting: [VecDeque<Waiting>; TIMES],
}

#[derive(Debug)]
struct Waiting {
    sent: Instant,
    forward: Forward,
}

impl Repeats {
    /// From now on each packet is repeated so many times, up to three. What waits is forgotten when it ends.
    pub fn set(&mut self, times: u8) {
        self.times = usize::from(times).min(TIMES);
        for (nth, waiting) in self.waiting.iter_mut().enumerate() {
            if nth >= self.times {
                *waiting = VecDeque::new();
            }
        }
    }

    /// Packets are repeated.
    pub fn is_on(&self) -> bool {
        self.times > 0
    }

    /// A packet of sound goes out now, for the first time: its bytes are to be kept if it goes again.
    pub fn begin(&mut self, now: Instant, forward: &mut Forward) {
        if !self.is_on() || forward.purpose != Purpose::Audio {
            return;
        }
        forward.again = true;
        self.wait(
            0,
            Waiting {
                sent: now,
                forward: *forward,
            },
        );
    }

    /// The next repeat whose time has come. `arrived`: the receiver has told that it has the packet, which then is not
    /// repeated.
    pub fn poll(&mut self, now: Instant, arrived: impl Fn(&Forward) -> bool) -> Option<Forward> {
        for (nth, after) in self.after().into_iter().enumerate() {
            let is_due = |first: &Waiting| first.sent + after <= now;
            while self.waiting[nth].front().is_some_and(is_due) {
                let Some(waiting) = self.waiting[nth].pop_front() else {
                    break;
                };
                let forward = waiting.forward;
                if now.saturating_duration_since(waiting.sent) > TOO_LATE || arrived(&forward) {
                    continue;
                }
                let is_last = nth + 1 >= self.times;
                if !is_last {
                    self.wait(nth + 1, waiting);
                }
                return Some(Forward {
                    purpose: Purpose::Repeat,
                    again: !is_last,
                    ..forward
                });
            }
        }
        None
    }

    /// When the next one is due.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let due = self.waiting.iter().zip(self.after());
        due.filter_map(|(waiting, after)| Some(waiting.front()?.sent + after))
            .fold(None, |soon, at| soonest(soon, Some(at)))
    }

    fn after(&self) -> [Duration; TIMES] {
        if self.times > 1 { OFTEN } else { ONCE }
    }

    fn wait(&mut self, nth: usize, packet: Waiting) {
        let waiting = &mut self.waiting[nth];
        if waiting.len() >= WAITING_MAX {
            waiting.pop_front();
        }
        waiting.push_back(packet);
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{
            id::{EndpointId, SlotId},
            packet::PayloadPatch,
            testing::{base, ms, voice_header},
        },
        *,
    };

    fn voice(sequence: u16) -> Forward {
        Forward {
            to: EndpointId(1),
            slot: SlotId::audio(0),
            purpose: Purpose::Audio,
            header: voice_header(5, sequence),
            payload: None,
            size: 80,
            patch: PayloadPatch::None,
            redundancy: None,
            again: false,
            base: false,
        }
    }

    /// (after so many ms, sequence, whether it is kept on) of all that goes again.
    fn run(repeats: &mut Repeats, packets: u16, arrived: impl Fn(u16) -> bool) -> Vec<(u64, u16, bool)> {
        let t0 = base();
        let mut out = Vec::new();
        let mut drain = |repeats: &mut Repeats, until: Instant| {
            while let Some(at) = repeats.poll_timeout().filter(|&at| at <= until) {
                while let Some(forward) = repeats.poll(at, |forward| arrived(forward.header.sequence)) {
                    assert_eq!(forward.purpose, Purpose::Repeat);
                    let after = (at - t0).as_millis() as u64;
                    out.push((after, forward.header.sequence, forward.again));
                }
            }
        };
        for sequence in 0..packets {
            let now = t0 + ms(20 * u64::from(sequence));
            drain(repeats, now);
            let mut packet = voice(sequence);
            repeats.begin(now, &mut packet);
            assert_eq!(packet.again, repeats.is_on());
        }
        drain(repeats, t0 + ms(60_000));
        out
    }

    #[test]
    fn each_packet_goes_again_some_packets_later() {
        let mut repeats = Repeats::default();
        assert_eq!(run(&mut repeats, 3, |_| false), []);
        repeats.set(1);
        let once = [(60, 0, false), (80, 1, false), (100, 2, false)];
        assert_eq!(run(&mut repeats, 3, |_| false), once);
        repeats.set(2);
        let twice = [(40, 0, true), (60, 1, true), (100, 0, false), (120, 1, false)];
        assert_eq!(run(&mut repeats, 2, |_| false), twice);
        repeats.set(3);
        let thrice = [(40, 0, true), (100, 0, true), (160, 0, false)];
        assert_eq!(run(&mut repeats, 1, |_| false), thrice);
        repeats.set(2);
        assert_eq!(run(&mut repeats, 9, |sequence| sequence != 4).len(), 2);
    }

    #[test]
    fn when_it_ends_what_waits_is_forgotten() {
        let mut repeats = Repeats::default();
        repeats.set(2);
        let t0 = base();
        repeats.begin(t0, &mut voice(1));
        assert!(repeats.poll(t0 + ms(60), |_| false).is_some());
        repeats.begin(t0 + ms(60), &mut voice(2));
        repeats.set(1);
        assert_eq!(repeats.poll_timeout(), Some(t0 + ms(120)));
        repeats.set(0);
        assert_eq!(repeats.poll_timeout(), None);
    }

    #[test]
    fn what_waits_is_bounded_and_what_is_too_late_does_not_go() {
        let mut repeats = Repeats::default();
        repeats.set(2);
        let t0 = base();
        (0..1_000).for_each(|sequence| repeats.begin(t0, &mut voice(sequence)));
        let out: Vec<u16> = std::iter::from_fn(|| repeats.poll(t0 + ms(60), |_| false))
            .map(|forward| forward.header.sequence)
            .collect();
        assert_eq!(out, (1_000 - WAITING_MAX as u16..1_000).collect::<Vec<_>>());
        assert!(repeats.poll(t0 + ms(201), |_| false).is_none());
        assert_eq!(repeats.poll_timeout(), None);
    }
}
