//! Habits kept by machine: which part may know what, how long files and functions may be.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// Files longer than [`FILE_LINES_MAX`] without their tests, with the reason.
const LONG_FILES: &[(&str, &str)] = &[];
/// Functions longer than [`FUNCTION_LINES_MAX`], with the reason.
const LONG_FUNCTIONS: &[(&str, &str)] = &[];

const FILE_LINES_MAX: usize = 500;
const FUNCTION_LINES_MAX: usize = 70;

/// What engine and wire may import. `ring` and `aes` are for SRTP alone.
const PURE_CRATES: &[&str] = &[
    "std",
    "core",
    "crate",
    "super",
    "self",
    "bytes",
    "serde",
    "thiserror",
    "tracing",
];

struct Source {
    name: String,
    product: String,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("tests/ stands in the workspace")
        .to_path_buf()
}

/// All Rust files below a folder of the workspace; `product` is the text before the file's tests.
fn sources(folder: &str) -> Vec<Source> {
    let root = root();
    let mut folders = vec![root.join(folder)];
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder)
            .expect("a folder of the workspace")
            .flatten()
        {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                let text = fs::read_to_string(&path).expect("utf-8");
                let name = path
                    .strip_prefix(&root)
                    .expect("below the root")
                    .display()
                    .to_string();
                let is_test_file =
                    name.ends_with("tests.rs") || name.ends_with("/testing.rs") || name.contains("/tests/");
                let end = if is_test_file {
                    0
                } else {
                    // A file's own tests stand at its end; `mod tests;` at the top leads to another file.
                    text.rfind("\n#[cfg(test)]\nmod tests {").unwrap_or(text.len())
                };
                found.push(Source {
                    name,
                    product: text[..end].to_owned(),
                });
            }
        }
    }
    assert!(!found.is_empty(), "no sources in {folder}");
    found.sort_by(|a, b| a.name.cmp(&b.name));
    found
}

fn code_lines(source: &Source) -> impl Iterator<Item = (usize, &str)> {
    source
        .product
        .lines()
        .enumerate()
        .filter(|(_, line)| !line.trim_start().starts_with("//"))
}

#[test]
fn engine_and_wire_import_nothing_that_does() {
    let mut wrong = Vec::new();
    for source in sources("sfu/src/engine").iter().chain(&sources("sfu/src/wire")) {
        for (number, line) in code_lines(source) {
            let Some(path) = line.trim_start().strip_prefix("use ") else {
                continue;
            };
            let first = path.split([':', ';', ' ', '{']).next().unwrap_or_default();
            let crypto = source.name.contains("wire/srtp") && matches!(first, "ring" | "aes");
            let local = [";", " {"]
                .iter()
                .any(|end| source.product.contains(&format!("mod {first}{end}")));
            if !PURE_CRATES.contains(&first) && !crypto && !local {
                wrong.push(format!("{}:{}: {line}", source.name, number + 1));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn wire_knows_nothing_of_the_engine() {
    for source in sources("sfu/src/wire") {
        for (number, line) in code_lines(&source) {
            let upward = line.contains("crate::engine")
                || line.contains("crate::driver")
                || line.contains("crate::control");
            assert!(!upward, "{}:{}: {line}", source.name, number + 1);
        }
    }
}

#[test]
fn engines_have_no_clock_lock_thread_task_or_chance() {
    let banned = [
        "Instant::now",
        "SystemTime",
        ".elapsed()",
        "std::thread",
        "tokio::",
        "async fn",
        "Mutex<",
        "RwLock<",
        "rand::rng",
        "std::net::UdpSocket",
        "std::fs",
        "std::env",
    ];
    for folder in ["sfu/src/engine", "sfu/src/wire", "signaling/src/engine"] {
        for source in sources(folder) {
            for (number, line) in code_lines(&source) {
                let found = banned.iter().find(|word| line.contains(**word));
                assert!(found.is_none(), "{}:{}: {line}", source.name, number + 1);
            }
        }
    }
}

#[test]
fn only_the_peer_names_rtc() {
    for source in sources("sfu/src") {
        if source.name.starts_with("sfu/src/driver/peer") {
            continue;
        }
        for (number, line) in code_lines(&source) {
            let names = line.contains("rtc::") || line.contains("use rtc");
            assert!(
                !names || line.contains("::rtc::") && line.contains("wire"),
                "{}:{}: {line}",
                source.name,
                number + 1
            );
        }
    }
}

#[test]
fn the_pure_half_builds_without_runtime_or_sockets() {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let tree = Command::new(cargo)
        .args([
            "tree",
            "--offline",
            "--locked",
            "-p",
            "sfu",
            "--no-default-features",
            "-e",
            "normal",
            "--prefix",
            "none",
        ])
        .current_dir(root())
        .output()
        .expect("cargo runs");
    assert!(tree.status.success(), "{}", String::from_utf8_lossy(&tree.stderr));
    let text = String::from_utf8_lossy(&tree.stdout);
    for name in [
        "tokio",
        "mio",
        "socket2",
        "quinn-udp",
        "rtc",
        "prometheus",
        "rand",
        "chrono",
        "time",
    ] {
        let found = text.lines().any(|line| line.split(' ').next() == Some(name));
        assert!(!found, "{name} is in the tree of wire and engine:\n{text}");
    }
}

#[test]
fn every_file_says_what_it_is_and_is_short_enough_to_read() {
    let mut wrong = Vec::new();
    for folder in ["sfu/src", "signaling/src", "loadtest/src", "tests/src"] {
        for source in sources(folder) {
            let lines = source.product.lines().count();
            let excused = LONG_FILES.iter().any(|(name, _)| *name == source.name);
            if lines > FILE_LINES_MAX && !excused {
                wrong.push(format!("{}: {lines} lines", source.name));
            }
            if !source.product.is_empty() && !source.product.starts_with("//!") {
                wrong.push(format!("{}: does not begin with //!", source.name));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn functions_are_short_enough_to_read() {
    let mut wrong = Vec::new();
    for folder in ["sfu/src", "signaling/src", "loadtest/src", "tests/src"] {
        for source in sources(folder) {
            for (name, line, length) in functions(&source.product) {
                let excused = LONG_FUNCTIONS
                    .iter()
                    .any(|(excused, _)| *excused == format!("{}::{name}", source.name));
                if length > FUNCTION_LINES_MAX && !excused {
                    wrong.push(format!("{}:{line}: {name} has {length} lines", source.name));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Name, first line and length of every function, by the indentation that rustfmt gives.
fn functions(text: &str) -> Vec<(String, usize, usize)> {
    let lines: Vec<&str> = text.lines().collect();
    let mut found = Vec::new();
    for (start, line) in lines.iter().enumerate() {
        let code = line.trim_start();
        let indent = line.len() - code.len();
        let head = ["pub(crate) ", "pub(super) ", "pub ", "async ", "const "]
            .iter()
            .fold(code, |code, word| code.strip_prefix(word).unwrap_or(code));
        let Some(rest) = head.strip_prefix("fn ") else {
            continue;
        };
        let name = rest.split(['(', '<']).next().unwrap_or_default().to_owned();
        let closing = format!("{}}}", " ".repeat(indent));
        if let Some(length) = lines[start..].iter().position(|line| *line == closing) {
            found.push((name, start + 1, length + 1));
        }
    }
    found
}

#[test]
fn addresses_and_names_are_logged_only_in_disguise() {
    let macros = ["trace!(", "debug!(", "info!(", "warn!(", "error!("];
    let personal = [
        "addr =",
        "address =",
        "%addr",
        "?addr",
        "%remote",
        "?remote",
        "display_name",
        "token =",
        "%token",
        "?token",
        "%offer",
        "?offer",
    ];
    for folder in ["sfu/src", "signaling/src", "loadtest/src"] {
        for source in sources(folder) {
            for (number, line) in code_lines(&source) {
                if macros.iter().any(|m| line.contains(m)) && !line.contains("Pii(") {
                    let found = personal.iter().find(|word| line.contains(**word));
                    assert!(found.is_none(), "{}:{}: {line}", source.name, number + 1);
                }
            }
        }
    }
}
