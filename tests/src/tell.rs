//! The figures of everybody, now and then, for whoever wants to see why a meeting went as it went.

use std::{fmt::Write, time::Duration};

use crate::{scenario::rate, world::World};

/// One line for each point on standard error.
pub(crate) fn tell(world: &mut World) {
    let passed = world.now.saturating_duration_since(world.began).as_secs_f64();
    let seed = world.seed;
    let mut out = String::new();
    for (peer, point) in world.room.report(world.now).iter().enumerate() {
        let kbps = |rate: sfu::engine::units::Bitrate| rate.as_bps() / 1_000;
        let _ = write!(
            out,
            "{seed} {passed:7.2} s {:3}: estimate {:5} given {:5} wanted {:5}",
            point.number.get(),
            point.estimate.map_or(0, kbps),
            kbps(point.allocated),
            kbps(point.wanted),
        );
        let took = world.peers.get(peer).map(|_| took_by(world, peer));
        let _ = write!(out, " took {:5}", took.unwrap_or_default());
        let wait = world.peers.get(peer).map(|_| wait_of(world, peer));
        let _ = write!(out, " wait {:4} ms ", wait.unwrap_or_default().as_millis());
        let graded = world.grades.iter().rfind(|grades| grades.peer == peer);
        let cause = |slot: &str| {
            let slots = graded.iter().flat_map(|grades| &grades.slots);
            let mut those = slots.filter(|grade| grade.slot.to_string() == slot);
            those.next()?.shortfall.map(|shortfall| shortfall.cause)
        };
        for slot in &point.slots {
            let height = slot.height.map_or("-".to_owned(), |height| height.to_string());
            let cause = cause(&slot.slot.to_string()).map_or(String::new(), |cause| format!(" {cause:?}"));
            let _ = write!(out, " {} {height}/{}{cause}", slot.slot, slot.rate_percent);
        }
        let ordered = world.orders.iter().rfind(|orders| orders.peer == peer);
        for source in ordered.iter().flat_map(|orders| &orders.sources) {
            let layers = source.layers.iter().map(|layer| match layer.active {
                true => format!("{}@{}", kbps(layer.bitrate_max), layer.fps_max),
                false => "-".to_owned(),
            });
            let _ = write!(out, " sends {}", layers.collect::<Vec<_>>().join(" "));
        }
        out.push('\n');
    }
    eprint!("{out}");
}

/// What arrived at the way down to a point in the last second, kb/s.
fn took_by(world: &World, peer: usize) -> u64 {
    let passed = world.now.saturating_duration_since(world.began);
    let from = world.now - Duration::from_secs(1).min(passed);
    (rate(world.down_record(peer), from, world.now) / 1e3) as u64
}

/// The longest wait of the last second on the way down to a point, its shared line included.
fn wait_of(world: &World, peer: usize) -> Duration {
    let passed = world.now.saturating_duration_since(world.began);
    let from = world.now - Duration::from_secs(1).min(passed);
    let line = world.paths[peer].behind.and_then(|line| world.lines.get(line));
    let own = world.down_record(peer).max_between(from, world.now);
    line.map_or(own, |line| own.max(line.down.record.max_between(from, world.now)))
}
