//! Which addresses of this machine media can come to, and how an address may appear in a log.

use std::{
    collections::BTreeSet,
    fmt, io,
    net::{IpAddr, SocketAddr},
};

use super::{config::NodeConfig, udp};

/// Most addresses a node listens on: one socket each, and one candidate each in every m-section of an answer.
/// Above it: the rest is left out, IPv4 first, in the order of the addresses.
pub const ADDRESSES_MAX: usize = 8;

/// The addresses a node of that configuration listens on: those configured, or the machine's own, with the local sides
/// of `media.public`.
///
/// # Errors
/// The machine's interfaces could not be read.
pub fn listen_on(config: &NodeConfig) -> io::Result<Vec<IpAddr>> {
    let mut addresses = if config.addresses.is_empty() {
        own(config.loopback)?
    } else {
        config.addresses.clone()
    };
    for public in &config.public {
        if !addresses.contains(&public.local) {
            addresses.push(public.local);
        }
    }
    let mut seen = BTreeSet::new();
    addresses.retain(|&address| seen.insert(address));
    addresses.truncate(ADDRESSES_MAX);
    Ok(addresses)
}

/// The machine's own addresses of interfaces that are up: IPv4 and global IPv6, none of a link only; loopback when asked.
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
    Ok(usable_now(choose(all.collect(), loopback)))
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
fn choose(all: BTreeSet<IpAddr>, loopback: bool) -> Vec<IpAddr> {
    let (local, mut chosen): (Vec<IpAddr>, Vec<IpAddr>) =
        all.into_iter().filter(usable).partition(IpAddr::is_loopback);
    if loopback {
        chosen.extend(local);
    }
    chosen
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
        let public = choose(set(&all), false);
        assert_eq!(BTreeSet::from_iter(public), set(&["192.0.2.2", "2001:db8::2"]));
        let with = choose(set(&all), true);
        assert_eq!(
            BTreeSet::from_iter(with),
            set(&["192.0.2.2", "2001:db8::2", "127.0.0.1", "::1"])
        );
        let alone = set(&["127.0.0.1", "fe80::1"]);
        assert!(choose(alone.clone(), false).is_empty());
        assert_eq!(choose(alone, true), Vec::from_iter(set(&["127.0.0.1"])));
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
