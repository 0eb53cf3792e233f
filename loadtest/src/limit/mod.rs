//! `diemcau-load limit`: what the machine can do at all.
//!
//! A thread that copies a payload, writes a header, seals it (AES-128-GCM, the contexts of the node) and sends it, and does
//! nothing else: no node can forward a packet for less. Its cost is measured as that of a node is, in CPU time per packet,
//! with receivers as a load test has them, asleep until something comes.

mod receivers;
mod send;

use std::{
    fmt::Write as _,
    net::{SocketAddrV4, UdpSocket},
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use clap::{ArgMatches, Command, FromArgMatches};
use rustix::time::{ClockId, clock_gettime};
use sfu::wire::{
    rtp::{HeaderFields, write_header},
    srtp::{Profile, RTP_OVERHEAD_MAX, Sealer, Side, contexts},
};

use self::{
    receivers::Receivers,
    send::{MESSAGES_MAX, Message, send_messages},
};
use crate::{machine, outcome::say};

/// Bytes of the largest packet that is sent, sealed.
const PACKET_BYTES_MAX: usize = 1_400;
/// Most packets of one message: what fits the 65,507 bytes of a datagram that is cut later.
const RUN_MAX: usize = 46;

/// The bare loop: copy, header, AES-128-GCM, send; nothing else. Nothing that forwards packets can cost less on this machine.
///
/// Sends from one thread to `--receivers` sockets on the loopback at a fixed pace, `--rate` packets a second to each, in runs of
/// equal packets, and prints the CPU time of that thread per packet. The receivers sleep until something comes, as those of a
/// load test do; the kernel bills a sender for the way into the receiver's socket and for waking it.
#[derive(Debug, clap::Args)]
pub(crate) struct LimitArgs {
    /// Sockets that receive.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..=500))]
    receivers: u16,
    /// Packets a second to each of them.
    #[arg(long, default_value_t = 300, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    rate: u32,
    /// Milliseconds that each way of sending is measured.
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u64).range(50..=60_000))]
    millis: u64,
    /// The table as JSON, one object per line.
    #[arg(long)]
    json: bool,
}

/// The subcommand for the argument parser.
pub(crate) fn command() -> Command {
    <LimitArgs as clap::Args>::augment_args(Command::new("limit"))
}

/// How packets are given to the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// A system call for each.
    Single,
    /// Up to 32 messages a call, each a run of so many packets for one receiver.
    Batched {
        /// Packets of a run, 1 to 46.
        run: usize,
    },
}

/// One measurement.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Case {
    pub(crate) way: Way,
    /// Bytes of a sealed packet.
    pub(crate) bytes: usize,
    pub(crate) receivers: usize,
    /// Packets a second to each receiver.
    pub(crate) rate: u32,
    /// Whether receivers take whole runs (`UDP_GRO`).
    pub(crate) joined: bool,
    pub(crate) span: Duration,
}

/// Prints the table.
pub(crate) fn run(matches: &ArgMatches) -> anyhow::Result<()> {
    let args = LimitArgs::from_arg_matches(matches).unwrap_or_else(|error| error.exit());
    if !args.json {
        say(machine::describe())?;
        say(format_args!(
            "copy, header, AES-128-GCM, send: ns of CPU per packet; {} receivers, {} packets/s to each\n",
            args.receivers, args.rate
        ))?;
        say(format_args!(
            "{:<28} {:>7} {:>10} {:>14}",
            "way", "bytes", "receivers", "with UDP_GRO"
        ))?;
    }
    for (bytes, way) in cases() {
        let measured = [false, true].map(|joined| {
            measure(&Case {
                way,
                bytes,
                receivers: usize::from(args.receivers),
                rate: args.rate,
                joined,
                span: Duration::from_millis(args.millis),
            })
        });
        let [plain, joined] = measured;
        say(row(bytes, way, plain?, joined?, args.json))?;
    }
    Ok(())
}

fn cases() -> impl Iterator<Item = (usize, Way)> {
    let runs = |bytes, runs: &'static [usize]| {
        let batched = runs.iter().map(move |&run| (bytes, Way::Batched { run }));
        std::iter::once((bytes, Way::Single)).chain(batched)
    };
    runs(1_200, &[1, 2, 3, 5, 8, 10, 20]).chain(runs(160, &[1, 2, 5]))
}

fn row(bytes: usize, way: Way, plain: f64, joined: f64, json: bool) -> String {
    let mut words = String::new();
    let (call, run) = match way {
        Way::Single => ("sendto", 1),
        Way::Batched { run } => ("sendmmsg", run),
    };
    let _ = match run {
        1 => write!(words, "{call}"),
        run => write!(words, "{call} x GSO {run}"),
    };
    if json {
        serde_json::json!({"call": call, "run": run, "bytes": bytes, "ns": plain.round(), "ns_gro": joined.round()})
            .to_string()
    } else {
        format!("{words:<28} {bytes:>7} {plain:>10.0} {joined:>14.0}")
    }
}

/// Nanoseconds of the sending thread's CPU time per packet.
pub(crate) fn measure(case: &Case) -> anyhow::Result<f64> {
    ensure!(case.bytes <= PACKET_BYTES_MAX, "a packet is at most 1,400 bytes");
    let receivers = Receivers::start(case.receivers, case.joined).context("receivers")?;
    let mut sender = BareLoop::new(case, receivers.addresses())?;
    // One round fills caches and makes the kernel's memory for the sockets.
    sender.round()?;
    let began = Instant::now();
    let (mut rounds, before) = (0_u32, thread_cpu());
    let pause = Duration::from_secs(1) * sender.run as u32 / case.rate;
    while began.elapsed() < case.span {
        sender.round()?;
        rounds += 1;
        std::thread::sleep((began + pause * rounds).saturating_duration_since(Instant::now()));
    }
    let spent = thread_cpu().saturating_sub(before);
    drop(receivers);
    let packets = f64::from(rounds) * (case.receivers * sender.run) as f64;
    Ok(spent.as_nanos() as f64 / packets)
}

fn thread_cpu() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// All that a forwarder cannot do without.
struct BareLoop {
    socket: UdpSocket,
    receivers: Vec<(SocketAddrV4, Sealer)>,
    payload: Vec<u8>,
    single: bool,
    run: usize,
    bytes: usize,
    buffer: Vec<u8>,
    sequence: u16,
}

impl BareLoop {
    fn new(case: &Case, to: &[SocketAddrV4]) -> anyhow::Result<Self> {
        let (single, run) = match case.way {
            Way::Single => (true, 1),
            Way::Batched { run } => (false, run.clamp(1, RUN_MAX)),
        };
        let sealer = |at: usize| {
            let profile = Profile::AeadAes128Gcm;
            let material: Vec<u8> = (0..profile.keying_material_len())
                .map(|byte| (byte * 7 + at) as u8)
                .collect();
            contexts(profile, &material, Side::Server).map(|(sealer, _)| sealer)
        };
        let receivers = to.iter().enumerate().map(|(at, &to)| Ok((to, sealer(at)?)));
        let socket = UdpSocket::bind("127.0.0.1:0").context("a socket")?;
        socket2::SockRef::from(&socket).set_send_buffer_size(4 << 20)?;
        Ok(Self {
            socket,
            receivers: receivers.collect::<anyhow::Result<_>>()?,
            payload: (0..PACKET_BYTES_MAX).map(|byte| byte as u8).collect(),
            single,
            run,
            bytes: case.bytes,
            buffer: vec![0; (run * case.bytes) * MESSAGES_MAX + RTP_OVERHEAD_MAX],
            sequence: 0,
        })
    }

    /// A run of packets to every receiver.
    fn round(&mut self) -> anyhow::Result<()> {
        let message_bytes = self.run * self.bytes;
        let first = self.sequence;
        for group in self.receivers.chunks_mut(MESSAGES_MAX) {
            for (at, (_, sealer)) in group.iter_mut().enumerate() {
                for of_run in 0..self.run {
                    let start = at * message_bytes + of_run * self.bytes;
                    let packet = &mut self.buffer[start..start + self.bytes];
                    write_packet(&self.payload, first.wrapping_add(of_run as u16), sealer, packet)?;
                }
            }
            let segment = if self.run > 1 { self.bytes as u16 } else { 0 };
            let messages = group.iter().zip(self.buffer.chunks(message_bytes));
            let messages: Vec<Message<'_>> = messages
                .map(|((to, _), bytes)| Message {
                    to: *to,
                    bytes,
                    segment,
                })
                .collect();
            if self.single {
                for message in &messages {
                    self.socket.send_to(message.bytes, message.to)?;
                }
            } else {
                let sent = send_messages(&self.socket, &messages)?;
                ensure!(
                    sent == messages.len(),
                    "the kernel took {sent} of {}",
                    messages.len()
                );
            }
        }
        self.sequence = first.wrapping_add(self.run as u16);
        Ok(())
    }
}

/// A packet as the node writes it: fixed header, source, transport-wide number, payload, tag.
fn write_packet(payload: &[u8], sequence: u16, sealer: &mut Sealer, out: &mut [u8]) -> anyhow::Result<()> {
    let fields = HeaderFields {
        payload_type: 96,
        sequence,
        ssrc: 1,
        ..HeaderFields::default()
    };
    let number = sequence.to_be_bytes();
    let head = write_header(&fields, Some(4), &[(3, &number)], out).context("room for a header")?;
    let plain = out.len() - RTP_OVERHEAD_MAX;
    out[head..plain].copy_from_slice(&payload[..plain - head]);
    sealer.seal_rtp(out, plain)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_way_sends_and_costs_something() {
        for way in [Way::Single, Way::Batched { run: 1 }, Way::Batched { run: 5 }] {
            for joined in [false, true] {
                let case = Case {
                    way,
                    bytes: 1_200,
                    receivers: 40,
                    rate: 500,
                    joined,
                    span: Duration::from_millis(20),
                };
                assert!(measure(&case).unwrap() > 0.0);
            }
        }
    }
}
