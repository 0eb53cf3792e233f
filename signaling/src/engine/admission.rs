//! Who gets a seat.

use sfu::control::RoomPolicy;

use super::permissions::{Action, may};
use crate::{names::Role, protocol::ErrorCode};

/// Whether a newcomer of that role may take a seat in a room where `taken` seats are given or being given.
///
/// # Errors
/// [`ErrorCode::RoomFull`] at the room's cap, [`ErrorCode::UnknownRoom`] if the room is not open to the role.
pub fn decide(role: Role, taken: usize, policy: &RoomPolicy) -> Result<(), ErrorCode> {
    if !may(role, Action::TakeSeat) {
        return Err(ErrorCode::UnknownRoom);
    }
    if taken >= usize::from(policy.points_max) {
        return Err(ErrorCode::RoomFull);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cap_refuses_newcomers() {
        let policy = RoomPolicy {
            points_max: 2,
            ..RoomPolicy::default()
        };
        assert_eq!(decide(Role::Guest, 1, &policy), Ok(()));
        assert_eq!(decide(Role::Guest, 2, &policy), Err(ErrorCode::RoomFull));
    }
}
