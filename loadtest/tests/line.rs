//! The line as a program: real sockets on loopback, and TUN devices between two network namespaces where the machine lets us.

use std::{
    collections::BTreeSet,
    io::{BufRead as _, BufReader, Lines, Write as _},
    net::{SocketAddr, UdpSocket},
    process::{Child, ChildStdout, Command, Stdio},
    thread,
    time::Duration,
};

use serde_json::Value;

/// Longest wait for anything that must come.
const PATIENCE: Duration = Duration::from_secs(60);

/// The program, ended with the test.
struct Line {
    child: Child,
    out: Lines<BufReader<ChildStdout>>,
    ready: Value,
}

impl Line {
    fn start(args: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_diemcau-load"))
            .arg("line")
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let stdout = child.stdout.take().expect("piped");
        let mut out = BufReader::new(stdout).lines();
        let first = out.next().expect("it says where it is").expect("text");
        Self {
            child,
            out,
            ready: serde_json::from_str(&first).expect("JSON"),
        }
    }

    fn address(&self) -> SocketAddr {
        let listen = self.ready["line"]["listen"].as_str().expect("an address");
        listen.parse().expect("an address")
    }

    fn next(&mut self) -> Value {
        let text = self.out.next().expect("it goes on").expect("text");
        serde_json::from_str(&text).expect("JSON")
    }

    /// Writes a command; its answer. The reports before it are added to the sums.
    fn tell(&mut self, command: &str, sums: &mut Sums) -> Value {
        let stdin = self.child.stdin.as_mut().expect("piped");
        writeln!(stdin, "{command}").expect("it reads");
        loop {
            let line = self.next();
            if line.get("up").is_none() {
                return line;
            }
            sums.add(&line);
        }
    }

    /// Ends it; what it has counted since the start is then in the sums.
    fn quit(mut self, sums: &mut Sums) {
        let stdin = self.child.stdin.as_mut().expect("piped");
        writeln!(stdin, "quit").expect("it reads");
        for text in self.out.by_ref() {
            sums.add(&serde_json::from_str(&text.expect("text")).expect("JSON"));
        }
        assert!(self.child.wait().expect("it ends").success());
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        // Gone already after `quit`.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Counts of all reports, per direction.
#[derive(Debug, Default)]
struct Sums {
    up: Side,
    down: Side,
    refused: u64,
}

#[derive(Debug, Default, PartialEq)]
struct Side {
    offered: u64,
    packets: u64,
    lost: u64,
    dropped: u64,
}

impl Sums {
    fn add(&mut self, report: &Value) {
        let count = |side: &Value, name: &str| side[name].as_u64().expect("a count");
        for (sum, side) in [(&mut self.up, &report["up"]), (&mut self.down, &report["down"])] {
            sum.offered += count(side, "offered");
            sum.packets += count(side, "packets");
            sum.lost += count(side, "lost");
            sum.dropped += count(side, "dropped");
        }
        self.refused += count(report, "refused");
    }
}

/// Sends back all that comes until the socket is silent for [`PATIENCE`]; the addresses that were seen can be asked for by `who`.
fn echo(socket: UdpSocket) -> SocketAddr {
    let address = socket.local_addr().expect("bound");
    socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    thread::spawn(move || {
        let mut buffer = [0; 2_048];
        let mut seen = BTreeSet::new();
        while let Ok((length, from)) = socket.recv_from(&mut buffer) {
            seen.insert(from);
            let sent = match &buffer[..length] {
                b"who" => socket.send_to(&[seen.len() as u8], from),
                bytes => socket.send_to(bytes, from),
            };
            sent.expect("loopback takes it");
        }
    });
    address
}

fn loopback() -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
    socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    socket
}

/// Sends the numbers of a round and waits for the mark that ends it, which is sent until it is answered: no more is under way than sockets hold.
fn round(socket: &UdpSocket, numbers: std::ops::Range<u32>, got: &mut Vec<u32>) {
    let end = numbers.end;
    for number in numbers {
        socket.send(&number.to_be_bytes()).expect("sent");
    }
    let mark = [&end.to_be_bytes()[..], b"mark"].concat();
    socket
        .set_read_timeout(Some(Duration::from_millis(50)))
        .expect("a timeout");
    let mut buffer = [0; 64];
    for _ in 0..1_200 {
        socket.send(&mark).expect("sent");
        while let Ok(length) = socket.recv(&mut buffer) {
            match &buffer[..length] {
                bytes if bytes == mark => return,
                bytes if bytes.len() == 4 => got.push(u32::from_be_bytes(bytes.try_into().expect("four"))),
                // A mark of an earlier round, sent twice.
                _ => {}
            }
        }
    }
    panic!("no mark came through");
}

#[test]
fn a_lossy_line_delivers_its_share_in_order_and_counts_the_rest() {
    let server = echo(loopback());
    let to = server.to_string();
    let args = [
        "--listen",
        "127.0.0.1:0",
        "--to",
        &to,
        "--up-loss",
        "0.2",
        "--up-burst",
        "3",
        "--delay-ms",
        "5",
        "--jitter-ms",
        "3",
        "--seed",
        "7",
    ];
    let mut line = Line::start(&args);
    let client = loopback();
    client.connect(line.address()).expect("connected");
    let mut got = Vec::new();
    for begin in (0..4_000).step_by(50) {
        round(&client, begin..begin + 50, &mut got);
    }
    // A clean line lets what is left out before it ends.
    let mut sums = Sums::default();
    assert_eq!(line.tell("both loss=0", &mut sums)["set"], "both loss=0");
    round(&client, 4_000..4_050, &mut got);
    // A mark that was sent again may still be under way: a report that has both halves of it ends the waiting.
    for _ in 0..60 {
        let report = line.next();
        sums.add(&report);
        if sums.up.packets == sums.down.packets {
            break;
        }
    }
    line.quit(&mut sums);
    assert!(got.is_sorted_by(|a, b| a < b), "in order, none twice");
    let share = got.len() as f64 / 4_050.0;
    assert!((0.77..0.84).contains(&share), "{share}: a fifth is lost");
    assert_eq!(sums.refused, 0);
    assert_eq!(
        sums.up.dropped + sums.down.dropped + sums.down.lost,
        0,
        "{sums:?}"
    );
    assert_eq!(sums.up.offered, sums.up.packets + sums.up.lost, "{sums:?}");
    assert_eq!(sums.down.packets, sums.up.packets, "{sums:?}");
    assert!(sums.up.packets >= got.len() as u64);
}

#[test]
fn every_client_is_another_one_to_the_server_and_gets_its_own() {
    let server = echo(loopback());
    let line = Line::start(&[
        "--listen",
        "127.0.0.1:0",
        "--to",
        &server.to_string(),
        "--rate",
        "20000",
    ]);
    let clients: Vec<_> = (0..20).map(|_| loopback()).collect();
    for (index, client) in clients.iter().enumerate() {
        client.connect(line.address()).expect("connected");
        client.send(&[index as u8, 7]).expect("sent");
    }
    let mut buffer = [0; 64];
    for (index, client) in clients.iter().enumerate() {
        let length = client.recv(&mut buffer).expect("it comes back");
        assert_eq!(buffer[..length], [index as u8, 7]);
    }
    clients[3].send(b"who").expect("sent");
    assert_eq!(clients[3].recv(&mut buffer).expect("an answer"), 1);
    assert_eq!(buffer[0], 20);
}

#[test]
fn what_is_told_is_answered_and_a_cut_line_passes_nothing() {
    let server = echo(loopback());
    let mut line = Line::start(&["--listen", "127.0.0.1:0", "--to", &server.to_string()]);
    let client = loopback();
    client.connect(line.address()).expect("connected");
    let mut sums = Sums::default();
    let error = line.tell("down speed=3", &mut sums);
    assert!(
        error["error"].as_str().is_some_and(|text| text.contains("speed")),
        "{error}"
    );
    assert_eq!(line.tell("up rate=0", &mut sums)["set"], "up rate=0");
    for number in 0..10_u8 {
        client.send(&[number]).expect("sent");
    }
    // The reports say when the ten have come in; only then is the line opened again.
    while sums.up.offered < 10 {
        let report = line.next();
        sums.add(&report);
    }
    assert_eq!((sums.up.dropped, sums.up.packets), (10, 0));
    line.tell("up rate=none", &mut sums);
    client.send(b"through").expect("sent");
    let mut buffer = [0; 64];
    let length = client.recv(&mut buffer).expect("it comes back");
    assert_eq!(&buffer[..length], b"through");
    line.quit(&mut sums);
    assert_eq!((sums.up.packets, sums.down.packets), (1, 1));
}

#[test]
fn bad_arguments_are_named_and_nothing_is_printed() {
    let script = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(script.path(), "5 down rate=300\n6 down speed=3\n").expect("written");
    let script = script.path().to_str().expect("a name");
    let common = ["--listen", "127.0.0.1:0", "--to", "127.0.0.1:9"];
    for args in [
        &["--listen", "127.0.0.1:0"][..],
        &[&common[..], &["--loss", "1.5"]].concat(),
        &[&common[..], &["--profile", "/nowhere"]].concat(),
        &[&common[..], &["--script", script]].concat(),
        &[&common[..], &["--up-trace", "/nowhere"]].concat(),
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_diemcau-load"))
            .arg("line")
            .args(args)
            .output()
            .expect("it runs");
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(output.stdout.is_empty() && !output.stderr.is_empty(), "{args:?}");
    }
}

/// As docs/line.md starts it: by a shell with a terminal, and in its background.
#[cfg(target_os = "linux")]
#[test]
fn in_the_background_of_a_terminal_it_plays_on_and_reads_nothing() {
    use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt};

    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY;
    let controller = openpt(flags).expect("a terminal");
    grantpt(&controller).expect("a terminal");
    unlockpt(&controller).expect("a terminal");
    let terminal = ioctl_tiocgptpeer(&controller, flags).expect("a terminal");
    let output = Command::new("setsid")
        .args(["-c", "sh", "-mc", "\"$@\" & wait $!", "sh"])
        .arg(env!("CARGO_BIN_EXE_diemcau-load"))
        .args(["line", "--listen", "127.0.0.1:0", "--to", "127.0.0.1:9"])
        .args(["--seconds", "1"])
        .stdin(terminal)
        .output()
        .expect("setsid of util-linux");
    let text = String::from_utf8(output.stdout).expect("text");
    assert!(output.status.success(), "{:?} {text}", output.status);
    assert!(text.starts_with("{\"line\":{\"listen\""), "{text}");
}

#[cfg(target_os = "linux")]
mod tun {
    use std::{fs::File, os::fd::AsFd as _, process::Stdio};

    use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

    use super::*;

    /// Says what was not tested, past the harness, which shows nothing of a test that passes.
    fn say_untested(why: &str) {
        let words = format!("\nNOT TESTED: the line between two TUN devices: {why}\n");
        std::io::stderr()
            .write_all(words.as_bytes())
            .expect("somebody reads");
    }

    /// Runs `ip`; whether it did what was asked.
    fn ip(words: &str) -> bool {
        Command::new("ip")
            .args(words.split(' '))
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success())
    }

    /// A network namespace, gone with the test.
    struct Namespace(String);

    impl Namespace {
        fn new(name: &str) -> Option<Self> {
            let name = format!("{name}{}", std::process::id());
            ip(&format!("netns add {name}")).then(|| Self(name))
        }

        /// Takes a device in and gives it an address.
        fn take(&self, device: &str, address: &str, peer: &str) {
            let name = &self.0;
            assert!(ip(&format!("link set {device} netns {name}")));
            assert!(ip(&format!(
                "-n {name} addr add {address} peer {peer} dev {device}"
            )));
            assert!(ip(&format!("-n {name} link set {device} up")));
        }

        /// A socket that lives in it.
        fn socket(&self, address: &str) -> UdpSocket {
            let file = File::open(format!("/run/netns/{}", self.0)).expect("it is there");
            let address = address.to_owned();
            let bind = move || {
                move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network)).expect("moved");
                let socket = UdpSocket::bind(address).expect("its address");
                socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
                socket
            };
            thread::spawn(bind).join().expect("a socket")
        }
    }

    impl Drop for Namespace {
        fn drop(&mut self) {
            ip(&format!("netns del {}", self.0));
        }
    }

    #[test]
    fn two_namespaces_meet_over_a_tun_line_that_loses_its_share() {
        if let Err(error) = File::options().write(true).open("/dev/net/tun") {
            say_untested(&format!("/dev/net/tun cannot be opened: {error}"));
            return;
        }
        let (Some(near), Some(far)) = (Namespace::new("dcnear"), Namespace::new("dcfar")) else {
            say_untested("network namespaces cannot be made here (root and iproute2 are needed)");
            return;
        };
        let names = ["a", "b"].map(|end| format!("dc{end}{}", std::process::id()));
        let tun = names.join(",");
        let args = [
            "--tun",
            &tun,
            "--delay-ms",
            "5",
            "--up-loss",
            "0.25",
            "--seed",
            "3",
        ];
        let mut line = Line::start(&args);
        assert_eq!(line.ready["line"]["tun"][1], names[1].as_str());
        near.take(&names[0], "10.239.7.1", "10.239.7.2");
        far.take(&names[1], "10.239.7.2", "10.239.7.1");
        let server = echo(far.socket("10.239.7.2:4000"));
        let client = near.socket("10.239.7.1:0");
        client.connect(server).expect("connected");
        let mut got = Vec::new();
        for begin in (0..1_000).step_by(50) {
            round(&client, begin..begin + 50, &mut got);
        }
        let mut sums = Sums::default();
        line.tell("both loss=0", &mut sums);
        round(&client, 1_000..1_010, &mut got);
        line.quit(&mut sums);
        assert!(got.is_sorted_by(|a, b| a < b), "in order, none twice");
        assert!((680..820).contains(&got.len()), "{} of 1,010", got.len());
        // The kernel sends some of its own (router solicitations).
        assert!(sums.up.lost >= 1_010 - got.len() as u64, "{sums:?}");
        assert_eq!(
            sums.up.dropped + sums.down.dropped + sums.down.lost,
            0,
            "{sums:?}"
        );
    }
}
