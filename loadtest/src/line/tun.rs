//! TUN ends: two devices of the kernel, whole IP packets between them.
//!
//! The only unsafe code of the load tester: an opened `/dev/net/tun` gets its name, and is given to the runtime to wait for.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read as _, Write as _},
    os::{fd::AsRawFd as _, unix::fs::OpenOptionsExt as _},
    time::Instant,
};

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use serde_json::json;
use tokio::io::unix::AsyncFd;

use super::{
    ends::{Arrival, BATCH, Ends},
    setting::Direction,
    state::Transmit,
};

/// Longest IP packet.
const PACKET_MAX: usize = 65_536;

/// The ends.
#[derive(Debug)]
pub(crate) struct Tun {
    up: Device,
    down: Device,
    buffer: Vec<u8>,
    refused: u64,
}

#[derive(Debug)]
struct Device {
    name: String,
    file: AsyncFd<File>,
}

impl Tun {
    /// Makes both devices; they are gone with this program. They may be moved to other network namespaces, where they get addresses. Needs a
    /// runtime and CAP_NET_ADMIN.
    pub(crate) fn open(up: &str, down: &str) -> anyhow::Result<Self> {
        let open = |name| Device::open(name).with_context(|| format!("cannot make the TUN device {name}"));
        Ok(Self {
            up: open(up)?,
            down: open(down)?,
            buffer: vec![0; PACKET_MAX],
            refused: 0,
        })
    }
}

impl Ends for Tun {
    type Flow = ();

    async fn receive(&mut self, arrivals: &mut Vec<Arrival<()>>) -> anyhow::Result<()> {
        let (direction, device) = tokio::select! {
            ready = self.up.file.readable() => {
                ready.context(self.up.name.clone())?.retain_ready();
                (Direction::Up, &self.up)
            }
            ready = self.down.file.readable() => {
                ready.context(self.down.name.clone())?.retain_ready();
                (Direction::Down, &self.down)
            }
        };
        device.take(direction, &mut self.buffer, arrivals)
    }

    fn send(&mut self, packet: Transmit<()>) {
        let device = match packet.direction {
            Direction::Up => &self.down,
            Direction::Down => &self.up,
        };
        // A device that is down, or has no room.
        if device.file.get_ref().write(&packet.bytes).is_err() {
            self.refused += 1;
        }
    }

    fn tidy(&mut self, _: Instant) {}

    fn describe(&self) -> serde_json::Value {
        json!({ "tun": [self.up.name, self.down.name] })
    }

    fn flows(&self) -> usize {
        1
    }

    fn take_refused(&mut self) -> u64 {
        std::mem::take(&mut self.refused)
    }
}

impl Device {
    fn open(name: &str) -> anyhow::Result<Self> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC)
            .open("/dev/net/tun")
            .context("/dev/net/tun")?;
        name_device(&file, name)?;
        Ok(Self {
            name: name.to_owned(),
            file: watch(file)?,
        })
    }

    /// Takes what the kernel has to send, at most a batch.
    fn take(
        &self,
        direction: Direction,
        buffer: &mut [u8],
        arrivals: &mut Vec<Arrival<()>>,
    ) -> anyhow::Result<()> {
        while arrivals.len() < BATCH {
            let read = self
                .file
                .try_io(tokio::io::Interest::READABLE, |mut file| file.read(buffer));
            match read {
                Ok(length) => arrivals.push(Arrival {
                    direction,
                    flow: (),
                    bytes: Bytes::copy_from_slice(&buffer[..length]),
                    wire_bytes: length,
                }),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error).context(self.name.clone()),
            }
        }
        Ok(())
    }
}

/// Makes the file a TUN device of that name, without a head before each packet.
#[allow(
    unsafe_code,
    reason = "the kernel's interface for it is an ioctl, which no safe crate of this tree has"
)]
fn name_device(file: &File, name: &str) -> anyhow::Result<()> {
    ensure!(
        (1..libc::IFNAMSIZ).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_alphanumeric()),
        "a name has 1 to 15 letters and digits"
    );
    let mut ifr_name = [0; libc::IFNAMSIZ];
    for (to, from) in ifr_name.iter_mut().zip(name.bytes()) {
        *to = from as libc::c_char;
    }
    let flags = (libc::IFF_TUN | libc::IFF_NO_PI) as libc::c_short;
    let request = libc::ifreq {
        ifr_name,
        ifr_ifru: libc::__c_anonymous_ifr_ifru { ifru_flags: flags },
    };
    // SAFETY: the descriptor is open while `file` is borrowed; TUNSETIFF reads one `ifreq`, which lives until the call returns and whose name
    // ends with a zero, and writes nothing beyond it. See tuntap.rst of the kernel.
    let done = unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF, &raw const request) };
    if done < 0 {
        return Err(io::Error::last_os_error()).context("TUNSETIFF");
    }
    Ok(())
}

/// The file for the runtime to wait for.
#[allow(unsafe_code, reason = "the runtime asks for a promise about the descriptor")]
fn watch(file: File) -> anyhow::Result<AsyncFd<File>> {
    // SAFETY: a `File` owns one open descriptor, the same for its whole life, and nobody takes it out of the `AsyncFd`.
    let watched = unsafe { AsyncFd::register(file) };
    Ok(watched?)
}
