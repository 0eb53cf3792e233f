//! Sends of many messages, and of runs that somebody will not segment.

use std::{
    cell::Cell,
    io,
    sync::Once,
    time::{Duration, Instant},
};

use super::{Message, Sent};

/// No buffer space, on Linux.
const ENOBUFS: i32 = 105;

/// How long no run is tried after the kernel seemed to refuse them. It may have been the path of the first one, and the others' are fine.
const AGAIN_AFTER: Duration = Duration::from_secs(60);

/// How many segments one send of a socket may have.
#[derive(Debug)]
pub(super) struct Segments {
    /// Now.
    pub(super) most: Cell<usize>,
    /// While the kernel refuses nothing.
    limit: usize,
    /// When runs are tried again.
    again: Cell<Option<Instant>>,
    /// A run of some passed: whoever refuses one now is a path, such as a tunnel without checksums in its device, and not the kernel.
    passed: Cell<bool>,
}

impl Segments {
    pub(super) fn new(most: usize) -> Self {
        Self {
            most: Cell::new(most),
            limit: most,
            again: Cell::new(None),
            passed: Cell::new(false),
        }
    }

    /// A turn begins.
    pub(super) fn begin(&self, now: Instant) {
        if self.most.get() == self.limit {
            return;
        }
        match self.again.get() {
            None => self.again.set(Some(now + AGAIN_AFTER)),
            Some(at) if at <= now => self.allow(),
            Some(_) => {}
        }
    }

    fn allow(&self) {
        self.most.set(self.limit);
        self.again.set(None);
    }

    fn pass(&self, messages: &[Message]) {
        if !self.passed.get() && messages.iter().any(|message| message.count > 1) {
            self.passed.set(true);
            self.allow();
        }
    }

    /// A run was refused, and its parts passed.
    fn refuse(&self) {
        if self.passed.get() {
            say_path_unsegmented();
        } else if self.most.replace(1) > 1 {
            say_unsegmented();
        }
    }
}

/// Sends messages in their order, by what takes the first of some and says how many it took. Full for one, full for all behind it: they would find
/// the same buffer.
pub(super) fn send_by(
    mut attempt: impl FnMut(&[Message]) -> io::Result<usize>,
    segments: &Segments,
    messages: &[Message],
    mut told: impl FnMut(&Message, Sent),
) -> u64 {
    let (mut rest, mut calls) = (messages, 0);
    while let [first, behind @ ..] = rest {
        calls += 1;
        match attempt(rest) {
            Ok(count) => {
                let (sent, left) = rest.split_at(count.clamp(1, rest.len()));
                segments.pass(sent);
                sent.iter().for_each(|message| told(message, Sent::Yes));
                rest = left;
            }
            Err(error) if is_full(&error) => {
                rest.iter().for_each(|message| told(message, Sent::Full));
                return calls;
            }
            Err(error) if first.count > 1 && is_of_segments(&error) => {
                told(first, send_parts(&mut attempt, segments, first));
                calls += u64::from(first.count);
                rest = behind;
            }
            Err(_) => {
                told(first, Sent::Failed);
                rest = behind;
            }
        }
    }
    calls
}

/// A run that was refused, datagram by datagram. If that works it was refused for its segments: by the kernel, when none ever passed, and for a while later runs have one
/// datagram each; else by this path, and runs of the others go on.
fn send_parts(
    attempt: &mut impl FnMut(&[Message]) -> io::Result<usize>,
    segments: &Segments,
    run: &Message,
) -> Sent {
    let mut worst = Sent::Yes;
    for part in run.parts() {
        worst = match attempt(&[part]) {
            Ok(_) => continue,
            Err(error) if is_full(&error) => return Sent::Full,
            Err(_) => Sent::Failed,
        };
    }
    if worst == Sent::Yes {
        segments.refuse();
    }
    worst
}

/// Once in the life of a node, however many sockets it has.
pub(super) fn say_unsegmented() {
    static SAID: Once = Once::new();
    SAID.call_once(|| {
        tracing::warn!("the kernel refuses to segment what is sent (UDP_SEGMENT): packets go one by one");
    });
}

/// Of one path; not which.
fn say_path_unsegmented() {
    static SAID: Once = Once::new();
    SAID.call_once(|| {
        tracing::warn!(
            "a path refuses to segment what is sent (UDP_SEGMENT): what goes there goes packet by packet"
        );
    });
}

/// What the kernel or a device says when it cannot segment (EINVAL, EIO, EMSGSIZE, EOPNOTSUPP). No route and no permission are of the path, and pass.
fn is_of_segments(error: &io::Error) -> bool {
    [5, 22, 90, 95].map(Some).contains(&error.raw_os_error())
}

/// The kernel's buffer is full: try again later, or never.
fn is_full(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::WouldBlock || error.raw_os_error() == Some(ENOBUFS)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the kernel says when it cannot segment.
    const EIO: i32 = 5;

    #[test]
    fn a_path_that_refuses_the_first_run_takes_them_from_the_others_for_a_while_only() {
        let to = |to: &str| Message {
            to: to.parse().expect("address"),
            start: 0,
            length: 500,
            segment: 100,
            count: 5,
        };
        let (bad, good) = (to("127.0.0.1:1"), to("127.0.0.1:2"));
        let kernel = |rest: &[Message]| match (rest[0].to == bad.to, rest[0].count) {
            (true, 2..) => Err(io::Error::from_raw_os_error(EIO)),
            _ => Ok(1),
        };
        let (segments, begin) = (Segments::new(64), Instant::now());
        let mut now = begin;
        for _ in 0..2 {
            assert_eq!(send_by(kernel, &segments, &[bad], |_, _| {}), 6);
            segments.begin(now);
            segments.begin(now + AGAIN_AFTER / 2);
            assert_eq!(segments.most.get(), 1, "it may be the kernel");
            now += AGAIN_AFTER;
            segments.begin(now);
            assert_eq!(segments.most.get(), 64, "tried again");
        }
        assert_eq!(send_by(kernel, &segments, &[good, bad], |_, _| {}), 7);
        assert_eq!(segments.most.get(), 64, "it is that path");
        // Also when that comes out with the next run of the same send.
        let segments = Segments::new(64);
        send_by(kernel, &segments, &[bad, good], |_, _| {});
        assert_eq!(segments.most.get(), 64);
        // Without segmentation from the start nothing is tried.
        let segments = Segments::new(1);
        segments.begin(begin);
        segments.begin(now + AGAIN_AFTER);
        assert_eq!(segments.most.get(), 1);
    }

    #[test]
    fn a_full_buffer_costs_what_is_left_of_the_call_and_no_more() {
        let run = |count: u16| Message {
            to: "127.0.0.1:9".parse().expect("address"),
            start: 0,
            length: 100 * u32::from(count),
            segment: 100,
            count,
        };
        let messages = [run(5), run(1), run(7), run(2)];
        let again = io::ErrorKind::WouldBlock;
        for full in [io::Error::from(again), io::Error::from_raw_os_error(ENOBUFS)] {
            let (mut answers, segments) = (vec![Ok(1), Err(full)].into_iter(), Segments::new(64));
            let mut fates = Vec::new();
            let kernel = |_: &[Message]| answers.next().expect("asked no more than that");
            let calls = send_by(kernel, &segments, &messages, |message, sent| {
                fates.push((message.count, sent));
            });
            let expected = [(5, Sent::Yes), (1, Sent::Full), (7, Sent::Full), (2, Sent::Full)];
            assert_eq!((calls, &fates[..]), (2, &expected[..]));
            assert_eq!(
                segments.most.get(),
                64,
                "a full buffer says nothing of segmentation"
            );
        }
        // A run that may not pass now tells nothing of segmentation either, and is not tried in parts.
        let not_now = || Err(io::Error::from_raw_os_error(1));
        let mut answers = vec![not_now(), Ok(1)].into_iter();
        let (mut fates, segments) = (Vec::new(), Segments::new(64));
        let kernel = |_: &[Message]| answers.next().expect("asked no more than that");
        send_by(kernel, &segments, &[run(3), run(1)], |_, sent| fates.push(sent));
        assert_eq!(
            (&fates[..], segments.most.get()),
            (&[Sent::Failed, Sent::Yes][..], 64)
        );
        // Full amid the parts of a run that is not segmented: the next message finds out for itself.
        let eio = || Err(io::Error::from_raw_os_error(EIO));
        let mut answers = vec![eio(), Ok(1), Err(again.into()), Ok(1)].into_iter();
        let (mut fates, segments) = (Vec::new(), Segments::new(64));
        let kernel = |_: &[Message]| answers.next().expect("asked no more than that");
        send_by(kernel, &segments, &[run(3), run(1)], |_, sent| fates.push(sent));
        assert_eq!(fates, [Sent::Full, Sent::Yes]);
    }
}
