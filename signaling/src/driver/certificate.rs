//! TLS: PEM files read again when they change, and a certificate authority of one's own for places without one.

use std::{
    fs,
    io::{self, Write},
    net::IpAddr,
    ops::RangeInclusive,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use anyhow::{Context, bail};
use axum_server::tls_rustls::RustlsConfig;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, SanType,
};
use rustls::{
    ServerConfig,
    pki_types::{
        CertificateDer, PrivateKeyDer,
        pem::{self, PemObject as _},
    },
};
use x509_parser::extensions::GeneralName;

/// How often certificate files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Seconds of a day.
const DAY: i64 = 86_400;

/// Chain and key of the listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Files {
    /// PEM, leaf first.
    pub certificate: PathBuf,
    /// PEM.
    pub key: PathBuf,
}

impl Files {
    /// Where [`init`] puts them.
    pub fn of(data: &Path) -> Self {
        Self {
            certificate: data.join("tls/server.pem"),
            key: data.join("tls/server-key.pem"),
        }
    }

    /// Whether both are there.
    pub fn exist(&self) -> bool {
        self.certificate.exists() && self.key.exists()
    }

    fn written(&self) -> Option<(SystemTime, SystemTime)> {
        let at = |path: &Path| fs::metadata(path).and_then(|found| found.modified()).ok();
        Some((at(&self.certificate)?, at(&self.key)?))
    }
}

/// Files that can be used, as they were read.
#[derive(Debug)]
pub struct Pair {
    /// Where they are.
    pub files: Files,
    config: Arc<ServerConfig>,
    good: RangeInclusive<i64>,
    /// When they were written.
    written: Option<(SystemTime, SystemTime)>,
}

impl Pair {
    /// Reads both files, for HTTP/1 alone.
    ///
    /// # Errors
    /// One of them is not there or no PEM, or the key is that of another certificate.
    pub fn read(files: Files) -> io::Result<Self> {
        // Once in a process; a second call finds the same provider.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let written = files.written();
        let named = |path: &Path, error: pem::Error| io::Error::other(format!("{}: {error}", path.display()));
        let chain: Vec<_> = CertificateDer::pem_file_iter(&files.certificate)
            .and_then(Iterator::collect)
            .map_err(|error| named(&files.certificate, error))?;
        let key = PrivateKeyDer::from_pem_file(&files.key).map_err(|error| named(&files.key, error))?;
        let good = chain.first().and_then(good_from_until);
        let mut config = ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .map_err(io::Error::other)?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self {
            files,
            config: Arc::new(config),
            // One that only the TLS library can read is its to judge.
            good: good.unwrap_or(i64::MIN..=i64::MAX),
            written,
        })
    }

    /// What its dates say of it, so many seconds after 1970-01-01.
    pub fn age(&self, now: u64) -> Age {
        let now = i64::try_from(now).unwrap_or(i64::MAX);
        let days = self.good.end().saturating_sub(now) / DAY;
        if now < *self.good.start() {
            Age::Early
        } else if now > *self.good.end() {
            Age::Ended { days: -days }
        } else {
            Age::Good { days }
        }
    }
}

/// What the dates of a certificate say of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Age {
    /// It is not good yet.
    Early,
    /// It is good.
    Good {
        /// For so many days more.
        days: i64,
    },
    /// It was good.
    Ended {
        /// So many days ago.
        days: i64,
    },
}

fn good_from_until(certificate: &CertificateDer<'_>) -> Option<RangeInclusive<i64>> {
    let (_, read) = x509_parser::parse_x509_certificate(certificate).ok()?;
    let validity = read.validity();
    Some(validity.not_before.timestamp()..=validity.not_after.timestamp())
}

/// Serves with the pair, and reads its files again whenever they change. A new pair that cannot be used leaves the former in place. Within a runtime.
pub fn keep(pair: Pair) -> RustlsConfig {
    let Pair {
        files,
        config,
        written: mut known,
        ..
    } = pair;
    let config = RustlsConfig::from_config(config);
    let reloading = config.clone();
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            let now = files.written();
            if now.is_none() || now == known {
                continue;
            }
            known = now;
            match Pair::read(files.clone()) {
                Ok(pair) => {
                    reloading.reload_from_config(pair.config);
                    tracing::info!("the certificate was read again");
                }
                Err(error) => {
                    tracing::error!(%error, "the new certificate cannot be used, the former one stays")
                }
            }
        }
    });
    config
}

/// Names and addresses that the certificate which [`init`] made is for; none where it made none yet.
///
/// # Errors
/// What is there cannot be read.
pub fn names(data: &Path) -> anyhow::Result<Option<Vec<String>>> {
    let path = Files::of(data).certificate;
    if !path.exists() {
        return Ok(None);
    }
    let read = || {
        let certificate = CertificateDer::from_pem_file(&path)?;
        let (_, certificate) = x509_parser::parse_x509_certificate(&certificate)?;
        let names = certificate.subject_alternative_name()?;
        let names = names.map_or(&[][..], |names| &names.value.general_names);
        let names: Vec<_> = names.iter().filter_map(name_of).collect();
        anyhow::ensure!(!names.is_empty(), "no name is in it");
        Ok(names)
    };
    let read =
        read().with_context(|| format!("{} does not tell its names; say them with --name", path.display()));
    read.map(Some)
}

/// As [`init`] takes it.
fn name_of(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(bytes) => {
            let v4 = <[u8; 4]>::try_from(*bytes).map(IpAddr::from);
            let address = v4.or_else(|_| <[u8; 16]>::try_from(*bytes).map(IpAddr::from));
            address.ok().map(|address| address.to_string())
        }
        _ => None,
    }
}

/// What [`init`] made.
#[derive(Debug)]
pub struct Made {
    /// The authority's certificate, to be trusted by every device.
    pub authority: PathBuf,
    /// For the listener.
    pub server: Files,
}

/// Makes a certificate authority (kept if there is one) and a server certificate for those names and addresses.
///
/// # Errors
/// A name is none, the authority's key is away, or the files cannot be written.
pub fn init(data: &Path, names: &[String]) -> anyhow::Result<Made> {
    let folder = data.join("tls");
    fs::create_dir_all(&folder)?;
    let (authority, authority_key) = (folder.join("ca.crt"), folder.join("ca-key.pem"));
    let today = i64::try_from(super::auth::unix_now())?;
    if authority.exists() && !authority_key.exists() {
        // Every device would have to trust a new one.
        bail!(
            "{} is not there; put it back, or move {} away to make a new authority",
            authority_key.display(),
            authority.display()
        );
    }
    if !authority.exists() {
        let key = KeyPair::generate()?;
        let mut params = params("Diem Cau local CA", today, 10 * 365);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        write_pair(
            (&authority_key, &key.serialize_pem()),
            (&authority, &params.self_signed(&key)?.pem()),
        )?;
    }
    let issuer = Issuer::from_ca_cert_pem(
        &fs::read_to_string(&authority)?,
        KeyPair::from_pem(&fs::read_to_string(&authority_key)?)?,
    )?;
    let key = KeyPair::generate()?;
    // 825 days: the longest that every system takes from a private authority. It begins a day early.
    let mut params = params(names.first().map_or("diemcau", String::as_str), today, 824);
    params.subject_alt_names = names
        .iter()
        .map(|name| match name.parse::<IpAddr>() {
            Ok(address) => Ok(SanType::IpAddress(address)),
            Err(_) if is_dns_name(name) => Ok(SanType::DnsName(name.as_str().try_into()?)),
            Err(_) => bail!(
                "{name:?} is neither an address nor a name of a-z, 0-9, \"-\" and \".\" (others in their xn-- form)"
            ),
        })
        .collect::<anyhow::Result<_>>()?;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let certificate = params.signed_by(&key, &issuer)?;
    let server = Files::of(data);
    write_pair(
        (&server.key, &key.serialize_pem()),
        (&server.certificate, &certificate.pem()),
    )?;
    Ok(Made { authority, server })
}

/// Labels of letters, digits and hyphens; the first may be `*`.
fn is_dns_name(name: &str) -> bool {
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    name.len() <= 253 && name.strip_prefix("*.").unwrap_or(name).split('.').all(is_label)
}

fn params(name: &str, today: i64, days: i64) -> CertificateParams {
    let mut params = CertificateParams::default();
    let mut subject = DistinguishedName::new();
    subject.push(DnType::CommonName, name);
    params.distinguished_name = subject;
    let (year, month, day) = date(today / DAY - 1);
    params.not_before = rcgen::date_time_ymd(year, month, day);
    let (year, month, day) = date(today / DAY + days);
    params.not_after = rcgen::date_time_ymd(year, month, day);
    params
}

/// The date of a day since 1970-01-01 (days from civil, reversed).
fn date(day: i64) -> (i32, u8, u8) {
    let shifted = day + 719_468;
    let era = shifted.div_euclid(146_097);
    let of_era = shifted.rem_euclid(146_097);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let date = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year + era * 400 + i64::from(month <= 2);
    (year as i32, month as u8, date as u8)
}

/// Both are on the disk before either is moved over: a disk that is full leaves the former pair.
fn write_pair(key: (&Path, &str), certificate: (&Path, &str)) -> io::Result<()> {
    let new_key = write_beside(key, 0o600)?;
    let new_certificate = write_beside(certificate, 0o644)?;
    fs::rename(new_key, key.0)?;
    fs::rename(new_certificate, certificate.0)
}

/// To be moved over, so that no reader meets half a file.
fn write_beside((path, text): (&Path, &str), mode: u32) -> io::Result<PathBuf> {
    let beside = path.with_extension("new");
    let _ = fs::remove_file(&beside);
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(&beside)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    Ok(beside)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        assert_eq!(date(0), (1970, 1, 1));
        assert_eq!(date(19_782), (2024, 2, 29));
        assert_eq!(date(20_819), (2027, 1, 1));
    }

    #[tokio::test]
    async fn a_made_certificate_serves_and_the_authority_stays() {
        let data = tempfile::tempdir().expect("a folder");
        let names = ["hop.tinh.vn".to_owned(), "10.0.0.5".to_owned()];
        let made = init(data.path(), &names).expect("made");
        let authority = fs::read_to_string(&made.authority).expect("read");
        let first = fs::read_to_string(&made.server.certificate).expect("read");
        keep(Pair::read(made.server.clone()).expect("usable"));
        init(data.path(), &names).expect("made again");
        assert_eq!(fs::read_to_string(&made.authority).expect("read"), authority);
        assert_ne!(fs::read_to_string(&made.server.certificate).expect("read"), first);
    }

    #[test]
    fn where_one_file_cannot_be_written_the_former_pair_stays() {
        let data = tempfile::tempdir().expect("a folder");
        let names = ["localhost".to_owned()];
        let made = init(data.path(), &names).expect("made");
        fs::create_dir(made.server.certificate.with_extension("new")).expect("in the way");
        assert!(init(data.path(), &names).is_err());
        Pair::read(made.server).expect("still a pair");
        // Of the authority too: half of one would be made anew, and trusted by no device.
        let data = tempfile::tempdir().expect("a folder");
        let folder = data.path().join("tls");
        fs::create_dir_all(folder.join("ca.new")).expect("in the way");
        assert!(init(data.path(), &names).is_err());
        assert!(!folder.join("ca-key.pem").exists());
    }

    #[test]
    fn an_authority_whose_key_is_away_is_not_replaced() {
        let data = tempfile::tempdir().expect("a folder");
        let names = ["localhost".to_owned()];
        let made = init(data.path(), &names).expect("made");
        let [authority, server] = [&made.authority, &made.server.certificate];
        let read = || [authority, server].map(|path| fs::read_to_string(path).expect("read"));
        let before = read();
        let key = data.path().join("tls/ca-key.pem");
        let safe = data.path().join("safe.pem");
        fs::rename(&key, &safe).expect("moved");
        let told = init(data.path(), &names).expect_err("no key").to_string();
        assert!(told.contains("ca-key.pem is not there"), "{told}");
        assert_eq!(read(), before);
        fs::rename(&safe, &key).expect("moved");
        init(data.path(), &names).expect("made again");
        assert_eq!(read()[0], before[0]);
        // A crash while the first was made left its key alone, which nobody trusts yet.
        fs::remove_file(authority).expect("removed");
        init(data.path(), &names).expect("made anew");
    }

    #[test]
    fn a_certificate_tells_the_names_it_was_made_for() {
        let data = tempfile::tempdir().expect("a folder");
        assert_eq!(names(data.path()).expect("read"), None);
        let wanted = ["hop.tinh.vn", "10.0.0.5", "2001:db8::5", "*.xa.vn"].map(str::to_owned);
        init(data.path(), &wanted).expect("made");
        assert_eq!(names(data.path()).expect("read"), Some(wanted.to_vec()));
        // Whoever put another one there is not given one for other names.
        fs::write(Files::of(data.path()).certificate, "nonsense").expect("written");
        let told = names(data.path()).expect_err("none").to_string();
        assert!(told.contains("--name"), "{told}");
    }

    #[test]
    fn a_pair_knows_how_long_it_is_good_and_a_foreign_key_makes_none() {
        let [data, other] = [0; 2].map(|_| tempfile::tempdir().expect("a folder"));
        let [made, foreign] =
            [&data, &other].map(|data| init(data.path(), &["localhost".to_owned()]).expect("made").server);
        let now = super::super::auth::unix_now();
        let pair = Pair::read(made.clone()).expect("usable");
        let day = DAY as u64;
        // Its dates are midnights: it begins yesterday, and ends 824 days after today.
        let ages = [now - 3 * day, now, now + 830 * day].map(|now| pair.age(now));
        let [Age::Early, Age::Good { days }, Age::Ended { days: ago }] = ages else {
            panic!("{ages:?}")
        };
        assert!((823..=824).contains(&days) && ago == 6, "{ages:?}");
        let mixed = Files {
            key: foreign.key,
            ..made.clone()
        };
        assert!(Pair::read(mixed).is_err(), "the key is another's");
        fs::write(&made.certificate, "nonsense").expect("written");
        assert!(Pair::read(made).is_err(), "no certificate in it");
    }

    #[test]
    fn a_name_that_is_none_is_refused() {
        let data = tempfile::tempdir().expect("a folder");
        for bad in [
            "họp",
            "",
            "a..b",
            "https://hop.tinh.vn",
            "hop.tinh.vn:443",
            "a b",
            "a.*",
        ] {
            assert!(init(data.path(), &[bad.to_owned()]).is_err(), "{bad}");
        }
        assert!(!Files::of(data.path()).exist());
        init(data.path(), &["*.tinh.vn".to_owned()]).expect("a name");
    }
}
