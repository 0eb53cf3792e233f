//! Why somebody gets less than wanted. Every picture and voice that is not sent at the wanted quality has one of these.

use serde::{Deserialize, Serialize};

use super::id::LineIndex;

/// What is in the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// The way to the receiver carries no more, by its estimate.
    Path,
    /// A line on the way to the receiver has no more of its budget.
    LineBudget,
    /// The way from the sender carries no more.
    SenderPath,
    /// A line on the way from the sender has no more of its budget.
    SenderLine,
    /// The sender's machine is too slow for more.
    SenderCpu,
    /// The receiver's machine is too slow for more.
    ReceiverCpu,
    /// The layer does not arrive, or not yet; nobody knows why.
    NotSent,
    /// The receiver cannot decode it.
    Codec,
    /// The room's policy allows no more.
    Policy,
    /// The node has no time for more.
    Node,
    /// The way has room for voices and for no picture.
    VoicesOnly,
    /// Below 160 kb/s: one voice only.
    OneVoice,
}

/// Why less than wanted is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Shortfall {
    /// What is in the way.
    pub cause: Cause,
    /// Of [`Cause::LineBudget`] and [`Cause::SenderLine`]: which line.
    pub line: Option<LineIndex>,
}

impl Shortfall {
    /// The way to the receiver is in the way, by its estimate alone.
    pub(super) fn is_of_way(&self) -> bool {
        matches!(self.cause, Cause::Path | Cause::VoicesOnly | Cause::OneVoice)
    }
}

impl From<Cause> for Shortfall {
    fn from(cause: Cause) -> Self {
        Self { cause, line: None }
    }
}
