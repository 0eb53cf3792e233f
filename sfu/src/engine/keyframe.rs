//! The one who asks a source for key frames.
//!
//! Any number of receivers may want a key frame; the sender hears of it at most twice a second. One request serves all
//! layers: browsers answer a PLI (RFC 4585 §6.3.1) for one layer with key frames on all of them. A request or its key frame may be
//! lost, so it is repeated until a key frame of every wanted layer has come, or [`PATIENCE`] has passed. Each layer has a time of
//! its own: what nobody wants any more is not asked for because others want something.

use std::time::{Duration, Instant};

use super::streams::LAYERS_MAX;

/// After so long without a key frame (a layer that is off, a sender that does not obey) it is left until somebody asks again.
const PATIENCE: Duration = Duration::from_secs(10);
/// Shortest time between two requests.
const REPEAT: Duration = Duration::from_millis(300);
/// No more than two requests within this time: a key frame is some ten times as large as another picture. A tenth above a second, for
/// requests that the way to the sender holds up.
const PERIOD: Duration = Duration::from_millis(1_100);
/// A layer that begins does so with a key frame by itself; so long it is waited for.
const BEGINNING: Duration = Duration::from_millis(150);

/// The broker of one source.
#[derive(Debug, Default)]
pub(super) struct KeyFrameBroker {
    wanted: Option<Wanted>,
    /// The last two requests, the later one first.
    sent: [Option<Instant>; 2],
    /// Not before this.
    hold: Option<Instant>,
}

#[derive(Debug, Clone, Copy)]
struct Wanted {
    since: Instant,
    /// Of each layer of which a key frame is wanted.
    until: [Option<Instant>; LAYERS_MAX],
}

impl KeyFrameBroker {
    /// Somebody needs a key frame of that layer.
    pub(super) fn request(&mut self, now: Instant, layer: u8) {
        let wanted = self.wanted.get_or_insert(Wanted {
            since: now,
            until: [None; LAYERS_MAX],
        });
        if let Some(until) = wanted.until.get_mut(usize::from(layer)) {
            *until = Some(now + PATIENCE);
        }
    }

    /// A key frame of that layer has begun to arrive.
    pub(super) fn handle_key_frame(&mut self, layer: u8) {
        self.forget(layer);
    }

    /// That layer is sent no more; one that begins again does so with a key frame by itself.
    pub(super) fn forget(&mut self, layer: u8) {
        self.keep(|index, _| index != usize::from(layer));
    }

    /// Wishes of which that is false are over.
    fn keep(&mut self, keep: impl Fn(usize, Instant) -> bool) {
        let Some(wanted) = &mut self.wanted else { return };
        for (index, until) in wanted.until.iter_mut().enumerate() {
            *until = until.filter(|&until| keep(index, until));
        }
        if wanted.until == [None; LAYERS_MAX] {
            self.wanted = None;
        }
    }

    /// A layer sends its first packet, or its first after a pause.
    pub(super) fn handle_beginning(&mut self, now: Instant) {
        self.hold = Some(now + BEGINNING);
    }

    /// When the next request is due, the answer taking `repair_time`; none while nobody waits.
    pub(super) fn due(&self, repair_time: Duration) -> Option<Instant> {
        let wanted = self.wanted?;
        let repeat = self.sent[0].map(|at| at + REPEAT.max(repair_time * 3 / 2));
        let period = self.sent[1].map(|at| at + PERIOD);
        Some(
            [self.hold, repeat, period]
                .into_iter()
                .flatten()
                .fold(wanted.since, Instant::max),
        )
    }

    /// Whether to send a request now. If so it counts as sent.
    pub(super) fn poll(&mut self, now: Instant, repair_time: Duration) -> bool {
        self.keep(|_, until| now < until);
        let send = self.due(repair_time).is_some_and(|due| due <= now);
        if send {
            self.sent = [Some(now), self.sent[0]];
        }
        send
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{
        super::testing::{base, ms},
        *,
    };

    #[test]
    fn many_wishes_are_one_request_repeated_until_every_layer_has_its_key_frame() {
        let (t0, mut broker) = (base(), KeyFrameBroker::default());
        for n in 0..50 {
            broker.request(t0, n % 2);
        }
        assert!(broker.poll(t0, ms(20)));
        assert!(!broker.poll(t0 + ms(299), ms(20)));
        broker.handle_key_frame(0);
        assert!(broker.poll(t0 + ms(300), ms(20)));
        broker.handle_key_frame(1);
        assert_eq!(broker.due(ms(20)), None);
        assert!(!broker.poll(t0 + ms(5_000), ms(20)));
    }

    #[test]
    fn it_stops_asking_after_a_while_and_begins_again_when_told() {
        let (t0, mut broker) = (base(), KeyFrameBroker::default());
        broker.request(t0, 0);
        let sent = (0..3_000)
            .filter(|&n| broker.poll(t0 + ms(n * 10), ms(50)))
            .count();
        assert!((18..=20).contains(&sent), "{sent}");
        assert_eq!(broker.due(ms(50)), None);
        broker.request(t0 + ms(40_000), 0);
        assert!(broker.poll(t0 + ms(40_000), ms(50)));
    }

    #[test]
    fn a_layer_that_begins_is_given_time_to_send_its_own() {
        let (t0, mut broker) = (base(), KeyFrameBroker::default());
        broker.handle_beginning(t0);
        broker.request(t0, 2);
        assert!(!broker.poll(t0 + ms(149), ms(50)));
        assert_eq!(broker.due(ms(50)), Some(t0 + ms(150)));
        broker.handle_key_frame(2);
        assert!(!broker.poll(t0 + ms(150), ms(50)));
    }

    #[test]
    fn a_wish_lasts_no_longer_because_of_another() {
        let (t0, mut broker) = (base(), KeyFrameBroker::default());
        broker.request(t0, 2);
        broker.request(t0 + ms(9_000), 0);
        assert!(broker.poll(t0 + ms(9_000), ms(50)));
        broker.handle_key_frame(0);
        assert!(broker.poll(t0 + ms(9_900), ms(50)));
        broker.request(t0 + ms(11_000), 0);
        broker.handle_key_frame(0);
        assert!(!broker.poll(t0 + ms(11_100), ms(50)));
    }

    proptest! {
        #[test]
        fn never_more_than_two_in_a_second(steps in prop::collection::vec((0u64..200, 0u8..8), 1..500)) {
            let (t0, mut broker) = (base(), KeyFrameBroker::default());
            let (mut now, mut sent) = (t0, Vec::new());
            for (later, what) in steps {
                now += ms(later);
                match what {
                    0..=2 => broker.request(now, what),
                    3 => broker.forget(1),
                    4 => broker.handle_key_frame(0),
                    5 => broker.handle_beginning(now),
                    _ => {}
                }
                if broker.poll(now, ms(60)) {
                    sent.push(now);
                }
            }
            prop_assert!(sent.windows(3).all(|w| w[2] - w[0] >= PERIOD));
        }
    }
}
