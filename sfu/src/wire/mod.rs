//! Bytes into values and back: views over network bytes, without allocation.
//!
//! Nothing here panics on any bytes, keeps state between packets (but for SRTP's indices) or decides anything.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]
