//! What a server needs of its machine before it serves, each thing looked at by itself. `serve` takes what was found or ends at
//! the first that is amiss; `doctor` tells everything, in the same words. Nothing is made here.

use std::{
    io,
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
};

use sfu::{control::Network, driver::system::Severity};
use tracing_subscriber::filter::ParseError;

use super::{
    auth::{self, KeyError, Keys},
    certificate::{Age, Files, Pair},
    config::Config,
    connections,
    data::{self, DataError},
    files::{self, TooFew},
    http::admission::SESSIONS_MAX,
    logs, topology,
};
use crate::engine::network::{self, LineNames, NoWays};

/// A certificate that is good for fewer days is said to end.
const DAYS_MIN: i64 = 14;

/// Why a server does not start. Each begins with a code that stays the same from version to version.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// `log.filter`
    #[error(
        "log_filter: log.filter cannot be read: {0}; it wants a level, or levels by module, such as info,sfu=debug"
    )]
    LogFilter(ParseError),
    /// Open files.
    #[error("files_few: {0}")]
    Files(TooFew),
    /// The data folder.
    #[error("{0}")]
    Data(DataError),
    /// The key that tokens are signed with.
    #[error("signing_key: {0}")]
    Key(KeyError),
    /// One of the two files of the network.
    #[error("topology_bad: {0}")]
    Topology(topology::TopologyError),
    /// The files are right, but there are no ways.
    #[error("topology_bad: {0}")]
    Ways(NoWays),
    /// Cameras need a secure page, and passwords of meetings a private line: plain HTTP stays on this machine.
    #[error(
        "certificate_missing: http.listen {listen} is open to other machines, and browsers give cameras to secure pages only; set \
         http.certificate and http.key, or run:  diemcau cert init --data {} --name <name or address of this machine>", data.display()
    )]
    NoCertificate {
        /// The listener.
        listen: SocketAddr,
        /// Where one would be looked for.
        data: PathBuf,
    },
    /// It cannot be read, or is no pair with its key.
    #[error(
        "certificate_unusable: the certificate {} cannot be used with the key {}: {error}; put a chain in PEM and its own key there",
        files.certificate.display(), files.key.display()
    )]
    Certificate {
        /// Which.
        files: Files,
        /// What is amiss.
        error: io::Error,
    },
    /// An address cannot be listened on.
    #[error("listen_refused: cannot listen on {address} ({key}): {error}; is another diemcau running?")]
    Listen {
        /// The setting.
        key: &'static str,
        /// Its value.
        address: SocketAddr,
        /// The kernel's reason.
        error: io::Error,
    },
}

/// What should be mended, though it serves. Each begins with its code.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Warning {
    /// Fewer places than there could be.
    #[error(
        "places_few: the limit of open files leaves room for {0} pages; raise it (LimitNOFILE= of systemd, or: ulimit -n 8192)"
    )]
    Places(usize),
    /// Logs are lost, and a new signing key could not be kept.
    #[error("data_full: there is no room left on the disk of the data folder {}; make some", .0.display())]
    Full(PathBuf),
    /// Browsers refuse it, or soon will.
    #[error(
        "certificate_expired: the certificate {} ended {days} days ago, and browsers warn of the page; put a new one in its place, it \
         is read by itself{}", path.display(), or_made_again(made_in.as_deref())
    )]
    Ended {
        /// Its file.
        path: PathBuf,
        /// How long ago.
        days: i64,
        /// The data folder, if it is the one that `cert init` makes there.
        made_in: Option<PathBuf>,
    },
    /// Browsers will refuse it soon.
    #[error(
        "certificate_ends: the certificate {} ends in {days} days; put a new one in its place, it is read by itself{}", path.display(),
        or_made_again(made_in.as_deref())
    )]
    Ends {
        /// Its file.
        path: PathBuf,
        /// In how long.
        days: i64,
        /// As of one that ended.
        made_in: Option<PathBuf>,
    },
    /// Browsers refuse it still.
    #[error("certificate_early: the certificate {} is not good yet, and browsers warn of the page; look at the clock", .0.display())]
    Early(PathBuf),
}

/// `cert init` is no way to a certificate that somebody else makes.
fn or_made_again(made_in: Option<&Path>) -> String {
    made_in.map_or_else(String::new, |data| {
        format!(", or run:  diemcau cert init --data {}", data.display())
    })
}

/// Each thing as it was found.
#[derive(Debug)]
pub struct Examined {
    pub(super) filter: Result<(), StartError>,
    pub(super) room: Result<files::Room, StartError>,
    pub(super) folder: Result<data::Folder, StartError>,
    /// None: none was made yet.
    pub(super) keys: Result<Option<Keys>, StartError>,
    pub(super) network: Result<(Network, LineNames), StartError>,
    /// None: plain HTTP, on this machine alone.
    pub(super) tls: Result<Option<Pair>, StartError>,
    pub(super) public: Result<TcpListener, StartError>,
    /// None: the settings name no private listener.
    pub(super) private: Option<Result<TcpListener, StartError>>,
    /// Of what was found.
    pub(super) warnings: Vec<Warning>,
}

/// Looks at all of it.
pub fn examine(config: &Config) -> Examined {
    let room = files::room().map_err(StartError::Files);
    let tls = tls(config);
    let places = room.as_ref().ok().map(|room| room.sessions);
    let few = places
        .filter(|&places| places < SESSIONS_MAX)
        .map(Warning::Places);
    let folder = data::look(&config.data).map_err(StartError::Data);
    let is_full = folder.as_ref().is_ok_and(|folder| folder.is_full);
    let full = is_full.then(|| Warning::Full(config.data.clone()));
    let age = tls
        .as_ref()
        .ok()
        .and_then(|pair| aged(pair.as_ref()?, &config.data));
    Examined {
        filter: logs::filter(&config.log).map(drop).map_err(StartError::LogFilter),
        room,
        // What is in a folder that cannot be had is not amiss beside it.
        keys: match &folder {
            Ok(_) => Keys::load(&config.data).map_err(StartError::Key),
            Err(_) => Ok(None),
        },
        folder,
        network: read_network(config),
        tls,
        public: bind("http.listen", config.http.listen),
        private: config
            .metrics
            .listen
            .map(|address| bind("metrics.listen", address)),
        warnings: few.into_iter().chain(full).chain(age).collect(),
    }
}

impl Examined {
    /// For people, one finding after the other.
    pub fn findings(&self, config: &Config) -> Vec<(Severity, String)> {
        let Self {
            filter,
            room,
            folder,
            keys,
            network,
            tls,
            public,
            private,
            warnings,
        } = self;
        let mut findings = Vec::new();
        let mut tell = |error: Option<&StartError>, good: String| {
            findings.push(match error {
                Some(refusal) => (Severity::Error, refusal.to_string()),
                None => (Severity::Good, good),
            });
        };
        tell(filter.as_ref().err(), format!("log.filter {}", config.log.filter));
        let places = room.as_ref().map_or(0, |room| room.sessions);
        tell(
            room.as_ref().err(),
            format!("open files: room for {places} pages"),
        );
        let shown = config.data.display();
        tell(folder.as_ref().err(), format!("data folder {shown}"));
        let key = match keys {
            Ok(None) => "no signing key yet: it is made at the first start",
            _ => "signing key",
        };
        tell(keys.as_ref().err(), key.into());
        let lines = network.as_ref().map_or(0, |(network, _)| network.lines.len());
        tell(network.as_ref().err(), format!("topology: {lines} lines"));
        tell(
            tls.as_ref().err(),
            match tls {
                Ok(Some(pair)) => format!("certificate {}", pair.files.certificate.display()),
                _ => "no certificate: pages of this machine alone (loopback) need none".into(),
            },
        );
        let listen = config.http.listen;
        tell(
            public.as_ref().err(),
            format!("TCP {listen} is free (page and WebSocket)"),
        );
        if let (Some(listen), Some(private)) = (config.metrics.listen, private) {
            tell(private.as_ref().err(), format!("TCP {listen} is free (metrics)"));
        }
        findings.extend(
            warnings
                .iter()
                .map(|warning| (Severity::Warning, warning.to_string())),
        );
        findings
    }
}

fn aged(pair: &Pair, data: &Path) -> Option<Warning> {
    let path = pair.files.certificate.clone();
    let made_in = (pair.files == Files::of(data)).then(|| data.to_owned());
    match pair.age(auth::unix_now()) {
        Age::Early => Some(Warning::Early(path)),
        Age::Ended { days } => Some(Warning::Ended { path, days, made_in }),
        Age::Good { days } if days < DAYS_MIN => Some(Warning::Ends { path, days, made_in }),
        Age::Good { .. } => None,
    }
}

fn tls(config: &Config) -> Result<Option<Pair>, StartError> {
    let own = Files::of(&config.data);
    let files = match config.http.certificate.clone().zip(config.http.key.clone()) {
        Some((certificate, key)) => Files { certificate, key },
        None if config.http.listen.ip().is_loopback() => return Ok(None),
        None if own.exist() => own,
        None => {
            let (listen, data) = (config.http.listen, config.data.clone());
            return Err(StartError::NoCertificate { listen, data });
        }
    };
    let unusable = |error| StartError::Certificate {
        files: files.clone(),
        error,
    };
    Pair::read(files.clone()).map(Some).map_err(unusable)
}

/// A topology that cannot be read, or that has no ways from the node to the sites, refuses to start. Without one there are no
/// lines, and nothing is shared.
fn read_network(config: &Config) -> Result<(Network, LineNames), StartError> {
    let (Some(sites), Some(lines)) = (&config.topology.sites, &config.topology.lines) else {
        return Ok(Default::default());
    };
    let topology = topology::read(sites, lines).map_err(StartError::Topology)?;
    let seen = network::seen_from(&topology, config.topology.node_site.as_deref());
    let (network, names) = seen.map_err(StartError::Ways)?;
    tracing::info!(
        sites = topology.sites.len(),
        lines = topology.lines.len(),
        between = network.lines.len(),
        "topology"
    );
    Ok((network, names))
}

fn bind(key: &'static str, address: SocketAddr) -> Result<TcpListener, StartError> {
    connections::bind(address).map_err(|error| StartError::Listen { key, address, error })
}
