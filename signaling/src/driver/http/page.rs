//! The web client, built into the binary. Every room's address serves the same page: whether a room exists is told to
//! nobody without a token.

use axum::Router;
use memory_serve::CacheControl;

use super::App;

#[allow(unused_qualifications, reason = "written by the macro")]
/// The page at `/` and `/p/{room}`, and its assets.
pub(super) fn router() -> Router<App> {
    memory_serve::load!()
        .index_file(Some("/index.html"))
        .add_alias("/p/{room}", "/index.html")
        .html_cache_control(CacheControl::NoCache)
        // Assets carry a hash of their content in their names.
        .cache_control(CacheControl::Long)
        .into_router()
}
