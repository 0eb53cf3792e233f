//! The line without sockets: packets in, packets out at their time. Told the time, it never looks at a clock.

use std::{
    collections::{BTreeMap, VecDeque},
    time::{Duration, Instant},
};

use bytes::Bytes;
use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng as _};
use serde::Serialize;
use testkit::link::{Fate, Path, QueueRecord};

use super::setting::{Command, Direction, Shape, Step};

/// A packet that has come through, with the flow it came in by.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Transmit<F> {
    pub(crate) direction: Direction,
    pub(crate) flow: F,
    pub(crate) bytes: Bytes,
}

/// One line, two directions; all flows share both.
#[derive(Debug)]
pub(crate) struct LineState<F> {
    began: Instant,
    up: Side,
    down: Side,
    steps: VecDeque<Step>,
    held: BTreeMap<(Instant, u64), (Transmit<F>, usize)>,
    held_bytes: usize,
    order: u64,
}

#[derive(Debug)]
struct Side {
    shape: Shape,
    path: Path,
    rng: ChaCha8Rng,
    counts: Counts,
}

/// Since the last report.
#[derive(Debug, Default)]
struct Counts {
    offered: u64,
    offered_bytes: u64,
    delivered: u64,
    delivered_bytes: u64,
    lost: u64,
    dropped: u64,
    overflow: u64,
}

/// One direction in the time since the last report.
#[derive(Debug, Serialize)]
pub(crate) struct SideReport {
    /// What came out, headers included.
    pub(crate) kbps: u64,
    /// What came in, headers included.
    pub(crate) offered_kbps: u64,
    /// What the line gives now; null: everything.
    pub(crate) rate_kbps: Option<u64>,
    /// Packets that came in.
    pub(crate) offered: u64,
    /// Packets that came out; one that arrives twice counts twice.
    pub(crate) packets: u64,
    /// Packets lost by chance.
    pub(crate) lost: u64,
    /// Packets dropped because they would have waited too long.
    pub(crate) dropped: u64,
    /// Copies dropped because more is under way than this program holds.
    pub(crate) overflow: u64,
    pub(crate) queue_ms_p50: f64,
    pub(crate) queue_ms_p95: f64,
    pub(crate) queue_ms_max: f64,
}

impl<F: Clone> LineState<F> {
    /// Packets held at once, both directions together; one more is dropped: 64,000 are 600 ms of 100,000 packets a second.
    const HELD_MAX: usize = 65_536;
    /// Bytes held at once; a packet that would exceed it is dropped.
    const HELD_BYTES_MAX: usize = 64 << 20;

    /// A line that is not felt until the steps say something. The same seed and packets: the same losses, each direction for itself.
    pub(crate) fn new(now: Instant, seed: u64, mut steps: Vec<Step>) -> Self {
        steps.sort_by_key(|step| step.at);
        let side = |stream| {
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            rng.set_stream(stream);
            Side {
                shape: Shape::CLEAN,
                path: Path::new(Shape::CLEAN.link()),
                rng,
                counts: Counts::default(),
            }
        };
        let mut line = Self {
            began: now,
            up: side(0),
            down: side(1),
            steps: steps.into(),
            held: BTreeMap::new(),
            held_bytes: 0,
            order: 0,
        };
        line.handle_timeout(now);
        line
    }

    /// Changes the line from now on. What is under way arrives when it would have.
    pub(crate) fn handle_command(&mut self, command: &Command) {
        for direction in command.sides {
            let side = self.side(*direction);
            command
                .settings
                .iter()
                .for_each(|setting| side.shape.set(*setting));
            side.path.link = side.shape.link();
        }
    }

    /// Steps of the script that are due.
    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        while self.steps.front().is_some_and(|step| self.began + step.at <= now) {
            if let Some(step) = self.steps.pop_front() {
                self.handle_command(&step.command);
            }
        }
    }

    /// A packet comes in; on the wire it has `wire_bytes`.
    pub(crate) fn handle_packet(
        &mut self,
        now: Instant,
        direction: Direction,
        flow: F,
        bytes: Bytes,
        wire_bytes: usize,
    ) {
        let side = self.side(direction);
        side.counts.offered += 1;
        side.counts.offered_bytes += wire_bytes as u64;
        let fate = side.path.carry(None, now, wire_bytes, &mut side.rng);
        match fate {
            Fate::Lost => side.counts.lost += 1,
            Fate::Dropped => side.counts.dropped += 1,
            Fate::Arrives { .. } => {}
        }
        for at in fate.arrivals() {
            if self.held.len() >= Self::HELD_MAX || self.held_bytes + bytes.len() > Self::HELD_BYTES_MAX {
                self.side(direction).counts.overflow += 1;
                continue;
            }
            self.order += 1;
            self.held_bytes += bytes.len();
            let transmit = Transmit {
                direction,
                flow: flow.clone(),
                bytes: bytes.clone(),
            };
            self.held.insert((at, self.order), (transmit, wire_bytes));
        }
    }

    /// The next packet that has come through by `now`, in the order of arrival.
    pub(crate) fn poll_transmit(&mut self, now: Instant) -> Option<Transmit<F>> {
        let entry = self.held.first_entry().filter(|entry| entry.key().0 <= now)?;
        let (transmit, wire_bytes) = entry.remove();
        self.held_bytes -= transmit.bytes.len();
        let counts = &mut self.side(transmit.direction).counts;
        counts.delivered += 1;
        counts.delivered_bytes += wire_bytes as u64;
        Some(transmit)
    }

    /// When something happens next if nothing comes in.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let step = self.steps.front().map(|step| self.began + step.at);
        let held = self.held.first_key_value().map(|((at, _), _)| *at);
        step.into_iter().chain(held).min()
    }

    /// The figures of a direction since the last report, which was `span` ago.
    pub(crate) fn take_report(&mut self, direction: Direction, span: Duration) -> SideReport {
        let side = self.side(direction);
        let counts = std::mem::take(&mut side.counts);
        let record: QueueRecord = std::mem::take(&mut side.path.record);
        let kbps = |bytes: u64| (bytes as f64 * 8.0 / 1_000.0 / span.as_secs_f64().max(1e-3)).round() as u64;
        let ms = |wait: Duration| wait.as_micros() as f64 / 1_000.0;
        SideReport {
            kbps: kbps(counts.delivered_bytes),
            offered_kbps: kbps(counts.offered_bytes),
            rate_kbps: side.path.link.rate.map(|rate| rate.as_bps() / 1_000),
            offered: counts.offered,
            packets: counts.delivered,
            lost: counts.lost,
            dropped: counts.dropped,
            overflow: counts.overflow,
            queue_ms_p50: ms(record.percentile(0.5)),
            queue_ms_p95: ms(record.percentile(0.95)),
            queue_ms_max: ms(record.max()),
        }
    }

    fn side(&mut self, direction: Direction) -> &mut Side {
        match direction {
            Direction::Up => &mut self.up,
            Direction::Down => &mut self.down,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::setting::parse_script, *};

    const MS: Duration = Duration::from_millis(1);

    fn line(script: &str) -> (Instant, LineState<u8>) {
        let t0 = Instant::now();
        let steps = parse_script(script).expect("a good script");
        (t0, LineState::new(t0, 7, steps))
    }

    /// Offers `count` packets of `wire` bytes, one per `gap`, and lets all come through: their numbers and times.
    fn play(
        (t0, line): &mut (Instant, LineState<u8>),
        direction: Direction,
        count: u32,
        gap: Duration,
        wire: usize,
    ) -> Vec<(u32, Duration)> {
        let mut out = Vec::new();
        let mut sent = 0;
        let until = *t0 + gap * count;
        loop {
            let next = (sent < count).then(|| *t0 + gap * sent);
            let Some(now) = next.into_iter().chain(line.poll_timeout()).min() else {
                return out;
            };
            assert!(sent < count || now <= until + Duration::from_secs(120), "it ends");
            line.handle_timeout(now);
            while let Some(packet) = line.poll_transmit(now) {
                assert_eq!(
                    (packet.direction, packet.flow),
                    (direction, (packet.bytes[3] % 5))
                );
                let number = u32::from_be_bytes(packet.bytes[..4].try_into().expect("four"));
                out.push((number, now - *t0));
            }
            if next == Some(now) {
                let bytes = Bytes::copy_from_slice(&sent.to_be_bytes());
                line.handle_packet(now, direction, (sent.to_be_bytes()[3]) % 5, bytes, wire);
                sent += 1;
            }
        }
    }

    #[test]
    fn the_rate_holds_in_bytes_and_the_queue_in_time() {
        for kbps in [300_u32, 1_500, 8_000] {
            let mut world = line(&format!("down rate={kbps} queue-ms=100 delay-ms=30"));
            // 10 s of 12 Mb/s.
            let out = play(&mut world, Direction::Down, 10_000, MS, 1_500);
            let share = out.len() as f64 * 1_500.0 * 8.0 / 10.1 / f64::from(kbps * 1_000);
            assert!((0.97..1.03).contains(&share), "{share} of {kbps}");
            let wait = |(number, at): &(u32, Duration)| *at - MS * *number;
            let longest = out.iter().map(wait).max().expect("some pass");
            let packet = Duration::from_micros(12_000_000 / u64::from(kbps));
            assert!(longest <= 130 * MS + packet + MS, "{longest:?}");
            assert!(out.is_sorted(), "in order");
        }
    }

    #[test]
    fn losses_are_the_share_and_the_same_for_the_same_seed() {
        let script = "up loss=0.3 burst=3.6 delay-ms=40 jitter-ms=10";
        let [first, again] = [(), ()].map(|()| play(&mut line(script), Direction::Up, 20_000, MS, 200));
        let numbers = |out: &[(u32, Duration)]| out.iter().map(|(number, _)| *number).collect::<Vec<_>>();
        assert_eq!(numbers(&first), numbers(&again));
        assert!((13_200..14_800).contains(&first.len()), "{}", first.len());
        assert!(first.is_sorted(), "jitter does not reorder");
        let report = |world: &mut (Instant, LineState<u8>)| {
            play(world, Direction::Up, 20_000, MS, 200);
            world.1.take_report(Direction::Up, Duration::from_secs(20))
        };
        let seen = report(&mut line(script));
        assert_eq!(seen.offered, 20_000);
        assert_eq!(
            (seen.packets, seen.lost),
            (first.len() as u64, 20_000 - first.len() as u64)
        );
        assert_eq!(seen.offered_kbps, 1_600);
    }

    #[test]
    fn a_script_changes_one_direction_at_its_time() {
        let mut world = line("down rate=2400\n5 down rate=240\n8 down rate=2400\n8 up loss=1");
        let out = play(&mut world, Direction::Down, 10_000, MS, 300);
        let within = |from: u64, to: u64| {
            let span = Duration::from_secs(from)..Duration::from_secs(to);
            out.iter().filter(|(_, at)| span.contains(at)).count()
        };
        assert!((4_995..=5_001).contains(&within(0, 5)), "{}", within(0, 5));
        assert!((295..=302).contains(&within(5, 8)), "{}", within(5, 8));
        // The queue of the thin time goes first: 200 ms.
        assert!((1_750..=2_000).contains(&within(8, 10)), "{}", within(8, 10));
    }

    #[test]
    fn a_line_that_reorders_and_doubles_does_both_and_loses_nothing() {
        let mut world = line("up reorder=0.05 duplicate=0.02");
        let out = play(&mut world, Direction::Up, 5_000, MS, 100);
        assert!((5_060..5_140).contains(&out.len()), "{}", out.len());
        let overtaken = out.windows(2).filter(|pair| pair[0].0 > pair[1].0).count();
        assert!(overtaken > 100, "{overtaken}");
        let mut numbers: Vec<_> = out.iter().map(|(number, _)| *number).collect();
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers.len(), 5_000);
    }

    #[test]
    fn what_is_held_is_bounded() {
        let (t0, mut line) = line("up delay-ms=60000");
        let packet = Bytes::from_static(&[0; 100]);
        for _ in 0..LineState::<u8>::HELD_MAX + 10 {
            line.handle_packet(t0, Direction::Up, 0, packet.clone(), 128);
        }
        assert_eq!(line.take_report(Direction::Up, MS).overflow, 10);
        assert_eq!(line.poll_timeout(), Some(t0 + Duration::from_secs(60)));
        assert_eq!(line.poll_transmit(t0), None);
    }
}
