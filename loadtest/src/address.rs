//! Where a server is: an `http://` or `https://` address, parsed once.

use std::{net::IpAddr, str::FromStr};

use anyhow::{Context as _, bail, ensure};
use rustls::pki_types::ServerName;
use serde::Deserialize;

/// An address that can be asked. Whether it is this machine's, and whether TLS is spoken, is decided by its parts and never by its text.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Address {
    /// `https`.
    pub(crate) is_secure: bool,
    /// A name, or an address without brackets: what the certificate must be for.
    pub(crate) host: ServerName<'static>,
    pub(crate) port: u16,
    /// With its query; it begins with a slash.
    pub(crate) path: String,
}

impl Address {
    /// Whether the host is this machine, over its loopback.
    pub(crate) fn is_loopback(&self) -> bool {
        match &self.host {
            ServerName::IpAddress(address) => IpAddr::from(*address).to_canonical().is_loopback(),
            ServerName::DnsName(name) => name.as_ref().eq_ignore_ascii_case("localhost"),
            _ => false,
        }
    }

    /// Host and port as a page names them: without the port that its scheme has anyway.
    pub(crate) fn authority(&self) -> String {
        let host = match &self.host {
            ServerName::IpAddress(address) if IpAddr::from(*address).is_ipv6() => {
                format!("[{}]", self.host.to_str())
            }
            host => host.to_str().into_owned(),
        };
        match self.port {
            port if port == default_port(self.is_secure) => host,
            port => format!("{host}:{port}"),
        }
    }

    /// Scheme and authority: the `Origin` of a page that is there (RFC 6454 section 6.2).
    pub(crate) fn origin(&self) -> String {
        let scheme = if self.is_secure { "https" } else { "http" };
        format!("{scheme}://{}", self.authority())
    }

    /// Where the page that is here opens its WebSocket.
    pub(crate) fn socket(&self) -> String {
        let scheme = if self.is_secure { "wss" } else { "ws" };
        let folder = self.path_alone().trim_end_matches('/');
        format!("{scheme}://{}{folder}/ws", self.authority())
    }

    /// What a header of an answer from here refers to (RFC 9110 section 10.2.2): an address of its own, or one relative to this.
    pub(crate) fn refer(&self, reference: &str) -> anyhow::Result<Self> {
        let is_whole = reference
            .split_once("://")
            .is_some_and(|(scheme, _)| scheme.bytes().all(|byte| byte.is_ascii_alphabetic()));
        if is_whole {
            return reference.parse();
        }
        let origin = self.origin();
        let path = self.path_alone();
        let folder = &path[..=path.rfind('/').unwrap_or(0)];
        match (reference.starts_with("//"), reference.starts_with('/')) {
            (true, _) => format!("{}:{reference}", if self.is_secure { "https" } else { "http" }).parse(),
            (false, true) => format!("{origin}{reference}").parse(),
            (false, false) => format!("{origin}{folder}{reference}").parse(),
        }
    }

    fn path_alone(&self) -> &str {
        self.path.split('?').next().unwrap_or("/")
    }
}

impl FromStr for Address {
    type Err = anyhow::Error;

    fn from_str(url: &str) -> anyhow::Result<Self> {
        let (scheme, rest) = url.split_once("://").unwrap_or_default();
        let is_secure = match scheme.to_ascii_lowercase().as_str() {
            "http" => false,
            "https" => true,
            _ => bail!("an http:// or https:// address is needed"),
        };
        let rest = rest.split('#').next().unwrap_or_default();
        ensure!(
            !rest.contains(|sign: char| sign.is_whitespace() || sign.is_control()),
            "there is a space in the address"
        );
        let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        ensure!(
            !authority.contains('@'),
            "a name and a password have no place in the address"
        );
        let end = match authority.starts_with('[') {
            true => authority.find(']').context("a `]` is missing in the address")? + 1,
            false => authority.find(':').unwrap_or(authority.len()),
        };
        let (host, port) = authority.split_at(end);
        Ok(Self {
            is_secure,
            host: parse_host(host)?,
            port: match port {
                "" => default_port(is_secure),
                _ => parse_port(port).context("the port of the address is none")?,
            },
            path: match path.starts_with('/') {
                true => path.to_owned(),
                false => format!("/{path}"),
            },
        })
    }
}

impl TryFrom<String> for Address {
    type Error = anyhow::Error;

    fn try_from(url: String) -> anyhow::Result<Self> {
        url.parse()
    }
}

fn default_port(is_secure: bool) -> u16 {
    if is_secure { 443 } else { 80 }
}

fn parse_host(host: &str) -> anyhow::Result<ServerName<'static>> {
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let parsed = ServerName::try_from(bare.unwrap_or(host).to_owned());
    let parsed = parsed.ok().filter(|parsed| {
        // Brackets are for IPv6 and for nothing else (RFC 3986 section 3.2.2).
        let is_v6 = matches!(parsed, ServerName::IpAddress(address) if IpAddr::from(*address).is_ipv6());
        is_v6 == bare.is_some()
    });
    parsed.context(
        "the host of the address is neither a name (others than of a-z in their xn-- form) nor an IP address",
    )
}

fn parse_port(port: &str) -> Option<u16> {
    let port = port.strip_prefix(':')?;
    let is_number = port.bytes().all(|byte| byte.is_ascii_digit());
    port.parse().ok().filter(|&port| is_number && port > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(url: &str) -> Address {
        url.parse().unwrap()
    }

    #[test]
    fn an_address_is_parsed_and_a_bad_one_refused() {
        for (url, origin, port, path) in [
            ("http://a:1/b?c=d", "http://a:1", 1, "/b?c=d"),
            ("http://a", "http://a", 80, "/"),
            ("https://hop.tinh.vn/", "https://hop.tinh.vn", 443, "/"),
            ("HTTPS://10.1.2.3:8443/x#y", "https://10.1.2.3:8443", 8443, "/x"),
            ("https://[2001:db8::1]:443", "https://[2001:db8::1]", 443, "/"),
            ("http://[::1]:8080?x=/", "http://[::1]:8080", 8080, "/?x=/"),
            ("https://a:80", "https://a:80", 80, "/"),
        ] {
            let address = address(url);
            assert_eq!(address.origin(), origin);
            assert_eq!((address.port, address.path.as_str()), (port, path), "{url}");
        }
        for bad in [
            "",
            "a",
            "a:1",
            "ws://a/",
            "ftp://a/",
            "http:///b",
            "http://",
            "http://a/b\r\nX: y",
            "http://a b/",
            "http://a:/",
            "http://a:0/",
            "http://a:+1/",
            "http://a:65536/",
            "http://a:1:2/",
            "http://::1/",
            "http://[::1/",
            "http://[a]/",
            "http://[::1]x/",
            "https://user:word@a/",
            "https://họp.vn/",
        ] {
            assert!(bad.parse::<Address>().is_err(), "{bad}");
        }
    }

    #[test]
    fn the_host_alone_says_whether_a_server_is_on_this_machine() {
        for (url, is_loopback) in [
            ("http://127.0.0.1:8080", true),
            ("https://127.9.8.7/", true),
            ("https://localhost:8443/", true),
            ("http://LOCALHOST", true),
            ("http://[::1]:8080", true),
            ("http://[::ffff:127.0.0.1]:8080", true),
            ("http://10.127.0.1:8080", false),
            ("https://192.0.2.127.example:8080", false),
            ("http://127.example.vn", false),
            ("http://localhost.example.vn", false),
            ("http://not-localhost", false),
            ("http://10.0.0.1:127/127.0.0.1", false),
            ("https://10.0.0.1/?of=localhost#127.0.0.1", false),
            ("http://[2001:db8::127]:8080", false),
            ("http://0.0.0.0:8080", false),
        ] {
            assert_eq!(address(url).is_loopback(), is_loopback, "{url}");
        }
    }

    #[test]
    fn a_page_opens_its_socket_beside_itself() {
        for (url, socket) in [
            ("http://127.0.0.1:8080", "ws://127.0.0.1:8080/ws"),
            ("https://hop.tinh.vn/", "wss://hop.tinh.vn/ws"),
            ("https://[::1]:8443/a/?b=c", "wss://[::1]:8443/a/ws"),
        ] {
            assert_eq!(address(url).socket(), socket);
        }
    }

    #[test]
    fn a_reference_is_whole_or_relative() {
        let refer = |reference| {
            let found = address("https://a:1/whip/room?name=x").refer(reference).unwrap();
            format!("{}{}", found.origin(), found.path)
        };
        assert_eq!(refer("http://b/s/1"), "http://b/s/1");
        assert_eq!(refer("//b/s/1"), "https://b/s/1");
        assert_eq!(refer("/s/1"), "https://a:1/s/1");
        assert_eq!(refer("s/1?of=http://b"), "https://a:1/whip/s/1?of=http://b");
    }
}
