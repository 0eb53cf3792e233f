//! Refusals as `application/problem+json` (RFC 9457) with a stable `code`; the words people read are the client's.

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};

/// A problem document.
pub fn of(status: StatusCode, code: &str, title: &str) -> Response {
    let body =
        serde_json::json!({"type": "about:blank", "title": title, "status": status.as_u16(), "code": code});
    let kind = [
        (header::CONTENT_TYPE, "application/problem+json"),
        (header::CACHE_CONTROL, "no-store"),
    ];
    (status, kind, body.to_string()).into_response()
}

/// One answer for whatever is not there, does not exist or is not allowed to be seen: they cannot be told apart.
pub async fn not_found() -> Response {
    of(StatusCode::NOT_FOUND, "not_found", "Not Found")
}

/// A page of a foreign origin.
pub fn forbidden() -> Response {
    of(StatusCode::FORBIDDEN, "forbidden", "Forbidden")
}

/// Not now; come again after so many seconds.
pub fn later(status: StatusCode, code: &str, title: &str, retry_after_seconds: u8) -> Response {
    let mut response = of(status, code, title);
    response.headers_mut().insert(
        header::RETRY_AFTER,
        HeaderValue::from(u16::from(retry_after_seconds)),
    );
    response
}
