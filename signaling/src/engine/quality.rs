//! What slots get and what points are to send: passed on as the node says it, the newest kept for whoever resumes.

use sfu::control::{self, Command, LineId, SeatId, SendOrder};

use super::{effect::SessionId, meeting::Meeting};
use crate::protocol::{ErrorCode, ServerMessage, SlotQuality, SourceOrder, Stats};

impl Meeting {
    pub(super) fn stats(&mut self, session: SessionId, stats: Stats) -> Result<(), ErrorCode> {
        let (seat_id, seat) = self.seat_of(session)?;
        if seat.media {
            self.command(Command::SetClient {
                room: self.id.clone(),
                seat: seat_id,
                client: stats.into(),
            });
        }
        Ok(())
    }

    pub(super) fn quality_event(&mut self, seat_id: &SeatId, slots: Vec<control::SlotQuality>) {
        let Some(seat) = self.seats.get_mut(seat_id) else {
            return;
        };
        let session = seat.session;
        let message = session.map(|_| self.line_names.quality(&slots));
        seat.quality = Some(slots);
        if let (Some(session), Some(message)) = (session, message) {
            self.send(session, message);
        }
    }

    pub(super) fn send_event(&mut self, seat_id: &SeatId, order: SendOrder) {
        let Some(seat) = self.seats.get_mut(seat_id) else {
            return;
        };
        let session = seat.session;
        let message = session.map(|_| self.line_names.order(&order));
        seat.order = Some(order);
        if let (Some(session), Some(message)) = (session, message) {
            self.send(session, message);
        }
    }

    /// To a session that took its seat again: what it missed.
    pub(super) fn tell_quality(&mut self, session: SessionId) {
        let Ok((_, seat)) = self.seat_of(session) else {
            return;
        };
        let (quality, order) = (seat.quality.clone(), seat.order.clone());
        if let Some(slots) = quality {
            let message = self.line_names.quality(&slots);
            self.send(session, message);
        }
        if let Some(order) = order {
            let message = self.line_names.order(&order);
            self.send(session, message);
        }
    }
}

impl super::network::LineNames {
    fn quality(&self, slots: &[control::SlotQuality]) -> ServerMessage {
        let slots = slots.iter().map(|slot| SlotQuality {
            slot: slot.slot,
            height: slot.height,
            rate: slot.rate_percent,
            cause: slot.cause,
            line: slot.line.clone(),
            line_name: self.of(slot.line.as_ref()),
        });
        ServerMessage::Quality {
            slots: slots.collect(),
        }
    }

    fn order(&self, order: &SendOrder) -> ServerMessage {
        let sources = order.sources.iter().map(|source| SourceOrder {
            source: source.source,
            layers: source.layers.iter().copied().map(Into::into).collect(),
            cause: source.cause,
            line: source.line.clone(),
            line_name: self.of(source.line.as_ref()),
        });
        ServerMessage::Send {
            voice_ms: order.voice_ms,
            sources: sources.collect(),
        }
    }

    fn of(&self, line: Option<&LineId>) -> Option<String> {
        self.get(line?).map(str::to_owned)
    }
}
