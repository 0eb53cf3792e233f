//! Checks, the paths they make, and where packets go.

use rtc::stun::{
    attributes::{ATTR_FINGERPRINT, ATTR_XORMAPPED_ADDRESS},
    message::{BINDING_ERROR, BINDING_SUCCESS, Getter},
    xoraddr::XorMappedAddress,
};

use super::*;
use crate::driver::peer::ice::{CONSENT, GROWTH_MAX, PATHS_MAX, addressed_to};

fn ice(now: Instant) -> (Ice, IceCredentials) {
    let credentials = credentials(1);
    (
        Ice::new(now, default_provider().expect("built in"), credentials.clone()),
        credentials,
    )
}

fn parse(bytes: &[u8]) -> Message {
    let mut message = Message::new();
    message.unmarshal_binary(bytes).expect("a STUN message");
    message
}

#[test]
fn a_valid_check_is_answered_with_the_address_it_came_from() {
    let now = Instant::now();
    let (mut ice, mine) = ice(now);
    let request = check(&mine, mine.password(), &[]);
    let checked = ice.handle_request(now, path(5), &request).expect("valid");
    assert!(checked.valid && checked.evicted.is_none());
    let bytes = checked.answer.expect("an answer");
    assert!(bytes.len() <= request.len() + GROWTH_MAX);
    let mut answer = parse(&bytes);
    assert_eq!(
        (answer.typ, answer.transaction_id),
        (BINDING_SUCCESS, TransactionId([5; 12]))
    );
    let mut mapped = XorMappedAddress::default();
    mapped.get_from(&answer).expect("an address");
    assert_eq!(SocketAddr::new(mapped.ip, mapped.port), path(5).remote);
    FINGERPRINT.check(&answer).expect("a fingerprint");
    let crypto = default_provider().expect("built in");
    MessageIntegrity::check(&mut answer, mine.password().as_bytes(), crypto.crypto()).expect("signed by us");
    assert_eq!(ice.selected(), Some(path(5)));
}

#[test]
fn an_ipv6_answer_does_not_grow_beyond_the_bound_either() {
    let now = Instant::now();
    let (mut ice, mine) = ice(now);
    let request = check(&mine, mine.password(), &[]);
    let from = Path {
        remote: SocketAddr::from(([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1], 9)),
        ..path(1)
    };
    let answer = ice
        .handle_request(now, from, &request)
        .expect("valid")
        .answer
        .expect("an answer");
    assert!(answer.len() <= request.len() + GROWTH_MAX && parse(&answer).contains(ATTR_XORMAPPED_ADDRESS));
}

#[test]
fn a_check_without_integrity_is_not_answered_and_validates_nothing() {
    let now = Instant::now();
    let (mut ice, mine) = ice(now);
    let other = credentials(2);
    let mut unsigned = Message::new();
    unsigned.set_type(BINDING_REQUEST);
    unsigned.write_header();
    unsigned.add(ATTR_USERNAME, format!("{}:abcd", mine.ufrag).as_bytes());
    FINGERPRINT.add_to(&mut unsigned).expect("room");
    let mut damaged = check(&mine, mine.password(), &[]);
    damaged[24] ^= 1;
    let mut cut = check(&mine, mine.password(), &[]);
    cut.truncate(cut.len() - 8);
    for (bytes, reason) in [
        (check(&mine, "wrong", &[]), StunRefused::Integrity),
        (unsigned.raw, StunRefused::Integrity),
        (check(&other, other.password(), &[]), StunRefused::Username),
        (damaged, StunRefused::Malformed),
        (cut, StunRefused::Malformed),
        (vec![0; 20], StunRefused::Malformed),
        (Vec::new(), StunRefused::Malformed),
    ] {
        assert_eq!(ice.handle_request(now, path(5), &bytes), Err(reason));
    }
    assert!(!ice.is_validated(path(5)) && ice.selected().is_none());
}

#[test]
fn an_unknown_required_attribute_is_refused_with_420_if_the_check_is_authentic() {
    let now = Instant::now();
    let (mut ice, mine) = ice(now);
    let request = check(&mine, mine.password(), &[AttrType(0x7fff)]);
    let checked = ice.handle_request(now, path(5), &request).expect("authentic");
    let answer = checked.answer.expect("an answer");
    assert!(answer.len() <= request.len() + GROWTH_MAX);
    assert_eq!(parse(&answer).typ, BINDING_ERROR);
    assert!(
        !checked.valid && !ice.is_validated(path(5)),
        "no table of paths learns it"
    );
    assert!(
        ice.handle_request(now, path(5), &check(&mine, "wrong", &[AttrType(0x7fff)]))
            .is_err()
    );
}

#[test]
fn the_ufrag_tells_whose_check_it_is() {
    let mine = IceCredentials::new(0xdead_beef, &mut StdRng::seed_from_u64(1));
    let request = check(&mine, mine.password(), &[]);
    assert_eq!(addressed_to(&request), Some(0xdead_beef));
    for length in 0..request.len() {
        let _ = addressed_to(&request[..length]); // must not panic
    }
    assert_eq!(addressed_to(&[]), None);
}

#[test]
fn secrets_are_not_shown() {
    let mine = credentials(1);
    assert!(!format!("{mine:?}").contains(mine.password()));
}

#[test]
fn after_a_restart_both_credentials_are_good_until_the_first_check_with_the_new_ones() {
    let now = Instant::now();
    let (mut ice, old) = ice(now);
    let new = credentials(2);
    ice.restart(new.clone());
    for _ in 0..2 {
        assert!(
            ice.handle_request(now, path(1), &check(&old, old.password(), &[]))
                .is_ok()
        );
    }
    assert!(
        ice.handle_request(now, path(2), &check(&new, new.password(), &[]))
            .is_ok()
    );
    let late = ice.handle_request(now, path(1), &check(&old, old.password(), &[]));
    assert_eq!(late, Err(StunRefused::Username));
    assert!(ice.is_validated(path(1)), "the old path stays until consent ends");
}

/// The answer to the first restart is lost, the path comes back, and goes again.
#[test]
fn a_restart_that_nobody_used_does_not_take_the_credentials_in_use() {
    let now = Instant::now();
    let (mut ice, used) = ice(now);
    ice.restart(credentials(2));
    ice.restart(credentials(3));
    let mut tries = |credentials: &IceCredentials| {
        let request = check(credentials, credentials.password(), &[]);
        ice.handle_request(now, path(1), &request).map(|_| ())
    };
    assert_eq!(tries(&used), Ok(()));
    assert_eq!(tries(&credentials(2)), Err(StunRefused::Username));
    assert_eq!(tries(&credentials(3)), Ok(()));
    assert_eq!(tries(&used), Err(StunRefused::Username));
}

#[test]
fn before_media_packets_follow_the_nomination_and_then_the_media() {
    let now = Instant::now();
    let (mut ice, mine) = ice(now);
    let plain = check(&mine, mine.password(), &[]);
    let nominates = check(&mine, mine.password(), &[ATTR_USE_CANDIDATE]);
    ice.handle_request(now, path(1), &plain).expect("valid");
    ice.handle_request(now, path(2), &plain).expect("valid");
    assert_eq!(ice.selected(), Some(path(1)), "the first");
    ice.handle_request(now, path(2), &nominates).expect("valid");
    assert_eq!(ice.selected(), Some(path(2)), "the nominated");
    ice.handle_media(now, path(3));
    assert_eq!(ice.selected(), Some(path(2)), "not validated");
    ice.handle_media(now, path(1));
    assert_eq!(ice.selected(), Some(path(1)), "where media comes from");
    ice.handle_request(now, path(2), &nominates).expect("valid");
    assert_eq!(ice.selected(), Some(path(1)), "nominations move nothing any more");
}

#[test]
fn paths_are_bounded_and_the_one_in_use_is_kept() {
    let now = Instant::now();
    let (mut ice, mine) = ice(now);
    let request = check(&mine, mine.password(), &[]);
    let mut evicted = Vec::new();
    for port in 0..100u16 {
        let at = now + Duration::from_millis(u64::from(port));
        evicted.extend(
            ice.handle_request(at, path(port), &request)
                .expect("valid")
                .evicted,
        );
    }
    assert_eq!(ice.paths().count(), PATHS_MAX);
    assert_eq!(evicted.len(), 100 - PATHS_MAX);
    assert_eq!(evicted[0], path(1), "the oldest that is not in use");
    assert!(ice.is_validated(path(0)) && ice.is_validated(path(99)));
}

#[test]
fn consent_ends_after_thirty_seconds_without_a_check() {
    let mut call = Call::connected(1);
    call.run(CONSENT - Duration::from_secs(2));
    call.check(path(1));
    call.run(Duration::from_secs(10));
    assert_eq!(call.events, [PeerEvent::Connected]);
    call.run(CONSENT);
    assert_eq!(
        call.events,
        [PeerEvent::Connected, PeerEvent::Lost(LostReason::Consent)]
    );
}

#[test]
fn a_client_that_sends_but_checks_no_more_stays_until_it_falls_silent() {
    let mut call = Call::connected(1);
    for _ in 0..10 {
        call.run(CONSENT / 2);
        let mut packet = [0; 64];
        packet[..8].copy_from_slice(&[0x80, 201, 0, 1, 0, 0, 0, 9]);
        let (sealer, _) = call.client.contexts.as_mut().expect("connected");
        let sealed = sealer.seal_rtcp(&mut packet, 8).expect("seals");
        let mut forged = packet;
        forged[sealed - 1] ^= 1;
        assert!(
            call.peer
                .open_rtcp(call.now, path(1), &mut forged[..sealed])
                .is_err()
        );
        assert_eq!(
            call.peer.open_rtcp(call.now, path(1), &mut packet[..sealed]),
            Ok(8)
        );
        // What comes twice is no sign of life.
        assert!(
            call.peer
                .open_rtcp(call.now, path(1), &mut packet[..sealed])
                .is_err()
        );
    }
    assert_eq!(call.events, [PeerEvent::Connected]);
    call.run(CONSENT);
    assert_eq!(
        call.events,
        [PeerEvent::Connected, PeerEvent::Lost(LostReason::Consent)]
    );
}

#[test]
fn a_client_whose_address_changes_is_followed_when_its_media_comes_from_there() {
    let mut call = Call::connected(1);
    let rtcp = [0x80, 201, 0, 1, 0, 0, 0, 9];
    let mut packet = [0; 64];
    packet[..8].copy_from_slice(&rtcp);
    let (sealer, _) = call.client.contexts.as_mut().expect("connected");
    let sealed = sealer.seal_rtcp(&mut packet, 8).expect("seals");
    let mut early = packet;
    assert_eq!(
        call.peer.open_rtcp(call.now, path(2), &mut early[..sealed]),
        Err(MediaRefused::Unverified)
    );
    assert_eq!(call.peer.path(), Some(path(1)));
    call.check(path(2));
    assert_eq!(call.peer.path(), Some(path(2)), "nominated before any media");
    call.check(path(1));
    assert_eq!(call.peer.path(), Some(path(1)));
    assert_eq!(
        call.peer.open_rtcp(call.now, path(2), &mut packet[..sealed]),
        Ok(8)
    );
    assert_eq!(call.peer.path(), Some(path(2)));
    call.check(path(1));
    assert_eq!(call.peer.path(), Some(path(2)));
}

#[test]
fn fingerprint_is_last_or_the_check_is_none() {
    let now = Instant::now();
    let (mut ice, mine) = ice(now);
    let mut request = parse(&check(&mine, mine.password(), &[]));
    request.add(AttrType(0x8022), b"after");
    assert!(request.contains(ATTR_FINGERPRINT));
    assert_eq!(
        ice.handle_request(now, path(1), &request.raw),
        Err(StunRefused::Malformed)
    );
}
