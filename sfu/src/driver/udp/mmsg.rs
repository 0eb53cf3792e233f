//! `sendmmsg` with a segment size for each message (`UDP_SEGMENT`), and what the kernel tells beside a datagram: the only unsafe code of the node.
//!
//! Every pointer in the headers points into arrays of this function or into the caller's slices, and all of them outlive the
//! call; the kernel only reads.

#![allow(
    unsafe_code,
    reason = "no safe library sends several messages with a segment size each"
)]

use std::{
    io, mem,
    net::SocketAddr,
    os::fd::{AsRawFd as _, BorrowedFd},
    ptr,
};

/// Messages of one call: as many as an arena has.
pub(super) const MESSAGES_MAX: usize = 16;

/// One message: a datagram, or a run of them.
pub(super) struct Item<'a> {
    /// Where to.
    pub(super) to: SocketAddr,
    /// All of it.
    pub(super) contents: &'a [u8],
    /// Bytes of each datagram but the last; none: it is one datagram.
    pub(super) segment: Option<u16>,
}

/// Room for the one control message, aligned as its header.
#[repr(C, align(8))]
#[derive(Clone, Copy)]
struct Control([u8; CONTROL_BYTES]);

#[expect(clippy::cast_possible_truncation, reason = "two bytes")]
const SEGMENT_BYTES: libc::c_uint = size_of::<u16>() as libc::c_uint;
#[expect(clippy::cast_possible_truncation, reason = "four bytes")]
const INT_BYTES: libc::socklen_t = size_of::<libc::c_int>() as libc::socklen_t;
// SAFETY: arithmetic on its argument.
const CONTROL_BYTES: usize = unsafe { libc::CMSG_SPACE(SEGMENT_BYTES) } as usize;

/// Sends the first [`MESSAGES_MAX`] of the messages, in their order: how many the kernel took, at least one.
///
/// # Errors
/// It refused the first.
pub(super) fn send<'a>(socket: BorrowedFd<'_>, items: impl Iterator<Item = Item<'a>>) -> io::Result<usize> {
    // SAFETY: all zeros are an address of no family.
    let mut places: [libc::sockaddr_in6; MESSAGES_MAX] = unsafe { mem::zeroed() };
    let mut pieces = [libc::iovec {
        iov_base: ptr::null_mut(),
        iov_len: 0,
    }; MESSAGES_MAX];
    let mut controls = [Control([0; CONTROL_BYTES]); MESSAGES_MAX];
    // SAFETY: all zeros are a header of nothing.
    let mut headers: [libc::mmsghdr; MESSAGES_MAX] = unsafe { mem::zeroed() };
    let mut count = 0;
    let rooms = places
        .iter_mut()
        .zip(&mut pieces)
        .zip(&mut controls)
        .zip(&mut headers);
    for ((((place, piece), control), header), item) in rooms.zip(items) {
        count += 1;
        let place_length = put(item.to, place);
        piece.iov_base = item.contents.as_ptr().cast_mut().cast();
        piece.iov_len = item.contents.len();
        let header = &mut header.msg_hdr;
        header.msg_name = ptr::from_mut(place).cast();
        header.msg_namelen = place_length;
        header.msg_iov = piece;
        header.msg_iovlen = 1;
        if let Some(segment) = item.segment {
            header.msg_control = ptr::from_mut(control).cast();
            header.msg_controllen = CONTROL_BYTES;
            // SAFETY: the header names `control`, which has room for one message with a `u16` and is aligned for it.
            unsafe {
                let message = libc::CMSG_FIRSTHDR(header);
                (*message).cmsg_level = libc::SOL_UDP;
                (*message).cmsg_type = libc::UDP_SEGMENT;
                (*message).cmsg_len = libc::CMSG_LEN(SEGMENT_BYTES) as usize;
                libc::CMSG_DATA(message).cast::<u16>().write_unaligned(segment);
            }
        }
    }
    // SAFETY: the first `count` headers are filled with pointers that live until the end of this function.
    let sent = unsafe {
        libc::sendmmsg(
            socket.as_raw_fd(),
            headers.as_mut_ptr(),
            count,
            libc::MSG_DONTWAIT,
        )
    };
    usize::try_from(sent).map_err(|_| io::Error::last_os_error())
}

/// Undoes what whoever sets a socket up for QUIC asks of the kernel, and media does not want.
///
/// - To tell beside each datagram when it came, where to and with which class of service: nobody here reads them, and each costs every
///   datagram; a time stamp costs even those that are sent, on a loopback.
/// - To send all with DF, whatever it learns of a path: QUIC looks for the longest datagram itself, and what is too long for a tunnel on the
///   way would be lost for ever here. Encoders that are not browsers make packets of 1,400 bytes, and behind those of 1,200 come a few of ours.
pub(super) fn unlike_quic(socket: BorrowedFd<'_>, is_ipv4: bool) {
    let options: &[(libc::c_int, libc::c_int, libc::c_int)] = if is_ipv4 {
        &[
            (libc::SOL_SOCKET, libc::SO_TIMESTAMPNS, 0),
            (libc::IPPROTO_IP, libc::IP_PKTINFO, 0),
            (libc::IPPROTO_IP, libc::IP_RECVTOS, 0),
            // Routers part what is too long, also those whose ICMP never comes back.
            (libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, libc::IP_PMTUDISC_DONT),
        ]
    } else {
        &[
            (libc::SOL_SOCKET, libc::SO_TIMESTAMPNS, 0),
            (libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO, 0),
            (libc::IPPROTO_IPV6, libc::IPV6_RECVTCLASS, 0),
            // Here the sender parts, by what it learned of the path.
            (
                libc::IPPROTO_IPV6,
                libc::IPV6_MTU_DISCOVER,
                libc::IPV6_PMTUDISC_WANT,
            ),
            (libc::IPPROTO_IPV6, libc::IPV6_DONTFRAG, 0),
        ]
    };
    for &(level, option, value) in options {
        // SAFETY: the value is one `int` that outlives the call. What the kernel refuses stays as it is, and costs what it did.
        unsafe {
            libc::setsockopt(
                socket.as_raw_fd(),
                level,
                option,
                ptr::from_ref(&value).cast(),
                INT_BYTES,
            );
        }
    }
}

/// An address as the kernel wants it: how long it is. Of IPv4 it is shorter than the place.
fn put(to: SocketAddr, place: &mut libc::sockaddr_in6) -> libc::socklen_t {
    match to {
        SocketAddr::V4(to) => {
            let v4 = libc::sockaddr_in {
                sin_family: libc::AF_INET as libc::sa_family_t,
                sin_port: to.port().to_be(),
                sin_addr: libc::in_addr {
                    s_addr: u32::from_ne_bytes(to.ip().octets()),
                },
                sin_zero: [0; 8],
            };
            const { assert!(size_of::<libc::sockaddr_in>() <= size_of::<libc::sockaddr_in6>()) };
            const { assert!(align_of::<libc::sockaddr_in>() <= align_of::<libc::sockaddr_in6>()) };
            // SAFETY: it fits the place and is aligned no more strictly, see above; both are plain numbers.
            unsafe { ptr::from_mut(place).cast::<libc::sockaddr_in>().write(v4) };
            size_of::<libc::sockaddr_in>() as libc::socklen_t
        }
        SocketAddr::V6(to) => {
            *place = libc::sockaddr_in6 {
                sin6_family: libc::AF_INET6 as libc::sa_family_t,
                sin6_port: to.port().to_be(),
                sin6_flowinfo: to.flowinfo(),
                sin6_addr: libc::in6_addr {
                    s6_addr: to.ip().octets(),
                },
                sin6_scope_id: to.scope_id(),
            };
            size_of::<libc::sockaddr_in6>() as libc::socklen_t
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{net::UdpSocket, os::fd::AsFd as _};

    use quinn_udp::{UdpSockRef, UdpSocketState};

    use super::*;

    fn option(socket: &UdpSocket, level: libc::c_int, option: libc::c_int) -> libc::c_int {
        let (mut value, mut length) = (-1, INT_BYTES);
        // SAFETY: both places outlive the call, and the value is as long as is told.
        let told = unsafe {
            libc::getsockopt(
                socket.as_raw_fd(),
                level,
                option,
                ptr::from_mut(&mut value).cast(),
                &raw mut length,
            )
        };
        assert_eq!(told, 0, "option {option}");
        value
    }

    /// Else a packet that is too long for a tunnel on the way is lost, and so is each repair of it.
    #[test]
    fn packets_that_are_too_long_for_the_way_may_be_parted() {
        for (address, level, discovers, parts) in [
            (
                "127.0.0.1:0",
                libc::IPPROTO_IP,
                libc::IP_MTU_DISCOVER,
                libc::IP_PMTUDISC_DONT,
            ),
            (
                "[::1]:0",
                libc::IPPROTO_IPV6,
                libc::IPV6_MTU_DISCOVER,
                libc::IPV6_PMTUDISC_WANT,
            ),
        ] {
            let Ok(socket) = UdpSocket::bind(address) else {
                continue; // a machine without IPv6
            };
            UdpSocketState::new(UdpSockRef::from(&socket)).expect("a socket");
            let before = option(&socket, level, discovers);
            unlike_quic(socket.as_fd(), address.starts_with('1'));
            assert_ne!(before, parts, "{address}: it was set up for QUIC");
            assert_eq!(option(&socket, level, discovers), parts, "{address}");
            if level == libc::IPPROTO_IPV6 {
                assert_eq!(option(&socket, level, libc::IPV6_DONTFRAG), 0);
            }
        }
    }
}
