//! `diemcau`: the server, the media node, and the tools around them.

mod doctor;

use std::{
    fmt, fs,
    io::{self, Write},
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    process::ExitCode,
};

use anyhow::Context;
use clap::{Args, Parser, Subcommand};
use sfu::control::RoomId;
use signaling::{
    driver::{
        auth::{self, Keys, RoomToken},
        certificate,
        checks::StartError,
        config::{Config, Overrides},
        data, logs,
        media::{self, NodeSettings},
        node,
        serve::{self, NodePlace, Server},
    },
    engine::seat::Person,
    names::{DisplayName, Role, SiteId},
};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// A province's video meeting network.
#[derive(Debug, Parser)]
#[command(name = "diemcau", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Signaling, page, API and metrics, with a media node as a child that outlives it
    Serve(Serve),
    /// A media node alone
    Node(Node),
    /// Signs a room token
    Token(Token),
    /// Looks for what would keep this machine from serving
    Doctor(Settings),
    /// Certificates of one's own
    #[command(subcommand)]
    Cert(Cert),
    /// The ports that firewalls must let in
    Ports(Settings),
}

/// Where settings come from.
#[derive(Debug, Clone, Args)]
struct Settings {
    /// TOML file, see deploy/config.example.toml
    #[arg(long, env = "DIEMCAU_CONFIG")]
    config: Option<PathBuf>,
    /// Folder for keys, certificates, socket and log [default: data]
    #[arg(long)]
    data: Option<PathBuf>,
    /// Address and port of page and WebSocket; port 0 takes free ports everywhere [default: 127.0.0.1:8080]
    #[arg(long)]
    listen: Option<SocketAddr>,
    /// Address and port of /metrics [default: 127.0.0.1:9090]
    #[arg(long)]
    metrics_listen: Option<SocketAddr>,
    /// UDP port of the media, of the first shard; the next has the next port [default: 7882]
    #[arg(long)]
    media_port: Option<u16>,
    /// Threads that forward media, a core and a port each [default: one for each core, at most 8]
    #[arg(long)]
    shards: Option<u16>,
}

impl Settings {
    fn load(&self) -> anyhow::Result<Config> {
        let overrides = Overrides {
            data: self.data.clone(),
            listen: self.listen,
            metrics_listen: self.metrics_listen,
            media_port: self.media_port,
            shards: self.shards,
        };
        Ok(Config::load(self.config.as_deref(), &overrides)?)
    }
}

#[derive(Debug, Args)]
struct Serve {
    #[command(flatten)]
    settings: Settings,
    /// Print one line of JSON on standard output when it serves
    #[arg(long)]
    ready_json: bool,
    /// Run the media node in this process
    #[arg(long)]
    one_process: bool,
}

#[derive(Debug, Args)]
struct Node {
    #[command(flatten)]
    settings: Settings,
    /// Unix socket to listen on for signaling [default: node.sock in the data folder]
    #[arg(long)]
    control: Option<PathBuf>,
    /// Settings of the node as JSON, in place of file, environment and flags
    #[arg(long, hide = true)]
    settings_json: Option<String>,
    /// Leave the session of whoever started it
    #[arg(long, hide = true)]
    detach: bool,
}

#[derive(Debug, Args)]
struct Token {
    #[command(flatten)]
    settings: Settings,
    /// Room that the token opens
    #[arg(long)]
    room: String,
    /// Display name to prefill
    #[arg(long)]
    name: Option<String>,
    /// chair, secretary, delegate, observer, guest, operator or admin
    #[arg(long, default_value = "delegate")]
    role: String,
    /// Site id of the topology
    #[arg(long)]
    site: Option<String>,
    /// How long it opens sessions, such as 30m, 12h or 7d
    #[arg(long, default_value = "24h")]
    expires: String,
}

#[derive(Debug, Subcommand)]
enum Cert {
    /// Makes a certificate authority and a server certificate in the data folder
    Init {
        #[command(flatten)]
        settings: Settings,
        /// Name or address under which browsers reach this server; several are welcome [default: those of the certificate that is there, else localhost and this machine's addresses]
        #[arg(long = "name")]
        names: Vec<String>,
    },
}

fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(code) => code,
        Err(error) => {
            say(format_args!("diemcau: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// Words for people. `eprintln!` would panic where they cannot be written: nobody who serves ends for a full disk or a closed pipe.
fn say(words: fmt::Arguments<'_>) {
    let _ = writeln!(io::stderr(), "{words}");
}

fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Serve(args) => {
            let config = args.settings.load()?;
            logs::start(&config.log).map_err(StartError::LogFilter)?;
            let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
            runtime.block_on(serve(&args, &config))?;
        }
        Command::Node(args) => run_node(&args)?,
        Command::Token(args) => println!("{}", token(&args)?),
        Command::Doctor(settings) => return Ok(doctor::examine(&settings.load()?)),
        Command::Cert(Cert::Init { settings, names }) => cert_init(&settings.load()?, names)?,
        Command::Ports(settings) => ports(&settings.load()?),
    }
    Ok(ExitCode::SUCCESS)
}

async fn serve(args: &Serve, config: &Config) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = hangup(args)?;
    let place = if args.one_process {
        NodePlace::Here
    } else {
        NodePlace::Process(program()?)
    };
    let stop = async {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    let Some(mut server) = serve::start_until(config, place, stop).await? else {
        return Ok(());
    };
    announce(args, config, &server);
    let node_goes_on = tokio::select! {
        _ = terminate.recv() => false,
        _ = interrupt.recv() => false,
        () = told(&mut hangup) => true,
        part = server.broken() => {
            // The node goes on, and pages take their seats again with the next process.
            tracing::error!(part, "a part of the server has ended");
            anyhow::bail!("{part} has ended; start diemcau again");
        }
    };
    let ending = async {
        if node_goes_on {
            say(format_args!("diemcau stops, and its media node goes on"));
            server.leave().await;
        } else {
            say(format_args!("diemcau stops"));
            server.stop().await;
        }
    };
    let ended = tokio::select! {
        () = ending => true,
        // A second signal: now.
        _ = terminate.recv() => false,
        _ = interrupt.recv() => false,
    };
    if !ended {
        say(format_args!("diemcau was told twice and ends at once"));
    }
    Ok(())
}

/// What runs here, also where its file was replaced meanwhile: a node of another version might not take the settings, or not be
/// understood. Elsewhere than on Linux it is whatever lies there.
fn program() -> io::Result<PathBuf> {
    if cfg!(target_os = "linux") {
        return Ok("/proc/self/exe".into());
    }
    std::env::current_exe()
}

/// SIGHUP, at which signaling ends and the node goes on. Where nobody listens it kills, as ever: a node in this process ends with it.
fn hangup(args: &Serve) -> io::Result<Option<Signal>> {
    let is_heard = !args.one_process && !is_hangup_ignored();
    is_heard.then(|| signal(SignalKind::hangup())).transpose()
}

/// Whether it is ignored since the start (nohup): to listen for it would end that. Only Linux says.
fn is_hangup_ignored() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    // proc_pid_status(5): signal 1 is the lowest bit.
    mask.is_none_or(|mask| mask & 1 == 1)
}

async fn told(signal: &mut Option<Signal>) {
    match signal {
        Some(signal) => drop(signal.recv().await),
        None => std::future::pending().await,
    }
}

/// What people want to know at start, on standard error; the line for scripts on standard output.
fn announce(args: &Serve, config: &Config, server: &Server) {
    let media: Vec<String> = server.media.iter().map(SocketAddr::to_string).collect();
    say(format_args!("Điểm Cầu {}", env!("CARGO_PKG_VERSION")));
    say(format_args!("  page      {}", server.public_url));
    say(format_args!(
        "  media     {} (UDP; clients must reach all ports of one address)",
        media.join(", ")
    ));
    say(format_args!("  metrics   {}", server.metrics));
    say(format_args!("  data      {}", config.data.display()));
    say(format_args!("  node      process {}", server.node_pid));
    let demo = config
        .rooms
        .iter()
        .map(|room| &room.id)
        .find(|id| id.as_str() == "demo");
    let token = demo.map(|room| server.demo_token(room));
    let join_url = demo
        .zip(token.as_ref())
        .map(|(room, token)| format!("{}/p/{room}#k={token}", server.public_url));
    if let Some(join_url) = &join_url {
        say(format_args!(
            "  demo room, for anybody who has this link in the next 24 hours:\n{join_url}"
        ));
    }
    if args.ready_json {
        let ready = serde_json::json!({
            "http": server.http,
            "metrics": server.metrics,
            "media": media.first(),
            "media_all": media,
            "node_pid": server.node_pid,
            "demo_room": demo,
            "join_url": join_url,
            "token": token,
        });
        // A script that no longer reads does not end what it started.
        let _ = writeln!(io::stdout(), "{ready}");
    }
}

fn run_node(args: &Node) -> anyhow::Result<()> {
    if args.detach {
        // Fails only if it leads a session already.
        let _ = rustix::process::setsid();
        // Lists of processes would call it `exe`, as the link that it was started by.
        let _ = fs::write("/proc/self/comm", "diemcau");
    }
    let (settings, data): (NodeSettings, _) = match &args.settings_json {
        Some(json) => (
            serde_json::from_str(json).context("settings of the node")?,
            Config::default().data,
        ),
        None => {
            let Config { media, log, data, .. } = args.settings.load()?;
            (NodeSettings { media, log }, data)
        }
    };
    settings.media.check()?;
    logs::start(&settings.log).map_err(StartError::LogFilter)?;
    let control = match &args.control {
        Some(path) => path.clone(),
        None => {
            data::make(&data)?;
            media::socket_path(&data)?
        }
    };
    node::run(settings.media, &control)
}

fn token(args: &Token) -> anyhow::Result<String> {
    let config = args.settings.load()?;
    data::make(&config.data)?;
    let had_key = Keys::load(&config.data)?.is_some();
    let keys = Keys::load_or_create(&config.data)?;
    let role: Role = serde_json::from_value(args.role.as_str().into()).context("--role")?;
    let now = auth::unix_now();
    let person = Person {
        subject: format!("token-{:016x}", rand::random::<u64>()),
        name: args
            .name
            .clone()
            .map(DisplayName::try_from)
            .transpose()
            .context("--name")?,
        site: args
            .site
            .clone()
            .map(SiteId::try_from)
            .transpose()
            .context("--site")?,
        role,
    };
    let room = RoomId::try_from(args.room.clone())
        .ok()
        .context("--room wants 1 to 64 of a-z, 0-9 and \"-\"")?;
    if !had_key {
        eprintln!(
            "A new signing key was made in {}: servers with that data folder alone take this token.",
            config.data.display()
        );
    }
    if !config.rooms.iter().any(|known| known.id == room) {
        eprintln!("The configuration has no room {room}: the token opens it once it is there.");
    }
    let expires =
        now + seconds(&args.expires).context("--expires wants a number with s, m, h or d, at most 400d")?;
    Ok(keys
        .sign_room(&RoomToken {
            room,
            person,
            not_before: now,
            expires,
        })
        .into())
}

/// `90s`, `30m`, `12h`, `7d`.
fn seconds(text: &str) -> Option<u64> {
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let unit = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 24 * 3600,
        _ => return None,
    };
    number
        .parse::<u64>()
        .ok()?
        .checked_mul(unit)
        .filter(|&seconds| seconds <= 400 * 24 * 3600)
}

fn cert_init(config: &Config, mut names: Vec<String>) -> anyhow::Result<()> {
    data::make(&config.data)?;
    if names.is_empty() {
        // Browsers that came once take no certificate for other names (HSTS).
        names = match certificate::names(&config.data)? {
            Some(names) => names,
            None => {
                let own = sfu::driver::addresses::own(true)?;
                let own = own.iter().map(IpAddr::to_string);
                std::iter::once("localhost".to_owned()).chain(own).collect()
            }
        };
    }
    let made = certificate::init(&config.data, &names)?;
    println!(
        "Server certificate for {}:\n  {}\n",
        names.join(", "),
        made.server.certificate.display()
    );
    println!(
        "Every device must trust the authority once:\n  {}\n",
        made.authority.display()
    );
    println!(
        "  Windows   double-click, \"Local Machine\", store \"Trusted Root Certification Authorities\"; or by group policy"
    );
    println!("  macOS     add to the System keychain, set to \"Always Trust\"");
    println!(
        "  iOS       send it by mail, install the profile, then Settings > General > About > Certificate Trust Settings"
    );
    println!("  Android   Settings > Security > Install a certificate > CA certificate");
    println!("  Debian    copy to /usr/local/share/ca-certificates/diemcau.crt, run update-ca-certificates");
    println!("  Firefox   Settings > Certificates > Authorities > Import");
    println!(
        "\nThen:  diemcau serve --listen 0.0.0.0:443 --data {}",
        config.data.display()
    );
    println!("Keep ca-key.pem secret: whoever has it can pretend to be any site to these devices.");
    Ok(())
}

/// The UDP ports of the media; none: any free ones.
fn media_ports(media: &sfu::driver::config::NodeConfig) -> Option<String> {
    let last = media.shard_port(media.shard_count() - 1);
    match (media.port, last) {
        (0, _) => None,
        (first, last) if first == last => Some(first.to_string()),
        (first, last) => Some(format!("{first}-{last}")),
    }
}

fn ports(config: &Config) {
    let shown = |port: u16| match port {
        0 => "any free".to_owned(),
        port => port.to_string(),
    };
    println!("TCP {:8}  page and WebSocket", shown(config.http.listen.port()));
    println!(
        "UDP {:8}  media",
        media_ports(&config.media).unwrap_or_else(|| shown(0))
    );
    if let Some(listen) = config.metrics.listen {
        let port = shown(listen.port());
        println!("TCP {port:8}  metrics, on {} only", listen.ip());
    }
}
