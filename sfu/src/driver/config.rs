//! Settings of a media node, read once at start.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
};

use serde::{Deserialize, Serialize};

use super::addresses::ADDRESSES_MAX;

/// How a node runs. Part of the product's configuration file under `media`; unknown keys refuse to start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NodeConfig {
    /// UDP port of the first shard's media, the same on every address; the next shard has the next port, and so on. 0: any free
    /// ones. Default 7882.
    pub port: u16,
    /// Shards: threads that are each a whole SFU, with a core and a port of its own. 0 (default): one for each core, at most
    /// [`SHARDS_DEFAULT_MAX`]. At most [`SHARDS_MAX`].
    pub shards: u16,
    /// Addresses to listen on, at most [`ADDRESSES_MAX`] with those of `public`. Empty (default): those of the machine, see
    /// [`super::addresses::own`].
    pub addresses: Vec<IpAddr>,
    /// Listen on the loopback addresses too. Default false: a node that begins before the network must not pass for one that can be
    /// reached.
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
    /// Endpoints of one room that a shard takes before the next one goes to another shard; 0: a room is never on more than one shard.
    /// Default 120, half of a meeting of 239 points: such a meeting takes most of a core (`docs/performance.md`), and one shard has
    /// little to spare then for pages that turn and for repairs.
    pub room_shard_max: u32,
    /// Let in clients whose DTLS offers nothing better than `SRTP_AES128_CM_HMAC_SHA1_80`, as many that are no browsers do.
    /// Default true; all browsers have AES-GCM.
    pub weak_srtp: bool,
}

impl Default for NodeConfig {
    fn default() -> Self {
        Self {
            port: PORT_DEFAULT,
            shards: 0,
            addresses: Vec::new(),
            loopback: false,
            public: Vec::new(),
            buffer_bytes: 8 << 20,
            endpoints_max: 1_000,
            rooms_max: 500,
            room_shard_max: 120,
            weak_srtp: true,
        }
    }
}

/// Media port unless configured otherwise.
pub const PORT_DEFAULT: u16 = 7882;

/// Most shards unless configured otherwise. A shard carries a meeting of some 200 points; eight are more than a line of 10 Gbit/s
/// takes, and every port more is one more for every firewall on the way.
pub const SHARDS_DEFAULT_MAX: u16 = 8;

/// Most shards of a node.
pub const SHARDS_MAX: u16 = 32;

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
    /// The ports of the shards, or those announced in place of them, would go past the last there is.
    #[error("port {port} of media.port or media.public leaves no room for {shards} shards, a port each")]
    Ports {
        /// The first.
        port: u16,
        /// How many.
        shards: u16,
    },
    /// More addresses to announce than a node has.
    #[error(
        "media.addresses and media.public name {named} addresses, at most {ADDRESSES_MAX} can be announced"
    )]
    Addresses {
        /// How many.
        named: usize,
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
        within("shards", u64::from(self.shards), 0, u64::from(SHARDS_MAX))?;
        let shards = self.shard_count();
        let announced = self.public.iter().filter_map(|public| public.announced_port);
        let mut firsts = announced.chain([self.port]);
        if let Some(port) = firsts.find(|first| first.checked_add(shards - 1).is_none()) {
            return Err(ConfigError::Ports { port, shards });
        }
        let local_sides = self.public.iter().map(|public| public.local);
        let bound: BTreeSet<IpAddr> = self.addresses.iter().copied().chain(local_sides).collect();
        let bound: Vec<SocketAddr> = bound.into_iter().map(|ip| (ip, self.port).into()).collect();
        let named = self.announced(0, &bound).len();
        if named > ADDRESSES_MAX {
            return Err(ConfigError::Addresses { named });
        }
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

    /// Each setting as JSON, by its key.
    pub fn shown(&self) -> BTreeMap<String, String> {
        let Ok(serde_json::Value::Object(settings)) = serde_json::to_value(self) else {
            return BTreeMap::new();
        };
        settings
            .into_iter()
            .map(|(key, value)| (key, value.to_string()))
            .collect()
    }

    /// How many shards there will be on this machine, at least one.
    pub fn shard_count(&self) -> u16 {
        if self.shards > 0 {
            return self.shards;
        }
        let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get());
        u16::try_from(cores).map_or(SHARDS_DEFAULT_MAX, |cores| cores.min(SHARDS_DEFAULT_MAX))
    }

    /// The port of a shard, counted from 0; 0: any free one.
    pub fn shard_port(&self, shard: u16) -> u16 {
        match self.port {
            0 => 0,
            first => first.saturating_add(shard),
        }
    }

    /// What clients of a shard are told for the sockets it has bound: public addresses where a mapping names the local one, the
    /// local one otherwise.
    pub fn announced(&self, shard: u16, bound: &[SocketAddr]) -> Vec<SocketAddr> {
        let mut announced = Vec::new();
        for &local in bound {
            let mapped = self.public.iter().filter(|public| public.local == local.ip());
            let before = announced.len();
            announced.extend(mapped.map(|public| {
                let port = public.announced_port.map(|first| first.saturating_add(shard));
                SocketAddr::new(public.announced, port.unwrap_or(local.port()))
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

/// `A=B`: announce A for the local address B. A port of A replaces the media port, for the first shard; the next shard is announced
/// with the next port. A port of B must be the media port.
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
        let announced = |shard, bound: &[SocketAddr]| {
            let announced = config.announced(shard, bound);
            announced.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(
            announced(0, &bound),
            ["203.0.113.5:9000", "198.51.100.7:7882", "192.0.2.3:7882"]
        );
        let third: Vec<SocketAddr> = bound
            .iter()
            .map(|at| SocketAddr::new(at.ip(), config.shard_port(2)))
            .collect();
        assert_eq!(
            announced(2, &third),
            ["203.0.113.5:9002", "198.51.100.7:7884", "192.0.2.3:7884"]
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

    #[test]
    fn more_addresses_than_a_node_has_are_refused() {
        let check = |addresses: u8, public: &[&str]| {
            let config = NodeConfig {
                addresses: (1..=addresses).map(|last| [192, 0, 2, last].into()).collect(),
                public: public
                    .iter()
                    .map(|text| text.parse().expect("a mapping"))
                    .collect(),
                ..NodeConfig::default()
            };
            config.check()
        };
        let refused = Err(ConfigError::Addresses { named: 9 });
        assert_eq!(check(8, &["203.0.113.5=192.0.2.8"]), Ok(()));
        assert_eq!(check(9, &[]), refused);
        assert_eq!(check(8, &["203.0.113.5=192.0.2.9"]), refused);
        assert_eq!(
            check(8, &["203.0.113.5=192.0.2.8", "203.0.113.6=192.0.2.8"]),
            refused
        );
    }

    #[test]
    fn every_shard_has_a_port() {
        let of = |port, shards| {
            let config = NodeConfig {
                port,
                shards,
                ..NodeConfig::default()
            };
            let ports: Vec<u16> = (0..config.shard_count())
                .map(|shard| config.shard_port(shard))
                .collect();
            config.check().map(|()| ports)
        };
        assert_eq!(of(7882, 3), Ok(vec![7882, 7883, 7884]));
        assert_eq!(of(0, 2), Ok(vec![0, 0]));
        assert_eq!(
            of(65_535, 2),
            Err(ConfigError::Ports {
                port: 65_535,
                shards: 2
            })
        );
        let announced = |port: u16, shards| {
            let public = format!("203.0.113.5:{port}=192.0.2.2");
            let config = NodeConfig {
                shards,
                public: vec![public.parse().expect("a mapping")],
                ..NodeConfig::default()
            };
            config.check()
        };
        assert_eq!(announced(65_534, 2), Ok(()));
        assert_eq!(
            announced(65_535, 2),
            Err(ConfigError::Ports {
                port: 65_535,
                shards: 2
            })
        );
        assert!(matches!(of(1, 33), Err(ConfigError::Limit { key: "shards", .. })));
        let by_itself = NodeConfig::default().shard_count();
        assert!((1..=SHARDS_DEFAULT_MAX).contains(&by_itself));
    }
}
