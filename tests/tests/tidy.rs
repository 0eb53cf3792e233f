//! Habits kept by machine: which part may know what, how long files and functions may be.

#[path = "tidy/rust.rs"]
mod rust;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use rust::{Named, Placed, Token};

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

impl Source {
    /// All but what is compiled for tests alone.
    fn tokens(&self) -> Vec<Placed<'_>> {
        rust::without_tests(&rust::tokens(&self.product))
    }

    /// Everything that is named in it, by its full name.
    fn named(&self) -> Vec<Named> {
        let path = self.name.split_once("src/").map_or("", |(_, path)| path);
        let path = path.trim_end_matches(".rs").trim_end_matches("/mod");
        let module = std::iter::once("crate").chain(path.split('/'));
        rust::named(&self.tokens(), &module.collect::<Vec<_>>())
    }

    fn at(&self, named: &Named) -> String {
        format!("{}:{}: {}", self.name, named.line, named.path.join("::"))
    }
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

#[test]
fn engine_and_wire_import_nothing_that_does() {
    let manifest = fs::read_to_string(root().join("sfu/Cargo.toml")).expect("a manifest");
    let crates = manifest.lines().filter_map(|line| line.split_once(['.', ' ']));
    let crates: Vec<String> = crates.map(|(name, _)| name.replace('-', "_")).collect();
    let mut wrong = Vec::new();
    for source in sources("sfu/src/engine").iter().chain(&sources("sfu/src/wire")) {
        for named in source.named() {
            let first = named.path[0].as_str();
            let crypto = source.name.contains("wire/srtp") && matches!(first, "ring" | "aes");
            let local = [";", " {"]
                .iter()
                .any(|end| source.product.contains(&format!("mod {first}{end}")));
            let foreign = match named.imported {
                true => !local,
                false => named.path.len() > 1 && !local && crates.iter().any(|name| name == first),
            };
            if foreign && !PURE_CRATES.contains(&first) && !crypto {
                wrong.push(source.at(&named));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What lies above a part, which it must not know.
const ABOVE: [(&str, &[&str]); 2] = [
    (
        "sfu/src/wire",
        &["crate::engine", "crate::driver", "crate::control"],
    ),
    ("sfu/src/engine", &["crate::driver", "crate::control"]),
];

/// Where a source names what lies above its part.
fn upward(source: &Source) -> Vec<String> {
    let parts = ABOVE.iter().filter(|(folder, _)| source.name.starts_with(folder));
    let above: Vec<&str> = parts.flat_map(|(_, above)| above.iter().copied()).collect();
    let named = source.named().into_iter();
    let named = named.filter(|named| above.iter().any(|of| named.is_of(of)));
    named.map(|named| source.at(&named)).collect()
}

#[test]
fn wire_knows_nothing_of_the_engine_and_that_nothing_of_who_tells_it() {
    let all = ABOVE.iter().flat_map(|(folder, _)| sources(folder));
    let wrong: Vec<String> = all.flat_map(|source| upward(&source)).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn engines_have_no_clock_lock_thread_task_or_chance() {
    const BANNED: [&str; 11] = [
        "std::time::Instant::now",
        "std::time::SystemTime",
        "std::thread",
        "std::process",
        "std::net::UdpSocket",
        "std::net::TcpStream",
        "std::fs",
        "std::env",
        "tokio",
        "rand::rng",
        "rand::random",
    ];
    const WORDS: [&str; 6] = ["async", "await", "Mutex", "RwLock", "Condvar", "SystemTime"];
    let mut wrong = Vec::new();
    for folder in ["sfu/src/engine", "sfu/src/wire", "signaling/src/engine"] {
        for source in sources(folder) {
            for named in source.named() {
                let word = named.path.iter().any(|word| WORDS.contains(&word.as_str()));
                let now = named.path.ends_with(&["Instant".to_owned(), "now".to_owned()]);
                if word || now || BANNED.iter().any(|banned| named.is_of(banned)) {
                    wrong.push(source.at(&named));
                }
            }
            let tokens = source.tokens();
            let elapsed = [Token::Sign('.'), Token::Word("elapsed")];
            let calls = tokens
                .windows(2)
                .filter(|pair| [pair[0].token, pair[1].token] == elapsed);
            wrong.extend(calls.map(|pair| format!("{}:{}: .elapsed", source.name, pair[0].line)));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn only_the_peer_names_rtc() {
    for source in sources("sfu/src") {
        if source.name.starts_with("sfu/src/driver/peer") {
            continue;
        }
        for named in source.named() {
            let names = named.is_of("rtc") && (named.imported || named.path.len() > 1);
            assert!(!names, "{}", source.at(&named));
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
            for (name, line, length) in rust::functions(&source.tokens()) {
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

#[test]
fn addresses_and_names_are_logged_only_in_disguise() {
    const LOGS: [&str; 11] = [
        "trace",
        "debug",
        "info",
        "warn",
        "error",
        "event",
        "span",
        "debug_span",
        "info_span",
        "warn_span",
        "error_span",
    ];
    let mut wrong = Vec::new();
    for folder in ["sfu/src", "signaling/src", "loadtest/src"] {
        for source in sources(folder) {
            let tokens = source.tokens();
            for call in rust::macros(&tokens) {
                let personal = call.arguments.iter().any(|argument| is_personal(argument));
                if personal && LOGS.contains(&call.name) {
                    wrong.push(format!("{}:{}: {}!", source.name, call.line, call.name));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// An argument that tells whose it is, or lets somebody in.
fn is_personal(argument: &[Placed<'_>]) -> bool {
    const PERSONAL: [&str; 14] = [
        "addr",
        "address",
        "addresses",
        "remote",
        "ip",
        "host",
        "name",
        "token",
        "offer",
        "answer",
        "candidate",
        "password",
        "ufrag",
        "secret",
    ];
    let words = rust::words(argument);
    let is_of = |word: &str| {
        PERSONAL
            .iter()
            .any(|part| word == *part || word.ends_with(&format!("_{part}")))
    };
    words.iter().any(|word| is_of(word)) && !words.contains(&"Pii")
}

#[test]
fn names_are_found_however_they_are_written() {
    let text = r##"
        pub(crate) use std::{
            fs, // "use rand::rng;"
            time::{Duration, Instant as Now},
        };
        use super::super::engine::*;
        /* use tokio; /* */ std::env::var */
        const TEXT: &str = r#"std::thread"#;
        fn f<'a>(x: &'a str) -> char { let now = Now::now(); fs::read(x); let _ = std::net::UdpSocket::bind(x); '"' }
        #[cfg(test)]
        mod tests { use std::process; }
    "##;
    let named = rust::named(
        &rust::without_tests(&rust::tokens(text)),
        &["crate", "wire", "rtcp"],
    );
    let lines = |of: &str| {
        let found = named.iter().filter(|named| named.is_of(of));
        found.map(|named| named.line).collect::<Vec<_>>()
    };
    assert_eq!(lines("std::fs"), [3, 9]);
    assert_eq!(lines("std::time::Instant::now"), [9]);
    assert_eq!(lines("std::net::UdpSocket"), [9]);
    assert_eq!(lines("crate::engine"), [6]);
    for absent in ["std::env", "std::thread", "std::process", "rand", "tokio"] {
        assert_eq!(lines(absent), [0; 0], "{absent}");
    }
}

#[test]
fn what_lies_above_is_found_wherever_it_is_named() {
    let upward = |name: &str, product: &str| {
        upward(&Source {
            name: name.to_owned(),
            product: product.to_owned(),
        })
    };
    let text = "//! Told by [`crate::control`].\nuse super::super::super::{control::Want, wire};\n\
                fn f() { crate::driver::run() }\n#[cfg(test)]\nmod tests { use crate::control; }\n";
    let name = "sfu/src/engine/room/view.rs";
    let found = ["2: crate::control::Want", "3: crate::driver::run"];
    assert_eq!(upward(name, text), found.map(|found| format!("{name}:{found}")));
    let text = "use crate::{engine::id as ids, wire::rtp};\n";
    let name = "sfu/src/wire/rtp.rs";
    assert_eq!(upward(name, text), [format!("{name}:1: crate::engine::id")]);
    assert!(upward("sfu/src/control.rs", text).is_empty());
}

#[test]
fn functions_and_what_is_logged_are_found_over_several_lines() {
    let text = "unsafe extern \"C\" fn long(\n    x: [u8; 2],\n) -> u8 {\n    if true { 1 } else { 2 }\n}\ntrait T { fn none(&self); }\n\
                fn f() {\n    warn!(\n        %peer.remote_addr,\n        \"from {ip:?}\",\n        of = %Pii(address),\n        \"the token is old\"\n    );\n}\n";
    let tokens = rust::tokens(text);
    assert_eq!(rust::functions(&tokens), [("long", 1, 5), ("f", 7, 8)]);
    let macros = rust::macros(&tokens);
    let [call] = &macros[..] else { panic!("{macros:?}") };
    assert_eq!((call.name, call.line), ("warn", 8));
    let personal = call.arguments.iter().map(|argument| is_personal(argument));
    assert_eq!(personal.collect::<Vec<_>>(), [true, true, false, false]);
}
