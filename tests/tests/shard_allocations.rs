//! What a shard asks the allocator for: of a packet that it opens, forwards, writes, seals and sends, nothing.
#![cfg(target_os = "linux")]
#![allow(unsafe_code, reason = "an allocator that counts has to be one")]

#[path = "../../sfu/tests/node/client.rs"]
#[allow(dead_code, reason = "the tests of the node use more of it")]
mod client;
#[path = "../benches/shard/fan.rs"]
mod fan;

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
    fs,
    sync::atomic::{AtomicU64, AtomicUsize, Ordering},
};

use fan::{Fan, Mix};

/// The system's, which counts what each thread asks of it.
struct Counting;

/// Threads that are counted; this test has some ten.
const THREADS_MAX: usize = 64;

/// What each thread asked for, in the order in which threads asked first, and which thread that is.
static COUNTS: [AtomicU64; THREADS_MAX] = [const { AtomicU64::new(0) }; THREADS_MAX];
static IDS: [AtomicU64; THREADS_MAX] = [const { AtomicU64::new(0) }; THREADS_MAX];
static THREADS: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    static PLACE: Cell<Option<usize>> = const { Cell::new(None) };
}

fn count() {
    // A thread that ends asks for nothing that matters here.
    let _ = PLACE.try_with(|place| {
        let at = place.get().unwrap_or_else(|| {
            let at = THREADS.fetch_add(1, Ordering::Relaxed);
            place.set(Some(at));
            if let Some(id) = IDS.get(at) {
                id.store(thread_id(), Ordering::Relaxed);
            }
            at
        });
        if let Some(count) = COUNTS.get(at) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    });
}

/// As the system calls it.
fn thread_id() -> u64 {
    // SAFETY: it has no arguments and cannot fail.
    u64::try_from(unsafe { libc::gettid() }).unwrap_or(0)
}

// SAFETY: all work is the system's.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: the caller's promise.
        unsafe { System.realloc(at, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// What the shard's thread asked for so far.
fn asked_by_shard() -> u64 {
    let threads = fs::read_dir("/proc/self/task").expect("Linux");
    let shard = threads.flatten().find_map(|thread| {
        let name = fs::read_to_string(thread.path().join("comm")).ok()?;
        let id: u64 = thread.file_name().to_str()?.parse().ok()?;
        (name.trim() == "shard-0").then_some(id)
    });
    let shard = shard.expect("a shard has a thread of its own");
    let place = IDS.iter().position(|id| id.load(Ordering::Relaxed) == shard);
    COUNTS[place.expect("it asked once")].load(Ordering::Relaxed)
}

/// Packets that left, and what the shard asked the allocator for meanwhile.
async fn measure(fan: &mut Fan, mix: Mix) -> (u64, u64) {
    let look = async |fan: &Fan| (fan.sent().await["out_video"], asked_by_shard());
    let before = look(fan).await;
    fan.play(mix).await;
    let after = look(fan).await;
    (after.0 - before.0, after.1 - before.1)
}

const RECEIVERS: u32 = 20;

/// Time brings reports, plans and figures, and those allocate: so what six times as many packets take more in the same time is the packets'.
#[tokio::test]
async fn a_shard_forwards_packets_without_an_allocation() {
    let mut fan = Fan::open(RECEIVERS).await;
    assert!(
        asked_by_shard() > 1_000,
        "handshakes ask for memory: it is counted"
    );
    let mix = |frames| Mix {
        frames,
        packets: 5,
        seconds: 3,
    };
    // Rings and histories grow to what the meeting takes.
    measure(&mut fan, mix(60)).await;
    let (few, asked_for_few) = measure(&mut fan, mix(10)).await;
    let (many, asked_for_many) = measure(&mut fan, mix(60)).await;
    fan.close().await;
    println!("{asked_for_few} allocations for {few} packets, {asked_for_many} for {many}");
    let sent = u64::from(RECEIVERS * 60 * 5 * 3);
    assert!(many >= sent * 9 / 10, "{many} of {sent} packets were forwarded");
    let more = asked_for_many.saturating_sub(asked_for_few);
    assert!(
        more * 50 <= many - few,
        "{more} allocations for {} packets",
        many - few
    );
}
