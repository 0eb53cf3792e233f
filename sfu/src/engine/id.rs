//! Names of things inside a room, each its own type.

use serde::{Deserialize, Serialize};

/// One connected client within a shard. Given by the driver, unique among those that live.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EndpointId(pub u32);

/// A point's number in its room: 1 to [`PointNumber::MAX`], given by signaling and never used twice while the room lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
pub struct PointNumber(u32);

impl PointNumber {
    /// The largest number, so that a [`SourceNumber`] fits 32 bits.
    pub const MAX: u32 = (1 << 30) - 1;

    /// The source of this point of that kind.
    pub const fn source(self, kind: SourceKind) -> SourceNumber {
        SourceNumber((self.0 << 2) | kind as u32)
    }

    /// As a plain number.
    pub const fn get(self) -> u32 {
        self.0
    }
}

/// A number out of its range.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("number out of range")]
pub struct OutOfRange;

impl TryFrom<u32> for PointNumber {
    type Error = OutOfRange;
    fn try_from(number: u32) -> Result<Self, OutOfRange> {
        if (1..=Self::MAX).contains(&number) {
            Ok(Self(number))
        } else {
            Err(OutOfRange)
        }
    }
}

impl From<PointNumber> for u32 {
    fn from(number: PointNumber) -> Self {
        number.0
    }
}

/// A line of the network, by its place in the list that signaling tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct LineIndex(pub u16);

/// How much a point counts when there is not enough for all.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rank {
    /// Everybody else.
    #[default]
    Member,
    /// Works for the chair.
    Secretary,
    /// Runs the meeting: sees and is heard first.
    Chair,
}

/// What a point can send.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SourceKind {
    /// Voice.
    Mic = 0,
    /// Picture of people, in up to three simulcast layers.
    Camera = 1,
    /// Picture of a screen.
    Screen = 2,
    /// Sound of a screen.
    ScreenSound = 3,
}

impl SourceKind {
    /// All kinds, in the order of their numbers.
    pub const ALL: [Self; 4] = [Self::Mic, Self::Camera, Self::Screen, Self::ScreenSound];

    /// Sound or picture.
    pub const fn media(self) -> MediaKind {
        match self {
            Self::Mic | Self::ScreenSound => MediaKind::Audio,
            Self::Camera | Self::Screen => MediaKind::Video,
        }
    }
}

/// A source's number in the room: `point number * 4 + kind`. It is the CSRC of every packet forwarded from it
/// (RFC 3550 §5.1), and what pages look names up by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
pub struct SourceNumber(u32);

impl SourceNumber {
    /// Whose source it is.
    pub const fn point(self) -> PointNumber {
        PointNumber(self.0 >> 2)
    }

    /// Which of its sources.
    pub const fn kind(self) -> SourceKind {
        SourceKind::ALL[(self.0 & 3) as usize]
    }

    /// As a plain number, for the CSRC field.
    pub const fn get(self) -> u32 {
        self.0
    }
}

impl TryFrom<u32> for SourceNumber {
    type Error = OutOfRange;
    fn try_from(number: u32) -> Result<Self, OutOfRange> {
        if number >> 2 == 0 {
            Err(OutOfRange)
        } else {
            Ok(Self(number))
        }
    }
}

impl From<SourceNumber> for u32 {
    fn from(number: SourceNumber) -> Self {
        number.0
    }
}

/// Sound or picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MediaKind {
    /// Sound.
    Audio,
    /// Picture.
    Video,
}

/// One of the fixed receive streams of an endpoint; `a0`, `v12` in text. `a0` and `v0` are the stage pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SlotId {
    /// Sound or picture.
    pub kind: MediaKind,
    /// From 0, in the order of the offer's m-sections of that kind.
    pub index: u8,
}

impl SlotId {
    /// An audio slot.
    pub const fn audio(index: u8) -> Self {
        Self {
            kind: MediaKind::Audio,
            index,
        }
    }

    /// A video slot.
    pub const fn video(index: u8) -> Self {
        Self {
            kind: MediaKind::Video,
            index,
        }
    }
}

impl std::fmt::Display for SlotId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let kind = match self.kind {
            MediaKind::Audio => 'a',
            MediaKind::Video => 'v',
        };
        write!(f, "{kind}{}", self.index)
    }
}

impl From<SlotId> for String {
    fn from(slot: SlotId) -> Self {
        slot.to_string()
    }
}

impl TryFrom<String> for SlotId {
    type Error = OutOfRange;
    fn try_from(text: String) -> Result<Self, OutOfRange> {
        let (kind, digits) = match text.as_bytes() {
            [b'a', digits @ ..] => (MediaKind::Audio, digits),
            [b'v', digits @ ..] => (MediaKind::Video, digits),
            _ => return Err(OutOfRange),
        };
        let index = match digits {
            [d @ b'0'..=b'9'] => d - b'0',
            [t @ b'1'..=b'9', d @ b'0'..=b'9'] => (t - b'0') * 10 + (d - b'0'),
            _ => return Err(OutOfRange),
        };
        Ok(Self { kind, index })
    }
}

/// Synchronisation source of an RTP stream (RFC 3550 §3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ssrc(pub u32);

/// Media id of an m-section (RFC 8843), or a restriction id (RFC 8851): 1 to 16 characters, held in place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShortId {
    length: u8,
    bytes: [u8; 16],
}

impl ShortId {
    /// From the bytes of a header extension or an SDP attribute.
    pub fn new(text: &[u8]) -> Option<Self> {
        if !(1..=16).contains(&text.len()) || !text.iter().all(u8::is_ascii_graphic) {
            return None;
        }
        let mut bytes = [0; 16];
        bytes[..text.len()].copy_from_slice(text);
        Some(Self {
            length: text.len() as u8,
            bytes,
        })
    }

    /// The bytes, as they stand in a header extension.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length)]
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(self.as_bytes()).unwrap_or("")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slot_ids_read_back_what_they_write() {
        for slot in (0..=99).flat_map(|i| [SlotId::audio(i), SlotId::video(i)]) {
            assert_eq!(SlotId::try_from(slot.to_string()), Ok(slot));
        }
        for text in ["", "a", "v", "x1", "a01", "v100", "a-1", "v1 "] {
            assert!(SlotId::try_from(text.to_owned()).is_err(), "{text}");
        }
    }

    #[test]
    fn a_source_number_names_its_point_and_kind() {
        let point = PointNumber::try_from(PointNumber::MAX).expect("in range");
        for kind in SourceKind::ALL {
            let source = point.source(kind);
            assert_eq!((source.point(), source.kind()), (point, kind));
        }
        assert!(PointNumber::try_from(0).is_err() && SourceNumber::try_from(3).is_err());
    }
}
