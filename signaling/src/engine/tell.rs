//! How a meeting tells sessions and the node what it decided.

use sfu::control::{Command, ControlError, Reply};

use super::{
    effect::Effect,
    id::{Op, SessionId},
    meeting::Meeting,
};
use crate::protocol::{ErrorCode, ServerMessage};

impl Meeting {
    /// Whose session it is.
    pub(super) fn subject(&self, session: SessionId) -> Option<String> {
        self.sessions
            .get(&session)
            .map(|known| known.person.subject.clone())
    }

    pub(super) fn command(&mut self, command: Command) {
        self.push(Effect::Command {
            op: None,
            command: Box::new(command),
        });
    }

    pub(super) fn command_with_reply(&mut self, command: Command) -> Op {
        let op = Op(self.next_op);
        self.next_op += 1;
        self.push(Effect::Command {
            op: Some(op),
            command: Box::new(command),
        });
        op
    }

    pub(super) fn push(&mut self, effect: Effect) {
        self.effects.push_back(effect);
    }

    pub(super) fn send(&mut self, session: SessionId, message: ServerMessage) {
        if self.sessions.contains_key(&session) {
            self.push(Effect::Send {
                to: vec![session],
                message,
            });
        }
    }

    pub(super) fn tell_speaker(&mut self, session: SessionId) {
        if self.speaker.is_some() {
            self.send(session, ServerMessage::Speaker { number: self.speaker });
        }
    }

    /// Tells everybody who has a seat, but one; those without a seat learn nothing of the room.
    pub(super) fn broadcast(&mut self, message: Option<ServerMessage>, except: Option<SessionId>) {
        let Some(message) = message else { return };
        let to: Vec<SessionId> = self
            .seats
            .values()
            .filter_map(|seat| seat.session)
            .filter(|&session| Some(session) != except)
            .collect();
        if !to.is_empty() {
            self.push(Effect::Send { to, message });
        }
    }
}

/// The client's code for a reply that is not the one asked for.
pub(super) fn refusal(result: &Result<Reply, ControlError>) -> ErrorCode {
    match result {
        Err(ControlError::BadSdp { .. } | ControlError::BadValue) => ErrorCode::BadSdp,
        Err(ControlError::RoomFull) => ErrorCode::RoomFull,
        Err(ControlError::State | ControlError::UnknownSeat) => ErrorCode::State,
        Err(ControlError::Unavailable | ControlError::UnknownRoom) => ErrorCode::Unavailable,
        Err(ControlError::NumberTaken | ControlError::Version { .. }) | Ok(_) => ErrorCode::Internal,
    }
}
