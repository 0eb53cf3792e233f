//! What machine this is: figures mean little without it.

use std::fs;

/// Cores, model and kernel, in one line.
pub(crate) fn describe() -> String {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let model = fs::read_to_string("/proc/cpuinfo").ok().and_then(|text| {
        let line = text.lines().find_map(|line| line.strip_prefix("model name"))?;
        Some(line.trim_start_matches(['\t', ' ', ':']).to_owned())
    });
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    format!(
        "{cores} cores of {}, Linux {}",
        model.as_deref().unwrap_or("an unknown model"),
        kernel.trim()
    )
}
