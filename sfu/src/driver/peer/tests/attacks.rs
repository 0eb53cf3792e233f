//! Holes that were seen in handshake code of this kind, each tried on a peer.

use super::*;
use crate::driver::gate::{HANDSHAKE_DATAGRAMS_MAX, LATE_RECORDS_MAX};

/// A plaintext record of DTLS 1.2 with that number.
fn record(content: u8, epoch: u16, number: u64, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![content, 0xfe, 0xfd];
    bytes.extend_from_slice(&epoch.to_be_bytes());
    bytes.extend_from_slice(&number.to_be_bytes()[2..]);
    bytes.extend_from_slice(&(body.len() as u16).to_be_bytes());
    bytes.extend_from_slice(body);
    bytes
}

/// A fragment of a handshake message.
fn fragment(kind: u8, number: u16, length: u32, offset: u32, data: &[u8]) -> Vec<u8> {
    let mut bytes = vec![kind];
    bytes.extend_from_slice(&length.to_be_bytes()[1..]);
    bytes.extend_from_slice(&number.to_be_bytes());
    bytes.extend_from_slice(&offset.to_be_bytes()[1..]);
    bytes.extend_from_slice(&(data.len() as u32).to_be_bytes()[1..]);
    bytes.extend_from_slice(data);
    bytes
}

/// H1, H8: test threads have a stack of 2 MiB, on which such a chain ended the whole process.
#[test]
fn a_chain_of_fragments_ends_at_the_budget() {
    for kind in [1, 11] {
        let number = if kind == 1 { 0 } else { 2 };
        let mut call = Call::new(1, 0.0, 1_200);
        call.check(path(1));
        let taken = (0..30_000u32)
            .rev()
            .map(|i| {
                record(
                    22,
                    0,
                    u64::from(i) + 100,
                    &fragment(kind, number, 30_000, i, &[0]),
                )
            })
            .filter(|datagram| call.peer.handle_dtls(call.now, path(1), datagram).is_ok())
            .count();
        assert_eq!(taken, 0, "longer than any message of a client");

        let mut call = Call::new(1, 0.0, 1_200);
        call.check(path(1));
        let taken = (0..4_000u32)
            .map(|i| {
                record(
                    22,
                    0,
                    u64::from(i) + 40_000,
                    &fragment(kind, number, 4_000, i, &[0]),
                )
            })
            .filter(|datagram| call.peer.handle_dtls(call.now, path(1), datagram).is_ok())
            .count();
        assert_eq!(taken, 16);
    }
}

/// H1 after the handshake, by one who is in the call.
#[test]
fn fragments_after_the_handshake_are_dropped_and_the_call_goes_on() {
    let mut call = Call::connected(1);
    for i in 0..30_000u32 {
        let datagram = record(
            22,
            0,
            u64::from(i) + 100,
            &fragment(11, 6, 3_000, i % 3_000, &[0]),
        );
        assert!(call.peer.handle_dtls(call.now, path(1), &datagram).is_err());
    }
    assert_eq!(call.peer.poll_transmit().map(|t| t.bytes.len()), None);
    assert!(call.peer.is_connected());
}

/// A forged repeat of the client's last flight makes us send nothing, and cannot be tried for ever.
#[test]
fn forged_repeats_of_the_last_flight_are_bounded_and_not_answered() {
    let mut call = Call::connected(1);
    let plain = record(22, 0, 99, &fragment(16, 3, 4, 0, &[1, 2, 3, 4]));
    assert_eq!(
        call.peer.handle_dtls(call.now, path(1), &plain),
        Err(DtlsRefused::Useless)
    );
    let taken = (0..10_000u64)
        .map(|i| record(22, 1, i + 100, &[7; 48]))
        .filter(|datagram| call.peer.handle_dtls(call.now, path(1), datagram).is_ok())
        .count();
    assert_eq!(taken, LATE_RECORDS_MAX as usize);
    assert!(call.peer.poll_transmit().is_none() && call.peer.is_connected());
}

/// H2, H3: a forged ClientHello from another address before and among the true ones.
#[test]
fn forged_client_hellos_from_strangers_are_dropped() {
    let mut call = Call::new(1, 0.0, 1_200);
    call.check(path(1));
    let (config, _) = Client::config(&[SrtpProtectionProfile::Srtp_Aead_Aes_128_Gcm], 1_200);
    let mut stranger = Client::connect(call.now, config);
    let forged = stranger.poll_transmit().expect("a ClientHello");
    for _ in 0..20 {
        for _ in 0..50 {
            let result = call.peer.handle_dtls(call.now, path(2), &forged);
            assert_eq!(result, Err(DtlsRefused::Unverified));
        }
        call.step();
    }
    call.run(Duration::from_millis(300));
    assert!(call.both_are_connected());
}

/// H4: plaintext alerts end nothing, even from the client's own address, before and after the handshake.
#[test]
fn plaintext_alerts_close_nothing() {
    let mut call = Call::new(1, 0.0, 1_200);
    call.check(path(1));
    for i in 0..40 {
        for alert in [[1, 0], [2, 40]] {
            let datagram = record(21, 0, 5_000 + i, &alert);
            assert_eq!(
                call.peer.handle_dtls(call.now, path(1), &datagram),
                Err(DtlsRefused::Useless)
            );
        }
        call.step();
    }
    call.run(Duration::from_millis(300));
    assert_eq!(call.events, [PeerEvent::Connected]);
}

/// One that the endpoint cannot read would end the handshake.
#[test]
fn changes_of_cipher_that_are_none_close_nothing() {
    let mut call = Call::new(1, 0.0, 1_200);
    call.check(path(1));
    for i in 0..20 {
        for body in [&[][..], &[2], &[1, 1]] {
            let datagram = record(20, 0, 5_000 + i, body);
            let result = call.peer.handle_dtls(call.now, path(1), &datagram);
            assert_eq!(result, Err(DtlsRefused::Useless));
        }
        call.step();
    }
    call.run(Duration::from_millis(300));
    assert_eq!(call.events, [PeerEvent::Connected]);
}

/// H7: records of the next epoch wait for keys; few of them.
#[test]
fn early_records_are_bounded() {
    let mut call = Call::new(1, 0.0, 1_200);
    call.check(path(1));
    call.step(); // the first ClientHello is under way
    call.run(Duration::from_millis(15));
    let taken = (0..100_000u64)
        .map(|i| record(22, 1, i, &[0; 100]))
        .filter(|datagram| call.peer.handle_dtls(call.now, path(1), datagram).is_ok())
        .count();
    assert_eq!(taken, 32);
    assert!(
        call.peer
            .handle_dtls(call.now, path(1), &record(22, 1, 0, &[0; 200]))
            .is_err(),
        "no Finished is as long"
    );
}

/// Nothing fills a budget up again: not time, not checks, not other addresses.
#[test]
fn the_budget_of_a_handshake_holds_for_its_life() {
    let mut call = Call::new(1, 1.0, 1_200);
    let mut taken = 0;
    for second in 0..25u16 {
        call.check(path(second));
        for i in 0..100u64 {
            let hello = fragment(1, 0, 60, 0, &[i as u8; 60]);
            let datagram = record(22, 0, u64::from(second) * 100 + i, &hello[..30 + 12 - 12]);
            let result = call.peer.handle_dtls(call.now, path(second), &datagram);
            taken += u32::from(result != Err(DtlsRefused::Budget));
        }
        call.run(Duration::from_secs(1));
    }
    assert_eq!(taken, HANDSHAKE_DATAGRAMS_MAX);
}

/// H6: nothing is remembered of SSRCs that are not authentic.
#[test]
fn forged_media_is_refused_and_moves_nothing() {
    let mut call = Call::connected(1);
    call.check(path(2));
    for ssrc in 0..1_000u32 {
        let mut packet = [
            0x80, 96, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
        ];
        packet[8..12].copy_from_slice(&ssrc.to_be_bytes());
        let refused = call.peer.open_rtp(call.now, path(2), &mut packet);
        assert_eq!(refused, Err(MediaRefused::Open(OpenError::NotAuthentic)));
    }
}

proptest::proptest! {
    /// Any datagrams, also such as begin like records, in any phase: no panic, no endless work.
    #[test]
    fn any_datagram_is_survived(
        datagrams in proptest::collection::vec(
            (proptest::sample::select(vec![20u8, 21, 22, 23, 25, 200]), 0u16..3, proptest::collection::vec(0u8.., 0..200), 0usize..40),
            0..20,
        ),
    ) {
        let mut peer_call = Call::new(3, 0.0, 1_200);
        peer_call.check(path(1));
        for (i, (content, epoch, body, cut)) in datagrams.into_iter().enumerate() {
            let mut datagram = record(content, epoch, i as u64, &body);
            datagram.truncate(datagram.len().saturating_sub(cut.saturating_sub(20)));
            let _ = peer_call.peer.handle_dtls(peer_call.now, path(1), &datagram);
            let _ = peer_call.peer.handle_stun(peer_call.now, path(1), &body);
            peer_call.now += Duration::from_millis(50);
            peer_call.peer.handle_timeout(peer_call.now);
        }
    }
}
