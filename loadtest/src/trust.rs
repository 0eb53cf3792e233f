//! Whom the points trust: the authorities of this system, and one's own.

use std::{fs::File, io::Read as _, path::Path, sync::Arc};

use anyhow::{Context as _, bail, ensure};
use rustls::{
    ClientConfig, RootCertStore,
    client::Resumption,
    crypto::ring,
    pki_types::{CertificateDer, pem::PemObject as _},
};
use tokio_rustls::TlsConnector;

/// Where systems keep the certificates of their authorities; the first that is there counts.
const SYSTEM: &[&str] = &[
    "/etc/ssl/certs/ca-certificates.crt", // Debian, Arch, Alpine
    "/etc/pki/tls/certs/ca-bundle.crt",   // Fedora, RHEL
    "/etc/ssl/ca-bundle.pem",             // openSUSE
    "/etc/ssl/cert.pem",                  // BSD, macOS
];
/// Longest file of certificates that is read: some thirty times what systems have.
const FILE_BYTES_MAX: u64 = 8 << 20;

/// What certificates are checked against: one configuration for all points, or why there is none.
#[derive(Debug, Clone)]
pub(crate) struct Trust(Result<Arc<ClientConfig>, String>);

impl Trust {
    /// `own`: the file of `--ca`. `system`: the file of the system's authorities, where it is not in a usual place.
    pub(crate) fn read(own: Option<&Path>, system: Option<&Path>) -> anyhow::Result<Self> {
        let mut roots = RootCertStore::empty();
        if let Some(file) = own {
            add_own(&mut roots, file).with_context(|| format!("--ca {}", file.display()))?;
        }
        let usual = SYSTEM.iter().map(Path::new).find(|file| file.exists());
        let bundle = system.or(usual);
        if let Some(file) = bundle {
            let pem = read(file)
                .with_context(|| format!("{}, the system's authorities (SSL_CERT_FILE)", file.display()))?;
            // Systems keep some that no longer parse; what is missing then is that one alone.
            roots.add_parsable_certificates(CertificateDer::pem_slice_iter(&pem).flatten());
        }
        ensure!(
            !roots.is_empty(),
            "https: no authority is known here, {}: name one with --ca",
            match bundle {
                Some(file) => format!("{} holds none", file.display()),
                None => format!("for there is none of {}", SYSTEM.join(", ")),
            }
        );
        let provider = Arc::new(ring::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .context("TLS")?
            .with_root_certificates(roots)
            .with_no_client_auth();
        // A proxy that speaks HTTP/2 as well would else be free to.
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        // Each point is a machine of its own, whose handshake costs the server in full.
        config.resumption = Resumption::disabled();
        Ok(Self(Ok(Arc::new(config))))
    }

    /// Nobody is trusted, for this reason: it is told when somebody shows a certificate, who may never come.
    pub(crate) fn nobody(why: &anyhow::Error) -> Self {
        Self(Err(format!("{why:#}")))
    }

    /// What opens TLS.
    pub(crate) fn connector(&self) -> anyhow::Result<TlsConnector> {
        match &self.0 {
            Ok(config) => Ok(TlsConnector::from(config.clone())),
            Err(why) => bail!("{why}"),
        }
    }
}

/// All of the file must be what it should be: a mistake in it would show as an unknown authority later.
fn add_own(roots: &mut RootCertStore, file: &Path) -> anyhow::Result<()> {
    for certificate in CertificateDer::pem_slice_iter(&read(file)?) {
        let certificate = certificate.context("a certificate in it is damaged")?;
        roots.add(certificate).context("a certificate in it is damaged")?;
    }
    ensure!(!roots.is_empty(), "no certificate in PEM is in it");
    Ok(())
}

fn read(file: &Path) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(file)
        .and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes))
        .context("cannot be read")?;
    ensure!(
        bytes.len() as u64 <= FILE_BYTES_MAX,
        "larger than {} MiB",
        FILE_BYTES_MAX >> 20
    );
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_holds_no_authority_is_refused_by_its_name() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = |name: &str, text: &str| {
            let file = folder.path().join(name);
            std::fs::write(&file, text).expect("written");
            file
        };
        let key = rcgen::KeyPair::generate().expect("a key").serialize_pem();
        for (file, words) in [
            (folder.path().join("none.crt"), "cannot be read"),
            (folder.path().to_owned(), "cannot be read"),
            ("/dev/zero".into(), "larger than 8 MiB"),
            (file("empty.crt", ""), "no certificate"),
            (file("key.pem", &key), "no certificate"),
            (
                file(
                    "other.crt",
                    "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
                ),
                "damaged",
            ),
            (file("cut.crt", "-----BEGIN CERTIFICATE-----\nAAAA\n"), "damaged"),
        ] {
            let error = format!("{:#}", Trust::read(Some(&file), None).unwrap_err());
            assert!(
                error.starts_with(&format!("--ca {}", file.display())) && error.contains(words),
                "{error}"
            );
        }
    }

    #[test]
    fn a_named_bundle_of_the_system_must_be_there() {
        let error = Trust::read(None, Some(Path::new("/dev/null/bundle"))).unwrap_err();
        let error = format!("{error:#}");
        assert!(
            error.contains("/dev/null/bundle") && error.contains("SSL_CERT_FILE"),
            "{error}"
        );
        let error = Trust::read(None, Some(Path::new("/dev/null"))).unwrap_err();
        assert!(error.to_string().contains("--ca"), "{error}");
    }
}
