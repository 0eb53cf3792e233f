//! Clients that do not read, send far too much, or send what nobody should: the others see nothing of it, and the node
//! says what it dropped.

use sfu::{
    control::{Command, Reply, RoomPolicy},
    driver::{
        client::{self, Client as Control, Events},
        node::Ended,
    },
    engine::units::Bitrate,
    wire::rtp::{HeaderFields, RtpPacket},
};

use crate::{
    client::{Client, line},
    kit::*,
};

/// Datagrams that are sent between two turns of the node: they fit the smallest buffer that a kernel gives a socket.
const CHUNK: usize = 40;

fn policy(way_start: Bitrate) -> RoomPolicy {
    RoomPolicy {
        points_max: 3,
        way_start,
        ..RoomPolicy::default()
    }
}

/// An sends pictures that Bình watches. No feedback comes here: ways are taken to carry everything.
struct Meeting {
    node: Node,
    control: Control,
    events: Events,
    an: Client,
    binh: Client,
    to_an: String,
    frame: u16,
}

impl Meeting {
    async fn start() -> Self {
        let (node, connector) = start();
        let (control, mut events, welcome) = client::connect_in_process(&connector).await.expect("a node");
        open_room_with(&control, policy(Bitrate::mbps(10))).await;
        let [(an, to_an), (binh, _)] = pair(&control, &mut events, welcome.media[0]).await;
        let mut meeting = Self {
            node,
            control,
            events,
            an,
            binh,
            to_an,
            frame: 0,
        };
        while meeting.binh.received.is_empty() {
            meeting.picture().await;
        }
        meeting
    }

    /// One more who sits here, connected.
    async fn newcomer(&mut self, name: &str, point: u32) -> Client {
        let mut client = Client::new(self.an.node()).await;
        let answer = answer(&self.control, join(name, point, client.offer())).await;
        // A check that is not answered is sent again, as ICE does.
        while !client.checked {
            client.check(&answer).await;
            client.turn().await;
        }
        client.connect(&answer).await;
        connected(&mut self.events, name).await;
        client
    }

    async fn picture(&mut self) {
        send_picture(&mut self.an, self.frame).await;
        self.frame += 1;
        self.binh.turn().await;
    }

    /// Returns when the node has taken what was sent before.
    async fn taken(&self) {
        self.metric("").await;
    }

    /// A line of the node's metrics.
    async fn metric(&self, name: &str) -> u64 {
        let Ok(Reply::Metrics { text }) = self.control.call(Command::Metrics).await else {
            panic!("no metrics")
        };
        let value = text
            .lines()
            .find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
        value.unwrap_or_default()
    }

    /// Every picture arrived, in order and once; the node ends well.
    async fn end(mut self, points: u64) {
        while self.binh.received.len() < usize::from(self.frame) {
            self.binh.turn().await;
        }
        let numbers: Vec<u16> = self
            .binh
            .received
            .iter()
            .map(|packet| RtpPacket::parse(packet).expect("RTP").sequence())
            .collect();
        assert!(
            numbers.windows(2).all(|pair| pair[1] == pair[0].wrapping_add(1)),
            "{numbers:?}"
        );
        assert_eq!(self.metric("diemcau_endpoints_connected").await, points);
        assert_eq!(self.control.call(Command::Shutdown).await, Ok(Reply::Done));
        assert_eq!(
            self.node.await.expect("no panic").expect("ended well"),
            Ended::Asked
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receiver_that_never_reads_is_cut_and_costs_the_others_nothing() {
    let mut meeting = Meeting::start().await;
    // Whoever tells nothing gets no more than what its way was taken to carry at first.
    open_room_with(&meeting.control, policy(Bitrate::kbps(300))).await;
    let chi = meeting.newcomer("chi", 3).await;
    show(&meeting.control, "chi", camera(1)).await;
    let before = meeting.metric("diemcau_sent_total{kind=\"datagrams\"}").await;
    for _ in 0..60 {
        meeting.picture().await;
    }
    let sent = meeting.metric("diemcau_sent_total{kind=\"datagrams\"}").await - before;
    assert!(sent >= 120, "both are sent to: {sent}");
    // 46 kB in a moment: a third is more than may wait for it.
    let queue = "diemcau_packets_dropped_total{reason=\"queue\"}";
    assert_eq!(meeting.metric(queue).await, 0);
    for _ in 0..CHUNK {
        send_picture_sized(&mut meeting.an, meeting.frame, 1_150).await;
        meeting.frame += 1;
    }
    // An order may be answered before the datagrams of the same moment are looked at.
    let came = "diemcau_rtp_packets_total{kind=\"in\"}";
    while meeting.metric(came).await < u64::from(meeting.frame) {}
    let cut = meeting.metric(queue).await;
    assert!(cut >= CHUNK as u64 / 3, "{cut} pictures did not begin for it");
    assert!(chi.received.is_empty(), "it never read");
    meeting.end(3).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_publisher_at_fifty_times_its_rate_is_cut_and_the_others_see_nothing() {
    let mut meeting = Meeting::start().await;
    let mut mad = meeting.newcomer("mad", 3).await;
    let mut fields = HeaderFields {
        marker: true,
        payload_type: 96,
        ssrc: 99,
        ..HeaderFields::default()
    };
    let mut picture = key_frame(0);
    picture.resize(1_150, 7);
    // 36 MB within some two seconds.
    for _ in 0..30 {
        for _ in 0..1_000 / CHUNK {
            for _ in 0..CHUNK {
                mad.send("1", &fields, &picture).await;
                fields.sequence = fields.sequence.wrapping_add(1);
                fields.timestamp = fields.timestamp.wrapping_add(9);
            }
            meeting.taken().await;
        }
        meeting.picture().await;
    }
    let excess = meeting
        .metric("diemcau_uplink_packets_total{kind=\"excess\"}")
        .await;
    assert!(excess > 1_000, "{excess} were dropped");
    meeting.end(3).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn datagrams_of_64_kb_are_counted_and_dropped() {
    let mut meeting = Meeting::start().await;
    let stranger = Client::new(meeting.an.node()).await;
    let refused = "diemcau_datagrams_refused_total{reason=\"not_ours\"}";
    let before = meeting.metric(refused).await;
    for round in 0..20 {
        // STUN, DTLS, RTP, RTCP, nothing of ours.
        for first in [[0, 1], [22, 254], [0x80, 96], [0x80, 200], [0xff, 0xff]] {
            let mut datagram = vec![round; 65_507];
            datagram[..2].copy_from_slice(&first);
            stranger.send_raw(&datagram).await;
            meeting.taken().await;
            meeting.an.send_raw(&datagram).await;
            meeting.taken().await;
        }
        meeting.picture().await;
    }
    let dropped = meeting.metric(refused).await - before;
    assert!(dropped >= 190, "{dropped} of 200 were seen and dropped");
    meeting.end(2).await;
}

/// Somebody with a seat of his own who forges the sender's address would take his path from him, and all that he sends.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_check_of_another_seat_from_a_path_that_is_heard_takes_it_from_nobody() {
    let mut meeting = Meeting::start().await;
    let mut chi = Client::new(meeting.an.node()).await;
    let to_chi = answer(&meeting.control, join("chi", 3, chi.offer())).await;
    let (name, password) = (line(&to_chi, "a=ice-ufrag:"), line(&to_chi, "a=ice-pwd:"));
    let forged = meeting.an.request(name, password);
    for _ in 0..20 {
        meeting.an.send_raw(&forged).await;
        meeting.taken().await;
        meeting.picture().await;
    }
    let refused = "diemcau_datagrams_refused_total{reason=\"stun\"}";
    assert_eq!(meeting.metric(refused).await, 20);
    // By a path of its own it comes in.
    chi.connect(&to_chi).await;
    connected(&mut meeting.events, "chi").await;
    meeting.end(3).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stun_of_ten_thousand_made_up_peers_from_one_address_stops_nobody() {
    let mut meeting = Meeting::start().await;
    let stranger = Client::new(meeting.an.node()).await;
    let true_name = line(&meeting.to_an, "a=ice-ufrag:").to_owned();
    for round in 0..10_000 / CHUNK {
        for index in 0..CHUNK {
            let made_up = format!("{:08x}", round * CHUNK + index);
            // Every other one knows a name, and none a password.
            let name = if index % 2 == 0 { &true_name } else { &made_up };
            let request = stranger.request(name, "not-the-password-of-anybody");
            stranger.send_raw(&request).await;
        }
        meeting.taken().await;
        if round % 10 == 0 {
            meeting.picture().await;
        }
    }
    let refused = meeting
        .metric("diemcau_datagrams_refused_total{reason=\"stun\"}")
        .await;
    let muted = meeting
        .metric("diemcau_datagrams_refused_total{reason=\"stun_rate\"}")
        .await;
    assert!(
        refused > 1_000 && refused + muted > 9_000,
        "{refused} refused, {muted} not looked at"
    );
    // Somebody new comes from that very address.
    meeting.newcomer("chi", 3).await;
    meeting.picture().await;
    meeting.end(3).await;
}
