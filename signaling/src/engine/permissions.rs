//! The one table of what a role may do, and that of how much it counts.

use sfu::control::Rank;

use crate::names::Role;

/// Something a role may or may not do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Sit in the meeting.
    TakeSeat,
    /// Send sound or pictures.
    Publish,
    /// Give the floor to somebody, and take it.
    GiveFloor,
}

/// Whether `role` may do `action`.
pub const fn may(role: Role, action: Action) -> bool {
    match action {
        Action::TakeSeat => true,
        // An observer sees and hears.
        Action::Publish => !matches!(role, Role::Observer),
        Action::GiveFloor => matches!(role, Role::Chair | Role::Secretary),
    }
}

/// How much a role counts when there is not enough for all.
pub(super) fn rank(role: Role) -> Rank {
    match role {
        Role::Chair => Rank::Chair,
        Role::Secretary => Rank::Secretary,
        Role::Delegate | Role::Observer | Role::Guest | Role::Operator | Role::Admin => Rank::Member,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_observers_are_silent_and_chair_and_secretary_lead() {
        for role in Role::ALL {
            assert!(may(role, Action::TakeSeat));
            assert_eq!(may(role, Action::Publish), role != Role::Observer, "{role:?}");
            let leads = role == Role::Chair || role == Role::Secretary;
            assert_eq!(may(role, Action::GiveFloor), leads, "{role:?}");
        }
    }
}
