//! What signaling does: configuration, tokens, HTTP, WebSockets, the task that owns the meetings, the media node.

pub mod auth;
pub mod calls;
pub mod certificate;
pub mod checks;
pub mod config;
pub mod data;
pub mod http;
pub mod logs;
pub mod media;
pub mod meeting_task;
pub mod metrics;
pub mod node;
pub mod node_look;
pub mod outbox;
pub mod serve;
pub mod topology;

mod connections;
mod files;
mod pace;
mod socket;
