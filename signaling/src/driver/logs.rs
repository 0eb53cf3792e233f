//! Logs for people: to standard error, without names, tokens or addresses of anybody.

use tracing_subscriber::{
    EnvFilter,
    filter::{LevelFilter, ParseError},
    fmt,
};

use super::config::LogConfig;

/// These libraries log a line for every bad packet or frame they meet, and some of them what was in it: their counters
/// are ours, so only their errors are shown, whatever the filter says.
const QUIET: [&str; 8] = [
    "rtc_dtls=error",
    "rtc_ice=error",
    "rtc_stun=error",
    "rtc_sdp=error",
    "tungstenite=error",
    "hyper=error",
    "rustls=error",
    "memory_serve=error",
];

/// Starts logging. A second call (tests) does nothing.
///
/// # Errors
/// The filter cannot be read.
pub fn start(config: &LogConfig) -> Result<(), ParseError> {
    let lines = fmt()
        .with_env_filter(filter(config)?)
        // A line that cannot be written (full disk, closed pipe) is lost: to complain of it there panics, wherever the line came from.
        .log_internal_errors(false)
        .with_writer(std::io::stderr);
    // The first subscriber stays.
    let _ = if config.json {
        lines.json().try_init()
    } else {
        lines.with_ansi(false).try_init()
    };
    Ok(())
}

/// What is shown of all that is said.
pub(super) fn filter(config: &LogConfig) -> Result<EnvFilter, ParseError> {
    let is_word = |part: &&str| !part.is_empty() && !part.contains(['=', '[']);
    // Any other word would pass for a module, of which everything is shown, and of all others nothing.
    for word in config.filter.split(',').filter(is_word) {
        word.parse::<LevelFilter>()?;
    }
    let wanted = EnvFilter::try_new(&config.filter)?;
    QUIET.iter().try_fold(wanted, |filter, directive| {
        Ok(filter.add_directive(directive.parse()?))
    })
}
