//! What one endpoint's losses ask for: round trip, budget of repairs, playout delay.

use std::time::{Duration, Instant};

/// Repairs to one endpoint, over all its slots.
#[derive(Debug)]
pub struct Outbound {
    round_trip: Option<Duration>,
    /// Middle NTP bits of the latest sender report that told it.
    told_by: Option<u32>,
    repair_credit: u64,
    path_delay: Raised,
    delay_told: bool,
}

/// Repairs may take half of what is sent for the first time, and this much before that.
const REPAIR_CREDIT: u64 = 64 << 10;
/// More is not saved up: the burst after a pause of the receiver.
const REPAIR_CREDIT_MAX: u64 = 256 << 10;
/// A few packets may always go again.
const REPAIR_CREDIT_MIN: u64 = 4_000;
/// Before a report told it.
const ROUND_TRIP: Duration = Duration::from_millis(100);
/// A path on the same host: still no more than fifty repairs of a packet a second.
const ROUND_TRIP_MIN: Duration = Duration::from_millis(20);
/// Above it the receiver's figures are not to be believed.
const ROUND_TRIP_MAX: Duration = Duration::from_secs(5);

impl Outbound {
    /// Nothing sent yet.
    pub fn new() -> Self {
        Self {
            round_trip: None,
            told_by: None,
            repair_credit: REPAIR_CREDIT,
            path_delay: Raised::default(),
            delay_told: false,
        }
    }

    /// From a report block: middle NTP bits of now, of the report spoken of, and the delay since it (RFC 3550 §6.4.1). The round trip;
    /// none if the block does not tell it.
    ///
    /// Each sender report counts once, and none that is older than one that counted: reports of a stream that ended go on speaking of its last
    /// one, and of the queue that this one waited in.
    pub fn handle_round_trip(&mut self, now_ntp: u32, last_sr: u32, delay: u32) -> Option<Duration> {
        // By their age: a claim of a report still to come is no later one.
        let age = |sent: u32| now_ntp.wrapping_sub(sent);
        let is_later = |than: u32| age(last_sr) < age(than);
        if last_sr == 0 || !self.told_by.is_none_or(is_later) {
            return None; // no report heard yet, or none since
        }
        let units = age(last_sr).wrapping_sub(delay);
        let round_trip = Duration::from_micros(u64::from(units) * 1_000_000 / 65_536);
        if round_trip > ROUND_TRIP_MAX {
            return None;
        }
        self.told_by = Some(last_sr);
        self.round_trip = Some(round_trip);
        self.round_trip
    }

    /// As measured last, within bounds; 100 ms before the first measure.
    pub fn round_trip(&self) -> Duration {
        self.round_trip.unwrap_or(ROUND_TRIP).max(ROUND_TRIP_MIN)
    }

    /// As measured last; none before the first measure.
    pub fn measured(&self) -> Option<Duration> {
        self.round_trip
    }

    /// So many bytes went out for the first time.
    pub fn earn_repairs(&mut self, bytes: u16) {
        self.repair_credit = (self.repair_credit + u64::from(bytes) / 2).min(REPAIR_CREDIT_MAX);
    }

    /// No more than so many bytes go out again from now on, whatever was earned: a line that has just become thin would be
    /// filled by the repairs of what it could not carry.
    pub fn limit_repairs(&mut self, bytes: u64) {
        self.repair_credit = self.repair_credit.min(bytes.max(REPAIR_CREDIT_MIN));
    }

    /// May so many bytes go out again? Takes them off the budget if so.
    pub fn spend_repair(&mut self, bytes: u16) -> bool {
        let left = self.repair_credit.checked_sub(bytes.into());
        self.repair_credit = left.unwrap_or(self.repair_credit);
        left.is_some()
    }

    /// The path lost a picture packet.
    pub fn handle_loss(&mut self, now: Instant) {
        self.path_delay.raise(now, self.round_trip());
    }

    /// Playout delay for a picture packet, (least, greatest) in units of 10 ms, with what its source asks for. None as long as
    /// there never was a reason to speak of it.
    pub fn playout_delay(&mut self, now: Instant, source: Raised) -> Option<(u16, u16)> {
        // What is lost on both ways waits for both repairs.
        let least = (self.path_delay.at(now) + source.at(now)).min(DELAY_LEAST_MAX);
        self.delay_told |= least > 0;
        self.delay_told.then_some((least, DELAY_GREATEST))
    }
}

impl Default for Outbound {
    fn default() -> Self {
        Self::new()
    }
}

/// A playout delay that retransmission asks for, for some time after a loss.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Raised {
    /// Units of 10 ms.
    least: u16,
    until: Option<Instant>,
}

/// Ten seconds, what receivers have by themselves: only the least delay is to change.
const DELAY_GREATEST: u16 = 1_000;
/// Units of 10 ms: more delay than that hurts a conversation more than a lost picture does.
const DELAY_LEAST_MAX: u16 = 25;
/// So long after the last loss the delay goes back.
const DELAY_HOLD: Duration = Duration::from_secs(10);

impl Raised {
    /// A repair takes a round trip, the second try another one.
    pub fn raise(&mut self, now: Instant, round_trip: Duration) {
        let wanted = (round_trip.as_millis().min(1_000) as u16 * 2 + 50)
            .clamp(100, 250)
            .div_ceil(10);
        self.least = self.at(now).max(wanted);
        self.until = Some(now + DELAY_HOLD);
    }

    /// Units of 10 ms; 0 when it is over.
    pub fn at(&self, now: Instant) -> u16 {
        if self.until.is_some_and(|until| now < until) {
            self.least
        } else {
            0
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::testing::{base, ms},
        *,
    };

    #[test]
    fn the_round_trip_is_what_the_report_leaves() {
        let mut way = Outbound::new();
        assert_eq!((way.round_trip(), way.measured()), (ms(100), None));
        way.handle_round_trip(0x0001_8000, 0x0000_8000, 0x0000_8000); // 1.5 s - 0.5 s - 0.5 s
        assert_eq!(way.round_trip(), ms(500));
        way.handle_round_trip(100, 0x8000_0000, 0); // nonsense
        way.handle_round_trip(100, 0, 0);
        assert_eq!(way.round_trip(), ms(500));
        way.handle_round_trip(0x0002_0000, 0x0002_0000, 0);
        assert_eq!((way.round_trip(), way.measured()), (ROUND_TRIP_MIN, Some(ms(0))));
    }

    #[test]
    fn a_sender_report_tells_the_round_trip_once() {
        let mut way = Outbound::new();
        let first = way.handle_round_trip(0xFFFF_8000, 0xFFFF_0000, 0);
        assert_eq!(first, Some(ms(500)));
        // Again, by the report of another stream, and of one that ended before it.
        assert_eq!(way.handle_round_trip(0xFFFF_C000, 0xFFFF_0000, 0), None);
        assert_eq!(way.handle_round_trip(0xFFFF_C000, 0xFFFE_0000, 0x8000), None);
        // The next one; the clock has gone round meanwhile.
        assert_eq!(
            way.handle_round_trip(0x0000_4000, 0x0000_1000, 0x1000),
            Some(ms(125))
        );
        assert_eq!(way.round_trip(), ms(125));
    }

    #[test]
    fn repairs_stay_within_half_of_what_is_sent() {
        let mut way = Outbound::new();
        way.limit_repairs(8_000);
        assert_eq!((0..20).filter(|_| way.spend_repair(1_000)).count(), 8);
        (0..2).for_each(|_| way.earn_repairs(1_000));
        assert!(way.spend_repair(1_000) && !way.spend_repair(1_000));
    }

    #[test]
    fn a_loss_raises_the_delay_for_ten_seconds_then_zero_is_said() {
        let (mut way, t0) = (Outbound::new(), base());
        assert_eq!(way.playout_delay(t0, Raised::default()), None);
        way.handle_loss(t0); // 2 x 100 + 50
        assert_eq!(
            way.playout_delay(t0 + ms(9_999), Raised::default()),
            Some((25, DELAY_GREATEST))
        );
        assert_eq!(
            way.playout_delay(t0 + ms(10_000), Raised::default()),
            Some((0, DELAY_GREATEST))
        );
        let mut source = Raised::default();
        source.raise(t0 + ms(20_000), ms(30));
        assert_eq!(
            way.playout_delay(t0 + ms(20_001), source),
            Some((11, DELAY_GREATEST))
        );
    }
}
