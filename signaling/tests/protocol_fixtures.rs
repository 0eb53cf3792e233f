//! The golden frames: what both ends of the client protocol agree on.

use std::{collections::BTreeSet, fs, path::PathBuf};

use serde_json::Value;
use signaling::protocol::{BadFrame, ClientMessage, ServerMessage};

fn frames(folder: &str) -> Vec<(String, String)> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("fixtures/protocol")
        .join(folder);
    let mut frames: Vec<_> = fs::read_dir(path)
        .expect("the folder is there")
        .map(|entry| entry.expect("readable").path())
        .map(|path| {
            let name = path.file_stem().expect("named").to_string_lossy().into_owned();
            (name, fs::read_to_string(path).expect("text"))
        })
        .collect();
    frames.sort();
    assert!(!frames.is_empty());
    frames
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).expect("JSON")
}

/// Without nulls, which mean the same as absence in a client's `hello`.
fn without_null_resume(mut value: Value) -> Value {
    if value["resume"].is_null() {
        value.as_object_mut().expect("an object").remove("resume");
    }
    value
}

/// Sets are written in their own order.
fn sorted_published(mut value: Value) -> Value {
    if let Some(list) = value.get_mut("published").and_then(Value::as_array_mut) {
        list.sort_by_key(|kind| kind.to_string());
    }
    value
}

#[test]
fn client_frames_are_read_and_written_back_as_they_are() {
    for (name, text) in frames("client") {
        let message = ClientMessage::decode(&text).unwrap_or_else(|e| panic!("{name}: {e:?}"));
        let expected = sorted_published(without_null_resume(json(&text)));
        assert_eq!(sorted_published(json(&message.encode())), expected, "{name}");
    }
}

#[test]
fn server_frames_are_read_and_written_back_as_they_are() {
    let mut types = BTreeSet::new();
    for (name, text) in frames("server") {
        let message = ServerMessage::decode(&text).unwrap_or_else(|e| panic!("{name}: {e:?}"));
        assert_eq!(json(&message.encode()), json(&text), "{name}");
        types.insert(json(&text)["type"].to_string());
    }
    assert_eq!(types.len(), 15, "one file at least for each type: {types:?}");
}

#[test]
fn bad_frames_have_the_code_in_their_name() {
    for (name, text) in frames("bad") {
        let (expected, _) = name.split_once("--").expect("CODE--what");
        match ClientMessage::decode(&text) {
            Err(BadFrame::Refused { code, .. }) => assert_eq!(code.as_str(), expected, "{name}"),
            other => panic!("{name}: {other:?}"),
        }
    }
}

#[test]
fn a_large_frame_is_one_only_if_it_carries_an_offer() {
    let padded = |frame: &str, bytes: usize| format!("{frame}{}", " ".repeat(bytes));
    let ping = r#"{"type":"ping","id":1}"#;
    assert!(ClientMessage::decode(&padded(ping, 60_000)).is_ok());
    assert_eq!(
        ClientMessage::decode(&padded(ping, 65_536)),
        Err(BadFrame::TooLarge)
    );
    let restart = r#"{"type":"restart","id":1,"offer":"v=0"}"#;
    assert!(ClientMessage::decode(&padded(restart, 200_000)).is_ok());
    assert_eq!(
        ClientMessage::decode(&padded(restart, 262_144)),
        Err(BadFrame::TooLarge)
    );
}
