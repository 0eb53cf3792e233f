//! Writing transport-wide feedback.
