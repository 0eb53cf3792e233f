//! The floor: the right to speak, which chair and secretary give to one point at a time and take again.

use sfu::{control::Command, engine::id::PointNumber};

use super::{
    id::SessionId,
    meeting::Meeting,
    permissions::{Action, may},
};
use crate::protocol::{ErrorCode, ServerMessage};

impl Meeting {
    pub(super) fn give_floor(&mut self, session: SessionId, number: PointNumber) -> Result<(), ErrorCode> {
        self.leads(session)?;
        // Somebody who is just leaving, or who only listens.
        let point = self.roster.point(number).ok_or(ErrorCode::State)?;
        if !may(point.role, Action::Publish) {
            return Err(ErrorCode::State);
        }
        self.set_floor(Some(number));
        Ok(())
    }

    pub(super) fn take_floor(&mut self, session: SessionId) -> Result<(), ErrorCode> {
        self.leads(session)?;
        self.set_floor(None);
        Ok(())
    }

    /// Only who sits in the meeting leads it.
    fn leads(&mut self, session: SessionId) -> Result<(), ErrorCode> {
        self.seat_of(session)?;
        let role = self.sessions.get(&session).ok_or(ErrorCode::State)?.person.role;
        may(role, Action::GiveFloor)
            .then_some(())
            .ok_or(ErrorCode::NotAllowed)
    }

    /// Tells everybody and the node, if it is news.
    pub(super) fn set_floor(&mut self, number: Option<PointNumber>) {
        if self.floor == number {
            return;
        }
        self.floor = number;
        self.command_floor();
        self.broadcast(Some(ServerMessage::Floor { number }), None);
    }

    fn command_floor(&mut self) {
        self.command(Command::SetFloor {
            room: self.id.clone(),
            number: self.floor,
        });
    }

    /// The node remembers it for a signaling that begins anew. After that it is ours to say.
    pub(super) fn reconcile_floor(&mut self, nodes: Option<PointNumber>, is_first: bool) {
        let known = nodes.filter(|number| self.roster.point(*number).is_some());
        if is_first && self.floor.is_none() && known.is_some() {
            self.floor = known;
            self.broadcast(Some(ServerMessage::Floor { number: known }), None);
        }
        if self.floor != nodes {
            self.command_floor();
        }
    }
}
