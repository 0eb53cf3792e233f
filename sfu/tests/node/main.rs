//! A whole node on loopback: control in, media through real sockets, bad input, and its end.
#![cfg(feature = "driver")]

mod bad_input;
mod client;
mod commands;
mod hangs;
mod kit;
mod media;
mod shards;
