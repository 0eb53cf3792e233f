//! The arguments of the subcommands that play points.

use std::path::PathBuf;

use anyhow::ensure;
use clap::ValueEnum;

use crate::{
    address::Address,
    lean::{BYTES_MIN, PatternPlan, Sizes},
};

/// Whom to play against, whom to watch, how to tell.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Target {
    /// The server's page, `http://` or `https://`: `http` of `diemcau serve --ready-json`.
    #[arg(long, default_value = "http://127.0.0.1:8080")]
    pub(crate) url: Address,
    /// A file of certificates in PEM whose owners may vouch for an https server, beside the authorities of this system (or of
    /// SSL_CERT_FILE): such as `tls/ca.crt` in the server's data, which `diemcau cert init` makes.
    #[arg(long, value_name = "FILE")]
    pub(crate) ca: Option<PathBuf>,
    /// A token that opens the room for any number of points, `token` of `diemcau serve --ready-json`.
    #[arg(
        long,
        env = "DIEMCAU_TOKEN",
        hide_env_values = true,
        required_unless_present = "sites"
    )]
    pub(crate) token: Option<String>,
    /// A file of the server's sites: points sit where its column `points` says, and join with the tokens of their sites. What their lines
    /// carry is the server's to know.
    #[arg(long, value_name = "FILE", requires = "token_command")]
    pub(crate) sites: Option<String>,
    /// What prints the token of a site: it is run with `--site` and the site's id behind it. Such as `diemcau token --data data --room demo`.
    #[arg(long, value_name = "WORDS")]
    pub(crate) token_command: Option<String>,
    /// Writes the result to a file, one JSON object per step; `-`: to standard output, the table goes to standard error.
    #[arg(long, value_name = "FILE|-")]
    pub(crate) json: Option<String>,
    /// Processes of the server on this machine, whose CPU time and memory are told: `node_pid`, and that of `serve`.
    #[arg(long, value_name = "PID", value_delimiter = ',')]
    pub(crate) pid: Vec<u32>,
    /// The server's private listener, `metrics` of `diemcau serve --ready-json`: tells how many packets a system call sent.
    #[arg(long, value_name = "URL", value_parser = plain)]
    pub(crate) metrics: Option<Address>,
    /// Limits that a result must keep, a TOML file: `key = most`, and `key = least` in a table `[least]`; keys are those of --json.
    #[arg(long, value_name = "FILE")]
    pub(crate) slo: Option<String>,
    /// Seed of all that is random in a point: stream numbers and clock phases.
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// Logs to standard error; twice: in detail.
    #[arg(long, short, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
}

/// Which points.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum StackKind {
    /// Crate `webrtc`, an independent full stack: tens of points, everything checked.
    Full,
    /// One thread for all points, real ICE, DTLS and SRTP, packets counted by their headers: hundreds of points.
    Lean,
}

/// Points in a room that behave as pages do.
///
/// Every point sends a camera (VP8 in simulcast; at the default 15 pictures/s: 180p 100 kbit/s, 360p 350, 720p 900) and a microphone
/// (Opus 24 kbit/s), and receives voices and `--slots` pictures. With the defaults a point sends about 200 and receives about 400
/// packets a second; 20 full points fit beside the server on two cores, and hundreds of lean ones.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct RoomArgs {
    #[command(flatten)]
    pub(crate) target: Target,
    /// How many points join.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) points: u32,
    /// How long they stay after the last has joined.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub(crate) seconds: u64,
    /// Which points.
    #[arg(long, value_enum, default_value_t = StackKind::Full)]
    pub(crate) stack: StackKind,
    /// Lean points that check everything that comes, as full ones do.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) verify: u32,
    /// Lean points that send; the others only look and listen. Default: all, as full ones do.
    #[arg(long, value_name = "N")]
    pub(crate) senders: Option<u32>,
    /// Layers each camera sends, from 180p up.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=3))]
    pub(crate) layers: u8,
    /// Lean points send all layers, whether anybody looks or not; full ones always do.
    #[arg(long)]
    pub(crate) all_layers: bool,
    /// Pictures a second of lean points; at 25 the 720p layer has 1.5 Mbit/s.
    #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u32).range(5..=60))]
    pub(crate) fps: u32,
    /// Pictures each point sees: the first large, the others as thumbnails.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u8).range(0..=18))]
    pub(crate) slots: u8,
    /// Voices that a lean point hears; a full one hears 6.
    #[arg(long, default_value_t = 6, value_parser = clap::value_parser!(u8).range(0..=6))]
    pub(crate) voices: u8,
    /// Height in pixels at which the first picture is wanted.
    #[arg(long, default_value_t = 360, value_parser = clap::value_parser!(u16).range(1..=2160))]
    pub(crate) stage_height: u16,
    /// Height in pixels at which the other pictures are wanted.
    #[arg(long, default_value_t = 180, value_parser = clap::value_parser!(u16).range(1..=2160))]
    pub(crate) thumb_height: u16,
    /// Points that speak at once; the word goes round.
    #[arg(long, default_value_t = 2)]
    pub(crate) speakers: u32,
    /// Seconds until the next points speak and everybody looks at somebody else.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub(crate) turn: u64,
    /// Milliseconds between two joins.
    #[arg(long, default_value_t = 100)]
    pub(crate) join_pause: u64,
}

/// All points join at once, or within a time: joins, first pictures, and what those feel who are there already.
///
/// Takes the arguments of `room`; by default 239 lean points, 11 thumbnails and a stage.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct StormArgs {
    #[command(flatten)]
    pub(crate) room: RoomArgs,
    /// Milliseconds within which they join.
    #[arg(long, value_name = "MS", default_value_t = 1_000, value_parser = clap::value_parser!(u64).range(0..=600_000))]
    pub(crate) within: u64,
    /// Points of these that are there before, for whom the storm may not be felt.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) standing: u32,
}

/// Points come and go all the time.
///
/// Takes the arguments of `room`; lean points by default.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct ChurnArgs {
    #[command(flatten)]
    pub(crate) room: RoomArgs,
    /// Seconds that a point stays on average, from half to one and a half times as long; then another takes its place.
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub(crate) stay: u64,
}

/// What packets are sent.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct PacketArgs {
    /// Packets of a frame.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=60))]
    pub(crate) frame: u32,
    /// The packets of a frame leave one by one over its time, not all at once.
    #[arg(long)]
    pub(crate) even: bool,
    /// Sound instead of pictures, every packet alone.
    #[arg(long)]
    pub(crate) sound: bool,
    /// Bytes of a packet as it is forwarded, with its tag; of the longest where they differ.
    #[arg(long, default_value_t = 1_200, value_parser = clap::value_parser!(u16).range(BYTES_MIN as i64..=1_200))]
    pub(crate) bytes: u16,
    /// Whether the packets of a frame are equally long.
    #[arg(long, value_enum, default_value_t = Sizes::Equal)]
    pub(crate) sizes: Sizes,
    /// Receivers take packets one by one, not in the runs that the kernel joins (`UDP_GRO`).
    #[arg(long)]
    pub(crate) single: bool,
}

impl PacketArgs {
    /// The same with so many packets a second of each sender.
    pub(crate) fn plan(&self, rate: u32) -> PatternPlan {
        PatternPlan {
            sound: self.sound,
            rate,
            frame: if self.sound { 1 } else { self.frame },
            even: self.even || self.sound,
            bytes: usize::from(self.bytes),
            sizes: self.sizes,
        }
    }
}

/// Packets of one size at one rate from few points to many: what forwarding costs.
///
/// Lean points. Each sender has one layer of packets without pictures; everybody else sees all of the senders (with --sound: hears
/// the loudest). One step, and one line, for each rate.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct FanArgs {
    #[command(flatten)]
    pub(crate) target: Target,
    /// Points that send, and see each other.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=18))]
    pub(crate) senders: u32,
    /// Points that only receive.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(0..=1000))]
    pub(crate) receivers: u32,
    /// Packets a second of each sender; several: one step each.
    #[arg(long, value_delimiter = ',', default_values_t = [300], value_parser = clap::value_parser!(u32).range(1..=5000))]
    pub(crate) rate: Vec<u32>,
    #[command(flatten)]
    pub(crate) packets: PacketArgs,
    /// How long each step takes after the last has joined.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub(crate) seconds: u64,
    /// Most seconds before a step is measured: estimates grow, slots fill. It begins when all that is asked for has come for four.
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u64).range(0..=600))]
    pub(crate) warm: u64,
    /// Milliseconds between two joins.
    #[arg(long, default_value_t = 20)]
    pub(crate) join_pause: u64,
}

/// An address, read now, so that a bad one is known before anything is played.
fn endpoint(url: &str) -> anyhow::Result<String> {
    url.replace("{n}", "1").parse::<Address>()?;
    Ok(url.to_owned())
}

/// The address of a private listener: those have no certificate.
fn plain(url: &str) -> anyhow::Result<Address> {
    let address: Address = url.parse()?;
    ensure!(!address.is_secure, "the private listener speaks plain http://");
    Ok(address)
}

/// What stands for a number in an endpoint, as it is written in a help: clap takes the three characters for the end of a line unless
/// something stands between them, here a change to the style that is there already (ECMA-48, SGR 0), which nobody sees.
const NUMBER: &str = "{\u{1b}[0mn}";

fn help_of_whip() -> String {
    format!("The endpoint, `http://` or `https://`; `{NUMBER}` in it is the number of the stream, from 1")
}

fn help_of_whep() -> String {
    format!(
        "The endpoint, `http://` or `https://`; `{NUMBER}` in it is the number of a stream: player r takes stream r modulo --streams"
    )
}

/// Streams that come in by WHIP (RFC 9725), to any server that takes VP8 or Opus with AES-GCM.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct WhipArgs {
    #[arg(long, value_name = "URL", value_parser = endpoint, help = help_of_whip())]
    pub(crate) endpoint: String,
    /// Streams that are sent.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=500))]
    pub(crate) streams: u32,
    /// Seconds at 120 kb/s, before the rate grows: time for players to come.
    #[arg(long, value_name = "SECONDS", default_value_t = 0, value_parser = clap::value_parser!(u64).range(0..=600))]
    pub(crate) hold: u64,
    #[command(flatten)]
    pub(crate) session: SessionArgs,
}

/// Players that take streams out by WHEP, of any server: P streams, each to its part of S players.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct WhepArgs {
    #[arg(long, value_name = "URL", value_parser = endpoint, help = help_of_whep())]
    pub(crate) endpoint: String,
    /// Streams that there are.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=500))]
    pub(crate) streams: u32,
    /// Players.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) players: u32,
    #[command(flatten)]
    pub(crate) session: SessionArgs,
}

/// What WHIP and WHEP have in common. The latency of a player is right for streams of this program, on this machine.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct SessionArgs {
    #[command(flatten)]
    pub(crate) target: Target,
    /// Packets a second of a stream.
    #[arg(long, default_value_t = 300, value_parser = clap::value_parser!(u32).range(1..=5000))]
    pub(crate) rate: u32,
    #[command(flatten)]
    pub(crate) packets: PacketArgs,
    /// How long they stay after the last has come in.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub(crate) seconds: u64,
    /// Seconds before anything is measured.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(0..=600))]
    pub(crate) warm: u64,
    /// Milliseconds between two requests.
    #[arg(long, default_value_t = 20)]
    pub(crate) join_pause: u64,
}

#[cfg(test)]
mod tests {
    use clap::{Args as _, Command};

    use super::*;

    #[test]
    fn the_help_of_an_endpoint_shows_what_stands_for_the_number() {
        let whip = WhipArgs::augment_args(Command::new("whip"));
        let whep = WhepArgs::augment_args(Command::new("whep"));
        for mut command in [whip, whep] {
            for help in [command.render_help(), command.render_long_help()] {
                assert!(help.to_string().contains("`{n}` in it"), "{help}");
            }
        }
    }
}
