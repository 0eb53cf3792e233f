//! Joins, with and without loss, and how an association ends.

use super::*;
use crate::driver::peer::dtls::tests_support::bare_endpoint;

/// Longest virtual time a join may take.
const JOIN_MAX: Duration = Duration::from_millis(2_500);

/// The ClientHello of the test client has 124 bytes: with this MTU it comes in two datagrams, as those of browsers do, and
/// its certificate in four.
const SPLIT_MTU: usize = 100;

#[test]
fn every_join_connects_in_time_when_a_tenth_of_the_datagrams_is_lost() {
    for seed in 0..50 {
        let mut call = Call::new(seed, 0.1, SPLIT_MTU);
        call.check(path(1));
        call.run(JOIN_MAX);
        assert!(call.both_are_connected(), "seed {seed}: {:?}", call.events);
        assert_eq!(call.events, [PeerEvent::Connected], "seed {seed}");
    }
}

/// The same line without the front: if this one passed all joins, the test above would prove nothing.
#[test]
fn without_the_front_some_of_those_joins_fail() {
    let failed = (0..50).filter(|&seed| !bare_join(seed)).count();
    assert!(failed >= 3, "only {failed} of 50 failed");
}

/// A join against the bare endpoint, its timer obeyed as it says.
fn bare_join(seed: u64) -> bool {
    let (config, _) = Client::config(&[SrtpProtectionProfile::Srtp_Aead_Aes_128_Gcm], SPLIT_MTU);
    let mut now = Instant::now();
    let (end, remote) = (now + JOIN_MAX, path(1).remote);
    let (mut client, mut server) = (Client::connect(now, config), bare_endpoint());
    let mut rng = StdRng::seed_from_u64(seed);
    let mut line: Vec<(Instant, bool, Vec<u8>)> = Vec::new();
    let mut complete = false;
    while now < end {
        now += STEP;
        client.handle_timeout(now);
        if server.poll_timeout(&remote).is_some_and(|due| due <= now) {
            let _ = server.handle_timeout(remote, now);
        }
        let (due, later): (Vec<_>, Vec<_>) = line.into_iter().partition(|(at, ..)| *at <= now);
        line = later;
        for (_, to_server, bytes) in due {
            if to_server {
                let events = server
                    .read(now, remote, None, bytes.as_slice().into())
                    .unwrap_or_default();
                complete |= events
                    .iter()
                    .any(|e| matches!(e, EndpointEvent::HandshakeComplete));
            } else {
                client.handle(now, &bytes);
            }
        }
        let mut sent: Vec<(bool, Vec<u8>)> = Vec::new();
        sent.extend(std::iter::from_fn(|| client.poll_transmit()).map(|bytes| (true, bytes)));
        sent.extend(std::iter::from_fn(|| server.poll_transmit()).map(|t| (false, t.message.to_vec())));
        for (to_server, bytes) in sent {
            if rng.random::<f64>() >= 0.1 {
                line.push((now + DELAY, to_server, bytes));
            }
        }
    }
    complete && client.contexts.is_some()
}

#[test]
fn what_one_side_seals_the_other_opens() {
    let mut call = Call::connected(1);
    let rtp = [0x80, 96, 0, 1, 0, 0, 0, 0, 0, 0, 0, 9, 1, 2, 3, 4];
    let (sealer, opener) = call.client.contexts.as_mut().expect("connected");

    let mut up = [0; 64];
    up[..16].copy_from_slice(&rtp);
    let sealed = sealer.seal_rtp(&mut up, 16).expect("seals");
    let mut again = up;
    assert_eq!(call.peer.open_rtp(call.now, path(1), &mut up[..sealed]), Ok(16));
    assert_eq!(up[..16], rtp);
    assert_eq!(
        call.peer.open_rtp(call.now, path(1), &mut again[..sealed]),
        Err(MediaRefused::Open(OpenError::Replayed)),
        "once only"
    );

    let mut down = [0; 64];
    down[..16].copy_from_slice(&rtp);
    let sealed = call.peer.seal_rtp(&mut down, 16).expect("seals");
    assert_eq!(opener.open_rtp(&mut down[..sealed]), Ok(16));
    assert_eq!(down[..16], rtp);
}

#[test]
fn a_256_bit_client_is_served_too() {
    let mut call = Call::with(1, 0.0, &[SrtpProtectionProfile::Srtp_Aead_Aes_256_Gcm], 1_200);
    call.check(path(1));
    call.run(Duration::from_millis(500));
    assert!(call.both_are_connected());
}

#[test]
fn aes_gcm_is_chosen_whatever_the_order_of_the_client() {
    use SrtpProtectionProfile as P;
    let offered = [
        P::Srtp_Aes128_Cm_Hmac_Sha1_80,
        P::Srtp_Aead_Aes_256_Gcm,
        P::Srtp_Aead_Aes_128_Gcm,
    ];
    let mut call = Call::with(1, 0.0, &offered, 1_200);
    call.check(path(1));
    call.run(Duration::from_millis(500));
    assert!(call.both_are_connected());
}

#[test]
fn a_client_that_has_only_sha1_is_served_where_it_is_let_in() {
    let only = [SrtpProtectionProfile::Srtp_Aes128_Cm_Hmac_Sha1_80];
    let mut call = Call::with(1, 0.0, &only, 1_200);
    call.check(path(1));
    call.run(Duration::from_millis(500));
    assert!(call.both_are_connected());
    assert!(call.peer.profile().is_some_and(Profile::is_weak));
    let rtcp = [0x80, 201, 0, 1, 0, 0, 0, 9];
    let mut sealed = [0; 64];
    sealed[..8].copy_from_slice(&rtcp);
    let length = call.peer.seal_rtcp(&mut sealed, 8).expect("seals");
    let (_, opener) = call.client.contexts.as_mut().expect("connected");
    sealed[length - 1] ^= 1;
    assert_eq!(
        opener.open_rtcp(&mut sealed[..length]),
        Err(OpenError::NotAuthentic)
    );
    sealed[length - 1] ^= 1;
    assert_eq!(opener.open_rtcp(&mut sealed[..length]), Ok(8));
}

#[test]
fn a_client_without_a_profile_of_ours_is_told_and_lost() {
    use SrtpProtectionProfile as P;
    for (offered, weak_srtp) in [
        (P::Srtp_Aes128_Cm_Hmac_Sha1_32, true),
        (P::Srtp_Aes128_Cm_Hmac_Sha1_80, false),
    ] {
        let mut call = Call::with(1, 0.0, &[offered], 1_200);
        call.replace_peer(weak_srtp);
        call.check(path(1));
        call.run(Duration::from_millis(200));
        assert_eq!(call.events, [PeerEvent::Lost(LostReason::Profile)], "{offered:?}");
    }
}

fn sent(peer: &mut Peer) -> Vec<Transmit> {
    std::iter::from_fn(|| peer.poll_transmit()).collect()
}

/// A client on the move: it hears nothing for longer than our flight is repeated by itself, and asks again by another path.
#[test]
fn a_client_that_asks_again_is_answered_where_it_is_however_late() {
    let mut call = Call::new(1, 0.0, SPLIT_MTU);
    call.check(path(1));
    let hello = loop {
        let asked: Vec<_> = std::iter::from_fn(|| call.client.poll_transmit()).collect();
        for datagram in &asked {
            let _ = call.peer.handle_dtls(call.now, path(1), datagram);
        }
        let answer = sent(&mut call.peer);
        let is_verify = |sent: &&Transmit| sent.bytes[13] == 3; // HelloVerifyRequest
        match answer.iter().find(is_verify) {
            Some(verify) => call.client.handle(call.now, &verify.bytes),
            None => break asked, // what answers the ClientHello with the cookie is lost
        }
    };
    let end = call.now + Duration::from_secs(10);
    while call.now < end {
        call.now += Duration::from_millis(100);
        call.peer.handle_timeout(call.now);
        sent(&mut call.peer);
    }
    call.check(path(2));
    let asks = |call: &mut Call| {
        for datagram in &hello {
            let asked = call.peer.handle_dtls(call.now, path(2), datagram);
            assert_eq!(asked, Err(DtlsRefused::Useless));
        }
        sent(&mut call.peer)
    };
    let flight = asks(&mut call);
    assert!(!flight.is_empty() && flight.iter().all(|sent| sent.path == path(2)));
    assert!(asks(&mut call).is_empty(), "it has just been sent");
    call.now += Duration::from_millis(100);
    assert!(asks(&mut call) == flight);
    for _ in 0..2 {
        for transmit in &flight {
            call.client.handle(call.now, &transmit.bytes);
        }
    }
    while let Some(datagram) = call.client.poll_transmit() {
        let _ = call.peer.handle_dtls(call.now, path(2), &datagram);
    }
    for transmit in sent(&mut call.peer) {
        call.client.handle(call.now, &transmit.bytes);
    }
    assert!(call.both_are_connected());
    assert!(call.peer.dtls.profile().is_some());
}

#[test]
fn a_certificate_that_the_offer_does_not_name_gets_no_keys() {
    let mut call = Call::new(1, 0.0, 1_200);
    let identity = Arc::new(Identity::new(true).expect("a certificate"));
    call.peer = Peer::new(
        call.now,
        &identity,
        call.credentials.clone(),
        Fingerprint::of(b"another"),
    );
    call.check(path(1));
    call.run(Duration::from_millis(500));
    assert_eq!(call.events, [PeerEvent::Lost(LostReason::Fingerprint)]);
    assert_eq!(
        call.peer.seal_rtp(&mut [0; 64], 16),
        Err(MediaRefused::NotConnected)
    );
}

#[test]
fn a_client_that_closes_is_lost_at_once() {
    let mut call = Call::connected(1);
    call.client.close(call.now);
    call.run(Duration::from_millis(50));
    assert_eq!(
        call.events,
        [PeerEvent::Connected, PeerEvent::Lost(LostReason::Closed)]
    );
    assert_eq!(call.peer.poll_timeout(), None);
}

#[test]
fn a_client_is_told_when_the_node_closes() {
    let mut call = Call::connected(1);
    call.peer.close(call.now);
    call.run(Duration::from_millis(50));
    assert!(call.client.closed);
}

#[test]
fn the_goodbye_goes_where_media_goes() {
    let mut call = Call::connected(1);
    call.check(path(2));
    let (sealer, _) = call.client.contexts.as_mut().expect("connected");
    let mut packet = [0; 64];
    packet[..12].copy_from_slice(&[0x80, 96, 0, 1, 0, 0, 0, 0, 0, 0, 0, 9]);
    let length = sealer.seal_rtp(&mut packet, 20).expect("room");
    let opened = call.peer.open_rtp(call.now, path(2), &mut packet[..length]);
    assert_eq!(opened, Ok(20));
    call.peer.close(call.now);
    let goodbye = sent(&mut call.peer);
    assert!(!goodbye.is_empty() && goodbye.iter().all(|sent| sent.path == path(2)));
}

#[test]
fn a_handshake_that_never_ends_is_given_up() {
    let mut call = Call::new(1, 1.0, 1_200);
    call.check(path(1));
    for _ in 0..7 {
        call.run(Duration::from_secs(5));
        if !call.peer.is_lost {
            call.check(path(1));
        }
    }
    assert_eq!(call.events, [PeerEvent::Lost(LostReason::Handshake)]);
}
