//! What a meeting wants done: data for drivers.

use std::collections::BTreeMap;

use sfu::{
    control::{Command, SlotChange},
    engine::id::{PointNumber, SlotId},
};

use super::{
    id::{AskerId, Op, SessionId},
    seat::Claim,
};
use crate::{
    names::Token,
    protocol::{CloseCode, ErrorCode, Point, ResumedMedia, ServerMessage},
};

/// Something to do, in this order.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// Tell these sessions.
    Send {
        /// Whom; never empty.
        to: Vec<SessionId>,
        /// What.
        message: ServerMessage,
    },
    /// Tell a session that it has a seat, with a resume token made of the claim.
    Grant {
        /// Whom.
        to: SessionId,
        /// What the token carries.
        claim: Box<Claim>,
        /// The message without its token.
        grant: Box<Grant>,
    },
    /// Close a session. The meeting knows it no longer.
    Close {
        /// Which.
        session: SessionId,
        /// Why.
        code: CloseCode,
    },
    /// Answer an HTTP request.
    Answer {
        /// Which.
        to: AskerId,
        /// What came of it.
        result: Result<Answer, Refusal>,
    },
    /// Tell the node.
    Command {
        /// Where the reply goes; none if nobody waits for it.
        op: Option<Op>,
        /// What to do.
        command: Box<Command>,
    },
}

/// What came of what was asked by HTTP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// A session, with its SDP answer.
    Created {
        /// The answer.
        sdp: String,
        /// Its first ETag.
        etag: u32,
    },
    /// The session is the one that was meant.
    Matched,
    /// ICE starts anew.
    Restarted {
        /// The node's new credentials.
        fragment: String,
        /// The new ETag.
        etag: u32,
    },
    /// It is over.
    Ended,
}

/// Why nothing came of it, and nothing was changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// As pages hear it.
    Code(ErrorCode),
    /// Somebody in the room has that name.
    NameTaken,
    /// Nobody in the room has that number or name.
    UnknownPoint,
    /// No such session, or somebody else's.
    UnknownSession,
    /// The session has another ETag by now.
    NotMatched,
}

impl From<ErrorCode> for Refusal {
    fn from(code: ErrorCode) -> Self {
        Self::Code(code)
    }
}

/// A [`ServerMessage`] that lacks its resume token.
#[derive(Debug, Clone, PartialEq)]
pub enum Grant {
    /// Becomes [`ServerMessage::Joined`].
    Joined {
        /// Of the `join`.
        id: u32,
        /// SDP answer.
        answer: String,
        /// The m-section of each slot.
        slots: BTreeMap<SlotId, String>,
        /// Everybody.
        points: Vec<Point>,
        /// Of the last change in `points`.
        sequence: u64,
        /// Who has the floor.
        floor: Option<PointNumber>,
    },
    /// Becomes [`ServerMessage::Resumed`].
    Resumed {
        /// Whether the media path is still there.
        media: ResumedMedia,
        /// What each slot shows.
        slots: Vec<SlotChange>,
        /// Everybody.
        points: Vec<Point>,
        /// Of the last change in `points`.
        sequence: u64,
        /// Who has the floor.
        floor: Option<PointNumber>,
    },
}

impl Grant {
    /// The whole message.
    pub fn into_message(self, claim: &Claim, resume: Token) -> ServerMessage {
        let number = claim.number;
        match self {
            Self::Joined {
                id,
                answer,
                slots,
                points,
                sequence,
                floor,
            } => ServerMessage::Joined {
                id,
                number,
                resume,
                answer,
                slots,
                points,
                sequence,
                floor,
            },
            Self::Resumed {
                media,
                slots,
                points,
                sequence,
                floor,
            } => ServerMessage::Resumed {
                number,
                resume,
                media,
                slots,
                points,
                sequence,
                floor,
            },
        }
    }
}
