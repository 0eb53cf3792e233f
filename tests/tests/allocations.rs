//! A forwarded packet allocates nothing.
#![allow(unsafe_code, reason = "an allocator that counts has to be one")]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
    time::Duration,
};

use sfu::engine::packet::Forward;
use testkit::{link::Link, peer::Script, world::World};

/// The system's, which counts what each thread asks of it.
struct Counting;

thread_local! {
    static COUNT: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: all work is the system's.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        COUNT.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's promise.
        unsafe { System.realloc(at, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// How often memory was asked for.
fn allocations(work: impl FnOnce()) -> u64 {
    let before = COUNT.with(Cell::get);
    work();
    COUNT.with(Cell::get) - before
}

const RECEIVERS: usize = 20;

#[test]
fn packets_are_forwarded_without_an_allocation() {
    let mut world = World::new(1);
    let nobody = Script {
        camera: false,
        mic: false,
        video_slots: 1,
        ..Script::default()
    };
    let sender = world.join(Script::default(), Link::good(), Link::good());
    for _ in 0..RECEIVERS {
        let receiver = world.join(nobody, Link::good(), Link::good());
        world.view(receiver, &[(0, sender, 720)]);
    }
    // Long enough for rings and histories to have grown to what the meeting takes.
    world.run_for(Duration::from_secs(20));
    let endpoint = world.peers[sender].endpoint;
    let mut forwards: Vec<Forward> = Vec::with_capacity(4_096);
    let mut buffer = vec![0; 2_048];
    let (mut sent, mut counted) = (0, 0);
    for _ in 0..40 {
        world.run_for(Duration::from_millis(250));
        let frame = world.peers[sender].camera_frame(world.now);
        let packets: Vec<Vec<u8>> = frame
            .iter()
            .map(|(_, packet)| world.peers[sender].write(world.now, packet))
            .collect();
        forwards.clear();
        // What the time brings is no packet's: plans allocate.
        world.room.handle_timeout(world.now);
        // Lists and rings double now and then until they are as long as the meeting takes; nothing else is allocated.
        let used = allocations(|| {
            for packet in &packets {
                world.room.handle_rtp(world.now, endpoint, packet);
            }
            while world.room.poll_forwards(usize::MAX, &mut forwards) {}
            for forward in &forwards {
                let payload = forward
                    .payload
                    .and_then(|at| world.room.payload(at))
                    .unwrap_or_default();
                sent += u64::from(
                    forward
                        .write(payload, |at| world.room.payload(at), &mut buffer)
                        .is_some(),
                );
            }
        });
        counted += used;
        while world.room.poll_output().is_some() {}
    }
    assert!(sent > 1_000, "{sent} packets were forwarded");
    assert!(counted * 100 <= sent, "{counted} allocations for {sent} packets");
    println!("{counted} allocations for {sent} packets");
}
