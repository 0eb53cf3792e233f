//! Probes: short bursts above the estimate, sent when more is wanted, that show whether the line takes more.

use std::{collections::VecDeque, time::Duration};

use super::{
    Micros, RATE_MAX,
    sent::{News, ProbeId},
};
use crate::engine::units::Bitrate;

/// A burst to send: at this rate, at least so many bytes and so many packets, of media where there is some, else padding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Probe {
    /// To be told with each packet of it.
    pub id: ProbeId,
    /// How fast, all packets to the endpoint together.
    pub rate: Bitrate,
    /// At least so many bytes on the wire.
    pub bytes: u32,
    /// At least so many packets: fewer show nothing.
    pub packets: u8,
    /// One of the first: nothing is known of the way yet.
    pub is_first: bool,
}

/// How long a probe takes to send. Shorter ones drown in the grain of timers, longer ones in the queue they make.
const LENGTH: Duration = Duration::from_millis(20);
/// Near what the line is known to take it is only a look whether that still holds. A longer one would push aside the other
/// flows of a full line, the more the greater the flow that probes.
const LENGTH_NEAR: Duration = Duration::from_millis(10);
/// Fewer packets show nothing.
const PACKETS: u8 = 5;
/// A probe not sent by then is judged by what was sent of it.
const SEND_TIME: Micros = 250_000;
/// What is not told of so long after it was sent, and a response time, is lost.
const TELL_TIME: Micros = 500_000;
/// Share of its packets that must arrive, in percent: paths that lose a third are probed too.
const ARRIVED_PERCENT: u32 = 60;
/// Shorter than this between first and last packet, and nothing is measured.
const SPAN_MIN: Micros = 5_000;
const SPAN_MAX: Micros = 1_000_000;
/// Arriving so much faster than sent is a device that held packets back, or a lie.
const FASTER_MAX: f64 = 2.0;
/// Arriving slower than this share of the rate sent: the line is full.
const FULL_BELOW: f64 = 0.9;
/// Then so much of what arrived is used.
const FULL_USE: f64 = 0.9;
/// Multiples of the estimate at first, sent without waiting for the first result.
const FIRST: [f64; 2] = [3.0, 6.0];
/// Multiple of the estimate later.
const STEP: f64 = 2.0;
/// Multiple of what is wanted above which nobody probes for it.
const WANTED: f64 = 1.1;
/// Where nothing is known of a limit, a way that is known to carry what is wanted is probed once more, for what it has to spare, if that is less than this multiple of it. Key frames come at many
/// times the rate of their stream, and leave at what the way is known to carry: where that is a tenth more than is wanted, the other pictures of a page stand for
/// 200 ms behind the one that becomes larger.
const SPARE: f64 = 1.5;
/// Then at this multiple.
const WANTED_SPARE: f64 = 2.0;
/// Who wants less than that many bits a second has small pictures alone.
const SPARE_FROM: f64 = 5e5;
/// And again when so many times as much is wanted: where it was in vain it would be so each time, and a probe ends the calm of a way.
const SPARE_AGAIN: f64 = 1.2;
/// A probe below this multiple of the estimate shows nothing new, and one that shows less was in vain.
const GAIN_MIN: f64 = 1.05;
/// Wait after a probe that showed nothing, at first; it grows by half each time up to the greatest. Longer, and a line that
/// came back is found late.
const WAIT: Micros = 3_000_000;
const WAIT_MAX: Micros = 7_000_000;
/// The same after the very first in vain: in a storm of joins the newcomer's own machine is busy, and the pages would wait for [`WAIT`]. Not on long paths, where
/// many first probes at once still make a queue then.
const WAIT_FIRST: Micros = 1_500_000;
/// A response time from which on a path is long.
const LONG: Micros = 400_000;
/// Sent at less than this share of the rate asked for, it shows how busy the node was and not what the line takes.
const SENT_BELOW: f64 = 0.8;
/// Then it is sent again after this: in a storm of joins the first probes of some receivers go out like that, and their pages would wait for [`WAIT`].
const AGAIN: Micros = 500_000;
/// No probe so long after a queue: the line is full, and the additive search finds the rest.
const CALM: Micros = 5_000_000;
/// The queue that a probe made takes so long to drain, beside the time after which it is seen.
const SETTLE: Micros = 150_000;
/// Probes that wait for results.
const CLUSTERS_MAX: usize = 2;

/// What is known of the line that a probe goes over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Line {
    /// Nothing: it was never seen full, nobody is known to share it, it is not planned for, and not long.
    Open,
    /// Something, but the target is far from what it is known to take.
    Known,
    /// The target is near what it is known to take.
    Near,
}

impl Line {
    /// How long a probe of it takes.
    fn length(self) -> Duration {
        if self == Self::Near { LENGTH_NEAR } else { LENGTH }
    }
}

/// What a probe showed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Shown {
    /// So much passes, and perhaps more.
    Free(f64),
    /// So much passed, beside what others sent at that moment, and no more.
    Full(f64),
    /// Nothing that can be believed.
    Nothing,
}

/// Plans probes and judges them.
#[derive(Debug)]
pub(super) struct Probes {
    /// Bits per second.
    wanted: f64,
    /// What may come to be wanted: the first probes look for that too.
    expected: f64,
    /// What was wanted when it was last probed for what the way has to spare.
    spared: f64,
    next_id: u32,
    first: usize,
    clusters: VecDeque<Cluster>,
    /// The last packet of any probe.
    sent_at: Option<Micros>,
    not_before: Micros,
    wait: Micros,
}

impl Probes {
    pub(super) fn new() -> Self {
        Self {
            wanted: 0.0,
            expected: 0.0,
            spared: 0.0,
            next_id: 0,
            first: 0,
            clusters: VecDeque::new(),
            sent_at: None,
            not_before: 0,
            wait: WAIT_FIRST,
        }
    }

    pub(super) fn set_wanted(&mut self, wanted: f64) {
        self.wanted = wanted;
    }

    pub(super) fn set_expected(&mut self, expected: f64) {
        self.expected = expected;
    }

    /// Is one under way?
    pub(super) fn running(&self) -> bool {
        !self.clusters.is_empty()
    }

    /// More is wanted than `target`.
    pub(super) fn wants_more(&self, target: f64) -> bool {
        self.looks_for().min(RATE_MAX) > target
    }

    /// When the next one may begin, if more is to be known to pass than `target`.
    pub(super) fn due(&self, target: f64, line: Line) -> Option<Micros> {
        let spare = line == Line::Open
            && !self.begins()
            && self.wanted >= SPARE_FROM.max(self.spared * SPARE_AGAIN)
            && (self.wanted * SPARE).min(RATE_MAX) > target;
        let more = spare || self.wants_more(target);
        let free = match self.clusters.back() {
            None => true,
            Some(last) => !last.open && self.begins() && self.clusters.len() < CLUSTERS_MAX,
        };
        (more && free).then_some(self.not_before)
    }

    /// The next one, if it is time.
    pub(super) fn poll(&mut self, at: Micros, target: f64, line: Line) -> Option<Probe> {
        if self.due(target, line).is_none_or(|due| at < due) {
            return None;
        }
        let most = if self.wants_more(target) {
            WANTED
        } else {
            self.spared = self.wanted;
            WANTED_SPARE
        };
        let top = (self.looks_for() * most).min(RATE_MAX);
        let multiple = FIRST.get(self.first).copied().unwrap_or(STEP);
        let is_first = self.begins();
        self.first += usize::from(is_first);
        let rate = (target * multiple).min(top).max(target * GAIN_MIN);
        if rate >= top {
            self.first = FIRST.len();
        }
        let id = ProbeId(self.next_id);
        self.next_id = self.next_id.wrapping_add(1);
        let rate = Bitrate::bps(rate as u64);
        let bytes = rate.over(line.length()).as_bytes() as u32;
        self.clusters.push_back(Cluster::new(id, at, (rate, bytes)));
        Some(Probe {
            id,
            rate,
            bytes,
            packets: PACKETS,
            is_first,
        })
    }

    /// A packet of it goes out.
    pub(super) fn sent(&mut self, at: Micros, id: ProbeId, bytes: u16) {
        if let Some(cluster) = self.clusters.iter_mut().find(|c| c.id == id && c.open) {
            self.sent_at = Some(at);
            cluster.packets += 1;
            cluster.bytes += u32::from(bytes);
            cluster.until = at;
            cluster.open = cluster.packets < u32::from(PACKETS) || cluster.bytes < cluster.least;
        }
    }

    /// Something was told of a packet of it.
    pub(super) fn told(&mut self, id: ProbeId, sent: Micros, bytes: u16, news: News) {
        if let Some(cluster) = self.clusters.iter_mut().find(|c| c.id == id) {
            cluster.told(sent, bytes, news);
        }
    }

    /// Judges the oldest one if all of it is told, or its time is over. Call it until none is left.
    pub(super) fn judge(&mut self, at: Micros, response: Micros, target: f64) -> Option<Shown> {
        let oldest = self.clusters.front()?;
        let told = !oldest.open && oldest.arrived + oldest.lost >= oldest.packets;
        if !told && at < oldest.deadline(response) {
            return None;
        }
        let cluster = self.clusters.pop_front()?;
        let shown = cluster.judge();
        match shown {
            Shown::Free(rate) | Shown::Full(rate) if rate > target * GAIN_MIN => {
                self.wait = WAIT;
                self.not_before = at;
            }
            _ if !self.clusters.is_empty() => {}
            Shown::Free(rate) if rate < cluster.rate * SENT_BELOW => {
                self.not_before = self.not_before.max(at + AGAIN)
            }
            _ => self.later(at, response),
        }
        Some(shown)
    }

    /// Is what waits now perhaps only what the last probe made? It is gone a response time after it.
    pub(super) fn disturbs(&self, at: Micros, response: Micros) -> bool {
        self.sent_at.is_some_and(|sent| at - sent < response + SETTLE)
    }

    /// A queue grows: what runs is given up.
    pub(super) fn abort(&mut self, at: Micros, response: Micros) {
        self.first = FIRST.len();
        if !self.clusters.is_empty() {
            self.clusters.clear();
            self.later(at, response);
        }
        self.not_before = self.not_before.max(at + CALM);
    }

    /// When the oldest one is over at the latest.
    pub(super) fn deadline(&self, response: Micros) -> Option<Micros> {
        self.clusters.front().map(|cluster| cluster.deadline(response))
    }

    /// Feedback came back after a silence: the old estimate may hold or not.
    pub(super) fn begin_anew(&mut self, at: Micros) {
        self.spared = 0.0;
        self.wait = WAIT;
        self.not_before = at;
    }

    fn later(&mut self, at: Micros, response: Micros) {
        let wait = if response < LONG {
            self.wait
        } else {
            self.wait.max(WAIT)
        };
        self.not_before = self.not_before.max(at + wait);
        self.wait = (wait + wait / 2).clamp(WAIT, WAIT_MAX);
    }

    /// What a probe is to show that passes.
    fn looks_for(&self) -> f64 {
        if self.begins() {
            self.wanted.max(self.expected)
        } else {
            self.wanted
        }
    }

    fn begins(&self) -> bool {
        self.first < FIRST.len()
    }
}

/// A probe under way.
#[derive(Debug)]
struct Cluster {
    id: ProbeId,
    /// Still being sent.
    open: bool,
    /// Asked for.
    rate: f64,
    least: u32,
    /// When the last packet went out, or the probe was handed over.
    until: Micros,
    packets: u32,
    bytes: u32,
    lost: u32,
    arrived: u32,
    arrived_bytes: u32,
    /// (sent, bytes) of the last, and (arrived, bytes) of the first packet that arrived.
    last_sent: (Micros, u16),
    first_arrived: (Micros, u16),
    first_sent: Micros,
    last_arrived: Micros,
}

impl Cluster {
    fn new(id: ProbeId, at: Micros, (rate, least): (Bitrate, u32)) -> Self {
        Self {
            id,
            open: true,
            rate: rate.as_bps() as f64,
            least,
            until: at,
            packets: 0,
            bytes: 0,
            lost: 0,
            arrived: 0,
            arrived_bytes: 0,
            last_sent: (Micros::MIN, 0),
            first_arrived: (Micros::MAX, 0),
            first_sent: Micros::MAX,
            last_arrived: Micros::MIN,
        }
    }

    fn told(&mut self, sent: Micros, bytes: u16, news: News) {
        let arrived = match news {
            News::Lost => {
                self.lost += 1;
                return;
            }
            News::Arrived(at) => at,
            News::Late(at) => {
                self.lost = self.lost.saturating_sub(1);
                at
            }
        };
        self.arrived += 1;
        self.arrived_bytes += u32::from(bytes);
        self.first_sent = self.first_sent.min(sent);
        self.last_arrived = self.last_arrived.max(arrived);
        if sent >= self.last_sent.0 {
            self.last_sent = (sent, bytes);
        }
        if arrived < self.first_arrived.0 {
            self.first_arrived = (arrived, bytes);
        }
    }

    fn deadline(&self, response: Micros) -> Micros {
        let send = if self.open { SEND_TIME } else { 0 };
        self.until + send + response + TELL_TIME
    }

    /// What arrived, by the slower of the two clocks: the last packet sent and the first that arrived only mark the ends.
    fn judge(&self) -> Shown {
        let enough = self.arrived * 100 >= self.packets * ARRIVED_PERCENT;
        if self.arrived < u32::from(PACKETS) * ARRIVED_PERCENT / 100 || !enough {
            return Shown::Nothing;
        }
        let sending = self.last_sent.0 - self.first_sent;
        let arriving = self.last_arrived - self.first_arrived.0;
        let spans = SPAN_MIN..=SPAN_MAX;
        if !spans.contains(&sending) || !spans.contains(&arriving) {
            return Shown::Nothing;
        }
        let rate =
            |edge: u16, span: Micros| f64::from(self.arrived_bytes - u32::from(edge)) * 8e6 / span as f64;
        let sent = rate(self.last_sent.1, sending);
        let arrived = rate(self.first_arrived.1, arriving);
        if arrived > sent * FASTER_MAX {
            Shown::Nothing
        } else if arrived < sent * FULL_BELOW {
            Shown::Full(arrived * FULL_USE)
        } else {
            Shown::Free(sent.min(arrived))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_way_has_to_spare_is_looked_for_once_and_again_when_more_is_wanted() {
        let mut probes = Probes::new();
        let mut at = 0;
        // The rate of the next probe, in kb/s, of which nothing is told.
        let mut probe = |probes: &mut Probes, target: f64, line| {
            at += 20_000_000; // that nothing was told of the last one is known then,
            while probes.judge(at, 100_000, target).is_some() {}
            at += 20_000_000; // and the wait behind it is over
            let rate = probes.poll(at, target, line).map(|probe| probe.rate);
            rate.map_or(0, |rate| rate.as_bps() / 1_000)
        };
        probes.set_wanted(1_400_000.0);
        assert_eq!(probe(&mut probes, 300_000.0, Line::Open), 900);
        assert_eq!(probe(&mut probes, 900_000.0, Line::Open), 1_540);
        for line in [Line::Known, Line::Near] {
            assert_eq!(probe(&mut probes, 1_540_000.0, line), 0, "{line:?}");
        }
        assert_eq!(
            probe(&mut probes, 2_100_000.0, Line::Open),
            0,
            "it is known to have it"
        );
        assert_eq!(probe(&mut probes, 1_540_000.0, Line::Open), 2_800);
        assert_eq!(probe(&mut probes, 1_540_000.0, Line::Open), 0, "once");
        probes.set_wanted(1_500_000.0);
        assert_eq!(
            probe(&mut probes, 1_540_000.0, Line::Open),
            0,
            "hardly more is wanted"
        );
        probes.set_wanted(1_700_000.0);
        assert_eq!(probe(&mut probes, 1_800_000.0, Line::Open), 3_400);
        probes.set_wanted(400_000.0);
        probes.begin_anew(0);
        assert_eq!(
            probe(&mut probes, 450_000.0, Line::Open),
            0,
            "small pictures alone"
        );
        probes.set_wanted(1_400_000.0);
        assert_eq!(
            probe(&mut probes, 1_540_000.0, Line::Open),
            2_800,
            "all was forgotten"
        );
    }
}
