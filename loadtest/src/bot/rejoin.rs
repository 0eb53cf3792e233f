//! When a point comes back that was refused or lost its media, by the law of the page (`docs/PROTOCOL.md`, "Close codes"): at random
//! within 0.5 s at first, then within a span that grows by 1.7 up to 8 s. So that those who were sent away together do not return so.

use std::{fmt, time::Duration};

const FIRST: Duration = Duration::from_millis(500);
const GROWTH: f64 = 1.7;
const LONGEST: Duration = Duration::from_secs(8);
/// What a server or a proxy says above this is a mistake.
const STAY_AWAY_MAX: Duration = Duration::from_secs(60);

/// Marks the error of a join that may succeed a little later.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct ForNow {
    /// How long the server wants no new try.
    pub(crate) stay_away: Duration,
    /// The server said that it has no room now; else something broke.
    pub(crate) is_told: bool,
}

impl ForNow {
    fn told(stay_away: Duration) -> Self {
        let is_told = true;
        Self { stay_away, is_told }
    }
}

impl fmt::Display for ForNow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not for now")
    }
}

/// How long to wait before try number `attempt`, 0 being the first; `random` is in 0 to 1.
pub(crate) fn delay(attempt: u32, random: f64, stay_away: Duration) -> Duration {
    let span = FIRST.as_secs_f64() * GROWTH.powi(attempt.min(i32::MAX as u32).cast_signed());
    let span = span.min(LONGEST.as_secs_f64());
    stay_away.min(STAY_AWAY_MAX) + Duration::from_secs_f64(random.clamp(0.0, 1.0) * span)
}

/// An upgrade that was answered with that status and that `Retry-After` in seconds (RFC 9110 section 10.2.3): whether there is only no
/// place now.
pub(crate) fn of_answer(status: u16, retry_after: Option<&str>) -> Option<ForNow> {
    let seconds = retry_after.and_then(|text| text.trim().parse::<u32>().ok());
    let stay_away = Duration::from_secs(u64::from(seconds.unwrap_or(0))).min(STAY_AWAY_MAX);
    matches!(status, 429 | 503).then_some(ForNow::told(stay_away))
}

/// A join that was refused with that error code: whether there is only no room now.
pub(crate) fn of_code(code: &str) -> Option<ForNow> {
    matches!(code, "room_full" | "unavailable" | "rate_limited").then(|| ForNow::told(Duration::ZERO))
}

/// A socket that was closed with that code before its point was in: whether a page would come back.
pub(crate) fn of_close(code: Option<u16>) -> Option<ForNow> {
    let is_passing = matches!(code, None | Some(1001 | 1005 | 1006 | 1011..=1013 | 4408));
    is_passing.then(ForNow::default)
}

/// An error with its mark, if it may pass.
pub(crate) fn marked(error: anyhow::Error, for_now: Option<ForNow>) -> anyhow::Error {
    match for_now {
        Some(for_now) => error.context(for_now),
        None => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_span_grows_to_its_longest_and_what_the_server_said_comes_first() {
        let ms = |attempt, random, away| delay(attempt, random, Duration::from_secs(away)).as_millis();
        assert_eq!([ms(0, 0.0, 0), ms(0, 1.0, 0), ms(1, 1.0, 0)], [0, 500, 850]);
        assert_eq!([ms(6, 1.0, 0), ms(u32::MAX, 1.0, 0)], [8_000; 2]);
        assert_eq!([ms(0, 0.5, 3), ms(0, 0.0, 100_000)], [3_250, 60_000]);
    }

    #[test]
    fn a_lack_of_room_passes_and_a_bad_token_does_not() {
        let away = |status, header| of_answer(status, header).map(|refused| refused.stay_away.as_secs());
        assert_eq!(away(503, Some("8")), Some(8));
        assert_eq!(away(429, None), Some(0));
        assert_eq!(away(503, Some("999999")), Some(60));
        assert_eq!(away(503, Some("tomorrow")), Some(0));
        assert_eq!(away(403, Some("8")), None);
        assert!(of_code("room_full").is_some() && of_code("bad_token").is_none());
        let closed = |code| of_close(code).map(|broken| broken.is_told);
        assert_eq!([None, Some(1013), Some(4408)].map(closed), [Some(false); 3]);
        assert_eq!([Some(1000), Some(4401), Some(4409)].map(closed), [None; 3]);
        let marked = marked(anyhow::anyhow!("no room"), of_code("room_full"));
        assert!(
            marked
                .downcast_ref()
                .is_some_and(|for_now: &ForNow| for_now.is_told)
        );
    }
}
