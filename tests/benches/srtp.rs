//! What sealing and opening one packet costs, in place. Benchmarks report; a person judges.

use divan::{Bencher, counter::BytesCount};
use sfu::wire::srtp::{Opener, Profile, RTP_OVERHEAD_MAX, Sealer, Side, contexts};

fn main() {
    divan::main();
}

/// A voice of 20 ms and a full packet of a picture, with each profile.
const CASES: [(Profile, usize); 4] = [
    (Profile::AeadAes128Gcm, 160),
    (Profile::AeadAes128Gcm, 1_200),
    (Profile::AeadAes256Gcm, 160),
    (Profile::AeadAes256Gcm, 1_200),
];

/// The sealer of one side and the opener of the other.
fn pair(profile: Profile) -> (Sealer, Opener) {
    let material = vec![7; profile.keying_material_len()];
    let side = |side| contexts(profile, &material, side).expect("keys of the right length");
    let ((sealer, _), (_, opener)) = (side(Side::Server), side(Side::Client));
    (sealer, opener)
}

/// A packet of that size with room for what sealing adds, without its number.
fn packet(bytes: usize) -> Vec<u8> {
    let mut packet = vec![0x55; bytes + RTP_OVERHEAD_MAX];
    packet[..12].copy_from_slice(&[0x80, 96, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
    packet
}

/// Packets whose numbers ascend, sealed one after the other.
struct Stream {
    sealer: Sealer,
    plain: Vec<u8>,
    bytes: usize,
    number: u16,
}

impl Stream {
    fn seal_into(&mut self, buffer: &mut [u8]) -> usize {
        buffer.copy_from_slice(&self.plain);
        self.number = self.number.wrapping_add(1);
        buffer[2..4].copy_from_slice(&self.number.to_be_bytes());
        self.sealer
            .seal_rtp(buffer, self.bytes)
            .expect("a greater number")
    }
}

fn stream(profile: Profile, bytes: usize) -> (Stream, Opener) {
    let (sealer, opener) = pair(profile);
    let stream = Stream {
        sealer,
        plain: packet(bytes),
        bytes,
        number: 0,
    };
    (stream, opener)
}

/// With the copy into the batch, as the shard does it.
#[divan::bench(args = CASES)]
fn seal(bencher: Bencher<'_, '_>, (profile, bytes): (Profile, usize)) {
    let (mut stream, _) = stream(profile, bytes);
    let mut buffer = stream.plain.clone();
    bencher
        .counter(BytesCount::new(bytes))
        .bench_local(move || stream.seal_into(&mut buffer));
}

/// What was sealed is opened by the other side; only the opening is measured.
#[divan::bench(args = CASES)]
fn open(bencher: Bencher<'_, '_>, (profile, bytes): (Profile, usize)) {
    let (mut stream, mut opener) = stream(profile, bytes);
    bencher
        .counter(BytesCount::new(bytes))
        .with_inputs(move || {
            let mut buffer = stream.plain.clone();
            let length = stream.seal_into(&mut buffer);
            buffer.truncate(length);
            buffer
        })
        .bench_local_refs(move |buffer| opener.open_rtp(buffer).expect("authentic"));
}
