//! Offers as long as they may be, made to cost as much as they can: what is beyond a limit is refused, all else is read once.

use super::*;

/// As many as there are payload types.
const FORMATS: usize = 128;

/// The longest offer of that shape: a head, as many units as fit, and a tail.
fn longest(head: &str, unit: &str, tail: &str) -> String {
    let count = (OFFER_BYTES_MAX - head.len() - tail.len()) / unit.len();
    format!("{head}{}{tail}", unit.repeat(count))
}

/// The same of an offer that has a certain text once: the units go before it.
fn longest_before(offer: &str, text: &str, unit: &str) -> String {
    let at = offer.find(text).expect("in the offer");
    longest(&offer[..at], unit, &offer[at..])
}

#[test]
fn the_longest_offers_are_refused_for_what_they_have_too_much_of() {
    let many_attributes = CHROMIUM.replacen("a=mid:0", &("a=rtpmap:1 x/1\r\n".repeat(900) + "a=mid:0"), 1);
    let many_rids = CHROMIUM.replace("a=rid:q ", &("a=rid:other send\r\n".repeat(900) + "a=rid:q "));
    let rejected = format!("{}\r\nm=video 0 UDP/TLS/RTP/SAVPF", CHROMIUM.trim_end());
    let cases = [
        (longest_before(CHROMIUM, " 111\r", " 1"), SdpError::PayloadType),
        (
            longest_before(&many_attributes, " 111\r", " 1"),
            SdpError::PayloadType,
        ),
        (longest(&rejected, " 1", "\r\na=mid:x\r\n"), SdpError::PayloadType),
        (
            many_rids.replace("send q;", &format!("send {}q;", "x;".repeat(1_000))),
            SdpError::Simulcast,
        ),
        (longest_before(&many_rids, "q;h;f", "x;"), SdpError::Simulcast),
        (longest_before(CHROMIUM, " 0 1 2", " 1"), SdpError::Bundle),
        (longest_before(CHROMIUM, "m=", "a=x\n"), SdpError::TooManySections),
        (longest(CHROMIUM, "a=x\n", ""), SdpError::TooManySections),
    ];
    for (number, (offer, reason)) in cases.into_iter().enumerate() {
        assert!(offer.len() <= OFFER_BYTES_MAX);
        assert_eq!(answer_all(&offer).err(), Some(reason), "case {number}");
    }
}

#[test]
fn the_longest_offers_within_the_limits_are_read() {
    let repeated = CHROMIUM.replacen("SAVPF 111\r", &format!("SAVPF{}\r", " 111".repeat(FORMATS)), 1);
    let repeated = longest_before(&repeated, "minptime=10", ";");
    let types: String = (0..FORMATS)
        .map(|payload_type| format!(" {payload_type}"))
        .collect();
    let all = CHROMIUM.replace("SAVPF 96 97\r", &format!("SAVPF{types}\r"));
    let all = all.replace(
        "a=rtcp-mux\r\n",
        &("a=rtcp-mux\r\n".to_owned() + &"a=rtpmap:9 \n".repeat(900)),
    );
    for offer in [repeated, all] {
        assert!(offer.len() <= OFFER_BYTES_MAX);
        let answered = answer_all(&offer).expect("answers");
        assert_eq!(answered.media, answer_all(CHROMIUM).expect("answers").media);
    }
}
