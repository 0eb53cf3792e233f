//! What of this machine a node needs, checked before it starts: the `diemcau doctor` of the media side.

use std::{fmt, fs, net::IpAddr};

use super::{
    addresses::{self, ADDRESSES_MAX},
    config::NodeConfig,
    udp,
};

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// As it should be.
    Good,
    /// It runs, less well.
    Warning,
    /// It does not run.
    Error,
}

/// Something found out about this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
    /// UDP buffers: what is wanted, what the kernel allows for receiving and sending (bytes).
    Buffers {
        /// [`NodeConfig::buffer_bytes`]
        wanted: u64,
        /// `net.core.rmem_max`, if it can be read.
        receive_max: Option<u64>,
        /// `net.core.wmem_max`, if it can be read.
        send_max: Option<u64>,
    },
    /// The addresses media would come to.
    Addresses(Vec<IpAddr>),
    /// So many more there is no room for.
    AddressesLeftOut(usize),
    /// There is no address to listen on.
    NoAddress,
    /// The media ports can be bound on all addresses.
    PortsFree {
        /// Of the first shard.
        first: u16,
        /// Of the last.
        last: u16,
    },
    /// It cannot.
    PortTaken {
        /// Which.
        port: u16,
        /// The kernel's reason.
        reason: String,
    },
    /// The configuration contradicts itself.
    Config(super::config::ConfigError),
}

impl Finding {
    /// How bad it is.
    pub fn severity(&self) -> Severity {
        match self {
            Self::Buffers {
                wanted,
                receive_max,
                send_max,
            } => {
                let short = |max: &Option<u64>| max.is_some_and(|max| max < *wanted);
                if short(receive_max) || short(send_max) {
                    Severity::Warning
                } else {
                    Severity::Good
                }
            }
            Self::PortsFree { .. } => Severity::Good,
            Self::Addresses(addresses) if addresses.iter().all(IpAddr::is_loopback) => Severity::Warning,
            Self::Addresses(_) => Severity::Good,
            Self::AddressesLeftOut(_) => Severity::Warning,
            Self::NoAddress | Self::PortTaken { .. } | Self::Config(_) => Severity::Error,
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known =
            |value: &Option<u64>| value.map_or_else(|| "unknown".to_owned(), |value| value.to_string());
        match self {
            Self::Buffers {
                wanted,
                receive_max,
                send_max,
            } => write!(
                f,
                "UDP buffers: {wanted} bytes wanted, net.core.rmem_max is {}, net.core.wmem_max is {}",
                known(receive_max),
                known(send_max)
            ),
            Self::Addresses(addresses) => {
                write!(f, "media addresses:")?;
                addresses.iter().try_for_each(|address| write!(f, " {address}"))?;
                let alone = addresses.iter().all(IpAddr::is_loopback);
                if alone {
                    write!(f, " (this machine alone can join)")
                } else {
                    Ok(())
                }
            }
            Self::AddressesLeftOut(count) => write!(
                f,
                "media addresses: {count} of this machine are left out; name those that are meant, at most {ADDRESSES_MAX}, in media.addresses"
            ),
            Self::NoAddress => write!(f, "no address but loopback, which media.loopback takes"),
            Self::PortsFree { first, last } if first == last => {
                write!(f, "UDP port {first} is free; the firewall must let it in")
            }
            Self::PortsFree { first, last } => {
                write!(
                    f,
                    "UDP ports {first} to {last} are free; the firewall must let them in"
                )
            }
            Self::PortTaken { port, reason } => write!(f, "UDP port {port} cannot be used: {reason}"),
            Self::Config(error) => write!(f, "configuration: {error}"),
        }
    }
}

/// Looks at this machine through the eyes of a node of that configuration. A node that runs already has its port.
pub fn examine(config: &NodeConfig) -> Vec<Finding> {
    let number = |path| fs::read_to_string(path).ok()?.trim().parse().ok();
    let mut findings = vec![Finding::Buffers {
        wanted: config.buffer_bytes as u64,
        receive_max: number("/proc/sys/net/core/rmem_max"),
        send_max: number("/proc/sys/net/core/wmem_max"),
    }];
    findings.extend(config.check().err().map(Finding::Config));
    let mut addresses = addresses::all(config).unwrap_or_default();
    if addresses.is_empty() {
        findings.push(Finding::NoAddress);
        return findings;
    }
    if addresses.len() > ADDRESSES_MAX {
        findings.push(Finding::AddressesLeftOut(addresses.len() - ADDRESSES_MAX));
        addresses.truncate(ADDRESSES_MAX);
    }
    let ports: Vec<u16> = (0..config.shard_count())
        .map(|shard| config.shard_port(shard))
        .collect();
    let taken = ports.iter().find_map(|&port| {
        let error = udp::bind_all(&addresses, port, config.buffer_bytes).err()?;
        let reason = error.to_string();
        Some(Finding::PortTaken { port, reason })
    });
    findings.push(taken.unwrap_or(Finding::PortsFree {
        first: ports.first().copied().unwrap_or(config.port),
        last: ports.last().copied().unwrap_or(config.port),
    }));
    findings.push(Finding::Addresses(addresses));
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_in_use_is_an_error_and_a_free_one_is_not() {
        let address: IpAddr = "127.0.0.1".parse().expect("address");
        let holder = udp::bind_all(&[address], 0, 1 << 16).expect("bound");
        // It holds the port of the second shard.
        let config = NodeConfig {
            port: holder[0].local.port() - 1,
            shards: 2,
            addresses: vec![address],
            ..NodeConfig::default()
        };
        let worst = |config: &NodeConfig| examine(config).iter().map(Finding::severity).max();
        assert_eq!(worst(&config), Some(Severity::Error));
        drop(holder);
        assert_ne!(worst(&config), Some(Severity::Error));
    }

    #[test]
    fn addresses_that_there_is_no_room_for_are_told() {
        let config = NodeConfig {
            port: 0,
            shards: 1,
            addresses: (1..=9).map(|last| [127, 0, 0, last].into()).collect(),
            ..NodeConfig::default()
        };
        assert!(examine(&config).contains(&Finding::AddressesLeftOut(1)));
    }
}
