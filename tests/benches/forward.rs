//! What a forwarded packet costs, without sockets. Benchmarks report; a person judges.

use divan::{Bencher, counter::ItemsCount};
use sfu::engine::packet::Forward;
use testkit::{link::Link, peer::Script, world::World};

fn main() {
    divan::main();
}

/// One frame of a camera (three layers) through a room with that many receivers of its lowest layer: numbers, time, headers, payload copies.
#[divan::bench(args = [1, 10, 100])]
fn fan_out(bencher: Bencher<'_, '_>, receivers: usize) {
    let mut world = World::new(1);
    let sender = world.join(
        Script {
            video_slots: 0,
            ..Script::default()
        },
        Link::good(),
        Link::good(),
    );
    for _ in 0..receivers {
        let receiver = world.join(
            Script {
                camera: false,
                mic: false,
                video_slots: 1,
                ..Script::default()
            },
            Link::good(),
            Link::good(),
        );
        world.view(receiver, &[(0, sender, 180)]);
    }
    world.run_for(std::time::Duration::from_secs(2));
    let endpoint = world.peers[sender].endpoint;
    let mut forwards: Vec<Forward> = Vec::new();
    let mut buffer = vec![0; 1_500];
    bencher.counter(ItemsCount::new(receivers)).bench_local(move || {
        world.now += std::time::Duration::from_micros(66_667);
        let frame = world.peers[sender].camera_frame(world.now);
        let packets: Vec<Vec<u8>> = frame
            .iter()
            .map(|(_, packet)| world.peers[sender].write(world.now, packet))
            .collect();
        for packet in &packets {
            world.room.handle_rtp(world.now, endpoint, packet);
        }
        while world.room.poll_forwards(usize::MAX, &mut forwards) {}
        let mut bytes = 0;
        for forward in forwards.drain(..) {
            let payload = forward
                .payload
                .and_then(|at| world.room.payload(at))
                .unwrap_or_default();
            bytes += forward
                .write(payload, |at| world.room.payload(at), &mut buffer)
                .unwrap_or(0);
        }
        while world.room.poll_output().is_some() {}
        bytes
    });
}

/// What a turn of the loop asks of a room of that many who sit there idle: when it wants to be woken, and what is due.
#[divan::bench(args = [20, 239])]
fn idle_turn(bencher: Bencher<'_, '_>, points: usize) {
    let mut world = World::new(1);
    for _ in 0..points {
        let script = Script {
            camera: false,
            mic: false,
            video_slots: 1,
            ..Script::default()
        };
        world.join(script, Link::good(), Link::good());
    }
    world.run_for(std::time::Duration::from_secs(2));
    bencher.bench_local(move || {
        world.now += std::time::Duration::from_micros(1);
        world.room.handle_timeout(world.now);
        world.room.poll_timeout()
    });
}
