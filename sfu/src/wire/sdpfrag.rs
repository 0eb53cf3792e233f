//! `application/trickle-ice-sdpfrag` (RFC 8840 §9): the part of an SDP that is about ICE, as WHIP clients send it.

/// Most lines of a fragment: a client has a few candidates in each of a few m-sections.
pub const LINES_MAX: usize = 512;

/// What an ICE-lite node needs of a fragment: candidates are the client's to check, so they are read over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fragment<'a> {
    /// `a=ice-ufrag`: 4 to 256 characters.
    pub ufrag: &'a str,
    /// `a=ice-pwd`: 22 to 256 characters.
    pub password: &'a str,
}

/// Reads a fragment. None if it is none: a line that is not `x=...`, credentials missing, out of range (RFC 8839 §5.4) or
/// several different ones, or more than [`LINES_MAX`] lines.
pub fn parse(text: &str) -> Option<Fragment<'_>> {
    let mut lines = 0;
    let (mut ufrag, mut password) = (None, None);
    for line in text.split(['\r', '\n']).filter(|line| !line.is_empty()) {
        lines += 1;
        let (kind, value) = line.split_once('=')?;
        if lines > LINES_MAX || !matches!(kind, "a" | "m" | "c") {
            return None;
        }
        match value.split_once(':') {
            Some(("ice-ufrag", value)) if kind == "a" => one(&mut ufrag, value)?,
            Some(("ice-pwd", value)) if kind == "a" => one(&mut password, value)?,
            _ => {}
        }
    }
    Some(Fragment {
        ufrag: ufrag.filter(|ufrag| (4..=256).contains(&ufrag.len()) && is_ice(ufrag))?,
        password: password.filter(|password| (22..=256).contains(&password.len()) && is_ice(password))?,
    })
}

/// `ice-char` alone (RFC 8839 §5.4).
fn is_ice(value: &str) -> bool {
    value
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/'))
}

/// In a bundle the same value may stand in each m-section.
fn one<'a>(known: &mut Option<&'a str>, value: &'a str) -> Option<()> {
    (*known.get_or_insert(value) == value).then_some(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const GOOD: &str = "a=ice-options:trickle ice2\r\na=group:BUNDLE 0 1\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:0\r\n\
        a=ice-ufrag:EsAw\r\na=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1\r\n\
        a=candidate:1387637174 1 udp 2122260223 192.0.2.1 61764 typ host generation 0\r\na=end-of-candidates\r\n";

    #[test]
    fn credentials_are_read_wherever_they_stand() {
        let expected = Fragment {
            ufrag: "EsAw",
            password: "P2uYro0UCOQ4zxjKXaWCBui1",
        };
        assert_eq!(parse(GOOD), Some(expected));
        assert_eq!(parse(&GOOD.replace("\r\n", "\n")), Some(expected));
        assert_eq!(parse(&GOOD.repeat(2)), Some(expected), "the same in two sections");
    }

    #[test]
    fn what_is_no_fragment_is_refused() {
        for bad in [
            String::new(),
            "hello".into(),
            "v=0\r\n".to_owned() + GOOD,
            GOOD.replace("EsAw", "EsA"),
            GOOD.replace("EsAw", "!! <>"),
            GOOD.replace("a=ice-pwd", "a=ice-pw"),
            GOOD.replace("P2uYro0UCOQ4zxjKXaWCBui1", "short"),
            GOOD.replace("EsAw", &"x".repeat(257)),
            GOOD.to_owned() + &GOOD.replace("EsAw", "EsAx"),
            GOOD.repeat(LINES_MAX / 8 + 1),
        ] {
            assert_eq!(parse(&bad), None, "{bad:.80}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_panic(text in ".{0,200}", at in 0..200_usize) {
            let _ = parse(&text);
            let cut = GOOD.len().min(at);
            let _ = parse(&format!("{}{text}{}", &GOOD[..cut], &GOOD[cut..]));
        }
    }
}
