//! The client protocol of `docs/PROTOCOL.md`, written anew from that page: the load tester is a second, independent
//! client, so that a fault in the server's own types does not hide itself.
//!
//! What the server sends is read strictly (unknown types and fields are refused): an extension that the page does not
//! name is a fault that the load tester shall show.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The version spoken.
pub(crate) const VERSION: u16 = 3;

/// A source's kind, its place in a source's number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Kind {
    Mic,
    Camera,
    Screen,
    ScreenSound,
}

/// `number * 4 + kind`: the CSRC of every packet of that source.
pub(crate) fn source_number(point: u32, kind: Kind) -> u32 {
    point.wrapping_mul(4).wrapping_add(kind as u32)
}

/// A message of a client.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum ClientMessage {
    Hello {
        version: u16,
        token: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        resume: Option<String>,
    },
    Join {
        id: u32,
        name: String,
        profile: Profile,
        sources: BTreeMap<Kind, String>,
        published: Vec<Kind>,
        offer: String,
    },
    Restart {
        id: u32,
        offer: String,
    },
    View {
        slots: Vec<View>,
    },
    Publish {
        source: Kind,
        on: bool,
    },
    GiveFloor {
        id: u32,
        point: u32,
    },
    TakeFloor {
        id: u32,
    },
    Stats {
        cpu_limited: bool,
        encoder_limited: bool,
        frames_decoded: u32,
        freezes: u32,
        freeze_ms: u32,
        concealed_ppm: u32,
        audio_delay_ms: u16,
    },
    Leave {},
    Ping {
        id: u32,
    },
}

/// How many video slots a point gets at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Profile {
    Phone,
    Laptop,
    Tv,
}

/// A picture wanted in a slot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct View {
    pub(crate) slot: String,
    pub(crate) source: u32,
    pub(crate) height: u16,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) pinned: bool,
}

/// What a video slot gets, and why not more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SlotQuality {
    pub(crate) slot: String,
    pub(crate) height: Option<u16>,
    pub(crate) rate: u8,
    pub(crate) cause: Option<String>,
    pub(crate) line: Option<String>,
    pub(crate) line_name: Option<String>,
}

/// What is to be sent of a source, and why not more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SourceOrder {
    pub(crate) source: Kind,
    pub(crate) layers: Vec<LayerOrder>,
    pub(crate) cause: Option<String>,
    pub(crate) line: Option<String>,
    pub(crate) line_name: Option<String>,
}

/// What is to be sent of an encoding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct LayerOrder {
    pub(crate) active: bool,
    pub(crate) bitrate: u64,
    pub(crate) fps: u8,
}

/// How pictures are sent in a room. Points of a load test send VP8, which every room takes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct VideoRules {
    pub(crate) codecs: Vec<String>,
    pub(crate) scalable: bool,
}

/// A message of the server.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum ServerMessage {
    Welcome {
        version: u16,
        server: String,
        room: Room,
        name: String,
        site: Option<String>,
        role: String,
        points: u32,
        video: VideoRules,
    },
    Joined {
        id: u32,
        number: u32,
        resume: String,
        answer: String,
        slots: BTreeMap<String, String>,
        points: Vec<Point>,
        sequence: u64,
        floor: Option<u32>,
    },
    Resumed {
        number: u32,
        resume: String,
        media: Kept,
        slots: Vec<SlotChange>,
        points: Vec<Point>,
        sequence: u64,
        floor: Option<u32>,
    },
    Restarted {
        id: u32,
        answer: String,
    },
    Queued {
        id: u32,
        place: u32,
    },
    Point {
        sequence: u64,
        change: Change,
        point: Point,
    },
    Slots {
        slots: Vec<SlotChange>,
    },
    Quality {
        slots: Vec<SlotQuality>,
    },
    Send {
        voice_ms: u8,
        sources: Vec<SourceOrder>,
    },
    Speaker {
        number: Option<u32>,
    },
    Floor {
        number: Option<u32>,
    },
    Media {
        state: MediaState,
    },
    Error {
        id: Option<u32>,
        code: String,
    },
    Bye {
        code: String,
    },
    Pong {
        id: u32,
    },
}

/// The room a token opens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Room {
    pub(crate) id: String,
    pub(crate) title: String,
}

/// A point of the roster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Point {
    pub(crate) number: u32,
    pub(crate) name: String,
    pub(crate) site: Option<String>,
    pub(crate) role: String,
    pub(crate) published: Vec<Kind>,
    pub(crate) connected: bool,
}

/// How the roster changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Change {
    Joined,
    Changed,
    Left,
}

/// What a slot shows from an RTP time on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SlotChange {
    pub(crate) slot: String,
    pub(crate) source: Option<u32>,
    pub(crate) time: Option<u32>,
}

/// Whether a resumed seat still has its media.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Kept {
    Kept,
    Lost,
}

/// The node's view of this client's media path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum MediaState {
    Connected,
    Lost,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_have_the_documented_shape() {
        let hello = ClientMessage::Hello {
            version: VERSION,
            token: "t".into(),
            resume: None,
        };
        assert_eq!(
            serde_json::to_string(&hello).unwrap(),
            r#"{"type":"hello","version":3,"token":"t"}"#
        );
        let view = ClientMessage::View {
            slots: vec![View {
                slot: "v0".into(),
                source: 13,
                height: 360,
                pinned: false,
            }],
        };
        assert_eq!(
            serde_json::to_string(&view).unwrap(),
            r#"{"type":"view","slots":[{"slot":"v0","source":13,"height":360}]}"#
        );
        assert_eq!(
            serde_json::to_string(&ClientMessage::Leave {}).unwrap(),
            r#"{"type":"leave"}"#
        );
    }

    #[test]
    fn a_roster_change_is_read_and_an_unknown_field_is_refused() {
        let text = r#"{"type":"point","sequence":3,"change":"joined","point":{"number":12,"name":"Xã A",
            "site":"tinh.co-to","role":"delegate","published":["mic","camera"],"connected":true}}"#;
        let ServerMessage::Point {
            sequence,
            change,
            point,
        } = serde_json::from_str(text).unwrap()
        else {
            panic!("not a point");
        };
        assert_eq!((sequence, change, point.number), (3, Change::Joined, 12));
        assert_eq!(point.published, [Kind::Mic, Kind::Camera]);
        let extra = text.replace("\"sequence\":3", "\"sequence\":3,\"colour\":1");
        assert!(serde_json::from_str::<ServerMessage>(&extra).is_err());
    }

    /// The files that the server's and the page's own types are tested with.
    fn fixtures(folder: &str) -> Vec<(String, serde_json::Value)> {
        let folder = format!(
            "{}/../signaling/fixtures/protocol/{folder}",
            env!("CARGO_MANIFEST_DIR")
        );
        let files = std::fs::read_dir(folder)
            .unwrap()
            .map(|file| file.unwrap().path());
        let read = |path: std::path::PathBuf| {
            let text = std::fs::read_to_string(&path).unwrap();
            (path.display().to_string(), serde_json::from_str(&text).unwrap())
        };
        files.map(read).collect()
    }

    /// Absent and null are the same.
    fn without_nulls(value: serde_json::Value) -> serde_json::Value {
        match value {
            serde_json::Value::Object(map) => {
                let kept = map.into_iter().filter(|(_, value)| !value.is_null());
                kept.map(|(key, value)| (key, without_nulls(value))).collect()
            }
            serde_json::Value::Array(list) => list.into_iter().map(without_nulls).collect(),
            other => other,
        }
    }

    #[test]
    fn the_golden_frames_are_read_and_written_as_they_are() {
        let server = fixtures("server");
        assert!(server.len() >= 11);
        for (file, value) in server {
            let message: ServerMessage = serde_json::from_value(value.clone()).expect(&file);
            let back = serde_json::to_value(message).unwrap();
            assert_eq!(without_nulls(back), without_nulls(value), "{file}");
        }
        let client = fixtures("client");
        assert!(client.len() >= 7);
        for (file, value) in client {
            let message: ClientMessage = serde_json::from_value(value.clone()).expect(&file);
            let back = serde_json::to_value(message).unwrap();
            assert_eq!(without_nulls(back), without_nulls(value), "{file}");
        }
    }

    #[test]
    fn source_numbers_follow_the_table() {
        assert_eq!(source_number(12, Kind::Mic), 48);
        assert_eq!(source_number(12, Kind::ScreenSound), 51);
    }
}
