//! Words that people and tokens bring in, each parsed once into a type that cannot hold a bad one.

use std::fmt;

use serde::{Deserialize, Serialize};
use unicode_normalization::{UnicodeNormalization, char::is_combining_mark};

/// Longest [`DisplayName`] in visible characters (a base with its marks counts once).
pub const NAME_CHARACTERS_MAX: usize = 64;

/// Longest [`DisplayName`] in bytes of UTF-8, so that marks cannot be piled up without end.
pub const NAME_BYTES_MAX: usize = 256;

/// Longest [`Token`] in bytes.
pub const TOKEN_BYTES_MAX: usize = 2048;

/// Longest [`SiteId`] in bytes.
pub const SITE_BYTES_MAX: usize = 96;

/// Longest [`Mid`] in bytes.
pub const MID_BYTES_MAX: usize = 16;

/// Why a word was refused. It never repeats the word: names and tokens stay out of logs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadWord {
    /// Nothing visible in it.
    #[error("empty")]
    Empty,
    /// Over the limit of its kind.
    #[error("too long")]
    TooLong,
    /// A character that its kind does not allow.
    #[error("character not allowed")]
    Character,
}

/// A person's or a hall's name as everybody sees it: NFC, spaces folded, nothing that hides or turns other text.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct DisplayName(String);

impl TryFrom<String> for DisplayName {
    type Error = BadWord;

    fn try_from(raw: String) -> Result<Self, BadWord> {
        // NFC can grow a text threefold at most: look at the raw size first, so that the work is bounded.
        if raw.len() > NAME_BYTES_MAX * 2 {
            return Err(BadWord::TooLong);
        }
        if raw.chars().any(is_forbidden) {
            return Err(BadWord::Character);
        }
        let composed: String = raw.nfc().collect();
        let name = composed.split_whitespace().collect::<Vec<_>>().join(" ");
        if !name.chars().any(is_visible) {
            return Err(BadWord::Empty);
        }
        let characters = name
            .chars()
            .filter(|&c| !is_combining_mark(c) && !is_joiner(c))
            .count();
        if characters > NAME_CHARACTERS_MAX || name.len() > NAME_BYTES_MAX {
            return Err(BadWord::TooLong);
        }
        Ok(Self(name))
    }
}

/// Controls, text direction, invisible fillers, tags, and code points that no font shows.
fn is_forbidden(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{00AD}' | '\u{061C}' | '\u{115F}' | '\u{1160}' | '\u{17B4}' | '\u{17B5}' | '\u{180E}'
            | '\u{200B}' | '\u{200E}' | '\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2060}'..='\u{206F}'
            | '\u{3164}' | '\u{FEFF}' | '\u{FFA0}' | '\u{FFF0}'..='\u{FFFB}' | '\u{E000}'..='\u{F8FF}'
            | '\u{E0000}'..='\u{E0FFF}' | '\u{F0000}'..)
}

/// Zero-width joiners and variation selectors: fine between letters and in emoji, nothing alone.
fn is_joiner(c: char) -> bool {
    matches!(
        c,
        '\u{200C}' | '\u{200D}' | '\u{034F}' | '\u{2800}' | '\u{FE00}'..='\u{FE0F}'
    )
}

fn is_visible(c: char) -> bool {
    !c.is_whitespace() && !is_joiner(c) && !is_combining_mark(c)
}

impl fmt::Debug for DisplayName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DisplayName(…)")
    }
}

/// A compact JWT as text: printable ASCII without blanks, not yet checked.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Token(String);

impl TryFrom<String> for Token {
    type Error = BadWord;

    fn try_from(raw: String) -> Result<Self, BadWord> {
        ascii_word(&raw, TOKEN_BYTES_MAX, |b| b.is_ascii_graphic())?;
        Ok(Self(raw))
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

/// Id of a site of the topology, such as `tinh.co-to`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SiteId(String);

impl TryFrom<String> for SiteId {
    type Error = BadWord;

    fn try_from(raw: String) -> Result<Self, BadWord> {
        ascii_word(&raw, SITE_BYTES_MAX, |b| {
            b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'.' || b == b'-'
        })?;
        Ok(Self(raw))
    }
}

/// Media id of an m-section (RFC 8843): a token of RFC 4566, 1 to 16 characters.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Mid(String);

impl TryFrom<String> for Mid {
    type Error = BadWord;

    fn try_from(raw: String) -> Result<Self, BadWord> {
        ascii_word(&raw, MID_BYTES_MAX, |b| b.is_ascii_graphic())?;
        Ok(Self(raw))
    }
}

fn ascii_word(raw: &str, bytes_max: usize, allowed: impl Fn(u8) -> bool) -> Result<(), BadWord> {
    if raw.is_empty() {
        return Err(BadWord::Empty);
    }
    if raw.len() > bytes_max {
        return Err(BadWord::TooLong);
    }
    if !raw.bytes().all(allowed) {
        return Err(BadWord::Character);
    }
    Ok(())
}

macro_rules! as_text {
    ($($name:ident),*) => {$(
        impl $name {
            /// The word as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
        impl From<$name> for String {
            fn from(word: $name) -> Self {
                word.0
            }
        }
    )*};
}
as_text!(DisplayName, Token, SiteId, Mid);

/// What somebody is in a meeting. What a role may do stands in one table, not in the token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Leads the meeting.
    Chair,
    /// Runs it for the chair.
    Secretary,
    /// Sits and speaks for a site.
    Delegate,
    /// Sees and hears.
    Observer,
    /// Invited by link, without an account.
    Guest,
    /// Looks after network and machines.
    Operator,
    /// Looks after people and settings.
    Admin,
}

impl Role {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Chair,
        Self::Secretary,
        Self::Delegate,
        Self::Observer,
        Self::Guest,
        Self::Operator,
        Self::Admin,
    ];
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn name(raw: &str) -> Result<String, BadWord> {
        DisplayName::try_from(raw.to_owned()).map(String::from)
    }

    #[test]
    fn names_are_cleaned_or_refused() {
        assert_eq!(name("  Nguyễn   Văn A "), Ok("Nguyễn Văn A".into()));
        assert_eq!(
            name("Nguye\u{302}\u{303}n"),
            Ok("Nguyễn".into()),
            "decomposed twins are one name"
        );
        assert_eq!(
            name("<img onerror=x>"),
            Ok("<img onerror=x>".into()),
            "markup is text"
        );
        for empty in ["", "   ", "\u{200D}\u{FE0F}", "\u{301}\u{301}", "\u{2800}"] {
            assert_eq!(name(empty), Err(BadWord::Empty), "{empty:?}");
        }
        for bad in [
            "a\u{202E}b",
            "a\nb",
            "a\u{200B}b",
            "a\0",
            "x\u{2066}y",
            "\u{E0041}x",
            "\u{FEFF}x",
        ] {
            assert_eq!(name(bad), Err(BadWord::Character), "{bad:?}");
        }
        assert!(name(&"ễ".repeat(64)).is_ok());
        assert_eq!(name(&"ễ".repeat(65)), Err(BadWord::TooLong));
        assert_eq!(
            name(&format!("a{}", "\u{333}".repeat(200))),
            Err(BadWord::TooLong)
        );
    }

    #[test]
    fn words_never_show_in_debug_output() {
        let token = Token::try_from("a.secret.b".to_owned()).expect("a token");
        let person = DisplayName::try_from("Somebody".to_owned()).expect("a name");
        assert_eq!(format!("{token:?} {person:?}"), "Token(…) DisplayName(…)");
    }

    proptest! {
        #[test]
        fn an_accepted_name_stays_as_it_is(raw in "\\PC{0,80}") {
            if let Ok(once) = name(&raw) {
                prop_assert_eq!(name(&once), Ok(once.clone()));
                prop_assert!(once.len() <= NAME_BYTES_MAX);
            }
        }
    }
}
