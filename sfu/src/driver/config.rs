//! Settings of a media node, read once at start.

use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

/// How a node runs. Part of the product's configuration file under `media`; unknown keys refuse to start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NodeConfig {
    /// UDP port of the media, the same on every address. 0: any free one. Default 7882.
    pub port: u16,
    /// Addresses to listen on. Empty (default): those of the machine, see [`super::addresses::own`].
    pub addresses: Vec<IpAddr>,
    /// Listen on the loopback addresses too. Default false: only when there is nothing else.
    pub loopback: bool,
    /// Addresses announced in place of local ones, where an address translator or a relay stands before the node.
    pub public: Vec<PublicAddress>,
    /// Bytes asked of the kernel for each socket's receive and for its send buffer. Default 8 MiB: a second of 60 Mbit/s;
    /// the kernel gives at most `net.core.rmem_max` and `wmem_max`.
    pub buffer_bytes: usize,
    /// Most endpoints of this node. Above it a join is refused as [`RoomFull`](crate::control::ControlError::RoomFull).
    /// Default 1,000; at most 2,000.
    pub endpoints_max: u32,
    /// Most rooms of this node. Above it opening one is refused as
    /// [`Unavailable`](crate::control::ControlError::Unavailable). Default 500.
    pub rooms_max: u32,
    /// Let in clients whose DTLS offers nothing better than `SRTP_AES128_CM_HMAC_SHA1_80`, as many that are no browsers do.
    /// Default true; all browsers have AES-GCM.
    pub weak_srtp: bool,
}

impl Default for NodeConfig {
    fn default() -> Self {
        Self {
            port: PORT_DEFAULT,
            addresses: Vec::new(),
            loopback: false,
            public: Vec::new(),
            buffer_bytes: 8 << 20,
            endpoints_max: 1_000,
            rooms_max: 500,
            weak_srtp: true,
        }
    }
}

/// Media port unless configured otherwise.
pub const PORT_DEFAULT: u16 = 7882;

/// Why a configuration cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// Not of the form `A=B`.
    #[error("media.public wants \"announced=local\", each an address with or without a port")]
    PublicForm,
    /// The local side has a port that is not the node's.
    #[error("media.public names local port {named}, but media.port is {port}")]
    PublicPort {
        /// In the mapping.
        named: u16,
        /// Of the node.
        port: u16,
    },
    /// A limit is zero or too large.
    #[error("media.{key} must be between {min} and {max}")]
    Limit {
        /// Which.
        key: &'static str,
        /// Least.
        min: u64,
        /// Most.
        max: u64,
    },
}

impl NodeConfig {
    /// Checks the values against each other.
    pub fn check(&self) -> Result<(), ConfigError> {
        within("endpoints_max", u64::from(self.endpoints_max), 1, 2_000)?;
        within("rooms_max", u64::from(self.rooms_max), 1, 10_000)?;
        within("buffer_bytes", self.buffer_bytes as u64, 64 << 10, 1 << 30)?;
        match self
            .public
            .iter()
            .filter_map(|public| public.local_port)
            .find(|&named| named != self.port)
        {
            Some(named) => Err(ConfigError::PublicPort {
                named,
                port: self.port,
            }),
            None => Ok(()),
        }
    }

    /// What clients are told for the sockets bound: public addresses where a mapping names the local one, the local
    /// one otherwise.
    pub fn announced(&self, bound: &[SocketAddr]) -> Vec<SocketAddr> {
        let mut announced = Vec::new();
        for &local in bound {
            let mapped = self.public.iter().filter(|public| public.local == local.ip());
            let before = announced.len();
            announced.extend(mapped.map(|public| {
                SocketAddr::new(public.announced, public.announced_port.unwrap_or(local.port()))
            }));
            if announced.len() == before {
                announced.push(local);
            }
        }
        announced
    }
}

fn within(key: &'static str, value: u64, min: u64, max: u64) -> Result<(), ConfigError> {
    if (min..=max).contains(&value) {
        Ok(())
    } else {
        Err(ConfigError::Limit { key, min, max })
    }
}

/// `A=B`: announce A for the local address B. A port of A replaces the media port; a port of B must be the media port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PublicAddress {
    /// What clients are told.
    pub announced: IpAddr,
    /// Its port, if not the media port.
    pub announced_port: Option<u16>,
    /// The address of a socket of ours.
    pub local: IpAddr,
    /// Must be the media port.
    pub local_port: Option<u16>,
}

impl std::str::FromStr for PublicAddress {
    type Err = ConfigError;
    fn from_str(text: &str) -> Result<Self, ConfigError> {
        let (announced, local) = text.split_once('=').ok_or(ConfigError::PublicForm)?;
        let (announced, announced_port) = host(announced)?;
        let (local, local_port) = host(local)?;
        Ok(Self {
            announced,
            announced_port,
            local,
            local_port,
        })
    }
}

impl TryFrom<String> for PublicAddress {
    type Error = ConfigError;
    fn try_from(text: String) -> Result<Self, ConfigError> {
        text.parse()
    }
}

impl From<PublicAddress> for String {
    fn from(public: PublicAddress) -> Self {
        let write = |address: IpAddr, port: Option<u16>| match port {
            Some(port) => SocketAddr::new(address, port).to_string(),
            None => address.to_string(),
        };
        format!(
            "{}={}",
            write(public.announced, public.announced_port),
            write(public.local, public.local_port)
        )
    }
}

/// An address with or without a port; an IPv6 address may stand in brackets.
fn host(text: &str) -> Result<(IpAddr, Option<u16>), ConfigError> {
    let text = text.trim();
    if let Ok(address) = text.parse::<SocketAddr>() {
        return if address.port() == 0 {
            Err(ConfigError::PublicForm)
        } else {
            Ok((address.ip(), Some(address.port())))
        };
    }
    let bare = text
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(text);
    let address: IpAddr = bare.parse().map_err(|_| ConfigError::PublicForm)?;
    Ok((address, None))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_public_address_is_read_with_and_without_ports() {
        for text in [
            "203.0.113.5=192.0.2.2",
            "203.0.113.5:9000=192.0.2.2:7882",
            "203.0.113.5:9000=192.0.2.2",
            "2001:db8::1=fd00::1",
            "[2001:db8::1]:9000=[fd00::1]:7882",
        ] {
            let public: PublicAddress = text.parse().expect(text);
            assert_eq!(String::from(public), text);
        }
        assert_eq!(
            "[2001:db8::1]=fd00::1".parse(),
            "2001:db8::1=fd00::1".parse::<PublicAddress>()
        );
        for text in [
            "",
            "=",
            "203.0.113.5",
            "a=b",
            "203.0.113.5:0=192.0.2.2",
            "203.0.113.5:70000=192.0.2.2",
        ] {
            assert_eq!(
                text.parse::<PublicAddress>(),
                Err(ConfigError::PublicForm),
                "{text}"
            );
        }
    }

    #[test]
    fn a_mapping_replaces_the_local_address_only_where_it_names_it() {
        let config = NodeConfig {
            public: vec![
                "203.0.113.5:9000=192.0.2.2".parse().expect("a mapping"),
                "198.51.100.7=192.0.2.2".parse().expect("a mapping"),
            ],
            ..NodeConfig::default()
        };
        let bound: Vec<SocketAddr> = ["192.0.2.2:7882", "192.0.2.3:7882"]
            .map(|text| text.parse().expect("address"))
            .to_vec();
        let announced: Vec<String> = config.announced(&bound).iter().map(ToString::to_string).collect();
        assert_eq!(
            announced,
            ["203.0.113.5:9000", "198.51.100.7:7882", "192.0.2.3:7882"]
        );
    }

    #[test]
    fn a_port_that_is_not_the_nodes_is_refused() {
        let public = vec!["203.0.113.5=192.0.2.2:7000".parse().expect("a mapping")];
        let config = NodeConfig {
            public,
            ..NodeConfig::default()
        };
        assert_eq!(
            config.check(),
            Err(ConfigError::PublicPort {
                named: 7000,
                port: PORT_DEFAULT
            })
        );
        assert_eq!(NodeConfig::default().check(), Ok(()));
        let config = NodeConfig {
            endpoints_max: 0,
            ..NodeConfig::default()
        };
        assert!(matches!(
            config.check(),
            Err(ConfigError::Limit {
                key: "endpoints_max",
                ..
            })
        ));
    }
}
