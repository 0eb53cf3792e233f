//! Which addresses of this machine media can come to, and how an address may appear in a log.

use std::{
    collections::BTreeSet,
    fmt, io,
    net::{IpAddr, SocketAddr},
};

use super::{config::NodeConfig, udp};

/// Most addresses a node listens on: one socket each, and one candidate each in every m-section of an answer.
/// Above it: the last are left out, with a warning in the log.
pub const ADDRESSES_MAX: usize = 8;

/// The addresses a node of that configuration listens on, the most needed first, as far as there is room: the local sides of
/// `media.public`, then those configured, or the machine's own.
///
/// # Errors
/// The machine's interfaces could not be read.
pub fn listen_on(config: &NodeConfig) -> io::Result<Vec<IpAddr>> {
    let mut addresses = all(config)?;
    let left_out = addresses.len().saturating_sub(ADDRESSES_MAX);
    if left_out > 0 {
        tracing::warn!(
            left_out,
            "too many addresses: name those that are meant in media.addresses"
        );
    }
    addresses.truncate(ADDRESSES_MAX);
    Ok(addresses)
}

/// The same with all there are.
///
/// # Errors
/// The machine's interfaces could not be read.
pub(super) fn all(config: &NodeConfig) -> io::Result<Vec<IpAddr>> {
    let found = if config.addresses.is_empty() {
        own(config.loopback)?
    } else {
        config.addresses.clone()
    };
    Ok(public_first(config, found))
}

fn public_first(config: &NodeConfig, found: Vec<IpAddr>) -> Vec<IpAddr> {
    let local_sides = config.public.iter().map(|public| public.local);
    let mut seen = BTreeSet::new();
    let mut addresses: Vec<IpAddr> = local_sides.chain(found).collect();
    addresses.retain(|&address| seen.insert(address));
    addresses
}

/// The machine's own addresses of interfaces that are up: IPv4 and global IPv6, none of a link only; loopback when asked. First what
/// it is reached at: the addresses of its default routes, then public and private ones, in the order of the addresses. *By that order
/// alone eight bridges of containers (172.17.0.1) left out the one address that others reach.*
///
/// There may be none: a node that begins before the network has to fail, and be started again. *With loopback in place of nothing it
/// said that it was ready, and nobody reached it for as long as it ran.*
///
/// # Errors
/// The machine's interfaces could not be read.
pub fn own(loopback: bool) -> io::Result<Vec<IpAddr>> {
    let all = if_addrs::get_if_addrs()?
        .into_iter()
        .map(|interface| interface.ip());
    Ok(usable_now(choose(all.collect(), loopback, &routed())))
}

/// The addresses by which the machine speaks to others, one of each family that has a route. A connected socket of UDP tells, and
/// sends nothing; the far ends are for documentation (RFC 5737, RFC 3849).
fn routed() -> Vec<IpAddr> {
    let towards = |(near, far): (&str, &str)| {
        let socket = std::net::UdpSocket::bind(near).ok()?;
        socket.connect(far).ok()?;
        Some(socket.local_addr().ok()?.ip())
    };
    [("0.0.0.0:0", "203.0.113.1:9"), ("[::]:0", "[2001:db8::1]:9")]
        .into_iter()
        .filter_map(towards)
        .collect()
}

/// An interface has an address of IPv6 a second before it can be used, and one that another machine has too for ever: nobody else is
/// to do without the node for it. Addresses configured, and local sides of `media.public`, have to be there.
fn usable_now(found: Vec<IpAddr>) -> Vec<IpAddr> {
    let usable = udp::still_here(&found);
    let passed_over = found.len() - usable.len();
    if passed_over > 0 {
        tracing::warn!(passed_over, "addresses that cannot be used yet are passed over");
    }
    usable
}

/// The decision of [`own`].
fn choose(all: BTreeSet<IpAddr>, loopback: bool, routed: &[IpAddr]) -> Vec<IpAddr> {
    let is_wanted = |address: &IpAddr| usable(address) && (loopback || !address.is_loopback());
    let mut chosen: Vec<IpAddr> = all.into_iter().filter(is_wanted).collect();
    chosen.sort_by_key(|address| {
        (
            address.is_loopback(),
            !routed.contains(address),
            address.is_ipv6(), // an interface has many of them, that come and go
            is_private(address),
        )
    });
    chosen
}

fn is_private(address: &IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_private(),
        IpAddr::V6(v6) => v6.is_unique_local(),
    }
}

fn usable(address: &IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => !v4.is_link_local() && !v4.is_unspecified() && !v4.is_multicast(),
        IpAddr::V6(v6) => !v6.is_unicast_link_local() && !v6.is_unspecified() && !v6.is_multicast(),
    }
}

/// An address that prints as nothing but its family: where people are never reaches a log.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Pii(pub SocketAddr);

impl fmt::Display for Pii {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_ipv4() { "ipv4:***" } else { "ipv6:***" })
    }
}

impl fmt::Debug for Pii {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(texts: &[&str]) -> BTreeSet<IpAddr> {
        texts.iter().map(|text| text.parse().expect("address")).collect()
    }

    #[test]
    fn loopback_is_taken_only_when_asked() {
        let all = [
            "127.0.0.1",
            "::1",
            "169.254.3.4",
            "192.0.2.2",
            "fe80::1",
            "2001:db8::2",
        ];
        let public = choose(set(&all), false, &[]);
        assert_eq!(BTreeSet::from_iter(public), set(&["192.0.2.2", "2001:db8::2"]));
        let with = choose(set(&all), true, &[]);
        assert_eq!(
            BTreeSet::from_iter(with),
            set(&["192.0.2.2", "2001:db8::2", "127.0.0.1", "::1"])
        );
        let alone = set(&["127.0.0.1", "fe80::1"]);
        assert!(choose(alone.clone(), false, &[]).is_empty());
        assert_eq!(choose(alone, true, &[]), Vec::from_iter(set(&["127.0.0.1"])));
    }

    #[test]
    fn bridges_leave_out_no_address_that_others_reach() {
        let bridges = (17..27).map(|network| IpAddr::from([172, network, 0, 1]));
        let [real, public, loopback] =
            ["192.168.1.10", "198.51.100.7", "127.0.0.1"].map(|text| text.parse().expect("address"));
        let all: BTreeSet<IpAddr> = bridges.chain([real, public, loopback]).collect();
        let found = choose(all.clone(), true, &[real]);
        assert_eq!(found[..3], [real, public, [172, 17, 0, 1].into()]);
        assert_eq!(found[12], loopback);
        // Of one interface of IPv6 there are many, and the points of another network have IPv4.
        let six = (1..9).map(|host| IpAddr::from([0x2001, 0xdb8, 1, 0, 0, 0, 0, host]));
        let other: IpAddr = "10.5.0.2".parse().expect("address");
        let routed = [real, "2001:db8:1::5".parse().expect("address")];
        let found = choose(six.chain([real, other]).collect(), false, &routed);
        assert_eq!(found[..3], [real, routed[1], other]);
        // Also where there is no route: what is announced is meant.
        let config = NodeConfig {
            public: vec!["203.0.113.5=192.168.1.10".parse().expect("mapping")],
            ..NodeConfig::default()
        };
        let listen = public_first(&config, choose(all, false, &[]));
        let bound: Vec<SocketAddr> = listen[..ADDRESSES_MAX]
            .iter()
            .map(|&ip| (ip, 7882).into())
            .collect();
        assert_eq!(bound[0].ip(), real);
        assert_eq!(config.announced(0, &bound)[0].to_string(), "203.0.113.5:7882");
    }

    #[test]
    fn an_address_found_that_cannot_be_used_is_passed_over() {
        let found = ["127.0.0.1", "192.0.2.1"].map(|text| text.parse().expect("address"));
        assert_eq!(usable_now(found.to_vec()), found[..1]);
    }

    #[test]
    fn configured_addresses_and_local_sides_are_listened_on_once() {
        let config = NodeConfig {
            addresses: vec!["127.0.0.1".parse().expect("address")],
            public: vec![
                "203.0.113.5=127.0.0.1".parse().expect("mapping"),
                "203.0.113.6=::1".parse().expect("mapping"),
            ],
            ..NodeConfig::default()
        };
        let listen = listen_on(&config).expect("no interface is read");
        assert_eq!(
            listen,
            [
                "127.0.0.1".parse::<IpAddr>().expect("a"),
                "::1".parse().expect("a")
            ]
        );
    }

    #[test]
    fn an_address_does_not_print() {
        let address = Pii("192.0.2.2:7882".parse().expect("address"));
        assert_eq!(format!("{address} {address:?}"), "ipv4:*** ipv4:***");
    }
}
