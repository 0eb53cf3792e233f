//! What the estimator promises, each as a sentence, over paths of many kinds.

mod hostile;
mod many;
mod paths;
mod rules;
mod showers;
mod sim;
mod sparse;

use std::time::Instant;

use super::{Estimator, Sent};

/// A packet goes out that has to have a number.
fn send(estimator: &mut Estimator, now: Instant, bytes: u16, kind: Sent) -> u16 {
    let number = estimator.handle_sent(now, bytes, kind);
    number.expect("a packet with a number")
}
