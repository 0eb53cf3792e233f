//! Settings: a TOML file, then the environment (`DIEMCAU__HTTP__LISTEN`), then flags. Unknown keys refuse to start.
//!
//! Read once; nothing below this module looks at files or the environment for settings. `deploy/config.example.toml`
//! shows every key.

use std::{
    collections::BTreeSet,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
};

use axum::http::Uri;
use serde::{Deserialize, Serialize};
use sfu::{
    control::{RoomId, RoomPolicy, VideoCodec},
    driver::config::NodeConfig,
};

use crate::engine::admission::Pace;

/// All settings.
#[cfg_attr(test, derive(Serialize))]
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Folder for the signing key, certificates, the node's socket and its log. Made at the first start, readable by
    /// its owner only. Default `data`.
    pub data: PathBuf,
    /// The public listener.
    pub http: HttpConfig,
    /// The private listener.
    pub metrics: MetricsConfig,
    /// How fast people are let in.
    pub joins: JoinsConfig,
    /// The media node.
    pub media: NodeConfig,
    /// Logs.
    pub log: LogConfig,
    /// The province's network.
    pub topology: TopologyConfig,
    /// Rooms, beside `demo`.
    pub rooms: Vec<RoomConfig>,
    /// Whether there is a room `demo`, with a link to it printed at start. Default true.
    pub demo: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            data: "data".into(),
            http: HttpConfig::default(),
            metrics: MetricsConfig::default(),
            joins: JoinsConfig::default(),
            media: NodeConfig::default(),
            log: LogConfig::default(),
            topology: TopologyConfig::default(),
            rooms: Vec::new(),
            demo: true,
        }
    }
}

/// The public listener: page, WebSocket, health.
#[cfg_attr(test, derive(Serialize))]
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HttpConfig {
    /// Address and port. Port 0: any free one. Without a certificate only loopback addresses. Default 127.0.0.1:8080.
    pub listen: SocketAddr,
    /// Origins (`https://name[:port]`) whose pages may connect, beside the server's own. Default none.
    pub origins: Vec<String>,
    /// PEM file with the certificate chain; read again when it changes. Default none, or the one of `diemcau cert init`
    /// when the listener is not on loopback.
    pub certificate: Option<PathBuf>,
    /// PEM file with the certificate's private key.
    pub key: Option<PathBuf>,
    /// What join links begin with, such as `https://hop.tinh.vn`. Default: the listener's address.
    pub public_url: Option<String>,
}

impl Default for HttpConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 8080)),
            origins: Vec::new(),
            certificate: None,
            key: None,
            public_url: None,
        }
    }
}

/// The private listener: `/metrics`, `/debug`.
#[cfg_attr(test, derive(Serialize))]
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MetricsConfig {
    /// Address and port; keep it away from the public. Default 127.0.0.1:9090, or any free port when `http.listen` has
    /// port 0.
    pub listen: Option<SocketAddr>,
    /// Whether `/debug/rooms/ROOM` shows what the node knows of a room. Default: true if the listener is on loopback.
    pub debug: Option<bool>,
}

/// How fast people are let in; above it they wait in line and are told their place.
#[cfg_attr(test, derive(Serialize))]
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct JoinsConfig {
    /// Joins in a second, in all rooms together; 1 to 10,000. Default 200.
    pub per_second: u16,
    /// Joins that pass at once after a pause; 1 to 10,000. Default 300.
    pub burst: u16,
}

impl Default for JoinsConfig {
    fn default() -> Self {
        let Pace { per_second, burst } = Pace::default();
        Self { per_second, burst }
    }
}

impl JoinsConfig {
    /// For the engine.
    pub fn pace(&self) -> Pace {
        let Self { per_second, burst } = *self;
        Pace { per_second, burst }
    }
}

/// Logs go to standard error; those of a node started by `serve` to `node.log` in the data folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogConfig {
    /// Level, or levels by module, such as `info,sfu=debug`. Default `info`.
    pub filter: String,
    /// One JSON object a line instead of text. Default false.
    pub json: bool,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self {
            filter: "info".into(),
            json: false,
        }
    }
}

/// Sites and lines.
#[cfg_attr(test, derive(Serialize))]
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TopologyConfig {
    /// CSV file of sites. Default none: sites are taken as tokens name them.
    pub sites: Option<PathBuf>,
    /// CSV file of lines.
    pub lines: Option<PathBuf>,
    /// Site where the media node stands. Default: the one site that has none above it.
    pub node_site: Option<String>,
}

/// A room that is there from the start.
#[cfg_attr(test, derive(Serialize))]
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RoomConfig {
    /// 1 to 64 of `[a-z0-9-]`.
    pub id: RoomId,
    /// For people, at most 200 bytes. Default: the id.
    #[serde(default)]
    pub title: String,
    /// Newcomers above this number are refused; 1 to 1,000. Default 300.
    #[serde(default = "points_max_default")]
    pub points_max: u16,
    /// Most players by WHEP beside the points; up to 1,000. Default 300.
    #[serde(default = "players_max_default")]
    pub players_max: u16,
    /// Codecs of pictures, the wanted first, each once: `vp8`, `h264`, `vp9`, `av1`. A point sends with the first that its
    /// browser has, VP8 being what all have. Default `["vp8"]`.
    #[serde(default = "video_default", deserialize_with = "codecs")]
    pub video: Vec<VideoCodec>,
}

fn points_max_default() -> u16 {
    RoomPolicy::default().points_max
}

fn players_max_default() -> u16 {
    300
}

fn video_default() -> Vec<VideoCodec> {
    RoomPolicy::default().video
}

/// Words for codecs, with an error that names those there are.
fn codecs<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<VideoCodec>, D::Error> {
    let codec = |word: String| match word.as_str() {
        "vp8" => Ok(VideoCodec::Vp8),
        "h264" => Ok(VideoCodec::H264),
        "vp9" => Ok(VideoCodec::Vp9),
        "av1" => Ok(VideoCodec::Av1),
        _ => Err(serde::de::Error::custom(format_args!(
            "unknown codec {word:?}: there are vp8, h264, vp9 and av1"
        ))),
    };
    let words = Vec::<String>::deserialize(deserializer)?;
    words.into_iter().map(codec).collect()
}

/// Most rooms of a configuration.
const ROOMS_MAX: usize = 500;

/// Most joins in a second, and at once.
const JOINS_MAX: u16 = 10_000;

/// Longest title in bytes.
const TITLE_BYTES_MAX: usize = 200;

/// Settings that flags may override, each by its key.
#[derive(Debug, Clone, Default)]
pub struct Overrides {
    /// `data`
    pub data: Option<PathBuf>,
    /// `http.listen`
    pub listen: Option<SocketAddr>,
    /// `metrics.listen`
    pub metrics_listen: Option<SocketAddr>,
    /// `media.port`
    pub media_port: Option<u16>,
    /// `media.shards`
    pub shards: Option<u16>,
}

/// Why the settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// A key is unknown, or a value has the wrong type.
    #[error("configuration")]
    Read(#[from] config::ConfigError),
    /// A value of the media node.
    #[error("configuration")]
    Media(#[from] sfu::driver::config::ConfigError),
    /// A room is there twice, or has a bad limit or title, or there are too many.
    #[error(
        "configuration: room {0}: ids are unique, titles at most 200 bytes, points_max 1 to 1,000, players_max up to 1,000, at most 500 rooms"
    )]
    Room(String),
    /// The node would refuse the last of them.
    #[error(
        "configuration: media.rooms_max is {rooms_max}, but there are {rooms} rooms (one of them is demo, unless demo = false)"
    )]
    RoomsMax {
        /// Configured, and demo.
        rooms: usize,
        /// As set.
        rooms_max: u32,
    },
    /// A room's codecs.
    #[error("configuration: room {0}: video names one to four of vp8, h264, vp9 and av1, each once")]
    Video(String),
    /// How fast people are let in.
    #[error("configuration: joins.per_second and joins.burst are 1 to 10,000")]
    Joins,
    /// Browsers name no origin so, or links do not lead there.
    #[error(
        "configuration: {key} is {value:?}, but wants scheme://host or scheme://host:port in lower case, with nothing behind it; an origin leaves out port 443 of https and 80 of http"
    )]
    Origin {
        /// Of the setting.
        key: String,
        /// As it is set.
        value: String,
    },
    /// One of certificate and key without the other.
    #[error("configuration: http.certificate and http.key belong together")]
    HalfCertificate,
    /// One of sites and lines without the other.
    #[error("configuration: topology.sites and topology.lines belong together")]
    HalfTopology,
}

impl Config {
    /// Reads file, environment and flags, in rising order of precedence.
    ///
    /// # Errors
    /// See [`SettingsError`].
    pub fn load(file: Option<&Path>, overrides: &Overrides) -> Result<Self, SettingsError> {
        let environment = config::Environment::with_prefix("DIEMCAU")
            .prefix_separator("__")
            .separator("__")
            .ignore_empty(true)
            .try_parsing(true)
            .list_separator(",")
            .with_list_parse_key("http.origins")
            .with_list_parse_key("media.addresses")
            .with_list_parse_key("media.public");
        Self::read(file, environment, overrides)
    }

    fn read(
        file: Option<&Path>,
        environment: config::Environment,
        overrides: &Overrides,
    ) -> Result<Self, SettingsError> {
        let mut builder = config::Config::builder();
        if let Some(file) = file {
            builder = builder.add_source(config::File::from(file).format(config::FileFormat::Toml));
        }
        let text = |address: Option<SocketAddr>| address.map(|address| address.to_string());
        builder = builder
            .add_source(environment)
            .set_override_option(
                "data",
                overrides.data.as_ref().map(|path| path.display().to_string()),
            )?
            .set_override_option("http.listen", text(overrides.listen))?
            .set_override_option("metrics.listen", text(overrides.metrics_listen))?
            .set_override_option("media.port", overrides.media_port)?
            .set_override_option("media.shards", overrides.shards)?;
        let gathered = builder.build()?;
        let media_port_given = gathered.get::<config::Value>("media.port").is_ok();
        let mut settings: Self = gathered.try_deserialize()?;
        settings.complete(media_port_given);
        settings.check()?;
        Ok(settings)
    }

    /// Defaults that follow from other values. A listener on port 0 asks for a server beside others on the machine: its
    /// other ports are free ones too, unless set.
    fn complete(&mut self, media_port_given: bool) {
        let ephemeral = self.http.listen.port() == 0;
        if ephemeral && !media_port_given {
            self.media.port = 0;
        }
        let port = if ephemeral { 0 } else { 9090 };
        self.metrics
            .listen
            .get_or_insert(SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
        if self.http.listen.ip().is_loopback() {
            // Pages of this machine reach the media by loopback.
            self.media.loopback = true;
        }
        if let Some(url) = &mut self.http.public_url {
            // What is put behind it begins with one.
            url.truncate(url.trim_end_matches('/').len());
        }
        if self.demo && !self.rooms.iter().any(|room| room.id.as_str() == "demo") {
            let id = RoomId::try_from("demo".to_owned()).expect("of the alphabet");
            self.rooms.push(RoomConfig {
                id,
                title: "Phòng thử".into(),
                points_max: points_max_default(),
                players_max: players_max_default(),
                video: video_default(),
            });
        }
        for room in &mut self.rooms {
            if room.title.is_empty() {
                room.title = room.id.to_string();
            }
        }
    }

    fn check(&self) -> Result<(), SettingsError> {
        self.media.check()?;
        let mut ids = BTreeSet::new();
        for room in &self.rooms {
            let fits = (1..=1000).contains(&room.points_max)
                && room.players_max <= 1000
                && room.title.len() <= TITLE_BYTES_MAX;
            if !fits || !ids.insert(&room.id) || ids.len() > ROOMS_MAX {
                return Err(SettingsError::Room(room.id.to_string()));
            }
            let codecs: BTreeSet<_> = room.video.iter().collect();
            if codecs.is_empty() || codecs.len() != room.video.len() {
                return Err(SettingsError::Video(room.id.to_string()));
            }
        }
        let (rooms, rooms_max) = (self.rooms.len(), self.media.rooms_max);
        if rooms > rooms_max as usize {
            return Err(SettingsError::RoomsMax { rooms, rooms_max });
        }
        let paces = 1..=JOINS_MAX;
        if !paces.contains(&self.joins.per_second) || !paces.contains(&self.joins.burst) {
            return Err(SettingsError::Joins);
        }
        let origins = self.http.origins.iter().enumerate();
        let origins = origins.filter(|(_, origin)| !is_origin(origin));
        let origins = origins.map(|(place, origin)| (format!("http.origins[{place}]"), origin));
        let public_url = self.http.public_url.iter().filter(|url| !is_host_alone(url));
        let mut bad = origins.chain(public_url.map(|url| ("http.public_url".to_owned(), url)));
        if let Some((key, value)) = bad.next() {
            let value = value.clone();
            return Err(SettingsError::Origin { key, value });
        }
        if self.http.certificate.is_some() != self.http.key.is_some() {
            return Err(SettingsError::HalfCertificate);
        }
        if self.topology.sites.is_some() != self.topology.lines.is_some() {
            return Err(SettingsError::HalfTopology);
        }
        Ok(())
    }
}

/// Whether it is written as browsers write where a page is from (RFC 6454 §6.2): texts are compared. The port that goes with the
/// scheme is left out.
fn is_origin(text: &str) -> bool {
    let has_own_port = [("https://", ":443"), ("http://", ":80")]
        .iter()
        .any(|(scheme, port)| text.starts_with(scheme) && text.ends_with(port));
    is_host_alone(text) && !has_own_port
}

/// Scheme, host and perhaps a port, in lower case, and nothing behind.
fn is_host_alone(text: &str) -> bool {
    let Ok(uri) = text.parse::<Uri>() else {
        return false;
    };
    let (Some(scheme), Some(host)) = (uri.scheme_str(), uri.host()) else {
        return false;
    };
    let port = uri.port_u16().map(|port| format!(":{port}")).unwrap_or_default();
    text == format!("{scheme}://{host}{port}").to_ascii_lowercase()
}

#[cfg(test)]
mod tests;
