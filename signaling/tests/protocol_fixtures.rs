//! The golden frames: what both ends of the client protocol agree on.

use std::{collections::BTreeSet, fs, path::PathBuf};

use serde_json::{Map, Value, json};
use sfu::{
    control::{AUDIO_SLOTS, Cause, MediaState, Profile, VideoCodec},
    engine::id::SourceKind,
};
use signaling::{
    engine::permissions::{Action, may},
    names::Role,
    protocol::{
        BadFrame, Change, ClientMessage, CloseCode, ErrorCode, ResumedMedia, ServerMessage, VERSION,
        VIDEO_SLOTS_MAX,
    },
};

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

fn parsed(text: &str) -> Value {
    serde_json::from_str(text).expect("JSON")
}

/// All variants of an enum. One that is not named here does not compile.
macro_rules! every {
    ($of:ident: $($variant:ident),+ $(,)?) => {{
        let _ = |one: $of| match one { $($of::$variant => (),)+ };
        [$($of::$variant),+]
    }};
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
        let expected = sorted_published(without_null_resume(parsed(&text)));
        assert_eq!(sorted_published(parsed(&message.encode())), expected, "{name}");
    }
}

#[test]
fn server_frames_are_read_and_written_back_as_they_are() {
    let mut types = BTreeSet::new();
    for (name, text) in frames("server") {
        let message = ServerMessage::decode(&text).unwrap_or_else(|e| panic!("{name}: {e:?}"));
        assert_eq!(parsed(&message.encode()), parsed(&text), "{name}");
        types.insert(parsed(&text)["type"].to_string());
    }
    assert_eq!(types.len(), 15, "one file at least for each type: {types:?}");
}

#[test]
fn both_ends_know_the_same_words() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures/protocol/words.json");
    let known = parsed(&fs::read_to_string(path).expect("text"));
    let roles = every!(Role: Chair, Secretary, Delegate, Observer, Guest, Operator, Admin);
    let roles: Map<String, Value> = roles
        .into_iter()
        .map(|role| {
            let may =
                json!({ "publish": may(role, Action::Publish), "give_floor": may(role, Action::GiveFloor) });
            (word(&role), may)
        })
        .collect();
    let profiles = every!(Profile: Phone, Laptop, Tv);
    let video_slots: Map<String, Value> = profiles
        .into_iter()
        .map(|profile| (word(&profile), profile.video_slots().into()))
        .collect();
    assert_eq!(
        profiles.map(Profile::video_slots).iter().max(),
        Some(&VIDEO_SLOTS_MAX)
    );
    let error_codes = every!(ErrorCode: BadMessage, RateLimited, BadToken, TokenExpired, UnknownRoom, RoomFull, BadName,
        BadSdp, State, NotAllowed, Unavailable, Internal);
    assert_eq!(
        error_codes.map(|code| word(&code)),
        error_codes.map(ErrorCode::as_str)
    );
    let close_codes = every!(CloseCode: Left, GoingAway, Rate, TooLarge, SlowReader, BadMessages, BadToken, UnknownRoom,
        NoHello, Replaced);
    let causes = every!(Cause: Path, LineBudget, SenderPath, SenderLine, SenderCpu, ReceiverCpu, NotSent, Codec, Policy,
        Node, VoicesOnly, OneVoice);
    let words = json!({
        "version": VERSION,
        "roles": roles,
        "sources": every!(SourceKind: Mic, Camera, Screen, ScreenSound),
        "codecs": every!(VideoCodec: Vp8, H264, Vp9, Av1),
        "changes": every!(Change: Joined, Changed, Left),
        "resumed": every!(ResumedMedia: Kept, Lost),
        "media": every!(MediaState: Connected, Lost),
        "error_codes": error_codes,
        "close_codes": close_codes.map(|code| code as u16),
        "causes": causes,
        "audio_slots": AUDIO_SLOTS,
        "video_slots": video_slots,
    });
    assert_eq!(words, known);
}

fn word(of: &impl serde::Serialize) -> String {
    let value = serde_json::to_value(of).expect("a word");
    value.as_str().expect("a word").to_owned()
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
