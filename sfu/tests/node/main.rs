//! A whole node on loopback: control in, media through real sockets, and its end.
#![cfg(feature = "driver")]

mod client;
mod commands;
mod kit;
mod media;
