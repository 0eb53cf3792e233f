//! Many messages in one system call, each of one or more datagrams of equal size (`sendmmsg` with `UDP_SEGMENT`).
//!
//! The only unsafe code of the bare loop: the kernel is given addresses of what the caller lends for the call.

use std::{
    io, mem,
    net::{SocketAddrV4, UdpSocket},
    os::fd::AsRawFd as _,
};

/// Most messages of one call.
pub(super) const MESSAGES_MAX: usize = 32;

/// Bytes of the control message that names the size of a segment: its head and two bytes, in whole words.
const CONTROL_BYTES: usize = 24;

/// One message: one datagram, or a run of them to the same place.
#[derive(Debug, Clone, Copy)]
pub(super) struct Message<'b> {
    pub(super) to: SocketAddrV4,
    pub(super) bytes: &'b [u8],
    /// Bytes of each datagram of the run, the last may be shorter; 0: one datagram.
    pub(super) segment: u16,
}

/// A control message in memory that is aligned as its head needs.
#[repr(C, align(8))]
#[derive(Clone, Copy)]
struct Control([u8; CONTROL_BYTES]);

impl Control {
    /// `UDP_SEGMENT` with its size, as `udp(7)` says.
    fn segment(size: u16) -> Self {
        let head_len = size_of::<libc::cmsghdr>();
        let mut bytes = [0; CONTROL_BYTES];
        let length = head_len + size_of::<u16>();
        bytes[..8].copy_from_slice(&(length as u64).to_ne_bytes());
        bytes[8..12].copy_from_slice(&libc::SOL_UDP.to_ne_bytes());
        bytes[12..16].copy_from_slice(&libc::UDP_SEGMENT.to_ne_bytes());
        bytes[head_len..length].copy_from_slice(&size.to_ne_bytes());
        Self(bytes)
    }
}

/// Gives the kernel up to [`MESSAGES_MAX`] messages. How many it took, from the first on.
#[allow(
    unsafe_code,
    reason = "sendmmsg with a segment size is in no safe crate of this tree"
)]
pub(super) fn send_messages(socket: &UdpSocket, messages: &[Message<'_>]) -> io::Result<usize> {
    let count = messages.len().min(MESSAGES_MAX);
    // SAFETY: these are plain structures of integers and pointers, for which zeros are a value.
    let (mut heads, mut places, mut vectors) = unsafe {
        (
            mem::zeroed::<[libc::mmsghdr; MESSAGES_MAX]>(),
            mem::zeroed::<[libc::sockaddr_in; MESSAGES_MAX]>(),
            mem::zeroed::<[libc::iovec; MESSAGES_MAX]>(),
        )
    };
    let mut controls = [Control([0; CONTROL_BYTES]); MESSAGES_MAX];
    for (at, message) in messages[..count].iter().enumerate() {
        places[at].sin_family = libc::AF_INET as libc::sa_family_t;
        places[at].sin_port = message.to.port().to_be();
        places[at].sin_addr.s_addr = u32::from_ne_bytes(message.to.ip().octets());
        vectors[at].iov_base = message.bytes.as_ptr().cast_mut().cast();
        vectors[at].iov_len = message.bytes.len();
        let head = &mut heads[at].msg_hdr;
        head.msg_name = (&raw mut places[at]).cast();
        head.msg_namelen = size_of::<libc::sockaddr_in>() as libc::socklen_t;
        head.msg_iov = &raw mut vectors[at];
        head.msg_iovlen = 1;
        if message.segment != 0 {
            controls[at] = Control::segment(message.segment);
            head.msg_control = controls[at].0.as_mut_ptr().cast();
            head.msg_controllen = CONTROL_BYTES;
        }
    }
    // SAFETY: the descriptor is open while `socket` is borrowed. Every pointer in the `count` heads leads to an array of this
    // frame or to bytes borrowed from the caller, all of which outlive the call; sendmmsg reads them, and writes no more than
    // `msg_len` of each head.
    let sent = unsafe { libc::sendmmsg(socket.as_raw_fd(), heads.as_mut_ptr(), count as u32, 0) };
    usize::try_from(sent).map_err(|_| io::Error::last_os_error())
}

#[cfg(test)]
mod tests {
    use std::{net::SocketAddr, time::Duration};

    use super::*;

    #[test]
    fn runs_arrive_as_their_datagrams_and_single_ones_whole() {
        let (sender, receiver) = (
            UdpSocket::bind("127.0.0.1:0").unwrap(),
            UdpSocket::bind("127.0.0.1:0").unwrap(),
        );
        receiver.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let SocketAddr::V4(to) = receiver.local_addr().unwrap() else {
            panic!("an IPv4 address")
        };
        let bytes: Vec<u8> = (0..=250).collect();
        let messages = [(100, 251), (0, 7)].map(|(segment, length)| Message {
            to,
            bytes: &bytes[..length],
            segment,
        });
        assert_eq!(send_messages(&sender, &messages).unwrap(), 2);
        let mut buffer = [0; 300];
        let lengths = [100, 100, 51, 7].map(|_| receiver.recv(&mut buffer).unwrap());
        assert_eq!(lengths, [100, 100, 51, 7]);
        assert_eq!(buffer[..7], bytes[..7]);
    }
}
