//! A connection to a server, plain or in TLS.

use std::{fmt, io};

use anyhow::{Context as _, anyhow};
use rustls::{CertificateError, Error};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};

use crate::{address::Address, trust::Trust};

/// What HTTP and WebSocket are spoken over.
pub(crate) trait Connection: AsyncRead + AsyncWrite + fmt::Debug + Send + Sync + Unpin {}

impl<T: AsyncRead + AsyncWrite + fmt::Debug + Send + Sync + Unpin> Connection for T {}

/// Opens one. In TLS the server has shown a certificate for the host of the address, of an authority that is trusted.
pub(crate) async fn open(address: &Address, trust: Option<&Trust>) -> anyhow::Result<Box<dyn Connection>> {
    let host = address.host.to_str();
    let stream = TcpStream::connect((host.as_ref(), address.port))
        .await
        .context("no connection")?;
    // As browsers have it: a small message waits for nothing.
    stream.set_nodelay(true).context("no connection")?;
    if !address.is_secure {
        return Ok(Box::new(stream));
    }
    let trust = trust.context("an https:// address where none was expected")?;
    match trust.connector()?.connect(address.host.clone(), stream).await {
        Ok(stream) => Ok(Box::new(stream)),
        Err(error) => Err(anyhow!(in_words(&error, &host))),
    }
}

/// Why a handshake failed, and what to do about it.
fn in_words(error: &io::Error, host: &str) -> String {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
    match inner {
        Some(Error::InvalidCertificate(error)) => of_certificate(error, host),
        Some(Error::InvalidMessage(_)) => {
            "what answers there does not speak TLS: an http:// address?".to_owned()
        }
        Some(Error::AlertReceived(alert)) => format!("the server refuses TLS: {alert:?}"),
        Some(error) => format!("TLS: {error}"),
        None if error.kind() == io::ErrorKind::UnexpectedEof => {
            "the server closed the connection where TLS should begin".to_owned()
        }
        None => format!("TLS: {error}"),
    }
}

fn of_certificate(error: &CertificateError, host: &str) -> String {
    match error {
        CertificateError::UnknownIssuer => {
            "the server's certificate is from an authority that is not known here: name the authority's file with --ca"
                .to_owned()
        }
        // What every `diemcau cert init` makes has the same name.
        CertificateError::BadSignature => {
            "the server's certificate is not from the authority known here, but from another of the same name: name the server's with --ca"
                .to_owned()
        }
        CertificateError::NotValidForNameContext { presented, .. } => {
            let names: Vec<&str> = presented.iter().map(|name| bare(name)).collect();
            format!(
                "the server's certificate is not for {host}, only for {}",
                names.join(", ")
            )
        }
        CertificateError::NotValidForName => format!("the server's certificate is not for {host}"),
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "the server's certificate has expired".to_owned()
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "the server's certificate is not valid yet: compare the clocks of both machines".to_owned()
        }
        _ => format!("the server's certificate cannot be relied on: {error}"),
    }
}

/// The name in what the library makes of one: `DnsName("a")`, `IpAddress(192.0.2.1)`.
fn bare(name: &str) -> &str {
    let inside = name.split_once('(').and_then(|(_, rest)| rest.strip_suffix(')'));
    inside.unwrap_or(name).trim_matches('"')
}

#[cfg(test)]
pub(crate) mod tests;
